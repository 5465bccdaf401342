/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bundle keeps the order of its region's rows: one that has no room is sent before
 * the row that did not fit.  Rows for other regions may overtake it, since no stream
 * has two destinations.  On the publisher's thread.
 */
#include "federation/bundle.h"

#include <string.h>

#include "base/must.h"

struct bundle *bundles_find(struct bundles *bundles, const char *target)
{
	for (size_t i = 0; i < bundles->count; i++)
		if (strcmp(bundles->items[i].target, target) == 0)
			return &bundles->items[i];
	return NULL;
}

struct bundle *bundles_place(struct bundles *bundles)
{
	struct bundle *bundle;

	if (bundles->count < BUNDLES_MAX) {
		bundles->items[bundles->count].count = 0;
		return &bundles->items[bundles->count++];
	}
	bundle = &bundles->items[bundles->oldest];
	bundles->oldest = (bundles->oldest + 1) % BUNDLES_MAX;
	return bundle;
}

void bundle_begin(struct bundle *bundle, const char *target, size_t events_max)
{
	bundle->target[sizeof(bundle->target) - 1] = '\0';
	memccpy(bundle->target, target, '\0', sizeof(bundle->target) - 1);
	bundle->events_max = events_max < EVENT_BATCH_EVENTS_MAX ? events_max : EVENT_BATCH_EVENTS_MAX;
	bundle->count = bundle->bytes = 0;
}

bool bundle_has_room(const struct bundle *bundle, size_t bytes)
{
	/* Also the first, however large: alone it is no batch. */
	return bundle->count == 0 ||
	       (bundle->count < bundle->events_max && bundle->bytes + bytes <= EVENT_BATCH_BYTES_MAX);
}

void bundle_add(struct bundle *bundle, int row, size_t bytes)
{
	must(bundle->count < EVENT_BATCH_EVENTS_MAX);
	bundle->rows[bundle->count++] = row;
	bundle->bytes += bytes;
}

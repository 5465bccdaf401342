/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bundles: rows of one shipment that leave together in one message, because they are
 * small and for the same region, and that region takes such.  Which rows go together
 * is decided here; nothing is sent.  Pure.
 */
#ifndef FEDERATION_BUNDLE_H
#define FEDERATION_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/object_id.h"
#include "federation/event_batch.h"

#define BUNDLES_MAX 64 /* regions at a time; of more, one begun earlier leaves as it is */

struct bundle {
	char target[REGION_SIZE];
	size_t events_max; /* in one message; 1: the region takes no batches */
	int rows[EVENT_BATCH_EVENTS_MAX];
	size_t count, bytes;
};

struct bundles {
	struct bundle items[BUNDLES_MAX];
	size_t count, oldest;
};

/* The one for this region, or NULL: then bundles_begin(). */
struct bundle *bundles_find(struct bundles *bundles, const char *target);
/*
 * The place for a region that has none.  Where its count is not 0, the one whose place it takes is to be sent first, and
 * emptied by bundle_begin().
 */
struct bundle *bundles_place(struct bundles *bundles);
void bundle_begin(struct bundle *bundle, const char *target, size_t events_max);
/* Whether a row of so many bytes still fits. */
bool bundle_has_room(const struct bundle *bundle, size_t bytes);
void bundle_add(struct bundle *bundle, int row, size_t bytes);

#endif

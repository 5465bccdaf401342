/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Confirmations of a batch, in an array by place.  A "multiple" confirmation
 * settles everything before it that is still open, and never overturns what was
 * refused.  One thread.
 */
#include "federation/confirms.h"

#include <stdlib.h>

#include "base/must.h"

enum status confirms_init(struct confirms *confirms, size_t capacity)
{
	*confirms = (struct confirms){ .first_tag = 1, .capacity = capacity };
	confirms->entries = calloc(capacity, sizeof(*confirms->entries));
	return confirms->entries != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void confirms_release(struct confirms *confirms)
{
	free(confirms->entries);
	confirms->entries = NULL;
}

void confirms_begin(struct confirms *confirms, bool is_new_channel)
{
	confirms->first_tag = is_new_channel ? 1 : confirms->first_tag + confirms->count;
	confirms->count = confirms->settled = 0;
}

size_t confirms_add(struct confirms *confirms)
{
	must(confirms->count < confirms->capacity);
	confirms->entries[confirms->count] = (struct confirm_entry){ CONFIRM_WAITING, false };
	return confirms->count++;
}

void confirms_settle(struct confirms *confirms, uint64_t tag, bool is_multiple, enum confirm confirm)
{
	size_t place, from;

	if (tag < confirms->first_tag || tag - confirms->first_tag >= confirms->count)
		return;
	place = (size_t)(tag - confirms->first_tag);
	from = is_multiple ? 0 : place;
	for (size_t i = from; i <= place; i++) {
		if (confirms->entries[i].confirm == CONFIRM_WAITING) {
			confirms->entries[i].confirm = confirm;
			confirms->settled++;
		}
	}
}

void confirms_return(struct confirms *confirms, size_t place)
{
	if (place < confirms->count)
		confirms->entries[place].is_returned = true;
}

bool confirms_all_settled(const struct confirms *confirms)
{
	return confirms->settled == confirms->count;
}

bool confirms_is_done(const struct confirms *confirms, size_t place)
{
	return confirms->entries[place].confirm == CONFIRM_DONE && !confirms->entries[place].is_returned;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A binary heap of lookups by deadline.  Each lookup knows its place, so that one
 * that was answered leaves in logarithmic time; ten thousand are no matter.
 */
#include "router/delegate.h"

#include <stdlib.h>

static void place(struct delegate_deadlines *deadlines, size_t at, struct delegated *lookup)
{
	deadlines->entries[at] = lookup;
	lookup->heap_index = at;
}

static void sift_up(struct delegate_deadlines *deadlines, size_t at, struct delegated *lookup)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (deadlines->entries[parent]->deadline_ms <= lookup->deadline_ms)
			break;
		place(deadlines, at, deadlines->entries[parent]);
		at = parent;
	}
	place(deadlines, at, lookup);
}

static void sift_down(struct delegate_deadlines *deadlines, size_t at, struct delegated *lookup)
{
	for (;;) {
		size_t child = at * 2 + 1;

		if (child >= deadlines->count)
			break;
		if (child + 1 < deadlines->count &&
			deadlines->entries[child + 1]->deadline_ms < deadlines->entries[child]->deadline_ms)
			child++;
		if (lookup->deadline_ms <= deadlines->entries[child]->deadline_ms)
			break;
		place(deadlines, at, deadlines->entries[child]);
		at = child;
	}
	place(deadlines, at, lookup);
}

enum status delegate_deadlines_add(struct delegate_deadlines *deadlines, struct delegated *lookup)
{
	if (deadlines->count == deadlines->capacity) {
		size_t capacity = deadlines->capacity == 0 ? 64 : deadlines->capacity * 2;
		struct delegated **grown = realloc(deadlines->entries, capacity * sizeof(struct delegated *));

		if (grown == NULL)
			return STATUS_NO_MEMORY;
		deadlines->entries = grown;
		deadlines->capacity = capacity;
	}
	sift_up(deadlines, deadlines->count++, lookup);
	return STATUS_OK;
}

void delegate_deadlines_remove(struct delegate_deadlines *deadlines, struct delegated *lookup)
{
	size_t at = lookup->heap_index;
	struct delegated *moved = deadlines->entries[--deadlines->count];

	if (moved == lookup)
		return;
	if (moved->deadline_ms < lookup->deadline_ms)
		sift_up(deadlines, at, moved);
	else
		sift_down(deadlines, at, moved);
}

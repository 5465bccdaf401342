/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines: most lookups end long before theirs, so removal from the middle is
 * the common case; each element knows its position, which makes that O(log n)
 * without a search.  Positions count from 1, parents are at half.
 */
#include "locator/deadlines.h"

#include <stdlib.h>

#include "base/must.h"

#define CAPACITY_FIRST 64

void deadlines_release(struct deadlines *deadlines)
{
	free(deadlines->heap);
	*deadlines = (struct deadlines){ 0 };
}

static void set(struct deadlines *deadlines, size_t position, struct deadline *deadline)
{
	deadlines->heap[position - 1] = deadline;
	deadline->position = position;
}

static struct deadline *at(const struct deadlines *deadlines, size_t position)
{
	return deadlines->heap[position - 1];
}

static void rise(struct deadlines *deadlines, struct deadline *deadline, size_t position)
{
	while (position > 1 && at(deadlines, position / 2)->at_ms > deadline->at_ms) {
		set(deadlines, position, at(deadlines, position / 2));
		position /= 2;
	}
	set(deadlines, position, deadline);
}

static void sink(struct deadlines *deadlines, struct deadline *deadline, size_t position)
{
	for (size_t child = position * 2; child <= deadlines->count; child = position * 2) {
		if (child < deadlines->count && at(deadlines, child + 1)->at_ms < at(deadlines, child)->at_ms)
			child++;
		if (at(deadlines, child)->at_ms >= deadline->at_ms)
			break;
		set(deadlines, position, at(deadlines, child));
		position = child;
	}
	set(deadlines, position, deadline);
}

enum status deadlines_add(struct deadlines *deadlines, struct deadline *deadline)
{
	must(!deadline->position);
	if (deadlines->count == deadlines->capacity) {
		size_t capacity = deadlines->capacity ? deadlines->capacity * 2 : CAPACITY_FIRST;
		struct deadline **heap = realloc(deadlines->heap, capacity * sizeof(struct deadline *));
		if (!heap)
			return STATUS_NO_MEMORY;
		deadlines->heap = heap;
		deadlines->capacity = capacity;
	}
	deadlines->count++;
	rise(deadlines, deadline, deadlines->count);
	return STATUS_OK;
}

void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline)
{
	size_t position = deadline->position;
	if (!position)
		return;
	must(at(deadlines, position) == deadline);
	struct deadline *last = at(deadlines, deadlines->count);
	deadlines->count--;
	deadline->position = 0;
	if (last == deadline)
		return;
	if (last->at_ms < deadline->at_ms)
		rise(deadlines, last, position);
	else
		sink(deadlines, last, position);
}

struct deadline *deadlines_first(const struct deadlines *deadlines)
{
	return deadlines->count ? deadlines->heap[0] : NULL;
}

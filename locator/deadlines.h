/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap of absolute deadlines, so that one timer serves every waiter of an engine.  One thread. */
#ifndef LOCATOR_DEADLINES_H
#define LOCATOR_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Embedded in what waits. */
struct deadline {
	int64_t at_ms;
	size_t position; /* in the heap, from 1; 0: not in it */
};

struct deadlines {
	struct deadline **heap;
	size_t count, capacity;
};

void deadlines_release(struct deadlines *deadlines);
MUST_CHECK enum status deadlines_add(struct deadlines *deadlines, struct deadline *deadline);
/* Does nothing when it is not in the heap. */
void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline);
/* The soonest, or NULL. */
struct deadline *deadlines_first(const struct deadlines *deadlines);

#endif

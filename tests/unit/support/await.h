/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Awaiting a condition on a loop that this thread runs: looked at every few
 * milliseconds, with an end, so that only a failing test waits long.
 */
#ifndef TESTS_SUPPORT_AWAIT_H
#define TESTS_SUPPORT_AWAIT_H

#include "base/loop.h"

#define AWAIT_MS 30000
#define AWAIT_POLL_MS 5

struct await {
	struct loop *loop;
	struct loop_timer patience, poll;
	bool (*is_true)(void *arg);
	void *arg;
	bool has_run_out;
};

static inline void await_over(void *arg)
{
	struct await *await = arg;

	await->has_run_out = true;
	loop_break(await->loop);
}

static inline void await_look(void *arg)
{
	struct await *await = arg;

	if (await->is_true(await->arg))
		loop_break(await->loop);
	else
		loop_timer_start(&await->poll, AWAIT_POLL_MS);
}

static inline enum status await_init(struct await *await, struct loop *loop, bool (*is_true)(void *arg), void *arg)
{
	*await = (struct await){ .loop = loop, .is_true = is_true, .arg = arg };
	enum status status = loop_timer_init(loop, &await->patience, await_over, await);
	return status == STATUS_OK ? loop_timer_init(loop, &await->poll, await_look, await) : status;
}

/* Runs the loop until the condition holds; false when it never did. */
static inline bool await_run(struct await *await)
{
	loop_timer_start(&await->poll, 0);
	loop_timer_start(&await->patience, AWAIT_MS);
	loop_run_here(await->loop);
	return !await->has_run_out;
}

static inline void await_release(struct await *await)
{
	loop_timer_release(&await->patience);
	loop_timer_release(&await->poll);
}

#endif

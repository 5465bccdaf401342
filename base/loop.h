/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loop: libuv, one loop a thread.  Only loop_post() may be called from
 * other threads; everything else belongs to the loop's own thread (or to any
 * thread before loop_start()).
 *
 * The rule for all asynchronous functions of this project: the completion is
 * called exactly once, on the loop's thread, and never from inside the call
 * that started the work.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/status.h"

struct loop;

/* Embedded in the caller's struct; must stay alive until run. */
struct loop_task {
	void (*run)(struct loop_task *task);
	struct loop_task *next;
};

struct loop_timer {
	void (*fire)(void *arg);
	void *arg;
	void *impl;
};

#define LOOP_READ 1
#define LOOP_WRITE 2
struct loop_watch {
	void (*ready)(void *arg, int events);
	void *arg;
	void *impl;
};

MUST_CHECK enum status loop_create(const char *name, struct loop **loop_out);
/* Starts the thread. */
MUST_CHECK enum status loop_start(struct loop *loop);
/* Asks the loop to stop after the tasks posted so far, and joins its thread.  Accepts NULL. */
void loop_stop(struct loop *loop);
/* After loop_stop() (or without a start).  Accepts NULL. */
void loop_destroy(struct loop *loop);
/* Runs in the calling thread until loop_break(); for tests and commands. */
void loop_run_here(struct loop *loop);
void loop_break(struct loop *loop);

/* From any thread; runs on the loop's thread, in order for each poster. */
void loop_post(struct loop *loop, struct loop_task *task);
/* On the loop's thread only: runs after the current round of events, for batching what this round brought. */
void loop_defer(struct loop *loop, struct loop_task *task);
/* The task does not run after this; nothing happens when it was not deferred. */
void loop_defer_cancel(struct loop *loop, struct loop_task *task);
bool loop_is_current(const struct loop *loop);
/* Cached at the start of the round; loop_now_ms is the monotonic clock of base/clock.h. */
int64_t loop_now_ms(const struct loop *loop);

MUST_CHECK enum status loop_timer_init(struct loop *loop, struct loop_timer *timer, void (*fire)(void *arg), void *arg);
/* Once, after delay_ms (>= 0); restarting moves it. */
void loop_timer_start(struct loop_timer *timer, int64_t delay_ms);
void loop_timer_stop(struct loop_timer *timer);
/* Safe on a zeroed timer; the owner may be freed at once after. */
void loop_timer_release(struct loop_timer *timer);

MUST_CHECK enum status loop_watch_init(
	struct loop *loop, struct loop_watch *watch, int fd, void (*ready)(void *arg, int events), void *arg);
/* events: LOOP_READ | LOOP_WRITE; 0 pauses. */
void loop_watch_set(struct loop_watch *watch, int events);
/* Safe on a zeroed watch.  Must come before the fd is closed. */
void loop_watch_release(struct loop_watch *watch);

#endif

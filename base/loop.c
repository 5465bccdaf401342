/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loop over libuv.
 *
 * Posted tasks form a list under a mutex that is swapped out whole, and the loop
 * is woken only when the list was empty, so a burst of posts costs one wake-up.
 * Deferred tasks run from the prepare and check phases: what timers bring runs
 * before the loop sleeps, what sockets and posts bring runs right after them.  An
 * idle handle is active while any wait, which keeps the loop from sleeping.
 *
 * A timer or watch is a heap handle that libuv closes a round later, so its owner
 * can be freed at once; a released handle never calls back.
 *
 * Invariant: everything but posted, is_stopping and wake is touched by one thread.
 */
#include "base/loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/must.h"

#define THREAD_NAME_SIZE 16 /* the kernel's bound, with the NUL */

struct task_list {
	struct loop_task *first, **tail;
};

struct loop {
	uv_loop_t uv;
	uv_async_t wake;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	pthread_t thread;
	bool has_thread, is_running;
	char name[THREAD_NAME_SIZE];
	struct task_list deferred, round; /* round: those running now */

	pthread_mutex_t mutex; /* guards posted and is_stopping; never held across a task */
	struct task_list posted;
	bool is_stopping;
};

struct timer_handle {
	uv_timer_t uv;
	struct loop_timer *owner;
};

struct watch_handle {
	uv_poll_t uv;
	struct loop_watch *owner;
};

static _Thread_local const struct loop *current_loop;

static void list_init(struct task_list *list)
{
	list->first = NULL;
	list->tail = &list->first;
}

static void list_add(struct task_list *list, struct loop_task *task)
{
	task->next = NULL;
	*list->tail = task;
	list->tail = &task->next;
}

static struct loop_task *list_take(struct task_list *list)
{
	struct loop_task *first = list->first;

	list_init(list);
	return first;
}

static void run_all(struct loop_task *task)
{
	while (task != NULL) {
		struct loop_task *next = task->next; /* the task may free or reuse itself */

		task->run(task);
		task = next;
	}
}

static struct loop_task *list_pop(struct task_list *list)
{
	struct loop_task *task = list->first;

	if (task != NULL) {
		list->first = task->next;
		if (list->first == NULL)
			list->tail = &list->first;
	}
	return task;
}

static bool list_remove(struct task_list *list, struct loop_task *task)
{
	for (struct loop_task **at = &list->first; *at != NULL; at = &(*at)->next) {
		if (*at != task)
			continue;
		*at = task->next;
		if (*at == NULL)
			list->tail = at;
		return true;
	}
	return false;
}

static void run_deferred(struct loop *loop)
{
	struct loop_task *task;

	/* What these defer again waits for the next round. */
	if (loop->deferred.first != NULL)
		loop->round = loop->deferred;
	list_init(&loop->deferred);
	while ((task = list_pop(&loop->round)) != NULL)
		task->run(task);
	if (loop->deferred.first == NULL)
		uv_idle_stop(&loop->idle);
}

static void on_prepare(uv_prepare_t *handle)
{
	run_deferred(handle->data);
}

static void on_check(uv_check_t *handle)
{
	run_deferred(handle->data);
}

static void on_idle(uv_idle_t *handle)
{
	(void)handle; /* being active is its whole work */
}

static void on_wake(uv_async_t *handle)
{
	struct loop *loop = handle->data;
	struct loop_task *tasks;
	bool is_stopping;

	pthread_mutex_lock(&loop->mutex);
	tasks = list_take(&loop->posted);
	is_stopping = loop->is_stopping;
	loop->is_stopping = false;
	pthread_mutex_unlock(&loop->mutex);
	run_all(tasks);
	if (is_stopping)
		uv_stop(&loop->uv);
}

static enum status init_handles(struct loop *loop)
{
	if (uv_loop_init(&loop->uv) != 0)
		return STATUS_IO;
	if (uv_async_init(&loop->uv, &loop->wake, on_wake) != 0) {
		uv_loop_close(&loop->uv);
		return STATUS_IO;
	}
	/* These four cannot fail. */
	uv_prepare_init(&loop->uv, &loop->prepare);
	uv_check_init(&loop->uv, &loop->check);
	uv_idle_init(&loop->uv, &loop->idle);
	loop->wake.data = loop->prepare.data = loop->check.data = loop->idle.data = loop;
	uv_prepare_start(&loop->prepare, on_prepare);
	uv_check_start(&loop->check, on_check);
	return STATUS_OK;
}

enum status loop_create(const char *name, struct loop **loop_out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	enum status status;

	*loop_out = NULL;
	if (loop == NULL)
		return STATUS_NO_MEMORY;
	strncpy(loop->name, name, sizeof(loop->name) - 1);
	list_init(&loop->deferred);
	list_init(&loop->round);
	list_init(&loop->posted);
	status = init_handles(loop);
	if (status != STATUS_OK) {
		free(loop);
		return status;
	}
	must(pthread_mutex_init(&loop->mutex, NULL) == 0);
	*loop_out = loop;
	return STATUS_OK;
}

static void run(struct loop *loop)
{
	const struct loop *outer = current_loop;

	current_loop = loop;
	loop->is_running = true;
	uv_update_time(&loop->uv);
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	loop->is_running = false;
	current_loop = outer;
}

static void *thread_main(void *arg)
{
	struct loop *loop = arg;

	pthread_setname_np(pthread_self(), loop->name);
	run(loop);
	return NULL;
}

enum status loop_start(struct loop *loop)
{
	must(!loop->has_thread);
	if (pthread_create(&loop->thread, NULL, thread_main, loop) != 0)
		return STATUS_NO_MEMORY;
	loop->has_thread = true;
	return STATUS_OK;
}

void loop_break(struct loop *loop)
{
	pthread_mutex_lock(&loop->mutex);
	loop->is_stopping = true;
	pthread_mutex_unlock(&loop->mutex);
	uv_async_send(&loop->wake);
}

void loop_stop(struct loop *loop)
{
	if (loop == NULL || !loop->has_thread)
		return;
	loop_break(loop);
	pthread_join(loop->thread, NULL);
	loop->has_thread = false;
}

void loop_run_here(struct loop *loop)
{
	must(!loop->has_thread);
	run(loop);
}

static void on_timer_closed(uv_handle_t *handle)
{
	free((struct timer_handle *)handle);
}

static void on_watch_closed(uv_handle_t *handle)
{
	free((struct watch_handle *)handle);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (uv_is_closing(handle))
		return;
	if (handle->type == UV_TIMER)
		uv_close(handle, on_timer_closed);
	else if (handle->type == UV_POLL)
		uv_close(handle, on_watch_closed);
	else
		uv_close(handle, NULL);
}

void loop_destroy(struct loop *loop)
{
	if (loop == NULL)
		return;
	must(!loop->has_thread);
	uv_walk(&loop->uv, close_handle, NULL);
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	must(uv_loop_close(&loop->uv) == 0);
	pthread_mutex_destroy(&loop->mutex);
	free(loop);
}

void loop_post(struct loop *loop, struct loop_task *task)
{
	bool was_empty;

	pthread_mutex_lock(&loop->mutex);
	was_empty = loop->posted.first == NULL;
	list_add(&loop->posted, task);
	pthread_mutex_unlock(&loop->mutex);
	if (was_empty)
		uv_async_send(&loop->wake);
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
	if (loop->deferred.first == NULL)
		uv_idle_start(&loop->idle, on_idle);
	list_add(&loop->deferred, task);
}

void loop_defer_cancel(struct loop *loop, struct loop_task *task)
{
	if (!list_remove(&loop->deferred, task))
		list_remove(&loop->round, task);
}

bool loop_is_current(const struct loop *loop)
{
	return current_loop == loop;
}

int64_t loop_now_ms(const struct loop *loop)
{
	/* Outside a run the cached time is stale. */
	return loop->is_running ? (int64_t)uv_now(&loop->uv) : clock_monotonic_ms(clock_system());
}

/* ---- timers ---- */

static void on_timer(uv_timer_t *handle)
{
	struct timer_handle *impl = (struct timer_handle *)handle;

	impl->owner->fire(impl->owner->arg);
}

enum status loop_timer_init(struct loop *loop, struct loop_timer *timer, void (*fire)(void *arg), void *arg)
{
	struct timer_handle *impl = calloc(1, sizeof(*impl));

	*timer = (struct loop_timer){ .fire = fire, .arg = arg };
	if (impl == NULL)
		return STATUS_NO_MEMORY;
	uv_timer_init(&loop->uv, &impl->uv);
	impl->uv.data = loop;
	impl->owner = timer;
	timer->impl = impl;
	return STATUS_OK;
}

void loop_timer_start(struct loop_timer *timer, int64_t delay_ms)
{
	struct timer_handle *impl = timer->impl;
	struct loop *loop = impl->uv.data;

	if (!loop->is_running)
		uv_update_time(&loop->uv);
	uv_timer_start(&impl->uv, on_timer, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
}

void loop_timer_stop(struct loop_timer *timer)
{
	struct timer_handle *impl = timer->impl;

	if (impl != NULL)
		uv_timer_stop(&impl->uv);
}

void loop_timer_release(struct loop_timer *timer)
{
	struct timer_handle *impl = timer->impl;

	timer->impl = NULL;
	if (impl != NULL)
		uv_close((uv_handle_t *)&impl->uv, on_timer_closed);
}

/* ---- watches ---- */

static void on_watch(uv_poll_t *handle, int status, int events)
{
	struct watch_handle *impl = (struct watch_handle *)handle;

	/* On a failure the owner finds out what by reading and writing. */
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	impl->owner->ready(
		impl->owner->arg, (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0));
}

enum status loop_watch_init(
	struct loop *loop, struct loop_watch *watch, int fd, void (*ready)(void *arg, int events), void *arg)
{
	struct watch_handle *impl = calloc(1, sizeof(*impl));

	*watch = (struct loop_watch){ .ready = ready, .arg = arg };
	if (impl == NULL)
		return STATUS_NO_MEMORY;
	if (uv_poll_init(&loop->uv, &impl->uv, fd) != 0) {
		free(impl);
		return STATUS_IO;
	}
	impl->owner = watch;
	watch->impl = impl;
	return STATUS_OK;
}

void loop_watch_set(struct loop_watch *watch, int events)
{
	struct watch_handle *impl = watch->impl;

	if (events == 0)
		uv_poll_stop(&impl->uv);
	else
		uv_poll_start(&impl->uv,
			(events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0), on_watch);
}

void loop_watch_release(struct loop_watch *watch)
{
	struct watch_handle *impl = watch->impl;

	watch->impl = NULL;
	if (impl != NULL)
		uv_close((uv_handle_t *)&impl->uv, on_watch_closed);
}

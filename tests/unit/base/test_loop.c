/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop: posting from threads, deferring, timers and watches that go away at
 * awkward moments, and stopping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/loop.h"

#define POSTERS 4
#define POSTS_EACH 5000

struct numbered_task {
	struct loop_task task;
	struct post_test *test;
	int poster, number;
};

struct post_test {
	struct loop *loop;
	int expected[POSTERS]; /* loop's thread only */
	int count;
	bool is_out_of_order, is_elsewhere;
};

static void run_numbered(struct loop_task *task)
{
	struct numbered_task *numbered = (struct numbered_task *)task;
	struct post_test *test = numbered->test;

	if (numbered->number != test->expected[numbered->poster]++)
		test->is_out_of_order = true;
	if (!loop_is_current(test->loop))
		test->is_elsewhere = true;
	test->count++;
	free(numbered);
}

struct poster {
	struct post_test *test;
	int index;
};

static void *poster_main(void *arg)
{
	struct poster *poster = arg;

	for (int i = 0; i < POSTS_EACH; i++) {
		struct numbered_task *numbered = calloc(1, sizeof(*numbered));

		assert_non_null(numbered);
		*numbered = (struct numbered_task){
			.task.run = run_numbered, .test = poster->test, .poster = poster->index, .number = i
		};
		loop_post(poster->test->loop, &numbered->task);
	}
	return NULL;
}

static void test_posts_from_threads_arrive_in_order(void **state)
{
	struct post_test test = { 0 };
	struct poster posters[POSTERS];
	pthread_t threads[POSTERS];

	(void)state;
	assert_int_equal(loop_create("test", &test.loop), STATUS_OK);
	assert_int_equal(loop_start(test.loop), STATUS_OK);
	for (int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){ &test, i };
		assert_int_equal(pthread_create(&threads[i], NULL, poster_main, &posters[i]), 0);
	}
	for (int i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	loop_stop(test.loop); /* everything posted before it must have run */
	assert_int_equal(test.count, POSTERS * POSTS_EACH);
	assert_false(test.is_out_of_order);
	assert_false(test.is_elsewhere);
	assert_false(loop_is_current(test.loop));
	loop_destroy(test.loop);
}

struct script {
	struct loop_task post, defer_a, defer_b, again;
	struct loop *loop;
	struct loop_timer timer;
	char order[32];
	int rounds;
};

static void note(struct script *script, char c)
{
	size_t length = strlen(script->order);

	assert_true(length + 1 < sizeof(script->order));
	script->order[length] = c;
}

#define OF(member, task) ((struct script *)(void *)((char *)(task)-offsetof(struct script, member)))

static void run_again(struct loop_task *task)
{
	struct script *script = OF(again, task);

	note(script, 'r');
	if (++script->rounds < 3)
		loop_defer(script->loop, task);
	else
		loop_break(script->loop);
}

static void run_defer_a(struct loop_task *task)
{
	note(OF(defer_a, task), 'a');
}

static void run_defer_b(struct loop_task *task)
{
	struct script *script = OF(defer_b, task);

	note(script, 'b');
	loop_defer(script->loop, &script->again);
}

static void run_post(struct loop_task *task)
{
	struct script *script = OF(post, task);

	loop_defer(script->loop, &script->defer_a);
	loop_defer(script->loop, &script->defer_b);
	note(script, 'p');
}

static void test_deferred_tasks_run_after_the_round(void **state)
{
	struct script script = {
		.post.run = run_post, .defer_a.run = run_defer_a, .defer_b.run = run_defer_b, .again.run = run_again
	};

	(void)state;
	assert_int_equal(loop_create("test", &script.loop), STATUS_OK);
	loop_post(script.loop, &script.post);
	/* No timer and no socket: were a deferred task to wait for an event, this would never return. */
	loop_run_here(script.loop);
	assert_string_equal(script.order, "pabrrr");
	loop_destroy(script.loop);
}

static void fire_and_release(void *arg)
{
	struct script *script = arg;

	note(script, 't');
	loop_timer_release(&script->timer);
	loop_defer(script->loop, &script->defer_a);
	script->again.run = run_again;
	script->rounds = 2;
	loop_defer(script->loop, &script->again);
}

static void test_a_timer_can_release_itself_and_defer(void **state)
{
	struct script script = { .defer_a.run = run_defer_a };

	(void)state;
	assert_int_equal(loop_create("test", &script.loop), STATUS_OK);
	assert_int_equal(loop_timer_init(script.loop, &script.timer, fire_and_release, &script), STATUS_OK);
	loop_timer_start(&script.timer, 60000);
	loop_timer_start(&script.timer, 1); /* moves it */
	loop_run_here(script.loop);
	assert_string_equal(script.order, "tar");
	loop_timer_release(&script.timer); /* a second release, and one of a zeroed timer, do nothing */
	loop_destroy(script.loop);
}

static void fire_break(void *arg)
{
	loop_break(arg);
}

static void fire_never(void *arg)
{
	(void)arg;
	fail();
}

static void test_released_timers_never_fire(void **state)
{
	struct loop *loop;
	struct loop_timer *gone = calloc(1, sizeof(*gone)), stopped, end;
	int64_t before_ms;

	(void)state;
	assert_int_equal(loop_create("test", &loop), STATUS_OK);
	assert_int_equal(loop_timer_init(loop, gone, fire_never, NULL), STATUS_OK);
	assert_int_equal(loop_timer_init(loop, &stopped, fire_never, NULL), STATUS_OK);
	assert_int_equal(loop_timer_init(loop, &end, fire_break, loop), STATUS_OK);
	loop_timer_start(gone, 0);
	loop_timer_start(&stopped, 1);
	loop_timer_stop(&stopped);
	loop_timer_release(gone);
	free(gone);
	before_ms = loop_now_ms(loop);
	loop_timer_start(&end, 20);
	loop_run_here(loop);
	assert_in_range(loop_now_ms(loop) - before_ms, 15, 10000);
	loop_timer_release(&stopped);
	loop_timer_release(&end);
	loop_destroy(loop);
}

static void run_cancel_both(struct loop_task *task)
{
	struct script *script = OF(post, task);

	note(script, 'c');
	loop_defer_cancel(script->loop, &script->defer_a); /* later in this round */
	loop_defer(script->loop, &script->defer_b);
	loop_defer_cancel(script->loop, &script->defer_b); /* in the next */
	loop_defer_cancel(script->loop, &script->defer_b); /* not there */
	script->rounds = 2;
	loop_defer(script->loop, &script->again);
}

static void test_cancelled_tasks_do_not_run(void **state)
{
	struct script script = { .post.run = run_cancel_both,
		.defer_a.run = run_defer_a,
		.defer_b.run = run_defer_b,
		.again.run = run_again };

	(void)state;
	assert_int_equal(loop_create("test", &script.loop), STATUS_OK);
	loop_defer(script.loop, &script.post);
	loop_defer(script.loop, &script.defer_a);
	loop_run_here(script.loop);
	assert_string_equal(script.order, "cr");
	loop_destroy(script.loop);
}

struct pipe_test {
	struct loop *loop;
	struct loop_watch read, write;
	int fds[2];
	size_t received;
	bool has_written;
};

static void on_readable(void *arg, int events)
{
	struct pipe_test *test = arg;
	char bytes[64];
	ssize_t size = read(test->fds[0], bytes, sizeof(bytes));

	assert_true(events & LOOP_READ);
	if (size > 0) {
		test->received += (size_t)size;
		return;
	}
	assert_int_equal(size, 0);
	loop_watch_release(&test->read);
	close(test->fds[0]);
	loop_break(test->loop);
}

static void on_writable(void *arg, int events)
{
	struct pipe_test *test = arg;

	assert_int_equal(events, LOOP_WRITE);
	if (!test->has_written) {
		assert_int_equal(write(test->fds[1], "hello", 5), 5);
		test->has_written = true;
		return;
	}
	loop_watch_set(&test->write, 0);
	loop_watch_release(&test->write);
	close(test->fds[1]);
}

static void test_watches_follow_a_pipe_to_its_end(void **state)
{
	struct pipe_test test = { 0 };

	(void)state;
	assert_int_equal(pipe(test.fds), 0);
	assert_int_equal(loop_create("test", &test.loop), STATUS_OK);
	assert_int_equal(loop_watch_init(test.loop, &test.read, test.fds[0], on_readable, &test), STATUS_OK);
	assert_int_equal(loop_watch_init(test.loop, &test.write, test.fds[1], on_writable, &test), STATUS_OK);
	loop_watch_set(&test.read, LOOP_READ);
	loop_watch_set(&test.write, LOOP_WRITE);
	loop_run_here(test.loop);
	assert_int_equal(test.received, 5);
	loop_destroy(test.loop);
}

static void test_a_watch_refuses_a_bad_descriptor(void **state)
{
	struct loop *loop;
	struct loop_watch watch;

	(void)state;
	assert_int_equal(loop_create("a name longer than the kernel allows", &loop), STATUS_OK);
	assert_int_equal(loop_watch_init(loop, &watch, -1, on_readable, NULL), STATUS_IO);
	loop_watch_release(&watch);
	loop_destroy(loop);
	loop_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_posts_from_threads_arrive_in_order),
		cmocka_unit_test(test_deferred_tasks_run_after_the_round),
		cmocka_unit_test(test_a_timer_can_release_itself_and_defer),
		cmocka_unit_test(test_released_timers_never_fire),
		cmocka_unit_test(test_cancelled_tasks_do_not_run),
		cmocka_unit_test(test_watches_follow_a_pipe_to_its_end),
		cmocka_unit_test(test_a_watch_refuses_a_bad_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from an answer, and how long until the next attempt, on a clock that
 * only the test moves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "federation/webhook_decision.h"

#define WEEK_MS (7 * 86400 * 1000LL)

static const struct webhook_terms terms = { 1000, 300000, 3 };

/* The same every time: 0 is the least wait, all ones the most. */
static void fill(void *arg, void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((unsigned char *)bytes)[i] = *(unsigned char *)arg;
}
static unsigned char least_byte = 0;
static const struct random_source least = { fill, &least_byte };

static struct webhook_decision decide(int status, int64_t retry_after_s, int64_t attempts, int64_t refusals)
{
	const struct webhook_answer answer = { status, retry_after_s };
	const struct webhook_history history = { attempts, refusals, WEEK_MS };

	return webhook_decide(&answer, &history, &terms, &least);
}

static void every_status_has_one_step(void **state)
{
	static const int again[] = { 0, 408, 425, 429, 500, 502, 503, 504, 599 };
	static const int refused[] = { 100, 300, 301, 308, 400, 401, 403, 404, 409, 411, 422, 451, 499, 600 };

	(void)state;
	for (int status = 200; status <= 299; status++)
		assert_int_equal(decide(status, 60, 9, 9).step, WEBHOOK_DONE);
	assert_int_equal(decide(410, 0, 0, 0).step, WEBHOOK_PAUSE);
	assert_int_equal(decide(410, 0, 90, 90).step, WEBHOOK_PAUSE);
	for (size_t i = 0; i < sizeof(again) / sizeof(again[0]); i++) {
		struct webhook_decision decision = decide(again[i], 0, 1000, 2);

		assert_int_equal(decision.step, WEBHOOK_RETRY); /* however often */
		assert_false(decision.is_refusal);
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		assert_int_equal(decide(refused[i], 0, 7, 0).step, WEBHOOK_RETRY);
		assert_true(decide(refused[i], 0, 7, 1).is_refusal);
		assert_int_equal(decide(refused[i], 0, 7, 1).step, WEBHOOK_RETRY);
		assert_int_equal(decide(refused[i], 0, 7, 2).step, WEBHOOK_DEAD);
	}
}

static void only_what_is_nobodys_fault_holds_the_webhook(void **state)
{
	static const int holds[] = { 0, 429, 503 }, lets[] = { 200, 400, 408, 410, 425, 500, 502, 504 };

	(void)state;
	for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++)
		assert_true(decide(holds[i], 0, 0, 0).holds_webhook);
	for (size_t i = 0; i < sizeof(lets) / sizeof(lets[0]); i++)
		assert_false(decide(lets[i], 0, 0, 0).holds_webhook);
}

static void waits_double_up_to_a_bound(void **state)
{
	static const int64_t full_ms[] = { 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000,
		300000 };
	struct random_seeded random;

	(void)state;
	random_seeded_init(&random, 17);
	for (size_t i = 0; i < sizeof(full_ms) / sizeof(full_ms[0]); i++) {
		int64_t lowest = INT64_MAX, highest = 0;

		assert_int_equal(webhook_backoff_ms((int64_t)i + 1, &terms, &least), full_ms[i] / 2);
		for (int try = 0; try < 1000; try++) {
			int64_t wait_ms = webhook_backoff_ms((int64_t)i + 1, &terms, &random.source);

			lowest = wait_ms < lowest ? wait_ms : lowest;
			highest = wait_ms > highest ? wait_ms : highest;
		}
		assert_in_range(lowest, full_ms[i] / 2, full_ms[i] * 6 / 10);
		assert_in_range(highest, full_ms[i] * 9 / 10, full_ms[i]);
	}
	assert_int_equal(webhook_backoff_ms(INT64_MAX, &terms, &least), 150000);
}

static void retry_after_is_honoured_where_it_means_something(void **state)
{
	(void)state;
	assert_int_equal(decide(503, 60, 0, 0).wait_ms, 60000);
	assert_int_equal(decide(429, 60, 0, 0).asked_ms, 60000);
	assert_int_equal(decide(429, 1, 9, 0).wait_ms, 150000); /* it asks for less */
	assert_int_equal(decide(503, 1000000, 0, 0).wait_ms, 86400000);
	assert_int_equal(decide(503, INT64_MAX, 0, 0).asked_ms, 86400000);
	assert_int_equal(decide(500, 60, 0, 0).wait_ms, 500);
	assert_int_equal(decide(500, 60, 0, 0).asked_ms, 0);
	assert_int_equal(decide(400, 60, 0, 0).wait_ms, 500);
}

static void no_wait_is_longer_than_the_event_is_worth_anything(void **state)
{
	const struct webhook_answer busy = { 503, 3600 };
	const struct webhook_history history = { 0, 0, 90000 };

	(void)state;
	assert_int_equal(webhook_decide(&busy, &history, &terms, &least).wait_ms, 90000);
	/* What others wait for is not shorter by it. */
	assert_int_equal(webhook_decide(&busy, &history, &terms, &least).asked_ms, 3600000);
}

/* A receiver that is down for days: how often it is asked, and that the end comes when it should. */
static void an_event_is_tried_until_it_expires(void **state)
{
	const struct webhook_answer down = { 0, 0 };
	struct fake_clock clock;
	struct random_seeded random;
	int64_t end_ms, attempts = 0;

	(void)state;
	fake_clock_init(&clock, 5000);
	random_seeded_init(&random, 4);
	end_ms = 5000 + WEEK_MS;
	while (clock_monotonic_ms(&clock.source) < end_ms) {
		const struct webhook_history history = { attempts, 0, end_ms - clock_monotonic_ms(&clock.source) };
		struct webhook_decision decision = webhook_decide(&down, &history, &terms, &random.source);

		assert_int_equal(decision.step, WEBHOOK_RETRY);
		assert_in_range(decision.wait_ms, 1, 300000);
		fake_clock_advance_ms(&clock, decision.wait_ms);
		attempts++;
	}
	assert_int_equal(clock_monotonic_ms(&clock.source), end_ms);
	assert_in_range(attempts, WEEK_MS / 300000, 2 * WEEK_MS / 300000 + 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_has_one_step),
		cmocka_unit_test(only_what_is_nobodys_fault_holds_the_webhook),
		cmocka_unit_test(waits_double_up_to_a_bound),
		cmocka_unit_test(retry_after_is_honoured_where_it_means_something),
		cmocka_unit_test(no_wait_is_longer_than_the_event_is_worth_anything),
		cmocka_unit_test(an_event_is_tried_until_it_expires),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Resolve: each way a lookup can fail, and that a failure is never a guess. */
#include "tests/unit/support/fake_world.h"

static void test_unreachable_home_is_said_at_once_and_still_recorded(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, STATUS_UNREACHABLE, NULL, 0);
	assert_int_equal(fake->told[0].result.status, STATUS_UNREACHABLE);
	assert_int_equal(fake->told[0].result.failure, HTTP_CLIENT_CONNECTION_REFUSED);
	assert_string_equal(fake->told[0].result.peer, "na");
	assert_int_equal(fake->gots, 1);
	assert_int_equal(fake->got_answer, STATUS_UNREACHABLE);
	submit(fake, 1, "S1", 2500); /* does not join what has been answered */
	assert_int_equal(fake->releases, 2);
	complete_log(fake, STATUS_OK);
	complete_release(fake, STATUS_UNREACHABLE);
	assert_int_equal(fake->told[0].calls, 1);
}

static void test_record_is_not_given_when_got_is_not_durable(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, STATUS_OK, "{\"valid\":true}", 300);
	complete_log(fake, STATUS_UNREACHABLE);
	assert_int_equal(fake->told[0].result.status, STATUS_UNREACHABLE);
	assert_null(fake->told[0].result.entry);
	fake->waiters[1].mode = CACHE_MODE_ONLY;
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_CACHED);
}

static void test_nonsense_from_the_home_is_no_answer(void **state)
{
	struct fake *fake = *state;
	const char *const nonsense[] = { "[1]", "{", "" };
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		submit(fake, 0, "S1", 2500);
		complete_release(fake, STATUS_OK);
		complete_delegate(fake, STATUS_OK, nonsense[i], 300);
		assert_int_equal(fake->told[0].result.status, STATUS_BAD_PEER);
		complete_log(fake, STATUS_OK);
	}
}

static void test_every_waiter_ends_by_its_own_deadline(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2000);
	submit(fake, 1, "S1", 500);
	assert_int_equal(fake->armed_ms, 1500);
	complete_release(fake, STATUS_OK);
	fake_clock_advance_ms(&fake->clock, 500);
	resolver_wake(fake->resolver);
	assert_int_equal(fake->told[1].result.status, STATUS_DEADLINE);
	assert_int_equal(fake->told[1].result.failure, HTTP_CLIENT_RESPONSE_TIMEOUT);
	assert_int_equal(fake->told[0].calls, 0);
	assert_int_equal(fake->armed_ms, 3000);
	fake_clock_advance_ms(&fake->clock, 1500);
	resolver_wake(fake->resolver);
	assert_int_equal(fake->told[0].result.status, STATUS_DEADLINE);
	/* Late, but on record and good for the next one. */
	complete_delegate(fake, STATUS_OK, "{\"valid\":true}", 300);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[0].calls, 1);
	submit(fake, 2, "S1", 2500);
	assert_int_equal(fake->told[2].result.source, SOURCE_CACHE);
	submit(fake, 3, "S1", 0);
	assert_int_equal(fake->told[3].result.status, STATUS_DEADLINE);
}

static void test_nothing_is_asked_for_waiters_who_left(void **state)
{
	struct fake *fake = *state;
	fake->station_home = NULL;
	submit(fake, 0, "S1", 100);
	fake_clock_advance_ms(&fake->clock, 100);
	resolver_wake(fake->resolver);
	assert_int_equal(fake->told[0].result.status, STATUS_DEADLINE);
	complete_fetch(fake, STATUS_OK, "{}");
	assert_int_equal(fake->releases, 0);
}

static void test_stale_record_is_handed_over_for_refusing(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, "{\"valid\":false}", 60);
	fake_clock_advance_ms(&fake->clock, 61 * 1000);
	fake->waiters[1].wants_stale = true;
	submit(fake, 1, "S1", 2500);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, STATUS_UNREACHABLE, NULL, 0);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[1].result.status, STATUS_UNREACHABLE);
	assert_string_equal(fake->told[1].stale, "{\"valid\":false}");
	submit(fake, 2, "S1", 2500); /* did not want it */
	complete_release(fake, STATUS_UNREACHABLE);
	assert_string_equal(fake->told[2].stale, "");
	fake->permits = false; /* may not even be used to refuse */
	submit(fake, 1, "S1", 2500);
	complete_release(fake, STATUS_UNREACHABLE);
	assert_string_equal(fake->told[1].stale, "");
}

static void test_forgotten_meanwhile_is_not_cached(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	complete_release(fake, STATUS_OK);
	cache_forget(fake->records, "token", "A1");
	complete_delegate(fake, STATUS_OK, "{\"valid\":true}", 300);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[0].result.status, STATUS_OK);
	assert_false(fake->told[0].result.is_stored);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_unreachable_home_is_said_at_once_and_still_recorded),
		TEST(test_record_is_not_given_when_got_is_not_durable),
		TEST(test_nonsense_from_the_home_is_no_answer),
		TEST(test_every_waiter_ends_by_its_own_deadline),
		TEST(test_nothing_is_asked_for_waiters_who_left),
		TEST(test_stale_record_is_handed_over_for_refusing),
		TEST(test_forgotten_meanwhile_is_not_cached),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

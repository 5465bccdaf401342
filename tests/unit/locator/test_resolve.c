/* SPDX-License-Identifier: Apache-2.0 */
/* Resolve: each path a lookup can take to its answer. */
#include "tests/unit/support/fake_world.h"

static void test_delegates_records_and_caches(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	assert_int_equal(fake->releases, 1);
	assert_string_equal(fake->asked_station_region, "eu");
	assert_string_equal(fake->asked_peer, "na");
	assert_int_equal(fake->delegations, 0);
	complete_release(fake, STATUS_OK);
	assert_int_equal(fake->delegations, 1);
	complete_delegate(fake, STATUS_OK, "{\"valid\":true,\"name\":\"Ann\"}", 300);
	assert_int_equal(fake->told[0].calls, 0); /* not before `got` is durable */
	assert_string_equal(fake->got_fields, "valid,name");
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[0].calls, 1);
	assert_int_equal(fake->told[0].result.status, STATUS_OK);
	assert_int_equal(fake->told[0].result.source, SOURCE_HOME);
	assert_true(fake->told[0].result.is_stored);
	assert_string_equal(fake->told[0].record, "{\"valid\":true}"); /* what was not asked for is dropped */

	submit(fake, 1, "S2", 2500);
	assert_int_equal(fake->told[1].calls, 1);
	assert_int_equal(fake->told[1].result.source, SOURCE_CACHE);
	assert_string_equal(fake->told[1].record, "{\"valid\":true}");
	assert_int_equal(fake->releases, 1);
	fake_clock_advance_ms(&fake->clock, 300 * 1000);
	submit(fake, 2, "S1", 2500);
	assert_int_equal(fake->releases, 2);
	complete_release(fake, STATUS_INTERNAL);
	assert_int_equal(fake->told[2].result.status, STATUS_INTERNAL);
}

static void test_ttl_is_the_least_of_all(void **state)
{
	struct fake *fake = *state;
	fake->ttl_max_s = 60;
	bring(fake, 0, "{\"valid\":true}", 300);
	fake_clock_advance_ms(&fake->clock, 60 * 1000);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->releases, 2);
	complete_release(fake, STATUS_DEADLINE);
	fake->ttl_max_s = -1;
	bring(fake, 2, "{\"valid\":true}", 0);
	assert_false(fake->told[2].result.is_stored);
}

static void test_own_gate_may_refuse_and_nothing_leaves(void **state)
{
	struct fake *fake = *state;
	fake->permits = false;
	submit(fake, 0, "S1", 2500);
	complete_release(fake, STATUS_OK);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_AVAILABLE);
	assert_true(fake->told[0].result.was_denied);
	assert_int_equal(fake->delegations, 0);
}

static void test_cached_record_needs_the_gate_again(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, "{\"valid\":true,\"name\":\"Ann\"}", 300);
	fake->permits = false;
	submit(fake, 1, "S1", 2500);
	complete_release(fake, STATUS_OK);
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_AVAILABLE);
	fake->permits = true;
	fake->fields = 3; /* a policy that now asks for more: what is cached is not that */
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].calls, 0);
	complete_release(fake, STATUS_UNREACHABLE);
	fake->fields = 1;
	submit(fake, 1, NULL, 2500); /* without evidence it was never permitted */
	assert_int_equal(fake->told[1].calls, 0);
	assert_string_equal(fake->asked_station_region, "");
	complete_release(fake, STATUS_UNREACHABLE);
	fake->ttl_max_s = 10; /* a policy that now lets it be kept for less */
	fake_clock_advance_ms(&fake->clock, 10 * 1000);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].calls, 0);
	complete_release(fake, STATUS_UNREACHABLE);
	fake->ttl_max_s = -1;
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.source, SOURCE_CACHE);
}

static void test_a_record_is_for_the_caller_its_home_was_told(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, "{\"valid\":true}", 300);
	snprintf(fake->caller, sizeof(fake->caller), "insights");
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].calls, 0);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, STATUS_UNREACHABLE, NULL, 0);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[1].result.status, STATUS_UNREACHABLE);
	snprintf(fake->caller, sizeof(fake->caller), "cpo");
	submit(fake, 2, "S1", 2500);
	assert_int_equal(fake->told[2].result.source, SOURCE_CACHE);
}

static void test_only_if_cached_does_not_tell_which_ids_exist(void **state)
{
	struct fake *fake = *state;
	fake->waiters[0].mode = CACHE_MODE_ONLY;
	submit(fake, 0, "S1", 2500); /* routed, not held */
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_CACHED);
	bring(fake, 1, NULL, 30);
	submit(fake, 0, "S1", 2500); /* refused by its home, and that is held */
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_CACHED);
	assert_int_equal(fake->told[0].result.source, SOURCE_NONE);
	fake->object_home = NULL;
	submit(fake, 0, "S1", 2500); /* nowhere */
	complete_fetch(fake, STATUS_NOT_AVAILABLE, NULL);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_CACHED);
	assert_int_equal(fake->told[0].result.source, SOURCE_NONE);
	fake->permits = false;
	submit(fake, 0, "S1", 2500); /* here, but denied */
	complete_fetch(fake, STATUS_OK, "{\"valid\":true}");
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_CACHED);
}

static void test_moved_object_is_not_answered_from_its_old_home(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, "{\"valid\":true}", 300);
	fake->object_home = "ap";
	submit(fake, 1, "S1", 2500);
	assert_string_equal(fake->asked_peer, "ap");
	complete_release(fake, STATUS_UNREACHABLE);
}

static void test_negative_answers_are_remembered_for_that_evidence_only(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, NULL, 30);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fake->told[0].result.source, SOURCE_HOME);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fake->told[1].result.source, SOURCE_CACHE);
	submit(fake, 2, NULL, 2500);
	assert_int_equal(fake->told[2].calls, 0);
	complete_release(fake, STATUS_UNREACHABLE);
	fake_clock_advance_ms(&fake->clock, 10 * 1000); /* the negative ttl caps the home's 30 s */
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].calls, 0);
	complete_release(fake, STATUS_UNREACHABLE);
}

static void test_negative_is_kept_after_another_object_was_forgotten(void **state)
{
	struct fake *fake = *state;
	cache_forget(fake->negatives, "token", "another");
	bring(fake, 0, NULL, 30);
	assert_true(fake->told[0].result.is_stored);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.source, SOURCE_CACHE);
}

static void test_refusal_of_the_home_ends_an_earlier_record(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, "{\"valid\":true}", 300);
	submit(fake, 1, NULL, 2500); /* other evidence says nothing about the record held */
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, STATUS_NOT_AVAILABLE, NULL, 30);
	complete_log(fake, STATUS_OK);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.status, STATUS_OK);
	fake->waiters[2].mode = CACHE_MODE_BYPASS;
	bring(fake, 2, NULL, 30);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fake->told[1].result.source, SOURCE_CACHE);
}

static void test_object_at_home_here_crosses_nothing(void **state)
{
	struct fake *fake = *state;
	fake->object_home = "eu";
	submit(fake, 0, "S1", 2500);
	complete_fetch(fake, STATUS_OK, "{\"valid\":true,\"name\":\"Ann\"}");
	assert_int_equal(fake->told[0].result.status, STATUS_OK);
	assert_int_equal(fake->told[0].result.source, SOURCE_LOCAL);
	assert_string_equal(fake->told[0].record, "{\"valid\":true}");
	fake->permits = false;
	submit(fake, 1, "S1", 2500);
	complete_fetch(fake, STATUS_OK, "{\"valid\":true}");
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_AVAILABLE);
	submit(fake, 2, "S1", 2500);
	complete_fetch(fake, STATUS_UNREACHABLE, NULL);
	assert_int_equal(fake->told[2].result.status, STATUS_UNREACHABLE);
	assert_int_equal(fake->releases + fake->gots, 0);
}

static void test_unknown_id_never_leaves_the_region(void **state)
{
	struct fake *fake = *state;
	fake->object_home = NULL;
	submit(fake, 0, "S1", 2500);
	complete_fetch(fake, STATUS_NOT_AVAILABLE, NULL);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fake->told[0].result.source, SOURCE_NONE);
	assert_int_equal(fake->releases, 0);
	submit(fake, 1, "S1", 2500); /* not routed, but held here */
	complete_fetch(fake, STATUS_OK, "{\"valid\":false}");
	assert_int_equal(fake->told[1].result.source, SOURCE_LOCAL);
}

static void test_station_without_a_route_is_looked_for_here(void **state)
{
	struct fake *fake = *state;
	fake->station_home = NULL;
	submit(fake, 0, "S1", 2500);
	assert_string_equal(fake->fetch_object.type, "station");
	assert_int_equal(fake->releases, 0);
	complete_fetch(fake, STATUS_OK, "{}");
	assert_string_equal(fake->asked_station_region, "eu");
	complete_release(fake, STATUS_UNREACHABLE);
	submit(fake, 1, "S1", 2500);
	complete_fetch(fake, STATUS_NOT_AVAILABLE, NULL);
	assert_string_equal(fake->asked_station_region, "");
	complete_release(fake, STATUS_UNREACHABLE);
	submit(fake, 2, "S1", 2500);
	complete_fetch(fake, STATUS_UNREACHABLE, NULL);
	assert_int_equal(fake->told[2].result.status, STATUS_UNREACHABLE);
	assert_int_equal(fake->releases, 2);
}

static void test_equal_questions_share_one_delegation(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	submit(fake, 1, "S1", 2500);
	complete_release(fake, STATUS_OK);
	submit(fake, 2, "S1", 2500);
	complete_delegate(fake, STATUS_OK, "{\"valid\":true}", 300);
	submit(fake, 3, "S1", 2500);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->delegations, 1);
	for (int i = 0; i < WAITERS; i++) {
		assert_int_equal(fake->told[i].calls, 1);
		assert_int_equal(fake->told[i].result.has_joined, i > 0);
		assert_int_equal(fake->told[i].result.exchange.bytes[0], 1);
		assert_string_equal(fake->told[i].record, "{\"valid\":true}");
	}
}

static void test_bypass_and_only_if_cached(void **state)
{
	struct fake *fake = *state;
	fake->waiters[0].mode = CACHE_MODE_ONLY;
	submit(fake, 0, "S1", 2500);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_CACHED);
	assert_int_equal(fake->releases, 0);
	bring(fake, 1, "{\"valid\":true}", 300);
	submit(fake, 0, "S1", 2500);
	assert_int_equal(fake->told[0].result.source, SOURCE_CACHE);
	fake->waiters[2].mode = CACHE_MODE_BYPASS;
	bring(fake, 2, "{\"valid\":false}", 300);
	assert_string_equal(fake->told[2].record, "{\"valid\":false}");
	submit(fake, 0, "S1", 2500);
	assert_string_equal(fake->told[0].record, "{\"valid\":false}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_delegates_records_and_caches),
		TEST(test_ttl_is_the_least_of_all),
		TEST(test_own_gate_may_refuse_and_nothing_leaves),
		TEST(test_cached_record_needs_the_gate_again),
		TEST(test_a_record_is_for_the_caller_its_home_was_told),
		TEST(test_only_if_cached_does_not_tell_which_ids_exist),
		TEST(test_moved_object_is_not_answered_from_its_old_home),
		TEST(test_negative_answers_are_remembered_for_that_evidence_only),
		TEST(test_negative_is_kept_after_another_object_was_forgotten),
		TEST(test_refusal_of_the_home_ends_an_earlier_record),
		TEST(test_object_at_home_here_crosses_nothing),
		TEST(test_unknown_id_never_leaves_the_region),
		TEST(test_station_without_a_route_is_looked_for_here),
		TEST(test_equal_questions_share_one_delegation),
		TEST(test_bypass_and_only_if_cached),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

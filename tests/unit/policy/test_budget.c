/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets: what a caller may ask for, what it looks like when it scans, and who is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "policy/budget.h"

struct bench {
	struct fake_clock clock;
	struct budgets *budgets;
	int alarms;
	enum budget_verdict last;
	int64_t lookups, misses, subjects;
	char caller[64];
};

static void alarmed(void *arg, const struct budget_alarm *alarm)
{
	struct bench *bench = arg;

	bench->alarms++;
	bench->last = alarm->verdict;
	bench->lookups = alarm->lookups;
	bench->misses = alarm->misses;
	bench->subjects = alarm->subjects;
	snprintf(bench->caller, sizeof(bench->caller), "%s", alarm->caller);
}

static struct bench *begin(const struct budget_limits *limits)
{
	static struct bench bench;

	memset(&bench, 0, sizeof(bench));
	fake_clock_init(&bench.clock, 1000000);
	bench.budgets = budgets_create(limits, &bench.clock.source, alarmed, &bench);
	assert_non_null(bench.budgets);
	return &bench;
}

static enum budget_verdict take(struct bench *bench, const char *region, const char *caller, int number)
{
	struct object_id object = { .type = "token" };

	snprintf(object.id, sizeof(object.id), "%08X", (unsigned)number);
	return budgets_take(bench->budgets, region, caller, &object);
}

static void nothing_is_refused_without_limits(void **state)
{
	struct bench *bench = begin(&(struct budget_limits){ 0 });

	(void)state;
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(take(bench, "na", "cs-auth", i), BUDGET_WITHIN);
		budgets_missed(bench->budgets, "na", "cs-auth");
	}
	assert_int_equal(bench->alarms, 0);
	budgets_destroy(bench->budgets);
}

static void the_rate_refills_and_bursts_twice(void **state)
{
	struct bench *bench = begin(&(struct budget_limits){ .lookups_per_s = 10 });

	(void)state;
	for (int i = 0; i < 20; i++)
		assert_int_equal(take(bench, "na", "cs-auth", i), BUDGET_WITHIN);
	assert_int_equal(take(bench, "na", "cs-auth", 20), BUDGET_LOOKUPS);
	/* Another caller, another region: budgets of their own. */
	assert_int_equal(take(bench, "na", "billing", 1), BUDGET_WITHIN);
	assert_int_equal(take(bench, "ap", "cs-auth", 1), BUDGET_WITHIN);
	fake_clock_advance_ms(&bench->clock, 100);
	assert_int_equal(take(bench, "na", "cs-auth", 20), BUDGET_WITHIN);
	assert_int_equal(take(bench, "na", "cs-auth", 20), BUDGET_LOOKUPS);
	fake_clock_advance_ms(&bench->clock, 3600000);
	for (int i = 0; i < 20; i++)
		assert_int_equal(take(bench, "na", "cs-auth", i), BUDGET_WITHIN);
	assert_int_equal(take(bench, "na", "cs-auth", 20), BUDGET_LOOKUPS);
	budgets_destroy(bench->budgets);
}

static void only_new_subjects_are_refused_past_the_limit(void **state)
{
	struct bench *bench = begin(&(struct budget_limits){ .subjects_per_hour = 1000 });

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(take(bench, "na", "cs-auth", i), BUDGET_WITHIN);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(take(bench, "na", "cs-auth", i), BUDGET_WITHIN);
	for (int i = 1000; i < 1100; i++)
		assert_int_equal(take(bench, "na", "cs-auth", i), BUDGET_SUBJECTS);
	assert_int_equal(bench->alarms, 1);
	assert_int_equal(bench->subjects, 1000);
	assert_int_equal(take(bench, "na", "cs-auth", 7), BUDGET_WITHIN);
	fake_clock_advance_ms(&bench->clock, 3600000);
	assert_int_equal(take(bench, "na", "cs-auth", 1000), BUDGET_WITHIN);
	budgets_destroy(bench->budgets);
}

static void a_caller_that_mostly_misses_is_slowed_for_a_while(void **state)
{
	const struct budget_limits limits = { .misses_percent = 50, .misses_min = 100, .slow_per_s = 2, .slow_s = 60 };
	struct bench *bench = begin(&limits);
	int within = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(take(bench, "na", "cs-auth", i), BUDGET_WITHIN);
		if (i % 2 == 0)
			budgets_missed(bench->budgets, "na", "cs-auth");
	}
	assert_int_equal(bench->alarms, 0); /* half is allowed */
	budgets_missed(bench->budgets, "na", "cs-auth");
	assert_int_equal(bench->alarms, 1);
	assert_int_equal(bench->last, BUDGET_MISSES);
	assert_int_equal(bench->misses, 51);
	for (int i = 0; i < 590; i++) {
		fake_clock_advance_ms(&bench->clock, 100);
		within += take(bench, "na", "cs-auth", i) == BUDGET_WITHIN;
	}
	assert_in_range(within, 110, 120); /* 2 a second */
	assert_int_equal(take(bench, "na", "billing", 1), BUDGET_WITHIN);
	fake_clock_advance_ms(&bench->clock, 2000);
	for (int i = 0; i < 50; i++)
		assert_int_equal(take(bench, "na", "cs-auth", i), BUDGET_WITHIN);
	budgets_destroy(bench->budgets);
}

static void made_up_callers_share_one_budget(void **state)
{
	struct bench *bench = begin(&(struct budget_limits){ .lookups_per_s = 5 });
	int within = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		char caller[32];

		snprintf(caller, sizeof(caller), "caller-%d", i);
		within += take(bench, "na", caller, i) == BUDGET_WITHIN;
	}
	assert_int_equal(within, 15 + 10);
	assert_string_equal(bench->caller, "_other");
	assert_int_equal(take(bench, "ap", "cs-auth", 1), BUDGET_WITHIN);
	budgets_destroy(bench->budgets);
}

static void an_alarm_is_told_once_a_minute(void **state)
{
	struct bench *bench = begin(&(struct budget_limits){ .subjects_per_hour = 1 });

	(void)state;
	for (int minute = 0; minute < 5; minute++) {
		for (int i = 0; i < 60; i++) {
			take(bench, "na", "cs-auth", i);
			fake_clock_advance_ms(&bench->clock, 1000);
		}
	}
	assert_int_equal(bench->alarms, 5);
	budgets_destroy(bench->budgets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_refused_without_limits),
		cmocka_unit_test(the_rate_refills_and_bursts_twice),
		cmocka_unit_test(only_new_subjects_are_refused_past_the_limit),
		cmocka_unit_test(a_caller_that_mostly_misses_is_slowed_for_a_while),
		cmocka_unit_test(made_up_callers_share_one_budget),
		cmocka_unit_test(an_alarm_is_told_once_a_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

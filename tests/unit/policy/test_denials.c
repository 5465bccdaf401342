/* SPDX-License-Identifier: Apache-2.0 */
/* Denials: told once a minute for each who asks, and bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/denials.h"

struct told {
	int count;
	char last[128];
};

static void tell(void *arg, const char *region, const char *caller, int64_t denied)
{
	struct told *told = arg;

	told->count++;
	(void)snprintf(told->last, sizeof(told->last), "%s/%s %d", region, caller, (int)denied);
}

static void many(struct denials *denials, const char *region, const char *caller, int count)
{
	for (int i = 0; i < count; i++)
		denials_count(denials, region, caller);
}

static void told_once_a_window(void **state)
{
	struct told told = { 0, "" };
	struct fake_clock clock;
	struct denials *denials;

	(void)state;
	fake_clock_init(&clock, 1000);
	denials = denials_create(3, &clock.source, tell, &told);
	many(denials, "na", "", 2);
	many(denials, "ap", "", 2);
	many(denials, "", "cs-auth", 2);
	assert_int_equal(told.count, 0);
	many(denials, "na", "", 5);
	assert_int_equal(told.count, 1);
	assert_string_equal(told.last, "na/ 3");
	many(denials, "", "cs-auth", 1);
	assert_string_equal(told.last, "/cs-auth 3");
	/* The next window begins anew, for those too who were not told of. */
	fake_clock_advance_ms(&clock, DENIALS_WINDOW_S * 1000);
	many(denials, "ap", "", 2);
	assert_int_equal(told.count, 2);
	many(denials, "na", "", 3);
	assert_int_equal(told.count, 3);
	denials_destroy(denials);
}

static void the_table_is_bounded(void **state)
{
	struct told told = { 0, "" };
	struct fake_clock clock;
	struct denials *denials;
	char name[32];

	(void)state;
	fake_clock_init(&clock, 1000);
	denials = denials_create(1, &clock.source, tell, &told);
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "caller-%d", i);
		denials_count(denials, "", name);
	}
	assert_int_equal(told.count, 256);
	fake_clock_advance_ms(&clock, DENIALS_WINDOW_S * 1000);
	denials_count(denials, "", "caller-999");
	assert_int_equal(told.count, 257);
	denials_destroy(denials);
}

static void none_is_told_when_off(void **state)
{
	struct told told = { 0, "" };
	struct denials *denials = denials_create(0, clock_system(), tell, &told);

	(void)state;
	many(denials, "na", "", 1000);
	denials_count(NULL, "na", "");
	assert_int_equal(told.count, 0);
	denials_destroy(denials);
	denials_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(told_once_a_window),
		cmocka_unit_test(the_table_is_bounded),
		cmocka_unit_test(none_is_told_when_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

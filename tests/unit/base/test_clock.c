/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dates against values taken from RFC 3339 and from date(1).
 */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void expect_time(const char *text, int64_t wall_us)
{
	int64_t parsed;

	assert_int_equal(clock_parse(text, &parsed), STATUS_OK);
	assert_int_equal(parsed, wall_us);
}

static void parses_rfc_3339(void **state)
{
	(void)state;
	expect_time("1970-01-01T00:00:00Z", 0);
	expect_time("1985-04-12T23:20:50.52Z", INT64_C(482196050520000));
	expect_time("1996-12-19T16:39:57-08:00", INT64_C(851042397000000));
	expect_time("1996-12-20T00:39:57Z", INT64_C(851042397000000));
	expect_time("2024-02-29t12:00:00.123456789z", INT64_C(1709208000123456));
	expect_time("2026-01-31 08:00:00+05:30", INT64_C(1769826600000000));
	expect_time("1969-12-31T23:59:59Z", -1000000);
	expect_time("1990-12-31T23:59:60Z", INT64_C(662688000000000)); /* a leap second */
	expect_time("2000-02-29T00:00:00Z", INT64_C(951782400000000));
}

static void refuses_what_is_not_a_date(void **state)
{
	static const char *const bad[] = { "", "2026", "2026-01-31", "2026-01-31T08:00:00", "2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
		"2026-01-31T24:00:00Z", "2026-01-31T08:60:00Z", "2026-01-31T08:00:61Z", "2026-01-31T08:00:00.Z",
		"2026-01-31T08:00:00+5:30", "2026-01-31T08:00:00+24:00", "2026-01-31T08:00:00Zx",
		" 2026-01-31T08:00:00Z", "+026-01-31T08:00:00Z", "2026-1-31T08:00:00Z", NULL };

	(void)state;
	for (const char *const *text = bad; *text != NULL; text++) {
		int64_t parsed = 7;
		assert_int_equal(clock_parse(*text, &parsed), STATUS_INVALID);
		assert_int_equal(parsed, 0);
	}
}

static void expect_text(int64_t wall_us, const char *expected)
{
	char text[CLOCK_TEXT_SIZE];

	clock_format(wall_us, text);
	assert_string_equal(text, expected);
}

static void formats_in_utc(void **state)
{
	(void)state;
	expect_text(0, "1970-01-01T00:00:00.000000Z");
	expect_text(-1, "1969-12-31T23:59:59.999999Z");
	expect_text(-1000000, "1969-12-31T23:59:59.000000Z");
	expect_text(INT64_C(1709208000123456), "2024-02-29T12:00:00.123456Z");
	expect_text(INT64_MAX, "1970-01-01T00:00:00.000000Z"); /* no four-digit year: harmless text */
	expect_text(INT64_MIN, "1970-01-01T00:00:00.000000Z");
}

static void what_is_formatted_parses_back(void **state)
{
	char text[CLOCK_TEXT_SIZE];

	(void)state;
	for (int64_t wall_us = INT64_C(-60000000000000000); wall_us < INT64_C(250000000000000000);
		wall_us += INT64_C(12345678901234)) {
		clock_format(wall_us, text);
		expect_time(text, wall_us);
	}
}

static void the_system_clock_moves_forward(void **state)
{
	int64_t before = clock_monotonic_ms(clock_system());

	(void)state;
	assert_true(clock_monotonic_ms(clock_system()) >= before);
	assert_true(clock_wall_us(clock_system()) > INT64_C(1600000000000000));
}

static void the_fake_clock_moves_only_when_told(void **state)
{
	struct fake_clock clock;
	int64_t wall_us;

	(void)state;
	fake_clock_init(&clock, 500);
	wall_us = clock_wall_us(&clock.source);
	assert_int_equal(clock_monotonic_ms(&clock.source), 500);
	fake_clock_advance_ms(&clock, 25);
	assert_int_equal(clock_monotonic_ms(&clock.source), 525);
	assert_int_equal(clock_wall_us(&clock.source), wall_us + 25000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_rfc_3339),
		cmocka_unit_test(refuses_what_is_not_a_date),
		cmocka_unit_test(formats_in_utc),
		cmocka_unit_test(what_is_formatted_parses_back),
		cmocka_unit_test(the_system_clock_moves_forward),
		cmocka_unit_test(the_fake_clock_moves_only_when_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

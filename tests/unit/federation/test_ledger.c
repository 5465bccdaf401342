/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ledgers: which window is next, what two lists of ids have in common, and what that comes to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "federation/ledger.h"

#define HOUR 3600
#define AT "2026-11-21T04:12:09.000001Z"
#define LATER "2026-11-21T04:12:09.000002Z"

static struct ledger_item sent(const char *at, const char *source, const char *id, enum ledger_word word)
{
	return (struct ledger_item){ .key = { at, source, id }, .word = word };
}

static struct ledger_row taken(const char *at, const char *source, const char *id)
{
	return (struct ledger_row){ .key = { at, source, id } };
}

static void test_windows_follow_each_other(void **state)
{
	struct ledger_window window;
	int64_t from_s = 10 * HOUR + 17, now_s = 14 * HOUR, ends_s[] = { 11 * HOUR, 12 * HOUR, 13 * HOUR };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_true(ledger_window_next(from_s, now_s, HOUR, &window));
		assert_int_equal(window.since_s, from_s);
		assert_int_equal(window.until_s, ends_s[i]);
		from_s = window.until_s;
	}
	/* It is over, but not for long enough. */
	assert_false(ledger_window_next(from_s, now_s, HOUR, &window));
	assert_false(ledger_window_next(from_s, now_s + 599, HOUR, &window));
	assert_true(ledger_window_next(from_s, now_s + 600, HOUR, &window));
	assert_int_equal(window.until_s, 14 * HOUR);
}

/* No time is left out and none told twice when the interval is another one from now on. */
static void test_another_interval(void **state)
{
	struct ledger_window window;

	(void)state;
	assert_true(ledger_window_next(10 * HOUR, 20 * HOUR, 600, &window));
	assert_int_equal(window.until_s, 10 * HOUR + 600);
	assert_true(ledger_window_next(window.until_s, 20 * HOUR, HOUR, &window));
	assert_int_equal(window.since_s, 10 * HOUR + 600);
	assert_int_equal(window.until_s, 11 * HOUR);
	assert_int_equal(ledger_settle_s(1), 1);
	assert_int_equal(ledger_settle_s(HOUR), 600);
}

static void test_keys_go_by_time_first(void **state)
{
	struct ledger_key key = { AT, "/s", "2" }, later = { LATER, "/a", "1" }, other = { AT, "/t", "1" },
			  next = { AT, "/s", "3" };

	(void)state;
	assert_true(ledger_key_compare(&key, &later) < 0);
	assert_true(ledger_key_compare(&key, &other) < 0);
	assert_true(ledger_key_compare(&next, &key) > 0);
	assert_int_equal(ledger_key_compare(&key, &key), 0);
}

static void test_missing_and_extra(void **state)
{
	struct ledger_item items[] = { sent(AT, "/s", "1", LEDGER_TAKEN), sent(AT, "/s", "2", LEDGER_TAKEN),
		sent(AT, "/t", "1", LEDGER_WAITED), sent(LATER, "/s", "0", LEDGER_TAKEN),
		sent(LATER, "/s", "4", LEDGER_OTHER), sent(LATER, "/s", "5", LEDGER_WAITED) };
	struct ledger_row rows[] = { taken(AT, "/s", "0"), taken(AT, "/s", "2"), taken(AT, "/t", "1"),
		taken(LATER, "/s", "3"), taken(LATER, "/s", "6") };
	static const bool missing[] = { true, false, false, true, false, false };
	static const bool extra[] = { true, false, false, true, true };

	(void)state;
	/* One is awaited and there, one is awaited and not. */
	assert_int_equal(ledger_compare(items, 6, rows, 5), 1);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(items[i].is_missing, missing[i]);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(rows[i].is_extra, extra[i]);
}

static void test_one_side_is_empty(void **state)
{
	struct ledger_item items[] = { sent(AT, "/s", "1", LEDGER_TAKEN), sent(AT, "/s", "2", LEDGER_OTHER) };
	struct ledger_row rows[] = { taken(AT, "/s", "1") };

	(void)state;
	assert_int_equal(ledger_compare(items, 2, NULL, 0), 0);
	assert_true(items[0].is_missing);
	assert_false(items[1].is_missing);
	assert_int_equal(ledger_compare(NULL, 0, rows, 1), 0);
	assert_true(rows[0].is_extra);
	assert_int_equal(ledger_compare(NULL, 0, NULL, 0), 0);
}

static void test_equal_lists(void **state)
{
	struct ledger_item items[] = { sent(AT, "/s", "1", LEDGER_TAKEN), sent(AT, "/s", "2", LEDGER_OTHER),
		sent(LATER, "/s", "1", LEDGER_WAITED) };
	struct ledger_row rows[] = { taken(AT, "/s", "1"), taken(AT, "/s", "2"), taken(LATER, "/s", "1") };

	(void)state;
	assert_int_equal(ledger_compare(items, 3, rows, 3), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_false(items[i].is_missing);
		assert_false(rows[i].is_extra);
	}
}

static void check_state(struct ledger_counts counts, const char *expected)
{
	assert_string_equal(ledger_state(&counts), expected);
}

static void test_states(void **state)
{
	(void)state;
	check_state((struct ledger_counts){ 0 }, "even");
	check_state((struct ledger_counts){ .missing = 3, .missing_ever = 3, .awaited = 1, .extra = 1 }, "missing");
	/* Named before, sent again, not yet there. */
	check_state((struct ledger_counts){ .missing_ever = 3, .awaited = 3, .extra = 1 }, "open");
	check_state((struct ledger_counts){ .missing_ever = 3, .extra = 1 }, "extra");
	check_state((struct ledger_counts){ .missing_ever = 3 }, "mended");
}

static void check_slices(int64_t window_s, int64_t slice_s, size_t expected)
{
	struct ledger_window slice = { 0, 0 };
	int64_t from_s = 0;
	size_t count = 0;

	while (ledger_slice_next(window_s, slice.until_s, &slice)) {
		assert_int_equal(slice.since_s, from_s);
		assert_true(slice.until_s == from_s + slice_s || slice.until_s == window_s);
		assert_true(slice.until_s > slice.since_s);
		from_s = slice.until_s;
		count++;
	}
	assert_int_equal(from_s, window_s > 0 ? window_s : 0);
	assert_int_equal(count, expected);
}

static void test_slices_cover_a_window_and_are_bounded(void **state)
{
	(void)state;
	check_slices(HOUR, 60, 60);
	check_slices(HOUR - 17, 60, 60); /* the first after a start */
	check_slices(61, 60, 2);
	check_slices(4, 60, 1);
	check_slices(0, 60, 0);
	check_slices(-5, 60, 0);
	check_slices(24 * HOUR, 60, 1440);
	check_slices(365LL * 24 * HOUR, 21900, 1440);
}

static void test_sums_of_slices(void **state)
{
	struct ledger_sums sums = { .events = 0 };
	char one[LEDGER_HASH_BITS + 1], other[LEDGER_HASH_BITS + 1];

	(void)state;
	memset(one, '1', LEDGER_HASH_BITS);
	memset(other, '0', LEDGER_HASH_BITS);
	one[LEDGER_HASH_BITS] = other[LEDGER_HASH_BITS] = '\0';
	one[0] = '0';
	other[5] = '1';
	ledger_sums_add(&sums, 0, 0, "");
	assert_string_equal(sums.hash, ""); /* of none, which is not the sum of equals */
	ledger_sums_add(&sums, 2, 1, one);
	assert_string_equal(sums.hash, one);
	ledger_sums_add(&sums, 3, 0, "");
	assert_string_equal(sums.hash, one);
	ledger_sums_add(&sums, 4, 2, other);
	one[5] = '0';
	assert_string_equal(sums.hash, one);
	assert_int_equal(sums.events, 9);
	assert_int_equal(sums.dead, 3);
	ledger_sums_add(&sums, 0, 0, one);
	memset(other, '0', LEDGER_HASH_BITS);
	assert_string_equal(sums.hash, other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows_follow_each_other),
		cmocka_unit_test(test_another_interval),
		cmocka_unit_test(test_keys_go_by_time_first),
		cmocka_unit_test(test_missing_and_extra),
		cmocka_unit_test(test_one_side_is_empty),
		cmocka_unit_test(test_equal_lists),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_slices_cover_a_window_and_are_bounded),
		cmocka_unit_test(test_sums_of_slices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for base/json_scan.c, with jansson as the judge of what is JSON. */
#include "base/json_scan.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

static bool scans(const char *text, size_t size)
{
	struct json_scan scan;

	json_scan_init(&scan, text, size);
	json_scan_skip(&scan);
	return json_scan_end(&scan);
}

static bool judged(const char *text, size_t size, json_error_t *error)
{
	json_t *value = json_loadb(text, size, JSON_DECODE_ANY, error);

	json_decref(value);
	return value != NULL;
}

static void documents_are_told_from_nonsense(void **state)
{
	static const char *const good[] = { "{}", "[]", " [ ] ", "{\"a\":1}",
		"[1,-2,3.5,1e9,1E-2,0,-0,true,false,null]",
		"{\"a\":{\"b\":[{}]},\"c\":\"\\u20ac\\ud83d\\ude00\\n\\\\\"}", "\"x\"", "[\"\xE2\x82\xAC\"]" };
	static const char *const bad[] = { "", " ", "{", "[", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}",
		"{\"a\":1,}", "{a:1}", "[01]", "[1.]", "[.5]", "[1e]", "[+1]", "[-]", "[--1]", "nul", "truee", "[1 2]",
		"\"a", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
		"\"\\udc00\"", "\"\n\"", "\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xFF\"", "[1]]", "{}x", "[1}",
		"{\"a\":1]" };
	json_error_t error;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(scans(good[i], strlen(good[i])));
		assert_true(judged(good[i], strlen(good[i]), &error));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(scans(bad[i], strlen(bad[i])));
		assert_false(judged(bad[i], strlen(bad[i]), &error));
	}
	assert_false(scans("[\"\0\"]", 5));
	assert_false(scans("[]\0", 3));
}

static void mutants_are_judged_as_jansson_does(void **state)
{
	static const char seed[] = "{\"a\":[1,-2.5e3,true,null],\"b\":{\"c\":\"x\\u20ac\\\"y\\ud83d\\ude00\"},"
				   "\"d\":\"\xE2\x82\xAC\",\"e\":[[],{}]}";
	static const char alphabet[] = "{}[]\",:\\u0e1-+.tfn \xE2\x82\xC2";
	struct random_seeded random;
	size_t agreed = 0;

	(void)state;
	random_seeded_init(&random, 11);
	for (int round = 0; round < 40000; round++) {
		char text[sizeof(seed)];
		size_t size = sizeof(seed) - 1;
		json_error_t error;
		bool scanned, known;
		char *exact;

		memcpy(text, seed, sizeof(seed));
		for (uint64_t edits = 1 + random_below(&random.source, 3); edits > 0; edits--)
			text[random_below(&random.source, size)] =
				alphabet[random_below(&random.source, sizeof(alphabet) - 1)];
		if (random_below(&random.source, 4) == 0)
			size = random_below(&random.source, size);
		exact = malloc(size + 1);
		assert_non_null(exact);
		memcpy(exact, text, size);
		exact = realloc(exact, size > 0 ? size : 1);
		assert_non_null(exact);
		scanned = scans(exact, size);
		known = judged(exact, size, &error);
		/* jansson also refuses numbers out of range, which the scanner only passes over. */
		if (known || json_error_code(&error) != json_error_numeric_overflow) {
			if (scanned != known)
				print_error("differ on %.*s\n", (int)size, exact);
			assert_int_equal(scanned, known);
			agreed += known ? 1 : 0;
		}
		free(exact);
	}
	assert_true(agreed > 100);
}

static void integers_are_exact_or_refused(void **state)
{
	static const struct {
		const char *text;
		bool is_good;
		int64_t value;
	} rows[] = { { "0", true, 0 }, { "-0", true, 0 }, { "9223372036854775807", true, INT64_MAX },
		{ "-9223372036854775808", true, INT64_MIN }, { "9223372036854775808", false, 0 },
		{ "-9223372036854775809", false, 0 }, { "99999999999999999999", false, 0 }, { "1.0", false, 0 },
		{ "1e2", false, 0 }, { "\"1\"", false, 0 }, { "", false, 0 }, { "-", false, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_scan scan;
		int64_t value;

		json_scan_init(&scan, rows[i].text, strlen(rows[i].text));
		assert_int_equal(json_scan_integer(&scan, &value), rows[i].is_good);
		assert_int_equal(json_scan_failed(&scan), !rows[i].is_good);
		if (rows[i].is_good)
			assert_int_equal(value, rows[i].value);
	}
}

static void strings_are_unescaped_within_their_bound(void **state)
{
	struct json_scan scan;
	char text[5];

	(void)state;
	json_scan_init(&scan, " \"a\\u20ac\"[", 11);
	assert_true(json_scan_string(&scan, text, sizeof(text)));
	assert_string_equal(text, "a\xE2\x82\xAC");
	json_scan_init(&scan, "\"ab\\u20ac\" 7", 12);
	assert_false(json_scan_string(&scan, text, sizeof(text)));
	assert_string_equal(text, "");
	assert_false(json_scan_failed(&scan));
	assert_true(json_scan_skip(&scan));
	assert_true(json_scan_end(&scan));
	json_scan_init(&scan, "7", 1);
	assert_false(json_scan_string(&scan, text, sizeof(text)));
	assert_true(json_scan_failed(&scan));
}

static void members_come_one_by_one_and_failure_sticks(void **state)
{
	static const char document[] = "{\"a\":[1,2],\"b\":{},\"0123456789012345678901234567890123\":3}";
	char key[JSON_SCAN_KEY_SIZE];
	struct json_scan scan;
	int64_t value = 0, sum = 0;

	(void)state;
	json_scan_init(&scan, document, sizeof(document) - 1);
	assert_true(json_scan_object(&scan));
	assert_true(json_scan_member(&scan, key));
	assert_string_equal(key, "a");
	assert_true(json_scan_array(&scan));
	while (json_scan_element(&scan)) {
		assert_true(json_scan_integer(&scan, &value));
		sum += value;
	}
	assert_int_equal(sum, 3);
	assert_true(json_scan_member(&scan, key));
	assert_string_equal(key, "b");
	assert_true(json_scan_skip(&scan));
	assert_true(json_scan_member(&scan, key));
	assert_string_equal(key, "");
	assert_false(json_scan_fail(&scan, "first"));
	json_scan_fail(&scan, "second");
	assert_false(json_scan_member(&scan, key));
	assert_false(json_scan_element(&scan));
	assert_false(json_scan_object(&scan));
	assert_false(json_scan_skip(&scan));
	assert_false(json_scan_end(&scan));
	assert_string_equal(scan.what, "first");
}

static void a_value_is_lent_and_compacted(void **state)
{
	static const char document[] = "[ { \"a b\" : [ 1 , \"\\\" \" ] }\n, {\"a b\":[1,\"\\\" \"]} ]";
	char text[64];
	struct json_scan scan;
	const char *value;
	size_t size;
	bool is_compact;

	(void)state;
	json_scan_init(&scan, document, sizeof(document) - 1);
	assert_true(json_scan_array(&scan) && json_scan_element(&scan));
	assert_true(json_scan_value(&scan, &value, &size, &is_compact));
	assert_false(is_compact);
	size = json_scan_compact(value, size, text);
	assert_int_equal(size, 17);
	assert_memory_equal(text, "{\"a b\":[1,\"\\\" \"]}", 17);
	assert_true(json_scan_element(&scan));
	assert_true(json_scan_value(&scan, &value, &size, &is_compact));
	assert_true(is_compact);
	assert_memory_equal(text, value, size);
	assert_false(json_scan_element(&scan));
	assert_true(json_scan_end(&scan));
}

static void depth_is_bounded(void **state)
{
	char text[2 * (JSON_SCAN_DEPTH_MAX + 2)];
	size_t depth = JSON_SCAN_DEPTH_MAX + 1;

	(void)state;
	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	assert_true(scans(text, 2 * depth));
	depth++;
	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	assert_false(scans(text, 2 * depth));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_are_told_from_nonsense),
		cmocka_unit_test(mutants_are_judged_as_jansson_does),
		cmocka_unit_test(integers_are_exact_or_refused),
		cmocka_unit_test(strings_are_unescaped_within_their_bound),
		cmocka_unit_test(members_come_one_by_one_and_failure_sticks),
		cmocka_unit_test(a_value_is_lent_and_compacted),
		cmocka_unit_test(depth_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

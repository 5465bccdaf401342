/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON flags that matter, each with an input that would pass without it.
 */
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
	json_t *value;

	assert_int_equal(json_parse(text, strlen(text), &value, NULL), STATUS_OK);
	return value;
}

static void reads_typed_members(void **state)
{
	json_t *value = parse("{\"s\":\"x\",\"i\":-5,\"r\":1.5,\"t\":true,\"f\":false,\"n\":null}");
	int64_t number;
	bool is_true;

	(void)state;
	assert_string_equal(json_get_string(value, "s"), "x");
	assert_null(json_get_string(value, "i"));
	assert_null(json_get_string(value, "missing"));
	assert_true(json_get_integer(value, "i", &number));
	assert_int_equal(number, -5);
	assert_false(json_get_integer(value, "r", &number));
	assert_int_equal(number, 0);
	assert_false(json_get_integer(value, "s", &number));
	assert_true(json_get_boolean(value, "t", &is_true) && is_true);
	assert_true(json_get_boolean(value, "f", &is_true) && !is_true);
	assert_false(json_get_boolean(value, "n", &is_true));
	json_decref(value);
}

static void refuses_what_it_must(void **state)
{
	static const char *const bad[] = { "", "1", "\"text\"", "{", "{\"a\":1,\"a\":2}", "{} x", "[1,]",
		"{\"a\":\"\\u0000\"}", "\"\xff\"", "{\"a\":\"\xff\"}", "[\"\xed\xa0\x80\"]", "[99999999999999999999]",
		"[1e999]", "[NaN]", "nul", NULL };

	(void)state;
	for (const char *const *text = bad; *text != NULL; text++) {
		json_t *value;
		assert_int_equal(json_parse(*text, strlen(*text), &value, NULL), STATUS_INVALID);
		assert_null(value);
	}
}

/* Our builder and jansson must make equal values of the same text, whichever of the two reads it. */
static void reads_as_jansson_does(void **state)
{
	static const char *const good[] = { "{}", " [ ] ", "{\"a\":[1,-0,{\"b\":[]}],\"c\":\"\u00e4\u20ac\"}",
		"[123456789012345678,1234567890123456789,-9223372036854775808]", "[0.1,1e3,1E2,-2.5e-3]",
		"{\"escaped\":\"a\\n\\u00e4\\\"\"}", "[true,false,null]", "{\"\":1}",
		"{\"a key that is longer than the scanner's own buffer is\":\"x\"}",
		"[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]", "\t{ \"a\" :\r\n 1 , \"b\":\"\" }\n", NULL };

	(void)state;
	for (const char *const *text = good; *text != NULL; text++) {
		json_t *value = parse(*text), *wanted = json_loads(*text, JSON_REJECT_DUPLICATES, NULL);

		assert_non_null(wanted);
		assert_true(json_equal(value, wanted));
		json_decref(value);
		json_decref(wanted);
	}
}

static void says_where(void **state)
{
	struct strbuf why = STRBUF_INIT;
	json_t *value;

	(void)state;
	assert_int_equal(json_parse("{\n \"a\" 1}", 9, &value, &why), STATUS_INVALID);
	assert_memory_equal(why.data, "line 2 column 6: ", 17);
	strbuf_release(&why);
}

static void writes_compactly_in_the_order_read(void **state)
{
	json_t *value = parse(" { \"z\" : [1, 2.5 , true], \"a\" : \"\\u00e9\" } ");
	struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_adds(&text, "=");
	assert_int_equal(json_write(value, &text), STATUS_OK);
	assert_string_equal(text.data, "={\"z\":[1,2.5,true],\"a\":\"é\"}");
	strbuf_reset(&text);
	text.max = 5;
	assert_int_equal(json_write(value, &text), STATUS_NO_MEMORY);
	strbuf_release(&text);
	json_decref(value);
}

static void numbers_keep_their_spelling(void **state)
{
	static const char exact[] =
		"{\"prices\":[0.1,0.35,37.7749,-122.4194,1.0,-0.0,1e-7,123456.789,0.30000000000000004,"
		"5e-324],\"whole\":[9223372036854775807,-9223372036854775808,9007199254740993,0]}";
	json_t *value = parse(exact);
	struct strbuf text = STRBUF_INIT;

	(void)state;
	assert_int_equal(json_write(value, &text), STATUS_OK);
	json_decref(value);
	value = parse(text.data);
	strbuf_reset(&text);
	assert_int_equal(json_write(value, &text), STATUS_OK);
	assert_string_equal(text.data,
		"{\"prices\":[0.1,0.35,37.7749,-122.4194,1.0,-0.0,1e-07,123456.789,0.30000000000000004,"
		"4.94065645841247e-324],\"whole\":[9223372036854775807,-9223372036854775808,9007199254740993,0]}");
	strbuf_release(&text);
	json_decref(value);
}

static void numbers_that_jsonb_would_spell_out_are_told(void **state)
{
	static const char *const texts[] = { "{\"a\":[1,{\"b\":1e22}]}", "[-9223372036854775808.0]", "[1e300]",
		"{\"a\":[1,{\"b\":9.2e18}],\"c\":9223372036854775807,\"d\":1e-300}" };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		json_t *value = parse(texts[i]);
		assert_int_equal(json_numbers_fit(value), i == 3);
		json_decref(value);
	}
}

static void strings_are_escaped_where_they_must(void **state)
{
	json_t *value = parse("{\"a\\\"\\u0007\":\"\\b\\n/\\\\ \\u00e9\\ud83d\\ude00\",\"e\":{},\"l\":[],\"n\":null}");
	struct strbuf text = STRBUF_INIT;
	json_t *again;

	(void)state;
	assert_int_equal(json_write(value, &text), STATUS_OK);
	again = parse(text.data);
	assert_true(json_equal(value, again));
	strbuf_release(&text);
	json_decref(value);
	json_decref(again);
}

static void deep_nesting_is_refused_not_recursed(void **state)
{
	struct strbuf text = STRBUF_INIT;
	json_t *value;

	(void)state;
	for (int i = 0; i < 100000; i++)
		strbuf_addc(&text, '[');
	assert_int_equal(json_parse(text.data, text.length, &value, NULL), STATUS_INVALID);
	strbuf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_typed_members),
		cmocka_unit_test(refuses_what_it_must),
		cmocka_unit_test(reads_as_jansson_does),
		cmocka_unit_test(says_where),
		cmocka_unit_test(writes_compactly_in_the_order_read),
		cmocka_unit_test(numbers_keep_their_spelling),
		cmocka_unit_test(numbers_that_jsonb_would_spell_out_are_told),
		cmocka_unit_test(strings_are_escaped_where_they_must),
		cmocka_unit_test(deep_nesting_is_refused_not_recursed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

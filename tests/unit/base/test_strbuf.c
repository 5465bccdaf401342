/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing strings: what is added is there, and a failure sticks.
 */
#include "base/strbuf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The linker sends every free of this program here: see the Makefile. */
void __real_free(void *block);
void __wrap_free(void *block);
static struct {
	const char *block;
	size_t size;
	int frees;
	bool is_zero;
} watched;

void __wrap_free(void *block)
{
	if (block != NULL && block == watched.block) {
		watched.frees++;
		watched.is_zero = true;
		for (size_t i = 0; i < watched.size; i++)
			watched.is_zero = watched.is_zero && watched.block[i] == 0;
	}
	__real_free(block);
}

static void what_is_wiped_is_zero_when_it_is_freed(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_wipe(&text);
	assert_string_equal(text.data, "");
	for (int i = 0; i < 100; i++)
		strbuf_adds(&text, "secret");
	strbuf_reset(&text);
	strbuf_adds(&text, "shorter");
	watched.block = text.data;
	watched.size = text.capacity;
	strbuf_wipe(&text);
	watched.block = NULL;
	assert_int_equal(watched.frees, 1);
	assert_true(watched.is_zero);
	assert_int_equal(text.length, 0);
	assert_string_equal(text.data, "");
	strbuf_wipe(&text);
}

static void the_end_is_cut_off(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_truncate(&text, 0);
	strbuf_trim_end(&text, "\n");
	assert_string_equal(text.data, "");
	strbuf_adds(&text, "one/two");
	strbuf_truncate(&text, 9);
	assert_string_equal(text.data, "one/two");
	strbuf_truncate(&text, 3);
	assert_string_equal(text.data, "one");
	assert_int_equal(text.length, 3);
	strbuf_add(&text, " \n x \n\0\n", 9);
	strbuf_trim_end(&text, "\n ");
	assert_string_equal(text.data, "one \n x");
	assert_int_equal(text.length, 7);
	strbuf_reset(&text);
	strbuf_adds(&text, "\n\n");
	strbuf_trim_end(&text, "\n");
	assert_int_equal(text.length, 0);
	assert_string_equal(text.data, "");
	strbuf_release(&text);
}

static void adds_up(void **state)
{
	struct strbuf text = STRBUF_INIT;
	size_t length;
	char *taken;

	(void)state;
	assert_string_equal(text.data, "");
	strbuf_adds(&text, "one");
	strbuf_addc(&text, ' ');
	strbuf_addf(&text, "%s=%d", "two", 2);
	strbuf_add(&text, "\0x", 2);
	assert_int_equal(text.length, 11);
	assert_memory_equal(text.data, "one two=2\0x", 12);
	strbuf_add_hex(&text, "\x00\xAf\x7f", 3);
	assert_string_equal(text.data + 11, "00af7f");
	taken = strbuf_take(&text, &length);
	assert_int_equal(length, 17);
	assert_string_equal(taken, "one two=2");
	free(taken);
	assert_int_equal(text.length, 0);
	assert_string_equal(text.data, "");
	strbuf_release(&text);
}

static void numbers_are_written_whole(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_add_unsigned(&text, 0);
	strbuf_addc(&text, ' ');
	strbuf_add_unsigned(&text, 1090);
	strbuf_addc(&text, ' ');
	strbuf_add_unsigned(&text, UINT64_MAX);
	assert_string_equal(text.data, "0 1090 18446744073709551615");
	strbuf_release(&text);
}

static void grows_past_every_capacity(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	for (int i = 0; i < 10000; i++)
		strbuf_addf(&text, "%04d", i);
	assert_true(strbuf_ok(&text));
	assert_int_equal(text.length, 40000);
	assert_int_equal(strlen(text.data), 40000);
	assert_memory_equal(text.data + 4 * 9999, "9999", 5);
	strbuf_reset(&text);
	assert_int_equal(text.length, 0);
	assert_string_equal(text.data, "");
	strbuf_release(&text);
}

static void the_bound_fails_and_the_failure_sticks(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	text.max = 8;
	strbuf_adds(&text, "12345678");
	assert_true(strbuf_ok(&text));
	strbuf_addc(&text, '9');
	assert_false(strbuf_ok(&text));
	text.max = 0;
	strbuf_adds(&text, "more");
	strbuf_addf(&text, "%d", 1);
	assert_string_equal(text.data, "12345678");
	assert_null(strbuf_take(&text, NULL));
	assert_true(strbuf_ok(&text));
	assert_string_equal(text.data, "");
	assert_false(strbuf_reserve(&text, SIZE_MAX - 1));
	strbuf_reset(&text);
	assert_true(strbuf_ok(&text));
	strbuf_release(&text);
}

static void taking_nothing_gives_an_empty_string(void **state)
{
	struct strbuf text = STRBUF_INIT;
	size_t length = 7;
	char *taken = strbuf_take(&text, &length);

	(void)state;
	assert_non_null(taken);
	assert_string_equal(taken, "");
	assert_int_equal(length, 0);
	free(taken);
}

static void expect_json(const char *bytes, size_t size, const char *expected)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_add_json(&text, bytes, size);
	assert_string_equal(text.data, expected);
	strbuf_release(&text);
}

static void json_strings(void **state)
{
	(void)state;
	expect_json("", 0, "\"\"");
	expect_json("plain", 5, "\"plain\"");
	expect_json("q\"b\\n\nt\tr\r\x01", 11, "\"q\\\"b\\\\n\\nt\\tr\\r\\u0001\"");
	expect_json("nul\0in", 6, "\"nul\\u0000in\"");
	expect_json("é€𝄞", 9, "\"é€𝄞\"");
	expect_json("\xc0\xaf", 2, "\"\\ufffd\\ufffd\"");                       /* overlong */
	expect_json("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");            /* surrogate */
	expect_json("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* past U+10FFFF */
	expect_json("a\xe2\x82", 3, "\"a\\ufffd\\ufffd\"");                     /* cut short */
	expect_json("\xff"
		    "b",
		2, "\"\\ufffdb\"");
}

static void percent_encoding(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_add_percent(&text, "aZ09-._~/ %\xe9\0?", 14);
	assert_string_equal(text.data, "aZ09-._~%2F%20%25%E9%00%3F");
	strbuf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_end_is_cut_off),
		cmocka_unit_test(adds_up),
		cmocka_unit_test(what_is_wiped_is_zero_when_it_is_freed),
		cmocka_unit_test(numbers_are_written_whole),
		cmocka_unit_test(grows_past_every_capacity),
		cmocka_unit_test(the_bound_fails_and_the_failure_sticks),
		cmocka_unit_test(taking_nothing_gives_an_empty_string),
		cmocka_unit_test(json_strings),
		cmocka_unit_test(percent_encoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

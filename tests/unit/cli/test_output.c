/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for cli/output.c: one model, three faces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/must.h"
#include "cli/cli.h"
#include "cli/output.h"

static const struct output_column columns[] = {
	{ "type", OUTPUT_TEXT },
	{ "row_count", OUTPUT_NUMBER },
	{ "is_up", OUTPUT_BOOLEAN },
};

static char *rendered(enum output_format format, int rows)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	must(stream != NULL);
	struct output *output = output_create(stream, format, columns, 3);
	if (rows > 0)
		output_row(output, (const char *const[]){ "to\"k,en", "12", "true" });
	if (rows > 1)
		output_row(output, (const char *const[]){ "st\nation", "007", NULL });
	assert_int_equal(output_finish(output), EXIT_CODE_OK);
	fclose(stream);
	return text;
}

static void json_is_an_array_of_objects(void **state)
{
	(void)state;
	char *text = rendered(OUTPUT_JSON, 2);

	assert_string_equal(text, "[\n {\"type\":\"to\\\"k,en\",\"row_count\":12,\"is_up\":true},"
				  "\n {\"type\":\"st\\nation\",\"row_count\":\"007\",\"is_up\":null}\n]\n");
	free(text);
	text = rendered(OUTPUT_JSON, 0);
	assert_string_equal(text, "[]\n");
	free(text);
}

static void csv_quotes_what_needs_it(void **state)
{
	(void)state;
	char *text = rendered(OUTPUT_CSV, 2);

	assert_string_equal(text, "type,row_count,is_up\r\n\"to\"\"k,en\",12,true\r\n\"st\nation\",007,\r\n");
	free(text);
}

static void table_has_headings_even_when_empty(void **state)
{
	(void)state;
	char *text = rendered(OUTPUT_TABLE, 0);

	assert_string_equal(text, "TYPE ROW COUNT IS UP\n");
	free(text);
	text = rendered(OUTPUT_TABLE, 1);
	assert_string_equal(text, "TYPE    ROW COUNT IS UP\nto\"k,en        12 yes\n");
	free(text);
}

static void a_full_disk_is_a_failure(void **state)
{
	(void)state;
	FILE *stream = fopen("/dev/full", "w");

	if (stream == NULL)
		skip();
	struct output *output = output_create(stream, OUTPUT_JSON, columns, 3);
	assert_int_equal(output_finish(output), EXIT_CODE_FAILED);
	fclose(stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_is_an_array_of_objects),
		cmocka_unit_test(csv_quotes_what_needs_it),
		cmocka_unit_test(table_has_headings_even_when_empty),
		cmocka_unit_test(a_full_disk_is_a_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

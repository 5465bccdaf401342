/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for cli/csv.c, cli/row_source.c and cli/import_rows.c.  Files are temporary; no database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "cli/csv.h"
#include "cli/import_rows.h"
#include "cli/row_source.h"

/* ---- csv ---- */

/* Every record as "field|field;", a bad one as "!". */
static char *csv_all(const char *text, size_t size)
{
	struct strbuf all = STRBUF_INIT, why = STRBUF_INIT;
	FILE *file = fmemopen((void *)(uintptr_t)text, size, "r");
	struct csv_reader reader;
	enum status status;

	assert_non_null(file);
	csv_init(&reader, file);
	while ((status = csv_next(&reader, &why)) != STATUS_NOT_FOUND) {
		if (status == STATUS_INVALID)
			strbuf_adds(&all, "!");
		else
			assert_int_equal(status, STATUS_OK);
		for (size_t i = 0; i < csv_count(&reader); i++)
			strbuf_addf(&all, "%s%c", csv_field(&reader, i), i + 1 < csv_count(&reader) ? '|' : ';');
	}
	csv_release(&reader);
	(void)fclose(file);
	strbuf_release(&why);
	return strbuf_take(&all, NULL);
}

static void csv_reads(const char *text, const char *expected)
{
	char *all = csv_all(text, strlen(text));

	assert_string_equal(all, expected);
	free(all);
}

static void csv_reads_what_rfc_4180_allows(void **state)
{
	(void)state;
	csv_reads("a,b\n1,2\n", "a|b;1|2;");
	csv_reads("a,b\r\n1,2\r\n", "a|b;1|2;");
	csv_reads("a,b\n1,2", "a|b;1|2;");
	csv_reads("\xef\xbb\xbf"
		  "a,b\n",
		"a|b;");
	csv_reads("\"x, y\",\"say \"\"hi\"\"\",\"two\nlines\"\n", "x, y|say \"hi\"|two\nlines;");
	csv_reads("\"\",,\n", "||;");
	csv_reads("a\n\n\nb\n", "a;b;");
	csv_reads("a\rb,c\n", "a\rb|c;");
	csv_reads("Emot\xc3\xac,1\n", "Emot\xc3\xac|1;");
}

static void csv_goes_on_after_a_broken_record(void **state)
{
	(void)state;
	csv_reads("a\"b,1\nc,2\n", "!c|2;");
	csv_reads("\"a\"b,1\nc,2\n", "!c|2;");
	csv_reads("a,1\n\"open,2\n", "a|1;!");
	char *all = csv_all("a\0b,1\nc,2\n", 10);
	assert_string_equal(all, "!c|2;");
	free(all);
}

static void csv_bounds_a_record(void **state)
{
	size_t size = CSV_RECORD_MAX + 64;
	char *text = malloc(size + 1);

	(void)state;
	assert_non_null(text);
	memset(text, 'x', size);
	memcpy(text + size - 5, "\na,b\n", 5);
	char *all = csv_all(text, size);
	assert_string_equal(all, "!a|b;");
	free(all);

	memset(text, ',', 2 * CSV_FIELDS_MAX);
	memcpy(text + 2 * (size_t)CSV_FIELDS_MAX, "\na,b\n", 5);
	all = csv_all(text, 2 * (size_t)CSV_FIELDS_MAX + 5);
	assert_string_equal(all, "!a|b;");
	free(all);
	free(text);
}

/* ---- row sources ---- */

/* Rows as compact JSON, one after the other; bad ones as "!number". */
static char *rows_all(const char *text)
{
	char path[] = "/tmp/homeward-rows-XXXXXX";
	struct strbuf all = STRBUF_INIT, why = STRBUF_INIT;
	struct row_source *source;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	if (row_source_open(path, &source, &why) != STATUS_OK) {
		strbuf_adds(&all, "refused");
	} else {
		for (;;) {
			json_t *row;
			int64_t number;
			enum status status = row_source_next(source, &row, &number, &why);

			if (status == STATUS_NOT_FOUND)
				break;
			if (status == STATUS_OK)
				assert_int_equal(json_write(row, &all), STATUS_OK);
			else
				strbuf_addf(&all, "!%d", (int)number);
			json_decref(row);
		}
		row_source_close(source);
	}
	unlink(path);
	strbuf_release(&why);
	return strbuf_take(&all, NULL);
}

static void rows_are(const char *text, const char *expected)
{
	char *all = rows_all(text);

	assert_string_equal(all, expected);
	free(all);
}

static void rows_are_read_by_content(void **state)
{
	(void)state;
	rows_are(" [ {\"a\":1}, 7, {\"b\":2} ]", "{\"a\":1}!2{\"b\":2}");
	rows_are("{\"a\":1}\n\n{\"b\":\n{\"c\":3}\n", "{\"a\":1}!2{\"c\":3}");
	rows_are("a,b\n1,2\n3\n4,5\n", "{\"a\":\"1\",\"b\":\"2\"}!2{\"a\":\"4\",\"b\":\"5\"}");
	rows_are("a,b\n1,\xff\n3,4\n", "!1{\"a\":\"3\",\"b\":\"4\"}");
	rows_are("", "");
	rows_are("[", "refused");
	rows_are("a,a\n1,2\n", "refused");
}

/* ---- rows to objects ---- */

static struct import_rules rules;
static struct importer *importer;
static struct imported imported;
static struct strbuf reason;

static int setup(void **state)
{
	(void)state;
	rules = (struct import_rules){ .type = "station",
		.own_region = "eu",
		.id_columns = "locationId,id",
		.region = "address.region",
		.region_map = "Europe=eu,North America=na" };
	strbuf_init(&reason);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	json_decref(imported.record);
	imported.record = NULL;
	importer_destroy(importer);
	importer = NULL;
	strbuf_release(&reason);
	return 0;
}

static enum import_verdict take(const char *text, int64_t number)
{
	json_t *row = json_loads(text, 0, NULL);
	enum import_verdict verdict;

	assert_non_null(row);
	if (importer == NULL)
		assert_int_equal(importer_create(&rules, &importer, &reason), STATUS_OK);
	json_decref(imported.record);
	strbuf_reset(&reason);
	verdict = importer_take(importer, row, number, &imported, &reason);
	json_decref(row);
	return verdict;
}

#define SITE(id, region) "{" id ",\"name\":\"x\",\"address\":{\"region\":" region "}}"

static void own_rows_are_objects_and_others_only_routes(void **state)
{
	(void)state;
	assert_int_equal(take(SITE("\"locationId\":\"a\",\"id\":1", "\"Europe\""), 1), IMPORT_TAKEN);
	assert_string_equal(imported.object.id, "a");
	assert_string_equal(imported.object.type, "station");
	assert_string_equal(imported.region, "eu");
	assert_string_equal(json_get_string(imported.record, "name"), "x");

	assert_int_equal(take(SITE("\"locationId\":\"b\"", "\"North America\""), 2), IMPORT_TAKEN);
	assert_string_equal(imported.region, "na");
	assert_null(imported.record);
}

static void id_falls_back_to_the_next_column(void **state)
{
	(void)state;
	assert_int_equal(take(SITE("\"id\":17", "\"Europe\""), 1), IMPORT_TAKEN);
	assert_string_equal(imported.object.id, "17");
	assert_int_equal(take(SITE("\"locationId\":\"\",\"id\":18", "\"Europe\""), 2), IMPORT_TAKEN);
	assert_string_equal(imported.object.id, "18");
	assert_int_equal(take(SITE("\"locationId\":null", "\"Europe\""), 3), IMPORT_REJECTED);
	assert_string_equal(reason.data, "no id in locationId,id");
}

static void rows_without_a_known_region_are_rejected(void **state)
{
	(void)state;
	assert_int_equal(take(SITE("\"id\":1", "\"\""), 1), IMPORT_REJECTED);
	assert_string_equal(reason.data, "no region in address.region");
	assert_int_equal(take(SITE("\"id\":1", "\"Mars\""), 2), IMPORT_REJECTED);
	assert_string_equal(reason.data, "region \"Mars\" is not in --region-map");
	assert_int_equal(take("{\"id\":1}", 3), IMPORT_REJECTED);
}

static void without_a_map_values_are_regions(void **state)
{
	(void)state;
	rules.region_map = NULL;
	assert_int_equal(take(SITE("\"id\":1", "\"eu\""), 1), IMPORT_TAKEN);
	assert_int_equal(take(SITE("\"id\":2", "\"North America\""), 2), IMPORT_REJECTED);
}

static void ids_take_the_types_format(void **state)
{
	(void)state;
	rules.id_format = ID_FORMAT_RFID_UID;
	assert_int_equal(take(SITE("\"id\":\"04a2b3c4\"", "\"Europe\""), 1), IMPORT_TAKEN);
	assert_string_equal(imported.object.id, "04A2B3C4");
	assert_int_equal(take(SITE("\"id\":\"nope\"", "\"Europe\""), 2), IMPORT_REJECTED);
	/* The same card spelled otherwise is the same card. */
	assert_int_equal(take(SITE("\"id\":\"04A2B3C4\"", "\"Europe\""), 3), IMPORT_REJECTED);
}

static void duplicates_are_rejected_unless_identical(void **state)
{
	(void)state;
	assert_int_equal(take(SITE("\"id\":1,\"power\":50", "\"Europe\""), 4), IMPORT_TAKEN);
	assert_int_equal(take(SITE("\"id\":1,\"power\":50", "\"Europe\""), 5), IMPORT_MERGED);
	assert_int_equal(take(SITE("\"id\":1,\"power\":60", "\"Europe\""), 6), IMPORT_REJECTED);
	assert_string_equal(reason.data, "duplicate id, first at record 4");
	assert_int_equal(take(SITE("\"id\":1,\"power\":50", "\"North America\""), 7), IMPORT_REJECTED);
}

static void distinct_merges_rows_of_one_id_and_region(void **state)
{
	(void)state;
	rules.is_distinct = true;
	assert_int_equal(take(SITE("\"id\":1,\"power\":50", "\"Europe\""), 1), IMPORT_TAKEN);
	assert_int_equal(take(SITE("\"id\":1,\"power\":60", "\"Europe\""), 2), IMPORT_MERGED);
	assert_int_equal(take(SITE("\"id\":1,\"power\":60", "\"North America\""), 3), IMPORT_REJECTED);
}

static void fields_and_constants_make_the_record(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	rules.fields = "id,area=address.region,missing";
	rules.constants = json_pack("{s:b,s:s}", "valid", 1, "restricted", "no");
	assert_int_equal(take(SITE("\"id\":1,\"power\":50", "\"Europe\""), 1), IMPORT_TAKEN);
	assert_int_equal(json_write(imported.record, &text), STATUS_OK);
	assert_string_equal(text.data, "{\"id\":1,\"area\":\"Europe\",\"valid\":true,\"restricted\":\"no\"}");
	json_decref(rules.constants);
	strbuf_release(&text);
}

static void many_ids_are_all_remembered(void **state)
{
	char row[128];

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 5000; i++) {
			snprintf(row, sizeof(row), SITE("\"id\":%d", "\"North America\""), i);
			assert_int_equal(take(row, i), round == 0 ? IMPORT_TAKEN : IMPORT_MERGED);
		}
	}
}

static void unreadable_rules_are_refused(void **state)
{
	(void)state;
	rules.region_map = "Europe";
	assert_int_equal(importer_create(&rules, &importer, &reason), STATUS_INVALID);
	assert_non_null(strstr(reason.data, "--region-map"));
	rules.region_map = "Europe=E U";
	assert_int_equal(importer_create(&rules, &importer, &reason), STATUS_INVALID);
	rules.region_map = NULL;
	rules.id_columns = "a,,b";
	assert_int_equal(importer_create(&rules, &importer, &reason), STATUS_INVALID);
	assert_null(importer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(csv_reads_what_rfc_4180_allows),
		cmocka_unit_test(csv_goes_on_after_a_broken_record),
		cmocka_unit_test(csv_bounds_a_record),
		cmocka_unit_test(rows_are_read_by_content),
		cmocka_unit_test_setup_teardown(own_rows_are_objects_and_others_only_routes, setup, teardown),
		cmocka_unit_test_setup_teardown(id_falls_back_to_the_next_column, setup, teardown),
		cmocka_unit_test_setup_teardown(rows_without_a_known_region_are_rejected, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_map_values_are_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(ids_take_the_types_format, setup, teardown),
		cmocka_unit_test_setup_teardown(duplicates_are_rejected_unless_identical, setup, teardown),
		cmocka_unit_test_setup_teardown(distinct_merges_rows_of_one_id_and_region, setup, teardown),
		cmocka_unit_test_setup_teardown(fields_and_constants_make_the_record, setup, teardown),
		cmocka_unit_test_setup_teardown(many_ids_are_all_remembered, setup, teardown),
		cmocka_unit_test_setup_teardown(unreadable_rules_are_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

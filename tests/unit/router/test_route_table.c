/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for router/route_table.c and router/route_file.c. */
#include "router/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"

static struct route make_route(const char *type, enum route_kind kind, const char *key, const char *region)
{
	struct route route;

	memset(&route, 0, sizeof(route));
	snprintf(route.type, sizeof(route.type), "%s", type);
	snprintf(route.key, sizeof(route.key), "%s", key);
	snprintf(route.region, sizeof(route.region), "%s", region);
	route.kind = kind;
	return route;
}

static enum status add(
	struct route_builder *builder, const char *type, enum route_kind kind, const char *key, const char *region)
{
	struct route route = make_route(type, kind, key, region);

	return route_builder_add(builder, &route);
}

static void assert_home(const struct route_table *table, const char *type, const char *id, enum route_found found,
	const char *region, const char *key)
{
	struct route_answer answer;
	struct object_id object;

	memset(&answer, 0x55, sizeof(answer));
	assert_int_equal(object_id_make(type, id, strlen(id), ID_FORMAT_OPAQUE, &object, NULL), STATUS_OK);
	route_table_find(table, &object, &answer);
	assert_int_equal(answer.found, found);
	assert_string_equal(answer.region, region);
	assert_string_equal(answer.key, key);
	assert_int_equal(answer.generation, route_table_generation(table));
}

static struct route_table *small_table(void)
{
	struct route_builder *builder = route_builder_create();

	assert_non_null(builder);
	assert_int_equal(add(builder, "token", ROUTE_EXACT, "NLTNMC00122045", "eu"), STATUS_OK);
	assert_int_equal(add(builder, "token", ROUTE_PREFIX, "NLTNM", "ap"), STATUS_OK);
	assert_int_equal(add(builder, "token", ROUTE_PREFIX, "NL", "na"), STATUS_OK);
	assert_int_equal(add(builder, "token", ROUTE_PREFIX, "NLTNMX", "eu"), STATUS_OK);
	assert_int_equal(add(builder, "station", ROUTE_EXACT, "NLTNM", "na"), STATUS_OK);
	return route_builder_finish(builder, 42);
}

static void exact_beats_the_longest_prefix_beats_none(void **state)
{
	struct route_table *table = small_table();

	(void)state;
	assert_int_equal(route_table_count(table), 5);
	assert_int_equal(route_table_generation(table), 42);
	assert_home(table, "token", "NLTNMC00122045", ROUTE_FOUND_EXACT, "eu", "NLTNMC00122045");
	assert_home(table, "token", "NLTNMC00122046", ROUTE_FOUND_PREFIX, "ap", "NLTNM");
	assert_home(table, "token", "NLTNMX", ROUTE_FOUND_PREFIX, "eu", "NLTNMX");
	assert_home(table, "token", "NLT", ROUTE_FOUND_PREFIX, "na", "NL");
	assert_home(table, "token", "N", ROUTE_FOUND_NONE, "", "");
	assert_home(table, "token", "DE1", ROUTE_FOUND_NONE, "", "");
	assert_home(table, "station", "NLTNM", ROUTE_FOUND_EXACT, "na", "NLTNM");
	assert_home(table, "station", "NLTNM1", ROUTE_FOUND_NONE, "", "");
	assert_home(table, "driver", "NLTNM", ROUTE_FOUND_NONE, "", "");
	route_table_destroy(table);
	route_table_destroy(NULL);
}

static void an_empty_table_knows_nothing(void **state)
{
	struct route_table *table = route_builder_finish(route_builder_create(), 0);

	(void)state;
	assert_home(table, "token", "x", ROUTE_FOUND_NONE, "", "");
	assert_int_equal(route_table_count(table), 0);
	route_table_destroy(table);
}

static void a_later_row_replaces_and_bad_rows_are_refused(void **state)
{
	struct route_builder *builder = route_builder_create();
	struct route_table *table;
	struct route bad;

	(void)state;
	assert_int_equal(add(builder, "token", ROUTE_EXACT, "a", "eu"), STATUS_OK);
	assert_int_equal(add(builder, "token", ROUTE_EXACT, "a", "na"), STATUS_OK);
	assert_int_equal(add(builder, "Token", ROUTE_EXACT, "a", "na"), STATUS_INVALID);
	assert_int_equal(add(builder, "token", ROUTE_EXACT, "", "na"), STATUS_INVALID);
	assert_int_equal(add(builder, "token", ROUTE_EXACT, "a\n", "na"), STATUS_INVALID);
	assert_int_equal(add(builder, "token", ROUTE_EXACT, "b", ""), STATUS_INVALID);
	assert_int_equal(add(builder, "token", (enum route_kind)7, "b", "eu"), STATUS_INVALID);
	bad = make_route("token", ROUTE_EXACT, "b", "eu");
	memset(bad.key, 'b', sizeof(bad.key));
	assert_int_equal(route_builder_add(builder, &bad), STATUS_INVALID);
	table = route_builder_finish(builder, 1);
	assert_int_equal(route_table_count(table), 1);
	assert_home(table, "token", "a", ROUTE_FOUND_EXACT, "na", "a");
	route_table_destroy(table);
	route_builder_destroy(route_builder_create());
	route_builder_destroy(NULL);
}

static void prefixes_of_every_length_are_found(void **state)
{
	struct route_builder *builder = route_builder_create();
	char key[OBJECT_ID_SIZE], region[REGION_SIZE];
	struct route_table *table;

	(void)state;
	for (size_t length = 1; length < OBJECT_ID_SIZE; length++) {
		memset(key, 'a', length);
		key[length] = '\0';
		snprintf(region, sizeof(region), "r%zu", length);
		assert_int_equal(add(builder, "token", ROUTE_PREFIX, key, region), STATUS_OK);
	}
	table = route_builder_finish(builder, 1);
	for (size_t length = 1; length < OBJECT_ID_SIZE; length++) {
		char id[OBJECT_ID_SIZE];

		memset(id, 'a', length);
		memset(id + length, 'b', OBJECT_ID_SIZE - 1 - length);
		id[OBJECT_ID_SIZE - 1] = key[length] = '\0';
		memset(key, 'a', length);
		snprintf(region, sizeof(region), "r%zu", length);
		assert_home(table, "token", id, ROUTE_FOUND_PREFIX, region, key);
	}
	route_table_destroy(table);
}

static void types_and_regions_are_bounded(void **state)
{
	struct route_builder *builder = route_builder_create();
	enum status status = STATUS_OK;
	int count = 0;

	(void)state;
	while (status == STATUS_OK && count < 100000) {
		char type[OBJECT_TYPE_SIZE];

		snprintf(type, sizeof(type), "t%d", count);
		status = add(builder, type, ROUTE_EXACT, "a", "eu");
		count += status == STATUS_OK ? 1 : 0;
	}
	assert_int_equal(status, STATUS_TOO_LARGE);
	assert_int_equal(count, 256);
	route_builder_destroy(builder);
}

static char *temporary_path(void)
{
	char *path = strdup("/tmp/homeward-routes-XXXXXX");
	int fd;

	assert_non_null(path);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	return path;
}

static void many_routes_survive_the_file(void **state)
{
	struct route_builder *builder = route_builder_create();
	struct strbuf why = STRBUF_INIT;
	struct route_table *table, *loaded;
	char *path = temporary_path();
	char key[32];

	(void)state;
	for (int i = 0; i < 50000; i++) {
		snprintf(key, sizeof(key), "K%08X", (unsigned int)i * 2654435761U);
		assert_int_equal(add(builder, i % 3 ? "token" : "station", i % 1000 ? ROUTE_EXACT : ROUTE_PREFIX, key,
					 i % 2 ? "eu" : "na"),
			STATUS_OK);
	}
	table = route_builder_finish(builder, 99);
	assert_int_equal(route_table_save(table, path, &why), STATUS_OK);
	assert_int_equal(route_table_load(path, &loaded, &why), STATUS_OK);
	assert_int_equal(route_table_count(loaded), 50000);
	assert_int_equal(route_table_generation(loaded), 99);
	for (int i = 0; i < 50000; i++) {
		snprintf(key, sizeof(key), "K%08X", (unsigned int)i * 2654435761U);
		assert_home(loaded, i % 3 ? "token" : "station", key, i % 1000 ? ROUTE_FOUND_EXACT : ROUTE_FOUND_PREFIX,
			i % 2 ? "eu" : "na", key);
		key[0] = 'L';
		assert_home(loaded, "token", key, ROUTE_FOUND_NONE, "", "");
	}
	assert_string_equal(why.data, "");
	route_table_destroy(table);
	route_table_destroy(loaded);
	unlink(path);
	free(path);
	strbuf_release(&why);
}

static void a_damaged_file_is_refused_with_a_word(void **state)
{
	struct strbuf whole = STRBUF_INIT, why = STRBUF_INIT;
	struct route_table *table = small_table(), *loaded;
	char *path = temporary_path();

	(void)state;
	assert_int_equal(route_table_save(table, path, NULL), STATUS_OK);
	assert_int_equal(file_read(path, 1 << 20, &whole, NULL), STATUS_OK);
	for (size_t i = 0; i < whole.length; i++) {
		whole.data[i] ^= 0x10;
		assert_int_equal(file_replace(path, whole.data, whole.length, 0600, NULL), STATUS_OK);
		whole.data[i] ^= 0x10;
		strbuf_reset(&why);
		assert_int_equal(route_table_load(path, &loaded, &why), STATUS_INVALID);
		assert_null(loaded);
		assert_non_null(strstr(why.data, path));
	}
	for (size_t size = 0; size < whole.length; size += 7) {
		assert_int_equal(file_replace(path, whole.data, size, 0600, NULL), STATUS_OK);
		assert_int_equal(route_table_load(path, &loaded, NULL), STATUS_INVALID);
	}
	assert_non_null(strstr(why.data, "checksum"));
	unlink(path);
	assert_int_equal(route_table_load(path, &loaded, &why), STATUS_NOT_FOUND);
	route_table_destroy(table);
	strbuf_release(&whole);
	strbuf_release(&why);
	free(path);
}

static void an_empty_table_survives_the_file(void **state)
{
	struct route_table *table = route_builder_finish(route_builder_create(), 3), *loaded;
	char *path = temporary_path();

	(void)state;
	assert_int_equal(route_table_save(table, path, NULL), STATUS_OK);
	assert_int_equal(route_table_load(path, &loaded, NULL), STATUS_OK);
	assert_int_equal(route_table_count(loaded), 0);
	assert_int_equal(route_table_generation(loaded), 3);
	route_table_destroy(table);
	route_table_destroy(loaded);
	unlink(path);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exact_beats_the_longest_prefix_beats_none),
		cmocka_unit_test(an_empty_table_knows_nothing),
		cmocka_unit_test(a_later_row_replaces_and_bad_rows_are_refused),
		cmocka_unit_test(prefixes_of_every_length_are_found),
		cmocka_unit_test(types_and_regions_are_bounded),
		cmocka_unit_test(many_routes_survive_the_file),
		cmocka_unit_test(a_damaged_file_is_refused_with_a_word),
		cmocka_unit_test(an_empty_table_survives_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* cli/import_store.c against a real PostgreSQL: what is merged, what is left alone, and all or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/schema.h"
#include "cli/import_store.h"
#include "tests/unit/support/postgres.h"

#define PATIENCE_MS 30000 /* only a failing test waits so long */

static struct test_postgres *server;
static struct database_session *session;
static struct strbuf why;
static int64_t removed;

static int setup(void **state)
{
	int applied;

	(void)state;
	server = test_postgres_start();
	strbuf_init(&why);
	assert_int_equal(database_session_open(test_postgres_dsn(server), PATIENCE_MS, &session, &why), STATUS_OK);
	assert_int_equal(schema_migrate(session, &applied, &why), STATUS_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	database_session_close(session);
	strbuf_release(&why);
	return 0;
}

static int64_t number_of(const char *sql)
{
	PGresult *result = NULL;
	int64_t number;

	assert_int_equal(database_session_query(session, sql, NULL, 0, PATIENCE_MS, &result, &why), STATUS_OK);
	number = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return number;
}

static struct import_store *begin(void)
{
	struct import_store *store;

	assert_int_equal(import_store_begin(session, "station", &store, &why), STATUS_OK);
	return store;
}

/* record NULL: at home elsewhere. */
static void add(struct import_store *store, const char *id, const char *region, const char *record)
{
	struct imported imported = { .record = record != NULL ? json_loads(record, 0, NULL) : NULL };

	snprintf(imported.object.id, sizeof(imported.object.id), "%s", id);
	snprintf(imported.region, sizeof(imported.region), "%s", region);
	assert_int_equal(import_store_add(store, &imported, &why), STATUS_OK);
	json_decref(imported.record);
}

static void rows_become_objects_and_routes(void **state)
{
	struct import_store *store = begin();

	(void)state;
	add(store, "a\\b\tc", "eu", "{\"text\":\"tab\\t newline\\n backslash\\\\ quote\\\"\",\"n\":1}");
	add(store, "d", "na", NULL);
	assert_int_equal(import_store_commit(store, &removed, &why), STATUS_OK);
	import_store_destroy(store);

	assert_int_equal(number_of("SELECT count(*) FROM homeward.objects"), 1);
	assert_int_equal(number_of("SELECT count(*) FROM homeward.routes"), 2);
	assert_int_equal(
		number_of("SELECT count(*) FROM homeward.objects WHERE id = E'a\\\\b\\tc' AND record->>'text' = "
			  "E'tab\\t newline\\n backslash\\\\ quote\"'"),
		1);
	assert_int_equal(number_of("SELECT count(*) FROM homeward.routes WHERE key = 'd' AND region = 'na'"), 1);
}

static void what_is_the_same_is_left_alone(void **state)
{
	struct import_store *store = begin();

	(void)state;
	add(store, "same", "eu", "{\"n\":1}");
	add(store, "other", "eu", "{\"n\":1}");
	assert_int_equal(import_store_commit(store, &removed, &why), STATUS_OK);
	import_store_destroy(store);
	store = begin();
	add(store, "same", "eu", "{\"n\":1}");
	add(store, "other", "eu", "{\"n\":2}");
	assert_int_equal(import_store_commit(store, &removed, &why), STATUS_OK);
	import_store_destroy(store);

	assert_int_equal(number_of("SELECT version FROM homeward.objects WHERE id = 'same'"), 1);
	assert_int_equal(number_of("SELECT version FROM homeward.objects WHERE id = 'other'"), 2);
}

static void an_object_that_moves_leaves_its_route_behind_and_nothing_else(void **state)
{
	struct import_store *store = begin();

	(void)state;
	add(store, "moves", "eu", "{\"n\":1}");
	add(store, "stays", "eu", "{\"n\":1}");
	assert_int_equal(import_store_commit(store, &removed, &why), STATUS_OK);
	import_store_destroy(store);
	store = begin();
	add(store, "moves", "ap", NULL);
	add(store, "never-here", "ap", NULL);
	assert_int_equal(import_store_commit(store, &removed, &why), STATUS_OK);
	import_store_destroy(store);
	assert_int_equal(removed, 1);
	assert_int_equal(number_of("SELECT count(*) FROM homeward.routes WHERE key = 'moves' AND region = 'ap'"), 1);
	assert_int_equal(number_of("SELECT count(*) FROM homeward.objects WHERE id = 'moves'"), 0);
	assert_int_equal(number_of("SELECT count(*) FROM homeward.objects WHERE id = 'stays'"), 1);
}

static void without_a_commit_nothing_has_happened(void **state)
{
	int64_t before = number_of("SELECT count(*) FROM homeward.routes");
	struct import_store *store = begin();

	(void)state;
	for (int i = 0; i < 20000; i++) { /* more than is handed over at once */
		char id[32];

		snprintf(id, sizeof(id), "gone-%d", i);
		add(store, id, "eu", "{\"n\":1}");
	}
	import_store_destroy(store);
	database_session_close(session);
	assert_int_equal(database_session_open(test_postgres_dsn(server), PATIENCE_MS, &session, &why), STATUS_OK);
	assert_int_equal(number_of("SELECT count(*) FROM homeward.routes"), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_become_objects_and_routes),
		cmocka_unit_test(what_is_the_same_is_left_alone),
		cmocka_unit_test(an_object_that_moves_leaves_its_route_behind_and_nothing_else),
		cmocka_unit_test(without_a_commit_nothing_has_happened),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

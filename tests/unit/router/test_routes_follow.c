/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following the route table in a real PostgreSQL: its own triggers tell of changes,
 * the bulk read runs in its own thread, and a database that goes away and returns
 * takes nothing with it.  Everything is awaited; only a failing test waits long.
 */
#include "router/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/support/await.h"
#include "tests/unit/support/postgres.h"
#include "tests/unit/support/scratch.h"

#define MANY 30000 /* more than one FETCH */

static struct test_postgres *server;

struct bench {
	struct loop *loop;
	struct database *database;
	struct routes *routes;
	struct await await;
	const char *key, *region; /* awaited: what the table says of this token; NULL: a connection is enough */
	char folder[32], path[48];
};

static void change(const char *sql)
{
	test_postgres_script(server, sql);
}

static void find(struct bench *bench, const char *key, struct route_answer *answer)
{
	struct object_id object;

	assert_int_equal(object_id_make("token", key, strlen(key), ID_FORMAT_OPAQUE, &object, NULL), STATUS_OK);
	routes_find(bench->routes, &object, answer);
}

static bool is_there(void *arg)
{
	struct bench *bench = arg;
	struct route_answer answer = { 0 };

	if (bench->key == NULL)
		return database_is_up(bench->database);
	find(bench, bench->key, &answer);
	return routes_is_ready(bench->routes) && strcmp(answer.region, bench->region) == 0;
}

/* Runs until the token's home is `region`, "" for nowhere. */
static void await(struct bench *bench, const char *key, const char *region)
{
	bench->key = key;
	bench->region = region;
	if (!await_run(&bench->await))
		fail_msg("%s never came to be at \"%s\"", key, region);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct database_settings settings = { .dsn = test_postgres_dsn(server), .application_name = "test" };
	struct routes_settings routes_settings = { bench->path, test_postgres_dsn(server) };

	change("TRUNCATE homeward.routes");
	snprintf(bench->folder, sizeof(bench->folder), "%s/homeward-live-XXXXXX", scratch_place());
	assert_non_null(mkdtemp(bench->folder));
	snprintf(bench->path, sizeof(bench->path), "%.31s/routes", bench->folder);
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	assert_int_equal(database_create(bench->loop, &settings, &bench->database), STATUS_OK);
	assert_int_equal(routes_create(&routes_settings, &bench->routes), STATUS_OK);
	assert_int_equal(routes_follow(bench->routes, bench->loop, bench->database), STATUS_OK);
	assert_int_equal(await_init(&bench->await, bench->loop, is_there, bench), STATUS_OK);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	await_release(&bench->await);
	routes_destroy(bench->routes);
	database_destroy(bench->database);
	loop_destroy(bench->loop);
	unlink(bench->path);
	assert_int_equal(rmdir(bench->folder), 0); /* nothing half-written either */
	free(bench);
	return 0;
}

static void changes_are_in_force_without_asking(void **state)
{
	struct bench *bench = *state;
	struct route_table *saved = NULL;
	struct route_answer answer;
	uint64_t generation;

	assert_false(routes_is_ready(bench->routes));
	await(bench, "A1", ""); /* an empty table is a table */
	change("INSERT INTO homeward.routes (type, kind, key, region) VALUES ('token', 'exact', 'A1', 'na')");
	await(bench, "A1", "na");
	generation = routes_generation(bench->routes);
	change("INSERT INTO homeward.routes (type, kind, key, region) VALUES ('token', 'prefix', 'A', 'ap')");
	await(bench, "A2", "ap");
	assert_true(routes_generation(bench->routes) > generation);
	find(bench, "A1", &answer);
	assert_int_equal(answer.found, ROUTE_FOUND_EXACT);
	change("UPDATE homeward.routes SET region = 'eu' WHERE kind = 'exact'");
	await(bench, "A1", "eu");
	change("DELETE FROM homeward.routes");
	await(bench, "A1", "");
	assert_int_equal(route_table_load(bench->path, &saved, NULL), STATUS_OK);
	assert_int_equal(route_table_generation(saved), routes_generation(bench->routes));
	assert_int_equal(route_table_count(saved), 0);
	route_table_destroy(saved);
}

static void a_large_table_is_read_whole(void **state)
{
	struct bench *bench = *state;
	char sql[256];

	snprintf(sql, sizeof(sql),
		"INSERT INTO homeward.routes (type, kind, key, region) SELECT 'token', 'exact', 'M' || i, 'na' "
		"FROM generate_series(1, %d) i",
		MANY);
	change(sql);
	await(bench, "M30000", "na");
	assert_int_equal(routes_count(bench->routes), MANY);
}

static void an_outage_takes_nothing_and_its_changes_are_seen_after(void **state)
{
	struct bench *bench = *state;

	change("INSERT INTO homeward.routes (type, kind, key, region) VALUES ('token', 'exact', 'A1', 'na')");
	await(bench, "A1", "na");
	test_postgres_kill(server);
	await(bench, "A1", "na");
	test_postgres_restart(server);
	change("UPDATE homeward.routes SET region = 'ap'"); /* its NOTIFY finds nobody listening */
	await(bench, "A1", "ap");
}

static void an_end_in_the_middle_of_a_read_waits_for_it(void **state)
{
	struct bench *bench = *state;

	change("INSERT INTO homeward.routes (type, kind, key, region) SELECT 'token', 'exact', 'M' || i, 'na' "
	       "FROM generate_series(1, 30000) i");
	await(bench, NULL, NULL); /* the first read begins about when the connection is there; tear_down ends it */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(changes_are_in_force_without_asking),
		TEST(a_large_table_is_read_whole),
		TEST(an_outage_takes_nothing_and_its_changes_are_seen_after),
		TEST(an_end_in_the_middle_of_a_read_waits_for_it),
	};

	server = test_postgres_start();
	test_postgres_migrate(server);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

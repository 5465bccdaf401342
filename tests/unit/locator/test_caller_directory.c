/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following homeward.callers in a real PostgreSQL: its own triggers tell of changes,
 * and an outage neither forgets a caller nor misses what changed meanwhile.
 * Everything is awaited; only a failing test waits long.
 */
#include "locator/callers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/support/await.h"
#include "tests/unit/support/postgres.h"

#define ADD(name, token)                                                                                               \
	"INSERT INTO homeward.callers (name, token_hash, purposes) VALUES ('" name "', sha256('" token                 \
	"'), '{charge.authorize}')"

static struct test_postgres *server;

struct bench {
	struct loop *loop;
	struct database *database;
	struct caller_directory *directory;
	struct await await;
	const char *token; /* awaited: that this names a caller, or names nobody */
	bool is_wanted;
	char folder[32], path[48];
};

static void change(const char *sql)
{
	test_postgres_script(server, sql);
}

static bool is_known(struct caller_directory *directory, const char *token)
{
	struct callers *callers = caller_directory_current(directory);
	bool is_caller = callers_identify(callers, token) != NULL;

	callers_release(callers);
	return is_caller;
}

static bool is_there(void *arg)
{
	struct bench *bench = arg;

	return is_known(bench->directory, bench->token) == bench->is_wanted;
}

static void await(struct bench *bench, const char *token, bool is_wanted)
{
	bench->token = token;
	bench->is_wanted = is_wanted;
	assert_true(await_run(&bench->await));
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct database_settings settings = { .dsn = test_postgres_dsn(server), .application_name = "test" };

	change("TRUNCATE homeward.callers");
	snprintf(bench->folder, sizeof(bench->folder), "/tmp/hw-callers-XXXXXX");
	assert_non_null(mkdtemp(bench->folder));
	snprintf(bench->path, sizeof(bench->path), "%.31s/callers", bench->folder);
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	assert_int_equal(database_create(bench->loop, &settings, &bench->database), STATUS_OK);
	assert_int_equal(caller_directory_create(bench->path, 7, &bench->directory), STATUS_OK);
	assert_int_equal(caller_directory_follow(bench->directory, bench->loop, bench->database), STATUS_OK);
	assert_int_equal(await_init(&bench->await, bench->loop, is_there, bench), STATUS_OK);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	await_release(&bench->await);
	database_destroy(bench->database);
	caller_directory_destroy(bench->directory);
	loop_destroy(bench->loop);
	unlink(bench->path);
	assert_int_equal(rmdir(bench->folder), 0);
	free(bench);
	return 0;
}

static void changes_are_in_force_and_on_disk(void **state)
{
	struct bench *bench = *state;
	struct caller_directory *next = NULL;

	change(ADD("csms", "alpha"));
	await(bench, "Bearer alpha", true);
	change(ADD("insights", "beta"));
	await(bench, "Bearer beta", true);
	change("DELETE FROM homeward.callers WHERE name = 'csms'");
	await(bench, "Bearer alpha", false);
	/* What a start without a database would know. */
	assert_int_equal(caller_directory_create(bench->path, 7, &next), STATUS_OK);
	assert_true(is_known(next, "Bearer beta"));
	assert_false(is_known(next, "Bearer alpha"));
	caller_directory_destroy(next);
}

static void an_outage_forgets_and_misses_nothing(void **state)
{
	struct bench *bench = *state;

	change(ADD("csms", "alpha"));
	await(bench, "Bearer alpha", true);
	test_postgres_kill(server);
	await(bench, "Bearer alpha", true);
	test_postgres_restart(server);
	change("DELETE FROM homeward.callers"); /* its NOTIFY finds nobody listening */
	await(bench, "Bearer alpha", false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(changes_are_in_force_and_on_disk),
		TEST(an_outage_forgets_and_misses_nothing),
	};

	server = test_postgres_start();
	test_postgres_migrate(server);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

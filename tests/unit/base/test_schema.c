/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking sessions and migrations against a real PostgreSQL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/database.h"
#include "base/schema.h"
#include "tests/unit/support/postgres.h"

#define PATIENCE_MS 30000

static struct test_postgres *server;

static struct database_session *open_session(void)
{
	struct database_session *session;

	assert_int_equal(database_session_open(test_postgres_dsn(server), PATIENCE_MS, &session, NULL), STATUS_OK);
	return session;
}

static void assert_value(struct database_session *session, const char *sql, const char *expected)
{
	PGresult *result;

	assert_int_equal(database_session_query(session, sql, NULL, 0, PATIENCE_MS, &result, NULL), STATUS_OK);
	assert_int_equal(PQntuples(result), 1);
	assert_string_equal(PQgetvalue(result, 0, 0), expected);
	PQclear(result);
}

static void *migrate(void *arg)
{
	struct database_session *session = arg;
	int applied;

	return schema_migrate(session, &applied, NULL) == STATUS_OK && applied <= schema_version_known() ? session
													 : NULL;
}

static void test_migrating_together_then_again(void **state)
{
	struct database_session *first = open_session(), *second = open_session();
	struct strbuf why = STRBUF_INIT;
	pthread_t thread;
	void *outcome;
	int version = -1, applied = -1;

	(void)state;
	assert_true(schema_version_known() >= 1);
	assert_int_equal(schema_version_read(first, &version, &why), STATUS_OK);
	assert_int_equal(version, 0);
	assert_int_equal(pthread_create(&thread, NULL, migrate, second), 0);
	assert_non_null(migrate(first));
	pthread_join(thread, &outcome);
	assert_non_null(outcome);
	assert_int_equal(schema_version_read(first, &version, &why), STATUS_OK);
	assert_int_equal(version, schema_version_known());
	assert_int_equal(schema_migrate(first, &applied, &why), STATUS_OK);
	assert_int_equal(applied, 0);
	assert_value(first,
		"SELECT string_agg(name, ' ' ORDER BY version) LIKE '0001_first.sql%'"
		" FROM homeward.schema_migrations",
		"t");
	assert_value(first, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
	assert_int_equal(why.length, 0);
	strbuf_release(&why);
	database_session_close(first);
	database_session_close(second);
}

static void test_route_changes_raise_the_generation(void **state)
{
	struct database_session *session = open_session();

	(void)state;
	assert_value(session, "SELECT generation FROM homeward.route_generation", "1");
	assert_int_equal(database_session_script(session,
				 "INSERT INTO homeward.routes VALUES ('token', 'exact', 'a', 'na'), ('token', "
				 "'prefix', 'b', 'eu');"
				 "DELETE FROM homeward.routes",
				 PATIENCE_MS, NULL),
		STATUS_OK);
	assert_value(session, "SELECT generation FROM homeward.route_generation", "3");
	database_session_close(session);
}

static void test_a_newer_database_is_refused(void **state)
{
	struct database_session *session = open_session();
	struct strbuf why = STRBUF_INIT, expected = STRBUF_INIT;
	int applied;

	(void)state;
	assert_int_equal(
		database_session_script(session, "INSERT INTO homeward.schema_migrations VALUES (999, 'later', now())",
			PATIENCE_MS, NULL),
		STATUS_OK);
	assert_int_equal(schema_migrate(session, &applied, &why), STATUS_CONFLICT);
	assert_int_equal(applied, 0);
	strbuf_addf(&expected, "up to %d", schema_version_known());
	assert_non_null(strstr(why.data, "999"));
	assert_non_null(strstr(why.data, expected.data));
	assert_int_equal(database_session_script(session, "DELETE FROM homeward.schema_migrations WHERE version = 999",
				 PATIENCE_MS, NULL),
		STATUS_OK);
	strbuf_release(&why);
	strbuf_release(&expected);
	database_session_close(session);
}

static void test_parameters_errors_and_conflicts(void **state)
{
	struct database_session *session = open_session();
	const char *parameters[] = { "it's", NULL };
	struct strbuf why = STRBUF_INIT;
	PGresult *result;

	(void)state;
	assert_int_equal(database_session_query(session, "SELECT $1::text, $2::text IS NULL", parameters, 2,
				 PATIENCE_MS, &result, &why),
		STATUS_OK);
	assert_string_equal(PQgetvalue(result, 0, 0), "it's");
	assert_string_equal(PQgetvalue(result, 0, 1), "t");
	PQclear(result);
	assert_int_equal(
		database_session_query(session, "SELECT 1/0", NULL, 0, PATIENCE_MS, &result, &why), STATUS_INTERNAL);
	assert_null(result);
	assert_string_equal(why.data, "division by zero");
	strbuf_reset(&why);
	assert_int_equal(database_session_script(session,
				 "CREATE TEMP TABLE u (n int UNIQUE); INSERT INTO u VALUES (1);"
				 "INSERT INTO u VALUES (1)",
				 PATIENCE_MS, &why),
		STATUS_CONFLICT);
	assert_non_null(strstr(why.data, "duplicate key"));
	strbuf_release(&why);
	database_session_close(session);
}

static void test_copy_takes_many_rows(void **state)
{
	struct database_session *session = open_session();
	struct strbuf rows = STRBUF_INIT, why = STRBUF_INIT;

	(void)state;
	for (int i = 0; i < 300000; i++)
		strbuf_addf(&rows, "%d\tsome text of a row\n", i);
	assert_int_equal(
		database_session_script(session, "CREATE TABLE copied (n int, t text)", PATIENCE_MS, &why), STATUS_OK);
	assert_int_equal(database_session_copy_begin(session, "COPY copied FROM STDIN", &why), STATUS_OK);
	assert_int_equal(database_session_copy_data(session, rows.data, rows.length, &why), STATUS_OK);
	assert_int_equal(database_session_copy_end(session, PATIENCE_MS, &why), STATUS_OK);
	assert_value(session, "SELECT count(DISTINCT n) FROM copied", "300000");
	/* A bad row fails the whole, with the server's reason, and the session lives on. */
	assert_int_equal(database_session_copy_begin(session, "COPY copied FROM STDIN", &why), STATUS_OK);
	assert_int_equal(database_session_copy_data(session, "x\ty\n", 4, &why), STATUS_OK);
	assert_int_equal(database_session_copy_end(session, PATIENCE_MS, &why), STATUS_INTERNAL);
	assert_non_null(strstr(why.data, "invalid input syntax"));
	strbuf_reset(&why);
	assert_int_equal(database_session_copy_begin(session, "SELECT 1", &why), STATUS_INVALID);
	assert_value(session, "SELECT count(*) FROM copied", "300000");
	strbuf_release(&rows);
	strbuf_release(&why);
	database_session_close(session);
}

static void test_deadlines_hold_whatever_the_server_does(void **state)
{
	struct database_session *session = open_session(), *refused;
	struct strbuf why = STRBUF_INIT;
	int64_t start_ms = clock_monotonic_ms(clock_system());

	(void)state;
	test_postgres_signal(server, SIGSTOP);
	assert_int_equal(database_session_query(session, "SELECT 1", NULL, 0, 100, NULL, &why), STATUS_DEADLINE);
	assert_int_equal(database_session_query(session, "SELECT 1", NULL, 0, 100, NULL, NULL), STATUS_UNREACHABLE);
	assert_int_equal(database_session_open(test_postgres_dsn(server), 100, &refused, NULL), STATUS_DEADLINE);
	assert_null(refused);
	assert_in_range(clock_monotonic_ms(clock_system()) - start_ms, 200, 10000);
	test_postgres_signal(server, SIGCONT);
	assert_non_null(strstr(why.data, "in time"));
	strbuf_reset(&why);
	assert_int_equal(database_session_open("host=/nonexistent", PATIENCE_MS, &refused, &why), STATUS_UNREACHABLE);
	assert_non_null(strstr(why.data, "/nonexistent"));
	strbuf_release(&why);
	database_session_close(session);
	database_session_close(NULL);
}

static int start_server(void **state)
{
	(void)state;
	server = test_postgres_start();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_migrating_together_then_again),
		cmocka_unit_test(test_route_changes_raise_the_generation),
		cmocka_unit_test(test_a_newer_database_is_refused),
		cmocka_unit_test(test_parameters_errors_and_conflicts),
		cmocka_unit_test(test_copy_takes_many_rows),
		cmocka_unit_test(test_deadlines_hold_whatever_the_server_does),
	};

	return cmocka_run_group_tests(tests, start_server, NULL);
}

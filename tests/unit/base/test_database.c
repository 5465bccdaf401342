/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipelined connection against a real PostgreSQL: order, isolation, commits,
 * deadlines, a server that hangs, dies and comes back, and notices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/database.h"
#include "tests/unit/support/postgres.h"

#define PATIENCE_MS 30000 /* for a loaded machine under a sanitizer; only a failing test waits so long */
#define MANY 10000

static struct test_postgres *server;

/* One test's loop, and what it waits for. */
struct bench {
	struct loop *loop;
	struct database *database;
	struct loop_timer patience, poll;
	bool wanted_up;
	int wanted; /* completions still awaited */
	bool has_run_out;
};

struct answer {
	struct bench *bench;
	enum status status;
	char text[128];
	int calls;
};

static void on_patience(void *arg)
{
	struct bench *bench = arg;

	bench->has_run_out = true;
	loop_break(bench->loop);
}

static void on_poll(void *arg)
{
	struct bench *bench = arg;

	if (database_is_up(bench->database) == bench->wanted_up)
		loop_break(bench->loop);
	else
		loop_timer_start(&bench->poll, 5);
}

static void run(struct bench *bench)
{
	loop_timer_start(&bench->patience, PATIENCE_MS);
	loop_run_here(bench->loop);
	assert_false(bench->has_run_out);
}

static void await_up(struct bench *bench, bool is_up)
{
	bench->wanted_up = is_up;
	loop_timer_start(&bench->poll, 0);
	run(bench);
}

static void await_answers(struct bench *bench)
{
	if (bench->wanted > 0)
		run(bench);
}

static void on_answer(void *arg, enum status status, const PGresult *result)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->status = status;
	assert_true((status == STATUS_OK) == (result != NULL));
	if (result != NULL && PQntuples(result) > 0)
		snprintf(answer->text, sizeof(answer->text), "%s", PQgetvalue(result, 0, 0));
	if (--answer->bench->wanted == 0)
		loop_break(answer->bench->loop);
}

static void ask(struct bench *bench, struct answer *answer, const char *sql, const char *value, int64_t timeout_ms)
{
	struct database_parameter parameter = { value };

	*answer = (struct answer){ .bench = bench, .status = STATUS_COUNT };
	bench->wanted++;
	database_query(bench->database, sql, &parameter, value != NULL ? 1 : 0,
		timeout_ms > 0 ? loop_now_ms(bench->loop) + timeout_ms : 0, on_answer, answer);
	assert_int_equal(answer->calls, 0);
}

static void open_with(struct bench *bench, const struct database_settings *settings)
{
	*bench = (struct bench){ 0 };
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->patience, on_patience, bench), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->poll, on_poll, bench), STATUS_OK);
	assert_int_equal(database_create(bench->loop, settings, &bench->database), STATUS_OK);
}

static void open_bench(struct bench *bench)
{
	struct database_settings settings = { .dsn = test_postgres_dsn(server), .query_timeout_ms = PATIENCE_MS };

	open_with(bench, &settings);
	await_up(bench, true);
}

static void close_bench(struct bench *bench)
{
	database_destroy(bench->database);
	loop_timer_release(&bench->patience);
	loop_timer_release(&bench->poll);
	loop_destroy(bench->loop);
}

static void run_sql(struct bench *bench, const char *sql)
{
	struct answer answer;

	ask(bench, &answer, sql, NULL, 0);
	await_answers(bench);
	assert_int_equal(answer.status, STATUS_OK);
}

static void test_ten_thousand_queries_in_flight(void **state)
{
	static const char sql[] = "SELECT $1::text", count[] = "SELECT count(*) FROM pg_prepared_statements";
	struct answer *answers = calloc(MANY, sizeof(*answers)), prepared;
	struct bench bench;

	(void)state;
	open_bench(&bench);
	/* Behind the connection's first command, which has a place in the queue until it is answered. */
	run_sql(&bench, count);
	for (int i = 0; i < MANY; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%d", i);
		ask(&bench, &answers[i], sql, text, 0);
	}
	await_answers(&bench);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(answers[i].calls, 1);
		assert_int_equal(answers[i].status, STATUS_OK);
		assert_int_equal(strtol(answers[i].text, NULL, 10), i);
	}
	/* Prepared once, for the two statements used. */
	ask(&bench, &prepared, count, NULL, 0);
	await_answers(&bench);
	assert_string_equal(prepared.text, "2");
	free(answers);
	close_bench(&bench);
}

static void test_the_queue_has_a_bound(void **state)
{
	struct database_settings settings = { .dsn = test_postgres_dsn(server), .queue_max = 2 };
	struct answer answers[4];
	struct bench bench;

	(void)state;
	open_with(&bench, &settings);
	await_up(&bench, true);
	run_sql(&bench, "SELECT 1"); /* behind the connection's first command */
	for (int i = 0; i < 4; i++)
		ask(&bench, &answers[i], "SELECT 1", NULL, 0);
	await_answers(&bench);
	assert_int_equal(answers[0].status, STATUS_OK);
	assert_int_equal(answers[1].status, STATUS_OK);
	assert_int_equal(answers[2].status, STATUS_OVERLOADED);
	assert_int_equal(answers[3].status, STATUS_OVERLOADED);
	close_bench(&bench);
}

static void test_what_an_error_means(void **state)
{
	(void)state;
	assert_int_equal(database_error_status("23505"), STATUS_CONFLICT);
	assert_int_equal(database_error_status("57014"), STATUS_DEADLINE);
	assert_int_equal(database_error_status("40P01"), STATUS_UNREACHABLE);
	assert_int_equal(database_error_status("55P03"), STATUS_UNREACHABLE);
	assert_int_equal(database_error_status("57P01"), STATUS_UNREACHABLE);
	assert_int_equal(database_error_status("55000"), STATUS_INTERNAL);
	assert_int_equal(database_error_status("P0001"), STATUS_INTERNAL);
	assert_int_equal(database_error_status(""), STATUS_INTERNAL);
}

static void test_each_query_fails_alone(void **state)
{
	static const char insert[] = "INSERT INTO alone VALUES ($1::int)";
	static const char late[] = "INSERT INTO late VALUES ($1::int)";
	static const char divide[] = "SELECT 10 / $1::int";
	struct answer answers[9];
	struct bench bench;

	(void)state;
	open_bench(&bench);
	run_sql(&bench, "CREATE TABLE alone (n int PRIMARY KEY)");
	run_sql(&bench, "CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
	ask(&bench, &answers[0], insert, "1", 0);
	ask(&bench, &answers[1], divide, "0", 0);
	ask(&bench, &answers[2], insert, "1", 0);
	ask(&bench, &answers[3], "SELECT nonsense FROM nowhere", NULL, 0);
	ask(&bench, &answers[4], late, "1", 0);
	ask(&bench, &answers[5], late, "1", 0); /* runs, and fails at its commit */
	ask(&bench, &answers[6], divide, "5", 0);
	ask(&bench, &answers[7], "SELECT count(*) FROM alone", NULL, 0);
	ask(&bench, &answers[8], "SELECT count(*) FROM late", NULL, 0);
	await_answers(&bench);
	assert_int_equal(answers[0].status, STATUS_OK);
	assert_int_equal(answers[1].status, STATUS_INTERNAL);
	assert_int_equal(answers[2].status, STATUS_CONFLICT);
	assert_int_equal(answers[3].status, STATUS_INTERNAL);
	assert_int_equal(answers[4].status, STATUS_OK);
	assert_int_equal(answers[5].status, STATUS_CONFLICT);
	assert_string_equal(answers[6].text, "2");
	assert_string_equal(answers[7].text, "1");
	assert_string_equal(answers[8].text, "1");
	close_bench(&bench);
}

static void test_a_stale_plan_is_prepared_anew(void **state)
{
	static const char sql[] = "SELECT * FROM shape";
	static const char later[] = "SELECT n FROM not_yet";
	struct answer answer;
	struct bench bench;

	(void)state;
	open_bench(&bench);
	run_sql(&bench, "CREATE TABLE shape AS SELECT 1 AS n");
	ask(&bench, &answer, sql, NULL, 0);
	await_answers(&bench);
	assert_string_equal(answer.text, "1");
	run_sql(&bench, "ALTER TABLE shape ALTER n TYPE text USING 'one'");
	ask(&bench, &answer, sql, NULL, 0);
	await_answers(&bench);
	assert_int_equal(answer.status, STATUS_INTERNAL); /* PostgreSQL refuses the old plan */
	ask(&bench, &answer, sql, NULL, 0);
	await_answers(&bench);
	assert_string_equal(answer.text, "one");
	/* The same for a statement whose prepare failed. */
	ask(&bench, &answer, later, NULL, 0);
	await_answers(&bench);
	assert_int_equal(answer.status, STATUS_INTERNAL);
	run_sql(&bench, "CREATE TABLE not_yet AS SELECT 7 AS n");
	ask(&bench, &answer, later, NULL, 0);
	await_answers(&bench);
	assert_string_equal(answer.text, "7");
	close_bench(&bench);
}

static void test_read_only_means_unreachable(void **state)
{
	struct answer answer;
	struct bench bench;

	(void)state;
	open_bench(&bench);
	run_sql(&bench, "CREATE TABLE primary_only (n int)");
	run_sql(&bench, "SET default_transaction_read_only = on");
	ask(&bench, &answer, "INSERT INTO primary_only VALUES (1)", NULL, 0);
	await_answers(&bench);
	assert_int_equal(answer.status, STATUS_UNREACHABLE);
	close_bench(&bench);
}

static void test_arrays_keep_any_text(void **state)
{
	static const char *const texts[] = { "plain", "", "NULL", "a,b", "{x}", "say \"hi\"", "back\\slash", "\\\"",
		" x\n" };
	static const char sql[] = "SELECT string_agg(length(t)::text || ':' || t, '|' ORDER BY n)"
				  " FROM unnest($1::text[]) WITH ORDINALITY AS u (t, n)";
	struct strbuf array = STRBUF_INIT, expected = STRBUF_INIT;
	struct answer answer;
	struct bench bench;

	(void)state;
	open_bench(&bench);
	strbuf_addc(&array, '{');
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		database_array_add(&array, texts[i], strlen(texts[i]), i == 0);
		strbuf_addf(&expected, "%s%zu:%s", i == 0 ? "" : "|", strlen(texts[i]), texts[i]);
	}
	strbuf_addc(&array, '}');
	ask(&bench, &answer, sql, array.data, 0);
	await_answers(&bench);
	assert_int_equal(answer.status, STATUS_OK);
	assert_true(expected.length < sizeof(answer.text));
	assert_string_equal(answer.text, expected.data);
	strbuf_release(&array);
	strbuf_release(&expected);
	close_bench(&bench);
}

static void test_large_values_survive_a_full_socket(void **state)
{
	static const char sql[] = "SELECT length($1::text)";
	struct answer answers[40];
	struct bench bench;
	size_t size = 1000000;
	char *text = malloc(size + 1);

	(void)state;
	open_bench(&bench);
	memset(text, 'x', size);
	text[size] = '\0';
	for (int i = 0; i < 40; i++)
		ask(&bench, &answers[i], sql, text, 0);
	await_answers(&bench);
	for (int i = 0; i < 40; i++)
		assert_string_equal(answers[i].text, "1000000");
	free(text);
	close_bench(&bench);
}

static void test_a_deadline_ends_one_query(void **state)
{
	struct answer slow, late, good;
	struct bench bench;
	int64_t start_ms;

	(void)state;
	open_bench(&bench);
	start_ms = loop_now_ms(bench.loop);
	ask(&bench, &slow, "SELECT pg_sleep(0.15)", NULL, 100);
	ask(&bench, &good, "SELECT 5", NULL, 0);
	late = (struct answer){ .bench = &bench };
	bench.wanted++;
	database_query(bench.database, "SELECT 6", NULL, 0, start_ms - 1, on_answer, &late);
	assert_int_equal(late.calls, 0);
	await_answers(&bench);
	assert_int_equal(slow.status, STATUS_DEADLINE);
	assert_int_equal(late.status, STATUS_DEADLINE);
	assert_string_equal(good.text, "5"); /* the slow one ended soon after, so the connection was kept */
	assert_int_equal(slow.calls, 1);
	assert_in_range(loop_now_ms(bench.loop) - start_ms, 100, PATIENCE_MS);
	close_bench(&bench);
}

static void test_a_server_that_hangs_is_left_and_found_again(void **state)
{
	struct answer hung, behind, away, back;
	struct bench bench;
	int64_t start_ms;

	(void)state;
	open_bench(&bench);
	test_postgres_signal(server, SIGSTOP);
	start_ms = loop_now_ms(bench.loop);
	ask(&bench, &hung, "SELECT 1", NULL, 200);
	ask(&bench, &behind, "SELECT 2", NULL, 20000);
	await_answers(&bench);
	assert_int_equal(hung.status, STATUS_DEADLINE);
	assert_int_equal(behind.status, STATUS_UNREACHABLE); /* its connection was replaced long before its deadline */
	assert_in_range(loop_now_ms(bench.loop) - start_ms, 400, 10000);
	assert_false(database_is_up(bench.database));
	ask(&bench, &away, "SELECT 3", NULL, 0);
	await_answers(&bench);
	assert_int_equal(away.status, STATUS_UNREACHABLE);
	test_postgres_signal(server, SIGCONT);
	start_ms = loop_now_ms(bench.loop);
	await_up(&bench, true);
	assert_in_range(loop_now_ms(bench.loop) - start_ms, 0, 3000);
	ask(&bench, &back, "SELECT 4", NULL, 0);
	await_answers(&bench);
	assert_string_equal(back.text, "4");
	close_bench(&bench);
}

struct ear {
	struct bench *bench;
	int heard, wanted;
	char notice[32];
};

static void on_notice(void *arg, const char *channel)
{
	struct ear *ear = arg;

	const char *notice = database_notice(ear->bench->database);

	assert_string_equal(channel, "news");
	(void)snprintf(ear->notice, sizeof(ear->notice), "%s", notice != NULL ? notice : "(connected)");
	if (++ear->heard == ear->wanted)
		loop_break(ear->bench->loop);
}

static void await_notices(struct ear *ear, int wanted)
{
	ear->wanted = wanted;
	if (ear->heard < wanted)
		run(ear->bench);
	assert_int_equal(ear->heard, wanted);
}

static void test_a_killed_server_is_found_again_and_listened_to(void **state)
{
	static const char insert[] = "INSERT INTO kept VALUES ($1::int)";
	struct answer answers[3], count;
	struct ear ear = { 0 };
	struct bench bench;

	(void)state;
	open_bench(&bench);
	ear.bench = &bench;
	assert_int_equal(database_listen(bench.database, "no; DROP", on_notice, &ear), STATUS_INVALID);
	assert_int_equal(database_listen(bench.database, "news", on_notice, &ear), STATUS_OK);
	await_notices(&ear, 1); /* it took hold */
	assert_string_equal(ear.notice, "(connected)");
	run_sql(&bench, "CREATE TABLE kept (n int)");
	run_sql(&bench, "NOTIFY news, 'one'");
	await_notices(&ear, 2);
	assert_string_equal(ear.notice, "one");
	ask(&bench, &answers[0], insert, "1", 0);
	await_answers(&bench);
	ask(&bench, &answers[1], "SELECT pg_sleep(60)", NULL, 0);
	ask(&bench, &answers[2], insert, "2", 0);
	test_postgres_kill(server);
	await_answers(&bench);
	assert_int_equal(answers[0].status, STATUS_OK);
	assert_int_equal(answers[1].status, STATUS_UNREACHABLE);
	assert_int_equal(answers[2].status, STATUS_UNREACHABLE);
	test_postgres_restart(server);
	await_notices(&ear, 3); /* some may have been missed */
	ask(&bench, &count, "SELECT count(*) FROM kept", NULL, 0);
	await_answers(&bench);
	assert_string_equal(count.text, "1");
	run_sql(&bench, "NOTIFY news");
	await_notices(&ear, 4);
	assert_string_equal(ear.notice, "");
	assert_null(database_notice(bench.database));
	close_bench(&bench);
}

static void test_a_terminated_backend_is_unreachable_not_internal(void **state)
{
	static const char terminate[] = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
					" WHERE application_name = 'victim'";
	struct database_settings settings = { .dsn = test_postgres_dsn(server), .application_name = "victim" };
	struct bench victim, other;
	struct answer answer;

	(void)state;
	open_with(&victim, &settings);
	await_up(&victim, true);
	open_bench(&other);
	ask(&victim, &answer, "SELECT pg_sleep(60)", NULL, 0);
	run_sql(&other, "SELECT pg_sleep(0)");
	run_sql(&other, terminate);
	await_answers(&victim);
	assert_int_equal(answer.status, STATUS_UNREACHABLE);
	await_up(&victim, true);
	close_bench(&victim);
	close_bench(&other);
}

struct nested {
	struct answer answer;
	struct database *database;
};

static void on_draining(void *arg, enum status status, const PGresult *result)
{
	struct nested *nested = arg;

	(void)result;
	nested->answer.calls++;
	nested->answer.status = status;
	if (nested->answer.calls == 1) /* one that asks again while everything ends */
		database_query(nested->database, "SELECT 1", NULL, 0, 0, on_draining, nested);
}

static void test_destroy_ends_what_is_pending(void **state)
{
	struct nested nested = { 0 };
	struct bench bench;

	(void)state;
	open_bench(&bench);
	nested.database = bench.database;
	database_query(bench.database, "SELECT pg_sleep(60)", NULL, 0, 0, on_draining, &nested);
	assert_int_equal(nested.answer.calls, 0);
	close_bench(&bench);
	assert_int_equal(nested.answer.calls, 2);
	assert_int_equal(nested.answer.status, STATUS_DRAINING);
	database_destroy(NULL);
}

static void test_nowhere_to_connect(void **state)
{
	struct database_settings settings = { .dsn = "host=/nonexistent dbname=x" };
	struct database_settings nonsense = { .dsn = "this is = no dsn =" };
	struct database *database;
	struct answer answer;
	struct bench bench;

	(void)state;
	open_with(&bench, &settings);
	ask(&bench, &answer, "SELECT 1", NULL, 0);
	await_answers(&bench);
	assert_int_equal(answer.status, STATUS_UNREACHABLE);
	assert_int_equal(database_create(bench.loop, &nonsense, &database), STATUS_INVALID);
	assert_null(database);
	close_bench(&bench);
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
		cmocka_unit_test(test_ten_thousand_queries_in_flight),
		cmocka_unit_test(test_the_queue_has_a_bound),
		cmocka_unit_test(test_what_an_error_means),
		cmocka_unit_test(test_each_query_fails_alone),
		cmocka_unit_test(test_a_stale_plan_is_prepared_anew),
		cmocka_unit_test(test_read_only_means_unreachable),
		cmocka_unit_test(test_arrays_keep_any_text),
		cmocka_unit_test(test_large_values_survive_a_full_socket),
		cmocka_unit_test(test_a_deadline_ends_one_query),
		cmocka_unit_test(test_a_server_that_hangs_is_left_and_found_again),
		cmocka_unit_test(test_a_killed_server_is_found_again_and_listened_to),
		cmocka_unit_test(test_a_terminated_backend_is_unreachable_not_internal),
		cmocka_unit_test(test_destroy_ends_what_is_pending),
		cmocka_unit_test(test_nowhere_to_connect),
	};

	return cmocka_run_group_tests(tests, start_server, NULL);
}

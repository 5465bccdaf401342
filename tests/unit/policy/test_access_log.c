/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access log against a real PostgreSQL: what is released is on record, what
 * cannot be recorded is not released, and every question ends once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/schema.h"
#include "policy/policy.h"
#include "tests/unit/support/postgres.h"

#define PATIENCE_MS 30000 /* for a loaded machine under a sanitizer; only a failing test waits so long */
#define MANY 3000
#define CALLERS 90      /* more contexts than one batch takes */
#define WAITING 20000   /* the log's bound */
#define STOPPED_MS 300  /* deadline while the server does not answer */
#define NORMAL_MS 20000 /* deadline while it does */

static const char policy_text[] =
	"{\"schema\":\"homeward-policy/1\",\"home\":\"eu\",\"version\":9,\"not_after\":\"2100-01-01T00:00:00Z\","
	"\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\",\"valid\",\"email\"],\"personal\":true}},"
	"\"rules\":[{\"id\":\"A1\",\"effect\":\"permit\",\"operation\":[\"ask\",\"serve\"],\"to\":[\"na\"],"
	"\"purpose\":[\"charge.authorize\"],\"fields\":[\"uid\",\"valid\"],\"obligations\":{\"cache_ttl_max_s\":900}},"
	"{\"id\":\"F1\",\"effect\":\"forbid\",\"purpose\":[\"analytics\"]}]}";
static const uint8_t key[32] = { 1, 2, 3 };

static struct test_postgres *server;
static struct policy *policy;

struct bench {
	struct loop *loop;
	struct database *database;
	struct access_log *log;
	struct loop_timer patience, poll;
	int wanted, wanted_break; /* completions still awaited, and how many are left when the loop is to stop */
	int wanted_outage;        /* when so many are left, the server is killed, inside a completion; 0: never */
	bool has_run_out;
};

struct outcome {
	struct bench *bench;
	enum status status;
	int calls;
	bool covers, is_open;
	char view[128];
	const struct lookup_question *question;
};

static void on_patience(void *arg)
{
	struct bench *bench = arg;

	bench->has_run_out = true;
	loop_break(bench->loop);
}

static void run(struct bench *bench)
{
	loop_timer_start(&bench->patience, PATIENCE_MS);
	loop_run_here(bench->loop);
	assert_false(bench->has_run_out);
}

static void on_poll(void *arg)
{
	struct bench *bench = arg;

	if (database_is_up(bench->database))
		loop_break(bench->loop);
	else
		loop_timer_start(&bench->poll, 5);
}

static void await_up(struct bench *bench)
{
	loop_timer_start(&bench->poll, 0);
	run(bench);
}

static void ended(struct outcome *outcome, enum status status)
{
	outcome->calls++;
	outcome->status = status;
	if (--outcome->bench->wanted == outcome->bench->wanted_break)
		loop_break(outcome->bench->loop);
	else if (outcome->bench->wanted == outcome->bench->wanted_outage)
		test_postgres_kill(server);
}

static void on_release(void *arg, enum status status, struct policy_release *release)
{
	struct outcome *outcome = arg;

	assert_true((status == STATUS_OK) == (release != NULL));
	if (release != NULL) {
		json_t *record = json_loads("{\"uid\":\"04\",\"valid\":true,\"email\":\"x\"}", 0, NULL);
		json_t *view = policy_release_view(release, record);
		char *text = json_dumps(view, JSON_COMPACT);

		snprintf(outcome->view, sizeof(outcome->view), "%s", text);
		free(text);
		json_decref(view);
		json_decref(record);
		outcome->covers = policy_release_covers(release, &outcome->question->object, "na") &&
				  !policy_release_covers(release, &outcome->question->object, "ap");
		policy_release_destroy(release);
	}
	ended(outcome, status);
}

static void on_got(void *arg, enum status status)
{
	ended(arg, status);
}

static void on_grant(void *arg, enum status status, bool is_open)
{
	((struct outcome *)arg)->is_open = is_open;
	ended(arg, status);
}

static void query(const char *sql, char answer[256])
{
	struct strbuf why = STRBUF_INIT;
	struct database_session *session = NULL;
	PGresult *result = NULL;

	if (database_session_open(test_postgres_dsn(server), PATIENCE_MS, &session, &why) != STATUS_OK ||
		database_session_query(session, sql, NULL, 0, PATIENCE_MS, &result, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	snprintf(answer, 256, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	database_session_close(session);
	strbuf_release(&why);
}

static long count(const char *sql)
{
	char answer[256];

	query(sql, answer);
	return strtol(answer, NULL, 10);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct database_settings settings = { .dsn = test_postgres_dsn(server), .application_name = "test" };
	const struct access_log_settings log_settings = {
		.region = "eu", .key = key, .batch_max = 500, .grant_ttl_s = 86400
	};
	char answer[256];

	query("TRUNCATE homeward.exchange_commits, homeward.grants", answer);
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	assert_int_equal(database_create(bench->loop, &settings, &bench->database), STATUS_OK);
	assert_int_equal(
		access_log_create(bench->loop, bench->database, &log_settings, clock_system(), &bench->log), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->patience, on_patience, bench), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->poll, on_poll, bench), STATUS_OK);
	await_up(bench);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	loop_timer_release(&bench->patience);
	loop_timer_release(&bench->poll);
	database_destroy(bench->database);
	access_log_destroy(bench->log);
	loop_destroy(bench->loop);
	free(bench);
	return 0;
}

static struct lookup_question question_of(const struct bench *bench, const char *id, const char *purpose, int64_t ms)
{
	struct lookup_question question = { .exchange = exchange_id_make(clock_system(), random_system()),
		.deadline_ms = loop_now_ms(bench->loop) + ms };

	snprintf(question.object.type, sizeof(question.object.type), "token");
	snprintf(question.object.id, sizeof(question.object.id), "%s", id);
	snprintf(question.purpose, sizeof(question.purpose), "%s", purpose);
	snprintf(question.caller, sizeof(question.caller), "csms");
	return question;
}

static void serve(
	struct bench *bench, struct policy *by, const struct lookup_question *question, struct outcome *outcome)
{
	struct gate_request request = { .operation = GATE_SERVE,
		.requester = "na",
		.to = "na",
		.type = "token",
		.purpose = question->purpose,
		.caller = question->caller };

	int calls = outcome->calls;

	outcome->bench = bench;
	outcome->question = question;
	bench->wanted++;
	policy_release_request(bench->log, by, &request, question, "na", on_release, outcome);
	assert_int_equal(outcome->calls, calls);
}

static void a_permitted_lookup_is_released_and_on_record(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct outcome outcome = { 0 };
	char row[256], exchange[EXCHANGE_ID_TEXT_SIZE], subject[SUBJECT_HASH_SIZE], expected[256];

	serve(bench, policy, &question, &outcome);
	run(bench);
	assert_int_equal(outcome.status, STATUS_OK);
	assert_true(outcome.covers);
	assert_string_equal(outcome.view, "{\"uid\":\"04\",\"valid\":true}");
	query("SELECT concat_ws(' ', kind, exchange, me, peer, type, subject, operation, purpose, caller, decision, "
	      "rules, "
	      "fields, ttl_s, abs(extract(epoch FROM now() - at)) < 60) FROM homeward.exchanges",
		row);
	exchange_id_format(&question.exchange, exchange);
	access_log_subject(key, &question.object, subject);
	snprintf(expected, sizeof(expected),
		"serve %s eu na token %s serve charge.authorize csms permit A1 uid,valid 900 t", exchange, subject);
	assert_string_equal(row, expected);
	query("SELECT policy FROM homeward.exchanges", row);
	assert_string_equal(row, policy_version(policy));
	assert_int_equal(count("SELECT count(*) FROM homeward.exchanges"), 1);
}

static void a_denied_lookup_is_on_record_and_not_released(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "analytics", NORMAL_MS);
	struct outcome forbidden = { 0 }, without_policy = { 0 };

	serve(bench, policy, &question, &forbidden);
	serve(bench, NULL, &question, &without_policy);
	run(bench);
	assert_int_equal(forbidden.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(without_policy.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(count("SELECT count(*) FROM homeward.exchanges WHERE kind = 'deny' AND operation = 'serve' "
			       "AND fields = '' AND decision = 'deny'"),
		2);
	assert_int_equal(count("SELECT count(*) FROM homeward.exchanges WHERE rules = 'F1'"), 1);
	assert_int_equal(count("SELECT count(*) FROM homeward.exchanges WHERE policy = 'none'"), 1);
	assert_int_equal(count("SELECT count(*) FROM homeward.grants"), 0);
}

static void what_came_back_is_on_record(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct outcome outcome = { .bench = bench };
	const struct access_got got = { .question = &question,
		.peer = "na",
		.answer = STATUS_OK,
		.fields = "uid,valid \"{}\\",
		.ttl_s = 60,
		.peer_policy_version = "3:abc" };

	bench->wanted = 1;
	access_log_got(bench->log, &got, on_got, &outcome);
	assert_int_equal(outcome.calls, 0);
	run(bench);
	assert_int_equal(outcome.status, STATUS_OK);
	assert_int_equal(
		count("SELECT count(*) FROM homeward.exchanges WHERE kind = 'got' AND operation = 'ask' AND "
		      "decision = 'ok' AND fields = E'uid,valid \"{}\\\\' AND ttl_s = 60 AND policy = '3:abc'"),
		1);
}

static void a_permitted_authorization_opens_a_grant(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct lookup_question other = question_of(bench, "04FF", "charge.authorize", NORMAL_MS);
	struct outcome outcomes[3] = { 0 }, checks[3] = { { .bench = bench }, { .bench = bench }, { .bench = bench } };
	char first[256], second[256];

	/* The same subject twice in one batch. */
	serve(bench, policy, &question, &outcomes[0]);
	serve(bench, policy, &question, &outcomes[1]);
	run(bench);
	assert_int_equal(outcomes[1].status, STATUS_OK);
	query("SELECT expires_at FROM homeward.grants", first);
	bench->wanted = 3;
	grant_check(bench->log, &question.object, "na", question.deadline_ms, on_grant, &checks[0]);
	grant_check(bench->log, &question.object, "ap", question.deadline_ms, on_grant, &checks[1]);
	grant_check(bench->log, &other.object, "na", question.deadline_ms, on_grant, &checks[2]);
	assert_int_equal(checks[0].calls, 0);
	run(bench);
	for (int i = 0; i < 3; i++)
		assert_int_equal(checks[i].status, STATUS_OK);
	assert_true(checks[0].is_open && !checks[1].is_open && !checks[2].is_open);
	/* A young grant is left as it is; an old one is extended. */
	serve(bench, policy, &question, &outcomes[2]);
	run(bench);
	query("SELECT expires_at FROM homeward.grants", second);
	assert_string_equal(first, second);
	query("UPDATE homeward.grants SET expires_at = now() - interval '1 hour'", second);
	serve(bench, policy, &question, &outcomes[2]);
	run(bench);
	assert_int_equal(
		count("SELECT count(*) FROM homeward.grants WHERE expires_at > now() + interval '23 hours'"), 1);
}

static void many_are_written_in_groups(void **state)
{
	struct bench *bench = *state;
	struct lookup_question *questions = calloc(MANY, sizeof(*questions));
	struct outcome *outcomes = calloc(MANY, sizeof(*outcomes));

	for (int i = 0; i < MANY; i++) {
		char id[32];

		snprintf(id, sizeof(id), "04%06d", i % (MANY / 3));
		questions[i] = question_of(bench, id, i % 5 == 0 ? "analytics" : "charge.authorize", NORMAL_MS);
		snprintf(questions[i].caller, sizeof(questions[i].caller), "caller-%d", i % CALLERS);
		serve(bench, policy, &questions[i], &outcomes[i]);
	}
	run(bench);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(outcomes[i].calls, 1);
		assert_int_equal(outcomes[i].status, i % 5 == 0 ? STATUS_NOT_AVAILABLE : STATUS_OK);
	}
	assert_int_equal(count("SELECT count(*) FROM homeward.exchanges"), MANY);
	assert_int_equal(count("SELECT count(DISTINCT exchange) FROM homeward.exchanges"), MANY);
	assert_int_equal(count("SELECT count(DISTINCT caller) FROM homeward.exchanges"), CALLERS);
	assert_int_equal(count("SELECT count(*) FROM homeward.exchanges WHERE kind = 'deny'"), MANY / 5);
	free(questions);
	free(outcomes);
}

static void a_server_that_hangs_ends_at_the_deadline(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", STOPPED_MS);
	struct lookup_question late = question_of(bench, "04A2", "charge.authorize", 0);
	struct outcome outcomes[3] = { 0 }, check = { .bench = bench };
	const struct access_got got = { .question = &question, .peer = "na", .answer = STATUS_OK };

	test_postgres_signal(server, SIGSTOP);
	serve(bench, policy, &question, &outcomes[0]);
	serve(bench, policy, &late, &outcomes[1]);
	outcomes[2].bench = bench;
	bench->wanted += 2;
	access_log_got(bench->log, &got, on_got, &outcomes[2]);
	grant_check(bench->log, &question.object, "na", question.deadline_ms, on_grant, &check);
	run(bench);
	assert_int_equal(outcomes[0].status, STATUS_DEADLINE);
	assert_int_equal(outcomes[1].status, STATUS_DEADLINE);
	assert_int_equal(outcomes[2].status, STATUS_DEADLINE);
	assert_int_equal(check.status, STATUS_DEADLINE);
	assert_false(check.is_open);
	test_postgres_signal(server, SIGCONT);
	/* And the log is as good as before. */
	await_up(bench);
	question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	do {
		outcomes[0].calls = 0;
		serve(bench, policy, &question, &outcomes[0]);
		run(bench);
	} while (outcomes[0].status == STATUS_UNREACHABLE || outcomes[0].status == STATUS_DEADLINE);
	assert_int_equal(outcomes[0].status, STATUS_OK);
	assert_int_equal(outcomes[1].calls, 1);
}

static void nothing_is_released_without_its_commit(void **state)
{
	struct bench *bench = *state;
	struct outcome *outcomes = calloc(MANY, sizeof(*outcomes));
	struct lookup_question *questions = calloc(MANY, sizeof(*questions));
	long released = 0;

	for (int i = 0; i < MANY; i++) {
		questions[i] = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
		serve(bench, policy, &questions[i], &outcomes[i]);
	}
	/* With some committed, two batches under way and the rest waiting. */
	bench->wanted_outage = MANY / 2;
	run(bench);
	bench->wanted_outage = 0;
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(outcomes[i].calls, 1);
		released += outcomes[i].status == STATUS_OK;
	}
	assert_true(released >= MANY / 2 && released < MANY);
	questions[0] = question_of(bench, "04A2", "charge.authorize", STOPPED_MS);
	outcomes[0].calls = 0;
	serve(bench, policy, &questions[0], &outcomes[0]);
	run(bench);
	assert_true(outcomes[0].status == STATUS_UNREACHABLE || outcomes[0].status == STATUS_DEADLINE);
	test_postgres_restart(server);
	assert_true(count("SELECT count(*) FROM homeward.exchanges") >= released);
	await_up(bench);
	questions[0] = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	outcomes[0].calls = 0;
	serve(bench, policy, &questions[0], &outcomes[0]);
	run(bench);
	assert_int_equal(outcomes[0].status, STATUS_OK);
	free(outcomes);
	free(questions);
}

static void a_full_queue_refuses(void **state)
{
	struct bench *bench = *state;
	struct outcome *outcomes = calloc(WAITING + 1, sizeof(*outcomes));
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);

	for (int i = 0; i <= WAITING; i++)
		serve(bench, policy, &question, &outcomes[i]);
	run(bench);
	assert_int_equal(outcomes[0].status, STATUS_OK);
	assert_int_equal(outcomes[WAITING - 1].status, STATUS_OK);
	assert_int_equal(outcomes[WAITING].status, STATUS_OVERLOADED);
	assert_int_equal(count("SELECT count(*) FROM homeward.exchanges"), WAITING);
	free(outcomes);
}

static void ending_the_log_ends_what_waits(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct outcome outcome = { 0 }, check = { .bench = bench };

	serve(bench, policy, &question, &outcome);
	bench->wanted++;
	grant_check(bench->log, &question.object, "na", question.deadline_ms, on_grant, &check);
	database_destroy(bench->database);
	bench->database = NULL;
	access_log_destroy(bench->log);
	bench->log = NULL;
	assert_int_equal(outcome.status, STATUS_DRAINING);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(check.status, STATUS_DRAINING);
}

static void a_log_may_end_before_its_database(void **state)
{
	struct bench *bench = *state;
	struct outcome *outcomes = calloc(MANY + 1, sizeof(*outcomes));
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);

	for (int i = 0; i < MANY; i++)
		serve(bench, policy, &question, &outcomes[i]);
	/* With batches under way. */
	bench->wanted_break = MANY / 2;
	run(bench);
	access_log_destroy(bench->log);
	bench->log = NULL;
	for (int i = 0; i < MANY; i++)
		assert_int_equal(outcomes[i].calls, 1);
	assert_int_equal(outcomes[MANY - 1].status, STATUS_DRAINING);
	database_destroy(bench->database);
	bench->database = NULL;
	for (int i = 0; i < MANY; i++)
		assert_int_equal(outcomes[i].calls, 1);
	free(outcomes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_permitted_lookup_is_released_and_on_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_denied_lookup_is_on_record_and_not_released, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_came_back_is_on_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_permitted_authorization_opens_a_grant, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_are_written_in_groups, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_server_that_hangs_ends_at_the_deadline, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_released_without_its_commit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_queue_refuses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ending_the_log_ends_what_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_log_may_end_before_its_database, set_up, tear_down),
	};
	struct database_session *session = NULL;
	struct strbuf why = STRBUF_INIT;
	int applied, failed;

	server = test_postgres_start();
	if (database_session_open(test_postgres_dsn(server), PATIENCE_MS, &session, &why) != STATUS_OK ||
		schema_migrate(session, &applied, &why) != STATUS_OK ||
		policy_parse("policy", policy_text, sizeof(policy_text) - 1, &policy, &why) != STATUS_OK) {
		fprintf(stderr, "%s\n", why.data);
		return 1;
	}
	database_session_close(session);
	strbuf_release(&why);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	policy_release_reference(policy);
	return failed;
}

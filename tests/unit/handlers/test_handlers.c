/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers `store` and `sql` against a real PostgreSQL: joining, duplicates, many
 * ids, bad queries, deadlines, and every condition of a write.  Handler `http`
 * against a client that is a fake of this file.
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

#include "base/json.h"
#include "base/schema.h"
#include "handlers/handlers.h"
#include "tests/unit/support/postgres.h"

#define PATIENCE_MS 30000 /* only a failing test waits so long */
#define MANY 1700         /* four queries' worth of ids */

static struct test_postgres *server;
static struct settings_type types[6];
static struct settings settings = { .types = types, .type_count = 6 };

static struct {
	struct loop *loop;
	struct database *database;
	struct handlers *handlers;
	struct loop_timer patience, poll;
	int wanted;
	bool has_run_out;
} bench;

struct answer {
	enum status status;
	uint64_t version;
	bool was_created;
	int calls;
	int64_t number; /* member "n" of the record, -1 without */
};

/* ---- the fake HTTP client: one call at a time ---- */

static struct {
	struct loop_task task;
	http_client_done *done;
	void *arg;
	struct http_client_result result;
	enum status refusal;
	char url[256];
	const char *etag, *wanted_header;
} wire;

const char *http_client_error_name(enum http_client_error error)
{
	return error == HTTP_CLIENT_OK ? "" : "connection_refused";
}

static void wire_answers(struct loop_task *task)
{
	(void)task;
	wire.done(wire.arg, &wire.result);
}

enum status http_client_send(struct http_client *client, const struct http_client_request *request,
	http_client_done *done, void *arg, struct http_client_call **call_out)
{
	(void)client;
	(void)call_out;
	assert_string_equal(request->method, "GET");
	assert_true(request->deadline_ms > 0);
	assert_true(request->response_bytes_max > 0);
	assert_null(request->peer_region);
	snprintf(wire.url, sizeof(wire.url), "%s", request->url);
	wire.wanted_header = request->wanted_header;
	if (wire.refusal != STATUS_OK)
		return wire.refusal;
	wire.done = done;
	wire.arg = arg;
	wire.task.run = wire_answers;
	loop_defer(bench.loop, &wire.task);
	return STATUS_OK;
}

/* ---- helpers ---- */

static void on_patience(void *arg)
{
	(void)arg;
	bench.has_run_out = true;
	loop_break(bench.loop);
}

static void on_poll(void *arg)
{
	(void)arg;
	if (database_is_up(bench.database))
		loop_break(bench.loop);
	else
		loop_timer_start(&bench.poll, 5);
}

static void run(void)
{
	loop_timer_start(&bench.patience, PATIENCE_MS);
	loop_run_here(bench.loop);
	loop_timer_stop(&bench.patience);
	assert_false(bench.has_run_out);
}

static void one_less(void)
{
	if (--bench.wanted == 0)
		loop_break(bench.loop);
}

static void fetched(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->status = status;
	answer->version = version;
	answer->number = -1;
	assert_true((status == STATUS_OK) == (content != NULL));
	(void)json_get_integer(content, "n", &answer->number);
	one_less();
}

static struct object_id object_of(const char *type, const char *id)
{
	struct object_id object = { .type = "" };

	snprintf(object.type, sizeof(object.type), "%s", type);
	snprintf(object.id, sizeof(object.id), "%s", id);
	return object;
}

static void fetch(struct answer *answer, const char *type, const char *id, int64_t timeout_ms)
{
	struct object_id object = object_of(type, id);

	*answer = (struct answer){ .status = STATUS_COUNT };
	bench.wanted++;
	handlers_fetch(bench.handlers, &object, loop_now_ms(bench.loop) + timeout_ms, fetched, answer);
	assert_int_equal(answer->calls, 0);
}

static void written(void *arg, enum status status, uint64_t version, bool was_created)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->status = status;
	answer->version = version;
	answer->was_created = was_created;
	one_less();
}

/* number < 0 deletes. */
static struct answer write_one(
	const char *type, const char *id, int number, enum write_condition condition, uint64_t version)
{
	struct object_id object = object_of(type, id);
	json_t *content = number >= 0 ? json_pack("{s:i}", "n", number) : NULL;
	struct answer answer = { .status = STATUS_COUNT };

	bench.wanted++;
	handlers_write(bench.handlers, &object, content, condition, version, 0, written, &answer);
	assert_int_equal(answer.calls, 0);
	json_decref(content);
	run();
	assert_int_equal(answer.calls, 1);
	return answer;
}

static void prepare_schema(void)
{
	struct strbuf why = STRBUF_INIT;
	struct database_session *session;
	int applied;

	assert_int_equal(database_session_open(test_postgres_dsn(server), PATIENCE_MS, &session, &why), STATUS_OK);
	assert_int_equal(schema_migrate(session, &applied, &why), STATUS_OK);
	assert_int_equal(database_session_script(session,
				 "CREATE TABLE cards (uid text PRIMARY KEY, rev bigint, holder int);"
				 "INSERT INTO cards SELECT 'card-' || i, i, i FROM generate_series(1, 20) i;"
				 "INSERT INTO homeward.objects (type, id, version, record) "
				 "SELECT 'token', 't' || i, i + 1, jsonb_build_object('n', i) "
				 "FROM generate_series(0, 1999) i;"
				 "INSERT INTO homeward.objects (type, id, record) VALUES "
				 "('token', E'odd \"x\\\\y\", {z}', '{\"n\": 77}'), ('other', 't1', '{\"n\": 99}')",
				 PATIENCE_MS, &why),
		STATUS_OK);
	database_session_close(session);
	strbuf_release(&why);
}

static void define_type(int index, const char *name, enum handler_kind kind, const char *query)
{
	snprintf(types[index].name, OBJECT_TYPE_SIZE, "%s", name);
	types[index].handler = kind;
	types[index].query = query != NULL ? strdup(query) : NULL;
}

static int start_server(void **state)
{
	(void)state;
	server = test_postgres_start();
	prepare_schema();
	define_type(0, "token", HANDLER_STORE, NULL);
	define_type(1, "card", HANDLER_SQL,
		"SELECT uid AS id, rev AS version, jsonb_build_object('n', holder) AS record FROM cards "
		"WHERE uid = ANY($1)");
	define_type(2, "nameless", HANDLER_SQL, "SELECT uid, holder FROM cards WHERE uid = ANY($1)");
	define_type(3, "unversioned", HANDLER_SQL,
		"SELECT uid AS id, '{\"n\":5}' AS record FROM cards WHERE uid = ANY($1)");
	define_type(4, "scalar", HANDLER_SQL, "SELECT uid AS id, '[5]' AS record FROM cards WHERE uid = ANY($1)");
	define_type(5, "tariff", HANDLER_HTTP, NULL);
	types[5].url = strdup("http://127.0.0.1:9/tariffs/{id}?full=1");
	return 0;
}

static int free_types(void **state)
{
	(void)state;
	for (size_t i = 0; i < settings.type_count; i++) {
		free(types[i].query);
		free(types[i].url);
	}
	return 0;
}

static int setup(void **state)
{
	struct database_settings database = { test_postgres_dsn(server), "test", 0, 0 };

	(void)state;
	memset(&bench, 0, sizeof(bench));
	assert_int_equal(loop_create("test", &bench.loop), STATUS_OK);
	assert_int_equal(loop_timer_init(bench.loop, &bench.patience, on_patience, NULL), STATUS_OK);
	assert_int_equal(loop_timer_init(bench.loop, &bench.poll, on_poll, NULL), STATUS_OK);
	assert_int_equal(database_create(bench.loop, &database, &bench.database), STATUS_OK);
	assert_int_equal(handlers_create(bench.loop, bench.database, NULL, &settings, &bench.handlers), STATUS_OK);
	loop_timer_start(&bench.poll, 0);
	run();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	database_destroy(bench.database);
	handlers_destroy(bench.handlers);
	loop_timer_release(&bench.patience);
	loop_timer_release(&bench.poll);
	loop_destroy(bench.loop);
	return 0;
}

/* ---- fetching ---- */

static void a_round_is_answered_each_for_its_own(void **state)
{
	struct answer answers[6];

	(void)state;
	fetch(&answers[0], "token", "t1", PATIENCE_MS);
	fetch(&answers[1], "token", "none", PATIENCE_MS);
	fetch(&answers[2], "token", "t7", PATIENCE_MS);
	fetch(&answers[3], "token", "t1", PATIENCE_MS);
	fetch(&answers[4], "token", "odd \"x\\y\", {z}", PATIENCE_MS);
	fetch(&answers[5], "unheard-of", "t1", PATIENCE_MS);
	run();
	assert_int_equal(answers[0].status, STATUS_OK);
	assert_int_equal(answers[0].number, 1);
	assert_int_equal(answers[0].version, 2);
	assert_int_equal(answers[1].status, STATUS_NOT_AVAILABLE);
	assert_int_equal(answers[2].number, 7);
	assert_int_equal(answers[3].number, 1);
	assert_int_equal(answers[4].number, 77);
	assert_int_equal(answers[5].status, STATUS_NOT_AVAILABLE);
	for (int i = 0; i < 6; i++)
		assert_int_equal(answers[i].calls, 1);
}

static void more_ids_than_a_query_holds(void **state)
{
	struct answer *answers = calloc(MANY, sizeof(*answers));
	char id[32];

	(void)state;
	assert_non_null(answers);
	for (int round = 0; round < 2; round++) { /* the second uses what the first left behind */
		for (int i = 0; i < MANY; i++) {
			snprintf(id, sizeof(id), "t%d", i);
			fetch(&answers[i], "token", id, PATIENCE_MS);
		}
		run();
		for (int i = 0; i < MANY; i++) {
			assert_int_equal(answers[i].calls, 1);
			assert_int_equal(answers[i].number, i);
		}
	}
	free(answers);
}

static void operators_query_serves_a_type(void **state)
{
	struct answer answers[3];

	(void)state;
	fetch(&answers[0], "card", "card-3", PATIENCE_MS);
	fetch(&answers[1], "card", "card-99", PATIENCE_MS);
	fetch(&answers[2], "unversioned", "card-3", PATIENCE_MS);
	run();
	assert_int_equal(answers[0].number, 3);
	assert_int_equal(answers[0].version, 3);
	assert_int_equal(answers[1].status, STATUS_NOT_AVAILABLE);
	assert_int_equal(answers[2].number, 5);
	assert_int_equal(answers[2].version, 1);
}

static void unusable_query_is_an_error_and_not_absence(void **state)
{
	struct answer answers[2];

	(void)state;
	fetch(&answers[0], "nameless", "card-3", PATIENCE_MS);
	fetch(&answers[1], "scalar", "card-3", PATIENCE_MS);
	run();
	assert_int_equal(answers[0].status, STATUS_INTERNAL);
	assert_int_equal(answers[1].status, STATUS_INTERNAL);
}

static void hurried_fetch_ends_alone(void **state)
{
	struct answer hurried, patient;

	(void)state;
	test_postgres_signal(server, SIGSTOP);
	fetch(&patient, "token", "t1", PATIENCE_MS);
	fetch(&hurried, "token", "t2", 30);
	bench.wanted--; /* wait for the first end only */
	run();
	assert_int_equal(hurried.status, STATUS_DEADLINE);
	assert_int_equal(patient.calls, 0);
	test_postgres_signal(server, SIGCONT);
	bench.wanted = 1;
	run();
	assert_int_equal(patient.status, STATUS_OK); /* on the same connection */
	assert_int_equal(hurried.calls, 1);
}

static void destruction_ends_what_waits(void **state)
{
	struct answer sent, unsent;

	(void)state;
	test_postgres_signal(server, SIGSTOP);
	fetch(&sent, "token", "t1", 20);
	run(); /* to its deadline; the query is still under way */
	fetch(&unsent, "token", "t2", PATIENCE_MS);
	handlers_destroy(bench.handlers);
	bench.handlers = NULL;
	assert_int_equal(unsent.status, STATUS_DRAINING);
	test_postgres_signal(server, SIGCONT);
}

/* ---- http ---- */

static struct answer fetch_tariff(enum http_client_error error, int status, const char *body)
{
	struct answer answer;

	wire.result = (struct http_client_result){ error, "", status, body, strlen(body), 1, wire.etag };
	fetch(&answer, "tariff", "a/b c", PATIENCE_MS);
	run();
	assert_int_equal(answer.calls, 1);
	return answer;
}

static void service_answers_are_told_apart(void **state)
{
	struct answer answer = fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":4}");
	uint64_t version = answer.version;

	(void)state;
	assert_string_equal(wire.url, "http://127.0.0.1:9/tariffs/a%2Fb%20c?full=1");
	assert_int_equal(answer.status, STATUS_OK);
	assert_int_equal(answer.number, 4);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":4}").version, version);
	assert_int_not_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":5}").version, version);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 404, "{}").status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "[1]").status, STATUS_BAD_PEER);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "oops").status, STATUS_BAD_PEER);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 302, "").status, STATUS_BAD_PEER);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 503, "").status, STATUS_UNREACHABLE);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_CONNECTION_REFUSED, 0, "").status, STATUS_UNREACHABLE);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_RESPONSE_TIMEOUT, 0, "").status, STATUS_DEADLINE);
	wire.refusal = STATUS_OVERLOADED;
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "{}").status, STATUS_OVERLOADED);
	wire.refusal = STATUS_OK;
}

static uint64_t version_under(const char *etag)
{
	struct answer answer;

	wire.etag = etag;
	answer = fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":4}");
	wire.etag = NULL;
	assert_int_equal(answer.status, STATUS_OK);
	return answer.version;
}

static void a_counting_services_version_is_the_records(void **state)
{
	uint64_t made = version_under(NULL);

	(void)state;
	assert_string_equal(wire.wanted_header, "ETag");
	assert_int_equal(version_under("\"7\""), 7);
	assert_int_equal(version_under("W/\"12\""), 12);
	assert_int_equal(version_under("\"9007199254740992\""), 9007199254740992);
	assert_int_equal(version_under("\"9007199254740993\""), made);
	assert_int_equal(version_under("\"99999999999999999999999999\""), made);
	assert_int_equal(version_under("\"7"), made);
	assert_int_equal(version_under("7"), made);
	assert_int_equal(version_under("\"7a\""), made);
	assert_int_equal(version_under("\"\""), made);
	assert_int_equal(version_under("\"0\""), made);
	assert_int_equal(version_under("W/"), made);
	assert_int_equal(version_under(""), made);
}

/* ---- writing ---- */

static void writes_hold_their_conditions(void **state)
{
	struct answer answer = write_one("token", "w", 1, WRITE_IF_ABSENT, 0);

	(void)state;
	assert_int_equal(answer.status, STATUS_OK);
	assert_true(answer.was_created);
	assert_int_equal(answer.version, 1);
	assert_int_equal(write_one("token", "w", 2, WRITE_IF_ABSENT, 0).status, STATUS_PRECONDITION_FAILED);
	assert_int_equal(write_one("token", "w", 2, WRITE_IF_VERSION, 9).status, STATUS_PRECONDITION_FAILED);
	assert_int_equal(write_one("token", "no", 2, WRITE_IF_VERSION, 1).status, STATUS_PRECONDITION_FAILED);
	assert_int_equal(write_one("token", "w", 2, WRITE_IF_VERSION, UINT64_MAX).status, STATUS_PRECONDITION_FAILED);

	answer = write_one("token", "w", 2, WRITE_IF_VERSION, 1);
	assert_int_equal(answer.status, STATUS_OK);
	assert_false(answer.was_created);
	assert_int_equal(answer.version, 2);
	answer = write_one("token", "w", 3, WRITE_ALWAYS, 0);
	assert_int_equal(answer.version, 3);
	assert_false(answer.was_created);
	answer = write_one("token", "w2", 4, WRITE_ALWAYS, 0);
	assert_int_equal(answer.version, 1);
	assert_true(answer.was_created);

	fetch(&answer, "token", "w", PATIENCE_MS);
	run();
	assert_int_equal(answer.number, 3);
	assert_int_equal(answer.version, 3);
}

static void deletes_hold_their_conditions(void **state)
{
	(void)state;
	assert_int_equal(write_one("token", "d", 1, WRITE_ALWAYS, 0).status, STATUS_OK);
	assert_int_equal(write_one("token", "d", -1, WRITE_IF_VERSION, 2).status, STATUS_PRECONDITION_FAILED);
	assert_int_equal(write_one("token", "d", -1, WRITE_IF_ABSENT, 0).status, STATUS_INVALID);
	assert_int_equal(write_one("token", "d", -1, WRITE_IF_VERSION, 1).status, STATUS_OK);
	assert_int_equal(write_one("token", "d", -1, WRITE_IF_VERSION, 1).status, STATUS_NOT_AVAILABLE);
	assert_int_equal(write_one("token", "d", -1, WRITE_ALWAYS, 0).status, STATUS_NOT_AVAILABLE);
	assert_int_equal(write_one("token", "d", 1, WRITE_ALWAYS, 0).status, STATUS_OK);
	assert_int_equal(write_one("token", "d", -1, WRITE_ALWAYS, 0).status, STATUS_OK);
}

static void only_stored_types_can_be_written(void **state)
{
	(void)state;
	assert_int_equal(write_one("card", "card-3", 1, WRITE_ALWAYS, 0).status, STATUS_FORBIDDEN);
	assert_int_equal(write_one("unheard-of", "x", 1, WRITE_ALWAYS, 0).status, STATUS_FORBIDDEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_round_is_answered_each_for_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(more_ids_than_a_query_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(operators_query_serves_a_type, setup, teardown),
		cmocka_unit_test_setup_teardown(unusable_query_is_an_error_and_not_absence, setup, teardown),
		cmocka_unit_test_setup_teardown(hurried_fetch_ends_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(destruction_ends_what_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(service_answers_are_told_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(a_counting_services_version_is_the_records, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_hold_their_conditions, setup, teardown),
		cmocka_unit_test_setup_teardown(deletes_hold_their_conditions, setup, teardown),
		cmocka_unit_test_setup_teardown(only_stored_types_can_be_written, setup, teardown),
	};

	return cmocka_run_group_tests(tests, start_server, free_types);
}

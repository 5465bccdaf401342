/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop with handlers of every kind: a real PostgreSQL, and an HTTP client that is a fake of
 * this file.  For the one program that includes it.
 */
#ifndef SUPPORT_HANDLERS_BENCH_H
#define SUPPORT_HANDLERS_BENCH_H

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
#include "handlers/handlers.h"
#include "tests/unit/support/postgres.h"

#define PATIENCE_MS 30000 /* only a failing test waits so long */

static struct test_postgres *server;
static struct gate *gate; /* NULL: no flags are looked for */
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
	char flag[8];   /* member "barred", "" without */
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
	snprintf(answer->flag, sizeof(answer->flag), "%s",
		content != NULL && json_get_string(content, "barred") != NULL ? json_get_string(content, "barred")
									      : "");
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

static void prepare_schema(void)
{
	test_postgres_migrate(server);
	test_postgres_script(server,
		"CREATE TABLE cards (uid text PRIMARY KEY, rev bigint, holder int);"
		"INSERT INTO cards SELECT 'card-' || i, i, i FROM generate_series(1, 20) i;"
		"INSERT INTO homeward.objects (type, id, version, record) "
		"SELECT 'token', 't' || i, i + 1, jsonb_build_object('n', i) "
		"FROM generate_series(0, 1999) i;"
		"INSERT INTO homeward.objects (type, id, record) VALUES "
		"('token', E'odd \"x\\\\y\", {z}', '{\"n\": 77}'), ('other', 't1', '{\"n\": 99}')");
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
	assert_int_equal(
		handlers_create(bench.loop, bench.database, NULL, &settings, gate, &bench.handlers), STATUS_OK);
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

static struct answer fetch_tariff(enum http_client_error error, int status, const char *body)
{
	struct answer answer;

	wire.result = (struct http_client_result){ error, "", status, body, strlen(body), 1, wire.etag };
	fetch(&answer, "tariff", "a/b c", PATIENCE_MS);
	run();
	assert_int_equal(answer.calls, 1);
	return answer;
}

#endif

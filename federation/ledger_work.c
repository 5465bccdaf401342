/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger worker.  An advisory lock makes one process of a region do it.  A
 * message is taken and removed in one transaction, and its reply published after
 * that: one that is lost is made up for by the next telling of the window.
 */
#include "federation/ledger_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "federation/delivery.h"
#include "federation/federation.h"
#include "federation/inbox.h"
#include "federation/ledger_sides.h"
#include "federation/mesh_current.h"
#include "federation/own_event.h"

#define MESSAGES_MAX "10000" /* kept; above it they are dropped, and said again */
#define UPKEEP_EVERY_MS 60000
#define UPKEEP_ROWS "1000"
#define TELL_EVERY_MS 1000

static const char keep_message[] = "INSERT INTO homeward.ledger_messages (region, type, data) SELECT $1, $2, $3::jsonb"
				   " WHERE (SELECT count(*) FROM homeward.ledger_messages) < " MESSAGES_MAX;
static const char read_message[] =
	"SELECT seq, region, type, data::text FROM homeward.ledger_messages ORDER BY seq LIMIT 1";
static const char remove_message[] = "DELETE FROM homeward.ledger_messages WHERE seq = $1::bigint";
static const char prune_differences[] =
	"DELETE FROM homeward.ledger_differences WHERE (origin, destination, since, source, id) IN (SELECT origin,"
	" destination, since, source, id FROM homeward.ledger_differences WHERE since < now() - $1::bigint"
	" * interval '1 second' LIMIT " UPKEEP_ROWS ")";
static const char prune_ledgers[] =
	"DELETE FROM homeward.ledgers WHERE (origin, destination, since) IN (SELECT origin, destination, since"
	" FROM homeward.ledgers WHERE until < now() - $1::bigint * interval '1 second' ORDER BY until "
	"LIMIT " UPKEEP_ROWS ")";

enum { COLUMN_NUMBER, COLUMN_REGION, COLUMN_TYPE, COLUMN_DATA };

/* ---- what both sides use ---- */

enum status ledger_query(struct worker *worker, const char *sql, const char *const *parameters, int count,
	PGresult **rows_out, struct strbuf *why)
{
	return database_session_query(worker->session, sql, parameters, count, WORKER_QUERY_MS, rows_out, why);
}

json_t *ledger_json(const PGresult *rows, int row, int column)
{
	return json_loads(PQgetvalue(rows, row, column), 0, NULL);
}

bool ledger_send(struct worker *worker, const char *type, const char *region, json_t *data)
{
	struct own_event event = { type, "/homeward/ledger", region, data };
	struct strbuf why = STRBUF_INIT;
	enum status status;

	delivery_begin(worker);
	status = own_event_publish(worker, &event, &why);
	if (status != STATUS_OK)
		worker_lose_broker(worker, why.data);
	strbuf_release(&why);
	return status == STATUS_OK && worker_settle(worker);
}

/* ---- from the consumer ---- */

bool ledger_is_message(const struct event *event)
{
	return strcmp(event->type, LEDGER_TYPE) == 0 || strcmp(event->type, LEDGER_ANSWER_TYPE) == 0 ||
	       strcmp(event->type, LEDGER_IDS_TYPE) == 0;
}

/* Both regions as the link says: one may speak only for itself. */
static bool is_of_its_pair(const struct worker *worker, const struct event *event, const json_t *data)
{
	bool is_answer = strcmp(event->type, LEDGER_ANSWER_TYPE) == 0;
	const char *sender = json_get_string(data, is_answer ? "to" : "from");
	const char *receiver = json_get_string(data, is_answer ? "from" : "to");

	return sender != NULL && receiver != NULL && strcmp(sender, event->origin) == 0 &&
	       strcmp(receiver, worker->settings->region) == 0;
}

enum status ledger_keep(struct worker *worker, const struct event *event, struct strbuf *why)
{
	const json_t *data = json_object_get(event->envelope, "data");
	const char *parameters[] = { event->origin, event->type, NULL };
	enum status status = STATUS_NO_MEMORY;
	char *text;

	if (worker->mesh == NULL || !is_of_its_pair(worker, event, data)) {
		LOG_WARN("ledger_message_ignored", "origin", event->origin);
		return STATUS_OK;
	}
	text = json_dumps(data, JSON_COMPACT);
	parameters[2] = text;
	if (text != NULL)
		status = database_session_query(
			worker->session, keep_message, parameters, 3, WORKER_QUERY_MS, NULL, why);
	if (status == STATUS_OK)
		status = database_session_script(worker->session, "NOTIFY homeward_ledger", WORKER_QUERY_MS, why);
	free(text);
	return status;
}

/* ---- the thread ---- */

static enum status prepare(struct worker *worker, struct strbuf *why)
{
	enum status status = database_session_script(worker->session, "LISTEN homeward_ledger", WORKER_QUERY_MS, why);

	return status == STATUS_OK ? worker_take_lock(worker, WORKER_LOCK_LEDGERS, why) : status;
}

static enum status take(struct worker *worker, const char *type, const struct ledger_message *message,
	json_t **reply_out, struct strbuf *why)
{
	if (strcmp(type, LEDGER_TYPE) == 0)
		return ledger_take_told(worker, message, reply_out, why);
	if (strcmp(type, LEDGER_IDS_TYPE) == 0)
		return ledger_take_ids(worker, message, reply_out, why);
	return ledger_take_answer(worker, message, reply_out, why);
}

/* Before the transaction, for it may take long. */
static enum status count_taken(struct worker *worker, struct ledger_message *message, struct strbuf *why)
{
	const char *since = json_get_string(message->data, "since"), *until = json_get_string(message->data, "until");
	enum status status = ledger_count(worker, LEDGER_COUNT_TAKEN, message->region, since != NULL ? since : "",
		until != NULL ? until : "", &message->taken, why);

	/* A time that is none is told of by what comes next. */
	if (!inbox_is_data_fault(status))
		return status;
	strbuf_reset(why);
	return STATUS_OK;
}

static enum status take_and_remove(struct worker *worker, const PGresult *rows, json_t **reply_out, struct strbuf *why)
{
	const char *number = PQgetvalue(rows, 0, COLUMN_NUMBER), *type = PQgetvalue(rows, 0, COLUMN_TYPE);
	json_t *data = ledger_json(rows, 0, COLUMN_DATA);
	struct ledger_message message = {
		.region = PQgetvalue(rows, 0, COLUMN_REGION), .text = PQgetvalue(rows, 0, COLUMN_DATA), .data = data
	};
	enum status status = data != NULL ? STATUS_OK : STATUS_NO_MEMORY;

	*reply_out = NULL;
	if (status == STATUS_OK && strcmp(type, LEDGER_TYPE) == 0)
		status = count_taken(worker, &message, why);
	if (status == STATUS_OK)
		status = database_session_script(worker->session, "BEGIN", WORKER_QUERY_MS, why);
	if (status != STATUS_OK) {
		json_decref(data);
		return status;
	}
	status = take(worker, type, &message, reply_out, why);
	json_decref(data);
	if (status == STATUS_OK)
		status = ledger_query(worker, remove_message, &number, 1, NULL, why);
	status = inbox_end(worker, status, why);
	if (status == STATUS_OK || !inbox_is_data_fault(status))
		return status;
	/* It will fail again: the next telling makes up for it. */
	json_decref(*reply_out);
	*reply_out = NULL;
	LOG_ERROR("ledger_message_not_taken", "region", PQgetvalue(rows, 0, COLUMN_REGION), "reason", why->data);
	strbuf_reset(why);
	return ledger_query(worker, remove_message, &number, 1, NULL, why);
}

/* One message and its reply; *is_any_out: there was one.  False when something was lost. */
static bool take_next(struct worker *worker, bool *is_any_out)
{
	struct strbuf why = STRBUF_INIT;
	PGresult *rows = NULL;
	json_t *reply = NULL;
	bool is_fine = ledger_query(worker, read_message, NULL, 0, &rows, &why) == STATUS_OK;

	*is_any_out = is_fine && PQntuples(rows) > 0;
	if (*is_any_out)
		is_fine = take_and_remove(worker, rows, &reply, &why) == STATUS_OK;
	if (!is_fine) {
		worker_lose_session(worker, why.data);
		json_decref(reply);
	} else if (reply != NULL) {
		is_fine = ledger_send(worker,
			strcmp(PQgetvalue(rows, 0, COLUMN_TYPE), LEDGER_ANSWER_TYPE) == 0 ? LEDGER_IDS_TYPE
											  : LEDGER_ANSWER_TYPE,
			PQgetvalue(rows, 0, COLUMN_REGION), reply);
	}
	PQclear(rows);
	strbuf_release(&why);
	return is_fine;
}

static bool tell_regions(struct worker *worker)
{
	char(*regions)[REGION_SIZE] = NULL;
	size_t count = 0;
	bool is_fine = true;

	/* Without memory none are told now: there will be a next time. */
	if (mesh_current_linked(worker->mesh, worker->settings->region, &regions, &count) != STATUS_OK)
		LOG_ERROR("ledgers_not_told", "reason", status_name(STATUS_NO_MEMORY));
	for (size_t i = 0; i < count && is_fine && !atomic_load(&worker->is_stopping); i++)
		is_fine = ledger_tell(worker, regions[i]);
	free(regions);
	return is_fine;
}

static bool prune(struct worker *worker)
{
	char keep[24];
	const char *parameters[] = { keep };
	struct strbuf why = STRBUF_INIT;
	bool is_fine;

	(void)snprintf(keep, sizeof(keep), "%lld", (long long)worker->settings->events.inbox_keep_s);
	is_fine = ledger_query(worker, prune_differences, parameters, 1, NULL, &why) == STATUS_OK &&
		  ledger_query(worker, prune_ledgers, parameters, 1, NULL, &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_session(worker, why.data);
	strbuf_release(&why);
	return is_fine;
}

static bool is_due(int64_t *last_ms, int64_t every_ms)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());

	if (*last_ms != 0 && now_ms - *last_ms < every_ms)
		return false;
	*last_ms = now_ms;
	return true;
}

void ledger_work(struct worker *worker)
{
	int64_t interval_s = worker->settings->events.ledger_interval_s, told_ms = 0, pruned_ms = 0, looked_ms = 0;
	bool is_fine = true;

	if (!worker_connect(worker, prepare))
		return;
	while (is_fine && !atomic_load(&worker->is_stopping)) {
		bool is_any = false;

		if (interval_s > 0 && is_due(&told_ms, TELL_EVERY_MS))
			is_fine = tell_regions(worker);
		if (is_fine && interval_s > 0 && is_due(&looked_ms, interval_s * 1000))
			is_fine = ledger_look_again(worker);
		if (is_fine && is_due(&pruned_ms, UPKEEP_EVERY_MS))
			is_fine = prune(worker);
		if (is_fine)
			is_fine = take_next(worker, &is_any);
		if (!is_fine)
			break;
		worker_succeed(worker);
		if (!is_any)
			worker_wait_notified(worker);
		is_fine = worker->session != NULL && worker->broker != NULL;
	}
	if (!is_fine)
		worker_wait(worker);
}

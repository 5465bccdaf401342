/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queries of one pipelined connection (database_link.c makes and loses it).
 *
 * A query goes to libpq at once, with its prepare before it on first use and a
 * sync behind it, and waits in `sent` for its results, which come in order.  Its
 * completion waits for the sync's answer: only then is it committed, and an error
 * at commit comes between the two.  A query that cannot be sent waits in `refused`
 * until the round's end, since completions never run inside database_query().
 *
 * A query past its deadline is completed and stays in `sent` as an empty place.
 * When the server then gives no result for STUCK_MS the connection is replaced.
 * Everything here runs on the loop's thread.
 */
#include "base/database.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/database_link.h"
#include "base/log.h"
#include "base/must.h"

#define QUEUE_DEFAULT 10000      /* as many lookups as a region may have in flight */
#define TIMEOUT_DEFAULT_MS 5000  /* above any lookup's own deadline */
#define STUCK_MS 250             /* silence past a deadline: a healthy server under load still answers something */
#define PARAMETERS_MAX 32        /* wider than any statement we have */
#define LOG_INTERVAL_MS 1000     /* a broken statement under load must not flood the log */
#define STATEMENT_SHOWN_BYTES 80 /* enough of a statement's text to recognise it */

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void queue_add(struct database_queue *queue, struct database_pending *pending)
{
	pending->next = NULL;
	*queue->tail = pending;
	queue->tail = &pending->next;
	queue->count++;
}

static struct database_pending *queue_pop(struct database_queue *queue)
{
	struct database_pending *pending = queue->first;

	if (pending == NULL)
		return NULL;
	queue->first = pending->next;
	if (queue->first == NULL)
		queue->tail = &queue->first;
	queue->count--;
	return pending;
}

void database_queue_init(struct database_queue *queue)
{
	*queue = (struct database_queue){ .tail = &queue->first };
}

static struct database_pending *pending_get(struct database *database)
{
	struct database_pending *pending = database->free;

	if (pending != NULL)
		database->free = pending->next;
	else
		pending = malloc(sizeof(*pending));
	must(pending != NULL); /* with no memory for 80 bytes there is none to report it with either */
	memset(pending, 0, sizeof(*pending));
	return pending;
}

static void pending_put(struct database *database, struct database_pending *pending)
{
	PQclear(pending->result);
	pending->next = database->free;
	database->free = pending;
}

static void complete(struct database *database, struct database_pending *pending, enum status status)
{
	database_done *done = pending->done;

	if (done == NULL)
		return;
	pending->done = NULL;
	if (pending->is_sent)
		metric_observe_us(database->duration, now_us() - pending->started_us);
	done(pending->arg, status, status == STATUS_OK ? pending->result : NULL);
}

/* ---- what a result means ---- */

static bool is_class(const char *state, const char *class)
{
	return strncmp(state, class, strlen(class)) == 0;
}

enum status database_error_status(const char *state)
{
	static const char *const passing[] = {
		"08",    /* the connection is gone */
		"25006", /* no longer the primary */
		"40",    /* rolled back for the sake of others: a deadlock, for one */
		"53",    /* out of resources */
		"55P03", /* a lock was not to be had */
		"57P",   /* shutting down */
		"58"     /* the system's error, not the statement's */
	};

	if (is_class(state, "23"))
		return STATUS_CONFLICT;
	if (strcmp(state, "57014") == 0) /* cancelled, by statement_timeout for one */
		return STATUS_DEADLINE;
	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
		if (is_class(state, passing[i]))
			return STATUS_UNREACHABLE;
	}
	return STATUS_INTERNAL;
}

/* The server's message may quote values, so only its code and our own text are logged. */
static void log_failure(struct database *database, const struct database_pending *pending, const char *state)
{
	int64_t now_ms = loop_now_ms(database->loop);
	char shown[STATEMENT_SHOWN_BYTES + 1] = "";

	if (now_ms - database->logged_ms < LOG_INTERVAL_MS) {
		database->unlogged++;
		return;
	}
	strncat(shown, pending->sql, STATEMENT_SHOWN_BYTES);
	LOG_ERROR("database_query_failed", "sqlstate", state, "statement", shown, "unlogged",
		log_number(database->unlogged));
	database->logged_ms = now_ms;
	database->unlogged = 0;
}

/* A statement whose plan went stale, or whose prepare failed, is prepared anew under another name. */
static void forget_statement(struct database *database, const struct database_pending *pending)
{
	struct database_statement *statement;

	if (pending->statement < 0)
		return;
	statement = &database->statements[pending->statement];
	if (statement->generation != pending->generation)
		return;
	statement->generation++;
	statement->is_prepared = false;
}

static enum status judge(struct database *database, const struct database_pending *pending)
{
	const char *state;
	enum status status;

	switch (PQresultStatus(pending->result)) {
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
	case PGRES_EMPTY_QUERY:
		return STATUS_OK;
	default:
		break;
	}
	state = PQresultErrorField(pending->result, PG_DIAG_SQLSTATE);
	state = state != NULL ? state : "";
	if (pending->is_preparing || strcmp(state, "26000") == 0 || strcmp(state, "0A000") == 0)
		forget_statement(database, pending);
	status = database_error_status(state);
	if (status != STATUS_CONFLICT)
		log_failure(database, pending, state);
	return status;
}

/* ---- results ---- */

static bool is_good(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
}

/* Takes the result. */
static void take_result(struct database *database, PGresult *result)
{
	struct database_pending *pending = database->sent.first;

	database->heard_ms = loop_now_ms(database->loop);
	if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
		PQclear(result);
		queue_pop(&database->sent);
		complete(database, pending, judge(database, pending));
		pending_put(database, pending);
		return;
	}
	if (pending->is_preparing && PQresultStatus(result) == PGRES_COMMAND_OK) {
		pending->is_preparing = false;
		PQclear(result);
		return;
	}
	/* The first error stands; one at commit replaces a good result. */
	if (pending->result == NULL || is_good(pending->result)) {
		PQclear(pending->result);
		pending->result = result;
	} else {
		PQclear(result);
	}
}

void database_read_results(struct database *database)
{
	int ends = 0;

	while (database->connection != NULL && database->sent.first != NULL && !PQisBusy(database->connection)) {
		PGresult *result = PQgetResult(database->connection);

		if (result == NULL && ++ends > 1) {
			database_link_lose(database, PQstatus(database->connection) == CONNECTION_BAD
							     ? "connection lost"
							     : "results out of step");
			return;
		}
		if (result == NULL)
			continue;
		ends = 0;
		take_result(database, result);
	}
}

/* ---- deadlines ---- */

static void arm(struct database *database, int64_t when_ms)
{
	if (when_ms >= database->soonest_ms)
		return;
	database->soonest_ms = when_ms;
	loop_timer_start(&database->deadline_timer, when_ms - loop_now_ms(database->loop));
}

static void on_deadline(void *arg)
{
	struct database *database = arg;
	int64_t now_ms = loop_now_ms(database->loop), soonest_ms = INT64_MAX;
	bool is_stuck = false;

	database->soonest_ms = INT64_MAX;
	for (struct database_pending *pending = database->sent.first; pending != NULL; pending = pending->next) {
		int64_t next_ms = pending->deadline_ms;

		if (next_ms <= now_ms) {
			complete(database, pending, STATUS_DEADLINE);
			if (next_ms < database->heard_ms)
				next_ms = database->heard_ms;
			next_ms += STUCK_MS;
			is_stuck = is_stuck || next_ms <= now_ms;
		}
		if (next_ms < soonest_ms)
			soonest_ms = next_ms;
	}
	if (is_stuck)
		database_link_lose(database, "no answer within the deadline");
	else
		arm(database, soonest_ms);
}

/* ---- sending ---- */

static void run_later(struct loop_task *task)
{
	struct database *database = (struct database *)(void *)((char *)task - offsetof(struct database, later));
	struct database_queue refused = database->refused;
	struct database_pending *pending;

	database->is_later_deferred = false;
	if (refused.first != NULL)
		database_queue_init(&database->refused);
	if (database->is_broken)
		database_link_lose(database, "cannot send");
	else if (database->connection != NULL && database_is_up(database))
		database_read_results(database); /* what a blocked write read in passing */
	while (refused.count > 0 && (pending = queue_pop(&refused)) != NULL) {
		complete(database, pending, pending->refusal);
		pending_put(database, pending);
	}
}

void database_run_soon(struct database *database)
{
	if (database->is_later_deferred)
		return;
	database->is_later_deferred = true;
	loop_defer(database->loop, &database->later);
}

static void refuse(struct database *database, struct database_pending *pending, enum status status)
{
	pending->refusal = status;
	queue_add(&database->refused, pending);
	database_run_soon(database);
}

static int statement_of(struct database *database, const char *sql)
{
	for (int i = 0; i < database->statement_count; i++)
		if (database->statements[i].sql == sql)
			return i;
	if (database->statement_count == database->statement_capacity) {
		int capacity = database->statement_capacity > 0 ? database->statement_capacity * 2 : 16;
		struct database_statement *grown = realloc(
			database->statements, (size_t)capacity * sizeof(*database->statements));

		if (grown == NULL)
			return -1; /* sent unprepared */
		database->statements = grown;
		database->statement_capacity = capacity;
	}
	database->statements[database->statement_count] = (struct database_statement){ .sql = sql };
	return database->statement_count++;
}

static bool send_prepared(
	struct database *database, struct database_pending *pending, const char *const *values, int count)
{
	struct database_statement *statement = &database->statements[pending->statement];
	char name[32];

	snprintf(name, sizeof(name), "s%d_%u", pending->statement, statement->generation);
	pending->generation = statement->generation;
	if (!statement->is_prepared) {
		if (!PQsendPrepare(database->connection, name, pending->sql, 0, NULL))
			return false;
		pending->is_preparing = statement->is_prepared = true;
	}
	return PQsendQueryPrepared(database->connection, name, count, values, NULL, NULL, 0) != 0;
}

static bool send_query(
	struct database *database, struct database_pending *pending, const char *const *values, int count)
{
	bool is_sent = pending->statement >= 0 ? send_prepared(database, pending, values, count)
					       : PQsendQueryParams(database->connection, pending->sql, count, NULL,
							 values, NULL, NULL, 0) != 0;

	/* The sync also pushes the bytes out: this libpq has no quieter one. */
	return is_sent && PQpipelineSync(database->connection) == 1 && database_link_flush(database);
}

static void start(struct database *database, struct database_pending *pending, const char *const *values, int count)
{
	if (!database_is_up(database) || database->is_broken) {
		refuse(database, pending, STATUS_UNREACHABLE);
	} else if (database->sent.count >= database->queue_max) {
		refuse(database, pending, STATUS_OVERLOADED);
	} else if (pending->deadline_ms <= loop_now_ms(database->loop)) {
		refuse(database, pending, STATUS_DEADLINE);
	} else if (!send_query(database, pending, values, count)) {
		database->is_broken = true;
		refuse(database, pending, STATUS_UNREACHABLE);
	} else {
		pending->is_sent = true;
		if (database->sent.count == 0)
			database->heard_ms = loop_now_ms(database->loop);
		queue_add(&database->sent, pending);
		arm(database, pending->deadline_ms);
		if (database->is_write_blocked)
			database_run_soon(database);
	}
}

void database_query(struct database *database, const char *statement, const struct database_parameter *parameters,
	int count, int64_t deadline_ms, database_done *done, void *arg)
{
	struct database_pending *pending = pending_get(database);
	const char *values[PARAMETERS_MAX];

	must(count >= 0 && count <= PARAMETERS_MAX);
	for (int i = 0; i < count; i++)
		values[i] = parameters[i].text;
	pending->sql = statement;
	pending->statement = statement_of(database, statement);
	pending->deadline_ms = deadline_ms > 0 ? deadline_ms : loop_now_ms(database->loop) + database->query_timeout_ms;
	pending->done = done;
	pending->arg = arg;
	pending->started_us = now_us();
	start(database, pending, values, count);
}

void database_command(struct database *database, const char *sql, database_done *done, void *arg)
{
	struct database_pending *pending = pending_get(database);

	pending->sql = sql;
	pending->statement = -1;
	pending->deadline_ms = loop_now_ms(database->loop) + database->query_timeout_ms;
	pending->done = done;
	pending->arg = arg;
	pending->started_us = now_us();
	start(database, pending, NULL, 0);
}

void database_end_all(struct database *database, struct database_queue *queue, enum status status)
{
	struct database_queue ended = *queue;
	struct database_pending *pending;

	if (queue->first == NULL)
		return;
	database_queue_init(queue);
	/* A copied tail is right as long as there is something in the queue. */
	while (ended.count > 0 && (pending = queue_pop(&ended)) != NULL) {
		complete(database, pending, status);
		pending_put(database, pending);
	}
}

/* ---- life ---- */

static void register_metrics(struct database *database)
{
	database->duration = metric_series(metric_register(METRIC_HISTOGRAM, "homeward_database_query_duration_seconds",
						   "From sending a query to the end of its transaction.", NULL),
		(const char *)NULL);
	database->up = metric_series(
		metric_register(METRIC_GAUGE, "homeward_database_up", "Connections to the database that are up.", NULL),
		(const char *)NULL);
	database->reconnects = metric_series(metric_register(METRIC_COUNTER, "homeward_database_reconnects_total",
						     "Connections made after the first.", NULL),
		(const char *)NULL);
}

enum status database_create(struct loop *loop, const struct database_settings *settings, struct database **database_out)
{
	struct database *database = calloc(1, sizeof(*database));
	enum status status = STATUS_NO_MEMORY;

	*database_out = NULL;
	if (database == NULL)
		return STATUS_NO_MEMORY;
	database->loop = loop;
	database->later.run = run_later;
	database->soonest_ms = INT64_MAX;
	database->logged_ms = INT64_MIN / 2;
	database->queue_max = settings->queue_max > 0 ? settings->queue_max : QUEUE_DEFAULT;
	database->query_timeout_ms = settings->query_timeout_ms > 0 ? settings->query_timeout_ms : TIMEOUT_DEFAULT_MS;
	database_queue_init(&database->sent);
	database_queue_init(&database->refused);
	register_metrics(database);
	if (loop_timer_init(loop, &database->deadline_timer, on_deadline, database) != STATUS_OK)
		goto out;
	status = database_link_create(database, settings);
	if (status != STATUS_OK)
		goto out;
	*database_out = database;
	return STATUS_OK;
out:
	database_destroy(database);
	return status;
}

void database_destroy(struct database *database)
{
	if (database == NULL)
		return;
	database_link_destroy(database);
	loop_timer_release(&database->deadline_timer);
	/* The completions may ask again; with the link gone that ends in `refused`. */
	database_end_all(database, &database->sent, STATUS_DRAINING);
	while (database->refused.first != NULL)
		database_end_all(database, &database->refused, STATUS_DRAINING);
	if (database->is_later_deferred)
		loop_defer_cancel(database->loop, &database->later);
	while (database->free != NULL) {
		struct database_pending *next = database->free->next;

		free(database->free);
		database->free = next;
	}
	free(database->statements);
	free(database);
}

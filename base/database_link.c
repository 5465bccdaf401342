/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection under the queries: made without blocking, watched, lost and made
 * again with jittered backoff, and the channels it listens to.
 *
 * libpq may change its socket at every step of connecting, so the watch is
 * released before each step and made again after it.  Once up, the connection is
 * in pipeline mode until it is lost.  LISTEN is issued again after each connect,
 * and its listener told once it took hold, since notices may have been missed.
 * Runs on the loop's thread; only is_up is read elsewhere.
 */
#include "base/database_link.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/random.h"

#define CONNECT_TIMEOUT_MS 2000 /* a server that hangs must be given up on soon enough to notice its return */
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 1000 /* a server that is back must be found within 3 s */
#define PARAMETER_COUNT 10

static void start_connecting(void *arg);
static void step(struct database *database);

static void ignore_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

bool database_is_up(const struct database *database)
{
	return atomic_load_explicit(&database->is_up, memory_order_relaxed);
}

static void set_up(struct database *database, bool is_up)
{
	if (database_is_up(database) == is_up)
		return;
	atomic_store_explicit(&database->is_up, is_up, memory_order_relaxed);
	metric_move(database->up, is_up ? 1 : -1);
}

static void drop(struct database *database)
{
	loop_watch_release(&database->watch);
	PQfinish(database->connection);
	database->connection = NULL;
	database->is_broken = database->is_write_blocked = false;
	set_up(database, false);
	for (int i = 0; i < database->statement_count; i++)
		database->statements[i].is_prepared = false;
}

void database_link_lose(struct database *database, const char *why)
{
	int64_t wait_ms = database->backoff_ms;
	char *reason = database->connection != NULL && PQstatus(database->connection) == CONNECTION_BAD
			       ? strdup(PQerrorMessage(database->connection))
			       : NULL;

	if (reason != NULL)
		reason[strcspn(reason, "\n")] = '\0';
	drop(database);
	if (!database->is_outage_logged)
		LOG_WARN("database_unreachable", "reason", why, "detail", reason);
	free(reason);
	database->is_outage_logged = true;
	/* Half fixed, half random: engines that lost the server together do not come back together. */
	wait_ms = wait_ms / 2 + (int64_t)random_below(random_system(), (uint64_t)wait_ms / 2 + 1);
	database->backoff_ms = database->backoff_ms * 2 < BACKOFF_MAX_MS ? database->backoff_ms * 2 : BACKOFF_MAX_MS;
	loop_timer_start(&database->link_timer, wait_ms);
	database_end_all(database, &database->sent, STATUS_UNREACHABLE);
}

/* ---- while up ---- */

bool database_link_flush(struct database *database)
{
	int left = PQflush(database->connection);
	bool is_blocked = left > 0;

	if (left < 0)
		return false;
	if (is_blocked != database->is_write_blocked) {
		database->is_write_blocked = is_blocked;
		loop_watch_set(&database->watch, is_blocked ? LOOP_READ | LOOP_WRITE : LOOP_READ);
	}
	return true;
}

static void tell(struct database *database, const char *channel)
{
	for (int i = 0; i < database->listener_count; i++)
		if (strcmp(database->listeners[i].channel, channel) == 0)
			database->listeners[i].notified(database->listeners[i].arg, database->listeners[i].channel);
}

static void on_ready(void *arg, int events)
{
	struct database *database = arg;
	PGnotify *notice;

	(void)events;
	if (!PQconsumeInput(database->connection)) {
		/* What arrived before the end, an error that says why for one, still counts. */
		database_read_results(database);
		if (database->connection != NULL)
			database_link_lose(database, "connection lost");
		return;
	}
	database_read_results(database);
	if (database->connection == NULL)
		return;
	if (PQstatus(database->connection) == CONNECTION_BAD || !database_link_flush(database)) {
		database_link_lose(database, "connection lost");
		return;
	}
	while (database->connection != NULL && (notice = PQnotifies(database->connection)) != NULL) {
		database->notice = notice->extra;
		tell(database, notice->relname);
		database->notice = NULL;
		PQfreemem(notice);
	}
}

static void on_listening(void *arg, enum status status, const PGresult *result)
{
	struct database_listener *listener = arg;

	(void)result;
	if (status == STATUS_OK) {
		listener->notified(listener->arg, listener->channel);
	} else if (status == STATUS_DEADLINE) {
		/* It may still take hold, at a moment we would not learn of. */
		listener->database->is_broken = true;
		database_run_soon(listener->database);
	}
}

/* Were it refused, queries might be slower, and no less right. */
static void on_first(void *arg, enum status status, const PGresult *result)
{
	(void)arg;
	(void)status;
	(void)result;
}

static void become_up(struct database *database)
{
	loop_timer_stop(&database->link_timer);
	if (PQsetnonblocking(database->connection, 1) != 0 || PQenterPipelineMode(database->connection) != 1 ||
		loop_watch_init(database->loop, &database->watch, PQsocket(database->connection), on_ready, database) !=
			STATUS_OK) {
		database_link_lose(database, "cannot set up the connection");
		return;
	}
	loop_watch_set(&database->watch, LOOP_READ);
	set_up(database, true);
	if (database->has_been_up) {
		metric_add(database->reconnects, 1);
		LOG_INFO("database_reconnected");
	}
	database->has_been_up = true;
	database->is_outage_logged = false;
	database->backoff_ms = BACKOFF_MIN_MS;
	database_command(database, DATABASE_FIRST_COMMAND, on_first, NULL);
	for (int i = 0; i < database->listener_count; i++)
		database_command(database, database->listeners[i].sql, on_listening, &database->listeners[i]);
}

/* ---- connecting ---- */

static void on_step(void *arg, int events)
{
	(void)events;
	step(arg);
}

static void wait_for(struct database *database, int events)
{
	if (loop_watch_init(database->loop, &database->watch, PQsocket(database->connection), on_step, database) !=
		STATUS_OK)
		database_link_lose(database, "no socket to watch");
	else
		loop_watch_set(&database->watch, events);
}

static void step(struct database *database)
{
	loop_watch_release(&database->watch);
	switch (PQconnectPoll(database->connection)) {
	case PGRES_POLLING_OK:
		become_up(database);
		break;
	case PGRES_POLLING_READING:
		wait_for(database, LOOP_READ);
		break;
	case PGRES_POLLING_WRITING:
		wait_for(database, LOOP_WRITE);
		break;
	default:
		database_link_lose(database, "cannot connect");
	}
}

/* Before `dbname`, so that the operator's own DSN wins. */
static PGconn *connect_start(const struct database *database)
{
	const char *names[PARAMETER_COUNT] = { "keepalives", "keepalives_idle", "keepalives_interval",
		"keepalives_count", "tcp_user_timeout", "client_encoding", "fallback_application_name", "dbname",
		NULL };
	const char *values[PARAMETER_COUNT] = { "1", "10", "3", "3", "5000", "UTF8", database->application_name,
		database->dsn, NULL };

	return PQconnectStartParams(names, values, 1);
}

static void start_connecting(void *arg)
{
	struct database *database = arg;

	if (database->connection != NULL) {
		database_link_lose(database, "connect timed out");
		return;
	}
	database->connection = connect_start(database);
	if (database->connection == NULL || PQstatus(database->connection) == CONNECTION_BAD) {
		database_link_lose(database, "cannot connect");
		return;
	}
	PQsetNoticeReceiver(database->connection, ignore_notice, NULL);
	loop_timer_start(&database->link_timer, CONNECT_TIMEOUT_MS);
	wait_for(database, LOOP_WRITE);
}

/* ---- channels ---- */

const char *database_notice(const struct database *database)
{
	return database->notice;
}

static bool is_plain_name(const char *name)
{
	return name[0] != '\0' && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0' &&
	       strlen(name) < 64; /* PostgreSQL's bound on names */
}

enum status database_listen(
	struct database *database, const char *channel, void (*notified)(void *arg, const char *channel), void *arg)
{
	struct database_listener *listener = &database->listeners[database->listener_count];
	struct strbuf sql = STRBUF_INIT;

	if (database->listener_count == DATABASE_LISTENERS_MAX)
		return STATUS_TOO_LARGE;
	if (!is_plain_name(channel))
		return STATUS_INVALID;
	strbuf_addf(&sql, "LISTEN %s", channel);
	*listener = (struct database_listener){ database, strdup(channel), strbuf_take(&sql, NULL), notified, arg };
	if (listener->channel == NULL || listener->sql == NULL) {
		free(listener->channel);
		free(listener->sql);
		return STATUS_NO_MEMORY;
	}
	database->listener_count++;
	if (database_is_up(database))
		database_command(database, listener->sql, on_listening, listener);
	return STATUS_OK;
}

/* ---- life ---- */

enum status database_link_create(struct database *database, const struct database_settings *settings)
{
	PQconninfoOption *options = PQconninfoParse(settings->dsn, NULL);

	if (options == NULL)
		return STATUS_INVALID;
	PQconninfoFree(options);
	database->backoff_ms = BACKOFF_MIN_MS;
	database->dsn = strdup(settings->dsn);
	database->application_name = strdup(
		settings->application_name != NULL ? settings->application_name : "homeward");
	if (database->dsn == NULL || database->application_name == NULL ||
		loop_timer_init(database->loop, &database->link_timer, start_connecting, database) != STATUS_OK)
		return STATUS_NO_MEMORY;
	loop_timer_start(&database->link_timer, 0);
	return STATUS_OK;
}

void database_link_destroy(struct database *database)
{
	drop(database);
	loop_timer_release(&database->link_timer);
	free(database->dsn);
	free(database->application_name);
	for (int i = 0; i < database->listener_count; i++) {
		free(database->listeners[i].channel);
		free(database->listeners[i].sql);
	}
	database->listener_count = 0;
}

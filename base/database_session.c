/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocking session, for commands and migrations: libpq without blocking plus
 * poll(2), so that every call has a deadline whatever the server does.  After a
 * missed deadline the connection is closed: its state is not known any more, and
 * the server ends the statement when it notices.  One thread at a time.
 */
#include "base/database.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define COPY_TIMEOUT_MS 30000 /* for the server to take what was copied so far; a checkpoint may hold it up */

struct database_session {
	PGconn *connection;
};

static int64_t now_ms(void)
{
	return clock_monotonic_ms(clock_system());
}

static void ignore_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

static void explain(struct strbuf *why, const char *text)
{
	size_t length = strlen(text);

	while (length > 0 && text[length - 1] == '\n')
		length--;
	if (why != NULL)
		strbuf_add(why, text, length);
}

static enum status fail_connection(struct database_session *session, struct strbuf *why)
{
	explain(why, PQerrorMessage(session->connection));
	return STATUS_UNREACHABLE;
}

/* Waits for the socket.  events are poll(2)'s. */
static enum status wait_socket(
	struct database_session *session, short events, int64_t deadline_ms, short *got_out, struct strbuf *why)
{
	struct pollfd entry = { .fd = PQsocket(session->connection), .events = events };

	for (;;) {
		int64_t left_ms = deadline_ms - now_ms();
		int count = poll(&entry, 1, left_ms > 0 ? (int)(left_ms < INT32_MAX ? left_ms : INT32_MAX) : 0);

		*got_out = entry.revents;
		if (count > 0)
			return STATUS_OK;
		if (count == 0 && now_ms() >= deadline_ms) {
			explain(why, "the database did not answer in time");
			return STATUS_DEADLINE;
		}
		if (count < 0 && errno != EINTR) {
			explain(why, strerror(errno));
			return STATUS_IO;
		}
	}
}

/* ---- opening ---- */

static enum status connect_until(struct database_session *session, int64_t deadline_ms, struct strbuf *why)
{
	PostgresPollingStatusType polling = PGRES_POLLING_WRITING;
	enum status status;
	short got;

	while (polling != PGRES_POLLING_OK) {
		if (polling == PGRES_POLLING_FAILED)
			return fail_connection(session, why);
		status = wait_socket(
			session, polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ms, &got, why);
		if (status != STATUS_OK)
			return status;
		polling = PQconnectPoll(session->connection);
	}
	return STATUS_OK;
}

enum status database_session_open(
	const char *dsn, int64_t timeout_ms, struct database_session **session_out, struct strbuf *why)
{
	/* Before dbname, so that the DSN's own values win. */
	const char *names[] = { "client_encoding", "fallback_application_name", "dbname", NULL };
	const char *values[] = { "UTF8", "homeward", dsn, NULL };
	struct database_session *session = calloc(1, sizeof(*session));
	enum status status;

	*session_out = NULL;
	if (session == NULL)
		return STATUS_NO_MEMORY;
	session->connection = PQconnectStartParams(names, values, 1);
	if (session->connection == NULL) {
		status = STATUS_NO_MEMORY;
		goto out;
	}
	if (PQstatus(session->connection) == CONNECTION_BAD) {
		status = fail_connection(session, why);
		goto out;
	}
	PQsetNoticeReceiver(session->connection, ignore_notice, NULL);
	status = connect_until(session, now_ms() + timeout_ms, why);
	if (status == STATUS_OK && PQsetnonblocking(session->connection, 1) != 0)
		status = fail_connection(session, why);
	if (status == STATUS_OK)
		status = database_session_script(session, DATABASE_FIRST_COMMAND, timeout_ms, why);
	if (status != STATUS_OK)
		goto out;
	*session_out = session;
	return STATUS_OK;
out:
	database_session_close(session);
	return status;
}

void database_session_close(struct database_session *session)
{
	if (session == NULL)
		return;
	PQfinish(session->connection);
	free(session);
}

/* ---- results ---- */

static enum status flush_until(struct database_session *session, int64_t deadline_ms, struct strbuf *why)
{
	int left;

	while ((left = PQflush(session->connection)) > 0) {
		short got;
		enum status status = wait_socket(session, POLLIN | POLLOUT, deadline_ms, &got, why);

		if (status != STATUS_OK)
			return status;
		if ((got & POLLIN) != 0 && !PQconsumeInput(session->connection))
			return fail_connection(session, why);
	}
	return left < 0 ? fail_connection(session, why) : STATUS_OK;
}

static enum status get_result(
	struct database_session *session, int64_t deadline_ms, PGresult **result_out, struct strbuf *why)
{
	*result_out = NULL;
	while (PQisBusy(session->connection)) {
		short got;
		enum status status = wait_socket(session, POLLIN, deadline_ms, &got, why);

		if (status != STATUS_OK)
			return status;
		if (!PQconsumeInput(session->connection))
			return fail_connection(session, why);
	}
	*result_out = PQgetResult(session->connection);
	return STATUS_OK;
}

static enum status judge(struct database_session *session, const PGresult *result, struct strbuf *why)
{
	const char *state, *message;

	switch (PQresultStatus(result)) {
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
	case PGRES_EMPTY_QUERY:
	case PGRES_COPY_IN:
		return STATUS_OK;
	default:
		break;
	}
	message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	explain(why, message != NULL ? message : PQresultErrorMessage(result));
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (PQstatus(session->connection) == CONNECTION_BAD)
		return STATUS_UNREACHABLE;
	return database_error_status(state != NULL ? state : "");
}

/* Reads results to their end, or to the start of a COPY; keeps the last good one, and the first error's words. */
static enum status finish(
	struct database_session *session, int64_t deadline_ms, PGresult **result_out, struct strbuf *why)
{
	enum status outcome = STATUS_OK;
	PGresult *last = NULL;
	bool is_copying = false;

	while (!is_copying) {
		PGresult *result;
		enum status status = get_result(session, deadline_ms, &result, why);

		if (status != STATUS_OK) {
			PQclear(last);
			return status;
		}
		if (result == NULL)
			break;
		if (outcome == STATUS_OK)
			outcome = judge(session, result, why);
		is_copying = PQresultStatus(result) == PGRES_COPY_IN;
		PQclear(last);
		last = result;
	}
	if (outcome == STATUS_OK && result_out != NULL)
		*result_out = last;
	else
		PQclear(last);
	return outcome;
}

/* A session whose answer is still owed cannot be used again. */
static void give_up(struct database_session *session)
{
	PQfinish(session->connection);
	session->connection = NULL;
}

static enum status complete(
	struct database_session *session, bool is_sent, int64_t timeout_ms, PGresult **result_out, struct strbuf *why)
{
	int64_t deadline_ms = now_ms() + timeout_ms;
	enum status status;

	if (!is_sent)
		return fail_connection(session, why);
	status = flush_until(session, deadline_ms, why);
	if (status == STATUS_OK)
		status = finish(session, deadline_ms, result_out, why);
	if (status == STATUS_DEADLINE && PQtransactionStatus(session->connection) == PQTRANS_ACTIVE)
		give_up(session);
	return status;
}

static bool is_open(const struct database_session *session, struct strbuf *why)
{
	if (session->connection == NULL)
		explain(why, "the session ended when an earlier command missed its deadline");
	return session->connection != NULL;
}

enum status database_session_query(struct database_session *session, const char *sql, const char *const *parameters,
	int count, int64_t timeout_ms, PGresult **result_out, struct strbuf *why)
{
	if (result_out != NULL)
		*result_out = NULL;
	if (!is_open(session, why))
		return STATUS_UNREACHABLE;
	return complete(session,
		PQsendQueryParams(session->connection, sql, count, NULL, parameters, NULL, NULL, 0) == 1, timeout_ms,
		result_out, why);
}

enum status database_session_script(
	struct database_session *session, const char *sql, int64_t timeout_ms, struct strbuf *why)
{
	if (!is_open(session, why))
		return STATUS_UNREACHABLE;
	return complete(session, PQsendQuery(session->connection, sql) == 1, timeout_ms, NULL, why);
}

static bool take_notifications(struct database_session *session)
{
	PGnotify *notify;
	bool is_notified = false;

	while ((notify = PQnotifies(session->connection)) != NULL) {
		is_notified = true;
		PQfreemem(notify);
	}
	return is_notified;
}

enum status database_session_wait(
	struct database_session *session, int64_t timeout_ms, bool *is_notified_out, struct strbuf *why)
{
	int64_t deadline_ms = now_ms() + timeout_ms;

	*is_notified_out = false;
	if (!is_open(session, why))
		return STATUS_UNREACHABLE;
	for (;;) {
		enum status status;
		short got;

		*is_notified_out = take_notifications(session);
		if (*is_notified_out || now_ms() >= deadline_ms)
			return STATUS_OK;
		status = wait_socket(session, POLLIN, deadline_ms, &got, NULL);
		if (status == STATUS_DEADLINE)
			return STATUS_OK;
		if (status != STATUS_OK)
			return status;
		if (!PQconsumeInput(session->connection))
			return fail_connection(session, why);
	}
}

int database_session_socket(const struct database_session *session)
{
	return session->connection != NULL ? PQsocket(session->connection) : -1;
}

/* ---- COPY ---- */

enum status database_session_copy_begin(struct database_session *session, const char *copy_sql, struct strbuf *why)
{
	PGresult *result = NULL;
	enum status status;
	bool is_copying;

	if (!is_open(session, why))
		return STATUS_UNREACHABLE;
	status = complete(session, PQsendQuery(session->connection, copy_sql) == 1, COPY_TIMEOUT_MS, &result, why);
	is_copying = PQresultStatus(result) == PGRES_COPY_IN;
	PQclear(result);
	if (status == STATUS_OK && !is_copying) {
		explain(why, "not a COPY FROM STDIN");
		return STATUS_INVALID;
	}
	return status;
}

enum status database_session_copy_data(
	struct database_session *session, const char *bytes, size_t size, struct strbuf *why)
{
	size_t step_max = 1 << 20; /* libpq counts in int */

	if (!is_open(session, why))
		return STATUS_UNREACHABLE;
	while (size > 0) {
		size_t step = size < step_max ? size : step_max;
		enum status status;

		if (PQputCopyData(session->connection, bytes, (int)step) < 0)
			return fail_connection(session, why);
		status = flush_until(session, now_ms() + COPY_TIMEOUT_MS, why);
		if (status == STATUS_DEADLINE)
			give_up(session);
		if (status != STATUS_OK)
			return status;
		bytes += step;
		size -= step;
	}
	return STATUS_OK;
}

enum status database_session_copy_end(struct database_session *session, int64_t timeout_ms, struct strbuf *why)
{
	if (!is_open(session, why))
		return STATUS_UNREACHABLE;
	return complete(session, PQputCopyEnd(session->connection, NULL) == 1, timeout_ms, NULL, why);
}

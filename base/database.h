/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL through libpq, two faces.
 *
 * struct database: one connection in pipeline mode, owned by one loop.  Each
 * query is its own transaction (a sync follows it) and fails alone.  It
 * reconnects by itself with jittered backoff (100 ms … 1 s); queries made while
 * it is away, or in flight when it goes, end with STATUS_UNREACHABLE, and one
 * past its deadline with STATUS_DEADLINE (and the connection, stuck behind it,
 * is replaced).  Bounded: more than queue_max waiting queries are refused with
 * STATUS_OVERLOADED through the completion.
 *
 * struct database_session: blocking, for commands and migrations, with a
 * deadline on every call.
 */
#ifndef BASE_DATABASE_H
#define BASE_DATABASE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/status.h"
#include "base/strbuf.h"

/* SQL: a timestamptz as RFC 3339 in UTC, to the second, millisecond or microsecond. */
#define DATABASE_TIME(column, seconds)                                                                                 \
	"to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:" seconds "\"Z\"')"
#define DATABASE_TIME_S(column) DATABASE_TIME(column, "SS")
#define DATABASE_TIME_MS(column) DATABASE_TIME(column, "SS.MS")
#define DATABASE_TIME_US(column) DATABASE_TIME(column, "SS.US")

struct database;
struct database_session;

struct database_settings {
	const char *dsn;              /* libpq connection string, with any password already in it; copied */
	const char *application_name; /* copied */
	int queue_max;                /* 0: 10,000 */
	int64_t query_timeout_ms;     /* for queries without a deadline of their own; 0: 5,000 */
};

struct database_parameter {
	const char *text; /* NULL is SQL NULL; borrowed until database_query returns */
};

/*
 * By SQLSTATE: STATUS_CONFLICT for class 23, STATUS_DEADLINE for 57014, STATUS_UNREACHABLE for what passes without the
 * statement being another (a deadlock, no resources, a shutdown, …), else STATUS_INTERNAL.
 */
enum status database_error_status(const char *state);

/*
 * result is borrowed, NULL unless STATUS_OK, which means committed.  An SQL error is logged, and its status is
 * database_error_status.  A completion may ask again but not destroy the database.
 */
typedef void database_done(void *arg, enum status status, const PGresult *result);

MUST_CHECK enum status database_create(
	struct loop *loop, const struct database_settings *settings, struct database **database_out);
/* On the loop's thread, not from a completion, or after the loop stopped; pending queries end with STATUS_DRAINING. */
void database_destroy(struct database *database);
bool database_is_up(const struct database *database); /* any thread */

/*
 * statement is a static string of one SQL command with $n parameters; it is prepared
 * once per connection (keyed by the pointer).  At most 32 parameters.  deadline_ms is absolute; 0 for the default.
 *
 * Where the planner can see how long an array parameter is, it plans for each execution, at several times what finding
 * a few rows costs: so unnest((SELECT $1::text[])).  What is looked up goes in a LATERAL subquery with LIMIT 1: a probe
 * for each, however little is known of the table when the one plan is made.
 */
void database_query(struct database *database, const char *statement, const struct database_parameter *parameters,
	int count, int64_t deadline_ms, database_done *done, void *arg);

/* Calls notified(arg, channel) on each NOTIFY, and once after every (re)connect, since some may have been missed. */
MUST_CHECK enum status database_listen(
	struct database *database, const char *channel, void (*notified)(void *arg, const char *channel), void *arg);

/* Inside `notified` only: what the NOTIFY says, "" nothing; NULL when it is told of a (re)connect. */
const char *database_notice(const struct database *database);

/* Appends a PostgreSQL array literal element; start with "{" and end with "}". */
void database_array_add(struct strbuf *array, const char *text, size_t length, bool is_first);

/*
 * The first command on each connection.  By its estimates PostgreSQL compiles a statement over a table that has grown,
 * for seconds and each time anew, to save milliseconds.  A command and no startup option: poolers refuse those.
 */
#define DATABASE_FIRST_COMMAND "SET jit = off"

MUST_CHECK enum status database_session_open(
	const char *dsn, int64_t timeout_ms, struct database_session **session_out, struct strbuf *why);
void database_session_close(struct database_session *session);
/* *result_out may be asked for (PQclear) or NULL.  An error's status is as above, and its message goes to `why`. */
MUST_CHECK enum status database_session_query(struct database_session *session, const char *sql,
	const char *const *parameters, int count, int64_t timeout_ms, PGresult **result_out, struct strbuf *why);
/* Several commands in one string, no parameters. */
MUST_CHECK enum status database_session_script(
	struct database_session *session, const char *sql, int64_t timeout_ms, struct strbuf *why);
/* Until a NOTIFY on a channel this session listens to, or timeout_ms; all that have come count as one. */
MUST_CHECK enum status database_session_wait(
	struct database_session *session, int64_t timeout_ms, bool *is_notified_out, struct strbuf *why);
/* For waiting with others until there is something to database_session_wait() for, of 0 ms; < 0: the session has ended. */
int database_session_socket(const struct database_session *session);
MUST_CHECK enum status database_session_copy_begin(
	struct database_session *session, const char *copy_sql, struct strbuf *why);
MUST_CHECK enum status database_session_copy_data(
	struct database_session *session, const char *bytes, size_t size, struct strbuf *why);
MUST_CHECK enum status database_session_copy_end(
	struct database_session *session, int64_t timeout_ms, struct strbuf *why);

#endif

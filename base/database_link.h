/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of struct database, shared by database.c (queries) and
 * database_link.c (the connection).  Nobody else includes this.
 */
#ifndef BASE_DATABASE_LINK_H
#define BASE_DATABASE_LINK_H

#include <stdatomic.h>

#include "base/database.h"
#include "base/metrics.h"

#define DATABASE_LISTENERS_MAX 8 /* channels one process listens to; there are three */

struct database_pending {
	struct database_pending *next;
	database_done *done; /* NULL once called, while results are still to come */
	void *arg;
	const char *sql;
	PGresult *result; /* kept until the sync */
	int64_t deadline_ms, started_us;
	int statement; /* -1: not prepared */
	unsigned int generation;
	enum status refusal;
	bool is_preparing; /* the prepare's own result is still to come */
	bool is_sent;
};

struct database_queue {
	struct database_pending *first, **tail;
	int count;
};

struct database_statement {
	const char *sql;
	unsigned int generation;
	bool is_prepared;
};

struct database_listener {
	struct database *database;
	char *channel, *sql;
	void (*notified)(void *arg, const char *channel);
	void *arg;
};

struct database {
	struct loop *loop;
	struct database_queue sent, refused;
	struct database_pending *free;
	struct database_statement *statements;
	int statement_count, statement_capacity;
	int queue_max;
	int64_t query_timeout_ms;
	struct loop_timer deadline_timer;
	int64_t soonest_ms; /* when deadline_timer fires */
	int64_t heard_ms;   /* the last result, or when the pipeline was last empty */
	struct loop_task later;
	bool is_later_deferred;
	int64_t logged_ms, unlogged;

	char *dsn, *application_name;
	PGconn *connection; /* NULL while waiting to try again */
	struct loop_watch watch;
	struct loop_timer link_timer; /* the connect timeout, then the wait before the next attempt */
	int64_t backoff_ms;
	bool is_broken; /* a send failed; lost at the end of the round */
	bool is_write_blocked;
	bool has_been_up, is_outage_logged;
	atomic_bool is_up;
	struct database_listener listeners[DATABASE_LISTENERS_MAX];
	const char *notice; /* while a listener is told of it */
	int listener_count;
	struct metric_series *duration, *up, *reconnects;
};

void database_queue_init(struct database_queue *queue);
/* Completes everything in the queue, which is empty after. */
void database_end_all(struct database *database, struct database_queue *queue, enum status status);
void database_read_results(struct database *database);
/* At the end of the round: loses a broken connection, reads results, completes what was refused. */
void database_run_soon(struct database *database);
/* A query that is not prepared; sql must live until done. */
void database_command(struct database *database, const char *sql, database_done *done, void *arg);

MUST_CHECK enum status database_link_create(struct database *database, const struct database_settings *settings);
void database_link_destroy(struct database *database);
/* Not inside database_query(): it calls completions.  Tries again later. */
void database_link_lose(struct database *database, const char *why);
/* Writes what libpq holds, or waits for room; false when the connection is gone. */
MUST_CHECK bool database_link_flush(struct database *database);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything is in the database and every step may be done again: let through the
 * streams that have waited long enough (their missing numbers become a row of
 * homeward.gaps), take the runs of numbers that now follow, and, once that is
 * committed, pass on what was taken and remove it.  What was taken stays until it is
 * passed on, since the broker will not bring it again.
 *
 * Bounded: a stream holds HELD_STREAM_MAX rows and all streams together
 * events.held_max; above that the oldest are let through before their time.
 */
#include "federation/holdback.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "federation/canary_sender.h"
#include "federation/delivery.h"
#include "federation/federation.h"
#include "federation/inbox.h"
#include "federation/receipts.h"

#define EVERY_MS 50            /* pauses between looks, so that arrivals keep at least half of the time */
#define HELD_STREAM_MAX "1000" /* of one stream: seconds of the busiest */

static const char let_through[] =
	"WITH streams_held AS (SELECT origin, source, subject, destination, (array_agg(first ORDER BY sequence))[1] AS "
	"first,"
	" min(held_at) AS since, count(*) AS held FROM homeward.held WHERE NOT is_taken GROUP BY 1, 2, 3, 4),"
	" ranked AS (SELECT *, sum(held) OVER (ORDER BY since DESC, origin, source, subject, destination) AS with_newer"
	" FROM streams_held),"
	" over AS (SELECT r.*, s.last FROM ranked r LEFT JOIN homeward.streams s USING (origin, source, subject, "
	"destination)"
	" WHERE since <= now() - $1::bigint * interval '1 millisecond' OR held > " HELD_STREAM_MAX
	" OR with_newer > $2::bigint),"
	" gaps AS (INSERT INTO homeward.gaps (origin, source, subject, destination, missing_from, missing_to, "
	"waited_ms,"
	" is_start) SELECT origin, source, subject, destination, coalesce(last, 0) + 1, first - 1,"
	" extract(epoch FROM now() - since) * 1000, last IS NULL FROM over WHERE first > coalesce(last, 0) + 1)"
	" INSERT INTO homeward.streams AS s (origin, source, subject, destination, last)"
	" SELECT origin, source, subject, destination, first - 1 FROM over"
	" ON CONFLICT (origin, source, subject, destination) DO UPDATE SET last = greatest(s.last, EXCLUDED.last)";

/*
 * Those whose turn has come, at most $1 of them, are marked, and their streams moved on: what follows the last number
 * taken without a hole, and what has passed.
 */
#define TAKE_DUE                                                                                                       \
	"WITH waiting AS (SELECT h.*, coalesce(s.last, 0) AS last FROM homeward.held h"                                \
	" LEFT JOIN homeward.streams s USING (origin, source, subject, destination) WHERE NOT h.is_taken),"            \
	" holes AS (SELECT *, first > 1 + coalesce(lag(sequence) OVER (PARTITION BY origin, source, subject, "         \
	"destination"                                                                                                  \
	" ORDER BY sequence, place), last) AS has_hole FROM waiting WHERE sequence > last),"                           \
	" due AS (SELECT * FROM (SELECT *, bool_or(has_hole) OVER (PARTITION BY origin, source, subject, destination"  \
	" ORDER BY sequence, place) AS must_wait FROM holes UNION ALL SELECT *, false, false FROM waiting"             \
	" WHERE sequence <= last) AS judged WHERE NOT must_wait"                                                       \
	" ORDER BY origin, source, subject, destination, sequence, place LIMIT $1::bigint),"                           \
	" moved AS (INSERT INTO homeward.streams AS s (origin, source, subject, destination, last)"                    \
	" SELECT origin, source, subject, destination, max(sequence) FROM due GROUP BY 1, 2, 3, 4"                     \
	" ON CONFLICT (origin, source, subject, destination) DO UPDATE SET last = greatest(s.last, EXCLUDED.last)),"

static const char take_due[] = TAKE_DUE
	" marked AS (UPDATE homeward.held h SET is_taken = true FROM due WHERE h.place = due.place)"
	" INSERT INTO homeward.inbox (origin, source, id, type, subject, destination, sequence, event, late, "
	"outbox_time)"
	" SELECT origin, source, id, type, subject, destination, sequence, event, sequence <= last,"
	" (event->>'outboxtime')::timestamptz FROM due"
	" WHERE event IS NOT NULL ORDER BY origin, source, subject, destination, sequence, place"
	" ON CONFLICT (origin, source, id) DO NOTHING";
/* $2: why. */
static const char bury_due[] = TAKE_DUE
	" marked AS (UPDATE homeward.held h SET is_taken = true, outcome = 'dead' FROM due WHERE h.place = due.place)"
	" INSERT INTO homeward.dead_letters (reason, detail, routing_key, body) SELECT 'malformed', $2,"
	" to_json(destination || '.' || origin || '.' || type)::text, convert_to(event::text, 'UTF8') FROM due"
	" WHERE event IS NOT NULL";

static const char read_taken[] =
	"SELECT h.place, h.origin, h.source, h.id, h.outcome, h.type, CASE WHEN i.delivered_at IS NULL THEN "
	"i.event::text"
	" END FROM homeward.held h LEFT JOIN homeward.inbox i USING (origin, source, id) WHERE h.is_taken"
	" ORDER BY h.origin, h.source, h.subject, h.destination, h.sequence, h.place LIMIT $1::bigint";
static const char forget_taken[] =
	"WITH gone AS (DELETE FROM homeward.held WHERE place = ANY($1::bigint[]) RETURNING origin, source, id)"
	" UPDATE homeward.inbox i SET delivered_at = now() FROM gone WHERE i.origin = gone.origin AND i.source = "
	"gone.source"
	" AND i.id = gone.id AND i.delivered_at IS NULL";
static const char read_gaps[] =
	"SELECT gap, origin, source, missing_from, missing_to, waited_ms, is_start FROM homeward.gaps"
	" WHERE told_at IS NULL ORDER BY gap LIMIT $1::bigint";
static const char mark_told[] = "UPDATE homeward.gaps SET told_at = now() WHERE gap = ANY($1::bigint[])";
static const char count_held[] = "SELECT count(*) FROM homeward.held";

enum { TAKEN_PLACE, TAKEN_ORIGIN, TAKEN_SOURCE, TAKEN_ID, TAKEN_OUTCOME, TAKEN_TYPE, TAKEN_EVENT };
enum { GAP_NUMBER, GAP_ORIGIN, GAP_SOURCE, GAP_FROM, GAP_TO, GAP_WAITED, GAP_IS_START };

/* ---- the database ---- */

/* How many rows there are in one round: each is a message, and has a receipt at most. */
static void write_limit(const struct worker *worker, char text[24])
{
	snprintf(text, 24, "%" PRId64,
		worker->settings->events.prefetch < BATCH_MAX ? worker->settings->events.prefetch : BATCH_MAX);
}

static enum status let_streams_through(struct worker *worker, struct strbuf *why)
{
	char holdback[24], held_max[24];
	const char *parameters[] = { holdback, held_max };

	snprintf(holdback, sizeof(holdback), "%" PRId64, worker->settings->events.holdback_ms);
	snprintf(held_max, sizeof(held_max), "%" PRId64, worker->settings->events.held_max);
	return database_session_query(worker->session, let_through, parameters, 2, WORKER_QUERY_MS, NULL, why);
}

static enum status run_due(
	struct worker *worker, const char *sql, const char *limit, const char *detail, struct strbuf *why)
{
	const char *parameters[] = { limit, detail };
	PGresult *result = NULL;
	enum status status = database_session_script(worker->session, INBOX_BEGIN, WORKER_QUERY_MS, why);

	if (status == STATUS_OK)
		status = let_streams_through(worker, why);
	if (status == STATUS_OK)
		status = database_session_query(
			worker->session, sql, parameters, detail != NULL ? 2 : 1, WORKER_QUERY_MS, &result, why);
	status = inbox_end(worker, status, why);
	if (status == STATUS_OK)
		inbox_count(detail != NULL ? "malformed" : "taken", strtoull(PQcmdTuples(result), NULL, 10));
	PQclear(result);
	return status;
}

/* Together, or when one of them fails by itself, that one alone: then it is a dead letter. */
static enum status take(struct worker *worker, struct strbuf *why)
{
	struct strbuf detail = STRBUF_INIT;
	enum status status;
	char limit[24];

	write_limit(worker, limit);
	status = run_due(worker, take_due, limit, NULL, why);
	if (inbox_is_data_fault(status)) {
		strbuf_reset(why);
		status = run_due(worker, take_due, "1", NULL, why);
	}
	if (inbox_is_data_fault(status)) {
		strbuf_adds(&detail, why->data);
		strbuf_reset(why);
		status = run_due(worker, bury_due, "1", detail.data, why);
	}
	strbuf_release(&detail);
	return status;
}

static enum status run_numbers(struct worker *worker, const char *sql, const PGresult *rows, struct strbuf *why)
{
	struct strbuf array = STRBUF_INIT;
	const char *parameters[1];
	enum status status = STATUS_NO_MEMORY;

	strbuf_addc(&array, '{');
	for (int row = 0; row < PQntuples(rows); row++)
		strbuf_addf(&array, "%s%s", row > 0 ? "," : "", PQgetvalue(rows, row, 0));
	strbuf_addc(&array, '}');
	parameters[0] = array.data;
	if (strbuf_ok(&array))
		status = database_session_query(worker->session, sql, parameters, 1, WORKER_QUERY_MS, NULL, why);
	strbuf_release(&array);
	return status;
}

static enum status read_rows(struct worker *worker, const char *sql, PGresult **rows_out, struct strbuf *why)
{
	char limit[24];
	const char *parameters[] = { limit };

	write_limit(worker, limit);
	return database_session_query(worker->session, sql, parameters, 1, WORKER_QUERY_MS, rows_out, why);
}

/* ---- passing on ---- */

/* False when the broker was lost. */
static bool publish_taken(struct worker *worker, const PGresult *rows, struct strbuf *why)
{
	struct receipts receipts;
	bool is_fine = true;

	receipts_init(&receipts);
	for (int row = 0; row < PQntuples(rows) && is_fine; row++) {
		struct event event = { .origin = PQgetvalue(rows, row, TAKEN_ORIGIN),
			.source = PQgetvalue(rows, row, TAKEN_SOURCE),
			.id = PQgetvalue(rows, row, TAKEN_ID) };

		if (event.id[0] == '\0')
			continue; /* a number only */
		receipts_add(&receipts, &event, PQgetvalue(rows, row, TAKEN_OUTCOME));
		if (!PQgetisnull(rows, row, TAKEN_EVENT))
			is_fine = delivery_publish_event(worker, event.origin, PQgetvalue(rows, row, TAKEN_TYPE),
				event.id, PQgetvalue(rows, row, TAKEN_EVENT),
				(size_t)PQgetlength(rows, row, TAKEN_EVENT));
	}
	if (is_fine && receipts_publish(worker, &receipts, why) != STATUS_OK) {
		worker_lose_broker(worker, why->data);
		strbuf_reset(why);
		is_fine = false;
	}
	receipts_release(&receipts);
	return is_fine;
}

/* The row is what is kept; what is said may be lost with the process. */
static enum status tell_gaps(struct worker *worker, struct strbuf *why)
{
	PGresult *rows = NULL;
	enum status status = read_rows(worker, read_gaps, &rows, why);

	for (int row = 0; status == STATUS_OK && row < PQntuples(rows); row++) {
		struct system_gap gap = { .gap = strtoll(PQgetvalue(rows, row, GAP_NUMBER), NULL, 10),
			.origin = PQgetvalue(rows, row, GAP_ORIGIN),
			.source = PQgetvalue(rows, row, GAP_SOURCE),
			.missing_from = strtoll(PQgetvalue(rows, row, GAP_FROM), NULL, 10),
			.missing_to = strtoll(PQgetvalue(rows, row, GAP_TO), NULL, 10),
			.waited_ms = strtoll(PQgetvalue(rows, row, GAP_WAITED), NULL, 10),
			.is_start = PQgetvalue(rows, row, GAP_IS_START)[0] == 't' };

		system_say_gap(worker->system, &gap);
		canary_count(worker->canary, gap.origin, CANARY_GAPS, 1);
		metric_add(metric_series(metric_register(METRIC_COUNTER, "homeward_events_gaps_total",
						 "Ranges of numbers that had not come when later events were let "
						 "through.",
						 "where"),
				   gap.is_start ? "start" : "within", NULL),
			1);
	}
	if (status == STATUS_OK && PQntuples(rows) > 0)
		status = run_numbers(worker, mark_told, rows, why);
	PQclear(rows);
	return status;
}

/* *count_out: rows that there were.  False when something was lost; `why` tells of the database. */
static bool pass_on(struct worker *worker, struct arrivals *next, int *count_out, struct strbuf *why)
{
	PGresult *rows = NULL;
	bool is_fine = read_rows(worker, read_taken, &rows, why) == STATUS_OK;

	*count_out = is_fine ? PQntuples(rows) : 0;
	if (*count_out > 0) {
		delivery_begin(worker);
		is_fine = publish_taken(worker, rows, why) && delivery_settle(worker, next) &&
			  run_numbers(worker, forget_taken, rows, why) == STATUS_OK;
	}
	PQclear(rows);
	return is_fine;
}

static enum status count_rows(struct worker *worker, struct strbuf *why)
{
	PGresult *result = NULL;
	enum status status = database_session_query(
		worker->session, count_held, NULL, 0, WORKER_QUERY_MS, &result, why);
	uint64_t held = status == STATUS_OK ? strtoull(PQgetvalue(result, 0, 0), NULL, 10) : 0;

	PQclear(result);
	if (status == STATUS_OK) {
		worker->is_holding = held > 0;
		metric_set(metric_single(METRIC_GAUGE, "homeward_events_held", "Events that wait for an earlier one."),
			(double)held);
	}
	return status;
}

bool holdback_work(struct worker *worker, struct arrivals *next)
{
	struct strbuf why = STRBUF_INIT;
	int taken = 0;
	bool is_fine = true;

	if (!worker->is_holding || clock_monotonic_ms(clock_system()) - worker->holdback_ms < EVERY_MS)
		return true;
	do {
		is_fine = take(worker, &why) == STATUS_OK && pass_on(worker, next, &taken, &why) &&
			  tell_gaps(worker, &why) == STATUS_OK;
	} while (is_fine && taken > 0 && next->count == 0 && !atomic_load(&worker->is_stopping));
	if (is_fine)
		is_fine = count_rows(worker, &why) == STATUS_OK;
	if (why.length > 0)
		worker_lose_session(worker, why.data);
	strbuf_release(&why);
	worker->holdback_ms = clock_monotonic_ms(clock_system());
	return is_fine;
}

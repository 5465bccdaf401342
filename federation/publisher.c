/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The publisher, on a thread of its own.  One round: read the next rows, publish
 * them, wait until the broker has settled each, mark what it confirmed, put off
 * what it refused or returned.  A crash anywhere in between leaves rows unmarked,
 * and they are sent again with the same id; the inbox at the far side knows them.
 *
 * An advisory lock makes one process of a region the publisher, so that rows are
 * sent in their order.  The mark of a message is its place in the batch.
 *
 * What may leave is decided here, for every row, whoever wrote it (parcel.c).
 */
#include "federation/publisher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "federation/broadcasts.h"
#include "federation/canary_sender.h"
#include "federation/event.h"
#include "federation/event_trace.h"
#include "federation/federation.h"
#include "federation/parcel.h"
#include "federation/receipts.h"

#define LOCK_KEY "7451038219046512"
#define SETTLE_MS 30000 /* for the broker to confirm a batch; then the connection is made anew */
#define UPKEEP_EVERY_MS 1000
#define PUMP_EVERY 64 /* messages written between looks at what the broker says */

/* The columns, and of which rows: those that wait, or broadcasts for one region again. */
#define READ_ROWS                                                                                                      \
	"SELECT seq, destination, type, id, (attributes - '{sequence,skippedfrom}'::text[] || "                        \
	"jsonb_strip_nulls(jsonb_build_object('specversion', '1.0',"                                                   \
	" 'id', id, 'source', source, 'type', type, 'subject', nullif(aggregateid, ''), 'destination', destination,"   \
	" 'originregion', $1::text, 'sequence', CASE WHEN sequence > 0 THEN lpad(sequence::text, 18, '0') END,"        \
	" 'time', coalesce(attributes->>'time', to_char(created_at AT TIME ZONE 'UTC', "                               \
	"'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')), 'skippedfrom', lpad(skipped_from::text, 18, '0')))"                    \
	" || CASE WHEN payload IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('data', payload) END)::text, caller"
#define READ_FROM                                                                                                      \
	" FROM homeward.outbox o LEFT JOIN LATERAL (SELECT min(sequence) AS skipped_from FROM (SELECT k.sequence,"     \
	" row_number() OVER (ORDER BY k.sequence DESC) AS back FROM homeward.skips k WHERE o.sequence > 1 AND"         \
	" (k.destination, k.source, k.subject) = (o.destination, o.source, o.aggregateid) AND k.sequence < o.sequence" \
	" ORDER BY k.sequence DESC LIMIT 1000) AS before WHERE before.sequence = o.sequence - back) AS skips ON true"

static const char read_rows[] = READ_ROWS
	", destination" READ_FROM
	" WHERE sent_at IS NULL AND refused_at IS NULL AND next_at <= now() ORDER BY seq LIMIT $2";
static const char read_again[] = READ_ROWS ", again.region" READ_FROM BROADCASTS_AGAIN;
static const char mark_sent[] = "UPDATE homeward.outbox SET sent_at = now(), attempts = attempts + 1, reason = ''"
				" WHERE seq = ANY($1::bigint[])";
static const char mark_later[] =
	"UPDATE homeward.outbox SET attempts = attempts + 1, reason = 'the broker did not take it',"
	" next_at = now() + least(60, power(2, least(attempts, 6))) * interval '1 second' WHERE seq = "
	"ANY($1::bigint[])";
static const char mark_refused[] = "UPDATE homeward.outbox SET refused_at = now(), reason = $2 WHERE seq = $1";

static struct metric_series *outcome_series(const char *outcome)
{
	return metric_series(metric_register(METRIC_COUNTER, "homeward_events_published_total",
				     "Events taken from the outbox, by what became of them.", "outcome"),
		outcome, NULL);
}

static enum status prepare(struct worker *worker, struct strbuf *why)
{
	PGresult *result = NULL;
	enum status status = database_session_script(worker->session, "LISTEN homeward_outbox", WORKER_QUERY_MS, why);
	bool is_ours;

	if (status == STATUS_OK)
		status = database_session_query(worker->session, "SELECT pg_try_advisory_lock(" LOCK_KEY ")", NULL, 0,
			WORKER_QUERY_MS, &result, why);
	if (status != STATUS_OK)
		return status;
	is_ours = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	/* Without a reason: another process of the region publishes, which is as it should be. */
	return is_ours ? STATUS_OK : STATUS_CONFLICT;
}

static bool run_query(struct worker *worker, const char *sql, const char *first, const char *second)
{
	const char *parameters[] = { first, second };
	struct strbuf why = STRBUF_INIT;
	enum status status = database_session_query(
		worker->session, sql, parameters, second != NULL ? 2 : 1, WORKER_QUERY_MS, NULL, &why);

	if (status != STATUS_OK)
		worker_lose_session(worker, why.data);
	strbuf_release(&why);
	return status == STATUS_OK;
}

/* ---- one row ---- */

/* False when the database was lost. */
static bool refuse_row(struct worker *worker, const char *seq, const char *reason)
{
	LOG_WARN("event_refused", "outbox", seq, "reason", reason);
	metric_add(outcome_series("refused"), 1);
	return run_query(worker, mark_refused, seq, reason);
}

static bool publish_parcel(struct worker *worker, const struct parcel *parcel, const char *target, struct strbuf *why)
{
	char key[2 * REGION_SIZE + EVENT_TYPE_MAX + 3], mark[24];
	struct broker_message message = {
		.exchange = MESH_EVENTS,
		.key = key,
		.id = parcel->event.id,
		.mark = mark,
		.body = parcel->body.data,
		.body_size = parcel->body.length,
		.is_mandatory = true,
	};
	struct object_id object;

	event_object(&parcel->event, &object);
	must(parcel->state == PARCEL_LOCAL ||
		policy_release_covers(parcel->crossing->release, &object, parcel->event.destination));
	snprintf(key, sizeof(key), "%s.%s.%s", target, worker->settings->region, parcel->event.type);
	snprintf(mark, sizeof(mark), "%zu", confirms_add(&worker->confirms));
	event_trace_log(parcel->event.envelope, "sent", parcel->event.type, NULL);
	return broker_publish(worker->broker, &message, why) == STATUS_OK;
}

/* ---- one batch ---- */

/* Takes what the broker has said so far; waits for at most timeout_ms.  False when the broker was lost. */
static bool pump(struct worker *worker, int64_t timeout_ms)
{
	struct broker_news news;

	do {
		if (!worker_listen(worker, timeout_ms, &news))
			return false;
		broker_news_release(&news);
		timeout_ms = 0;
	} while (news.happening != BROKER_NOTHING);
	return true;
}

static bool wait_unblocked(struct worker *worker)
{
	while (broker_is_blocked(worker->broker)) {
		if (atomic_load(&worker->is_stopping) || !pump(worker, WORKER_TURN_MS))
			return false;
	}
	return true;
}

/* places[place] = row.  False when the rest must wait for another round. */
static bool publish_parcels(struct worker *worker, const PGresult *rows, const struct parcels *parcels, int *places)
{
	struct strbuf why = STRBUF_INIT;
	bool is_fine = true;

	for (size_t row = 0; row < parcels->count && is_fine; row++) {
		const struct parcel *parcel = &parcels->parcels[row];

		if (row % PUMP_EVERY == 0 && (!pump(worker, 0) || !wait_unblocked(worker)))
			return false;
		if (parcel->state == PARCEL_REFUSED) {
			is_fine = refuse_row(worker, PQgetvalue(rows, (int)row, COLUMN_SEQ), parcel->why.data);
			continue;
		}
		places[worker->confirms.count] = (int)row;
		is_fine = publish_parcel(worker, parcel, PQgetvalue(rows, (int)row, COLUMN_TARGET), &why);
		if (!is_fine)
			worker_lose_broker(worker, why.data);
	}
	strbuf_release(&why);
	return is_fine;
}

static bool wait_settled(struct worker *worker)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + SETTLE_MS;

	while (!confirms_all_settled(&worker->confirms)) {
		if (!pump(worker, WORKER_TURN_MS))
			return false;
		if (broker_is_blocked(worker->broker)) {
			/* Confirmations wait for the alarm to end, and it may last. */
			end_ms = clock_monotonic_ms(clock_system()) + SETTLE_MS;
			if (atomic_load(&worker->is_stopping))
				return false;
		}
		if (clock_monotonic_ms(clock_system()) >= end_ms) {
			worker_lose_broker(worker, "no confirmation in time");
			return false;
		}
	}
	return true;
}

/* What is written of the rows that the broker took, and of those that it did not. */
struct marks {
	const char *sent, *later;
	const char *target; /* their second parameter; NULL: none */
};

static bool mark_rows(
	struct worker *worker, const PGresult *rows, const int *places, bool wants_done, const struct marks *marks)
{
	struct strbuf array = STRBUF_INIT;
	uint64_t count = 0;
	bool is_fine = true;

	strbuf_addc(&array, '{');
	for (size_t place = 0; place < worker->confirms.count; place++) {
		/* What has no word yet keeps its row as it is. */
		if (worker->confirms.entries[place].confirm == CONFIRM_WAITING ||
			confirms_is_done(&worker->confirms, place) != wants_done)
			continue;
		strbuf_addf(&array, "%s%s", count > 0 ? "," : "", PQgetvalue(rows, places[place], COLUMN_SEQ));
		count++;
	}
	strbuf_addc(&array, '}');
	if (count > 0)
		is_fine = strbuf_ok(&array) &&
			  run_query(worker, wants_done ? marks->sent : marks->later, array.data, marks->target);
	if (count > 0 && is_fine)
		metric_add(outcome_series(wants_done ? "sent" : "put_off"), count);
	strbuf_release(&array);
	return is_fine;
}

static bool carry(struct worker *worker, const PGresult *rows, const struct marks *marks)
{
	int *places = calloc((size_t)PQntuples(rows), sizeof(*places));
	struct parcels parcels;
	bool is_whole = parcels_prepare(worker, rows, &parcels);

	if (places == NULL || !is_whole) {
		parcels_release(worker, &parcels);
		free(places);
		return false;
	}
	confirms_begin(&worker->confirms, worker->is_new_channel);
	worker->is_new_channel = false;
	is_whole = publish_parcels(worker, rows, &parcels, places);
	if (worker->broker != NULL)
		is_whole = wait_settled(worker) && is_whole;
	/* Also of a batch that broke off: what was confirmed is confirmed. */
	if (worker->session != NULL)
		is_whole = mark_rows(worker, rows, places, true, marks) && is_whole;
	if (worker->session != NULL)
		is_whole = mark_rows(worker, rows, places, false, marks) && is_whole;
	parcels_release(worker, &parcels);
	free(places);
	return is_whole;
}

/* Until rows may have come: a notification, or the time of one that was put off. */
static void wait_for_rows(struct worker *worker)
{
	struct strbuf why = STRBUF_INIT;
	bool is_notified = false;

	for (int waited_ms = 0; waited_ms < 1000 && !is_notified && !atomic_load(&worker->is_stopping);
		waited_ms += WORKER_TURN_MS) {
		if (database_session_wait(worker->session, WORKER_TURN_MS, &is_notified, &why) != STATUS_OK) {
			worker_lose_session(worker, why.data);
			break;
		}
		if (!pump(worker, 0))
			break;
	}
	strbuf_release(&why);
}

/* Broadcasts that a region has not receipted, to one such region.  False when something was lost. */
static bool send_broadcasts_again(struct worker *worker)
{
	char limit[24], timeout[24];
	const char *parameters[] = { worker->settings->region, limit, timeout };
	struct marks marks = { BROADCASTS_MARK_SENT, BROADCASTS_MARK_LATER, NULL };
	struct strbuf why = STRBUF_INIT;
	PGresult *rows = NULL;
	bool is_fine;

	snprintf(limit, sizeof(limit), "%zu", worker->confirms.capacity);
	snprintf(timeout, sizeof(timeout), "%lld", (long long)worker->settings->events.receipt_timeout_s);
	is_fine = database_session_query(worker->session, read_again, parameters, 3, WORKER_QUERY_MS, &rows, &why) ==
		  STATUS_OK;
	if (!is_fine)
		worker_lose_session(worker, why.data);
	if (is_fine && PQntuples(rows) > 0) {
		marks.target = PQgetvalue(rows, 0, COLUMN_TARGET);
		LOG_WARN("broadcasts_without_receipt", "region", marks.target, "sent_again",
			log_number(PQntuples(rows)));
		is_fine = carry(worker, rows, &marks);
	}
	PQclear(rows);
	strbuf_release(&why);
	return is_fine;
}

/* False when the database or the broker was lost. */
static bool do_upkeep(struct worker *worker)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());
	struct strbuf why = STRBUF_INIT;
	bool is_fine = true;

	if (now_ms - worker->upkeep_ms >= UPKEEP_EVERY_MS) {
		worker->upkeep_ms = now_ms;
		is_fine = receipts_upkeep(worker, &why) == STATUS_OK && broadcasts_upkeep(worker, &why) == STATUS_OK &&
			  canary_count_unreceipted(worker, &why) == STATUS_OK;
		if (!is_fine)
			worker_lose_session(worker, why.data);
		is_fine = is_fine && send_broadcasts_again(worker);
	}
	strbuf_release(&why);
	return is_fine;
}

void publisher_work(struct worker *worker)
{
	static const struct marks marks = { mark_sent, mark_later, NULL };
	const char *parameters[2] = { worker->settings->region, NULL };
	struct strbuf why = STRBUF_INIT;
	PGresult *rows = NULL;
	char limit[24];

	if (!worker_connect(worker, prepare) || !do_upkeep(worker))
		return;
	snprintf(limit, sizeof(limit), "%zu", worker->confirms.capacity);
	parameters[1] = limit;
	if (database_session_query(worker->session, read_rows, parameters, 2, WORKER_QUERY_MS, &rows, &why) !=
		STATUS_OK) {
		worker_lose_session(worker, why.data);
		worker_wait(worker);
	} else if (PQntuples(rows) == 0) {
		worker_succeed(worker);
		wait_for_rows(worker);
	} else if (carry(worker, rows, &marks)) {
		worker_succeed(worker);
	} else {
		worker_wait(worker);
	}
	PQclear(rows);
	strbuf_release(&why);
}

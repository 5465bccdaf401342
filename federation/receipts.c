/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A receipt is an event of homeward's own, published straight from the consumer
 * after the inbox has committed: were it in the outbox, it would want a receipt
 * itself.  One that is lost only makes the source send again, and the answer to
 * that is another receipt.
 *
 * Those of broadcasts are kept by region (broadcasts.c).
 */
#include "federation/receipts.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "federation/broadcasts.h"
#include "federation/canary_sender.h"
#include "federation/event_trace.h"
#include "federation/federation.h"
#include "federation/own_event.h"
#include "federation/webhook_store.h"

#define UPKEEP_ROWS "1000" /* a statement, so that none of them is long */
#define RESENDS_MAX "20"   /* doubling from receipt_timeout_s: weeks */

static const char mark_receipted[] =
	"UPDATE homeward.outbox o SET receipted_at = now(), receipt = e->>'outcome', sent_at = coalesce(o.sent_at, "
	"now()), exchange = " RECEIPT_EXCHANGE ","
	" attributes = CASE WHEN o.type = 'homeward.canary' THEN o.attributes || jsonb_build_object('takenat', "
	"$3::text)"
	" ELSE o.attributes END"
	" FROM jsonb_array_elements($1::jsonb) AS e WHERE o.source = e->>'source' AND o.id = e->>'id'"
	" AND o.destination = $2 AND o.receipted_at IS NULL AND o.refused_at IS NULL";
/*
 * Each time it waits twice as long, an hour at most; and it is let be while it may still be on its way: until its
 * region has answered a canary that was sent well after it.
 */
static const char send_again[] = RECEIPT_PLACES
	","
	" due AS (SELECT seq FROM places LEFT JOIN unnest($2::text[], $3::bigint[]) AS reached(region, age_ms)"
	" ON region = name AND age_ms >= 0 CROSS JOIN LATERAL (SELECT seq FROM homeward.outbox WHERE " RECEIPT_MISSING
	" AND destination = name AND sent_at < now() - greatest($1::bigint * 1000,"
	" coalesce(age_ms + " CANARY_BEHIND_MS ", 0)) * interval '1 millisecond'"
	" AND sent_at < now() - least(3600, $1::bigint * power(2, least(resends, 12))) * interval '1 second'"
	" ORDER BY sent_at LIMIT " UPKEEP_ROWS ") AS late)"
	" UPDATE homeward.outbox SET sent_at = NULL, next_at = now(), resends = resends + 1,"
	" refused_at = CASE WHEN resends >= " RESENDS_MAX " THEN now() END,"
	" reason = CASE WHEN resends >= " RESENDS_MAX " THEN 'no receipt came' ELSE reason END"
	" WHERE seq IN (SELECT seq FROM due)";
static const char prune_outbox[] =
	"DELETE FROM homeward.outbox WHERE seq IN (SELECT seq FROM homeward.outbox"
	" WHERE created_at < now() - $1::bigint * interval '1 second' AND (sent_at IS NOT "
	"NULL OR refused_at IS NOT NULL)"
	" AND (receipted_at IS NOT NULL OR refused_at IS NOT NULL OR (destination = 'all' AND"
	" NOT EXISTS (SELECT 1 FROM homeward.broadcasts b WHERE b.seq = outbox.seq"
	" AND b.receipted_at IS NULL AND b.given_up_at IS NULL))) "
	"ORDER BY created_at LIMIT " UPKEEP_ROWS ")";
/* A stream goes with its newest event. */
static const char prune_inbox[] =
	"WITH gone AS (DELETE FROM homeward.inbox WHERE (origin, source, id) IN (SELECT origin, source, id"
	" FROM homeward.inbox WHERE received_at < now() - $1::bigint * interval '1 second' AND delivered_at IS NOT NULL"
	" AND NOT EXISTS (SELECT FROM homeward.webhook_deliveries d WHERE (d.origin, d.source, d.id) ="
	" (inbox.origin, inbox.source, inbox.id)) ORDER BY received_at LIMIT " UPKEEP_ROWS
	") RETURNING origin, source, subject, destination, sequence)"
	" DELETE FROM homeward.streams s USING gone WHERE s.origin = gone.origin AND s.source = gone.source"
	" AND s.subject = gone.subject AND s.destination = gone.destination AND s.last <= gone.sequence";
static const char prune_gaps[] = "DELETE FROM homeward.gaps WHERE gap IN (SELECT gap FROM homeward.gaps"
				 " WHERE at < now() - $1::bigint * interval '1 second' AND told_at IS NOT NULL"
				 " ORDER BY at LIMIT " UPKEEP_ROWS ")";
static const char prune_copies[] =
	"DELETE FROM homeward.copies WHERE (type, id, region) IN (SELECT type, id, region FROM homeward.copies"
	" WHERE until < now() - $1::bigint * interval '1 second' ORDER BY until LIMIT " UPKEEP_ROWS ")";
static const char prune_dead[] = "DELETE FROM homeward.dead_letters WHERE seq IN (SELECT seq FROM homeward.dead_letters"
				 " WHERE at < now() - $1::bigint * interval '1 second' ORDER BY at LIMIT " UPKEEP_ROWS
				 ")";

static const char prune_skips[] = "DELETE FROM homeward.skips WHERE (destination, source, subject, sequence) IN "
				  "(SELECT destination, source, subject,"
				  " sequence FROM homeward.skips WHERE at < now() - $1::bigint * interval '1 second' "
				  "ORDER BY at LIMIT " UPKEEP_ROWS ")";

static struct metric_series *series(const char *name, const char *help)
{
	return metric_single(METRIC_COUNTER, name, help);
}

void receipts_init(struct receipts *receipts)
{
	receipts->by_origin = json_object();
}

void receipts_release(struct receipts *receipts)
{
	json_decref(receipts->by_origin);
}

/* Out of memory makes no receipt, and so at worst another sending. */
void receipts_add(struct receipts *receipts, const struct event *event, const char *outcome)
{
	json_t *list = json_object_get(receipts->by_origin, event->origin);
	const char *traceparent, *exchange = json_get_string(event->envelope, "exchangeid");

	if (list == NULL) {
		list = json_array();
		(void)json_object_set_new(receipts->by_origin, event->origin, list);
	}
	traceparent = json_get_string(event->envelope, "traceparent");
	(void)json_array_append_new(
		list, json_pack("{s:s,s:s,s:s,s:s*,s:s*}", "source", event->source, "id", event->id, "outcome", outcome,
			      "exchangeid", event->has_exchange ? exchange : NULL, "traceparent",
			      event_trace_is_valid(traceparent) ? traceparent : NULL));
}

static enum status publish_one(struct worker *worker, const char *origin, json_t *events, struct strbuf *why)
{
	char now[CLOCK_TEXT_SIZE];
	struct own_event event = { RECEIPT_TYPE, "/homeward/receipts", origin, NULL };

	clock_format(clock_wall_us(clock_system()), now);
	event.data = json_pack("{s:o,s:s}", "events", events, "at", now);
	return own_event_publish(worker, &event, why);
}

enum status receipts_publish(struct worker *worker, const struct receipts *receipts, struct strbuf *why)
{
	enum status status = STATUS_OK;
	const char *origin;
	json_t *events;

	json_object_foreach(receipts->by_origin, origin, events)
	{
		size_t count = json_array_size(events);

		for (size_t from = 0; from < count && status == STATUS_OK; from += RECEIPT_EVENTS_MAX) {
			json_t *part = json_array();

			for (size_t i = from; i < count && i < from + RECEIPT_EVENTS_MAX; i++)
				(void)json_array_append(part, json_array_get(events, i));
			status = publish_one(worker, origin, part, why);
		}
	}
	return status;
}

enum status receipts_take(struct worker *worker, const struct event *receipt, struct strbuf *why)
{
	const json_t *data = json_object_get(receipt->envelope, "data"), *events = json_object_get(data, "events");
	char *text = json_dumps(events, JSON_COMPACT);
	const char *parameters[] = { text, receipt->origin, json_get_string(data, "at") };
	PGresult *result = NULL;
	enum status status = STATUS_NO_MEMORY;

	if (text != NULL)
		status = database_session_query(
			worker->session, mark_receipted, parameters, 3, WORKER_QUERY_MS, &result, why);
	/* What is of no row sent to this region alone may be of a broadcast. */
	if (status == STATUS_OK && strtoull(PQcmdTuples(result), NULL, 10) < json_array_size(events))
		status = broadcasts_receipted(worker, receipt->origin, text, why);
	if (status == STATUS_OK)
		metric_add(
			series("homeward_events_receipted_total", "Events whose destination told what became of them."),
			strtoull(PQcmdTuples(result), NULL, 10));
	for (size_t i = 0; status == STATUS_OK && i < json_array_size(events); i++)
		event_trace_log(json_array_get(events, i), "receipted", RECEIPT_TYPE,
			json_get_string(json_array_get(events, i), "outcome"));
	PQclear(result);
	free(text);
	return status;
}

static enum status run(struct worker *worker, const char *sql, int64_t seconds, uint64_t *count_out, struct strbuf *why)
{
	char text[24];
	const char *parameters[] = { text };
	PGresult *result = NULL;
	enum status status;

	snprintf(text, sizeof(text), "%lld", (long long)seconds);
	status = database_session_query(worker->session, sql, parameters, 1, WORKER_QUERY_MS, &result, why);
	*count_out = status == STATUS_OK ? strtoull(PQcmdTuples(result), NULL, 10) : 0;
	PQclear(result);
	return status;
}

static enum status send_late_again(struct worker *worker, struct strbuf *why)
{
	struct strbuf regions = STRBUF_INIT, ages = STRBUF_INIT;
	char timeout[24];
	PGresult *result = NULL;
	enum status status = canary_reached(worker->canary, &regions, &ages);
	uint64_t count = 0;

	snprintf(timeout, sizeof(timeout), "%lld", (long long)worker->settings->events.receipt_timeout_s);
	const char *parameters[] = { timeout, regions.data, ages.data };
	if (status == STATUS_OK)
		status = database_session_query(
			worker->session, send_again, parameters, 3, WORKER_QUERY_MS, &result, why);
	if (status == STATUS_OK)
		count = strtoull(PQcmdTuples(result), NULL, 10);
	if (count > 0) {
		LOG_WARN("events_without_receipt", "sent_again", log_number((int64_t)count));
		metric_add(series("homeward_events_resent_total", "Events sent again because no receipt came in time."),
			count);
	}
	PQclear(result);
	strbuf_release(&regions);
	strbuf_release(&ages);
	return status;
}

enum status receipts_upkeep(struct worker *worker, struct strbuf *why)
{
	const struct settings *settings = worker->settings;
	uint64_t count = 0;
	enum status status = send_late_again(worker, why);

	if (status == STATUS_OK)
		status = run(worker, prune_outbox, settings->events.outbox_keep_s, &count, why);
	if (status == STATUS_OK)
		status = webhook_store_expire(worker->session, false, "{}", NULL, why);
	if (status == STATUS_OK)
		status = run(worker, prune_inbox, settings->events.inbox_keep_s, &count, why);
	if (status == STATUS_OK)
		status = run(worker, prune_copies, 0, &count, why);
	if (status == STATUS_OK)
		status = run(worker, prune_dead, settings->events.inbox_keep_s, &count, why);
	if (status == STATUS_OK)
		status = run(worker, prune_gaps, settings->events.inbox_keep_s, &count, why);
	if (status == STATUS_OK)
		status = run(worker, prune_skips, settings->events.outbox_keep_s, &count, why);
	return status;
}

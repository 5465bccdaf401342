/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A receipt is an event of homeward's own, published straight from the consumer
 * after the inbox has committed: were it in the outbox, it would want a receipt
 * itself.  One that is lost only makes the source send again, and the answer to
 * that is another receipt.
 *
 * A broadcast asks for none: who should have had it is for the mesh file to say.
 */
#include "federation/receipts.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "federation/federation.h"

#define UPKEEP_ROWS "1000" /* a statement, so that none of them is long */
#define RESENDS_MAX "20"   /* doubling from receipt_timeout_s: weeks */

static const char mark_receipted[] =
	"UPDATE homeward.outbox o SET receipted_at = now(), receipt = e->>'outcome', sent_at = coalesce(o.sent_at, "
	"now())"
	" FROM jsonb_array_elements($1::jsonb) AS e WHERE o.source = e->>'source' AND o.id = e->>'id'"
	" AND o.destination = $2 AND o.receipted_at IS NULL AND o.refused_at IS NULL";
/* Each time it waits twice as long, an hour at most. */
static const char send_again[] =
	"UPDATE homeward.outbox SET sent_at = NULL, next_at = now(), resends = resends + 1,"
	" refused_at = CASE WHEN resends >= " RESENDS_MAX " THEN now() END,"
	" reason = CASE WHEN resends >= " RESENDS_MAX " THEN 'no receipt came' ELSE reason END"
	" WHERE seq IN (SELECT seq FROM homeward.outbox WHERE sent_at < now() - $1::bigint * interval '1 second'"
	" AND sent_at < now() - least(3600, $1::bigint * power(2, least(resends, 12))) * interval '1 second'"
	" AND receipted_at IS NULL AND refused_at IS NULL AND destination <> 'all' ORDER BY sent_at LIMIT " UPKEEP_ROWS
	")";
static const char prune_outbox[] = "DELETE FROM homeward.outbox WHERE seq IN (SELECT seq FROM homeward.outbox"
				   " WHERE created_at < now() - $1::bigint * interval '1 second' AND (sent_at IS NOT "
				   "NULL OR refused_at IS NOT NULL)"
				   " AND (receipted_at IS NOT NULL OR refused_at IS NOT NULL OR destination = 'all') "
				   "ORDER BY created_at LIMIT " UPKEEP_ROWS ")";
static const char prune_inbox[] =
	"DELETE FROM homeward.inbox WHERE (origin, source, id) IN (SELECT origin, source, id FROM homeward.inbox"
	" WHERE received_at < now() - $1::bigint * interval '1 second' AND delivered_at IS NOT NULL"
	" ORDER BY received_at LIMIT " UPKEEP_ROWS ")";
static const char prune_copies[] =
	"DELETE FROM homeward.copies WHERE (type, id, region) IN (SELECT type, id, region FROM homeward.copies"
	" WHERE until < now() - $1::bigint * interval '1 second' ORDER BY until LIMIT " UPKEEP_ROWS ")";
static const char prune_dead[] = "DELETE FROM homeward.dead_letters WHERE seq IN (SELECT seq FROM homeward.dead_letters"
				 " WHERE at < now() - $1::bigint * interval '1 second' ORDER BY at LIMIT " UPKEEP_ROWS
				 ")";

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

	if (list == NULL) {
		list = json_array();
		(void)json_object_set_new(receipts->by_origin, event->origin, list);
	}
	(void)json_array_append_new(
		list, json_pack("{s:s,s:s,s:s}", "source", event->source, "id", event->id, "outcome", outcome));
}

static json_t *make_receipt(
	const struct worker *worker, const char *origin, json_t *events, char id[EXCHANGE_ID_TEXT_SIZE])
{
	struct exchange_id exchange = exchange_id_make(clock_system(), random_system());
	char now[CLOCK_TEXT_SIZE];

	exchange_id_format(&exchange, id);
	clock_format(clock_wall_us(clock_system()), now);
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:{s:o,s:s}}", "specversion", "1.0", "id", id,
		"source", "/homeward/receipts", "type", RECEIPT_TYPE, "time", now, "datacontenttype",
		"application/json", "dataschema", EVENT_SCHEMA_BASE RECEIPT_TYPE ".v1.json", "dataclassification",
		"operational", "destination", origin, "originregion", worker->settings->region, "exchangeid", id,
		"data", "events", events, "at", now);
}

static enum status publish_one(struct worker *worker, const char *origin, json_t *events, struct strbuf *why)
{
	char id[EXCHANGE_ID_TEXT_SIZE], key[2 * REGION_SIZE + sizeof(RECEIPT_TYPE) + 2];
	json_t *receipt = make_receipt(worker, origin, events, id);
	struct strbuf body = STRBUF_INIT;
	enum status status = receipt != NULL ? json_write(receipt, &body) : STATUS_NO_MEMORY;
	struct broker_message message = {
		.exchange = MESH_EVENTS, .key = key, .id = id, .mark = "", .body = body.data, .body_size = body.length
	};

	snprintf(key, sizeof(key), "%s.%s.%s", origin, worker->settings->region, RECEIPT_TYPE);
	if (status == STATUS_OK) {
		confirms_add(&worker->confirms);
		status = broker_publish(worker->broker, &message, why);
	}
	json_decref(receipt);
	strbuf_release(&body);
	return status;
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
	const json_t *events = json_object_get(json_object_get(receipt->envelope, "data"), "events");
	char *text = json_dumps(events, JSON_COMPACT);
	const char *parameters[] = { text, receipt->origin };
	PGresult *result = NULL;
	enum status status = STATUS_NO_MEMORY;

	if (text != NULL)
		status = database_session_query(
			worker->session, mark_receipted, parameters, 2, WORKER_QUERY_MS, &result, why);
	if (status == STATUS_OK)
		metric_add(
			series("homeward_events_receipted_total", "Events whose destination told what became of them."),
			strtoull(PQcmdTuples(result), NULL, 10));
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

enum status receipts_upkeep(struct worker *worker, struct strbuf *why)
{
	const struct settings *settings = worker->settings;
	uint64_t count = 0;
	enum status status = run(worker, send_again, settings->events.receipt_timeout_s, &count, why);

	if (count > 0) {
		LOG_WARN("events_without_receipt", "sent_again", log_number((int64_t)count));
		metric_add(series("homeward_events_resent_total", "Events sent again because no receipt came in time."),
			count);
	}
	if (status == STATUS_OK)
		status = run(worker, prune_outbox, settings->events.outbox_keep_s, &count, why);
	if (status == STATUS_OK)
		status = run(worker, prune_inbox, settings->events.inbox_keep_s, &count, why);
	if (status == STATUS_OK)
		status = run(worker, prune_copies, 0, &count, why);
	if (status == STATUS_OK)
		status = run(worker, prune_dead, settings->events.inbox_keep_s, &count, why);
	return status;
}

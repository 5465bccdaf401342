/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A delivery's event is read from the inbox each time: there is no second copy of
 * what may be personal.  A delivery is of a stream, the hash of what keeps an order;
 * two subjects of one hash would only wait for each other.
 */
#include "federation/webhook_store.h"

#include <jansson.h>
#include <stdlib.h>

#include "federation/worker.h"

static const char register_all[] =
	"WITH given AS (SELECT e->>'name' AS name, ARRAY(SELECT jsonb_array_elements_text(e->'types')) AS types,"
	" ARRAY(SELECT jsonb_array_elements_text(e->'origins')) AS origins,"
	" (e->>'keep_s')::bigint * interval '1 second' AS keep FROM jsonb_array_elements($1::jsonb) AS e),"
	" forgotten AS (DELETE FROM homeward.webhooks w WHERE NOT w.is_configured"
	" AND w.name NOT IN (SELECT name FROM given)"
	" AND NOT EXISTS (SELECT FROM homeward.webhook_deliveries d WHERE d.webhook = w.name)),"
	" removed AS (UPDATE homeward.webhooks w SET is_configured = false WHERE w.is_configured"
	" AND w.name NOT IN (SELECT name FROM given))"
	" INSERT INTO homeward.webhooks (name, types, origins, keep) SELECT name, types, origins, keep FROM given"
	" ON CONFLICT (name) DO UPDATE SET types = EXCLUDED.types, origins = EXCLUDED.origins, keep = EXCLUDED.keep,"
	" is_configured = true";
/* The inbox is asked for the few that are chosen, not for all that wait. */
static const char read_due[] =
	"SELECT d.place, d.origin, d.source, d.id, d.attempts, d.refusals,"
	" (extract(epoch FROM d.expires_at) * 1000000)::bigint, coalesce(i.event::text, ''), d.stream"
	" FROM (SELECT * FROM homeward.webhook_deliveries d"
	" WHERE d.webhook = $1 AND d.next_at <= now() AND d.place <> ALL($3::bigint[]) AND d.stream <> "
	"ALL($4::bigint[])"
	" AND (d.stream = 0 OR NOT EXISTS (SELECT FROM homeward.webhook_deliveries e"
	" WHERE e.webhook = d.webhook AND e.stream = d.stream AND e.stream <> 0 AND e.place < d.place))"
	" ORDER BY d.place LIMIT $2::bigint) AS d LEFT JOIN homeward.inbox i USING (origin, source, id) ORDER BY "
	"d.place";

/* From `gone`, in the order of their places: that of their subjects, should they be handed in again. */
#define WRITE_LETTERS(which)                                                                                           \
	"INSERT INTO homeward.dead_letters (reason, detail, routing_key, body)"                                        \
	" SELECT 'webhook', g.webhook || ': ' || g.detail, to_json(i.origin || '.' || i.type)::text,"                  \
	" convert_to(i.event::text, 'UTF8') FROM gone g JOIN homeward.inbox i USING (origin, source, id)"              \
	" WHERE " which " ORDER BY g.place"

static const char record_all[] =
	"WITH r AS (SELECT * FROM jsonb_to_recordset($1::jsonb)"
	" AS x(place bigint, step text, wait_ms bigint, refusals int, last text, detail text)),"
	" gone AS (DELETE FROM homeward.webhook_deliveries d USING r WHERE d.place = r.place"
	" AND r.step IN ('done', 'dead') RETURNING d.place, d.webhook, d.origin, d.source, d.id, r.step, r.detail),"
	" letters AS (" WRITE_LETTERS(
		"g.step = 'dead'") "),"
				   " kept AS (UPDATE homeward.webhook_deliveries d SET attempts = d.attempts + 1, "
				   "refusals = d.refusals + r.refusals,"
				   " next_at = now() + r.wait_ms * interval '1 millisecond', last = r.last FROM r"
				   " WHERE d.place = r.place AND r.step IN ('retry', 'pause'))"
				   " UPDATE homeward.webhooks w SET delivered = w.delivered + t.delivered, failures = "
				   "w.failures + t.failures,"
				   " dead = w.dead + t.dead, last_at = now(), last = t.last,"
				   " paused_at = CASE WHEN t.is_gone THEN coalesce(w.paused_at, now()) ELSE "
				   "w.paused_at END,"
				   " pause_reason = CASE WHEN t.is_gone AND w.paused_at IS NULL THEN 'gone' ELSE "
				   "w.pause_reason END"
				   " FROM jsonb_to_recordset($2::jsonb)"
				   " AS t(name text, delivered bigint, failures bigint, dead bigint, last text, "
				   "is_gone boolean)"
				   " WHERE w.name = t.name";
static const char expire[] =
	"WITH gone AS (DELETE FROM homeward.webhook_deliveries WHERE place IN (SELECT d.place"
	" FROM homeward.webhook_deliveries d JOIN homeward.webhooks w ON w.name = d.webhook"
	" WHERE d.expires_at <= now() AND w.is_configured = $1::boolean AND d.place <> ALL($2::bigint[])"
	" ORDER BY d.expires_at LIMIT 1000) RETURNING place, webhook, origin, source, id, 'not delivered in time, "
	"attempts: '"
	" || attempts || CASE WHEN last <> '' THEN ', the last: ' || last ELSE '' END AS detail),"
	" letters AS (" WRITE_LETTERS("true") "),"
					      " counted AS (SELECT webhook, count(*) AS n FROM gone GROUP BY webhook),"
					      " told AS (UPDATE homeward.webhooks w SET dead = w.dead + c.n FROM "
					      "counted c WHERE w.name = c.webhook)"
					      " SELECT webhook, n FROM counted";
static const char read_states[] = "SELECT name, paused_at IS NOT NULL, coalesce(resumed_at::text, '')"
				  " FROM homeward.webhooks WHERE is_configured";
static const char count_pending[] =
	"SELECT w.name, count(d.place), coalesce(greatest(0, extract(epoch FROM now() - min(d.created_at))), 0)"
	" FROM homeward.webhooks w LEFT JOIN homeward.webhook_deliveries d ON d.webhook = w.name"
	" WHERE w.is_configured GROUP BY w.name";

static json_t *make_list(char *const *texts, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list, json_string(texts[i]));
	return list;
}

enum status webhook_store_register(
	struct database_session *session, const struct settings *settings, struct strbuf *why)
{
	json_t *all = json_array();
	const char *parameters[1];
	enum status status;
	char *text;

	for (size_t i = 0; i < settings->webhook_count; i++) {
		const struct settings_webhook *webhook = &settings->webhooks[i];

		(void)json_array_append_new(all, json_pack("{s:s,s:o,s:o,s:I}", "name", webhook->name, "types",
							 make_list(webhook->types, webhook->type_count), "origins",
							 make_list(webhook->origins, webhook->origin_count), "keep_s",
							 (json_int_t)webhook->keep_s));
	}
	text = json_array_size(all) == settings->webhook_count ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(all);
	if (text == NULL)
		return STATUS_NO_MEMORY;
	parameters[0] = text;
	status = database_session_query(session, register_all, parameters, 1, WORKER_QUERY_MS, NULL, why);
	free(text);
	return status;
}

enum status webhook_store_read(struct database_session *session, const char *webhook, const char *limit,
	const char *known, const char *stuck, PGresult **rows_out, struct strbuf *why)
{
	const char *parameters[] = { webhook, limit, known, stuck };

	return database_session_query(session, read_due, parameters, 4, WORKER_QUERY_MS, rows_out, why);
}

enum status webhook_store_record(
	struct database_session *session, const char *results, const char *totals, struct strbuf *why)
{
	const char *parameters[] = { results, totals };

	return database_session_query(session, record_all, parameters, 2, WORKER_QUERY_MS, NULL, why);
}

enum status webhook_store_expire(struct database_session *session, bool of_configured, const char *known,
	PGresult **rows_out, struct strbuf *why)
{
	const char *parameters[] = { of_configured ? "t" : "f", known };

	return database_session_query(session, expire, parameters, 2, WORKER_QUERY_MS, rows_out, why);
}

enum status webhook_store_states(struct database_session *session, PGresult **rows_out, struct strbuf *why)
{
	return database_session_query(session, read_states, NULL, 0, WORKER_QUERY_MS, rows_out, why);
}

enum status webhook_store_counts(struct database_session *session, PGresult **rows_out, struct strbuf *why)
{
	return database_session_query(session, count_pending, NULL, 0, WORKER_QUERY_MS, rows_out, why);
}

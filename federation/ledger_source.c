/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this region sent, told window by window.  A window that is settled is counted
 * once more an interval later: a row whose transaction was open for long has come
 * into it meanwhile.  One that is not settled is told again every interval, so that
 * no message of all this need be kept: what was lost is said again.
 *
 * Sent again is only what the destination names and said before that it had taken;
 * what has no receipt is sent again anyhow (receipts.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "federation/ledger.h"
#include "federation/ledger_sides.h"

#define NUMBER_SIZE 24

/* $1: this region, $2: the other, $3: seconds the outbox keeps. */
static const char read_last[] =
	"SELECT extract(epoch FROM greatest(coalesce((SELECT max(until) FROM homeward.ledgers WHERE origin = $1 AND"
	" destination = $2), (SELECT applied_at FROM homeward.schema_migrations WHERE name LIKE '%ledgers%')), now() -"
	" $3::bigint * interval '1 second'))::bigint, extract(epoch FROM now())::bigint";
/* $4: the interval. */
static const char read_unsettled[] =
	"SELECT extract(epoch FROM since)::bigint, extract(epoch FROM until)::bigint FROM homeward.ledgers WHERE"
	" origin = $1 AND destination = $2 AND since > now() - $3::bigint * interval '1 second' AND told_at < now()"
	" - $4::bigint * interval '1 second' AND (state IN ('told', 'comparing', 'open', 'missing') OR told_at <"
	" until + $4::bigint * interval '1 second') ORDER BY since LIMIT " LEDGER_WINDOWS_TEXT;
/* $3, $4: the window; $5, $6, $7: its sums.  No row when it is settled and as it was. */
static const char count_window[] =
	"WITH counted AS (SELECT $5::bigint AS sent, $6::bigint AS dead, homeward.ledger_digest(nullif($7::text,"
	" '')::bit(256)) AS ids), l AS (INSERT INTO homeward.ledgers AS old (origin, destination, since, until,"
	" sent, dead, ids_sha256, state) SELECT $1, $2, $3::timestamptz, $4::timestamptz, sent, dead, ids, 'told'"
	" FROM counted ON CONFLICT (origin, destination, since) DO UPDATE SET sent ="
	" EXCLUDED.sent, dead = EXCLUDED.dead, ids_sha256 = EXCLUDED.ids_sha256, told_at = now(), state = CASE WHEN"
	" old.state IN ('even', 'mended', 'extra', 'forgotten') AND (old.sent, old.dead, old.ids_sha256) ="
	" (EXCLUDED.sent, EXCLUDED.dead, EXCLUDED.ids_sha256) THEN old.state ELSE 'told' END RETURNING *) SELECT"
	" jsonb_build_object(" LEDGER_WINDOW ", 'sent', l.sent, 'dead', l.dead, 'resent', l.resent, 'ids_sha256',"
	" l.ids_sha256, 'first', homeward.ledger_time(coalesce((SELECT min(f.since) FROM homeward.ledgers f WHERE"
	" f.origin = $1 AND f.destination = $2), l.since)))::text FROM l WHERE l.state = 'told'";

/* $1: the answer, $2: this region, $3: the other. */
#define ANSWERED                                                                                                       \
	" FROM (SELECT $1::jsonb AS a) AS said WHERE l.origin = $2 AND l.destination = $3"                             \
	" AND l.since = (a->>'since')::timestamptz"
static const char note_answer[] =
	"UPDATE homeward.ledgers l SET state = a->>'state', taken = (a->>'taken')::bigint, missing ="
	" (a->>'missing')::bigint, extra = (a->>'extra')::bigint, awaited = (a->>'awaited')::bigint, looked_at ="
	" now()" ANSWERED;
/* The destination does not know of these windows: its database is older than they are. */
static const char tell_again[] =
	"UPDATE homeward.ledgers l SET state = 'told', told_at = '-infinity' FROM (SELECT $1::jsonb AS a) AS said"
	" WHERE l.origin = $2 AND l.destination = $3 AND l.since >= (a->>'again_from')::timestamptz AND l.since <"
	" (a->>'since')::timestamptz";
static const char send_again[] =
	"WITH named AS (SELECT e->>'source' AS source, e->>'id' AS id FROM"
	" jsonb_array_elements($1::jsonb->'resend') AS e), direct AS (UPDATE homeward.outbox o SET sent_at = NULL,"
	" receipted_at = NULL, receipt = '', attempts = 0, resends = 1, next_at = now() FROM named n WHERE o.source"
	" = n.source AND o.id = n.id AND o.destination = $3 AND o.sent_at IS NOT NULL AND o.refused_at IS NULL AND"
	" o.receipt IN ('applied', 'duplicate') RETURNING 1), broadcast AS (UPDATE homeward.broadcasts b SET"
	" receipted_at = NULL, receipt = '', given_up_at = NULL, resends = 0, sent_at = '-infinity' FROM"
	" homeward.outbox o JOIN named n ON o.source = n.source AND o.id = n.id WHERE b.seq = o.seq AND b.region ="
	" $3 AND o.destination = 'all' AND o.refused_at IS NULL AND b.receipt IN ('applied', 'duplicate') RETURNING"
	" 1), counted AS (SELECT (SELECT count(*) FROM direct) + (SELECT count(*) FROM broadcast) AS n) UPDATE"
	" homeward.ledgers l SET resent = l.resent + n FROM counted, (SELECT $1::jsonb AS a,"
	" pg_notify('homeward_outbox', '')) AS said WHERE l.origin = $2 AND l.destination = $3 AND l.since ="
	" (a->>'since')::timestamptz RETURNING n";
/*
 * The next ids in order: at most a page, and of a sixtieth of the window, so that however long it is no page sorts more.
 * $4: seconds the outbox keeps.
 */
#define AFTER "(asked.at, asked.source COLLATE \"C\", asked.id COLLATE \"C\")"
static const char read_page[] =
	"WITH asked AS (SELECT l.*, (k->>'at')::timestamptz AS at, k->>'source' AS source, k->>'id' AS id, k,"
	" least(l.until, (k->>'at')::timestamptz + greatest((l.until - l.since) / 60, interval '1 minute')) AS"
	" slice FROM (SELECT $1::jsonb AS a, $1::jsonb->'ids_after' AS k) AS said, homeward.ledgers l WHERE"
	" l.origin = $2 AND l.destination = $3 AND l.since = (a->>'since')::timestamptz AND l.since > now() -"
	" $4::bigint * interval '1 second'), page AS (SELECT r.* FROM asked, homeward.ledger_rows($3, asked.at,"
	" asked.slice) AS r WHERE (r.at, r.source COLLATE \"C\", r.id COLLATE \"C\") > " AFTER " ORDER BY r.at,"
	" r.source COLLATE \"C\", r.id COLLATE \"C\" LIMIT " LEDGER_PAGE "), ids AS (SELECT"
	" coalesce(jsonb_agg(jsonb_build_object('at', homeward.ledger_time(at), 'source', source, 'id', id, 'word',"
	" CASE WHEN word IN ('applied', 'awaited') THEN word ELSE 'other' END) ORDER BY at, source COLLATE \"C\","
	" id COLLATE \"C\"), '[]') AS list, count(*) = " LEDGER_PAGE " AS is_full FROM page) SELECT"
	" jsonb_build_object(" LEDGER_WINDOW ", 'after', l.k, 'end', CASE WHEN is_full THEN (list->-1) - 'word'"
	" ELSE jsonb_build_object('at', homeward.ledger_time(l.slice), 'source', '', 'id', '') END, 'ids', list,"
	" 'is_last', NOT is_full AND l.slice >= l.until)::text FROM asked l, ids";

struct numbers {
	char text[2][NUMBER_SIZE];
};

static bool tell_window(struct worker *worker, const char *region, const struct ledger_window *window)
{
	struct numbers numbers = { { "" } };
	char since[CLOCK_TEXT_SIZE], until[CLOCK_TEXT_SIZE];
	struct ledger_sums sums;
	const char *parameters[] = { worker->settings->region, region, since, until, numbers.text[0], numbers.text[1],
		sums.hash };
	struct strbuf why = STRBUF_INIT;
	PGresult *rows = NULL;
	json_t *data;
	bool is_fine;

	clock_format(window->since_s * 1000000, since);
	clock_format(window->until_s * 1000000, until);
	is_fine = ledger_count(worker, LEDGER_COUNT_SENT, region, since, until, &sums, &why) == STATUS_OK;
	(void)snprintf(numbers.text[0], NUMBER_SIZE, "%lld", (long long)sums.events);
	(void)snprintf(numbers.text[1], NUMBER_SIZE, "%lld", (long long)sums.dead);
	is_fine = is_fine && ledger_query(worker, count_window, parameters, 7, &rows, &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_session(worker, why.data);
	data = is_fine && PQntuples(rows) > 0 ? ledger_json(rows, 0, 0) : NULL;
	if (data != NULL)
		is_fine = ledger_send(worker, LEDGER_TYPE, region, data);
	PQclear(rows);
	strbuf_release(&why);
	return is_fine;
}

bool ledger_tell(struct worker *worker, const char *region)
{
	struct numbers numbers = { { "" } };
	int64_t interval_s = worker->settings->events.ledger_interval_s, from_s = 0, now_s = 0;
	const char *parameters[] = { worker->settings->region, region, numbers.text[0], numbers.text[1] };
	struct strbuf why = STRBUF_INIT;
	PGresult *last = NULL, *unsettled = NULL;
	struct ledger_window window;
	bool is_fine;

	(void)snprintf(numbers.text[0], NUMBER_SIZE, "%lld", (long long)worker->settings->events.outbox_keep_s);
	(void)snprintf(numbers.text[1], NUMBER_SIZE, "%lld", (long long)interval_s);
	is_fine = ledger_query(worker, read_last, parameters, 3, &last, &why) == STATUS_OK &&
		  ledger_query(worker, read_unsettled, parameters, 4, &unsettled, &why) == STATUS_OK;
	if (!is_fine) {
		worker_lose_session(worker, why.data);
	} else {
		from_s = strtoll(PQgetvalue(last, 0, 0), NULL, 10);
		now_s = strtoll(PQgetvalue(last, 0, 1), NULL, 10);
	}
	for (int row = 0; is_fine && row < PQntuples(unsettled); row++) {
		window.since_s = strtoll(PQgetvalue(unsettled, row, 0), NULL, 10);
		window.until_s = strtoll(PQgetvalue(unsettled, row, 1), NULL, 10);
		is_fine = tell_window(worker, region, &window);
	}
	for (int told = 0; is_fine && told < LEDGER_WINDOWS; told++) {
		if (!ledger_window_next(from_s, now_s, interval_s, &window))
			break;
		is_fine = tell_window(worker, region, &window);
		from_s = window.until_s;
	}
	PQclear(last);
	PQclear(unsettled);
	strbuf_release(&why);
	return is_fine;
}

static enum status resend(struct worker *worker, const char *const *parameters, struct strbuf *why)
{
	PGresult *rows = NULL;
	enum status status = ledger_query(worker, send_again, parameters, 3, &rows, why);
	int64_t count = status == STATUS_OK && PQntuples(rows) > 0 ? strtoll(PQgetvalue(rows, 0, 0), NULL, 10) : 0;

	if (count > 0) {
		LOG_WARN("ledger_resent", "to", parameters[2], "events", log_number(count));
		metric_add(metric_single(METRIC_COUNTER, "homeward_ledger_resent_total",
				   "Events sent again because their destination had lost them."),
			(uint64_t)count);
	}
	PQclear(rows);
	return status;
}

enum status ledger_take_answer(
	struct worker *worker, const struct ledger_message *message, json_t **reply_out, struct strbuf *why)
{
	char keep[NUMBER_SIZE];
	const char *parameters[] = { message->text, worker->settings->region, message->region, keep };
	enum status status = ledger_query(worker, note_answer, parameters, 3, NULL, why);
	PGresult *rows = NULL;

	*reply_out = NULL;
	(void)snprintf(keep, sizeof(keep), "%lld", (long long)worker->settings->events.outbox_keep_s);
	if (status == STATUS_OK && json_object_get(message->data, "again_from") != NULL)
		status = ledger_query(worker, tell_again, parameters, 3, NULL, why);
	if (status == STATUS_OK && json_array_size(json_object_get(message->data, "resend")) > 0)
		status = resend(worker, parameters, why);
	if (status == STATUS_OK && json_object_get(message->data, "ids_after") != NULL) {
		status = ledger_query(worker, read_page, parameters, 4, &rows, why);
		if (status == STATUS_OK && PQntuples(rows) > 0)
			*reply_out = ledger_json(rows, 0, 0);
		PQclear(rows);
	}
	return status;
}

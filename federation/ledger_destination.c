/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has come, compared with what was sent.  Equal sums settle a window; else the
 * ids are asked for, and what is neither in this window nor anywhere in the inbox,
 * though this region had said that it took it, is missing.
 *
 * A database restored from a backup knows neither the events since nor the windows:
 * a window that does not follow one known here is told again from there on.  Rows
 * that vanish otherwise are found by counting the last day's windows every interval.
 *
 * What the inbox may have forgotten by age is not compared: it would be taken twice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "federation/ledger.h"
#include "federation/ledger_sides.h"

#define NUMBER_SIZE 24
#define ROWS_MAX_TEXT "800"
#define ROWS_MAX 800 /* twice a page: more of them are extra, and looked at with the next */

/* Of the window in `l`. */
#define IN_WINDOW                                                                                                      \
	"i.origin = l.origin AND i.outbox_time >= l.since AND i.outbox_time < l.until"                                 \
	" AND (i.destination = l.destination OR i.destination = 'all')"
/* Young enough that the inbox has forgotten none of it, with some room for clocks. */
#define IS_KEPT(seconds) "l.since > now() - 0.9 * " seconds "::bigint * interval '1 second'"
#define ASK_ALL                                                                                                        \
	"'ids_after', CASE WHEN l.state = 'comparing' THEN"                                                            \
	" jsonb_build_object('at', "                                                                                   \
	"homeward.ledger_time(l.since)"                                                                                \
	", 'source', '', 'id', '') END"

/* $1: what was told, $2: by whom, $3: this region, $4: seconds the inbox keeps, $5, $6: what is here. */
static const char take_told[] =
	"WITH l AS (SELECT $1::jsonb AS d, $2 AS origin, $3 AS destination, ($1::jsonb->>'since')::timestamptz AS "
	"since,"
	" ($1::jsonb->>'until')::timestamptz AS until, ($1::jsonb->>'first')::timestamptz AS first),"
	" has AS (SELECT $5::bigint AS taken, homeward.ledger_digest(nullif($6::text, '')::bit(256)) AS ids),"
	" before AS (SELECT max(b.until) AS until FROM l, homeward.ledgers b WHERE b.origin = $2 AND b.destination = $3"
	" AND b.since < l.since),"
	" noted AS (INSERT INTO homeward.ledgers AS old (origin, destination, since, until, sent, dead, ids_sha256, "
	"taken,"
	" resent, state, looked_at) SELECT l.origin, l.destination, l.since, l.until, (d->>'sent')::bigint,"
	" (d->>'dead')::bigint, d->>'ids_sha256', taken, (d->>'resent')::bigint, CASE WHEN NOT (" IS_KEPT(
		"$4") ")"
		      " THEN 'forgotten' WHEN ids = d->>'ids_sha256' THEN 'even' ELSE 'comparing' END, now() FROM l, "
		      "has"
		      " ON CONFLICT (origin, destination, since) DO UPDATE SET until = EXCLUDED.until, sent = "
		      "EXCLUDED.sent,"
		      " dead = EXCLUDED.dead, ids_sha256 = EXCLUDED.ids_sha256, taken = EXCLUDED.taken, resent = "
		      "EXCLUDED.resent,"
		      " awaited = 0, told_at = now(), looked_at = now(), extra = CASE WHEN EXCLUDED.state = 'even' "
		      "THEN 0 ELSE "
		      "old.extra"
		      " END, state = CASE WHEN EXCLUDED.state = 'even' AND old.missing > 0 THEN 'mended' ELSE "
		      "EXCLUDED.state END"
		      " RETURNING *)"
		      " SELECT jsonb_strip_nulls(jsonb_build_object(" LEDGER_WINDOW ", " LEDGER_FOUND ", " ASK_ALL
		      ", 'again_from', CASE WHEN first < l.since AND coalesce(before.until < l.since, true) "
		      "THEN "
		      "homeward.ledger_time(greatest(before.until, first))"
		      " END))::text, l.state FROM noted l, "
		      "before, (SELECT first FROM l) AS "
		      "f";

/* $1: the page, $2: whose, $3: this region, $4, $5: after and up to which key it is. */
static const char read_taken[] =
	"SELECT homeward.ledger_time(i.outbox_time), i.source, i.id FROM homeward.ledgers l, homeward.inbox i,"
	" (SELECT (k->>'at')::timestamptz AS at, k->>'source' AS source, k->>'id' AS id FROM (SELECT"
	" $1::jsonb->'after' AS k) AS a) AS past, (SELECT (k->>'at')::timestamptz AS at, k->>'source' AS source,"
	" k->>'id' AS id FROM (SELECT $1::jsonb->'end' AS k) AS e) AS last WHERE l.origin = $2 AND l.destination ="
	" $3 AND l.since = ($1::jsonb->>'since')::timestamptz AND " IN_WINDOW " AND i.outbox_time >= past.at AND"
	" i.outbox_time <= last.at AND (i.outbox_time, i.source COLLATE \"C\", i.id COLLATE \"C\") > (past.at,"
	" past.source COLLATE \"C\", past.id COLLATE \"C\") AND (i.outbox_time, i.source COLLATE \"C\", i.id"
	" COLLATE \"C\") <= (last.at, last.source COLLATE \"C\", last.id COLLATE \"C\") ORDER BY i.outbox_time,"
	" i.source COLLATE \"C\", i.id COLLATE \"C\" LIMIT " ROWS_MAX_TEXT;
static const char is_comparing[] =
	"SELECT 1 FROM homeward.ledgers l WHERE l.origin = $2 AND l.destination = $3 AND l.since ="
	" ($1::jsonb->>'since')::timestamptz AND l.state = 'comparing' AND " IS_KEPT("$4");
/* What is in the inbox under another time (of before it had one) is not missing.  $4, $5: candidates; $6: how many awaited. */
static const char note_found[] =
	"WITH candidates AS (SELECT (c->>'at')::timestamptz AS at, c->>'source' AS source, c->>'id' AS id FROM"
	" jsonb_array_elements($4::jsonb) AS c), known AS (UPDATE homeward.inbox i SET outbox_time = c.at FROM"
	" candidates c WHERE i.origin = $2 AND i.source = c.source AND i.id = c.id RETURNING i.source, i.id),"
	" missing AS (SELECT c.source, c.id FROM candidates c WHERE NOT EXISTS (SELECT 1 FROM known k WHERE"
	" k.source = c.source AND k.id = c.id)), named AS (INSERT INTO homeward.ledger_differences (origin,"
	" destination, since, source, id, kind) SELECT $2, $3, ($1::jsonb->>'since')::timestamptz, source, id,"
	" 'missing' FROM missing ON CONFLICT (origin, destination, since, source, id) DO UPDATE SET kind ="
	" 'missing', found_at = now()), extra AS (INSERT INTO homeward.ledger_differences (origin, destination,"
	" since, source, id, kind) SELECT $2, $3, ($1::jsonb->>'since')::timestamptz, e->>'source', e->>'id',"
	" 'extra' FROM jsonb_array_elements($5::jsonb) AS e ON CONFLICT DO NOTHING), l AS (UPDATE homeward.ledgers"
	" l SET awaited = l.awaited + $6::bigint, taken = l.taken + (SELECT count(*) FROM known) WHERE l.origin ="
	" $2 AND l.destination = $3 AND l.since = ($1::jsonb->>'since')::timestamptz RETURNING *) SELECT"
	" jsonb_build_object(" LEDGER_WINDOW ", " LEDGER_FOUND ", 'resend', coalesce((SELECT jsonb_agg(to_jsonb(m))"
	" FROM missing m), '[]'))::text FROM l";
static const char read_found[] =
	"SELECT count(*) FILTER (WHERE kind = 'missing' AND found_at >= l.looked_at), count(*) FILTER (WHERE kind ="
	" 'extra'), l.awaited, count(*) FILTER (WHERE kind = 'missing'), count(*) FILTER (WHERE kind = 'extra' AND"
	" found_at >= l.looked_at), l.sent, l.taken FROM homeward.ledgers l LEFT JOIN homeward.ledger_differences d"
	" USING (origin, destination, since) WHERE l.origin = $2 AND l.destination = $3 AND l.since ="
	" ($1::jsonb->>'since')::timestamptz GROUP BY l.origin, l.destination, l.since";
static const char note_state[] =
	"UPDATE homeward.ledgers l SET state = $4, missing = $5::bigint, extra = $6::bigint WHERE l.origin = $2 AND"
	" l.destination = $3 AND l.since = ($1::jsonb->>'since')::timestamptz";
/* $1: this region, $2: seconds the inbox keeps. */
static const char read_recent[] =
	"SELECT l.origin, homeward.ledger_time(l.since), homeward.ledger_time(l.until), l.taken FROM homeward.ledgers l"
	" WHERE l.destination = $1 AND l.origin <> $1 AND " IS_KEPT(
		"$2") " AND l.since > now() - interval '1 day' AND l.state IN ('even', 'mended', 'extra') ORDER BY"
		      " l.since";
/* $1: this region, $2: the other, $3: the window, $4: what is here. */
static const char compare_again[] =
	"WITH l AS (UPDATE homeward.ledgers l SET state = 'comparing', looked_at = now(), awaited = 0, taken = "
	"$4::bigint WHERE l.destination = $1 AND l.origin = $2 AND l.since = $3::timestamptz AND l.state IN ('even',"
	" 'mended', 'extra') RETURNING l.*) SELECT jsonb_build_object(" LEDGER_WINDOW ", " LEDGER_FOUND ", " ASK_ALL
	")::text FROM l";

static void count_state(const char *state)
{
	metric_add(
		metric_series(metric_register(METRIC_COUNTER, "homeward_ledger_windows_total",
				      "Windows of other regions' ledgers compared with the inbox, by what came of it.",
				      "state"),
			state, NULL),
		1);
}

enum status ledger_take_told(
	struct worker *worker, const struct ledger_message *message, json_t **reply_out, struct strbuf *why)
{
	char keep[NUMBER_SIZE], taken[NUMBER_SIZE];
	const char *parameters[] = { message->text, message->region, worker->settings->region, keep, taken,
		message->taken.hash };
	PGresult *rows = NULL;
	enum status status;

	*reply_out = NULL;
	(void)snprintf(keep, sizeof(keep), "%lld", (long long)worker->settings->events.inbox_keep_s);
	(void)snprintf(taken, sizeof(taken), "%lld", (long long)message->taken.events);
	status = ledger_query(worker, take_told, parameters, 6, &rows, why);
	if (status == STATUS_OK && PQntuples(rows) > 0) {
		*reply_out = ledger_json(rows, 0, 0);
		if (strcmp(PQgetvalue(rows, 0, 1), "comparing") != 0)
			count_state(PQgetvalue(rows, 0, 1));
	}
	PQclear(rows);
	return status;
}

/* ---- a page of ids ---- */

struct comparison {
	struct ledger_item *items;
	struct ledger_row rows[ROWS_MAX];
	size_t item_count, row_count, awaited;
	json_t *missing, *extra;
};

static struct ledger_key key_of(const json_t *object)
{
	return (struct ledger_key){ json_get_string(object, "at"), json_get_string(object, "source"),
		json_get_string(object, "id") };
}

static json_t *key_json(const struct ledger_key *key)
{
	return json_pack("{s:s,s:s,s:s}", "at", key->at, "source", key->source, "id", key->id);
}

static enum ledger_word word_of(const json_t *item)
{
	const char *word = json_get_string(item, "word");

	if (word == NULL || strcmp(word, "other") == 0)
		return LEDGER_OTHER;
	return strcmp(word, "applied") == 0 ? LEDGER_TAKEN : LEDGER_WAITED;
}

/* Borrows from the page and from the rows. */
static enum status compare(struct comparison *comparison, const json_t *ids, const PGresult *taken)
{
	comparison->items = calloc(json_array_size(ids) + 1, sizeof(*comparison->items));
	comparison->missing = json_array();
	comparison->extra = json_array();
	if (comparison->items == NULL || comparison->missing == NULL || comparison->extra == NULL)
		return STATUS_NO_MEMORY;
	for (int row = 0; row < PQntuples(taken); row++)
		comparison->rows[comparison->row_count++].key = (struct ledger_key){ PQgetvalue(taken, row, 0),
			PQgetvalue(taken, row, 1), PQgetvalue(taken, row, 2) };
	for (size_t i = 0; i < json_array_size(ids); i++) {
		struct ledger_item item = { .key = key_of(json_array_get(ids, i)),
			.word = word_of(json_array_get(ids, i)) };

		/* Rows were cut off: what is behind them is for the next page. */
		if (comparison->row_count == ROWS_MAX &&
			ledger_key_compare(&item.key, &comparison->rows[ROWS_MAX - 1].key) > 0)
			break;
		comparison->items[comparison->item_count++] = item;
	}
	comparison->awaited = ledger_compare(
		comparison->items, comparison->item_count, comparison->rows, comparison->row_count);
	for (size_t i = 0; i < comparison->item_count; i++)
		if (comparison->items[i].is_missing)
			(void)json_array_append_new(comparison->missing, key_json(&comparison->items[i].key));
	for (size_t i = 0; i < comparison->row_count; i++)
		if (comparison->rows[i].is_extra)
			(void)json_array_append_new(comparison->extra, key_json(&comparison->rows[i].key));
	return STATUS_OK;
}

static void comparison_release(struct comparison *comparison)
{
	json_decref(comparison->missing);
	json_decref(comparison->extra);
	free(comparison->items);
}

/* What is missing becomes the reply's `resend`. */
static enum status note(struct worker *worker, const char *const *window, const struct comparison *comparison,
	json_t **reply_out, struct strbuf *why)
{
	char *missing = json_dumps(comparison->missing, JSON_COMPACT),
	     *extra = json_dumps(comparison->extra, JSON_COMPACT);
	char awaited[NUMBER_SIZE];
	const char *parameters[] = { window[0], window[1], window[2], missing, extra, awaited };
	enum status status = STATUS_NO_MEMORY;
	PGresult *rows = NULL;

	(void)snprintf(awaited, sizeof(awaited), "%zu", comparison->awaited);
	if (missing != NULL && extra != NULL)
		status = ledger_query(worker, note_found, parameters, 6, &rows, why);
	if (status == STATUS_OK && PQntuples(rows) > 0)
		*reply_out = ledger_json(rows, 0, 0);
	PQclear(rows);
	free(missing);
	free(extra);
	return status;
}

static void say(struct worker *worker, const struct system_ledger *found)
{
	static const char help[] = "Events that are missing, or extra, by a ledger of another region.";
	struct metric *metric = metric_register(METRIC_COUNTER, "homeward_ledger_differences_total", help, "kind");

	metric_add(metric_series(metric, "missing", NULL), (uint64_t)found->missing);
	metric_add(metric_series(metric, "extra", NULL), (uint64_t)found->extra);
	LOG_WARN("ledger_difference", "from", found->from, "to", found->to, "since", found->since, "missing",
		log_number(found->missing), "extra", log_number(found->extra));
	system_say_ledger(worker->system, found);
}

/* The last page: what the window comes to. */
static enum status finish(struct worker *worker, const struct ledger_message *message, const char *const *window,
	json_t *reply, struct strbuf *why)
{
	char missing[NUMBER_SIZE], extra[NUMBER_SIZE];
	const char *parameters[] = { window[0], window[1], window[2], NULL, missing, extra };
	struct system_ledger found = { .from = window[1],
		.to = window[2],
		.since = json_get_string(message->data, "since"),
		.until = json_get_string(message->data, "until") };
	struct ledger_counts counts;
	PGresult *rows = NULL;
	enum status status = ledger_query(worker, read_found, parameters, 3, &rows, why);

	if (status != STATUS_OK || PQntuples(rows) == 0)
		goto out;
	counts = (struct ledger_counts){ strtoll(PQgetvalue(rows, 0, 0), NULL, 10),
		strtoll(PQgetvalue(rows, 0, 1), NULL, 10), strtoll(PQgetvalue(rows, 0, 2), NULL, 10),
		strtoll(PQgetvalue(rows, 0, 3), NULL, 10) };
	found.missing = counts.missing;
	found.extra = strtoll(PQgetvalue(rows, 0, 4), NULL, 10);
	found.sent = strtoll(PQgetvalue(rows, 0, 5), NULL, 10);
	found.taken = strtoll(PQgetvalue(rows, 0, 6), NULL, 10);
	parameters[3] = ledger_state(&counts);
	(void)snprintf(missing, sizeof(missing), "%lld", (long long)counts.missing_ever);
	(void)snprintf(extra, sizeof(extra), "%lld", (long long)counts.extra);
	status = ledger_query(worker, note_state, parameters, 6, NULL, why);
	if (status != STATUS_OK)
		goto out;
	(void)json_object_set_new(reply, "state", json_string(parameters[3]));
	(void)json_object_set_new(reply, "missing", json_integer(counts.missing_ever));
	(void)json_object_set_new(reply, "extra", json_integer(counts.extra));
	count_state(parameters[3]);
	if (found.missing > 0 || found.extra > 0)
		say(worker, &found);
out:
	PQclear(rows);
	return status;
}

enum status ledger_take_ids(
	struct worker *worker, const struct ledger_message *message, json_t **reply_out, struct strbuf *why)
{
	char keep[NUMBER_SIZE];
	const char *parameters[] = { message->text, message->region, worker->settings->region, keep };
	const json_t *page = message->data;
	struct comparison *comparison = calloc(1, sizeof(*comparison));
	PGresult *rows = NULL;
	bool is_last = false, is_ours = false;
	enum status status;

	*reply_out = NULL;
	if (comparison == NULL)
		return STATUS_NO_MEMORY;
	(void)snprintf(keep, sizeof(keep), "%lld", (long long)worker->settings->events.inbox_keep_s);
	status = ledger_query(worker, is_comparing, parameters, 4, &rows, why);
	is_ours = status == STATUS_OK && PQntuples(rows) > 0;
	PQclear(rows);
	rows = NULL;
	if (!is_ours)
		goto out; /* a page of a comparison that is over */
	status = ledger_query(worker, read_taken, parameters, 3, &rows, why);
	if (status == STATUS_OK)
		status = compare(comparison, json_object_get(page, "ids"), rows);
	if (status == STATUS_OK)
		status = note(worker, parameters, comparison, reply_out, why);
	if (status != STATUS_OK || *reply_out == NULL)
		goto out;
	(void)json_get_boolean(page, "is_last", &is_last);
	if (comparison->row_count == ROWS_MAX)
		(void)json_object_set_new(*reply_out, "ids_after", key_json(&comparison->rows[ROWS_MAX - 1].key));
	else if (!is_last)
		(void)json_object_set(*reply_out, "ids_after", json_object_get(page, "end"));
	else
		status = finish(worker, message, parameters, *reply_out, why);
out:
	PQclear(rows);
	comparison_release(comparison);
	free(comparison);
	return status;
}

/* One window; *has_asked_out: it has another number of events by now, and their ids are asked for. */
static bool look_at(struct worker *worker, const PGresult *windows, int row, bool *has_asked_out)
{
	const char *origin = PQgetvalue(windows, row, 0), *since = PQgetvalue(windows, row, 1);
	char taken[NUMBER_SIZE];
	const char *parameters[] = { worker->settings->region, origin, since, taken };
	struct strbuf why = STRBUF_INIT;
	PGresult *rows = NULL;
	struct ledger_sums sums;
	json_t *data = NULL;
	bool is_fine = ledger_count(worker, LEDGER_COUNT_ROWS, origin, since, PQgetvalue(windows, row, 2), &sums,
			       &why) == STATUS_OK;

	(void)snprintf(taken, sizeof(taken), "%lld", (long long)sums.events);
	*has_asked_out = is_fine && strcmp(taken, PQgetvalue(windows, row, 3)) != 0;
	if (*has_asked_out)
		is_fine = ledger_query(worker, compare_again, parameters, 4, &rows, &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_session(worker, why.data);
	if (*has_asked_out && is_fine && PQntuples(rows) > 0)
		data = ledger_json(rows, 0, 0);
	if (data != NULL)
		is_fine = ledger_send(worker, LEDGER_ANSWER_TYPE, origin, data);
	PQclear(rows);
	strbuf_release(&why);
	return is_fine;
}

bool ledger_look_again(struct worker *worker)
{
	char keep[NUMBER_SIZE];
	const char *parameters[] = { worker->settings->region, keep };
	struct strbuf why = STRBUF_INIT;
	PGresult *rows = NULL;
	int asked = 0;
	bool is_fine, has_asked;

	(void)snprintf(keep, sizeof(keep), "%lld", (long long)worker->settings->events.inbox_keep_s);
	is_fine = ledger_query(worker, read_recent, parameters, 2, &rows, &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_session(worker, why.data);
	for (int row = 0; is_fine && asked < LEDGER_WINDOWS && row < PQntuples(rows); row++) {
		is_fine = look_at(worker, rows, row, &has_asked);
		asked += has_asked;
	}
	PQclear(rows);
	strbuf_release(&why);
	return is_fine;
}

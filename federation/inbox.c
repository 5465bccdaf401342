/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch is written by a few statements over arrays, however many events it has.
 * A trigger of an application on the inbox is where its effect belongs, so rows are
 * inserted in the order of their streams, and never before their turn.
 *
 * The number of an event that was not taken counts as taken: nobody need wait for it.
 *
 * An event that the database refuses by itself (a trigger, say) must not hold up
 * the others: then the batch is written one by one, and what fails alone becomes a
 * dead letter.
 */
#include "federation/inbox.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "federation/canary_sender.h"
#include "federation/ledger_work.h"
#include "federation/order.h"
#include "federation/receipts.h"

/* A probe for each: a join might read the whole table. */
static const char read_streams[] =
	"SELECT g.n, s.last FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY"
	" AS g(origin, source, subject, destination, n) CROSS JOIN LATERAL (SELECT last FROM homeward.streams t WHERE"
	" (t.origin, t.source, t.subject, t.destination) = (g.origin, g.source, g.subject, g.destination) LIMIT 1) AS "
	"s";
static const char write_streams[] =
	"INSERT INTO homeward.streams AS s (origin, source, subject, destination, last)"
	" SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])"
	" ON CONFLICT (origin, source, subject, destination) DO UPDATE SET last = greatest(s.last, EXCLUDED.last)";
static const char write_events[] =
	"WITH written AS (INSERT INTO homeward.inbox"
	" (origin, source, id, type, subject, destination, sequence, event, late, outbox_time)"
	" SELECT e->>'originregion', e->>'source', e->>'id', e->>'type', coalesce(e->>'subject', ''), "
	"e->>'destination',"
	" coalesce(e->>'sequence', '0')::bigint, e, late, (e->>'outboxtime')::timestamptz FROM (SELECT t::jsonb AS e, "
	"late, n"
	" FROM unnest($1::text[], $2::bool[]) WITH ORDINALITY AS u(t, late, n) ORDER BY n) AS given"
	" ON CONFLICT (origin, source, id) DO NOTHING RETURNING late, origin)"
	" SELECT count(*), count(*) FILTER (WHERE late), (SELECT coalesce(json_object_agg(origin, n), '{}')"
	" FROM (SELECT origin, count(*) AS n FROM written GROUP BY origin) AS o) FROM written";
static const char write_held[] =
	"INSERT INTO homeward.held (origin, source, subject, destination, sequence, first, id, type, event)"
	" SELECT o, s, b, d, q, f, coalesce(e->>'id', ''), coalesce(e->>'type', ''), e FROM (SELECT o, s, b, d, q, f,"
	" nullif(t, '')::jsonb AS e FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], "
	"$6::bigint[],"
	" $7::text[]) AS u(o, s, b, d, q, f, t)) AS given ON CONFLICT DO NOTHING";
static const char write_dead[] = "INSERT INTO homeward.dead_letters (reason, detail, routing_key, body)"
				 " VALUES ($1, $2, $3, decode($4, 'hex'))";

/* Arrays of streams, a number of each, and a text of each. */
struct columns {
	struct strbuf origins, sources, subjects, destinations, numbers, firsts, texts;
	size_t count;
};

/* A batch being written: items[i] is of arrivals[i] once they are in order. */
struct writing {
	struct order_item *items;
	int64_t *last; /* of each stream */
	uint64_t events, written, late, held;
	json_t *written_by; /* how many of each origin; read only where some were there before */
};

void inbox_count(const char *outcome, uint64_t amount)
{
	if (amount > 0)
		metric_add(metric_series(metric_register(METRIC_COUNTER, "homeward_events_received_total",
						 "Events that arrived, by what became of them.", "outcome"),
				   outcome, NULL),
			amount);
}

bool inbox_is_data_fault(enum status status)
{
	return status == STATUS_INTERNAL || status == STATUS_CONFLICT;
}

enum status inbox_end(struct worker *worker, enum status status, struct strbuf *why)
{
	if (status == STATUS_OK)
		return database_session_script(worker->session, "COMMIT", WORKER_QUERY_MS, why);
	if (database_session_script(worker->session, "ROLLBACK", WORKER_QUERY_MS, NULL) != STATUS_OK)
		return STATUS_UNREACHABLE;
	return status;
}

/* ---- arrays ---- */

static void columns_begin(struct columns *columns)
{
	struct strbuf *arrays[] = { &columns->origins, &columns->sources, &columns->subjects, &columns->destinations,
		&columns->numbers, &columns->firsts, &columns->texts };

	columns->count = 0;
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		strbuf_init(arrays[i]);
		strbuf_addc(arrays[i], '{');
	}
}

static void add_text(struct strbuf *array, const char *text, bool is_first)
{
	database_array_add(array, text, strlen(text), is_first);
}

static void columns_add(
	struct columns *columns, const struct order_item *item, int64_t number, const char *text, size_t length)
{
	const struct order_stream *stream = &item->stream;
	bool is_first = columns->count++ == 0;

	add_text(&columns->origins, stream->origin, is_first);
	add_text(&columns->sources, stream->source, is_first);
	add_text(&columns->subjects, stream->subject, is_first);
	add_text(&columns->destinations, stream->destination, is_first);
	strbuf_addf(&columns->numbers, "%s%" PRId64, is_first ? "" : ",", number);
	strbuf_addf(&columns->firsts, "%s%" PRId64, is_first ? "" : ",", item->first);
	database_array_add(&columns->texts, text, length, is_first);
}

/* Runs the statement with the first `used` arrays, and releases them all. */
static enum status columns_run(struct worker *worker, struct columns *columns, const char *sql, int used,
	PGresult **result_out, struct strbuf *why)
{
	struct strbuf *arrays[] = { &columns->origins, &columns->sources, &columns->subjects, &columns->destinations,
		&columns->numbers, &columns->firsts, &columns->texts };
	const char *parameters[sizeof(arrays) / sizeof(arrays[0])];
	enum status status = STATUS_OK;

	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		strbuf_addc(arrays[i], '}');
		parameters[i] = arrays[i]->data;
		if (!strbuf_ok(arrays[i]))
			status = STATUS_NO_MEMORY;
	}
	if (status == STATUS_OK && columns->count > 0)
		status = database_session_query(
			worker->session, sql, parameters, used, WORKER_QUERY_MS, result_out, why);
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
		strbuf_release(arrays[i]);
	return status;
}

bool inbox_has(const struct arrival *arrival)
{
	return arrival_is_kept(arrival) && !arrival->is_held;
}

/* ---- order ---- */

static void writing_release(struct writing *writing)
{
	free(writing->items);
	free(writing->last);
	json_decref(writing->written_by);
}

/* What is known to be of a stream has its number there, whether it is taken or dead. */
static struct order_item make_item(const struct arrival *arrival, size_t index)
{
	const struct event *event = &arrival->event;
	struct order_item item = { .stream = { "", "", "", "" }, .index = index };

	if (event->envelope == NULL || event->sequence == 0 || arrival_is_own(arrival))
		return item;
	item.stream = (struct order_stream){ event->origin, event->source, event->subject, event->destination };
	item.sequence = event->sequence;
	item.first = event->first;
	return item;
}

static enum status read_last(struct worker *worker, struct writing *writing, size_t item_count, struct strbuf *why)
{
	struct columns columns;
	PGresult *result = NULL;
	enum status status;

	columns_begin(&columns);
	for (size_t i = 0; i < item_count; i++)
		if (i == 0 || writing->items[i].stream_number != writing->items[i - 1].stream_number)
			columns_add(&columns, &writing->items[i], 0, "", 0);
	status = columns_run(worker, &columns, read_streams, 4, &result, why);
	for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++) {
		size_t stream = (size_t)strtoull(PQgetvalue(result, row, 0), NULL, 10) - 1;

		writing->last[stream] = strtoll(PQgetvalue(result, row, 1), NULL, 10);
	}
	PQclear(result);
	return status;
}

/* Brings the arrivals into the order to take them in, each beside its item. */
static enum status bring_in_order(
	struct worker *worker, struct arrivals *arrivals, struct writing *writing, struct strbuf *why)
{
	size_t count = arrivals->count;
	struct arrival *ordered = calloc(count, sizeof(*ordered));
	enum status status = STATUS_NO_MEMORY;

	writing->items = calloc(count, sizeof(*writing->items));
	writing->last = calloc(count, sizeof(*writing->last));
	if (ordered == NULL || writing->items == NULL || writing->last == NULL)
		goto out;
	for (size_t i = 0; i < count; i++)
		writing->items[i] = make_item(&arrivals->items[i], i);
	(void)order_sort(writing->items, count);
	status = read_last(worker, writing, count, why);
	if (status != STATUS_OK)
		goto out;
	order_decide(writing->items, count, writing->last);
	for (size_t i = 0; i < count; i++) {
		ordered[i] = arrivals->items[writing->items[i].index];
		ordered[i].is_held = writing->items[i].verdict == ORDER_AHEAD && arrival_is_kept(&ordered[i]);
	}
	memcpy(arrivals->items, ordered, count * sizeof(*ordered));
out:
	free(ordered);
	return status;
}

/* ---- one transaction ---- */

static enum status write_taken(
	struct worker *worker, const struct arrivals *arrivals, struct writing *writing, struct strbuf *why)
{
	struct strbuf array = STRBUF_INIT, late = STRBUF_INIT;
	const char *parameters[2];
	PGresult *result = NULL;
	enum status status = STATUS_OK;

	strbuf_addc(&array, '{');
	strbuf_addc(&late, '{');
	for (size_t i = 0; i < arrivals->count; i++) {
		const struct arrival *arrival = &arrivals->items[i];
		bool is_first = writing->events == 0;

		if (!inbox_has(arrival))
			continue;
		writing->events++;
		database_array_add(&array, arrival->body.data, arrival->body.length, is_first);
		strbuf_adds(&late, is_first ? "" : ",");
		strbuf_addc(&late, writing->items[i].verdict == ORDER_LATE ? 't' : 'f');
	}
	strbuf_addc(&array, '}');
	strbuf_addc(&late, '}');
	parameters[0] = array.data;
	parameters[1] = late.data;
	if (!strbuf_ok(&array) || !strbuf_ok(&late))
		status = STATUS_NO_MEMORY;
	if (status == STATUS_OK && writing->events > 0)
		status = database_session_query(
			worker->session, write_events, parameters, 2, WORKER_QUERY_MS, &result, why);
	if (status == STATUS_OK && result != NULL) {
		writing->written = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
		writing->late = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
		if (writing->written < writing->events)
			writing->written_by = json_loads(PQgetvalue(result, 0, 2), 0, NULL);
	}
	PQclear(result);
	strbuf_release(&array);
	strbuf_release(&late);
	return status;
}

static enum status write_ahead(
	struct worker *worker, const struct arrivals *arrivals, struct writing *writing, struct strbuf *why)
{
	struct columns columns;
	PGresult *result = NULL;
	enum status status;

	columns_begin(&columns);
	for (size_t i = 0; i < arrivals->count; i++) {
		const struct arrival *arrival = &arrivals->items[i];
		const struct order_item *item = &writing->items[i];

		if (item->verdict == ORDER_AHEAD)
			columns_add(&columns, item, item->sequence, arrival->body.data,
				arrival->is_held ? arrival->body.length : 0);
	}
	status = columns_run(worker, &columns, write_held, 7, &result, why);
	if (status == STATUS_OK && result != NULL) {
		writing->held = strtoull(PQcmdTuples(result), NULL, 10);
		worker->is_holding = true;
	}
	PQclear(result);
	return status;
}

static enum status write_last(
	struct worker *worker, const struct writing *writing, size_t item_count, struct strbuf *why)
{
	struct columns columns;

	columns_begin(&columns);
	for (size_t i = 0; i < item_count; i++) {
		size_t stream = writing->items[i].stream_number;

		/* By its last one; those of the batch are locked in one order by nobody else (INBOX_BEGIN). */
		if (writing->items[i].verdict == ORDER_NEXT && writing->items[i].sequence == writing->last[stream])
			columns_add(&columns, &writing->items[i], writing->last[stream], "", 0);
	}
	return columns_run(worker, &columns, write_streams, 5, NULL, why);
}

static enum status write_dead_letter(struct worker *worker, const struct arrival *arrival, struct strbuf *why)
{
	struct strbuf hex = STRBUF_INIT, key = STRBUF_INIT;
	const char *parameters[] = { event_verdict_name(arrival->verdict), arrival->why.data, NULL, NULL };
	enum status status = STATUS_NO_MEMORY;

	strbuf_add_hex(&hex, arrival->body.data, arrival->body.length);
	strbuf_add_json(&key, arrival->key.data, arrival->key.length); /* it may hold anything; this is text */
	if (strbuf_ok(&hex) && strbuf_ok(&key)) {
		parameters[2] = key.data;
		parameters[3] = hex.data;
		status = database_session_query(worker->session, write_dead, parameters, 4, WORKER_QUERY_MS, NULL, why);
	}
	strbuf_release(&hex);
	strbuf_release(&key);
	return status;
}

/* What is not for the inbox: dead letters, and what other regions' homeward has to say. */
static enum status write_other(struct worker *worker, const struct arrival *arrival, struct strbuf *why)
{
	if (arrival->verdict >= EVENT_DEAD_MALFORMED)
		return write_dead_letter(worker, arrival, why);
	if (arrival->verdict != EVENT_TAKE)
		return STATUS_OK;
	if (strcmp(arrival->event.type, RECEIPT_TYPE) == 0)
		return receipts_take(worker, &arrival->event, why);
	return ledger_is_message(&arrival->event) ? ledger_keep(worker, &arrival->event, why) : STATUS_OK;
}

/* By origin: what was given to the inbox, less what it took. */
static void count_duplicates(struct worker *worker, const struct arrivals *arrivals, const struct writing *writing)
{
	const char *origin;
	json_t *written;

	for (size_t i = 0; writing->written < writing->events && i < arrivals->count; i++)
		if (inbox_has(&arrivals->items[i]))
			canary_count(worker->canary, arrivals->items[i].event.origin, CANARY_DUPLICATES, 1);
	json_object_foreach(writing->written_by, origin, written)
	{
		canary_count(worker->canary, origin, CANARY_DUPLICATES, -json_integer_value(written));
	}
}

static enum status write_batch(struct worker *worker, struct arrivals *arrivals, struct strbuf *why)
{
	struct writing writing = { 0 };
	enum status status = database_session_script(worker->session, INBOX_BEGIN, WORKER_QUERY_MS, why);

	if (status == STATUS_OK)
		status = bring_in_order(worker, arrivals, &writing, why);
	if (status == STATUS_OK)
		status = write_taken(worker, arrivals, &writing, why);
	if (status == STATUS_OK)
		status = write_ahead(worker, arrivals, &writing, why);
	if (status == STATUS_OK)
		status = write_last(worker, &writing, arrivals->count, why);
	for (size_t i = 0; i < arrivals->count && status == STATUS_OK; i++)
		status = write_other(worker, &arrivals->items[i], why);
	status = inbox_end(worker, status, why);
	if (status == STATUS_OK) {
		for (size_t i = 0; i < arrivals->count; i++)
			arrivals->items[i].is_new = inbox_has(&arrivals->items[i]) && writing.written == writing.events;
		inbox_count("taken", writing.written);
		inbox_count("late", writing.late);
		inbox_count("held", writing.held);
		inbox_count("duplicate", writing.events - writing.written);
		count_duplicates(worker, arrivals, &writing);
	}
	writing_release(&writing);
	return status;
}

/* Each in a transaction of its own; one that fails by itself turns into a dead letter. */
static enum status write_singly(struct worker *worker, struct arrivals *arrivals, struct strbuf *why)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < arrivals->count && status == STATUS_OK; i++) {
		struct arrivals one = { &arrivals->items[i], 1 };
		struct arrival *arrival = one.items;

		if (arrival->is_written)
			continue;
		strbuf_reset(why);
		status = write_batch(worker, &one, why);
		if (inbox_is_data_fault(status) && arrival->verdict == EVENT_TAKE) {
			arrival->verdict = EVENT_DEAD_MALFORMED;
			strbuf_reset(&arrival->why);
			strbuf_adds(&arrival->why, why->data);
			strbuf_reset(why);
			status = write_batch(worker, &one, why);
		}
		arrival->is_written = status == STATUS_OK;
	}
	return status;
}

enum status inbox_write(struct worker *worker, struct arrivals *arrivals, struct strbuf *why)
{
	enum status status = write_batch(worker, arrivals, why);

	return inbox_is_data_fault(status) ? write_singly(worker, arrivals, why) : status;
}

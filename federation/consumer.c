/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer, on a thread of its own.  A batch of deliveries is judged, written
 * in one transaction (an event met before changes nothing), passed on to
 * homeward.delivered with confirmations, and only then acknowledged.  A crash in
 * between brings the deliveries back, and the inbox knows which are new.
 *
 * While the database is away the batch is kept and the connection held: giving the
 * deliveries back would count against the queue's delivery limit.
 *
 * An event that the database refuses by itself (a trigger of an application, say)
 * must not hold up the others: then the batch is written one by one, and what
 * fails alone becomes a dead letter.
 */
#include "federation/consumer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "federation/canary_sender.h"
#include "federation/event.h"
#include "federation/federation.h"
#include "federation/receipts.h"

#define BATCH_MAX 500 /* deliveries a transaction; more only makes a failed one dearer */
#define SETTLE_MS 30000

struct arrival {
	uint64_t tag;
	struct strbuf key, body;
	bool is_from_link;
	char link_origin[REGION_SIZE];
	enum event_verdict verdict;
	struct strbuf why;
	struct event event; /* while the verdict is EVENT_TAKE */
	const struct event_schema *schema;
	bool is_written;
};

static const char write_events[] =
	"INSERT INTO homeward.inbox (origin, source, id, type, subject, destination, sequence, event)"
	" SELECT e->>'originregion', e->>'source', e->>'id', e->>'type', coalesce(e->>'subject', ''), "
	"e->>'destination',"
	" coalesce(e->>'sequence', '0')::bigint, e FROM (SELECT t::jsonb AS e FROM unnest($1::text[]) AS t) AS given"
	" ON CONFLICT (origin, source, id) DO NOTHING";
static const char read_undelivered[] =
	"SELECT DISTINCT i.origin, i.type, i.id, i.event::text, i.source FROM (SELECT t::jsonb AS e FROM"
	" unnest($1::text[]) AS t) AS given JOIN homeward.inbox i ON i.origin = e->>'originregion'"
	" AND i.source = e->>'source' AND i.id = e->>'id' WHERE i.delivered_at IS NULL";
static const char mark_delivered[] =
	"UPDATE homeward.inbox i SET delivered_at = now() FROM (SELECT t::jsonb AS e FROM unnest($1::text[]) AS t)"
	" AS given WHERE i.origin = e->>'originregion' AND i.source = e->>'source' AND i.id = e->>'id'"
	" AND i.delivered_at IS NULL";
static const char write_dead[] = "INSERT INTO homeward.dead_letters (reason, detail, routing_key, body)"
				 " VALUES ($1, $2, $3, decode($4, 'hex'))";

static void count(const char *outcome, uint64_t amount)
{
	if (amount > 0)
		metric_add(metric_series(metric_register(METRIC_COUNTER, "homeward_events_received_total",
						 "Events that arrived, by what became of them.", "outcome"),
				   outcome, NULL),
			amount);
}

static enum status prepare(struct worker *worker, struct strbuf *why)
{
	return broker_consume(worker->broker, MESH_INBOX, (int)worker->settings->events.prefetch, why);
}

/* ---- taking deliveries ---- */

static void release_arrivals(struct arrival *arrivals, size_t arrival_count)
{
	for (size_t i = 0; i < arrival_count; i++) {
		strbuf_release(&arrivals[i].key);
		strbuf_release(&arrivals[i].body);
		strbuf_release(&arrivals[i].why);
		event_release(&arrivals[i].event);
	}
}

/*
 * The link's far end.  With a mesh file it is told by the address that this region's own broker has for the link; without
 * one by what the far broker calls itself, which it could make up.
 */
static void find_origin(const struct worker *worker, const struct broker_news *news, struct arrival *arrival)
{
	const char *origin = worker->mesh != NULL ? mesh_link_origin(worker->mesh, news->link_uri) : news->link_cluster;

	arrival->is_from_link = news->is_from_link;
	memccpy(arrival->link_origin, origin, '\0', sizeof(arrival->link_origin) - 1);
}

/* Data that does not follow the schema it names, or names one that is not known here. */
static bool check_data(const struct worker *worker, struct arrival *arrival)
{
	const struct event *event = &arrival->event;

	if (arrival->is_from_link && !event->has_exchange) {
		strbuf_adds(&arrival->why, "exchangeid: missing");
		return false;
	}
	if (event->schema[0] == '\0')
		return true;
	arrival->schema = event_schema_find(worker->schemas, event->type, event->schema);
	if (arrival->schema == NULL)
		strbuf_adds(&arrival->why, "dataschema: no schema of this name for this type");
	return arrival->schema != NULL && event_schema_check(arrival->schema, json_object_get(event->envelope, "data"),
						  &arrival->why) == STATUS_OK;
}

/* Judged at once; the buffers are handed over. */
static void add_arrival(struct worker *worker, struct broker_news *news, struct arrival *arrival)
{
	struct event_arrival question;

	*arrival = (struct arrival){ .tag = news->tag, .key = news->key, .body = news->body };
	find_origin(worker, news, arrival);
	strbuf_init(&news->key);
	strbuf_init(&news->body);
	strbuf_init(&arrival->why);
	question = (struct event_arrival){ worker->settings->region, arrival->key.data, arrival->key.length,
		arrival->is_from_link ? arrival->link_origin : NULL, arrival->body.data, arrival->body.length,
		clock_wall_us(clock_system()) };
	arrival->verdict = event_judge(&question, &arrival->event, &arrival->why);
	if (arrival->verdict == EVENT_TAKE && !check_data(worker, arrival))
		arrival->verdict = EVENT_DEAD_MALFORMED;
	else if (canary_take(worker->canary, &arrival->event, arrival->verdict == EVENT_DEAD_EXPIRED))
		arrival->verdict = EVENT_TAKE;
}

/*
 * Heartbeats and confirmations go on while a batch is under way; deliveries that come meanwhile are kept for the next
 * one.  All that has come is taken.  False when the broker was lost.
 */
static bool listen_on(struct worker *worker, int64_t timeout_ms, struct arrival *next, size_t *next_count)
{
	struct broker_news news;

	do {
		if (!worker_listen(worker, timeout_ms, &news))
			return false;
		if (news.happening == BROKER_DELIVERED)
			add_arrival(worker, &news, &next[(*next_count)++]);
		broker_news_release(&news);
		timeout_ms = 0;
	} while (news.happening != BROKER_NOTHING && !confirms_all_settled(&worker->confirms));
	return true;
}

/* One batch: whatever has come within a turn, at most BATCH_MAX.  False when the broker was lost. */
static bool gather(struct worker *worker, struct arrival *arrivals, size_t *count_out)
{
	int64_t timeout_ms = WORKER_TURN_MS;

	*count_out = 0;
	while (*count_out < BATCH_MAX) {
		struct broker_news news;

		if (!worker_listen(worker, timeout_ms, &news))
			return false;
		if (news.happening == BROKER_DELIVERED)
			add_arrival(worker, &news, &arrivals[(*count_out)++]);
		broker_news_release(&news);
		if (news.happening == BROKER_NOTHING)
			return true;
		timeout_ms = 0;
	}
	return true;
}

/* ---- the gate ---- */

static bool is_own(const struct arrival *arrival)
{
	return strncmp(arrival->event.type, EVENT_OWN_PREFIX, strlen(EVENT_OWN_PREFIX)) == 0;
}

static bool is_gated(const struct worker *worker, const struct arrival *arrival)
{
	return arrival->verdict == EVENT_TAKE && strcmp(arrival->event.origin, worker->settings->region) != 0 &&
	       !is_own(arrival);
}

/* Denied events become dead letters.  STATUS_OK when each is on record. */
static enum status ask_gate(struct worker *worker, struct arrival *arrivals, size_t arrival_count)
{
	struct event_group *group = event_group_create(arrival_count);
	enum status status = group != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	size_t asked = 0;

	for (size_t i = 0; i < arrival_count && status == STATUS_OK; i++) {
		struct event_crossing *crossing;

		if (!is_gated(worker, &arrivals[i]))
			continue;
		crossing = event_group_crossing(group, asked++);
		crossing->operation = GATE_RECEIVE;
		crossing->event = &arrivals[i].event;
		crossing->classification = arrivals[i].schema != NULL ? event_schema_classification(arrivals[i].schema)
								      : NULL;
		crossing->caller = "";
		crossing->exchange = arrivals[i].event.exchange;
	}
	if (status == STATUS_OK)
		event_gate_ask(worker->gate, group, asked, WORKER_RECORD_MS);
	for (size_t i = 0, j = 0; i < arrival_count && status == STATUS_OK; i++) {
		const struct event_crossing *crossing;

		if (!is_gated(worker, &arrivals[i]))
			continue;
		crossing = event_group_crossing(group, j++);
		if (crossing->status == STATUS_NOT_AVAILABLE) {
			arrivals[i].verdict = EVENT_DEAD_REFUSED;
			strbuf_adds(&arrivals[i].why, crossing->why.data);
		} else {
			status = crossing->status;
		}
	}
	event_group_destroy(worker->gate, group);
	return status;
}

/* Until all are on record: what is not may have no effect.  False when stopping or when the broker was lost. */
static bool pass_gate(
	struct worker *worker, struct arrival *arrivals, size_t arrival_count, struct arrival *next, size_t *next_count)
{
	for (;;) {
		enum status status = ask_gate(worker, arrivals, arrival_count);

		if (status == STATUS_OK)
			return true;
		LOG_WARN("events_not_recorded", "status", status_name(status));
		worker_wait(worker);
		if (atomic_load(&worker->is_stopping) || !listen_on(worker, 0, next, next_count))
			return false;
	}
}

/* ---- the database ---- */

/* In the inbox, and passed on: all but homeward's own. */
static bool is_kept(const struct arrival *arrival)
{
	return arrival->verdict == EVENT_TAKE && !is_own(arrival);
}

/* A PostgreSQL array of the envelopes to write. */
static bool make_array(const struct arrival *arrivals, size_t arrival_count, struct strbuf *array, uint64_t *count_out)
{
	*count_out = 0;
	strbuf_addc(array, '{');
	for (size_t i = 0; i < arrival_count; i++) {
		if (!is_kept(&arrivals[i]))
			continue;
		database_array_add(array, arrivals[i].body.data, arrivals[i].body.length, *count_out == 0);
		(*count_out)++;
	}
	strbuf_addc(array, '}');
	return strbuf_ok(array);
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

/* One transaction for all of them. */
static enum status write_batch(
	struct worker *worker, struct arrival *arrivals, size_t arrival_count, struct strbuf *why)
{
	struct strbuf array = STRBUF_INIT;
	const char *parameters[] = { NULL };
	uint64_t events = 0, written = 0;
	PGresult *result = NULL;
	enum status status = STATUS_NO_MEMORY;

	if (make_array(arrivals, arrival_count, &array, &events))
		status = database_session_script(worker->session, "BEGIN", WORKER_QUERY_MS, why);
	parameters[0] = array.data;
	if (status == STATUS_OK && events > 0)
		status = database_session_query(
			worker->session, write_events, parameters, 1, WORKER_QUERY_MS, &result, why);
	if (status == STATUS_OK && result != NULL)
		written = strtoull(PQcmdTuples(result), NULL, 10);
	PQclear(result);
	for (size_t i = 0; i < arrival_count && status == STATUS_OK; i++)
		if (arrivals[i].verdict >= EVENT_DEAD_MALFORMED)
			status = write_dead_letter(worker, &arrivals[i], why);
		else if (arrivals[i].verdict == EVENT_TAKE && strcmp(arrivals[i].event.type, RECEIPT_TYPE) == 0)
			status = receipts_take(worker, &arrivals[i].event, why);
	if (status == STATUS_OK)
		status = database_session_script(worker->session, "COMMIT", WORKER_QUERY_MS, why);
	else if (database_session_script(worker->session, "ROLLBACK", WORKER_QUERY_MS, NULL) != STATUS_OK)
		status = STATUS_UNREACHABLE;
	strbuf_release(&array);
	if (status == STATUS_OK) {
		count("taken", written);
		count("duplicate", events - written);
	}
	return status;
}

static bool is_data_fault(enum status status)
{
	return status == STATUS_INTERNAL || status == STATUS_CONFLICT;
}

/* Each in a transaction of its own; one that fails by itself turns into a dead letter. */
static enum status write_singly(
	struct worker *worker, struct arrival *arrivals, size_t arrival_count, struct strbuf *why)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < arrival_count && status == STATUS_OK; i++) {
		struct arrival *arrival = &arrivals[i];

		if (arrival->is_written)
			continue;
		strbuf_reset(why);
		status = write_batch(worker, arrival, 1, why);
		if (is_data_fault(status) && arrival->verdict == EVENT_TAKE) {
			arrival->verdict = EVENT_DEAD_MALFORMED;
			strbuf_reset(&arrival->why);
			strbuf_adds(&arrival->why, why->data);
			strbuf_reset(why);
			status = write_batch(worker, arrival, 1, why);
		}
		arrival->is_written = status == STATUS_OK;
	}
	return status;
}

/* Until it is written, however long the database is away.  False when stopping or when the broker was lost. */
static bool keep_writing(
	struct worker *worker, struct arrival *arrivals, size_t arrival_count, struct arrival *next, size_t *next_count)
{
	struct strbuf why = STRBUF_INIT;
	bool is_written = false;

	while (!is_written && worker->broker != NULL && !atomic_load(&worker->is_stopping)) {
		enum status status = STATUS_OK;

		strbuf_reset(&why);
		if (worker->session == NULL)
			status = database_session_open(
				worker->dsn, worker->settings->events.timeout_ms, &worker->session, &why);
		if (status == STATUS_OK)
			status = write_batch(worker, arrivals, arrival_count, &why);
		if (is_data_fault(status))
			status = write_singly(worker, arrivals, arrival_count, &why);
		is_written = status == STATUS_OK;
		if (!is_written) {
			worker_lose_session(worker, why.data);
			worker_wait(worker);
			listen_on(worker, 0, next, next_count);
		}
	}
	strbuf_release(&why);
	return is_written;
}

/* ---- passing on ---- */

static bool publish_new(struct worker *worker, const PGresult *rows)
{
	struct strbuf why = STRBUF_INIT;
	bool is_fine = true;

	for (int row = 0; row < PQntuples(rows) && is_fine; row++) {
		char key[REGION_SIZE + EVENT_TYPE_MAX + 2];
		struct broker_message message = {
			.exchange = MESH_DELIVERED,
			.key = key,
			.id = PQgetvalue(rows, row, 2),
			.mark = "",
			.body = PQgetvalue(rows, row, 3),
			.body_size = (size_t)PQgetlength(rows, row, 3),
		};

		snprintf(key, sizeof(key), "%s.%s", PQgetvalue(rows, row, 0), PQgetvalue(rows, row, 1));
		confirms_add(&worker->confirms);
		is_fine = broker_publish(worker->broker, &message, &why) == STATUS_OK;
	}
	if (!is_fine)
		worker_lose_broker(worker, why.data);
	strbuf_release(&why);
	return is_fine;
}

static bool wait_delivered(struct worker *worker, struct arrival *next, size_t *next_count)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + SETTLE_MS;

	while (!confirms_all_settled(&worker->confirms)) {
		if (!listen_on(worker, WORKER_TURN_MS, next, next_count))
			return false;
		if (clock_monotonic_ms(clock_system()) >= end_ms && !broker_is_blocked(worker->broker)) {
			worker_lose_broker(worker, "no confirmation in time");
			return false;
		}
		if (atomic_load(&worker->is_stopping) && broker_is_blocked(worker->broker))
			return false;
	}
	for (size_t i = 0; i < worker->confirms.count; i++)
		if (!confirms_is_done(&worker->confirms, i))
			return false;
	return true;
}

/* What its source is told; NULL: nothing, since it is not known to be its source. */
static const char *outcome_of(const struct arrival *arrival)
{
	if (arrival->event.envelope == NULL || is_own(arrival))
		return NULL;
	switch (arrival->verdict) {
	case EVENT_TAKE:
		return "applied";
	case EVENT_DEAD_EXPIRED:
		return "expired";
	case EVENT_DEAD_REFUSED:
		return "refused";
	case EVENT_DEAD_MALFORMED:
		return "dead";
	case EVENT_DISCARD_FOREIGN:
	case EVENT_DEAD_FORGED:
		break;
	}
	return NULL;
}

static void forget_changed(const struct worker *worker, const struct arrival *arrivals, size_t arrival_count)
{
	for (size_t i = 0; i < arrival_count && worker->hooks.forget != NULL; i++) {
		const json_t *data = json_object_get(arrivals[i].event.envelope, "data");
		const char *type = json_get_string(data, "object_type"), *id = json_get_string(data, "object_id");
		struct object_id object = { .type = "" };

		/* Its schema was checked: the texts are there, and may only be too long to be any object's. */
		if (!is_kept(&arrivals[i]) || strcmp(arrivals[i].event.type, "object.changed") != 0 || type == NULL ||
			id == NULL || strlen(type) >= sizeof(object.type) || strlen(id) >= sizeof(object.id))
			continue;
		memcpy(object.type, type, strlen(type));
		memcpy(object.id, id, strlen(id));
		worker->hooks.forget(worker->hooks.arg, &object);
	}
}

static bool publish_receipts(struct worker *worker, const struct arrival *arrivals, size_t arrival_count)
{
	struct strbuf why = STRBUF_INIT;
	struct receipts receipts;
	bool is_fine;

	receipts_init(&receipts);
	for (size_t i = 0; i < arrival_count; i++)
		if (outcome_of(&arrivals[i]) != NULL)
			receipts_add(&receipts, &arrivals[i].event, outcome_of(&arrivals[i]));
	is_fine = receipts_publish(worker, &receipts, &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_broker(worker, why.data);
	receipts_release(&receipts);
	strbuf_release(&why);
	return is_fine;
}

/* Passes on what the inbox has not passed on before, and tells the sources. */
static bool deliver(struct worker *worker, const struct arrival *arrivals, size_t arrival_count, struct arrival *next,
	size_t *next_count)
{
	struct strbuf array = STRBUF_INIT, why = STRBUF_INIT;
	const char *parameters[] = { NULL };
	PGresult *rows = NULL;
	uint64_t events = 0;
	bool is_fine = make_array(arrivals, arrival_count, &array, &events);

	parameters[0] = array.data;
	confirms_begin(&worker->confirms, worker->is_new_channel);
	worker->is_new_channel = false;
	if (is_fine && events > 0)
		is_fine = database_session_query(worker->session, read_undelivered, parameters, 1, WORKER_QUERY_MS,
				  &rows, &why) == STATUS_OK;
	forget_changed(worker, arrivals, arrival_count);
	is_fine = is_fine && (rows == NULL || publish_new(worker, rows)) &&
		  publish_receipts(worker, arrivals, arrival_count) && wait_delivered(worker, next, next_count);
	if (is_fine && rows != NULL && PQntuples(rows) > 0)
		is_fine = database_session_query(worker->session, mark_delivered, parameters, 1, WORKER_QUERY_MS, NULL,
				  &why) == STATUS_OK;
	if (why.length > 0)
		worker_lose_session(worker, why.data);
	PQclear(rows);
	strbuf_release(&array);
	strbuf_release(&why);
	return is_fine;
}

static void count_verdicts(const struct arrival *arrivals, size_t arrival_count)
{
	for (size_t i = 0; i < arrival_count; i++) {
		if (arrivals[i].verdict == EVENT_TAKE)
			continue;
		count(event_verdict_name(arrivals[i].verdict), 1);
		/* The reason may quote the event: it stays in the database. */
		LOG_WARN("event_not_taken", "verdict", event_verdict_name(arrivals[i].verdict));
	}
}

static bool handle(
	struct worker *worker, struct arrival *arrivals, size_t arrival_count, struct arrival *next, size_t *next_count)
{
	struct strbuf why = STRBUF_INIT;
	bool is_fine = pass_gate(worker, arrivals, arrival_count, next, next_count) &&
		       keep_writing(worker, arrivals, arrival_count, next, next_count) &&
		       deliver(worker, arrivals, arrival_count, next, next_count);

	if (is_fine && broker_acknowledge(worker->broker, arrivals[arrival_count - 1].tag, &why) != STATUS_OK) {
		worker_lose_broker(worker, why.data);
		is_fine = false;
	}
	if (is_fine)
		count_verdicts(arrivals, arrival_count);
	strbuf_release(&why);
	return is_fine;
}

void consumer_work(struct worker *worker)
{
	/* Deliveries not yet acknowledged are at most `prefetch`, so that neither can overflow. */
	size_t capacity = (size_t)worker->settings->events.prefetch + BATCH_MAX, current_count = 0, next_count = 0;
	struct arrival *current, *next, *swap;
	bool is_fine = true;

	if (!worker_connect(worker, prepare))
		return;
	current = calloc(capacity, sizeof(*current));
	next = calloc(capacity, sizeof(*next));
	is_fine = current != NULL && next != NULL;
	while (is_fine && !atomic_load(&worker->is_stopping)) {
		if (current_count == 0)
			is_fine = gather(worker, current, &current_count);
		if (!is_fine || current_count == 0)
			continue;
		is_fine = handle(worker, current, current_count, next, &next_count);
		release_arrivals(current, current_count);
		current_count = 0;
		if (is_fine)
			worker_succeed(worker);
		swap = current;
		current = next;
		next = swap;
		current_count = next_count;
		next_count = 0;
	}
	release_arrivals(current, current_count);
	release_arrivals(next, next_count);
	free(current);
	free(next);
	/* What was taken and not finished comes back on the next connection. */
	worker_lose_broker(worker, NULL);
	if (!is_fine)
		worker_wait(worker);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The publisher, on a thread of its own.  A shipment is some rows read, gated and
 * published, until the broker has settled each; what it confirmed is marked, what it
 * refused or returned is put off.  A crash anywhere in between leaves rows unmarked,
 * and they are sent again with the same id; the inbox at the far side knows them.
 *
 * While one shipment is at the broker, the one before it is marked and the next is
 * read and gated: three at most.  The next is published when the broker has settled
 * all of the one before, so that rows are sent in their order.
 *
 * An advisory lock makes one process of a region the publisher, for the same reason.
 * Small events for one region share a message (bundle.c) where that region takes such.
 * The mark of a message is its place among the confirmations; what the broker says of
 * it, it says of each row in it.
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
#include "base/random.h"
#include "federation/broadcasts.h"
#include "federation/bundle.h"
#include "federation/canary_sender.h"
#include "federation/event.h"
#include "federation/event_trace.h"
#include "federation/federation.h"
#include "federation/parcel.h"
#include "federation/receipts.h"
#include "federation/shipment.h"

#define UPKEEP_EVERY_MS 1000
#define PREPARED_FOR_MS                                                                                                \
	5000          /* what has waited longer for its turn is read and gated anew: the policy may have changed */
#define PUMP_EVERY 64 /* messages written between looks at what the broker says */

#define CREATED_AT DATABASE_TIME_US("created_at")

/* The columns, and of which rows: those that wait, or broadcasts for one region again. */
#define READ_ROWS                                                                                                      \
	"SELECT seq, destination, type, id, (attributes - '{sequence,skippedfrom}'::text[] || "                        \
	"jsonb_strip_nulls(jsonb_build_object('specversion', '1.0',"                                                   \
	" 'id', id, 'source', source, 'type', type, 'subject', nullif(aggregateid, ''), 'destination', destination,"   \
	" 'originregion', $1::text, 'sequence', CASE WHEN sequence > 0 THEN lpad(sequence::text, 18, '0') END,"        \
	" 'time', coalesce(attributes->>'time', " CREATED_AT "), 'outboxtime', " CREATED_AT ","                        \
	" 'skippedfrom', lpad(skipped_from::text, 18, '0')))"                                                          \
	" || CASE WHEN payload IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('data', payload) END)::text, caller"
#define READ_FROM                                                                                                      \
	" FROM homeward.outbox o LEFT JOIN LATERAL (SELECT min(sequence) AS skipped_from FROM (SELECT k.sequence,"     \
	" row_number() OVER (ORDER BY k.sequence DESC) AS back FROM homeward.skips k WHERE o.sequence > 1 AND"         \
	" (k.destination, k.source, k.subject) = (o.destination, o.source, o.aggregateid) AND k.sequence < o.sequence" \
	" ORDER BY k.sequence DESC LIMIT 1000) AS before WHERE before.sequence = o.sequence - back) AS skips ON true"

static const char read_rows[] = READ_ROWS
	", destination" READ_FROM
	" WHERE sent_at IS NULL AND refused_at IS NULL AND next_at <= now() AND seq <> ALL($3::bigint[])"
	" ORDER BY seq LIMIT $2";
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
	enum status status = database_session_script(worker->session, "LISTEN homeward_outbox", WORKER_QUERY_MS, why);

	return status == STATUS_OK ? worker_take_lock(worker, WORKER_LOCK_PUBLISHER, why) : status;
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

/* One message: an event, or several that share one.  False when the broker was lost. */
static bool publish_message(
	struct worker *worker, struct shipment *shipment, const struct bundle *bundle, struct broker_message *message)
{
	struct strbuf why = STRBUF_INIT;
	size_t place = confirms_add(&worker->confirms);
	bool is_fine;
	char mark[24];

	for (size_t i = 0; i < bundle->count; i++) {
		const struct parcel *parcel = &shipment->parcels.parcels[bundle->rows[i]];
		struct object_id object;

		event_object(&parcel->event, &object);
		must(parcel->state == PARCEL_LOCAL ||
			policy_release_covers(parcel->crossing->release, &object, parcel->event.destination));
		shipment->places[bundle->rows[i]] = (int)place;
		event_trace_log(parcel->event.envelope, "sent", parcel->event.type, NULL);
	}
	snprintf(mark, sizeof(mark), "%zu", place);
	message->exchange = MESH_EVENTS;
	message->mark = mark;
	message->is_mandatory = true;
	is_fine = broker_publish(worker->broker, message, &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_broker(worker, why.data);
	strbuf_release(&why);
	return is_fine;
}

static bool publish_alone(struct worker *worker, struct shipment *shipment, const struct bundle *bundle)
{
	const struct parcel *parcel = &shipment->parcels.parcels[bundle->rows[0]];
	char key[2 * REGION_SIZE + EVENT_TYPE_MAX + 3];
	struct broker_message message = { .key = key,
		.id = parcel->event.id,
		.body = parcel->body.data,
		.body_size = parcel->body.length,
		.is_passing = event_trace_is_probe(parcel->event.type, parcel->event.envelope) };

	snprintf(key, sizeof(key), "%s.%s.%s", bundle->target, worker->settings->region, parcel->event.type);
	return publish_message(worker, shipment, bundle, &message);
}

static bool publish_together(struct worker *worker, struct shipment *shipment, const struct bundle *bundle)
{
	struct exchange_id unique = exchange_id_make(clock_system(), random_system());
	char key[2 * REGION_SIZE + sizeof(EVENT_BATCH_TYPE) + 3], id[EXCHANGE_ID_TEXT_SIZE];
	struct broker_message message = { .key = key, .id = id, .content_type = EVENT_BATCH_CONTENT };
	struct strbuf body = STRBUF_INIT;
	bool is_fine;

	for (size_t i = 0; i < bundle->count; i++)
		event_batch_add(&body, &shipment->parcels.parcels[bundle->rows[i]].body);
	event_batch_end(&body);
	exchange_id_format(&unique, id);
	snprintf(key, sizeof(key), "%s.%s." EVENT_BATCH_TYPE, bundle->target, worker->settings->region);
	message.body = body.data;
	message.body_size = body.length;
	/* Out of memory: its rows stay as they are, and another round sends them. */
	is_fine = strbuf_ok(&body) && publish_message(worker, shipment, bundle, &message);
	if (is_fine)
		worker_count_batched("sent", bundle->count);
	strbuf_release(&body);
	return is_fine;
}

/* Leaves it empty.  False when the rest must wait for another round. */
static bool publish_bundle(struct worker *worker, struct shipment *shipment, struct bundle *bundle)
{
	bool is_fine = true;

	if (bundle->count == 1)
		is_fine = publish_alone(worker, shipment, bundle);
	else if (bundle->count > 1)
		is_fine = publish_together(worker, shipment, bundle);
	bundle->count = bundle->bytes = 0;
	return is_fine;
}

/* Publishes what there is no more room for.  False when the rest must wait for another round. */
static bool bundle_row(struct worker *worker, struct shipment *shipment, struct bundles *bundles, int row)
{
	const char *target = PQgetvalue(shipment->rows, row, COLUMN_TARGET);
	const struct parcel *parcel = &shipment->parcels.parcels[row];
	bool is_probe = event_trace_is_probe(parcel->event.type, parcel->event.envelope);
	size_t bytes = parcel->body.length + 1; /* and a comma */
	struct bundle *bundle = bundles_find(bundles, target);
	bool is_fine = true;

	if (bundle == NULL) {
		size_t events = canary_batch_events(worker->canary, target);
		size_t events_max = (size_t)worker->settings->events.parcel_events_max;

		bundle = bundles_place(bundles);
		is_fine = publish_bundle(worker, shipment, bundle);
		bundle_begin(bundle, target, events < events_max ? events : events_max);
	}
	if (is_fine && (is_probe || !bundle_has_room(bundle, bytes)))
		is_fine = publish_bundle(worker, shipment, bundle);
	bundle_add(bundle, row, bytes);
	/* What takes no other need not wait for one; and a probe may be lost, which its neighbours may not. */
	if (is_fine && (is_probe || bundle->events_max == 1))
		is_fine = publish_bundle(worker, shipment, bundle);
	return is_fine;
}

/* ---- one batch ---- */

static bool wait_unblocked(struct worker *worker)
{
	while (broker_is_blocked(worker->broker)) {
		if (atomic_load(&worker->is_stopping) || !worker_pump(worker, WORKER_TURN_MS))
			return false;
	}
	return true;
}

/* False when the rest must wait for another round. */
static bool publish_parcels(struct worker *worker, struct shipment *shipment)
{
	struct bundles bundles = { .count = 0, .oldest = 0 };
	bool is_fine = true;

	confirms_begin(&worker->confirms, worker->is_new_channel);
	worker->is_new_channel = false;
	for (size_t row = 0; row < shipment->parcels.count && is_fine; row++) {
		const struct parcel *parcel = &shipment->parcels.parcels[row];

		if (row % PUMP_EVERY == 0 && (!worker_pump(worker, 0) || !wait_unblocked(worker)))
			return false;
		if (parcel->state == PARCEL_REFUSED)
			is_fine = refuse_row(
				worker, PQgetvalue(shipment->rows, (int)row, COLUMN_SEQ), parcel->why.data);
		else
			is_fine = bundle_row(worker, shipment, &bundles, (int)row);
	}
	for (size_t i = 0; i < bundles.count && is_fine; i++)
		is_fine = publish_bundle(worker, shipment, &bundles.items[i]);
	return is_fine;
}

/* What is written of the rows that the broker took, and of those that it did not. */
struct marks {
	const char *sent, *later;
	const char *target; /* their second parameter; NULL: none */
};

static bool mark_array(struct worker *worker, const struct shipment_array *rows, const char *sql, const char *target,
	const char *outcome)
{
	if (rows->count == 0 || worker->session == NULL)
		return worker->session != NULL;
	if (!strbuf_ok(&rows->text) || !run_query(worker, sql, rows->text.data, target))
		return false;
	metric_add(outcome_series(outcome), rows->count);
	return true;
}

/* What the broker said of it is written, and it is over. */
static bool mark_shipment(struct worker *worker, struct shipment *shipment, const struct marks *marks)
{
	bool is_fine = mark_array(worker, &shipment->sent, marks->sent, marks->target, "sent") &&
		       mark_array(worker, &shipment->later, marks->later, marks->target, "put_off");

	shipment_release(worker, shipment);
	return is_fine;
}

/* Until the broker has said all it will; also of what broke off: what was confirmed is confirmed. */
static bool settle_shipment(struct worker *worker, struct shipment *shipment)
{
	bool is_whole = worker->broker != NULL && worker_settle(worker);

	shipment_settle(shipment, &worker->confirms);
	return is_whole;
}

/* One alone. */
static bool carry(struct worker *worker, PGresult *rows, const struct marks *marks)
{
	struct shipment shipment;
	bool is_whole;

	shipment_init(&shipment, rows);
	is_whole = shipment_prepare(worker, &shipment);
	if (!is_whole) {
		shipment_release(worker, &shipment);
		return false;
	}
	is_whole = publish_parcels(worker, &shipment);
	is_whole = settle_shipment(worker, &shipment) && is_whole;
	return mark_shipment(worker, &shipment, marks) && is_whole;
}

/* Broadcasts that a region has not receipted, to one such region.  False when something was lost. */
static bool send_broadcasts_again(struct worker *worker)
{
	char limit[24], timeout[24];
	struct marks marks = { BROADCASTS_MARK_SENT, BROADCASTS_MARK_LATER, NULL };
	struct strbuf why = STRBUF_INIT, regions = STRBUF_INIT, ages = STRBUF_INIT;
	PGresult *rows = NULL;
	bool is_fine = canary_reached(worker->canary, &regions, &ages) == STATUS_OK;
	const char *parameters[] = { worker->settings->region, limit, timeout, regions.data, ages.data };

	snprintf(limit, sizeof(limit), "%zu", worker->confirms.capacity);
	snprintf(timeout, sizeof(timeout), "%lld", (long long)worker->settings->events.receipt_timeout_s);
	is_fine = is_fine && database_session_query(worker->session, read_again, parameters, 5, WORKER_QUERY_MS, &rows,
				     &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_session(worker, why.data);
	if (is_fine && PQntuples(rows) > 0) {
		marks.target = PQgetvalue(rows, 0, COLUMN_TARGET);
		LOG_WARN("broadcasts_without_receipt", "region", marks.target, "sent_again",
			log_number(PQntuples(rows)));
		is_fine = carry(worker, rows, &marks);
		rows = NULL;
	}
	PQclear(rows);
	strbuf_release(&why);
	strbuf_release(&regions);
	strbuf_release(&ages);
	return is_fine;
}

static bool is_upkeep_due(const struct worker *worker)
{
	return clock_monotonic_ms(clock_system()) - worker->upkeep_ms >= UPKEEP_EVERY_MS;
}

/* False when the database or the broker was lost. */
static bool do_upkeep(struct worker *worker)
{
	struct strbuf why = STRBUF_INIT;
	bool is_fine = true;

	if (is_upkeep_due(worker)) {
		worker->upkeep_ms = clock_monotonic_ms(clock_system());
		is_fine = receipts_upkeep(worker, &why) == STATUS_OK && broadcasts_upkeep(worker, &why) == STATUS_OK &&
			  canary_count_unreceipted(worker, &why) == STATUS_OK;
		if (!is_fine)
			worker_lose_session(worker, why.data);
		is_fine = is_fine && send_broadcasts_again(worker);
	}
	strbuf_release(&why);
	return is_fine;
}

/* The next rows, but those of `at_broker`; without rows when there are none.  False when nothing may be sent now. */
static bool load_shipment(struct worker *worker, const struct shipment *at_broker, struct shipment *shipment_out)
{
	struct strbuf why = STRBUF_INIT, known = STRBUF_INIT;
	char limit[24];
	const char *parameters[3] = { worker->settings->region, limit, NULL };
	enum status status = STATUS_NO_MEMORY;

	shipment_init(shipment_out, NULL);
	snprintf(limit, sizeof(limit), "%zu", worker->confirms.capacity);
	shipment_rows(at_broker, &known);
	parameters[2] = known.data;
	if (strbuf_ok(&known))
		status = database_session_query(
			worker->session, read_rows, parameters, 3, WORKER_QUERY_MS, &shipment_out->rows, &why);
	if (status != STATUS_OK)
		worker_lose_session(worker, why.data);
	strbuf_release(&known);
	strbuf_release(&why);
	return status == STATUS_OK && shipment_prepare(worker, shipment_out);
}

static bool is_fresh(const struct shipment *shipment)
{
	return clock_monotonic_ms(clock_system()) - shipment->prepared_ms < PREPARED_FOR_MS;
}

/* Shipments one after the other until no row waits, or it is time for something else.  False when something was lost. */
static bool ship(struct worker *worker, const struct shipment *first)
{
	static const struct marks marks = { mark_sent, mark_later, NULL };
	struct shipment before, current = *first, next;
	bool is_fine = true;

	shipment_init(&before, NULL);
	while (is_fine && shipment_count(&current) > 0 && is_fresh(&current)) {
		bool is_whole = publish_parcels(worker, &current);

		is_fine = mark_shipment(worker, &before, &marks) && is_whole;
		shipment_init(&next, NULL);
		if (is_fine && !is_upkeep_due(worker) && !atomic_load(&worker->is_stopping))
			is_fine = load_shipment(worker, &current, &next);
		is_fine = settle_shipment(worker, &current) && is_fine;
		before = current;
		current = next;
	}
	is_fine = mark_shipment(worker, &before, &marks) && is_fine;
	shipment_release(worker, &current);
	return is_fine;
}

void publisher_work(struct worker *worker)
{
	struct shipment none, first;

	if (!worker_connect(worker, prepare) || !do_upkeep(worker))
		return;
	shipment_init(&none, NULL);
	if (!load_shipment(worker, &none, &first)) {
		shipment_release(worker, &first);
		worker_wait(worker);
	} else if (shipment_count(&first) == 0) {
		shipment_release(worker, &first);
		worker_succeed(worker);
		worker_wait_notified(worker);
	} else if (ship(worker, &first)) {
		worker_succeed(worker);
	} else {
		worker_wait(worker);
	}
}

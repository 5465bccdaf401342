/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer, on a thread of its own.  A batch of deliveries is judged, written
 * in one transaction (an event met before changes nothing), passed on to
 * homeward.delivered with confirmations, and only then acknowledged.  A crash in
 * between brings the deliveries back, and the inbox knows which are new.  A message
 * of several events is acknowledged when all of them have come so far.
 *
 * An event that is ahead of its turn is written too, but held back (holdback.h).
 *
 * While the database is away the batch is kept and the connection held: giving the
 * deliveries back would count against the queue's delivery limit.
 */
#include "federation/consumer.h"

#include "federation/event_trace.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "federation/arrival.h"
#include "federation/delivery.h"
#include "federation/federation.h"
#include "federation/holdback.h"
#include "federation/inbox.h"
#include "federation/webhook_store.h"

static enum status prepare(struct worker *worker, struct strbuf *why)
{
	enum status status = webhook_store_register(worker->session, worker->settings, why);

	worker->is_holding = true; /* perhaps: it will look */
	if (status != STATUS_OK)
		return status;
	return broker_consume(worker->broker, MESH_INBOX, (int)worker->settings->events.prefetch, why);
}

/* ---- the gate ---- */

static bool is_gated(const struct worker *worker, const struct arrival *arrival)
{
	return arrival->verdict == EVENT_TAKE && strcmp(arrival->event.origin, worker->settings->region) != 0 &&
	       !arrival_is_own(arrival);
}

/* Denied events become dead letters.  STATUS_OK when each is on record. */
static enum status ask_gate(struct worker *worker, struct arrivals *arrivals)
{
	struct event_group *group = event_group_create(arrivals->count);
	enum status status = group != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	size_t asked = 0;

	for (size_t i = 0; i < arrivals->count && status == STATUS_OK; i++) {
		struct event_crossing *crossing;

		if (!is_gated(worker, &arrivals->items[i]))
			continue;
		crossing = event_group_crossing(group, asked++);
		crossing->operation = GATE_RECEIVE;
		crossing->event = &arrivals->items[i].event;
		crossing->classification = arrivals->items[i].schema != NULL
						   ? event_schema_classification(arrivals->items[i].schema)
						   : NULL;
		crossing->caller = "";
		crossing->exchange = arrivals->items[i].event.exchange;
	}
	if (status == STATUS_OK)
		event_gate_ask(worker->gate, group, asked, WORKER_RECORD_MS);
	for (size_t i = 0, j = 0; i < arrivals->count && status == STATUS_OK; i++) {
		const struct event_crossing *crossing;

		if (!is_gated(worker, &arrivals->items[i]))
			continue;
		crossing = event_group_crossing(group, j++);
		if (crossing->status == STATUS_NOT_AVAILABLE) {
			arrivals->items[i].verdict = EVENT_DEAD_REFUSED;
			strbuf_adds(&arrivals->items[i].why, crossing->why.data);
		} else {
			status = crossing->status;
		}
	}
	event_group_destroy(worker->gate, group);
	return status;
}

/* Until all are on record: what is not may have no effect.  False when stopping or when the broker was lost. */
static bool pass_gate(struct worker *worker, struct arrivals *arrivals, struct arrivals *next)
{
	for (;;) {
		enum status status = ask_gate(worker, arrivals);

		if (status == STATUS_OK)
			return true;
		LOG_WARN("events_not_recorded", "status", status_name(status));
		worker_wait(worker);
		if (atomic_load(&worker->is_stopping) || !arrivals_listen(worker, 0, next))
			return false;
	}
}

/* Until it is written, however long the database is away.  False when stopping or when the broker was lost. */
static bool keep_writing(struct worker *worker, struct arrivals *arrivals, struct arrivals *next)
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
			status = inbox_write(worker, arrivals, &why);
		is_written = status == STATUS_OK;
		if (!is_written) {
			worker_lose_session(worker, why.data);
			worker_wait(worker);
			arrivals_listen(worker, 0, next);
		}
	}
	strbuf_release(&why);
	return is_written;
}

static void count_verdicts(const struct arrivals *arrivals)
{
	for (size_t i = 0; i < arrivals->count; i++) {
		const struct event *event = &arrivals->items[i].event;
		enum event_verdict verdict = arrivals->items[i].verdict;

		if (event->envelope != NULL)
			event_trace_log(event->envelope, "arrived", event->type,
				arrivals->items[i].is_held ? "held" : event_verdict_name(verdict));
		if (verdict == EVENT_TAKE)
			continue;
		inbox_count(event_verdict_name(verdict), 1);
		/* The reason may quote the event: it stays in the database. */
		LOG_WARN("event_not_taken", "verdict", event_verdict_name(verdict));
	}
}

static bool handle(struct worker *worker, struct arrivals *arrivals, struct arrivals *next)
{
	uint64_t last_tag = arrivals->items[arrivals->count - 1].tag; /* writing changes their order */
	struct strbuf why = STRBUF_INIT;
	bool is_fine = pass_gate(worker, arrivals, next) && keep_writing(worker, arrivals, next) &&
		       delivery_of_batch(worker, arrivals, next);

	if (is_fine && broker_acknowledge(worker->broker, last_tag, &why) != STATUS_OK) {
		worker_lose_broker(worker, why.data);
		is_fine = false;
	}
	if (is_fine)
		count_verdicts(arrivals);
	strbuf_release(&why);
	return is_fine;
}

void consumer_work(struct worker *worker)
{
	/* Deliveries not yet acknowledged are at most `prefetch`, so that it cannot overflow. */
	size_t capacity = (size_t)worker->settings->events.prefetch + BATCH_MAX;
	struct arrivals current = { NULL, 0 }, waiting = { NULL, 0 };
	bool is_fine;

	if (!worker_connect(worker, prepare))
		return;
	current.items = calloc(BATCH_MAX, sizeof(*current.items));
	waiting.items = calloc(capacity, sizeof(*waiting.items));
	is_fine = current.items != NULL && waiting.items != NULL;
	while (is_fine && !atomic_load(&worker->is_stopping)) {
		is_fine = arrivals_gather(worker, &waiting) && arrivals_open(worker, &waiting, &current) == STATUS_OK;
		if (is_fine && current.count > 0)
			is_fine = handle(worker, &current, &waiting);
		if (!is_fine)
			break;
		arrivals_release(&current);
		is_fine = holdback_work(worker, &waiting);
		if (is_fine)
			worker_succeed(worker);
	}
	arrivals_release(&current);
	arrivals_release(&waiting);
	free(current.items);
	free(waiting.items);
	/* What was taken and not finished comes back on the next connection. */
	worker_lose_broker(worker, NULL);
	if (!is_fine)
		worker_wait(worker);
}

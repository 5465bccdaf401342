/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A round: publish, then wait until the broker has settled each; only then is
 * anything marked as passed on.  A crash in between passes it on again.
 */
#include "federation/delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "federation/federation.h"
#include "federation/inbox.h"
#include "federation/effects.h"
#include "federation/receipts.h"

#define SETTLE_MS 30000

#define KEYS "unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k(origin, source, id, n)"

/* In the order in which the inbox took them; each once. */
static const char read_undelivered[] =
	"SELECT i.origin, i.type, i.id, i.event::text FROM (SELECT origin, source, id, min(n) AS n FROM " KEYS
	" GROUP BY 1, 2, 3) AS g JOIN homeward.inbox i USING (origin, source, id) WHERE i.delivered_at IS NULL ORDER "
	"BY g.n";
static const char mark_delivered[] =
	"UPDATE homeward.inbox i SET delivered_at = now() FROM " KEYS
	" WHERE (i.origin, i.source, i.id) = (k.origin, k.source, k.id) AND i.delivered_at IS NULL";

void delivery_begin(struct worker *worker)
{
	confirms_begin(&worker->confirms, worker->is_new_channel);
	worker->is_new_channel = false;
}

bool delivery_publish(struct worker *worker, const char *exchange, const char *key, const char *id, const char *body,
	size_t body_size)
{
	struct broker_message message = {
		.exchange = exchange, .key = key, .id = id, .mark = "", .body = body, .body_size = body_size
	};
	struct strbuf why = STRBUF_INIT;
	bool is_fine;

	confirms_add(&worker->confirms);
	is_fine = broker_publish(worker->broker, &message, &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_broker(worker, why.data);
	strbuf_release(&why);
	return is_fine;
}

bool delivery_publish_event(
	struct worker *worker, const char *origin, const char *type, const char *id, const char *body, size_t body_size)
{
	char key[REGION_SIZE + EVENT_TYPE_MAX + 2];

	snprintf(key, sizeof(key), "%s.%s", origin, type);
	return delivery_publish(worker, MESH_DELIVERED, key, id, body, body_size);
}

/* A batch's events in the inbox by their keys, as the parameters of the statements above. */
struct keys {
	struct strbuf origins, sources, ids;
	size_t count;
	bool are_new; /* all of them */
};

/* False when out of memory. */
static bool keys_collect(struct keys *keys, const struct arrivals *arrivals)
{
	struct strbuf *arrays[] = { &keys->origins, &keys->sources, &keys->ids };

	keys->are_new = true;
	for (size_t i = 0; i < 3; i++)
		strbuf_addc(arrays[i], '{');
	for (size_t i = 0; i < arrivals->count; i++) {
		const struct event *event = &arrivals->items[i].event;
		bool is_first = keys->count == 0;

		if (!inbox_has(&arrivals->items[i]))
			continue;
		database_array_add(&keys->origins, event->origin, strlen(event->origin), is_first);
		database_array_add(&keys->sources, event->source, strlen(event->source), is_first);
		database_array_add(&keys->ids, event->id, strlen(event->id), is_first);
		keys->count++;
		keys->are_new = keys->are_new && arrivals->items[i].is_new;
	}
	for (size_t i = 0; i < 3; i++)
		strbuf_addc(arrays[i], '}');
	return strbuf_ok(&keys->origins) && strbuf_ok(&keys->sources) && strbuf_ok(&keys->ids);
}

static void keys_release(struct keys *keys)
{
	strbuf_release(&keys->origins);
	strbuf_release(&keys->sources);
	strbuf_release(&keys->ids);
}

static enum status keys_run(
	struct worker *worker, const struct keys *keys, const char *sql, PGresult **rows_out, struct strbuf *why)
{
	const char *parameters[] = { keys->origins.data, keys->sources.data, keys->ids.data };

	return database_session_query(worker->session, sql, parameters, 3, WORKER_QUERY_MS, rows_out, why);
}

static bool publish_new(struct worker *worker, const struct arrivals *arrivals)
{
	bool is_fine = true;

	for (size_t i = 0; i < arrivals->count && is_fine; i++) {
		const struct arrival *arrival = &arrivals->items[i];

		if (inbox_has(arrival))
			is_fine = delivery_publish_event(worker, arrival->event.origin, arrival->event.type,
				arrival->event.id, arrival->body.data, arrival->body.length);
	}
	return is_fine;
}

/* Some were there before: perhaps they were passed on, perhaps a crash came first. */
static bool publish_undelivered(struct worker *worker, const struct keys *keys, size_t *count_out, struct strbuf *why)
{
	PGresult *rows = NULL;
	bool is_fine = keys_run(worker, keys, read_undelivered, &rows, why) == STATUS_OK;

	*count_out = is_fine ? (size_t)PQntuples(rows) : 0;
	for (int row = 0; row < (int)*count_out && is_fine; row++)
		is_fine = delivery_publish_event(worker, PQgetvalue(rows, row, 0), PQgetvalue(rows, row, 1),
			PQgetvalue(rows, row, 2), PQgetvalue(rows, row, 3), (size_t)PQgetlength(rows, row, 3));
	PQclear(rows);
	return is_fine;
}

bool delivery_settle(struct worker *worker, struct arrivals *next)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + SETTLE_MS;

	while (!confirms_all_settled(&worker->confirms)) {
		if (!arrivals_listen(worker, WORKER_TURN_MS, next))
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

static bool publish_receipts(struct worker *worker, const struct arrivals *arrivals)
{
	struct strbuf why = STRBUF_INIT;
	struct receipts receipts;
	bool is_fine;

	receipts_init(&receipts);
	for (size_t i = 0; i < arrivals->count; i++)
		if (arrival_outcome(&arrivals->items[i]) != NULL)
			receipts_add(&receipts, &arrivals->items[i].event, arrival_outcome(&arrivals->items[i]));
	is_fine = receipts_publish(worker, &receipts, &why) == STATUS_OK;
	if (!is_fine)
		worker_lose_broker(worker, why.data);
	receipts_release(&receipts);
	strbuf_release(&why);
	return is_fine;
}

bool delivery_of_batch(struct worker *worker, const struct arrivals *arrivals, struct arrivals *next)
{
	struct keys keys = { STRBUF_INIT, STRBUF_INIT, STRBUF_INIT, 0, false };
	struct strbuf why = STRBUF_INIT;
	bool is_fine = keys_collect(&keys, arrivals);
	size_t published = keys.count;

	delivery_begin(worker);
	for (size_t i = 0; i < arrivals->count; i++)
		if (arrival_is_kept(&arrivals->items[i]))
			effects_forget(&worker->hooks, &arrivals->items[i].event);
	if (is_fine && keys.count > 0)
		is_fine = keys.are_new ? publish_new(worker, arrivals)
				       : publish_undelivered(worker, &keys, &published, &why);
	is_fine = is_fine && publish_receipts(worker, arrivals) && delivery_settle(worker, next);
	if (is_fine && published > 0)
		is_fine = keys_run(worker, &keys, mark_delivered, NULL, &why) == STATUS_OK;
	/* In homeward.delivered by now: what erasing empties is the event's own row, too. */
	for (size_t i = 0; i < arrivals->count && is_fine; i++)
		if (arrival_is_kept(&arrivals->items[i]))
			effects_erasure(&worker->hooks, &arrivals->items[i].event);
	if (why.length > 0)
		worker_lose_session(worker, why.data);
	keys_release(&keys);
	strbuf_release(&why);
	return is_fine;
}

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

/* In the order in which the inbox took them. */
static const char read_undelivered[] =
	"SELECT i.origin, i.type, i.id, i.event::text FROM (SELECT e->>'originregion' AS origin, e->>'source' AS "
	"source,"
	" e->>'id' AS id, min(n) AS n FROM (SELECT t::jsonb AS e, n FROM unnest($1::text[]) WITH ORDINALITY AS u(t, n))"
	" AS given GROUP BY 1, 2, 3) AS g JOIN homeward.inbox i USING (origin, source, id)"
	" WHERE i.delivered_at IS NULL ORDER BY g.n";
static const char mark_delivered[] =
	"UPDATE homeward.inbox i SET delivered_at = now() FROM (SELECT t::jsonb AS e FROM unnest($1::text[]) AS t)"
	" AS given WHERE i.origin = e->>'originregion' AND i.source = e->>'source' AND i.id = e->>'id'"
	" AND i.delivered_at IS NULL";

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

static bool publish_new(struct worker *worker, const PGresult *rows)
{
	bool is_fine = true;

	for (int row = 0; row < PQntuples(rows) && is_fine; row++)
		is_fine = delivery_publish_event(worker, PQgetvalue(rows, row, 0), PQgetvalue(rows, row, 1),
			PQgetvalue(rows, row, 2), PQgetvalue(rows, row, 3), (size_t)PQgetlength(rows, row, 3));
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
	struct strbuf array = STRBUF_INIT, why = STRBUF_INIT;
	const char *parameters[] = { NULL };
	PGresult *rows = NULL;
	uint64_t events = 0;
	bool is_fine = inbox_array(arrivals, &array, &events);

	parameters[0] = array.data;
	delivery_begin(worker);
	if (is_fine && events > 0)
		is_fine = database_session_query(worker->session, read_undelivered, parameters, 1, WORKER_QUERY_MS,
				  &rows, &why) == STATUS_OK;
	for (size_t i = 0; i < arrivals->count; i++)
		if (arrival_is_kept(&arrivals->items[i]))
			effects_forget(&worker->hooks, &arrivals->items[i].event);
	is_fine = is_fine && (rows == NULL || publish_new(worker, rows)) && publish_receipts(worker, arrivals) &&
		  delivery_settle(worker, next);
	if (is_fine && rows != NULL && PQntuples(rows) > 0)
		is_fine = database_session_query(worker->session, mark_delivered, parameters, 1, WORKER_QUERY_MS, NULL,
				  &why) == STATUS_OK;
	/* In homeward.delivered by now: what erasing empties is the event's own row, too. */
	for (size_t i = 0; i < arrivals->count && is_fine; i++)
		if (arrival_is_kept(&arrivals->items[i]))
			effects_erasure(&worker->hooks, &arrivals->items[i].event);
	if (why.length > 0)
		worker_lose_session(worker, why.data);
	PQclear(rows);
	strbuf_release(&array);
	strbuf_release(&why);
	return is_fine;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking deliveries: each is judged at once, by its key, its envelope, the link it
 * came by and the schema of its data.  What the policy says of it is asked later, of
 * a whole batch (consumer.c).
 *
 * A message of several events is opened when its turn comes.  From there on each is an
 * arrival as if it had come alone, so that one that is bad is bad by itself.
 */
#include "federation/arrival.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "federation/canary_sender.h"
#include "federation/event_batch.h"
#include "federation/event_trace.h"
#include "federation/federation.h"
#include "federation/mesh_current.h"

_Static_assert(EVENT_BATCH_EVENTS_MAX <= BATCH_MAX, "every message can be opened");

static void release_arrival(struct arrival *arrival)
{
	strbuf_release(&arrival->key);
	strbuf_release(&arrival->body);
	strbuf_release(&arrival->why);
	event_release(&arrival->event);
}

void arrivals_release(struct arrivals *arrivals)
{
	for (size_t i = 0; i < arrivals->count; i++)
		release_arrival(&arrivals->items[i]);
	arrivals->count = 0;
}

/*
 * The link's far end.  With a mesh file it is told by the address that this region's own broker has for the link; without
 * one by what the far broker calls itself, which it could make up.
 */
static void find_origin(const struct worker *worker, const struct broker_news *news, struct arrival *arrival)
{
	arrival->is_from_link = news->is_from_link;
	if (worker->mesh != NULL)
		mesh_current_origin(worker->mesh, news->link_uri, arrival->link_origin);
	else
		memccpy(arrival->link_origin, news->link_cluster, '\0', sizeof(arrival->link_origin) - 1);
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

static void judge(struct worker *worker, struct arrival *arrival, bool is_batched)
{
	struct event_arrival question = { worker->settings->region, arrival->key.data, arrival->key.length,
		arrival->is_from_link ? arrival->link_origin : NULL, arrival->body.data, arrival->body.length,
		clock_wall_us(clock_system()), is_batched };

	arrival->verdict = event_judge(&question, &arrival->event, &arrival->why);
	if (arrival->verdict == EVENT_TAKE && !check_data(worker, arrival))
		arrival->verdict = EVENT_DEAD_MALFORMED;
	else if (canary_take(worker->canary, &arrival->event, arrival->verdict == EVENT_DEAD_EXPIRED))
		arrival->verdict = EVENT_TAKE;
}

static bool is_batch(const struct arrival *arrival)
{
	struct event_key key;

	return event_key_parse(arrival->key.data, arrival->key.length, &key) == STATUS_OK &&
	       strcmp(key.type, EVENT_BATCH_TYPE) == 0;
}

/* The buffers are handed over. */
static void add_arrival(struct worker *worker, struct broker_news *news, struct arrival *arrival)
{
	*arrival = (struct arrival){ .tag = news->tag, .key = news->key, .body = news->body };
	find_origin(worker, news, arrival);
	strbuf_init(&news->key);
	strbuf_init(&news->body);
	strbuf_init(&arrival->why);
	if (!is_batch(arrival)) {
		judge(worker, arrival, false);
		return;
	}
	if (arrival->body.length <= EVENT_BYTES_MAX)
		arrival->batch_events = event_batch_count(arrival->body.data, arrival->body.length);
	if (arrival->batch_events == 0) {
		strbuf_addf(&arrival->why, "batch: not an array of 1 to %d events, of 1,048,576 bytes at most",
			EVENT_BATCH_EVENTS_MAX);
		arrival->verdict = EVENT_DEAD_MALFORMED;
	}
}

/* One text of a batch, with the key that it would have come under. */
static enum status open_event(
	struct worker *worker, const struct arrival *message, const char *text, size_t length, struct arrival *arrival)
{
	struct event_key key;

	*arrival = (struct arrival){ .tag = message->tag, .is_from_link = message->is_from_link };
	memcpy(arrival->link_origin, message->link_origin, sizeof(arrival->link_origin));
	strbuf_init(&arrival->why);
	strbuf_init(&arrival->key);
	strbuf_init(&arrival->body);
	strbuf_add(&arrival->key, message->key.data, message->key.length);
	strbuf_add(&arrival->body, text, length);
	if (!strbuf_ok(&arrival->key) || !strbuf_ok(&arrival->body))
		return STATUS_NO_MEMORY;
	judge(worker, arrival, true);
	if (arrival->event.envelope != NULL &&
		event_key_parse(message->key.data, message->key.length, &key) == STATUS_OK) {
		strbuf_reset(&arrival->key);
		strbuf_addf(&arrival->key, "%s.%s.%s", key.destination, key.origin, arrival->event.type);
	}
	return strbuf_ok(&arrival->key) ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status open_message(struct worker *worker, struct arrival *message, struct arrivals *batch)
{
	struct event_batch texts = event_batch_begin(message->body.data, message->body.length);
	enum status status = STATUS_OK;
	const char *text;
	size_t length;

	while (status == STATUS_OK && event_batch_next(&texts, &text, &length))
		status = open_event(worker, message, text, length, &batch->items[batch->count++]);
	worker_count_batched("received", message->batch_events);
	release_arrival(message);
	return status;
}

enum status arrivals_open(struct worker *worker, struct arrivals *waiting, struct arrivals *batch)
{
	enum status status = STATUS_OK;
	size_t moved = 0;

	while (moved < waiting->count && status == STATUS_OK) {
		struct arrival *message = &waiting->items[moved];
		size_t events = message->batch_events > 0 ? message->batch_events : 1;

		if (batch->count + events > BATCH_MAX)
			break;
		moved++;
		if (message->batch_events > 0)
			status = open_message(worker, message, batch);
		else
			batch->items[batch->count++] = *message;
	}
	memmove(waiting->items, waiting->items + moved, (waiting->count - moved) * sizeof(*waiting->items));
	waiting->count -= moved;
	return status;
}

/* Heartbeats and confirmations go on while a batch is under way; deliveries that come meanwhile are kept. */
bool arrivals_listen(struct worker *worker, int64_t timeout_ms, struct arrivals *next)
{
	struct broker_news news;

	do {
		if (!worker_listen(worker, timeout_ms, &news))
			return false;
		if (news.happening == BROKER_DELIVERED)
			add_arrival(worker, &news, &next->items[next->count++]);
		broker_news_release(&news);
		timeout_ms = 0;
	} while (news.happening != BROKER_NOTHING && !confirms_all_settled(&worker->confirms));
	return true;
}

bool arrivals_gather(struct worker *worker, struct arrivals *arrivals)
{
	int64_t timeout_ms = arrivals->count > 0 ? 0 : WORKER_TURN_MS;

	while (arrivals->count < BATCH_MAX) {
		struct broker_news news;

		if (!worker_listen(worker, timeout_ms, &news))
			return false;
		if (news.happening == BROKER_DELIVERED)
			add_arrival(worker, &news, &arrivals->items[arrivals->count++]);
		broker_news_release(&news);
		if (news.happening == BROKER_NOTHING)
			return true;
		timeout_ms = 0;
	}
	return true;
}

bool arrival_is_own(const struct arrival *arrival)
{
	return strncmp(arrival->event.type, EVENT_OWN_PREFIX, strlen(EVENT_OWN_PREFIX)) == 0;
}

bool arrival_is_kept(const struct arrival *arrival)
{
	return arrival->verdict == EVENT_TAKE && !arrival_is_own(arrival);
}

const char *arrival_outcome(const struct arrival *arrival)
{
	if (arrival->event.envelope == NULL || arrival->is_held)
		return NULL;
	if (arrival_is_own(arrival)) /* no receipt of a receipt */
		return arrival->verdict == EVENT_TAKE &&
				       event_trace_is_probe(arrival->event.type, arrival->event.envelope)
			       ? "applied"
			       : NULL;
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

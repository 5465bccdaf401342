/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking deliveries: each is judged at once, by its key, its envelope, the link it
 * came by and the schema of its data.  What the policy says of it is asked later, of
 * a whole batch (consumer.c).
 */
#include "federation/arrival.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "federation/canary_sender.h"
#include "federation/event_trace.h"
#include "federation/federation.h"

void arrivals_release(struct arrivals *arrivals)
{
	for (size_t i = 0; i < arrivals->count; i++) {
		strbuf_release(&arrivals->items[i].key);
		strbuf_release(&arrivals->items[i].body);
		strbuf_release(&arrivals->items[i].why);
		event_release(&arrivals->items[i].event);
	}
	arrivals->count = 0;
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
	int64_t timeout_ms = WORKER_TURN_MS;

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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of the last events, each numbered and written out once; readers and the
 * publisher are only places in it.  So the queue to the broker and what operators
 * may read again are one thing with one bound.
 *
 * One mutex, held for copying texts in memory; answers are made under it and sent
 * after it.  Readers that wait are answered on the loop that follows, by a task
 * posted with what was said, so that whoever says something does none of it.
 */
#include "federation/system_events.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/exchange_id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/must.h"
#include "base/problem.h"
#include "federation/event.h"
#include "federation/event_schema.h"

#define PREFIX_SIZE 64

struct kept {
	uint64_t number;
	char type[64], id[EXCHANGE_ID_TEXT_SIZE];
	char *text; /* the envelope */
	size_t length;
};

struct reader {
	struct http_request *request; /* NULL: a free place */
	uint64_t after;
	int64_t until_ms;
	char run[EXCHANGE_ID_TEXT_SIZE], prefix[PREFIX_SIZE];
};

struct system_events {
	struct loop_task task; /* answers readers */
	const struct clock_source *clock;
	const struct random_source *random;
	char region[REGION_SIZE], run[EXCHANGE_ID_TEXT_SIZE];
	bool has_broker;
	struct metric *said;
	struct metric_series *dropped;
	pthread_mutex_t mutex; /* guards all below */
	struct kept ring[SYSTEM_EVENTS_KEPT];
	uint64_t last, published; /* numbers; the first is 1 */
	struct reader readers[SYSTEM_READERS_MAX];
	struct loop *loop;
	bool is_posted, is_refusing;
};

static void make_id(const struct system_events *system, char text[EXCHANGE_ID_TEXT_SIZE])
{
	struct exchange_id id = exchange_id_make(system->clock, system->random);

	exchange_id_format(&id, text);
}

struct system_events *system_events_create(
	const char *region, bool has_broker, const struct clock_source *clock, const struct random_source *random)
{
	struct system_events *system = calloc(1, sizeof(*system));

	if (system == NULL)
		return NULL;
	system->clock = clock;
	system->random = random;
	system->has_broker = has_broker;
	(void)snprintf(system->region, sizeof(system->region), "%s", region);
	make_id(system, system->run);
	must(pthread_mutex_init(&system->mutex, NULL) == 0);
	system->said = metric_register(
		METRIC_COUNTER, "homeward_system_events_total", "What homeward itself had to say, by type.", "type");
	system->dropped = metric_single(METRIC_COUNTER, "homeward_system_events_dropped_total",
		"System events that could not be published in time, and were dropped.");
	return system;
}

void system_events_destroy(struct system_events *system)
{
	if (system == NULL)
		return;
	for (size_t i = 0; i < SYSTEM_READERS_MAX; i++)
		must(system->readers[i].request == NULL);
	for (size_t i = 0; i < SYSTEM_EVENTS_KEPT; i++)
		free(system->ring[i].text);
	pthread_mutex_destroy(&system->mutex);
	free(system);
}

/* ---- saying ---- */

static json_t *make_envelope(const struct system_events *system, const char *id, const char *type, json_t *data)
{
	bool is_pseudonymous = json_object_get(data, "subject_hash") != NULL;
	char now[CLOCK_TEXT_SIZE], schema[sizeof(EVENT_SCHEMA_BASE) + 80];

	clock_format(clock_wall_us(system->clock), now);
	(void)snprintf(schema, sizeof(schema), EVENT_SCHEMA_BASE "%s.v1.json", type);
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o}", "specversion", "1.0", "id", id, "source",
		"/homeward/system", "type", type, "time", now, "datacontenttype", "application/json", "dataschema",
		schema, "dataclassification", is_pseudonymous ? "pseudonymous" : "operational", "destination",
		system->region, "originregion", system->region, "data", data);
}

static uint64_t oldest(const struct system_events *system)
{
	return system->last > SYSTEM_EVENTS_KEPT ? system->last - SYSTEM_EVENTS_KEPT + 1 : 1;
}

static struct kept *find(struct system_events *system, uint64_t number)
{
	return &system->ring[number % SYSTEM_EVENTS_KEPT];
}

static void answer_readers(struct system_events *system, bool all);

static void on_said(struct loop_task *task)
{
	struct system_events *system = (struct system_events *)task;

	pthread_mutex_lock(&system->mutex);
	system->is_posted = false;
	pthread_mutex_unlock(&system->mutex);
	answer_readers(system, false);
}

/* Takes the text. */
static uint64_t keep(struct system_events *system, const char *id, const char *type, char *text, size_t length)
{
	struct loop *loop = NULL;
	struct kept *place;
	uint64_t number;
	char *old;

	pthread_mutex_lock(&system->mutex);
	number = ++system->last;
	place = find(system, number);
	old = place->text;
	if (system->has_broker && old != NULL && place->number > system->published)
		metric_add(system->dropped, 1);
	*place = (struct kept){ .number = number, .text = text, .length = length };
	memccpy(place->type, type, '\0', sizeof(place->type) - 1);
	memccpy(place->id, id, '\0', sizeof(place->id) - 1);
	if (system->loop != NULL && !system->is_posted && !system->is_refusing) {
		system->is_posted = true;
		loop = system->loop;
		/* Under the mutex: once refusing, nothing is posted any more. */
		loop_post(loop, &system->task);
	}
	pthread_mutex_unlock(&system->mutex);
	free(old);
	return number;
}

void system_events_say(struct system_events *system, const char *type, json_t *data)
{
	struct strbuf text = STRBUF_INIT, said = STRBUF_INIT;
	char id[EXCHANGE_ID_TEXT_SIZE];
	json_t *envelope;
	uint64_t number;
	size_t length;
	char *taken;

	if (system == NULL || data == NULL) {
		json_decref(data);
		return;
	}
	make_id(system, id);
	if (json_write(data, &said) != STATUS_OK)
		strbuf_reset(&said);
	envelope = make_envelope(system, id, type, data);
	if (envelope == NULL || json_write(envelope, &text) != STATUS_OK ||
		(taken = strbuf_take(&text, &length)) == NULL) {
		LOG_ERROR("system_event_lost", "type", type);
	} else {
		number = keep(system, id, type, taken, length);
		metric_add(metric_series(system->said, type, (const char *)NULL), 1);
		LOG_INFO("system_event", "number", log_number((int64_t)number), "type", type, "data",
			said.length > 0 ? said.data : "");
	}
	json_decref(envelope);
	strbuf_release(&text);
	strbuf_release(&said);
}

/* ---- reading ---- */

void system_events_follow(struct system_events *system, struct loop *loop)
{
	pthread_mutex_lock(&system->mutex);
	system->task.run = on_said;
	system->loop = loop;
	pthread_mutex_unlock(&system->mutex);
}

/* Under the mutex. */
static bool write_answer(
	struct system_events *system, const char *run, uint64_t after, const char *prefix, struct strbuf *text)
{
	uint64_t first = oldest(system), number, missed = 0;
	int count = 0;

	if (after > system->last || (run[0] != '\0' && strcmp(run, system->run) != 0))
		after = 0;
	if (after + 1 < first)
		missed = first - after - 1;
	strbuf_addf(text, "{\"run\":\"%s\",\"events\":[", system->run);
	for (number = after + missed + 1; number <= system->last && count < SYSTEM_EVENTS_ANSWER; number++) {
		const struct kept *kept = find(system, number);

		if (strncmp(kept->type, prefix, strlen(prefix)) != 0)
			continue;
		strbuf_addf(text, "%s{\"number\":%" PRIu64 ",\"event\":", count++ > 0 ? "," : "", number);
		strbuf_add(text, kept->text, kept->length);
		strbuf_addc(text, '}');
	}
	strbuf_addf(text, "],\"last\":%" PRIu64 ",\"missed\":%" PRIu64 "}\n", number - 1, missed);
	return count > 0 || missed > 0;
}

bool system_events_read(
	struct system_events *system, const char *run, uint64_t after, const char *prefix, struct strbuf *text)
{
	bool is_any;

	pthread_mutex_lock(&system->mutex);
	is_any = write_answer(system, run, after, prefix, text);
	pthread_mutex_unlock(&system->mutex);
	return is_any;
}

static bool is_alarm(const char *type)
{
	static const char *const news[] = { "homeward.peer.up", "homeward.link.up", "homeward.routes.changed" };

	for (size_t i = 0; i < sizeof(news) / sizeof(news[0]); i++)
		if (strcmp(type, news[i]) == 0)
			return false;
	return true;
}

void system_events_alarms(struct system_events *system, int count, struct strbuf *text)
{
	uint64_t first;

	pthread_mutex_lock(&system->mutex);
	for (first = system->last + 1; first > oldest(system) && count > 0; first--)
		count -= is_alarm(find(system, first - 1)->type);
	strbuf_addc(text, '[');
	for (uint64_t number = first, shown = 0; number <= system->last; number++)
		if (is_alarm(find(system, number)->type))
			strbuf_addf(text, "%s{\"number\":%" PRIu64 ",\"event\":%s}", shown++ > 0 ? "," : "", number,
				find(system, number)->text);
	strbuf_addc(text, ']');
	pthread_mutex_unlock(&system->mutex);
}

static void reply(struct http_request *request, struct strbuf *text)
{
	struct http_response *response = NULL;

	if (strbuf_ok(text))
		response = http_response_create(200, "application/json", text->data, text->length);
	if (response == NULL) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return;
	}
	http_response_header(response, "Cache-Control", "no-store");
	http_request_reply(request, response);
}

/* Those for whom there is something, whose time is over, or all. */
static void answer_readers(struct system_events *system, bool all)
{
	struct http_request *requests[SYSTEM_READERS_MAX];
	struct strbuf texts[SYSTEM_READERS_MAX];
	int64_t now_ms = clock_monotonic_ms(system->clock);
	size_t count = 0;

	pthread_mutex_lock(&system->mutex);
	for (size_t i = 0; i < SYSTEM_READERS_MAX; i++) {
		struct reader *reader = &system->readers[i];

		if (reader->request == NULL)
			continue;
		strbuf_init(&texts[count]);
		if (!write_answer(system, reader->run, reader->after, reader->prefix, &texts[count]) && !all &&
			now_ms < reader->until_ms) {
			strbuf_release(&texts[count]);
			continue;
		}
		requests[count++] = reader->request;
		reader->request = NULL;
	}
	pthread_mutex_unlock(&system->mutex);
	for (size_t i = 0; i < count; i++) {
		reply(requests[i], &texts[i]);
		strbuf_release(&texts[i]);
	}
}

void system_events_tend(struct system_events *system)
{
	answer_readers(system, false);
}

void system_events_refuse(struct system_events *system)
{
	if (system == NULL)
		return;
	pthread_mutex_lock(&system->mutex);
	system->is_refusing = true;
	pthread_mutex_unlock(&system->mutex);
	answer_readers(system, true);
}

static bool read_number(const struct http_request *request, const char *name, uint64_t max, uint64_t *number_out)
{
	const char *text = http_request_query(request, name);

	*number_out = 0;
	if (text == NULL)
		return true;
	if (text[0] == '\0' || strlen(text) > 18 || text[strspn(text, "0123456789")] != '\0')
		return false;
	*number_out = strtoull(text, NULL, 10);
	return *number_out <= max;
}

/* A place for a reader that waits; false when there is something for it by now, or no place. */
static bool take_place(struct system_events *system, const struct reader *reader, struct strbuf *text, bool *is_full)
{
	struct reader *place = NULL;
	bool is_waiting = false;

	*is_full = false;
	pthread_mutex_lock(&system->mutex);
	if (!write_answer(system, reader->run, reader->after, reader->prefix, text) && reader->until_ms != 0 &&
		!system->is_refusing) {
		for (size_t i = 0; i < SYSTEM_READERS_MAX && place == NULL; i++)
			if (system->readers[i].request == NULL)
				place = &system->readers[i];
		*is_full = place == NULL;
		if (place != NULL) {
			http_request_suspend(reader->request);
			*place = *reader;
			is_waiting = true;
		}
	}
	pthread_mutex_unlock(&system->mutex);
	return is_waiting;
}

void system_events_answer(struct system_events *system, struct http_request *request)
{
	const char *run = http_request_query(request, "run"), *prefix = http_request_query(request, "type");
	struct reader reader = { .request = request };
	struct strbuf text = STRBUF_INIT;
	bool is_full = false;
	uint64_t wait_s;

	if (!read_number(request, "after", UINT64_MAX, &reader.after) ||
		!read_number(request, "wait", SYSTEM_WAIT_S_MAX, &wait_s) ||
		(run != NULL && strlen(run) >= sizeof(reader.run)) ||
		(prefix != NULL && strlen(prefix) >= sizeof(reader.prefix))) {
		problem_reply(request, STATUS_INVALID,
			"after is a number, wait 0 to 25 seconds, run what the last answer said, type the beginning of "
			"a type.");
		return;
	}
	if (run != NULL)
		memcpy(reader.run, run, strlen(run));
	if (prefix != NULL)
		memcpy(reader.prefix, prefix, strlen(prefix));
	if (wait_s > 0)
		reader.until_ms = clock_monotonic_ms(system->clock) + (int64_t)wait_s * 1000;
	if (!take_place(system, &reader, &text, &is_full)) {
		if (is_full)
			problem_reply(request, STATUS_OVERLOADED, "Too many wait for events already.");
		else
			reply(request, &text);
	}
	strbuf_release(&text);
}

/* ---- publishing ---- */

bool system_events_next(struct system_events *system, uint64_t after, struct system_event *event_out)
{
	const struct kept *kept;
	uint64_t first, missed;
	bool is_any;

	*event_out = (struct system_event){ .number = 0 };
	strbuf_init(&event_out->text);
	pthread_mutex_lock(&system->mutex);
	first = oldest(system);
	missed = after + 1 < first ? first - after - 1 : 0;
	is_any = after < system->last;
	if (is_any) {
		kept = find(system, after + missed + 1);
		event_out->number = kept->number;
		memcpy(event_out->type, kept->type, sizeof(kept->type));
		memcpy(event_out->id, kept->id, sizeof(kept->id));
		/* What was written ends the object; this is one more member of it. */
		strbuf_add(&event_out->text, kept->text, kept->length - (missed > 0 ? 1 : 0));
		if (missed > 0)
			strbuf_addf(&event_out->text, ",\"missed\":%" PRIu64 "}", missed);
	}
	pthread_mutex_unlock(&system->mutex);
	return is_any && strbuf_ok(&event_out->text);
}

void system_events_published(struct system_events *system, uint64_t number)
{
	pthread_mutex_lock(&system->mutex);
	if (number > system->published)
		system->published = number;
	pthread_mutex_unlock(&system->mutex);
}

uint64_t system_events_last_published(struct system_events *system)
{
	uint64_t number;

	pthread_mutex_lock(&system->mutex);
	number = system->published;
	pthread_mutex_unlock(&system->mutex);
	return number;
}

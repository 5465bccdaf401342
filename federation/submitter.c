/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The submitter, on a thread of its own: producers that speak AMQP publish to
 * homeward.submit, and their events go into the outbox as those of POST /v1/events
 * do.  A message is acknowledged when the outbox has committed it; one that comes
 * twice meets its own row.
 *
 * There is nobody to answer: what is no event, or not what its schema says, is a
 * dead letter with the reason.  Whether an event may leave is decided when it does.
 *
 * While the database is away messages stay with this worker, at most the prefetch:
 * giving them back would count against the queue's delivery limit.
 */
#include "federation/submitter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "federation/event_modes.h"
#include "federation/event_trace.h"
#include "federation/federation.h"
#include "federation/submission.h"

struct message {
	uint64_t tag;
	struct strbuf key, body, why;
	char caller[CALLER_SIZE];
	bool is_good;
};

struct batch {
	struct message messages[SUBMITTER_PREFETCH];
	size_t count;
};

static const char write_dead[] = "INSERT INTO homeward.dead_letters (reason, detail, routing_key, body)"
				 " VALUES ('submitted', $1, $2, decode($3, 'hex'))";

static void count(const char *outcome, uint64_t amount)
{
	metric_add(metric_series(
			   metric_register(METRIC_COUNTER, "homeward_events_submitted_total",
				   "Events that came by the queue homeward.submit, by what became of them.", "outcome"),
			   outcome, NULL),
		amount);
}

static enum status prepare(struct worker *worker, struct strbuf *why)
{
	return broker_consume(worker->broker, MESH_SUBMIT, SUBMITTER_PREFETCH, why);
}

/*
 * Who handed it in, as far as the broker vouches for it: a device is held to keys that begin with its name, and no other
 * program may publish where devices do.  No caller of the API can be given such a name.
 */
static void name_caller(const struct broker_news *news, struct message *message)
{
	static const char device[] = "events.";
	const char *key = news->key.data != NULL ? news->key.data : "";
	char name[APPLICATION_SIZE] = "";
	size_t length;

	snprintf(message->caller, sizeof(message->caller), "%s", MESH_SUBMIT);
	if (strcmp(news->exchange, MESH_MQTT) != 0) {
		if (application_is_valid(news->user))
			snprintf(message->caller, sizeof(message->caller), "amqp.%.*s", APPLICATION_SIZE - 1,
				news->user);
		return;
	}
	if (strncmp(key, device, strlen(device)) != 0)
		return;
	key += strlen(device);
	length = strcspn(key, ".");
	if (length < sizeof(name) && key[length] == '.') {
		memcpy(name, key, length);
		if (application_is_valid(name))
			snprintf(message->caller, sizeof(message->caller), "mqtt.%s", name);
	}
}

/* A context in the message's headers goes into the event, which is what travels on. */
static bool take_trace(struct message *message, struct event *event, const char *traceparent, struct strbuf *why)
{
	bool is_fine = true;

	if (event_trace_is_valid(traceparent) && json_object_get(event->envelope, "traceparent") == NULL) {
		strbuf_reset(&message->body);
		is_fine = event_trace_take(event->envelope, traceparent) == STATUS_OK &&
			  json_write(event->envelope, &message->body) == STATUS_OK;
	}
	if (!is_fine)
		strbuf_adds(why, "out of memory");
	event_trace_log(event->envelope, "submitted", event->type, NULL);
	return is_fine;
}

/* A binary event's body becomes its envelope, so that it can be handed in again should it be a dead letter. */
static enum status read_binary(
	struct broker_news *news, struct message *message, struct event *event_out, struct strbuf *why)
{
	const char *content_type = news->content_type[0] != '\0' ? news->content_type : NULL;
	struct strbuf text = STRBUF_INIT;
	enum status status;

	status = event_binary_data(news->attributes, content_type, message->body.data, message->body.length, why);
	if (status == STATUS_OK)
		status = json_write(news->attributes, &text);
	if (status != STATUS_OK) {
		strbuf_release(&text);
		return status;
	}
	strbuf_release(&message->body);
	message->body = text;
	status = event_read(news->attributes, EVENT_SUBMITTED, event_out, why);
	news->attributes = NULL;
	return status;
}

static bool check(const struct worker *worker, struct broker_news *news, struct message *message)
{
	const struct event_schema *schema;
	struct strbuf *why = &message->why;
	struct event event;
	enum status status;

	if (event_mode_find(news->content_type, news->attributes != NULL) == EVENT_BINARY)
		status = read_binary(news, message, &event, why);
	else
		status = event_parse(message->body.data, message->body.length, EVENT_SUBMITTED, &event, why);
	if (status != STATUS_OK)
		return false;
	status = event_schema_submitted(worker->schemas, &event, &schema, why);
	if (status == STATUS_OK && !take_trace(message, &event, news->traceparent, why))
		status = STATUS_NO_MEMORY;
	event_release(&event);
	return status == STATUS_OK;
}

/* All that has come.  False when the broker was lost. */
static bool gather(struct worker *worker, struct batch *batch, int64_t timeout_ms)
{
	struct broker_news news;

	do {
		if (!worker_listen(worker, timeout_ms, &news))
			return false;
		if (news.happening == BROKER_DELIVERED) {
			struct message *message = &batch->messages[batch->count++];

			*message = (struct message){ .tag = news.tag, .key = news.key, .body = news.body };
			name_caller(&news, message);
			strbuf_init(&news.key);
			strbuf_init(&news.body);
			strbuf_init(&message->why);
			message->is_good = check(worker, &news, message);
		}
		broker_news_release(&news);
		timeout_ms = 0;
	} while (news.happening != BROKER_NOTHING && batch->count < SUBMITTER_PREFETCH);
	return true;
}

static enum status write_good(struct worker *worker, const struct message *messages, size_t count, struct strbuf *why)
{
	struct strbuf array = STRBUF_INIT, callers = STRBUF_INIT;
	const char *parameters[2];
	enum status status = STATUS_OK;
	bool is_first = true;

	strbuf_addc(&array, '{');
	strbuf_addc(&callers, '{');
	for (size_t i = 0; i < count; i++) {
		if (!messages[i].is_good)
			continue;
		database_array_add(&array, messages[i].body.data, messages[i].body.length, is_first);
		database_array_add(&callers, messages[i].caller, strlen(messages[i].caller), is_first);
		is_first = false;
	}
	strbuf_addc(&array, '}');
	strbuf_addc(&callers, '}');
	parameters[0] = array.data;
	parameters[1] = callers.data;
	if (!strbuf_ok(&array) || !strbuf_ok(&callers))
		status = STATUS_NO_MEMORY;
	else if (!is_first)
		status = database_session_query(
			worker->session, outbox_insert, parameters, 2, WORKER_QUERY_MS, NULL, why);
	strbuf_release(&array);
	strbuf_release(&callers);
	return status;
}

static enum status write_bad(struct worker *worker, const struct message *message, struct strbuf *why)
{
	struct strbuf hex = STRBUF_INIT, key = STRBUF_INIT;
	const char *parameters[] = { message->why.data, NULL, NULL };
	enum status status = STATUS_NO_MEMORY;

	strbuf_add_hex(&hex, message->body.data, message->body.length);
	strbuf_add_json(&key, message->key.data, message->key.length);
	parameters[1] = key.data;
	parameters[2] = hex.data;
	if (strbuf_ok(&hex) && strbuf_ok(&key))
		status = database_session_query(worker->session, write_dead, parameters, 3, WORKER_QUERY_MS, NULL, why);
	strbuf_release(&hex);
	strbuf_release(&key);
	return status;
}

/* In one transaction. */
static enum status write_messages(
	struct worker *worker, const struct message *messages, size_t message_count, struct strbuf *why)
{
	enum status status = database_session_script(worker->session, "BEGIN", WORKER_QUERY_MS, why);

	if (status == STATUS_OK)
		status = write_good(worker, messages, message_count, why);
	for (size_t i = 0; i < message_count && status == STATUS_OK; i++)
		if (!messages[i].is_good)
			status = write_bad(worker, &messages[i], why);
	if (status == STATUS_OK)
		status = database_session_script(worker->session, "COMMIT", WORKER_QUERY_MS, why);
	else if (database_session_script(worker->session, "ROLLBACK", WORKER_QUERY_MS, NULL) != STATUS_OK)
		status = STATUS_UNREACHABLE;
	return status;
}

static bool is_data_fault(enum status status)
{
	return status == STATUS_INTERNAL || status == STATUS_CONFLICT;
}

/* What the database refuses by itself is a dead letter and holds up nobody. */
static enum status write_batch(struct worker *worker, struct batch *batch, struct strbuf *why)
{
	enum status status = write_messages(worker, batch->messages, batch->count, why);

	if (!is_data_fault(status))
		return status;
	status = STATUS_OK;
	for (size_t i = 0; i < batch->count && status == STATUS_OK; i++) {
		struct message *message = &batch->messages[i];

		strbuf_reset(why);
		status = write_messages(worker, message, 1, why);
		if (!is_data_fault(status) || !message->is_good)
			continue;
		message->is_good = false;
		strbuf_adds(&message->why, why->data);
		strbuf_reset(why);
		status = write_messages(worker, message, 1, why);
	}
	return status;
}

static void release_batch(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		strbuf_release(&batch->messages[i].key);
		strbuf_release(&batch->messages[i].body);
		strbuf_release(&batch->messages[i].why);
	}
	batch->count = 0;
}

/* Until it is in the outbox, however long the database is away.  False when stopping or when the broker was lost. */
static bool take(struct worker *worker, struct batch *batch)
{
	struct strbuf why = STRBUF_INIT;
	enum status status = STATUS_UNREACHABLE;
	uint64_t good = 0;

	while (worker->broker != NULL && !atomic_load(&worker->is_stopping)) {
		strbuf_reset(&why);
		status = STATUS_OK;
		if (worker->session == NULL)
			status = database_session_open(
				worker->dsn, worker->settings->events.timeout_ms, &worker->session, &why);
		if (status == STATUS_OK)
			status = write_batch(worker, batch, &why);
		if (status == STATUS_OK)
			break;
		worker_lose_session(worker, why.data);
		worker_wait(worker);
		if (batch->count < SUBMITTER_PREFETCH)
			(void)gather(worker, batch, 0);
	}
	strbuf_reset(&why);
	if (status == STATUS_OK &&
		broker_acknowledge(worker->broker, batch->messages[batch->count - 1].tag, &why) != STATUS_OK) {
		worker_lose_broker(worker, why.data);
		status = STATUS_UNREACHABLE;
	}
	for (size_t i = 0; i < batch->count; i++)
		good += batch->messages[i].is_good;
	if (status == STATUS_OK) {
		count("taken", good);
		count("dead", batch->count - good);
	}
	strbuf_release(&why);
	return status == STATUS_OK;
}

void submitter_work(struct worker *worker)
{
	struct batch *batch;
	bool is_fine;

	if (!worker_connect(worker, prepare))
		return;
	batch = calloc(1, sizeof(*batch));
	is_fine = batch != NULL;
	while (is_fine && !atomic_load(&worker->is_stopping)) {
		is_fine = gather(worker, batch, WORKER_TURN_MS);
		if (!is_fine || batch->count == 0)
			continue;
		is_fine = take(worker, batch);
		release_batch(batch);
		if (is_fine)
			worker_succeed(worker);
	}
	if (batch != NULL)
		release_batch(batch);
	free(batch);
	worker_lose_broker(worker, NULL);
	if (!is_fine)
		worker_wait(worker);
}

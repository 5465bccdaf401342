/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A submission is read and checked on the HTTP thread, decided on and written by
 * the loop and its database in one statement, and answered from its completion.
 * A batch is kept whole or not at all: the first fault ends it, by its index.
 */
#include "federation/submission.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/problem.h"
#include "base/random.h"
#include "federation/event.h"
#include "federation/event_modes.h"
#include "federation/event_trace.h"
#include "federation/worker.h"

#define HEADER_PREFIX "ce-"

struct item {
	struct event event;
	const struct event_schema *schema; /* NULL: the type has none */
};

struct submission {
	struct loop_task task;
	struct submissions *submissions;
	struct http_request *request;
	struct item *items;
	size_t count;
	bool is_batch;
	struct strbuf rows, callers, why; /* rows, callers: PostgreSQL's texts of the arrays */
	char caller[CALLER_SIZE];
};

const char outbox_insert[] =
	"INSERT INTO homeward.outbox (id, source, aggregateid, type, payload, destination, attributes, caller)"
	" SELECT e->>'id', e->>'source', coalesce(e->>'subject', ''), e->>'type', e->'data', e->>'destination',"
	" e - '{specversion,id,source,type,subject,destination,data}'::text[], c"
	" FROM (SELECT t::jsonb AS e, c FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(t, c, n) ORDER BY n) "
	"AS given"
	" ON CONFLICT (source, id) DO NOTHING";

static void submission_destroy(struct submission *submission)
{
	for (size_t i = 0; i < submission->count; i++)
		event_release(&submission->items[i].event);
	strbuf_release(&submission->rows);
	strbuf_release(&submission->callers);
	strbuf_release(&submission->why);
	free(submission->items);
	free(submission);
}

/* ---- on the loop ---- */

static void reply_accepted(struct submission *submission)
{
	struct strbuf text = STRBUF_INIT;
	struct http_response *response = NULL;

	if (submission->is_batch)
		strbuf_addc(&text, '[');
	for (size_t i = 0; i < submission->count; i++) {
		const struct event *event = &submission->items[i].event;

		strbuf_adds(&text, i > 0 ? ",{\"id\":" : "{\"id\":");
		strbuf_add_json(&text, event->id, strlen(event->id));
		strbuf_adds(&text, ",\"source\":");
		strbuf_add_json(&text, event->source, strlen(event->source));
		strbuf_addc(&text, '}');
	}
	if (submission->is_batch)
		strbuf_addc(&text, ']');
	if (strbuf_ok(&text))
		response = http_response_create(202, "application/json", text.data, text.length);
	strbuf_release(&text);
	if (response != NULL)
		http_request_reply(submission->request, response);
	else
		problem_reply(submission->request, STATUS_NO_MEMORY, NULL);
}

static void on_written(void *arg, enum status status, const PGresult *result)
{
	struct submission *submission = arg;

	(void)result;
	for (size_t i = 0; i < submission->count && status == STATUS_OK; i++)
		event_trace_log(
			submission->items[i].event.envelope, "submitted", submission->items[i].event.type, NULL);
	if (status == STATUS_OK)
		reply_accepted(submission);
	else
		problem_reply(submission->request, status,
			submission->is_batch ? "The events were not kept; submit them again."
					     : "The event was not kept; submit it again.");
	submission_destroy(submission);
}

static void on_denied(void *arg, enum status status, struct policy_release *release)
{
	struct submission *submission = arg;

	/* Its denial was asked to be put on record; were it permitted by now, it may be submitted again. */
	policy_release_destroy(release);
	if (status == STATUS_OK || status == STATUS_NOT_AVAILABLE)
		problem_reply(submission->request, STATUS_FORBIDDEN, submission->why.data);
	else
		problem_reply(submission->request, status, "The refusal of the event could not be put on record.");
	submission_destroy(submission);
}

/* What is wrong is wrong with this one. */
static void add_index(struct submission *submission, size_t index)
{
	if (submission->is_batch)
		strbuf_addf(&submission->why, "[%zu] ", index);
}

/* False when it may not leave: then the submission is over. */
static bool decide(struct submission *submission, struct policy *policy, size_t index)
{
	const struct submissions *submissions = submission->submissions;
	const struct item *item = &submission->items[index];
	struct event_crossing crossing = { .operation = GATE_SEND,
		.event = &item->event,
		.classification = item->schema != NULL ? event_schema_classification(item->schema) : NULL,
		.caller = submission->caller,
		.exchange = exchange_id_make(clock_system(), random_system()) };
	struct gate_request request;
	struct lookup_question question;
	struct gate_decision decision;

	if (strcmp(item->event.destination, submissions->region) == 0)
		return true;
	request = event_request(submissions->gate, &crossing);
	policy_decide(policy, &request, &decision);
	if (decision.permitted)
		return true;
	add_index(submission, index);
	policy_event_refusal(policy, &request, &submission->why);
	event_question(&crossing, loop_now_ms(submissions->loop) + WORKER_RECORD_MS, &question);
	policy_release_request(
		submissions->gate->log, policy, &request, &question, item->event.destination, on_denied, submission);
	return false;
}

/* Whether it may leave is decided again when it does; here whoever submits it learns that it may not. */
static void decide_submission(struct loop_task *task)
{
	struct submission *submission = (struct submission *)(void *)((char *)task - offsetof(struct submission, task));
	struct database_parameter parameters[] = { { submission->rows.data }, { submission->callers.data } };
	struct policy *policy = gate_acquire(submission->submissions->gate->gate);
	bool is_permitted = true;

	for (size_t i = 0; i < submission->count && is_permitted; i++)
		is_permitted = decide(submission, policy, i);
	policy_release_reference(policy);
	if (is_permitted)
		database_query(
			submission->submissions->database, outbox_insert, parameters, 2, 0, on_written, submission);
}

/* ---- on the HTTP thread ---- */

struct headers {
	json_t *envelope; /* NULL: there was none yet */
	struct strbuf *why;
	enum status status;
};

static bool take_header(void *arg, const char *name, const char *value)
{
	struct headers *headers = arg;

	if (strncasecmp(name, HEADER_PREFIX, strlen(HEADER_PREFIX)) != 0)
		return true;
	if (headers->envelope == NULL)
		headers->envelope = json_object();
	headers->status = headers->envelope == NULL ? STATUS_NO_MEMORY
						    : event_binary_attribute(headers->envelope,
							      name + strlen(HEADER_PREFIX), value, true, headers->why);
	return headers->status == STATUS_OK;
}

static bool see_header(void *arg, const char *name, const char *value)
{
	bool *has_attributes = arg;

	(void)value;
	*has_attributes = strncasecmp(name, HEADER_PREFIX, strlen(HEADER_PREFIX)) == 0;
	return !*has_attributes;
}

/* The context of the request, its schema, and its text as the outbox gets it. */
static enum status keep_item(struct submission *submission, struct item *item, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	enum status status = event_trace_take(
		item->event.envelope, http_request_header(submission->request, "traceparent"));

	submission->count++;
	if (status == STATUS_OK)
		status = event_schema_submitted(submission->submissions->schemas, &item->event, &item->schema, why);
	if (status == STATUS_OK)
		status = json_write(item->event.envelope, &text);
	if (status == STATUS_OK && text.length > EVENT_BYTES_MAX) {
		strbuf_adds(why, "event: over 1,048,576 bytes");
		status = STATUS_TOO_LARGE;
	}
	if (status == STATUS_OK) {
		database_array_add(&submission->rows, text.data, text.length, submission->count == 1);
		database_array_add(
			&submission->callers, submission->caller, strlen(submission->caller), submission->count == 1);
	}
	strbuf_release(&text);
	return status;
}

/* Takes the envelope. */
static enum status take_envelope(struct submission *submission, json_t *envelope, struct strbuf *why)
{
	struct item *item = &submission->items[submission->count];
	enum status status = event_read(envelope, EVENT_SUBMITTED, &item->event, why);

	return status == STATUS_OK ? keep_item(submission, item, why) : status;
}

static enum status read_structured(struct submission *submission, const char *body, size_t size)
{
	struct item *item = submission->items;
	enum status status = event_parse(body, size, EVENT_SUBMITTED, &item->event, &submission->why);

	return status == STATUS_OK ? keep_item(submission, item, &submission->why) : status;
}

static enum status read_binary(struct submission *submission, const char *body, size_t size)
{
	struct headers headers = { NULL, &submission->why, STATUS_OK };
	enum status status;

	http_request_each_header(submission->request, take_header, &headers);
	status = headers.status;
	if (status == STATUS_OK)
		status = event_binary_data(headers.envelope, http_request_header(submission->request, "Content-Type"),
			body, size, &submission->why);
	if (status != STATUS_OK) {
		json_decref(headers.envelope);
		return status;
	}
	return take_envelope(submission, headers.envelope, &submission->why);
}

static enum status read_batch(struct submission *submission, const char *body, size_t size)
{
	struct strbuf why = STRBUF_INIT;
	json_t *array;
	enum status status = json_parse(body, size, &array, &submission->why);
	size_t count = json_array_size(array);

	if (status != STATUS_OK)
		return status;
	if (!json_is_array(array) || count == 0 || count > SUBMISSION_EVENTS_MAX) {
		strbuf_addf(&submission->why, "batch: not an array of 1 to %d events", SUBMISSION_EVENTS_MAX);
		json_decref(array);
		return STATUS_INVALID;
	}
	free(submission->items);
	submission->items = calloc(count, sizeof(*submission->items));
	if (submission->items == NULL)
		status = STATUS_NO_MEMORY;
	for (size_t i = 0; i < count && status == STATUS_OK; i++) {
		strbuf_reset(&why);
		status = take_envelope(submission, json_incref(json_array_get(array, i)), &why);
		if (status != STATUS_OK) {
			add_index(submission, i);
			strbuf_adds(&submission->why, why.data);
		}
	}
	strbuf_release(&why);
	json_decref(array);
	return status;
}

static enum status read_body(struct submission *submission)
{
	const char *content_type = http_request_header(submission->request, "Content-Type"), *body;
	bool has_attributes = false;
	enum status status = STATUS_INVALID;
	size_t size;

	body = http_request_body(submission->request, &size);
	body = body != NULL ? body : "";
	http_request_each_header(submission->request, see_header, &has_attributes);
	strbuf_addc(&submission->rows, '{');
	strbuf_addc(&submission->callers, '{');
	switch (event_mode_find(content_type, has_attributes)) {
	case EVENT_STRUCTURED:
		status = read_structured(submission, body, size);
		break;
	case EVENT_BATCH:
		submission->is_batch = true;
		status = read_batch(submission, body, size);
		break;
	case EVENT_BINARY:
		status = read_binary(submission, body, size);
		break;
	}
	strbuf_addc(&submission->rows, '}');
	strbuf_addc(&submission->callers, '}');
	return status == STATUS_OK && (!strbuf_ok(&submission->rows) || !strbuf_ok(&submission->callers))
		       ? STATUS_NO_MEMORY
		       : status;
}

void submission_take(struct submissions *submissions, struct http_request *request, const char *caller)
{
	struct submission *submission = calloc(1, sizeof(*submission));
	enum status status;

	if (submission == NULL) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return;
	}
	submission->submissions = submissions;
	submission->request = request;
	strbuf_init(&submission->rows);
	strbuf_init(&submission->callers);
	strbuf_init(&submission->why);
	memccpy(submission->caller, caller, '\0', sizeof(submission->caller) - 1);
	submission->items = calloc(1, sizeof(*submission->items));
	status = submission->items != NULL ? read_body(submission) : STATUS_NO_MEMORY;
	if (status == STATUS_OK) {
		submission->task.run = decide_submission;
		http_request_suspend(request);
		loop_post(submissions->loop, &submission->task);
	} else {
		problem_reply(request, status, submission->why.length > 0 ? submission->why.data : NULL);
		submission_destroy(submission);
	}
}

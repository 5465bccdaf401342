/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of events together: three workers, and the way in for callers.  A
 * submission is parsed on the HTTP thread, written by the loop's database, and
 * answered from its completion.
 */
#include "federation/events.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/problem.h"
#include "base/random.h"
#include "federation/canary_sender.h"
#include "federation/consumer.h"
#include "federation/event.h"
#include "federation/event_trace.h"
#include "federation/publisher.h"
#include "federation/submitter.h"
#include "federation/system_publisher.h"

struct events {
	const struct settings *settings;
	struct loop *loop;
	struct database *database;
	char *dsn;
	struct mesh *mesh; /* NULL: no mesh file */
	struct event_schemas *schemas;
	struct event_gate gate;
	struct events_hooks hooks;
	struct system_events *system;
	struct canary_sender *canary_sender; /* NULL: no mesh file, or canaries are off */
	struct worker publisher, consumer, submitter, system_publisher, canary;
};

/* ---- submissions ---- */

struct submission {
	struct loop_task task;
	struct events *events;
	struct http_request *request;
	struct event event;
	const struct event_schema *schema; /* NULL: the type has none */
	struct strbuf data, attributes, why;
	char caller[CALLER_SIZE];
};

static const char insert_row[] =
	"INSERT INTO homeward.outbox (id, source, aggregateid, type, payload, destination, attributes, caller)"
	" VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7::jsonb, $8) ON CONFLICT (source, id) DO NOTHING";

static void submission_destroy(struct submission *submission)
{
	event_release(&submission->event);
	strbuf_release(&submission->data);
	strbuf_release(&submission->attributes);
	strbuf_release(&submission->why);
	free(submission);
}

static void reply_accepted(struct submission *submission)
{
	struct strbuf text = STRBUF_INIT;
	struct http_response *response = NULL;

	strbuf_adds(&text, "{\"id\":");
	strbuf_add_json(&text, submission->event.id, strlen(submission->event.id));
	strbuf_adds(&text, ",\"source\":");
	strbuf_add_json(&text, submission->event.source, strlen(submission->event.source));
	strbuf_addc(&text, '}');
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
	if (status == STATUS_OK)
		event_trace_log(submission->event.envelope, "submitted", submission->event.type, NULL);
	if (status == STATUS_OK)
		reply_accepted(submission);
	else
		problem_reply(submission->request, status, "The event was not kept; submit it again.");
	submission_destroy(submission);
}

static void write_submission(struct submission *submission)
{
	const struct event *event = &submission->event;
	struct database_parameter parameters[] = {
		{ event->id },
		{ event->source },
		{ event->subject },
		{ event->type },
		{ submission->data.length > 0 ? submission->data.data : NULL },
		{ event->destination },
		{ submission->attributes.data },
		{ submission->caller },
	};

	database_query(submission->events->database, insert_row, parameters, sizeof(parameters) / sizeof(parameters[0]),
		0, on_written, submission);
}

/* The outbox has columns for some attributes; the others are kept as they are. */
static enum status take_apart(struct submission *submission)
{
	static const char *const columns[] = { "specversion", "id", "source", "type", "subject", "destination",
		"data" };
	json_t *rest = json_copy(submission->event.envelope); /* shallow: what is borrowed stays with the envelope */
	const json_t *data = json_object_get(submission->event.envelope, "data");
	enum status status = rest != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	char *text;

	for (size_t i = 0; status == STATUS_OK && i < sizeof(columns) / sizeof(columns[0]); i++)
		if (json_object_get(rest, columns[i]) != NULL && json_object_del(rest, columns[i]) != 0)
			status = STATUS_INTERNAL;
	if (status == STATUS_OK)
		status = json_write(rest, &submission->attributes);
	json_decref(rest);
	if (status != STATUS_OK || data == NULL)
		return status;
	text = json_dumps(data, JSON_ENCODE_ANY | JSON_COMPACT);
	if (text == NULL)
		return STATUS_NO_MEMORY;
	strbuf_adds(&submission->data, text);
	free(text);
	return strbuf_ok(&submission->data) ? STATUS_OK : STATUS_NO_MEMORY;
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

/* Whether it may leave is decided again when it does; here whoever submits it learns that it may not. */
static void decide_submission(struct loop_task *task)
{
	struct submission *submission = (struct submission *)(void *)((char *)task - offsetof(struct submission, task));
	struct events *events = submission->events;
	struct event_crossing crossing = { .operation = GATE_SEND,
		.event = &submission->event,
		.classification = submission->schema != NULL ? event_schema_classification(submission->schema) : NULL,
		.caller = submission->caller,
		.exchange = exchange_id_make(clock_system(), random_system()) };
	struct gate_request request = event_request(&events->gate, &crossing);
	struct policy *policy = gate_acquire(events->gate.gate);
	struct lookup_question question;
	struct gate_decision decision;

	policy_decide(policy, &request, &decision);
	if (decision.permitted || strcmp(submission->event.destination, events->settings->region) == 0) {
		write_submission(submission);
	} else {
		policy_event_refusal(policy, &request, &submission->why);
		event_question(&crossing, loop_now_ms(events->loop) + WORKER_RECORD_MS, &question);
		policy_release_request(events->gate.log, policy, &request, &question, submission->event.destination,
			on_denied, submission);
	}
	policy_release_reference(policy);
}

/* The schema it names, or the newest for its type; none for a type nobody described. */
static enum status check_schema(struct submission *submission, struct strbuf *why)
{
	const struct event *event = &submission->event;

	submission->schema = event_schema_find(submission->events->schemas, event->type, event->schema);
	if (submission->schema != NULL)
		return event_schema_check(submission->schema, json_object_get(event->envelope, "data"), why);
	if (event->schema[0] == '\0')
		return STATUS_OK;
	strbuf_adds(why, "dataschema: no schema of this name for this type");
	return STATUS_INVALID;
}

void events_submit(void *arg, struct http_request *request, const char *caller)
{
	struct events *events = arg;
	struct submission *submission = calloc(1, sizeof(*submission));
	struct strbuf why = STRBUF_INIT;
	enum status status;
	const char *body;
	size_t size;

	if (submission == NULL) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return;
	}
	submission->events = events;
	submission->request = request;
	strbuf_init(&submission->data);
	strbuf_init(&submission->attributes);
	strbuf_init(&submission->why);
	memccpy(submission->caller, caller, '\0', sizeof(submission->caller) - 1);
	body = http_request_body(request, &size);
	status = event_parse(body != NULL ? body : "", size, EVENT_SUBMITTED, &submission->event, &why);
	if (status == STATUS_OK)
		status = event_trace_take(submission->event.envelope, http_request_header(request, "traceparent"));
	if (status == STATUS_OK)
		status = check_schema(submission, &why);
	if (status == STATUS_OK)
		status = take_apart(submission);
	if (status == STATUS_OK) {
		submission->task.run = decide_submission;
		http_request_suspend(request);
		loop_post(events->loop, &submission->task);
	} else {
		problem_reply(request, status, why.length > 0 ? why.data : NULL);
		submission_destroy(submission);
	}
	strbuf_release(&why);
}

/* ---- the whole ---- */

static struct worker make_worker(const struct events *events, const char *name, void (*work)(struct worker *worker))
{
	const struct settings *settings = events->settings;

	return (struct worker){
		.name = name,
		.settings = settings,
		.dsn = events->dsn,
		.mesh = events->mesh,
		.schemas = events->schemas,
		.gate = (struct event_gate *)(uintptr_t)&events->gate,
		.hooks = events->hooks,
		.system = events->system,
		.canary = events->canary_sender,
		.broker_settings = { settings->events.broker, settings->tls.certificate, settings->tls.key,
			settings->tls.ca, settings->events.timeout_ms, (int)settings->events.heartbeat_s },
		.work = work,
	};
}

enum status events_start(const struct events_settings *settings, struct events **events_out, struct strbuf *why)
{
	struct events *events = calloc(1, sizeof(*events));
	const char *wrong = broker_url_check(settings->settings->events.broker);
	enum status status = STATUS_NO_MEMORY;

	*events_out = NULL;
	if (wrong != NULL) {
		strbuf_addf(why, "events.broker: %s", wrong);
		free(events);
		return STATUS_INVALID;
	}
	if (events == NULL)
		return STATUS_NO_MEMORY;
	events->settings = settings->settings;
	events->loop = settings->loop;
	events->database = settings->database;
	events->dsn = strdup(settings->dsn);
	if (events->dsn != NULL)
		status = STATUS_OK;
	if (status == STATUS_OK && settings->settings->events.mesh[0] != '\0')
		status = mesh_load(settings->settings->events.mesh, &events->mesh, why);
	if (status == STATUS_OK)
		status = event_schemas_load(settings->settings->events.schemas, &events->schemas, why);
	if (status == STATUS_OK && events->mesh != NULL && settings->settings->events.canary_interval_ms > 0)
		status = canary_sender_create(
			settings->settings, events->mesh, settings->tls, settings->system, &events->canary_sender);
	events->hooks = settings->hooks;
	events->system = settings->system;
	events->gate = (struct event_gate){ settings->settings->region, settings->gate, settings->log, settings->loop };
	events->publisher = make_worker(events, "publisher", publisher_work);
	events->consumer = make_worker(events, "consumer", consumer_work);
	events->submitter = make_worker(events, "submitter", submitter_work);
	events->system_publisher = make_worker(events, "system", system_publisher_work);
	events->system_publisher.dsn = NULL;
	events->canary = make_worker(events, "canary", canary_sender_work);
	events->canary.dsn = NULL;
	if (status == STATUS_OK)
		status = confirms_init(&events->publisher.confirms, (size_t)settings->settings->events.in_flight_max);
	if (status == STATUS_OK)
		status = confirms_init(
			&events->consumer.confirms, 2 * (size_t)settings->settings->events.prefetch); /* and receipts */
	if (status == STATUS_OK)
		status = confirms_init(&events->system_publisher.confirms, SYSTEM_BATCH_MAX);
	if (status == STATUS_OK && events->system != NULL)
		status = worker_start(&events->system_publisher, why);
	if (status == STATUS_OK)
		status = worker_start(&events->publisher, why);
	if (status == STATUS_OK)
		status = worker_start(&events->consumer, why);
	if (status == STATUS_OK)
		status = worker_start(&events->submitter, why);
	if (status == STATUS_OK && events->canary_sender != NULL)
		status = worker_start(&events->canary, why);
	if (status != STATUS_OK) {
		events_stop(events);
		return status;
	}
	*events_out = events;
	return STATUS_OK;
}

void events_stop(struct events *events)
{
	if (events == NULL)
		return;
	worker_stop(&events->publisher);
	worker_stop(&events->consumer);
	worker_stop(&events->submitter);
	worker_stop(&events->system_publisher);
	worker_stop(&events->canary);
	confirms_release(&events->publisher.confirms);
	confirms_release(&events->consumer.confirms);
	confirms_release(&events->system_publisher.confirms);
	canary_sender_destroy(events->canary_sender);
	event_schemas_destroy(events->schemas);
	mesh_destroy(events->mesh);
	free(events->dsn);
	free(events);
}

json_t *events_mesh(struct events *events)
{
	return events->canary_sender != NULL ? canary_matrix(events->canary_sender) : NULL;
}

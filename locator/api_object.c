/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET, PUT and DELETE of one object.  A hit is answered on the HTTP thread;
 * everything else suspends the request and goes through the object's engine.
 *
 * Writes happen at the object's home only and always conditionally, so that two
 * writers cannot undo each other without noticing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "locator/api.h"

#define RECORD_BYTES_MAX (64 * 1024)

/* ---- GET ---- */

struct get_call {
	struct lookup_call call;
	struct http_request *request;
};

static void get_done(struct lookup_call *lookup, const struct resolve_result *result)
{
	struct get_call *call = (struct get_call *)((char *)lookup - offsetof(struct get_call, call));
	struct locator *locator = lookup->engine->locator;
	const struct lookup_question *question = &lookup->waiter.question;
	if (result->status) {
		api_problem_of(locator, call->request, question, result);
	} else {
		if (result->source == SOURCE_CACHE) /* found out where the station is: the next hit need not */
			cache_permit_release(locator_permit(locator, result->entry, question, result->policy_generation,
				result->routes_generation));
		answer_reply(locator, call->request, result->entry, answer_kind_of(result, lookup->waiter.mode),
			result->flags);
	}
	free(call);
}

struct get_query {
	struct api_ask ask;
	char unknown[64];
};

static bool take_query(void *arg, const char *name, const char *value)
{
	struct get_query *query = arg;
	if (!strcmp(name, "purpose"))
		query->ask.purpose = value;
	else if (!strcmp(name, "station"))
		query->ask.station = value;
	else if (!strcmp(name, "station_type"))
		query->ask.station_type = value;
	else if (!strcmp(name, "tap"))
		query->ask.tap = value;
	else
		snprintf(query->unknown, sizeof(query->unknown), "%s", name);
	return !query->unknown[0];
}

static void start_get(struct api_request *api, struct lookup_question *question, enum cache_mode mode)
{
	struct strbuf why = STRBUF_INIT;
	enum status status = api_terms(api, question, &why);
	struct get_call *call = status ? NULL : calloc(1, sizeof(*call));
	if (!call) {
		api_problem(api->request, question, status ? status : STATUS_NO_MEMORY, status ? why.data : NULL);
		strbuf_release(&why);
		return;
	}
	call->request = api->request;
	call->call.done = get_done;
	call->call.waiter.question = *question;
	call->call.waiter.mode = mode;
	http_request_suspend(api->request);
	status = lookup_call_start(api->locator, &call->call);
	if (status) {
		api_problem(api->request, question, status, NULL);
		free(call);
	}
}

void api_get_object(void *arg, struct http_request *request)
{
	struct api_request api;
	struct lookup_question question;
	struct get_query query = { .ask = { .type = http_request_param(request, "type"),
					   .id = http_request_param(request, "id") } };
	struct strbuf why = STRBUF_INIT;
	if (!api_begin(arg, request, &api))
		return;
	http_request_each_query(request, take_query, &query);
	enum status status = STATUS_INVALID;
	if (query.unknown[0])
		strbuf_addf(&why, "%s: not a parameter of this endpoint", query.unknown);
	else
		status = api_question(api.locator, api.caller, &query.ask, &question, &why);
	if (status) {
		question = (struct lookup_question){ .exchange = api_exchange(api.locator) };
		api_problem(request, &question, status, why.data);
		goto out;
	}
	enum cache_mode mode = api_cache_mode(request);
	struct cache_permit *permit = NULL;
	struct cache_entry *entry = mode == CACHE_MODE_BYPASS ? NULL : locator_cached(api.locator, &question, &permit);
	if (entry) {
		locator_count(api.locator, question.object.type, OUTCOME_HIT);
		answer_reply_hit(api.locator, request, entry, permit);
		cache_permit_release(permit);
		cache_entry_release(entry);
	} else {
		start_get(&api, &question, mode);
	}
out:
	strbuf_release(&why);
	api_end(&api);
}

/* ---- PUT and DELETE ---- */

struct write_call {
	struct loop_task task;
	struct http_request *request;
	struct engine *engine;
	struct lookup_question question; /* object, exchange, deadline and trace */
	json_t *content;                 /* NULL: delete */
	enum write_condition condition;
	uint64_t version;
};

static struct http_response *written(const struct write_call *call, uint64_t version, bool was_created)
{
	struct strbuf text = STRBUF_INIT;
	char etag[32];
	if (!call->content)
		return http_response_create(204, NULL, NULL, 0);
	const struct object_id *object = &call->question.object;
	strbuf_adds(&text, "{\"type\":");
	strbuf_add_json(&text, object->type, strlen(object->type));
	strbuf_adds(&text, ",\"id\":");
	strbuf_add_json(&text, object->id, strlen(object->id));
	strbuf_addf(&text, ",\"version\":%" PRIu64 "}", version);
	struct http_response *response = api_json(was_created ? 201 : 200, &text);
	strbuf_release(&text);
	snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", version);
	if (response)
		http_response_header(response, "ETag", etag);
	return response;
}

static void write_done(void *arg, enum status status, uint64_t version, bool was_created)
{
	struct write_call *call = arg;
	struct locator *locator = call->engine->locator;
	/* Also after a failure: nobody can say whether the write took place. */
	locator_forget(locator, &call->question.object);
	if (status)
		api_problem(call->request, &call->question, status, NULL);
	else
		api_reply(call->request, written(call, version, was_created));
	json_decref(call->content);
	free(call);
	locator_leave(locator);
}

static void write_run(struct loop_task *task)
{
	struct write_call *call = (struct write_call *)((char *)task - offsetof(struct write_call, task));
	handlers_write(call->engine->parts.handlers, &call->question.object, call->content, call->condition,
		call->version, call->question.deadline_ms, write_done, call);
}

/* One strong tag as this API gives them out: "\"7\"" after a write, "\"7-1f3c09aa\"" with a view: the version counts. */
static bool parse_etag(const char *text, uint64_t *version_out)
{
	char *end;
	if (text[0] != '"' || text[1] < '0' || text[1] > '9')
		return false;
	*version_out = strtoull(text + 1, &end, 10);
	if (end[0] == '-')
		end += 1 + strspn(end + 1, "0123456789abcdef");
	return end[0] == '"' && !end[1];
}

static enum status read_condition(
	const struct http_request *request, bool may_create, struct write_call *call, struct strbuf *why)
{
	const char *match = http_request_header(request, "If-Match");
	const char *none_match = http_request_header(request, "If-None-Match");
	if (match && !none_match && parse_etag(match, &call->version)) {
		call->condition = WRITE_IF_VERSION;
		return STATUS_OK;
	}
	if (none_match && !match && may_create && !strcmp(none_match, "*")) {
		call->condition = WRITE_IF_ABSENT;
		return STATUS_OK;
	}
	if (!match && !none_match) {
		strbuf_adds(why, may_create ? "send If-Match with the version you read, or If-None-Match: * to create"
					    : "send If-Match with the version you read");
		return STATUS_PRECONDITION_REQUIRED;
	}
	strbuf_addf(why, "%s: send If-Match with one version, such as \"7\"%s", match ? "If-Match" : "If-None-Match",
		may_create ? ", or If-None-Match: *" : "");
	return STATUS_INVALID;
}

static enum status check_write(
	const struct api_request *api, struct write_call *call, bool may_create, struct strbuf *why)
{
	struct route_answer route;
	if (!api->caller->may_write) {
		strbuf_adds(why, "this caller may not write");
		return STATUS_FORBIDDEN;
	}
	enum status status = api_object(api->locator, http_request_param(api->request, "type"),
		http_request_param(api->request, "id"), "type", "id", &call->question.object, why);
	if (status)
		return status;
	routes_find(api->locator->settings.routes, &call->question.object, &route);
	if (route.found != ROUTE_FOUND_NONE && strcmp(route.region, api->locator->settings.settings->region)) {
		strbuf_addf(why, "its home is region %s: write there", route.region);
		return STATUS_MISDIRECTED;
	}
	return read_condition(api->request, may_create, call, why);
}

static void start_write(struct locator *locator, struct http_request *request, bool is_put)
{
	struct api_request api;
	struct strbuf why = STRBUF_INIT;
	if (!api_begin(locator, request, &api))
		return;
	struct write_call *call = calloc(1, sizeof(*call));
	if (!call) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		goto out;
	}
	if (!api_only_query(request, NULL, 0))
		goto out;
	enum status status = api_terms(&api, &call->question, &why);
	if (!status)
		status = check_write(&api, call, is_put, &why);
	if (status) {
		api_problem(request, &call->question, status, why.data);
		goto out;
	}
	call->content = is_put ? api_body(request, RECORD_BYTES_MAX) : NULL;
	if (is_put && !call->content)
		goto out;
	if (is_put && !json_numbers_fit(call->content)) {
		api_problem(request, &call->question, STATUS_INVALID,
			"a number of 2^63 or more cannot be kept exactly: send it as a string");
		json_decref(call->content);
		goto out;
	}
	if (!locator_enter(locator)) {
		api_problem(request, &call->question, STATUS_OVERLOADED, NULL);
		json_decref(call->content);
		goto out;
	}
	call->request = request;
	call->engine = locator_engine_of(locator, &call->question.object);
	call->task = (struct loop_task){ .run = write_run };
	http_request_suspend(request);
	loop_post(call->engine->parts.loop, &call->task);
	call = NULL;
out:
	free(call);
	strbuf_release(&why);
	api_end(&api);
}

void api_put_object(void *arg, struct http_request *request)
{
	start_write(arg, request, true);
}

void api_delete_object(void *arg, struct http_request *request)
{
	start_write(arg, request, false);
}

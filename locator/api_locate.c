/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/locate/{type}/{id}: which region is home and how that was found.  Asks
 * the route table and this region's own handler; nothing leaves the region.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "locator/api.h"

struct locate_call {
	struct loop_task task;
	struct http_request *request;
	struct engine *engine;
	struct lookup_question question;
	uint64_t generation;
};

static void reply_located(const struct locator *locator, struct http_request *request, const struct object_id *object,
	const struct route_answer *route, const char *found_by)
{
	struct strbuf text = STRBUF_INIT;
	bool would_cross = route->region[0] && strcmp(route->region, locator->settings.settings->region);
	strbuf_adds(&text, "{\"type\":");
	strbuf_add_json(&text, object->type, strlen(object->type));
	strbuf_adds(&text, ",\"id\":");
	strbuf_add_json(&text, object->id, strlen(object->id));
	strbuf_adds(&text, ",\"home\":");
	if (route->region[0])
		strbuf_add_json(&text, route->region, strlen(route->region));
	else
		strbuf_adds(&text, "null");
	strbuf_addf(&text, ",\"found_by\":\"%s\",\"key\":", found_by);
	if (route->key[0])
		strbuf_add_json(&text, route->key, strlen(route->key));
	else
		strbuf_adds(&text, "null");
	strbuf_addf(&text, ",\"would_cross_border\":%s,\"generation\":%" PRIu64 "}", would_cross ? "true" : "false",
		route->generation);
	struct http_response *response = api_json(200, &text);
	strbuf_release(&text);
	if (response)
		http_response_header(response, "Cache-Control", "no-store");
	api_reply(request, response);
}

static void locate_done(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct locate_call *call = arg;
	struct locator *locator = call->engine->locator;
	(void)version;
	(void)content;
	struct route_answer route = { .generation = call->generation };
	if (status == STATUS_OK)
		memccpy(route.region, locator->settings.settings->region, '\0', sizeof(route.region));
	if (status == STATUS_OK || status == STATUS_NOT_AVAILABLE)
		reply_located(
			locator, call->request, &call->question.object, &route, status == STATUS_OK ? "local" : "none");
	else
		api_problem(call->request, &call->question, status, NULL);
	free(call);
	locator_leave(locator);
}

static void locate_run(struct loop_task *task)
{
	struct locate_call *call = (struct locate_call *)((char *)task - offsetof(struct locate_call, task));
	handlers_fetch(
		call->engine->parts.handlers, &call->question.object, call->question.deadline_ms, locate_done, call);
}

static void look_here(struct locator *locator, struct http_request *request, const struct lookup_question *question,
	uint64_t generation)
{
	struct locate_call *call = calloc(1, sizeof(*call));
	bool has_entered = call && locator_enter(locator);
	if (!has_entered) {
		api_problem(request, question, call ? STATUS_OVERLOADED : STATUS_NO_MEMORY, NULL);
		free(call);
		return;
	}
	call->request = request;
	call->engine = locator_engine_of(locator, &question->object);
	call->question = *question;
	call->generation = generation;
	call->task = (struct loop_task){ .run = locate_run };
	http_request_suspend(request);
	loop_post(call->engine->parts.loop, &call->task);
}

void api_locate(void *arg, struct http_request *request)
{
	struct api_request api;
	struct lookup_question question = { 0 };
	struct strbuf why = STRBUF_INIT;
	struct route_answer route;
	if (!api_begin(arg, request, &api))
		return;
	if (!api_only_query(request, NULL, 0))
		goto out;
	enum status status = api_terms(&api, &question, &why);
	if (!status)
		status = api_object(api.locator, http_request_param(request, "type"), http_request_param(request, "id"),
			"type", "id", &question.object, &why);
	if (status) {
		api_problem(request, &question, status, why.data);
		goto out;
	}
	routes_find(api.locator->settings.routes, &question.object, &route);
	if (route.found == ROUTE_FOUND_NONE)
		look_here(api.locator, request, &question, route.generation);
	else
		reply_located(api.locator, request, &question.object, &route,
			route.found == ROUTE_FOUND_EXACT ? "exact" : "prefix");
out:
	strbuf_release(&why);
	api_end(&api);
}

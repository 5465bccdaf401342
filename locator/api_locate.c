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

static bool gate_permits(const struct locator *locator, const struct policy *policy, struct gate_request *request,
	enum gate_operation operation, const char *to)
{
	struct gate_decision decision;
	request->operation = operation;
	request->to = to;
	locator->world.decide(locator->world.arg, policy, request, &decision);
	return decision.permitted;
}

/*
 * Where an object is at home says something about its driver, so it is told to those who may look such objects up:
 * the gate must let one of the caller's purposes see or ask for this type, with a driver at one of our stations.  The
 * object itself plays no part, so that the refusal tells nothing either.
 */
static bool may_locate(const struct locator *locator, const struct caller *caller, const char *type)
{
	const struct settings *settings = locator->settings.settings;
	const struct resolve_world *world = &locator->world;
	if (caller->may_write || caller->may_name_any_purpose)
		return true;
	struct policy *policy = world->policy_acquire(world->arg);
	bool may = false;
	for (size_t i = 0; i < caller->purpose_count && policy && !may; i++) {
		struct gate_request request = { .requester = settings->region,
			.type = type,
			.purpose = caller->purposes[i],
			.caller = caller->name,
			.station_region = settings->region,
			.roaming = ROAMING_UNKNOWN,
			.now_wall_us = clock_wall_us(locator->settings.clock) };
		may = gate_permits(locator, policy, &request, GATE_LOCAL, settings->region);
		for (size_t peer = 0; peer < settings->peer_count && !may; peer++)
			may = gate_permits(locator, policy, &request, GATE_ASK, settings->peers[peer].region);
	}
	world->policy_return(world->arg, policy);
	return may;
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
	if (!status && !may_locate(api.locator, api.caller, question.object.type)) {
		strbuf_adds(&why, "purpose: none of those this caller may name is for this type");
		status = STATUS_FORBIDDEN;
	}
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

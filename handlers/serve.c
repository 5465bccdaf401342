/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serving one lookup at home.  The record, the station (when only this region's
 * own objects can place it) and the grant are asked for side by side; when the
 * last has come the gate decides and its entry is made durable, and only the
 * release that comes of it has a record to send.
 *
 * Unknown and denied must not be told apart from outside: both take the same
 * steps, write one entry, and end with the same status and the same ttl.
 *
 * Runs on the engine's loop.
 */
#include "handlers/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "handlers/copies.h"

struct serve {
	struct peer_service *service;
	const struct serve_engine *engine;
	const char *requester;
	const struct lookup_question *question;
	serve_done *done;
	void *arg;

	struct policy *policy;
	struct object_id object; /* canonical */
	char station_region[REGION_SIZE];
	json_t *content; /* NULL: no such object */
	uint64_t version;
	enum roaming roaming;
	bool is_over_budget;
	bool has_position; /* of the station, when its record is here */
	struct position position;
	struct lookup_answer answer; /* while its copy is noted */
	enum status failure;         /* the first thing that kept us from deciding */
	int waiting;
};

static void finish(struct serve *serve, struct lookup_answer *answer)
{
	serve->done(serve->arg, answer);
	lookup_answer_release(answer);
	json_decref(serve->content);
	if (serve->policy != NULL)
		policy_release_reference(serve->policy);
	free(serve);
}

static void finish_without(struct serve *serve, enum status status)
{
	struct lookup_answer answer = { .status = status };

	if (status == STATUS_NOT_AVAILABLE)
		answer.ttl_s = serve->service->settings->cache.negative_ttl_s;
	finish(serve, &answer);
}

static int64_t ttl_of(const struct serve *serve, const struct gate_decision *decision)
{
	int64_t ttl_max_s = serve->service->settings->cache.ttl_max_s;

	return decision->ttl_max_s >= 0 && decision->ttl_max_s < ttl_max_s ? decision->ttl_max_s : ttl_max_s;
}

static void copy_noted(void *arg, bool may_keep)
{
	struct serve *serve = arg;

	if (!may_keep)
		serve->answer.ttl_s = 0;
	finish(serve, &serve->answer);
}

/* What the requester may keep, it must be told of when it changes. */
static void finish_noted(struct serve *serve, const struct lookup_answer *answer)
{
	struct copy copy = { .object = &serve->object,
		.region = serve->requester,
		.ttl_s = answer->ttl_s,
		.version = answer->version,
		.deadline_ms = serve->question->deadline_ms };

	serve->answer = *answer;
	if (answer->status != STATUS_OK || answer->ttl_s == 0 ||
		!handlers_note_copy(serve->engine->handlers, &copy, copy_noted, serve))
		finish(serve, &serve->answer);
}

/* Only a permitted tap is one: a driver stands at that station. */
static unsigned int look_at_travel(const struct serve *serve)
{
	const struct peer_service *service = serve->service;
	struct travel_finding finding;

	if (service->travel == NULL || serve->station_region[0] == '\0' ||
		strcmp(serve->question->purpose, "charge.authorize") != 0 ||
		!travel_is_impossible(service->travel, &serve->object, serve->station_region,
			serve->has_position ? &serve->position : NULL, &finding))
		return 0;
	if (service->travel_hook.found != NULL)
		service->travel_hook.found(service->travel_hook.arg, &serve->object, &finding);
	return LOOKUP_IMPOSSIBLE_TRAVEL;
}

static void released(void *arg, enum status status, struct policy_release *release)
{
	struct serve *serve = arg;
	struct lookup_answer answer = { .status = STATUS_OK };

	if (status == STATUS_NOT_AVAILABLE && serve->is_over_budget)
		status = STATUS_OVERLOADED;
	else if (status == STATUS_NOT_AVAILABLE)
		budgets_missed(serve->service->budgets, serve->requester, serve->question->caller);
	if (status != STATUS_OK) {
		finish_without(serve, status);
		return;
	}
	must(policy_release_covers(release, &serve->object, serve->requester));
	/* An entry for an absent object can only be a denial, so here there is content. */
	must(serve->content != NULL);

	answer.record = policy_release_take_record(release, &answer.record_length, answer.nonce);
	answer.has_nonce = true;
	answer.flags = look_at_travel(serve);
	answer.version = serve->version;
	answer.ttl_s = ttl_of(serve, policy_release_decision(release));
	(void)snprintf(answer.policy_version, POLICY_VERSION_SIZE, "%s", policy_release_version(release));
	policy_release_destroy(release);
	finish_noted(serve, &answer);
}

/* Whatever is asked for, and whether it is there: a lookup past a budget must teach nothing. */
static void take_budget(struct serve *serve)
{
	struct peer_service *service = serve->service;
	enum budget_verdict verdict = budgets_take(
		service->budgets, serve->requester, serve->question->caller, &serve->object);

	serve->is_over_budget = verdict != BUDGET_WITHIN;
	if (serve->is_over_budget)
		metric_add(metric_series(service->budget_refusals, serve->requester, budget_verdict_name(verdict),
				   (const char *)NULL),
			1);
}

static void decide(struct serve *serve)
{
	struct peer_service *service = serve->service;
	struct gate_request request = {
		.operation = GATE_SERVE,
		.requester = serve->requester,
		.to = serve->requester,
		.type = serve->object.type,
		.purpose = serve->question->purpose,
		.caller = serve->question->caller,
		.station_region = serve->station_region[0] != '\0' ? serve->station_region : NULL,
		.roaming = serve->roaming,
		.record = serve->content,
		.is_absent = serve->content == NULL,
		.is_over_budget = serve->is_over_budget,
		.now_wall_us = clock_wall_us(service->clock),
	};
	struct lookup_question canonical;
	const struct lookup_question *question = serve->question;

	if (serve->failure != STATUS_OK) {
		finish_without(serve, serve->failure);
		return;
	}
	if (!object_id_equal(&question->object, &serve->object)) {
		canonical = *question;
		canonical.object = serve->object;
		question = &canonical;
	}
	/* No object is a denial, written like any other, so that both sides' entries pair up. */
	policy_release_request(
		serve->engine->log, serve->policy, &request, question, serve->requester, released, serve);
}

static void one_came(struct serve *serve, enum status status)
{
	if (status != STATUS_OK && serve->failure == STATUS_OK)
		serve->failure = status;
	if (--serve->waiting == 0)
		decide(serve);
}

static void object_came(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct serve *serve = arg;

	serve->content = json_incref(content);
	serve->version = version;
	one_came(serve, status == STATUS_NOT_AVAILABLE ? STATUS_OK : status);
}

static void station_came(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct serve *serve = arg;

	(void)version;
	if (status == STATUS_OK) {
		(void)snprintf(serve->station_region, REGION_SIZE, "%s", serve->service->settings->region);
		serve->has_position = position_of_station(content, &serve->position);
	}
	one_came(serve, status == STATUS_NOT_AVAILABLE ? STATUS_OK : status);
}

static void grant_came(void *arg, enum status status, bool is_open)
{
	struct serve *serve = arg;

	serve->roaming = is_open ? ROAMING_ACTIVE : ROAMING_NONE;
	one_came(serve, status);
}

/* STATUS_NOT_AVAILABLE for a type or an id that this region cannot have. */
static enum status canonicalise(
	const struct peer_service *service, const struct object_id *asked, struct object_id *canonical_out)
{
	const struct settings_type *type = settings_type(service->settings, asked->type);

	if (type == NULL || object_id_make(asked->type, asked->id, strlen(asked->id), type->id_format, canonical_out,
				    NULL) != STATUS_OK) {
		*canonical_out = *asked;
		return STATUS_NOT_AVAILABLE;
	}
	return STATUS_OK;
}

/* The router first; a station it does not know is this region's when it is among its own objects. */
static void place_station(struct serve *serve)
{
	struct peer_service *service = serve->service;
	struct object_id station;

	if (serve->question->evidence.station.id[0] == '\0')
		return;
	if (canonicalise(service, &serve->question->evidence.station, &station) != STATUS_OK)
		return;
	service->place_station.place(service->place_station.arg, &station, serve->station_region);
	if (serve->station_region[0] != '\0')
		return;
	serve->waiting++;
	handlers_fetch(serve->engine->handlers, &station, serve->question->deadline_ms, station_came, serve);
}

void serve_lookup(struct peer_service *service, const struct serve_engine *engine, const char *requester,
	const struct lookup_question *question, serve_done *done, void *arg)
{
	struct serve *serve = calloc(1, sizeof(*serve));
	bool is_possible;

	/* Without these few bytes the promise to end every lookup cannot be kept. */
	must(serve != NULL);
	serve->service = service;
	serve->engine = engine;
	serve->requester = requester;
	serve->question = question;
	serve->done = done;
	serve->arg = arg;
	serve->policy = gate_acquire(service->gate);

	is_possible = canonicalise(service, &question->object, &serve->object) == STATUS_OK;
	take_budget(serve);
	if (!is_possible || serve->is_over_budget) {
		decide(serve);
		return;
	}
	serve->waiting = 1;
	access_log_prepare(engine->log, serve->policy, &serve->object);
	place_station(serve);
	if (serve->policy != NULL &&
		policy_reads_roaming(serve->policy, GATE_SERVE, serve->object.type, question->purpose)) {
		serve->waiting++;
		grant_check(engine->log, &serve->object, requester, question->deadline_ms, grant_came, serve);
	}
	handlers_fetch(engine->handlers, &serve->object, question->deadline_ms, object_came, serve);
}

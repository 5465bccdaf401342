/* SPDX-License-Identifier: Apache-2.0 */
/*
 * World: what a resolver reaches in production: routes, gate, handlers, access
 * log and delegate of its engine.  Thin on purpose; everything worth testing is
 * on the other side of struct resolve_world.
 */
#include <string.h>

#include "locator/engine.h"

static struct engine *engine_of(void *arg)
{
	return arg;
}

static struct locator *locator_of(void *arg)
{
	return engine_of(arg)->locator;
}

static void find_route(void *arg, const struct object_id *object, struct route_answer *answer)
{
	routes_find(locator_of(arg)->settings.routes, object, answer);
}

static uint64_t current_routes(void *arg)
{
	return routes_generation(locator_of(arg)->settings.routes);
}

static uint64_t current_policy(void *arg)
{
	return gate_generation(locator_of(arg)->settings.gate);
}

static struct policy *acquire_policy(void *arg)
{
	return gate_acquire(locator_of(arg)->settings.gate);
}

static void return_policy(void *arg, struct policy *policy)
{
	(void)arg;
	if (policy)
		policy_release_reference(policy);
}

static const char *version_of(void *arg, const struct policy *policy)
{
	(void)arg;
	return policy_version(policy);
}

static void decide(
	void *arg, const struct policy *policy, const struct gate_request *request, struct gate_decision *decision)
{
	(void)arg;
	*decision = (struct gate_decision){ .ttl_max_s = -1 };
	if (policy)
		policy_decide(policy, request, decision);
}

static json_t *view(void *arg, const struct policy *policy, const char *type, const struct gate_decision *decision,
	const json_t *record)
{
	(void)arg;
	return policy_view(policy, type, decision, record);
}

static void field_names(void *arg, const struct policy *policy, const char *type, uint64_t fields, struct strbuf *names)
{
	(void)arg;
	policy_field_names(policy, type, fields, names);
}

static void fetch(
	void *arg, const struct object_id *object, int64_t deadline_ms, handlers_fetch_done *done, void *done_arg)
{
	handlers_fetch(engine_of(arg)->parts.handlers, object, deadline_ms, done, done_arg);
}

static void request_release(void *arg, struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, const char *peer, policy_release_done *done, void *done_arg)
{
	policy_release_request(engine_of(arg)->parts.log, policy, request, question, peer, done, done_arg);
}

static struct gate_decision release_decision(void *arg, const struct policy_release *release)
{
	(void)arg;
	return *policy_release_decision(release);
}

static struct metric_series *delegations_to(struct engine *engine, const char *region)
{
	for (size_t i = 0; i < engine->delegation_count; i++)
		if (!strcmp(engine->delegations[i].region, region))
			return engine->delegations[i].series;
	struct metric_series *series = metric_series(engine->locator->delegations, region, (const char *)NULL);
	if (engine->delegation_count < PEERS_COUNTED_MAX) {
		memccpy(engine->delegations[engine->delegation_count].region, region, '\0', REGION_SIZE);
		engine->delegations[engine->delegation_count++].series = series;
	}
	return series;
}

static void delegate(void *arg, const char *region, const struct lookup_question *question,
	struct policy_release *release, delegate_done *done, void *done_arg)
{
	metric_add(delegations_to(engine_of(arg), region), 1);
	delegate_lookup(engine_of(arg)->parts.delegate, region, question, release, done, done_arg);
}

static void log_got(void *arg, const struct access_got *got, access_log_done *done, void *done_arg)
{
	access_log_got(engine_of(arg)->parts.log, got, done, done_arg);
}

static unsigned int note_tap(void *arg, const struct object_id *object, const char *station_region)
{
	const struct locator_taps *taps = &locator_of(arg)->settings.taps;
	return taps->note ? taps->note(taps->arg, object, station_region) : 0;
}

static void wake_after(void *arg, int64_t delay_ms)
{
	loop_timer_start(&engine_of(arg)->timer, delay_ms);
}

struct resolve_world world_make(struct engine *engine)
{
	return (struct resolve_world){
		.arg = engine,
		.find_route = find_route,
		.routes_generation = current_routes,
		.policy_generation = current_policy,
		.policy_acquire = acquire_policy,
		.policy_return = return_policy,
		.policy_version = version_of,
		.decide = decide,
		.view = view,
		.field_names = field_names,
		.fetch = fetch,
		.request_release = request_release,
		.release_decision = release_decision,
		.delegate = delegate,
		.log_got = log_got,
		.wake_after = wake_after,
		.note_tap = note_tap,
	};
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolve.  The steps of one lookup, in the order they are taken:
 *
 *   start → (home is here) fetch → place the station → own gate `local` → answer
 *         → (home is a peer) place the station → cache → release (own gate `ask`,
 *           on record) → delegate → `got` on record → cache → answer
 *
 * Invariants: nothing leaves without a release; no record is given out before
 * its `got` is durable; a failure never becomes a guess.  Waiters have their own
 * deadlines and may leave early, but the lookup itself lives until its last
 * completion, because what it started refers to its question.
 */
#include "locator/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/must.h"
#include "locator/record_view.h"
#include "locator/resolve_steps.h"

#define VARIANT_SIZE (REGION_SIZE + CALLER_SIZE)
#define SPARE_MAX 1024 /* lookups of about 2 KB */

/* ---- the end of a lookup ---- */

struct resolve_lookup *resolve_lookup_create(struct resolver *resolver)
{
	struct resolve_lookup *lookup = resolver->spare;
	if (lookup) {
		resolver->spare = lookup->next_spare;
		resolver->spare_count--;
		memset(lookup, 0, sizeof(*lookup));
	} else {
		lookup = calloc(1, sizeof(*lookup));
		if (!lookup)
			return NULL;
	}
	lookup->resolver = resolver;
	resolver->alive++;
	return lookup;
}

void resolve_lookup_destroy(struct resolve_lookup *lookup)
{
	struct resolver *resolver = lookup->resolver;
	if (lookup->policy)
		resolver->settings.world.policy_return(resolver->settings.world.arg, lookup->policy);
	json_decref(lookup->content);
	cache_entry_release(lookup->entry);
	resolver->alive--;
	if (resolver->spare_count >= SPARE_MAX) {
		free(lookup);
		return;
	}
	lookup->next_spare = resolver->spare;
	resolver->spare = lookup;
	resolver->spare_count++;
}

static void unlink_waiter(struct resolve_waiter *waiter)
{
	struct resolve_lookup *lookup = waiter->lookup;
	if (waiter->previous)
		waiter->previous->next = waiter->next;
	else
		lookup->waiters = waiter->next;
	if (waiter->next)
		waiter->next->previous = waiter->previous;
	lookup->in_flight.waiter_count--;
	deadlines_remove(&lookup->resolver->deadlines, &waiter->deadline);
	waiter->lookup = NULL;
}

static struct gate_request ask_request(
	const struct resolver_settings *settings, const struct resolve_lookup *lookup, enum gate_operation operation)
{
	return (struct gate_request){
		.operation = operation,
		.requester = settings->region,
		.to = operation == GATE_ASK ? lookup->route.region : settings->region,
		.type = lookup->question.object.type,
		.purpose = lookup->question.purpose,
		.caller = lookup->question.caller,
		.station_region = lookup->station_region[0] ? lookup->station_region : NULL,
		.roaming = ROAMING_UNKNOWN,
		.record = lookup->content,
		.now_wall_us = clock_wall_us(settings->clock),
	};
}

struct cache_key resolve_record_key(const struct lookup_question *question)
{
	return (struct cache_key){ question->object.type, question->object.id, question->purpose, question->caller };
}

/* An expired record can no longer allow anything, but what it refuses stays refused while the home is away. */
static struct cache_entry *find_stale(struct resolve_lookup *lookup)
{
	const struct resolver_settings *settings = &lookup->resolver->settings;
	if (!lookup->is_peer || !lookup->is_placed)
		return NULL;
	struct cache_key key = resolve_record_key(&lookup->question);
	int64_t now_ms = clock_monotonic_ms(settings->clock);
	struct cache_entry *entry = cache_get_stale(settings->records, &key, now_ms);
	if (!entry)
		return NULL;
	struct policy *policy = settings->world.policy_acquire(settings->world.arg);
	struct gate_request request = ask_request(settings, lookup, GATE_ASK);
	struct gate_decision decision;
	settings->world.decide(settings->world.arg, policy, &request, &decision);
	settings->world.policy_return(settings->world.arg, policy);
	if (decision.permitted && !strcmp(entry->station_region, lookup->station_region))
		return entry;
	cache_entry_release(entry);
	return NULL;
}

static bool is_failure(enum status status)
{
	return status != STATUS_OK && status != STATUS_NOT_AVAILABLE && status != STATUS_NOT_CACHED;
}

void resolve_tell(struct resolve_lookup *lookup, struct resolve_waiter *waiter, const struct resolve_result *result)
{
	struct resolve_result told = *result;
	told.exchange = lookup->question.exchange;
	told.has_joined = waiter->has_joined;
	told.peer = lookup->is_peer ? lookup->route.region : "";
	told.policy_generation = lookup->policy_generation;
	told.routes_generation = lookup->routes_generation;
	if (waiter->wants_stale && is_failure(told.status))
		told.stale = find_stale(lookup);
	struct cache_entry *stale = told.stale;
	unlink_waiter(waiter);
	waiter->done(waiter, &told);
	cache_entry_release(stale);
}

/* Tells every waiter.  The lookup stays until finish(). */
static void answer(struct resolve_lookup *lookup, const struct resolve_result *result)
{
	must(!lookup->is_answered);
	lookup->is_answered = true;
	in_flight_remove(&lookup->resolver->in_flight, &lookup->in_flight);
	while (lookup->waiters)
		resolve_tell(lookup, lookup->waiters, result);
}

static void finish(struct resolve_lookup *lookup, enum status status, enum resolve_source source)
{
	/* Where nobody may be asked, unknown, denied and only not held are one answer, or it would tell which ids exist. */
	if (lookup->in_flight.mode == CACHE_MODE_ONLY && status == STATUS_NOT_AVAILABLE) {
		status = STATUS_NOT_CACHED;
		source = SOURCE_NONE;
	}
	lookup->result.status = status;
	lookup->result.source = source;
	answer(lookup, &lookup->result);
	resolve_lookup_destroy(lookup);
}

/* ---- delegated answers ---- */

/* The home's refusal is final, also for a record it gave out earlier under the same evidence. */
static void drop_refused(const struct resolver_settings *settings, const struct resolve_lookup *lookup)
{
	struct cache_key key = resolve_record_key(&lookup->question);
	struct cache_entry *held = cache_get_stale(settings->records, &key, clock_monotonic_ms(settings->clock));
	if (held && !strcmp(held->station_region, lookup->station_region))
		cache_forget(settings->records, key.type, key.id);
	cache_entry_release(held);
}

static void got_logged(void *arg, enum status status)
{
	struct resolve_lookup *lookup = arg;
	const struct resolver_settings *settings = &lookup->resolver->settings;
	if (lookup->is_answered) {
		resolve_lookup_destroy(lookup);
		return;
	}
	if (status) {
		finish(lookup, status, SOURCE_HOME);
		return;
	}
	struct cache_entry *entry = lookup->entry;
	enum status found = entry ? entry->status : STATUS_NOT_AVAILABLE;
	if (found == STATUS_NOT_AVAILABLE)
		drop_refused(settings, lookup);
	if (entry && entry->ttl_ms > 0) {
		bool is_record = found == STATUS_OK;
		lookup->result.is_stored = cache_put(is_record ? settings->records : settings->negatives, entry,
			is_record ? lookup->records_epoch : lookup->negatives_epoch,
			clock_monotonic_ms(settings->clock));
	}
	lookup->result.entry = found == STATUS_OK ? entry : NULL;
	finish(lookup, found, SOURCE_HOME);
}

static int64_t least_ttl_s(const struct resolve_lookup *lookup, int64_t ttl_s)
{
	int64_t ttl_max_s = lookup->resolver->settings.ttl_max_s;
	if (lookup->decision.ttl_max_s >= 0 && lookup->decision.ttl_max_s < ttl_max_s)
		ttl_max_s = lookup->decision.ttl_max_s;
	return ttl_s < ttl_max_s ? ttl_s : ttl_max_s;
}

/* What is kept of the peer's record, and in `received` the names of what it sent. */
static enum status read_record(struct resolve_lookup *lookup, const struct lookup_answer *answer, const char *permitted,
	struct strbuf *text, struct strbuf *received)
{
	const struct resolve_world *world = &lookup->resolver->settings.world;
	json_t *record = NULL, *view = NULL;
	enum status status = STATUS_NO_MEMORY;
	if (answer->record && record_is_its_view(answer->record, answer->record_length, permitted, received)) {
		strbuf_add(text, answer->record, answer->record_length);
		return strbuf_ok(text) ? STATUS_OK : STATUS_NO_MEMORY;
	}
	if (!answer->record || json_parse(answer->record, answer->record_length, &record, NULL) ||
		!json_is_object(record)) {
		status = STATUS_BAD_PEER;
		goto out;
	}
	record_name_fields(record, received);
	view = world->view(world->arg, lookup->policy, lookup->question.object.type, &lookup->decision, record);
	if (view)
		status = json_write(view, text);
out:
	json_decref(view);
	json_decref(record);
	return status;
}

static enum status make_entry(
	struct resolve_lookup *lookup, const struct lookup_answer *answer, struct strbuf *received)
{
	const struct resolver_settings *settings = &lookup->resolver->settings;
	const struct resolve_world *world = &settings->world;
	struct strbuf text = STRBUF_INIT, names = STRBUF_INIT;
	char variant[VARIANT_SIZE];
	enum status status = STATUS_NO_MEMORY;
	struct cache_terms terms = { .key = resolve_record_key(&lookup->question),
		.status = answer->status,
		.version = answer->version,
		.home = lookup->route.region,
		.station_region = lookup->station_region,
		.policy_version = answer->policy_version,
		.exchange = lookup->question.exchange,
		.stored_ms = clock_monotonic_ms(settings->clock),
		.ttl_ms = 1000 * least_ttl_s(lookup, answer->ttl_s) };
	if (answer->status == STATUS_OK) {
		world->field_names(
			world->arg, lookup->policy, lookup->question.object.type, lookup->decision.fields, &names);
		if (!strbuf_ok(&names))
			goto out;
		status = read_record(lookup, answer, names.data ? names.data : "", &text, received);
		if (status)
			goto out;
	} else {
		snprintf(variant, sizeof(variant), "%s|%s", lookup->station_region, lookup->question.caller);
		terms.key.variant = variant;
		if (terms.ttl_ms > settings->negative_ttl_s * 1000)
			terms.ttl_ms = settings->negative_ttl_s * 1000;
	}
	terms.record = text.data;
	terms.record_length = text.length;
	terms.fields = names.data;
	lookup->entry = cache_entry_create(&terms);
	status = lookup->entry ? STATUS_OK : STATUS_NO_MEMORY;
out:
	strbuf_release(&text);
	strbuf_release(&names);
	return status;
}

static void delegated(void *arg, struct lookup_answer *peer_answer, enum http_client_error failure)
{
	struct resolve_lookup *lookup = arg;
	const struct resolve_world *world = &lookup->resolver->settings.world;
	struct strbuf names = STRBUF_INIT;
	enum status status = peer_answer->status;
	if (status == STATUS_OK || status == STATUS_NOT_AVAILABLE) {
		enum status made = make_entry(lookup, peer_answer, &names);
		status = made ? made : status;
	}
	lookup->result.failure = failure;
	lookup->result.flags = peer_answer->flags;
	struct access_got got = { .question = &lookup->question,
		.peer = lookup->route.region,
		.answer = status,
		.fields = strbuf_ok(&names) ? names.data : "",
		.ttl_s = lookup->entry ? lookup->entry->ttl_ms / 1000 : 0,
		.peer_policy_version = peer_answer->policy_version,
		.policy = lookup->policy,
		.record = peer_answer->record,
		.record_length = peer_answer->record_length,
		.nonce = peer_answer->has_nonce ? peer_answer->nonce : NULL };
	if (is_failure(status)) {
		/* It carries no data, so nobody needs to wait until it is on record. */
		lookup->result.status = status;
		lookup->result.source = SOURCE_HOME;
		answer(lookup, &lookup->result);
	}
	world->log_got(world->arg, &got, got_logged, lookup);
	strbuf_release(&names);
}

static void released(void *arg, enum status status, struct policy_release *release)
{
	struct resolve_lookup *lookup = arg;
	const struct resolve_world *world = &lookup->resolver->settings.world;
	if (status) {
		lookup->result.was_denied = status == STATUS_NOT_AVAILABLE;
		finish(lookup, status, SOURCE_NONE);
		return;
	}
	lookup->decision = world->release_decision(world->arg, release);
	lookup->is_delegated = true;
	world->delegate(world->arg, lookup->route.region, &lookup->question, release, delegated, lookup);
}

/* ---- the cache ---- */

bool resolve_may_reuse(const struct resolve_world *world, const char *region, const struct cache_entry *entry,
	const struct lookup_question *question, const char *station_region, int64_t now_ms, int64_t now_wall_us)
{
	if (strcmp(entry->station_region, station_region))
		return false;
	struct gate_request request = { .operation = GATE_ASK,
		.requester = region,
		.to = entry->home,
		.type = question->object.type,
		.purpose = question->purpose,
		.caller = question->caller,
		.station_region = station_region[0] ? station_region : NULL,
		.roaming = ROAMING_UNKNOWN,
		.now_wall_us = now_wall_us };
	struct gate_decision decision;
	struct strbuf names = STRBUF_INIT;
	struct policy *policy = world->policy_acquire(world->arg);
	world->decide(world->arg, policy, &request, &decision);
	bool may = policy && decision.permitted &&
		   (decision.ttl_max_s < 0 || now_ms - entry->stored_ms < decision.ttl_max_s * 1000);
	if (may) {
		world->field_names(world->arg, policy, question->object.type, decision.fields, &names);
		may = strbuf_ok(&names) && !strcmp(names.data, entry->fields);
	}
	world->policy_return(world->arg, policy);
	strbuf_release(&names);
	return may;
}

static bool answer_from_cache(struct resolve_lookup *lookup)
{
	const struct resolver_settings *settings = &lookup->resolver->settings;
	int64_t now_ms = clock_monotonic_ms(settings->clock);
	struct cache_key key = resolve_record_key(&lookup->question);
	struct cache_entry *entry = cache_get(settings->records, &key, now_ms);
	if (entry && !strcmp(entry->home, lookup->route.region) &&
		resolve_may_reuse(&settings->world, settings->region, entry, &lookup->question, lookup->station_region,
			now_ms, clock_wall_us(settings->clock))) {
		lookup->entry = entry;
		lookup->result.entry = entry;
		finish(lookup, STATUS_OK, SOURCE_CACHE);
		return true;
	}
	cache_entry_release(entry);
	char variant[VARIANT_SIZE];
	snprintf(variant, sizeof(variant), "%s|%s", lookup->station_region, lookup->question.caller);
	key.variant = variant;
	entry = cache_get(settings->negatives, &key, now_ms);
	bool is_negative = entry && !strcmp(entry->home, lookup->route.region);
	cache_entry_release(entry);
	if (is_negative)
		finish(lookup, STATUS_NOT_AVAILABLE, SOURCE_CACHE);
	return is_negative;
}

static void ask_home(struct resolve_lookup *lookup)
{
	const struct resolver_settings *settings = &lookup->resolver->settings;
	const struct resolve_world *world = &settings->world;
	int mode = lookup->in_flight.mode;
	if (mode != CACHE_MODE_BYPASS && answer_from_cache(lookup))
		return;
	if (mode == CACHE_MODE_ONLY) {
		finish(lookup, STATUS_NOT_CACHED, SOURCE_NONE);
		return;
	}
	const struct object_id *object = &lookup->question.object;
	lookup->records_epoch = cache_epoch(settings->records, object->type, object->id);
	lookup->negatives_epoch = cache_epoch(settings->negatives, object->type, object->id);
	lookup->policy = world->policy_acquire(world->arg);
	struct gate_request request = ask_request(settings, lookup, GATE_ASK);
	world->request_release(
		world->arg, lookup->policy, &request, &lookup->question, lookup->route.region, released, lookup);
}

/* ---- objects at home here ---- */

static void answer_local(struct resolve_lookup *lookup)
{
	const struct resolver_settings *settings = &lookup->resolver->settings;
	const struct resolve_world *world = &settings->world;
	struct strbuf text = STRBUF_INIT;
	lookup->policy = world->policy_acquire(world->arg);
	struct gate_request request = ask_request(settings, lookup, GATE_LOCAL);
	world->decide(world->arg, lookup->policy, &request, &lookup->decision);
	if (!lookup->policy || !lookup->decision.permitted) {
		lookup->result.was_denied = true;
		finish(lookup, STATUS_NOT_AVAILABLE, SOURCE_LOCAL);
		return;
	}
	json_t *view = world->view(
		world->arg, lookup->policy, lookup->question.object.type, &lookup->decision, lookup->content);
	enum status status = view ? json_write(view, &text) : STATUS_NO_MEMORY;
	json_decref(view);
	struct cache_terms terms = { .key = resolve_record_key(&lookup->question),
		.version = lookup->version,
		.home = settings->region,
		.station_region = lookup->station_region,
		.policy_version = world->policy_version(world->arg, lookup->policy),
		.record = text.data,
		.record_length = text.length,
		.exchange = lookup->question.exchange,
		.stored_ms = clock_monotonic_ms(settings->clock) };
	if (!status && strbuf_ok(&text))
		lookup->entry = cache_entry_create(&terms);
	strbuf_release(&text);
	lookup->result.entry = lookup->entry;
	if (world->note_tap && lookup->station_region[0] && !strcmp(lookup->question.purpose, "charge.authorize"))
		lookup->result.flags = world->note_tap(world->arg, &lookup->question.object, lookup->station_region);
	finish(lookup, lookup->entry ? STATUS_OK : STATUS_NO_MEMORY, SOURCE_LOCAL);
}

static void placed(struct resolve_lookup *lookup)
{
	lookup->is_placed = true;
	if (lookup->is_peer)
		ask_home(lookup);
	else
		answer_local(lookup);
}

/* True when the lookup is over already, because its waiters left while something was under way. */
static bool has_lapsed(struct resolve_lookup *lookup)
{
	if (lookup->waiters)
		return false;
	in_flight_remove(&lookup->resolver->in_flight, &lookup->in_flight);
	resolve_lookup_destroy(lookup);
	return true;
}

static void station_fetched(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct resolve_lookup *lookup = arg;
	(void)version;
	(void)content;
	if (has_lapsed(lookup))
		return;
	if (status == STATUS_OK)
		memccpy(lookup->station_region, lookup->resolver->settings.region, '\0', REGION_SIZE);
	if (is_failure(status))
		finish(lookup, status, SOURCE_NONE); /* not knowing where the driver is must not read as a denial */
	else
		placed(lookup);
}

static void place_station(struct resolve_lookup *lookup)
{
	const struct resolve_world *world = &lookup->resolver->settings.world;
	const struct object_id *station = &lookup->question.evidence.station;
	struct route_answer route = { 0 };
	if (station->id[0])
		world->find_route(world->arg, station, &route);
	if (!station->id[0] || route.found != ROUTE_FOUND_NONE) {
		memccpy(lookup->station_region, route.region, '\0', REGION_SIZE);
		placed(lookup);
		return;
	}
	world->fetch(world->arg, station, lookup->question.deadline_ms, station_fetched, lookup);
}

static void object_fetched(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct resolve_lookup *lookup = arg;
	if (has_lapsed(lookup))
		return;
	if (status) {
		finish(lookup, status,
			lookup->route.found == ROUTE_FOUND_NONE && status == STATUS_NOT_AVAILABLE ? SOURCE_NONE
												  : SOURCE_LOCAL);
		return;
	}
	lookup->version = version;
	lookup->content = json_incref(content);
	place_station(lookup);
}

/* ---- the start ---- */

void resolve_start(struct resolve_lookup *lookup)
{
	const struct resolver_settings *settings = &lookup->resolver->settings;
	const struct resolve_world *world = &settings->world;
	lookup->policy_generation = world->policy_generation(world->arg);
	lookup->routes_generation = world->routes_generation(world->arg);
	world->find_route(world->arg, &lookup->question.object, &lookup->route);
	lookup->is_peer = lookup->route.found != ROUTE_FOUND_NONE && strcmp(lookup->route.region, settings->region);
	if (lookup->is_peer)
		place_station(lookup);
	else
		world->fetch(
			world->arg, &lookup->question.object, lookup->question.deadline_ms, object_fetched, lookup);
}

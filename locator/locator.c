/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locator: puts caches, callers and one resolver an engine together, and carries
 * lookups between HTTP threads and engines.  The engine is chosen by the hash of
 * the object, so that equal lookups meet in one in-flight table.
 *
 * The number in flight is one atomic counter checked before anything is posted:
 * the bound holds over all engines and all kinds of request.
 */
#include "locator/locator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "locator/engine.h"

/* An expired record is kept this long, only so that what it refuses stays refused while its home is away. */
#define STALE_KEEP_MS (60 * 60 * 1000)

static const char *const outcome_names[OUTCOME_COUNT] = {
	[OUTCOME_HIT] = "hit",
	[OUTCOME_MISS] = "miss",
	[OUTCOME_LOCAL] = "local",
	[OUTCOME_NEGATIVE] = "negative",
	[OUTCOME_UNAVAILABLE] = "unavailable",
	[OUTCOME_UNROUTED] = "unrouted",
	[OUTCOME_DENIED] = "denied",
	[OUTCOME_NOT_CACHED] = "not_cached",
	[OUTCOME_UNREACHABLE] = "unreachable",
	[OUTCOME_DEADLINE] = "deadline",
	[OUTCOME_OVERLOADED] = "overloaded",
	[OUTCOME_ERROR] = "error",
};

int64_t locator_now_ms(const struct locator *locator)
{
	return clock_monotonic_ms(locator->settings.clock);
}

void locator_count(struct locator *locator, const char *type, enum lookup_outcome outcome)
{
	const struct settings *settings = locator->settings.settings;
	for (size_t i = 0; i < settings->type_count; i++) {
		if (!strcmp(settings->types[i].name, type)) {
			metric_add(locator->lookups[i * OUTCOME_COUNT + outcome], 1);
			return;
		}
	}
}

/* ---- lookups through an engine ---- */

bool locator_enter(struct locator *locator)
{
	int count = atomic_fetch_add_explicit(&locator->in_flight, 1, memory_order_relaxed);
	if (count < locator->settings.settings->lookup.in_flight_max) {
		int peak = atomic_load_explicit(&locator->in_flight_peak, memory_order_relaxed);
		while (peak <= count && !atomic_compare_exchange_weak_explicit(&locator->in_flight_peak, &peak,
						count + 1, memory_order_relaxed, memory_order_relaxed))
			continue;
		return true;
	}
	locator_leave(locator);
	return false;
}

void locator_leave(struct locator *locator)
{
	atomic_fetch_sub_explicit(&locator->in_flight, 1, memory_order_relaxed);
}

struct engine *locator_engine_of(struct locator *locator, const struct object_id *object)
{
	return &locator->engines[object_id_hash(object, locator->seed) % locator->engine_count];
}

static enum lookup_outcome outcome_of(const struct resolve_result *result)
{
	switch (result->status) {
	case STATUS_OK:
		return result->source == SOURCE_CACHE   ? OUTCOME_HIT
		       : result->source == SOURCE_LOCAL ? OUTCOME_LOCAL
							: OUTCOME_MISS;
	case STATUS_NOT_AVAILABLE:
		return result->was_denied               ? OUTCOME_DENIED
		       : result->source == SOURCE_CACHE ? OUTCOME_NEGATIVE
		       : result->source == SOURCE_NONE  ? OUTCOME_UNROUTED
							: OUTCOME_UNAVAILABLE;
	case STATUS_NOT_CACHED:
		return OUTCOME_NOT_CACHED;
	case STATUS_UNREACHABLE:
		return OUTCOME_UNREACHABLE;
	case STATUS_DEADLINE:
		return OUTCOME_DEADLINE;
	case STATUS_OVERLOADED:
		return OUTCOME_OVERLOADED;
	default:
		return OUTCOME_ERROR;
	}
}

static struct lookup_call *call_of(struct resolve_waiter *waiter)
{
	return (struct lookup_call *)((char *)waiter - offsetof(struct lookup_call, waiter));
}

static void call_done(struct resolve_waiter *waiter, const struct resolve_result *result)
{
	struct lookup_call *call = call_of(waiter);
	struct locator *locator = call->engine->locator;
	int64_t duration_us = clock_wall_us(locator->settings.clock) - call->started_us;
	locator_count(locator, waiter->question.object.type, outcome_of(result));
	metric_observe_us(locator->durations[result->source], duration_us > 0 ? duration_us : 0);
	call->done(call, result);
	locator_leave(locator);
}

static void call_run(struct loop_task *task)
{
	struct lookup_call *call = (struct lookup_call *)((char *)task - offsetof(struct lookup_call, task));
	resolver_submit(call->engine->resolver, &call->waiter);
}

enum status lookup_call_start(struct locator *locator, struct lookup_call *call)
{
	if (!locator_enter(locator)) {
		locator_count(locator, call->waiter.question.object.type, OUTCOME_OVERLOADED);
		return STATUS_OVERLOADED;
	}
	call->engine = locator_engine_of(locator, &call->waiter.question.object);
	call->started_us = clock_wall_us(locator->settings.clock);
	call->waiter.done = call_done;
	call->task = (struct loop_task){ .run = call_run };
	loop_post(call->engine->parts.loop, &call->task);
	return STATUS_OK;
}

static void engine_wake(void *arg)
{
	resolver_wake(((struct engine *)arg)->resolver);
}

/* ---- the cache, from any thread ---- */

struct cache_permit *locator_permit(struct locator *locator, struct cache_entry *entry,
	const struct lookup_question *question, uint64_t policy_generation, uint64_t routes_generation)
{
	struct cache_permit *permit = calloc(1, sizeof(*permit));
	if (!permit)
		return NULL;
	atomic_init(&permit->references, 2);
	permit->release_response = http_response_release;
	permit->policy_generation = policy_generation;
	permit->routes_generation = routes_generation;
	permit->station = question->evidence.station;
	permit->built_second = locator_now_ms(locator) / 1000;
	cache_entry_set_permit(entry, permit);
	return permit;
}

/* Where the station is, without I/O: the router knows, or the last permit found out for this very station. */
static bool station_region_of(struct locator *locator, const struct cache_entry *entry,
	const struct cache_permit *permit, const struct lookup_question *question, char region_out[REGION_SIZE])
{
	const struct object_id *station = &question->evidence.station;
	struct route_answer route;
	region_out[0] = '\0';
	if (!station->id[0])
		return true;
	routes_find(locator->settings.routes, station, &route);
	if (route.found != ROUTE_FOUND_NONE)
		snprintf(region_out, REGION_SIZE, "%s", route.region);
	else if (permit && object_id_equal(&permit->station, station))
		snprintf(region_out, REGION_SIZE, "%s", entry->station_region);
	else
		return false;
	return true;
}

/* The whole check behind a hit, done again at most once a second for the same station. */
static struct cache_permit *decide_again(struct locator *locator, struct cache_entry *entry,
	const struct cache_permit *before, const struct lookup_question *question, int64_t now_ms)
{
	uint64_t policy = gate_generation(locator->settings.gate), routes = routes_generation(locator->settings.routes);
	char station_region[REGION_SIZE];
	struct route_answer route;
	routes_find(locator->settings.routes, &question->object, &route);
	if (route.found == ROUTE_FOUND_NONE || strcmp(route.region, entry->home) ||
		!station_region_of(locator, entry, before, question, station_region) ||
		!resolve_may_reuse(&locator->world, locator->settings.settings->region, entry, question, station_region,
			now_ms, clock_wall_us(locator->settings.clock)))
		return NULL;
	return locator_permit(locator, entry, question, policy, routes);
}

struct cache_entry *locator_cached(
	struct locator *locator, const struct lookup_question *question, struct cache_permit **permit_out)
{
	*permit_out = NULL;
	int64_t now_ms = locator_now_ms(locator);
	struct cache_key key = resolve_record_key(question);
	struct cache_entry *entry = cache_get(locator->records, &key, now_ms);
	if (!entry)
		return NULL;
	struct cache_permit *permit = cache_entry_permit(entry);
	bool is_current = permit && permit->built_second == now_ms / 1000 &&
			  object_id_equal(&permit->station, &question->evidence.station) &&
			  permit->policy_generation == gate_generation(locator->settings.gate) &&
			  permit->routes_generation == routes_generation(locator->settings.routes);
	if (!is_current) {
		struct cache_permit *before = permit;
		permit = decide_again(locator, entry, before, question, now_ms);
		cache_permit_release(before);
	}
	if (!permit) {
		cache_entry_release(entry);
		return NULL;
	}
	*permit_out = permit;
	return entry;
}

/* ---- the front door ---- */

size_t locator_forget(struct locator *locator, const struct object_id *object)
{
	if (!object)
		return cache_forget_all(locator->records) + cache_forget_all(locator->negatives);
	return cache_forget(locator->records, object->type, object->id) +
	       cache_forget(locator->negatives, object->type, object->id);
}

void locator_place_station(void *arg, const struct object_id *station, char region_out[REGION_SIZE])
{
	struct locator *locator = arg;
	struct route_answer route;
	routes_find(locator->settings.routes, station, &route);
	snprintf(region_out, REGION_SIZE, "%s", route.found == ROUTE_FOUND_NONE ? "" : route.region);
}

int locator_in_flight(const struct locator *locator)
{
	size_t count = (size_t)atomic_load_explicit(&locator->in_flight, memory_order_relaxed);
	for (size_t i = 0; i < locator->engine_count; i++)
		count += resolver_in_flight(locator->engines[i].resolver);
	return (int)count;
}

enum status locator_follow_callers(struct locator *locator, struct loop *loop, struct database *database)
{
	return caller_directory_follow(locator->callers, loop, database);
}

/* ---- life ---- */

static void collect(void *arg)
{
	struct locator *locator = arg;
	struct cache *caches[] = { locator->records, locator->negatives };
	for (int i = 0; i < 2; i++) {
		size_t entries, bytes;
		cache_measure(caches[i], &entries, &bytes);
		metric_set(locator->entries_gauge[i], (double)entries);
		metric_set(locator->bytes_gauge[i], (double)bytes);
	}
	metric_set(locator->in_flight_gauge, (double)atomic_load(&locator->in_flight));
	metric_set(locator->in_flight_peak_gauge, (double)atomic_load(&locator->in_flight_peak));
}

static enum status register_metrics(struct locator *locator)
{
	static const char *const sources[SOURCE_COUNT] = {
		[SOURCE_NONE] = "none", [SOURCE_CACHE] = "cache", [SOURCE_LOCAL] = "local", [SOURCE_HOME] = "home"
	};
	static const char *const cache_names[] = { "records", "negatives" };
	const struct settings *settings = locator->settings.settings;
	locator->lookups = calloc(settings->type_count * OUTCOME_COUNT + 1, sizeof(struct metric_series *));
	if (!locator->lookups)
		return STATUS_NO_MEMORY;
	struct metric *lookups = metric_register(METRIC_COUNTER, "homeward_lookups_total",
		"Lookups answered, by object type and what came of them.", "type,result");
	for (size_t i = 0; i < settings->type_count; i++) {
		for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++)
			locator->lookups[i * OUTCOME_COUNT + (size_t)outcome] = metric_series(
				lookups, settings->types[i].name, outcome_names[outcome], (const char *)NULL);
	}
	struct metric *durations = metric_register(METRIC_HISTOGRAM, "homeward_lookup_duration_seconds",
		"Time an engine took for a lookup, by where the answer came from.", "source");
	for (int source = 0; source < SOURCE_COUNT; source++)
		locator->durations[source] = metric_series(durations, sources[source], (const char *)NULL);
	locator->delegations = metric_register(
		METRIC_COUNTER, "homeward_delegations_total", "Lookups sent to their home, by peer.", "peer");
	struct metric *entries = metric_register(
		METRIC_GAUGE, "homeward_cache_entries", "Answers held in the cache.", "cache");
	struct metric *bytes = metric_register(
		METRIC_GAUGE, "homeward_cache_bytes", "Bytes the cache counts for them.", "cache");
	for (int i = 0; i < 2; i++) {
		locator->entries_gauge[i] = metric_series(entries, cache_names[i], (const char *)NULL);
		locator->bytes_gauge[i] = metric_series(bytes, cache_names[i], (const char *)NULL);
	}
	locator->in_flight_gauge = metric_series(
		metric_register(METRIC_GAUGE, "homeward_lookups_in_flight", "Lookups without an answer yet.", NULL),
		(const char *)NULL);
	locator->in_flight_peak_gauge = metric_series(metric_register(METRIC_GAUGE, "homeward_lookups_in_flight_peak",
							      "The most at one time since the start.", NULL),
		(const char *)NULL);
	metrics_add_collector(collect, locator);
	return STATUS_OK;
}

static enum status create_caches(struct locator *locator)
{
	const struct settings *settings = locator->settings.settings;
	struct cache_settings cache = {
		.bytes_max = (size_t)settings->cache.bytes_max, .stale_keep_ms = STALE_KEEP_MS, .seed = locator->seed
	};
	enum status status = cache_create(&cache, &locator->records);
	if (status)
		return status;
	cache.bytes_max = (size_t)settings->cache.negative_bytes_max;
	cache.stale_keep_ms = 0;
	return cache_create(&cache, &locator->negatives);
}

static enum status create_engines(struct locator *locator)
{
	const struct settings *settings = locator->settings.settings;
	locator->engines = calloc(locator->settings.engine_count, sizeof(*locator->engines));
	if (!locator->engines)
		return STATUS_NO_MEMORY;
	for (size_t i = 0; i < locator->settings.engine_count; i++) {
		struct engine *engine = &locator->engines[i];
		engine->locator = locator;
		engine->parts = locator->settings.engines[i];
		struct resolver_settings resolver = { .world = world_make(engine),
			.clock = locator->settings.clock,
			.region = settings->region,
			.records = locator->records,
			.negatives = locator->negatives,
			.ttl_max_s = settings->cache.ttl_max_s,
			.negative_ttl_s = settings->cache.negative_ttl_s,
			.expected_in_flight = (size_t)settings->lookup.in_flight_max / locator->settings.engine_count,
			.seed = locator->seed };
		enum status status = resolver_create(&resolver, &engine->resolver);
		if (status)
			return status;
		locator->engine_count++;
		status = loop_timer_init(engine->parts.loop, &engine->timer, engine_wake, engine);
		if (status)
			return status;
	}
	locator->world = world_make(&locator->engines[0]);
	locator->settings.engines = NULL; /* was borrowed; each engine has its own copy */
	return STATUS_OK;
}

enum status locator_create(const struct locator_settings *settings, struct locator **locator_out)
{
	*locator_out = NULL;
	must(settings->engine_count > 0);
	struct locator *locator = calloc(1, sizeof(*locator));
	if (!locator)
		return STATUS_NO_MEMORY;
	locator->settings = *settings;
	atomic_init(&locator->in_flight, 0);
	atomic_init(&locator->in_flight_peak, 0);
	random_fill(settings->random, &locator->seed, sizeof(locator->seed));
	snprintf(locator->name, sizeof(locator->name), "homeward-%s", settings->settings->region);
	struct strbuf path = STRBUF_INIT;
	strbuf_addf(&path, "%s/callers.json", settings->settings->state_dir);
	enum status status = strbuf_ok(&path) ? create_caches(locator) : STATUS_NO_MEMORY;
	if (!status)
		status = caller_directory_create(path.data, locator->seed, &locator->callers);
	if (!status)
		status = create_engines(locator);
	if (!status)
		status = register_metrics(locator);
	strbuf_release(&path);
	if (status) {
		locator_destroy(locator);
		return status;
	}
	*locator_out = locator;
	return STATUS_OK;
}

void locator_destroy(struct locator *locator)
{
	if (!locator)
		return;
	must(locator_in_flight(locator) == 0);
	for (size_t i = 0; i < locator->engine_count; i++) {
		loop_timer_release(&locator->engines[i].timer);
		resolver_destroy(locator->engines[i].resolver);
	}
	caller_directory_destroy(locator->callers);
	cache_destroy(locator->records);
	cache_destroy(locator->negatives);
	free(locator->lookups);
	free(locator->engines);
	free(locator);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The locator's inside: its engines, caches and callers, and how a lookup gets
 * from an HTTP thread to its engine and back.
 */
#ifndef LOCATOR_ENGINE_H
#define LOCATOR_ENGINE_H

#include <stdatomic.h>

#include "base/metrics.h"
#include "locator/cache.h"
#include "locator/callers.h"
#include "locator/locator.h"
#include "locator/resolve.h"

#define PEERS_COUNTED_MAX 32

struct engine {
	struct locator *locator;
	struct locator_engine parts;
	struct resolver *resolver;
	struct loop_timer timer;
	struct {
		char region[REGION_SIZE];
		struct metric_series *series;
	} delegations[PEERS_COUNTED_MAX]; /* found once a peer; those beyond are looked up each time */
	size_t delegation_count;
};

/* Labels of homeward_lookups_total. */
enum lookup_outcome {
	OUTCOME_HIT,
	OUTCOME_MISS, /* found, at its home */
	OUTCOME_LOCAL,
	OUTCOME_NEGATIVE, /* not available, and remembered */
	OUTCOME_UNAVAILABLE,
	OUTCOME_UNROUTED,
	OUTCOME_DENIED, /* by this region's own gate */
	OUTCOME_NOT_CACHED,
	OUTCOME_UNREACHABLE,
	OUTCOME_DEADLINE,
	OUTCOME_OVERLOADED,
	OUTCOME_ERROR,
	OUTCOME_COUNT
};

#define SOURCE_COUNT (SOURCE_HOME + 1)

struct locator {
	struct locator_settings settings;
	struct engine *engines;
	size_t engine_count;
	struct cache *records, *negatives;
	struct caller_directory *callers;
	struct locator_events events; /* submit is NULL where there are none */
	struct resolve_world world;   /* of the first engine: routes and gate, for HTTP threads */
	uint64_t seed;
	atomic_int in_flight, in_flight_peak;
	char name[REGION_SIZE + 16]; /* in Cache-Status and Proxy-Status: "homeward-eu" */

	struct metric_series **lookups; /* OUTCOME_COUNT a type */
	struct metric_series *durations[SOURCE_COUNT];
	struct metric *delegations;
	struct metric_series *in_flight_gauge, *in_flight_peak_gauge, *entries_gauge[2], *bytes_gauge[2];
};

/* world.c: the real world behind a resolver.  HTTP threads may use what needs no I/O, through any engine's. */
struct resolve_world world_make(struct engine *engine);

/* One lookup on its way through an engine; embedded in what the caller needs to answer. */
struct lookup_call {
	struct resolve_waiter waiter; /* question, mode and wants_stale are the caller's to set */
	void (*done)(struct lookup_call *call, const struct resolve_result *result);

	struct loop_task task;
	struct engine *engine;
	int64_t started_us;
};

/* STATUS_OK: done will be called once, on the engine's thread.  STATUS_OVERLOADED: it will not. */
MUST_CHECK enum status lookup_call_start(struct locator *locator, struct lookup_call *call);

/* Counts work of other kinds (writes) against the same bound; false when it is reached. */
bool locator_enter(struct locator *locator);
void locator_leave(struct locator *locator);
struct engine *locator_engine_of(struct locator *locator, const struct object_id *object);

void locator_count(struct locator *locator, const char *type, enum lookup_outcome outcome);
int64_t locator_now_ms(const struct locator *locator);

/*
 * A fresh cached record that may be given for this question, or NULL.  permit_out is what the gate said, with a
 * response in its slot once somebody has built one.  Any thread; no I/O.  Both are the caller's references.
 */
struct cache_entry *locator_cached(
	struct locator *locator, const struct lookup_question *question, struct cache_permit **permit_out);
/* A permit for this entry and question, put into the entry's slot, with a reference for the caller; may be NULL. */
struct cache_permit *locator_permit(struct locator *locator, struct cache_entry *entry,
	const struct lookup_question *question, uint64_t policy_generation, uint64_t routes_generation);

#endif

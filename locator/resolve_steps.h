/* SPDX-License-Identifier: Apache-2.0 */
/* What resolve.c (the steps of a lookup) and resolver.c (its waiters and their deadlines) share. */
#ifndef LOCATOR_RESOLVE_STEPS_H
#define LOCATOR_RESOLVE_STEPS_H

#include <stdatomic.h>

#include "locator/in_flight.h"
#include "locator/resolve.h"

struct resolver {
	struct resolver_settings settings;
	struct in_flight in_flight;
	struct deadlines deadlines;
	int64_t armed_at_ms; /* -1: not armed */
	atomic_size_t alive; /* written on the engine's thread, read by any */
	/* Ended lookups kept for the next ones: they are too large for malloc's quick lists. */
	struct resolve_lookup *spare;
	size_t spare_count;
};

struct resolve_lookup {
	struct resolver *resolver;
	struct resolve_lookup *next_spare;
	struct lookup_question question;
	struct in_flight_entry in_flight;
	struct resolve_waiter *waiters;
	struct route_answer route;
	bool is_peer, is_placed, is_delegated, is_answered;
	char station_region[REGION_SIZE];
	uint64_t records_epoch, negatives_epoch; /* each cache counts its own */
	uint64_t policy_generation, routes_generation;
	struct policy *policy;
	struct gate_decision decision;
	uint64_t version; /* of the local record */
	json_t *content;
	struct cache_entry *entry; /* waiting for its `got` */
	struct resolve_result result;
};

/* Zeroed; NULL when out of memory. */
struct resolve_lookup *resolve_lookup_create(struct resolver *resolver);
/* Takes the first step.  The lookup frees itself after its last. */
void resolve_start(struct resolve_lookup *lookup);
void resolve_lookup_destroy(struct resolve_lookup *lookup);
/* Hands the result to one waiter, which then no longer belongs to the lookup. */
void resolve_tell(struct resolve_lookup *lookup, struct resolve_waiter *waiter, const struct resolve_result *result);

#endif

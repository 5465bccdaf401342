/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In-flight table: the questions under way on one engine, so that an equal one
 * waits for the answer already on its way instead of asking again.  One thread.
 */
#ifndef LOCATOR_IN_FLIGHT_H
#define LOCATOR_IN_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lookup.h"
#include "base/status.h"

/* Enough for a whole batch asking for one object; past it, callers are told to come back. */
#define IN_FLIGHT_WAITERS_MAX 1024

/* Embedded in the lookup under way. */
struct in_flight_entry {
	const struct lookup_question *question; /* outlives the entry */
	int mode;                               /* of the cache: only equal modes join */
	size_t waiter_count;                    /* kept by the owner */

	uint64_t hash;
	struct in_flight_entry *chain;
	bool is_listed;
};

struct in_flight {
	struct in_flight_entry **buckets;
	size_t bucket_count, count;
	uint64_t seed;
};

/* expected: how many at once; more only makes chains longer. */
MUST_CHECK enum status in_flight_init(struct in_flight *table, size_t expected, uint64_t seed);
void in_flight_release(struct in_flight *table);
/*
 * STATUS_OK: *entry_out is the one to wait for, or NULL when there is none worth waiting for.
 * STATUS_OVERLOADED: it has all the waiters it may have.
 */
MUST_CHECK enum status in_flight_find(const struct in_flight *table, const struct lookup_question *question, int mode,
	int64_t now_ms, struct in_flight_entry **entry_out);
/* Does not list it when an equal one is listed already. */
void in_flight_add(struct in_flight *table, struct in_flight_entry *entry);
void in_flight_remove(struct in_flight *table, struct in_flight_entry *entry);

#endif

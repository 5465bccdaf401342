/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cache: answers that may be given again.  Bounded in bytes, S3-FIFO eviction,
 * time as an argument.  Safe from any thread; does no I/O and calls nobody back.
 *
 * The locator keeps two: one for records, one (small, short-lived) for "not
 * available", so that a scan over unknown ids cannot push records out.
 */
#ifndef LOCATOR_CACHE_H
#define LOCATOR_CACHE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/exchange_id.h"
#include "base/object_id.h"
#include "base/status.h"

struct http_response;

/* variant tells answers apart that were given under different terms: the caller, and for refusals the evidence too. */
struct cache_key {
	const char *type, *id, *purpose, *variant;
};

/*
 * What the own gate said about giving this entry at one station, and the response built from it.
 * Valid while both generations are the current ones.  Immutable once in the slot, but for the response.
 */
struct cache_permit {
	atomic_int references;
	uint64_t policy_generation, routes_generation;
	struct object_id station;
	int64_t built_second; /* of the monotonic clock: Age and ttl in the response change once a second */
	_Atomic(struct http_response *) response;                 /* set once, by whoever builds it first */
	void (*release_response)(struct http_response *response); /* the cache itself knows no HTTP */
};
struct cache_permit *cache_permit_acquire(struct cache_permit *permit);
void cache_permit_release(struct cache_permit *permit);

/* One answer; counted references; everything but the slot is immutable.  Strings live in the entry's own block. */
/* "\"7-1f3c09aa\"": the version, and a hash of the view, since another purpose or policy shows other fields. */
#define CACHE_ETAG_SIZE (UNSIGNED_TEXT_SIZE + 11)

struct cache_entry {
	atomic_int references;
	struct cache_key key;
	enum status status;
	uint64_t version;
	const char *home, *station_region, *policy_version;
	const char *fields; /* names the own gate let us ask for, comma separated */
	const char *record; /* JSON object text; "" when status is not STATUS_OK */
	size_t record_length;
	char etag[CACHE_ETAG_SIZE];
	struct exchange_id exchange; /* of the crossing that brought it */
	int64_t stored_ms, ttl_ms;
	size_t bytes; /* what it counts against the bound */

	pthread_mutex_t permit_lock;
	struct cache_permit *permit;

	/* Owned by the cache, under its shard's lock. */
	uint64_t hash;
	struct cache_entry *chain;
	struct cache_entry *newer, *older;
	uint8_t queue, visited;
};

struct cache_terms {
	struct cache_key key;
	enum status status;
	uint64_t version;
	const char *home, *station_region, *policy_version, *fields; /* NULL is "" */
	const char *record;
	size_t record_length;
	struct exchange_id exchange;
	int64_t stored_ms, ttl_ms;
};

/* Copies everything.  NULL when out of memory. */
struct cache_entry *cache_entry_create(const struct cache_terms *terms);
struct cache_entry *cache_entry_acquire(struct cache_entry *entry);
void cache_entry_release(struct cache_entry *entry); /* accepts NULL */
bool cache_entry_is_fresh(const struct cache_entry *entry, int64_t now_ms);
/* The slot's permit with a reference, or NULL. */
struct cache_permit *cache_entry_permit(struct cache_entry *entry);
/* Takes the permit. */
void cache_entry_set_permit(struct cache_entry *entry, struct cache_permit *permit);

struct cache;

struct cache_settings {
	size_t bytes_max;
	unsigned shards;       /* power of two; 0: chosen from bytes_max */
	int64_t stale_keep_ms; /* how long an expired entry may still be had from cache_get_stale */
	uint64_t seed;         /* secret, so that ids cannot be chosen to collide */
};

MUST_CHECK enum status cache_create(const struct cache_settings *settings, struct cache **cache_out);
void cache_destroy(struct cache *cache);

/* A reference to a fresh entry, or NULL. */
struct cache_entry *cache_get(struct cache *cache, const struct cache_key *key, int64_t now_ms);
/* Fresh or expired: good for refusing, never for allowing. */
struct cache_entry *cache_get_stale(struct cache *cache, const struct cache_key *key, int64_t now_ms);
/* Take it before asking, and hand it to cache_put: an answer asked for before a forget must not come back after it. */
uint64_t cache_epoch(struct cache *cache, const char *type, const char *id);
/* Takes a reference of its own.  False: not kept, because it is too large or the object was forgotten meanwhile. */
bool cache_put(struct cache *cache, struct cache_entry *entry, uint64_t epoch, int64_t now_ms);
/* Every entry of one object, whatever its purpose and variant. */
size_t cache_forget(struct cache *cache, const char *type, const char *id);
size_t cache_forget_all(struct cache *cache);
void cache_measure(struct cache *cache, size_t *entries_out, size_t *bytes_out);

#endif

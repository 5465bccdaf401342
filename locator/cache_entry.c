/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cache entries: one block each, struct first and its strings behind it, so that
 * an entry is one allocation and its size is known exactly.
 *
 * An entry is shared by reference count between the cache and the threads that
 * answer from it; what is in it never changes.  The one exception is the permit
 * slot, which has a lock of its own, held for a pointer swap.
 */
#include "locator/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/strbuf.h"

/* A prebuilt response repeats the record and adds headers of about this size. */
#define RESPONSE_OVERHEAD_BYTES 1024

struct cache_permit *cache_permit_acquire(struct cache_permit *permit)
{
	atomic_fetch_add_explicit(&permit->references, 1, memory_order_relaxed);
	return permit;
}

void cache_permit_release(struct cache_permit *permit)
{
	if (!permit || atomic_fetch_sub_explicit(&permit->references, 1, memory_order_acq_rel) != 1)
		return;
	struct http_response *response = atomic_load_explicit(&permit->response, memory_order_relaxed);
	if (response)
		permit->release_response(response);
	free(permit);
}

static const char *place(char **cursor, const char *text, size_t length)
{
	char *start = *cursor;
	if (length)
		memcpy(start, text, length);
	start[length] = '\0';
	*cursor = start + length + 1;
	return start;
}

static const char *place_string(char **cursor, const char *text)
{
	return place(cursor, text, text ? strlen(text) : 0);
}

static size_t size_of(const char *text)
{
	return (text ? strlen(text) : 0) + 1;
}

static void write_etag(struct cache_entry *entry)
{
	uint64_t hash = hash_key64(entry->record, entry->record_length, 0);
	char *to = entry->etag;

	*to++ = '"';
	to += unsigned_format(entry->version, to);
	*to++ = '-';
	to = hex_format(&hash, 4, to);
	memcpy(to, "\"", 2);
}

struct cache_entry *cache_entry_create(const struct cache_terms *terms)
{
	size_t size = sizeof(struct cache_entry) + size_of(terms->key.type) + size_of(terms->key.id) +
		      size_of(terms->key.purpose) + size_of(terms->key.variant) + size_of(terms->home) +
		      size_of(terms->station_region) + size_of(terms->policy_version) + size_of(terms->fields) +
		      terms->record_length + 1;
	struct cache_entry *entry = calloc(1, size);
	if (!entry)
		return NULL;
	if (pthread_mutex_init(&entry->permit_lock, NULL)) {
		free(entry);
		return NULL;
	}
	char *cursor = (char *)(entry + 1);
	entry->key.type = place_string(&cursor, terms->key.type);
	entry->key.id = place_string(&cursor, terms->key.id);
	entry->key.purpose = place_string(&cursor, terms->key.purpose);
	entry->key.variant = place_string(&cursor, terms->key.variant);
	entry->home = place_string(&cursor, terms->home);
	entry->station_region = place_string(&cursor, terms->station_region);
	entry->policy_version = place_string(&cursor, terms->policy_version);
	entry->fields = place_string(&cursor, terms->fields);
	entry->record = place(&cursor, terms->record, terms->record_length);
	must(cursor == (char *)entry + size);
	atomic_init(&entry->references, 1);
	entry->status = terms->status;
	entry->version = terms->version;
	entry->record_length = terms->record_length;
	if (terms->status == STATUS_OK)
		write_etag(entry);
	entry->exchange = terms->exchange;
	entry->stored_ms = terms->stored_ms;
	entry->ttl_ms = terms->ttl_ms;
	entry->bytes = size;
	if (terms->status == STATUS_OK)
		entry->bytes += sizeof(struct cache_permit) + terms->record_length + RESPONSE_OVERHEAD_BYTES;
	return entry;
}

struct cache_entry *cache_entry_acquire(struct cache_entry *entry)
{
	atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
	return entry;
}

void cache_entry_release(struct cache_entry *entry)
{
	if (!entry || atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel) != 1)
		return;
	cache_permit_release(entry->permit);
	pthread_mutex_destroy(&entry->permit_lock);
	free(entry);
}

bool cache_entry_is_fresh(const struct cache_entry *entry, int64_t now_ms)
{
	return now_ms - entry->stored_ms < entry->ttl_ms;
}

struct cache_permit *cache_entry_permit(struct cache_entry *entry)
{
	pthread_mutex_lock(&entry->permit_lock);
	struct cache_permit *permit = entry->permit ? cache_permit_acquire(entry->permit) : NULL;
	pthread_mutex_unlock(&entry->permit_lock);
	return permit;
}

void cache_entry_set_permit(struct cache_entry *entry, struct cache_permit *permit)
{
	pthread_mutex_lock(&entry->permit_lock);
	struct cache_permit *before = entry->permit;
	entry->permit = permit;
	pthread_mutex_unlock(&entry->permit_lock);
	cache_permit_release(before);
}

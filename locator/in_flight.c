/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In-flight table: chained, with a bucket array fixed at creation, since the
 * number of lookups in flight is bounded by the settings.
 *
 * Equal means: same object, purpose, caller and station.  The caller is part of
 * it because the gates on both sides may treat callers differently.  The time of
 * the tap is not: it only dates the evidence.
 */
#include "locator/in_flight.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"

#define BUCKETS_MIN 64
#define BUCKETS_MAX 65536

enum status in_flight_init(struct in_flight *table, size_t expected, uint64_t seed)
{
	*table = (struct in_flight){ .bucket_count = BUCKETS_MIN, .seed = seed };
	while (table->bucket_count < expected && table->bucket_count < BUCKETS_MAX)
		table->bucket_count *= 2;
	table->buckets = calloc(table->bucket_count, sizeof(struct in_flight_entry *));
	return table->buckets ? STATUS_OK : STATUS_NO_MEMORY;
}

void in_flight_release(struct in_flight *table)
{
	must(!table->count);
	free(table->buckets);
	*table = (struct in_flight){ 0 };
}

static uint64_t hash_question(const struct in_flight *table, const struct lookup_question *question, int mode)
{
	uint64_t hash = object_id_hash(&question->object, table->seed + (uint64_t)mode);
	hash = hash_key64(question->purpose, strlen(question->purpose), hash);
	hash = hash_key64(question->caller, strlen(question->caller), hash);
	return object_id_hash(&question->evidence.station, hash);
}

static bool is_equal(const struct lookup_question *a, const struct lookup_question *b)
{
	return object_id_equal(&a->object, &b->object) && !strcmp(a->purpose, b->purpose) &&
	       !strcmp(a->caller, b->caller) && object_id_equal(&a->evidence.station, &b->evidence.station);
}

static struct in_flight_entry **find_link(
	const struct in_flight *table, const struct lookup_question *question, int mode, uint64_t hash)
{
	struct in_flight_entry **link = &table->buckets[hash & (table->bucket_count - 1)];
	while (*link && !((*link)->hash == hash && (*link)->mode == mode && is_equal((*link)->question, question)))
		link = &(*link)->chain;
	return link;
}

enum status in_flight_find(const struct in_flight *table, const struct lookup_question *question, int mode,
	int64_t now_ms, struct in_flight_entry **entry_out)
{
	*entry_out = NULL;
	struct in_flight_entry *entry = *find_link(table, question, mode, hash_question(table, question, mode));
	/* One that gives up much sooner would drag a patient caller down with it. */
	if (!entry || entry->question->deadline_ms - now_ms < (question->deadline_ms - now_ms) / 2)
		return STATUS_OK;
	if (entry->waiter_count >= IN_FLIGHT_WAITERS_MAX)
		return STATUS_OVERLOADED;
	*entry_out = entry;
	return STATUS_OK;
}

void in_flight_add(struct in_flight *table, struct in_flight_entry *entry)
{
	must(!entry->is_listed);
	entry->hash = hash_question(table, entry->question, entry->mode);
	struct in_flight_entry **link = find_link(table, entry->question, entry->mode, entry->hash);
	if (*link)
		return;
	entry->chain = NULL;
	*link = entry;
	entry->is_listed = true;
	table->count++;
}

void in_flight_remove(struct in_flight *table, struct in_flight_entry *entry)
{
	if (!entry->is_listed)
		return;
	struct in_flight_entry **link = &table->buckets[entry->hash & (table->bucket_count - 1)];
	while (*link != entry)
		link = &(*link)->chain;
	*link = entry->chain;
	entry->is_listed = false;
	table->count--;
}

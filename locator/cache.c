/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cache: S3-FIFO in shards.  New entries enter a small queue (a tenth of the
 * bytes); those used again move to the main queue, the others leave and only
 * their hash is remembered for a while (the ghost), so that one that returns
 * goes straight to main.  One-shot ids, a scan or a driver passing through,
 * so never displace what is in steady use.
 *
 * A shard's mutex is held for a few pointer moves and never across anything
 * that waits; measured against the rest of a hit that is nothing, and it is a
 * great deal simpler than reclaiming memory under lock-free readers.
 *
 * All entries of one object hash to one chain of one shard, so forgetting an
 * object walks one chain.  Invariant: an entry is in its chain exactly when it
 * is on a queue, and the shard then holds one reference to it.
 */
#include "locator/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"

#define VISITED_MAX 3
#define PROMOTE_ABOVE 1 /* hits in the small queue that earn a place in main */
#define SHARDS_MAX 16
#define SHARD_BYTES_MIN (256 * 1024) /* fewer shards rather than smaller ones: a record may be 64 KiB */
#define BUCKETS_FIRST 64
#define GHOST_ENTRY_BYTES 1024 /* typical entry, for sizing the ghost like main */
#define GHOST_MIN 64

enum queue_name { QUEUE_SMALL, QUEUE_MAIN, QUEUE_COUNT };

struct queue {
	struct cache_entry *newest, *oldest;
	size_t bytes;
};

struct ghost {
	uint64_t hash;
	uint64_t number; /* of the eviction that left it here */
};

struct shard {
	pthread_mutex_t lock;
	struct cache_entry **buckets;
	size_t bucket_count, entry_count;
	struct queue queues[QUEUE_COUNT];
	struct ghost *ghosts; /* one slot a hash: a newer one overwrites */
	size_t ghost_count;
	uint64_t evictions, epoch;
};

struct cache {
	struct shard *shards;
	unsigned shard_count, shard_bits;
	size_t shard_bytes_max;
	int64_t stale_keep_ms;
	uint64_t seed;
};

static size_t shard_bytes(const struct shard *shard)
{
	return shard->queues[QUEUE_SMALL].bytes + shard->queues[QUEUE_MAIN].bytes;
}

/* ---- queues and chains ---- */

static void queue_push(struct shard *shard, enum queue_name name, struct cache_entry *entry)
{
	struct queue *queue = &shard->queues[name];
	entry->queue = (uint8_t)name;
	entry->newer = NULL;
	entry->older = queue->newest;
	if (queue->newest)
		queue->newest->newer = entry;
	else
		queue->oldest = entry;
	queue->newest = entry;
	queue->bytes += entry->bytes;
}

static void queue_remove(struct shard *shard, struct cache_entry *entry)
{
	struct queue *queue = &shard->queues[entry->queue];
	if (entry->newer)
		entry->newer->older = entry->older;
	else
		queue->newest = entry->older;
	if (entry->older)
		entry->older->newer = entry->newer;
	else
		queue->oldest = entry->newer;
	entry->newer = entry->older = NULL;
	must(queue->bytes >= entry->bytes);
	queue->bytes -= entry->bytes;
}

static struct cache_entry **bucket_of(const struct cache *cache, struct shard *shard, uint64_t hash)
{
	return &shard->buckets[(hash >> cache->shard_bits) & (shard->bucket_count - 1)];
}

static void chain_add(const struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
	struct cache_entry **bucket = bucket_of(cache, shard, entry->hash);
	entry->chain = *bucket;
	*bucket = entry;
	shard->entry_count++;
}

static void chain_remove(const struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
	struct cache_entry **link = bucket_of(cache, shard, entry->hash);
	while (*link != entry)
		link = &(*link)->chain;
	*link = entry->chain;
	entry->chain = NULL;
	shard->entry_count--;
}

/* Keeps chains short; when there is no memory for it they just get longer. */
static void chains_grow(const struct cache *cache, struct shard *shard)
{
	if (shard->entry_count < shard->bucket_count)
		return;
	size_t count = shard->bucket_count * 2;
	struct cache_entry **buckets = calloc(count, sizeof(*buckets));
	if (!buckets)
		return;
	struct cache_entry **before = shard->buckets;
	size_t before_count = shard->bucket_count;
	shard->buckets = buckets;
	shard->bucket_count = count;
	shard->entry_count = 0;
	for (size_t i = 0; i < before_count; i++) {
		while (before[i]) {
			struct cache_entry *entry = before[i];
			before[i] = entry->chain;
			chain_add(cache, shard, entry);
		}
	}
	free(before);
}

static void drop(const struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
	chain_remove(cache, shard, entry);
	queue_remove(shard, entry);
	cache_entry_release(entry);
}

static bool is_object(const struct cache_entry *entry, uint64_t hash, const char *type, const char *id)
{
	return entry->hash == hash && !strcmp(entry->key.id, id) && !strcmp(entry->key.type, type);
}

static struct cache_entry *chain_find(
	const struct cache *cache, struct shard *shard, uint64_t hash, const struct cache_key *key)
{
	struct cache_entry *entry = *bucket_of(cache, shard, hash);
	while (entry && !(is_object(entry, hash, key->type, key->id) && !strcmp(entry->key.purpose, key->purpose) &&
				!strcmp(entry->key.variant, key->variant)))
		entry = entry->chain;
	return entry;
}

/* ---- the ghost ---- */

static uint64_t ghost_hash(const struct cache *cache, const struct cache_entry *entry)
{
	uint64_t hash = hash_key64(entry->key.purpose, strlen(entry->key.purpose), entry->hash ^ cache->seed);
	return hash_key64(entry->key.variant, strlen(entry->key.variant), hash);
}

static void ghost_add(const struct cache *cache, struct shard *shard, const struct cache_entry *entry)
{
	uint64_t hash = ghost_hash(cache, entry);
	struct ghost *ghost = &shard->ghosts[hash & (shard->ghost_count - 1)];
	ghost->hash = hash;
	ghost->number = ++shard->evictions;
}

static bool ghost_take(const struct cache *cache, struct shard *shard, const struct cache_entry *entry)
{
	uint64_t hash = ghost_hash(cache, entry);
	struct ghost *ghost = &shard->ghosts[hash & (shard->ghost_count - 1)];
	if (!ghost->number || ghost->hash != hash || shard->evictions - ghost->number >= shard->ghost_count)
		return false;
	ghost->number = 0;
	return true;
}

/* ---- eviction ---- */

/* One step: something leaves, or moves on with a smaller counter, so that the loop around it ends. */
static void evict_step(const struct cache *cache, struct shard *shard, int64_t now_ms)
{
	struct queue *small = &shard->queues[QUEUE_SMALL], *main_queue = &shard->queues[QUEUE_MAIN];
	bool from_small = small->oldest && (small->bytes > cache->shard_bytes_max / 10 || !main_queue->oldest);
	struct cache_entry *entry = from_small ? small->oldest : main_queue->oldest;
	must(entry);
	if (!cache_entry_is_fresh(entry, now_ms)) {
		drop(cache, shard, entry);
	} else if (from_small && entry->visited > PROMOTE_ABOVE) {
		queue_remove(shard, entry);
		entry->visited = 0;
		queue_push(shard, QUEUE_MAIN, entry);
	} else if (from_small) {
		ghost_add(cache, shard, entry);
		drop(cache, shard, entry);
	} else if (entry->visited > 0) {
		queue_remove(shard, entry);
		entry->visited--;
		queue_push(shard, QUEUE_MAIN, entry);
	} else {
		drop(cache, shard, entry);
	}
}

/* ---- the front ---- */

static uint64_t object_hash(const struct cache *cache, const char *type, const char *id)
{
	return hash_key64(id, strlen(id), hash_key64(type, strlen(type), cache->seed));
}

static struct shard *shard_of(const struct cache *cache, uint64_t hash)
{
	return &cache->shards[hash & (cache->shard_count - 1)];
}

static struct cache_entry *get(struct cache *cache, const struct cache_key *key, int64_t now_ms, bool stale_is_welcome)
{
	uint64_t hash = object_hash(cache, key->type, key->id);
	struct shard *shard = shard_of(cache, hash);
	pthread_mutex_lock(&shard->lock);
	struct cache_entry *entry = chain_find(cache, shard, hash, key);
	if (entry && now_ms - entry->stored_ms >= entry->ttl_ms + cache->stale_keep_ms) {
		drop(cache, shard, entry);
		entry = NULL;
	}
	if (entry && !stale_is_welcome && !cache_entry_is_fresh(entry, now_ms))
		entry = NULL;
	if (entry) {
		if (entry->visited < VISITED_MAX)
			entry->visited++;
		cache_entry_acquire(entry);
	}
	pthread_mutex_unlock(&shard->lock);
	return entry;
}

struct cache_entry *cache_get(struct cache *cache, const struct cache_key *key, int64_t now_ms)
{
	return get(cache, key, now_ms, false);
}

struct cache_entry *cache_get_stale(struct cache *cache, const struct cache_key *key, int64_t now_ms)
{
	return get(cache, key, now_ms, true);
}

uint64_t cache_epoch(struct cache *cache, const char *type, const char *id)
{
	struct shard *shard = shard_of(cache, object_hash(cache, type, id));
	pthread_mutex_lock(&shard->lock);
	uint64_t epoch = shard->epoch;
	pthread_mutex_unlock(&shard->lock);
	return epoch;
}

bool cache_put(struct cache *cache, struct cache_entry *entry, uint64_t epoch, int64_t now_ms)
{
	uint64_t hash = object_hash(cache, entry->key.type, entry->key.id);
	struct shard *shard = shard_of(cache, hash);
	bool is_kept = false;
	pthread_mutex_lock(&shard->lock);
	if (epoch != shard->epoch || entry->bytes > cache->shard_bytes_max)
		goto out;
	entry->hash = hash;
	enum queue_name queue = ghost_take(cache, shard, entry) ? QUEUE_MAIN : QUEUE_SMALL;
	entry->visited = 0;
	struct cache_entry *before = chain_find(cache, shard, hash, &entry->key);
	if (before) {
		/* A renewed record keeps the standing the old one earned. */
		queue = before->queue == QUEUE_MAIN ? QUEUE_MAIN : queue;
		entry->visited = before->visited;
		drop(cache, shard, before);
	}
	while (shard_bytes(shard) + entry->bytes > cache->shard_bytes_max)
		evict_step(cache, shard, now_ms);
	chains_grow(cache, shard);
	chain_add(cache, shard, cache_entry_acquire(entry));
	queue_push(shard, queue, entry);
	is_kept = true;
out:
	pthread_mutex_unlock(&shard->lock);
	return is_kept;
}

size_t cache_forget(struct cache *cache, const char *type, const char *id)
{
	uint64_t hash = object_hash(cache, type, id);
	struct shard *shard = shard_of(cache, hash);
	size_t count = 0;
	pthread_mutex_lock(&shard->lock);
	shard->epoch++;
	struct cache_entry *next;
	for (struct cache_entry *entry = *bucket_of(cache, shard, hash); entry; entry = next) {
		next = entry->chain;
		if (is_object(entry, hash, type, id)) {
			drop(cache, shard, entry);
			count++;
		}
	}
	pthread_mutex_unlock(&shard->lock);
	return count;
}

static size_t shard_clear(const struct cache *cache, struct shard *shard)
{
	size_t count = 0;
	for (int name = 0; name < QUEUE_COUNT; name++) {
		while (shard->queues[name].oldest) {
			drop(cache, shard, shard->queues[name].oldest);
			count++;
		}
	}
	return count;
}

size_t cache_forget_all(struct cache *cache)
{
	size_t count = 0;
	for (unsigned i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];
		pthread_mutex_lock(&shard->lock);
		shard->epoch++;
		count += shard_clear(cache, shard);
		pthread_mutex_unlock(&shard->lock);
	}
	return count;
}

void cache_measure(struct cache *cache, size_t *entries_out, size_t *bytes_out)
{
	*entries_out = *bytes_out = 0;
	for (unsigned i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];
		pthread_mutex_lock(&shard->lock);
		*entries_out += shard->entry_count;
		*bytes_out += shard_bytes(shard);
		pthread_mutex_unlock(&shard->lock);
	}
}

/* ---- life ---- */

static enum status shard_init(struct shard *shard, size_t bytes_max)
{
	shard->ghost_count = GHOST_MIN;
	while (shard->ghost_count < bytes_max / GHOST_ENTRY_BYTES)
		shard->ghost_count *= 2;
	shard->bucket_count = BUCKETS_FIRST;
	shard->buckets = calloc(shard->bucket_count, sizeof(struct cache_entry *));
	shard->ghosts = calloc(shard->ghost_count, sizeof(*shard->ghosts));
	return shard->buckets && shard->ghosts ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status cache_create(const struct cache_settings *settings, struct cache **cache_out)
{
	*cache_out = NULL;
	struct cache *cache = calloc(1, sizeof(*cache));
	if (!cache)
		return STATUS_NO_MEMORY;
	unsigned count = settings->shards ? settings->shards : SHARDS_MAX;
	must((count & (count - 1)) == 0);
	while (!settings->shards && count > 1 && settings->bytes_max / count < SHARD_BYTES_MIN)
		count /= 2;
	cache->shard_count = count;
	while ((1u << cache->shard_bits) < count)
		cache->shard_bits++;
	cache->shard_bytes_max = settings->bytes_max / count;
	cache->stale_keep_ms = settings->stale_keep_ms;
	cache->seed = settings->seed;
	cache->shards = calloc(count, sizeof(*cache->shards));
	if (!cache->shards) {
		free(cache);
		return STATUS_NO_MEMORY;
	}
	enum status status = STATUS_OK;
	for (unsigned i = 0; i < count; i++) {
		must(!pthread_mutex_init(&cache->shards[i].lock, NULL));
		if (shard_init(&cache->shards[i], cache->shard_bytes_max))
			status = STATUS_NO_MEMORY;
	}
	if (status) {
		cache_destroy(cache);
		return status;
	}
	*cache_out = cache;
	return STATUS_OK;
}

void cache_destroy(struct cache *cache)
{
	if (!cache)
		return;
	for (unsigned i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];
		shard_clear(cache, shard);
		free(shard->buckets);
		free(shard->ghosts);
		pthread_mutex_destroy(&shard->lock);
	}
	free(cache->shards);
	free(cache);
}

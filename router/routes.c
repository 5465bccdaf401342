/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live route table: an immutable table that any thread may read while the
 * control loop replaces it.
 *
 * Each shard holds the pointer under a mutex of its own, and a thread always uses
 * the same shard, so finding costs one uncontended lock and no shared cache line.
 * Replacing visits the shards one after the other; when the last has let go, no
 * thread can be inside the old table, and it is freed.  For that moment two
 * threads may see two generations; one thread never goes back.
 */
#include "router/routes.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

static struct routes_shard *shard_of_this_thread(struct routes *routes)
{
	/* Thread descriptors are far apart; mix their middle bits down. */
	uint64_t self = (uint64_t)(uintptr_t)pthread_self() * 0x9E3779B97F4A7C15U;

	return &routes->shards[self >> 32 & (ROUTES_SHARDS - 1)];
}

static struct route_table *first_table(const char *path)
{
	struct strbuf why = STRBUF_INIT;
	struct route_table *table = NULL;
	enum status status = route_table_load(path, &table, &why);

	if (status == STATUS_OK)
		LOG_INFO("routes_loaded_from_disk", "path", path, "count",
			log_number((int64_t)route_table_count(table)), "generation",
			log_number((int64_t)route_table_generation(table)));
	else if (status != STATUS_NOT_FOUND)
		LOG_WARN("routes_file_refused", "why", why.data);
	strbuf_release(&why);
	return table;
}

enum status routes_create(const struct routes_settings *settings, struct routes **routes_out)
{
	struct routes *routes = aligned_alloc(alignof(struct routes), sizeof(*routes));
	struct route_builder *builder = route_builder_create();
	struct route_table *table = NULL;

	*routes_out = NULL;
	if (routes != NULL)
		memset(routes, 0, sizeof(*routes));
	if (routes == NULL || builder == NULL || (routes->snapshot_path = strdup(settings->snapshot_path)) == NULL ||
		(routes->dsn = strdup(settings->dsn)) == NULL) {
		if (routes != NULL) {
			free(routes->snapshot_path);
			free(routes->dsn);
		}
		free(routes);
		route_builder_destroy(builder);
		return STATUS_NO_MEMORY;
	}
	table = first_table(routes->snapshot_path);
	atomic_init(&routes->is_ready, table != NULL);
	if (table == NULL)
		table = route_builder_finish(builder, 0);
	else
		route_builder_destroy(builder);
	atomic_init(&routes->generation, route_table_generation(table));
	for (int i = 0; i < ROUTES_SHARDS; i++) {
		must(pthread_mutex_init(&routes->shards[i].mutex, NULL) == 0);
		routes->shards[i].table = table;
	}
	*routes_out = routes;
	return STATUS_OK;
}

void routes_destroy(struct routes *routes)
{
	if (routes == NULL)
		return;
	if (routes->follower != NULL)
		routes->stop_following(routes->follower);
	route_table_destroy(routes->shards[0].table);
	for (int i = 0; i < ROUTES_SHARDS; i++)
		pthread_mutex_destroy(&routes->shards[i].mutex);
	free(routes->snapshot_path);
	free(routes->dsn);
	free(routes);
}

void routes_find(struct routes *routes, const struct object_id *object, struct route_answer *answer)
{
	struct routes_shard *shard = shard_of_this_thread(routes);

	pthread_mutex_lock(&shard->mutex);
	route_table_find(shard->table, object, answer);
	pthread_mutex_unlock(&shard->mutex);
}

size_t routes_count(struct routes *routes)
{
	struct routes_shard *shard = shard_of_this_thread(routes);
	size_t count;

	pthread_mutex_lock(&shard->mutex);
	count = route_table_count(shard->table);
	pthread_mutex_unlock(&shard->mutex);
	return count;
}

uint64_t routes_generation(const struct routes *routes)
{
	return atomic_load_explicit(&routes->generation, memory_order_acquire);
}

bool routes_is_ready(const struct routes *routes)
{
	return atomic_load_explicit(&routes->is_ready, memory_order_acquire);
}

void routes_swap(struct routes *routes, struct route_table *table)
{
	struct route_table *old = NULL;
	uint64_t generation = route_table_generation(table);

	for (int i = 0; i < ROUTES_SHARDS; i++) {
		pthread_mutex_lock(&routes->shards[i].mutex);
		old = routes->shards[i].table;
		routes->shards[i].table = table;
		pthread_mutex_unlock(&routes->shards[i].mutex);
	}
	route_table_destroy(old);
	atomic_store_explicit(&routes->generation, generation, memory_order_release);
	atomic_store_explicit(&routes->is_ready, true, memory_order_release);
}

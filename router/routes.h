/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the live route table.  Private to router.
 */
#ifndef ROUTER_ROUTES_H
#define ROUTER_ROUTES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdalign.h>

#include "router/router.h"

#define ROUTES_SHARDS 16 /* as many threads as the whole process has */

struct routes_follower;

struct routes_shard {
	alignas(64) pthread_mutex_t mutex; /* held for one find, or for the exchange of the pointer */
	struct route_table *table;
};

struct routes {
	struct routes_shard shards[ROUTES_SHARDS];
	atomic_uint_fast64_t generation;
	atomic_bool is_ready;
	char *snapshot_path, *dsn;
	struct routes_follower *follower;
	void (*stop_following)(struct routes_follower *follower); /* set with follower */
};

#endif

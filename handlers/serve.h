/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What serving one lookup and serving a batch share, private to handlers.
 * Everything in struct peer_service is fixed after create, but the counters.
 */
#ifndef HANDLERS_SERVE_H
#define HANDLERS_SERVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/metrics.h"
#include "handlers/handlers.h"

/* Peers are the mesh's regions, so few; past this many, further ones share the last place and its limit. */
#define PEER_PLACES_MAX 64

/* How a lookup ended, as the metrics tell it. */
enum serve_result {
	SERVE_FOUND,
	SERVE_NOT_AVAILABLE,
	SERVE_OVERLOADED,
	SERVE_DEADLINE,
	SERVE_ERROR,
	SERVE_RESULT_COUNT
};

/* One asking region. */
struct peer_place {
	char region[REGION_SIZE];
	atomic_int_least64_t in_flight;
	struct metric_series *results[SERVE_RESULT_COUNT];
};

struct peer_service {
	struct serve_engine *engines;
	size_t engine_count;
	atomic_size_t next_engine;
	struct gate *gate;
	struct place_station place_station;
	const struct clock_source *clock;
	struct log_service *log;
	const struct settings *settings;
	struct budgets *budgets;
	struct travel *travel;
	struct travel_hook travel_hook;
	struct budget_hook budget_hook;
	struct forget_hook forget_hook;
	struct metric *lookups, *budget_refusals, *budget_alarms;
	struct metric_series *duration;
	pthread_mutex_t places_lock; /* guards making a place, never held across anything else */
	struct peer_place places[PEER_PLACES_MAX];
	size_t place_count;
	/* peer_records.c */
	struct loop *records_loop;
	struct database *records_database; /* NULL: not read here */
	atomic_int pages;
};

/* GET /peer/v1/exchanges */
void peer_records(void *arg, struct http_request *request);

#endif

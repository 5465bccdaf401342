/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locator: front door.  Answers "give me this object for this purpose": from the
 * cache, from this region, or by carrying the question home.
 */
#ifndef LOCATOR_LOCATOR_H
#define LOCATOR_LOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/database.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "base/random.h"
#include "base/settings.h"
#include "base/status.h"
#include "handlers/handlers.h"
#include "policy/policy.h"
#include "router/router.h"

struct locator;

/* One per engine, fitted in main.c. */
struct locator_engine {
	struct loop *loop;
	struct handlers *handlers;
	struct access_log *log;
	struct delegate *delegate;
};

/* Upward seam: who looks at taps of objects at home here.  Any thread; LOOKUP_… flags; may be NULL. */
struct locator_taps {
	unsigned int (*note)(void *arg, const struct object_id *object, const char *station_region);
	void *arg;
};

struct locator_settings {
	const struct locator_engine *engines; /* copied */
	size_t engine_count;
	struct gate *gate;
	struct routes *routes;
	struct peers *peers;
	const struct clock_source *clock;
	const struct random_source *random;
	const struct settings *settings; /* must outlive it */
	struct locator_taps taps;
};

MUST_CHECK enum status locator_create(const struct locator_settings *settings, struct locator **locator_out);
/* Lookups under way must have ended (locator_in_flight() == 0). */
void locator_destroy(struct locator *locator);
int locator_in_flight(const struct locator *locator);

/* Follows the callers table on this loop (the control loop); keeps a last good copy in state_dir. */
MUST_CHECK enum status locator_follow_callers(struct locator *locator, struct loop *loop, struct database *database);

/*
 * Where POST /v1/events goes, for callers that may write: replies to the request.  Before the api listener starts;
 * without it the endpoint says that there is none.
 */
struct locator_events {
	void (*submit)(void *arg, struct http_request *request, const char *caller);
	void *arg;
};
void locator_take_events(struct locator *locator, const struct locator_events *events);

/* The client API; give the routes to the api listener with the locator as their argument. */
const struct http_route *locator_routes(size_t *count_out);

/* Forgets cached answers about one object, or (NULL) all; any thread.  Returns how many. */
size_t locator_forget(struct locator *locator, const struct object_id *object);
/* The seam handlers need: where the router places a station ("" unknown). */
void locator_place_station(void *locator, const struct object_id *station, char region_out[REGION_SIZE]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolve: one lookup from question to answer.  A step machine per lookup, one
 * resolver per engine, all on the engine's thread.  Everything outside goes
 * through struct resolve_world, so that tests drive it with a fake clock and a
 * fake home.
 */
#ifndef LOCATOR_RESOLVE_H
#define LOCATOR_RESOLVE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/http_client.h"
#include "base/lookup.h"
#include "base/status.h"
#include "handlers/handlers.h"
#include "locator/cache.h"
#include "locator/deadlines.h"
#include "policy/policy.h"
#include "router/router.h"

/* The real one is world.c.  Completions follow the rule of base/loop.h. */
struct resolve_world {
	void *arg;
	void (*find_route)(void *arg, const struct object_id *object, struct route_answer *answer);
	uint64_t (*routes_generation)(void *arg);
	uint64_t (*policy_generation)(void *arg);
	/* NULL: everything is denied. */
	struct policy *(*policy_acquire)(void *arg);
	void (*policy_return)(void *arg, struct policy *policy);
	const char *(*policy_version)(void *arg, const struct policy *policy);
	void (*decide)(void *arg, const struct policy *policy, const struct gate_request *request,
		struct gate_decision *decision);
	json_t *(*view)(void *arg, const struct policy *policy, const char *type, const struct gate_decision *decision,
		const json_t *record);
	void (*field_names)(
		void *arg, const struct policy *policy, const char *type, uint64_t fields, struct strbuf *names);
	void (*fetch)(void *arg, const struct object_id *object, int64_t deadline_ms, handlers_fetch_done *done,
		void *done_arg);
	void (*request_release)(void *arg, struct policy *policy, const struct gate_request *request,
		const struct lookup_question *question, const char *peer, policy_release_done *done, void *done_arg);
	struct gate_decision (*release_decision)(void *arg, const struct policy_release *release);
	void (*delegate)(void *arg, const char *region, const struct lookup_question *question,
		struct policy_release *release, delegate_done *done, void *done_arg);
	void (*log_got)(void *arg, const struct access_got *got, access_log_done *done, void *done_arg);
	/* resolver_wake() after delay_ms; asking again moves it; < 0: not at all. */
	void (*wake_after)(void *arg, int64_t delay_ms);
	/* A permitted tap of an object that is at home here; LOOKUP_… flags.  NULL: nobody looks. */
	unsigned int (*note_tap)(void *arg, const struct object_id *object, const char *station_region);
};

enum cache_mode { CACHE_MODE_NORMAL, CACHE_MODE_BYPASS, CACHE_MODE_ONLY };

/* Where an answer came from: nowhere (no route and not ours), the cache, this region, or the home. */
enum resolve_source { SOURCE_NONE, SOURCE_CACHE, SOURCE_LOCAL, SOURCE_HOME };

struct resolve_result {
	enum status status;
	enum resolve_source source;
	struct cache_entry *entry; /* with STATUS_OK; borrowed, acquire to keep */
	struct cache_entry *stale; /* on failure, when the waiter wants one: may only refuse with it; borrowed */
	struct exchange_id exchange;
	bool has_joined, is_stored, was_denied;
	enum http_client_error failure;
	unsigned int flags; /* LOOKUP_…: what the home noticed of this tap */
	const char *peer;   /* the home asked, or "" */
	/* As they were before the own gate decided. */
	uint64_t policy_generation, routes_generation;
};

struct resolve_lookup;

struct resolve_waiter {
	struct lookup_question question;
	enum cache_mode mode;
	bool wants_stale;
	/* Exactly once, by the question's deadline; the waiter is the caller's again. */
	void (*done)(struct resolve_waiter *waiter, const struct resolve_result *result);

	struct deadline deadline;
	struct resolve_lookup *lookup;
	struct resolve_waiter *next, *previous;
	bool has_joined;
};

struct resolver;

struct resolver_settings {
	struct resolve_world world;
	const struct clock_source *clock;
	const char *region; /* borrowed */
	struct cache *records, *negatives;
	int64_t ttl_max_s, negative_ttl_s;
	size_t expected_in_flight;
	uint64_t seed;
};

MUST_CHECK enum status resolver_create(const struct resolver_settings *settings, struct resolver **resolver_out);
void resolver_destroy(struct resolver *resolver);
/* The waiter's done may be called before this returns. */
void resolver_submit(struct resolver *resolver, struct resolve_waiter *waiter);
/* Ends what is past its deadline. */
void resolver_wake(struct resolver *resolver);
/* Lookups not yet wholly over, answered or not.  Any thread. */
size_t resolver_in_flight(const struct resolver *resolver);

/*
 * Where a record answering this question is cached.  The caller is part of it: the home was told who asks, and may
 * have permitted it for that caller only.  Borrows from the question.
 */
struct cache_key resolve_record_key(const struct lookup_question *question);

/*
 * Whether a cached record may be given for this question now: same evidence region, own gate still permits asking
 * for exactly these fields, and the age is within what it permits.  Any thread.
 */
bool resolve_may_reuse(const struct resolve_world *world, const char *region, const struct cache_entry *entry,
	const struct lookup_question *question, const char *station_region, int64_t now_ms, int64_t now_wall_us);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * router: front door.  Which region is home to an object (route table), how that
 * region is doing (peer table), and the way there (delegate).
 */
#ifndef ROUTER_ROUTER_H
#define ROUTER_ROUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/database.h"
#include "base/http_client.h"
#include "base/lookup.h"
#include "base/loop.h"
#include "base/object_id.h"
#include "base/random.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "policy/policy.h"

/* ---- route table: an immutable snapshot, swapped whole ---- */

enum route_kind { ROUTE_EXACT, ROUTE_PREFIX };

struct route { /* one row */
	char type[OBJECT_TYPE_SIZE];
	enum route_kind kind;
	char key[OBJECT_ID_SIZE]; /* canonical id or prefix */
	char region[REGION_SIZE];
};

enum route_found { ROUTE_FOUND_NONE, ROUTE_FOUND_EXACT, ROUTE_FOUND_PREFIX };

struct route_answer {
	enum route_found found;
	char region[REGION_SIZE]; /* "" when none */
	char key[OBJECT_ID_SIZE]; /* the row that decided */
	uint64_t generation;
};

struct route_table;

/* Collects rows, then becomes immutable.  A later row with the same key replaces the earlier. */
struct route_builder;
struct route_builder *route_builder_create(void);
MUST_CHECK enum status route_builder_add(struct route_builder *builder, const struct route *route);
/* Consumes the builder. */
struct route_table *route_builder_finish(struct route_builder *builder, uint64_t generation);
void route_builder_destroy(struct route_builder *builder);

void route_table_destroy(struct route_table *table);
/* exact, then the longest prefix, then none.  There is no default region.  Pure. */
void route_table_find(const struct route_table *table, const struct object_id *object, struct route_answer *answer);
size_t route_table_count(const struct route_table *table);
uint64_t route_table_generation(const struct route_table *table);
/* Last good copy on disk: a header with counts and a checksum, then rows. */
MUST_CHECK enum status route_table_save(const struct route_table *table, const char *path, struct strbuf *why);
MUST_CHECK enum status route_table_load(const char *path, struct route_table **table_out, struct strbuf *why);

/* The live table: any thread may find; the owner's loop loads from PostgreSQL and follows NOTIFY. */
struct routes;

struct routes_settings {
	const char *snapshot_path; /* copied */
	const char *dsn;           /* for the bulk read, which has a connection of its own; copied */
};
/* Starts with the copy on disk if there is one, else empty and not ready. */
MUST_CHECK enum status routes_create(const struct routes_settings *settings, struct routes **routes_out);
void routes_destroy(struct routes *routes);
/* Follows changes on this loop (the control loop); the bulk read runs in a short-lived thread of its own.
 * Destroy the routes before the loop. */
MUST_CHECK enum status routes_follow(struct routes *routes, struct loop *loop, struct database *database);
void routes_find(struct routes *routes, const struct object_id *object, struct route_answer *answer);
uint64_t routes_generation(const struct routes *routes);
size_t routes_count(struct routes *routes);
bool routes_is_ready(const struct routes *routes);
/* Replaces the live table (tests, reload).  Takes it. */
void routes_swap(struct routes *routes, struct route_table *table);

/* ---- peers: several URLs each, and a state per URL; any thread ---- */

enum peer_state { PEER_UP, PEER_SUSPECT, PEER_DOWN };
const char *peer_state_name(enum peer_state state);

struct peers;

struct peers_settings {
	int64_t suspect_after; /* failures in a row */
	int64_t down_after;
	int64_t up_after;          /* good probes in a row on the way back */
	int64_t probe_interval_ms; /* first; backs off with jitter to 16 times */
	int64_t retry_percent;     /* retries allowed, as a share of lookups sent (and at least a few) */
};

struct peer_definition {
	const char *region;
	const char *const *urls;
	size_t url_count;
};

/* Upward seam: a peer has no address left that answers, or has one again.  Any thread, under no lock. */
struct peers_hook {
	void (*changed)(void *arg, const char *region, bool is_up, const char *reason, int64_t down_ms);
	void *arg;
};

struct peers *peers_create(
	const struct peers_settings *settings, const struct clock_source *clock, const struct random_source *random);
void peers_destroy(struct peers *peers);
/* Replaces the definitions; a URL that stays keeps its state.  Copies. */
MUST_CHECK enum status peers_define(struct peers *peers, const struct peer_definition *definitions, size_t count);
/* Before any thread but this one knows the peers. */
void peers_tell(struct peers *peers, const struct peers_hook *hook);
bool peers_know(struct peers *peers, const char *region);

/* The URL to use now: an up one, else a suspect one; `not_url` (may be NULL) is passed over, for a retry.
 * STATUS_NOT_FOUND: no such peer.  STATUS_UNREACHABLE: all are down. */
#define PEER_URL_SIZE 256
MUST_CHECK enum status peers_choose(
	struct peers *peers, const char *region, const char *not_url, char url_out[PEER_URL_SIZE]);
/* Tells what came of a request; certificate failures back off separately. */
void peers_report(
	struct peers *peers, const char *region, const char *url, enum http_client_error error, int64_t duration_ms);
/* Takes one retry from the budget; false: there is none left, give up. */
bool peers_may_retry(struct peers *peers, const char *region);

struct peer_row {
	char region[REGION_SIZE];
	char url[PEER_URL_SIZE];
	enum peer_state state;
	char reason[48];         /* token of the last failure, "" when none */
	int64_t since_ms;        /* in this state, age */
	int64_t last_success_ms; /* age; -1 never */
	int64_t round_trip_ms;   /* smoothed; -1 unknown */
};
void peers_each(struct peers *peers, void (*each)(void *arg, const struct peer_row *row), void *arg);
/* Probes URLs that are down or suspect, and those in use once that were idle for 10 s, with GET /peer/v1/health
 * from this loop (the control loop). */
MUST_CHECK enum status peers_probe(struct peers *peers, struct loop *loop, struct http_client *client);
/* After the loop has stopped, before it, its client and the peers are destroyed.  Without a prober: nothing.
 * Accepts NULL. */
void peers_probe_stop(struct peers *peers);

/* ---- cosigning: asks every peer, at an interval, to cosign this region's access log ---- */

struct cosigning;

struct cosigning_settings {
	struct loop *loop; /* the control loop */
	struct http_client *client;
	struct peers *peers;         /* their addresses */
	struct log_peers *log_peers; /* their keys: who has none here is not asked */
	const char *directory;       /* of this region's log; copied */
	struct note_verifier own;    /* of this region's log */
	int64_t interval_ms;
};

/* Starts with a round soon after.  What peers sign lies in checkpoint.cosigned beside the checkpoint. */
MUST_CHECK enum status cosigning_create(const struct cosigning_settings *settings, struct cosigning **cosigning_out);
/* After the loop has stopped and before the client is destroyed.  Accepts NULL. */
void cosigning_destroy(struct cosigning *cosigning);

/* ---- delegate: one per engine; batches lookups for one peer into one request ---- */

struct delegate;

struct delegate_settings {
	int64_t batch_max;       /* lookups a request, <= PEER_BATCH_MAX */
	int64_t connections_max; /* requests under way at once, per peer */
	int64_t linger_ms;       /* how long a batch may wait for company while others are under way */
	int64_t waiting_max;     /* lookups waiting per peer; more are STATUS_OVERLOADED */
};

MUST_CHECK enum status delegate_create(struct loop *loop, struct http_client *client, struct peers *peers,
	const struct delegate_settings *settings, struct delegate **delegate_out);
/* After its loop has stopped and before the client is destroyed.  Lookups still under way are forgotten: their
 * done is not called, for whoever waits for it may be gone by then. */
void delegate_destroy(struct delegate *delegate);

/* answer is borrowed: the callee may take record by nulling it.  failure: HTTP_CLIENT_OK or the transport's reason. */
typedef void delegate_done(void *arg, struct lookup_answer *answer, enum http_client_error failure);
/*
 * Takes the release, which must cover this object and peer.  Ends at the question's deadline at the latest.
 * The question must stay alive until done.  A reject is final; only a transport error is tried again, at the
 * same region's other URL, within the retry budget; never at another region.
 */
void delegate_lookup(struct delegate *delegate, const char *region, const struct lookup_question *question,
	struct policy_release *release, delegate_done *done, void *arg);

#endif

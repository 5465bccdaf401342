/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the publisher's and the consumer's thread have in common: a database
 * session and a broker connection that come and go, patience between attempts,
 * and the wish to stop.
 */
#ifndef FEDERATION_WORKER_H
#define FEDERATION_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/database.h"
#include "base/metrics.h"
#include "base/settings.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "federation/broker.h"
#include "federation/confirms.h"
#include "federation/event_gate.h"
#include "federation/event_schema.h"
#include "federation/federation.h"
#include "federation/system_events.h"

#define WORKER_QUERY_MS 30000 /* a batch's statement; a checkpoint may hold it up */
#define WORKER_RECORD_MS 5000 /* for the access log to take a batch; less than two heartbeats */
#define WORKER_TURN_MS 100    /* the longest wait in one place, so that stopping and heartbeats come in time */

struct mesh_current;
struct webhooks;

struct worker {
	const char *name; /* "publisher", "consumer" */
	const struct settings *settings;
	const char *dsn;           /* NULL: needs no database */
	struct mesh_current *mesh; /* NULL: no mesh file */
	const struct event_schemas *schemas;
	struct event_gate *gate;
	struct events_hooks hooks;
	struct system_events *system;           /* what the service says to operators; NULL: nothing is said */
	struct canary_sender *canary;           /* NULL: no mesh file */
	struct webhooks *webhooks;              /* the webhooks' own */
	struct broker_settings broker_settings; /* url NULL: needs no broker */
	void (*work)(struct worker *worker);    /* until stopping, or a failure told by worker_lose_* */

	pthread_t thread;
	bool is_running;
	atomic_bool is_stopping;
	pthread_mutex_t lock; /* of `broker` itself, for worker_stop() */
	struct broker *broker;
	struct database_session *session;
	struct confirms confirms;
	bool is_new_channel; /* the next batch's tags begin at 1 */
	int64_t upkeep_ms;   /* when the publisher last looked after what is over */
	bool is_holding;     /* the consumer: events may wait for earlier ones */
	int64_t holdback_ms; /* when it last looked after them */
	int64_t patience_ms; /* before the next attempt; grows to a bound, with jitter */
};

MUST_CHECK enum status worker_start(struct worker *worker, struct strbuf *why);
/* Waits for it.  Safe on a worker never started. */
void worker_stop(struct worker *worker);

/*
 * What one process of a region does for all of them, each under an advisory lock of its own; 7451038219046511 is the
 * schema's (base/schema.c), …513 the inbox's (inbox.h).
 */
enum worker_lock {
	WORKER_LOCK_PUBLISHER = 512,
	WORKER_LOCK_WEBHOOKS = 514,
	WORKER_LOCK_LEDGERS = 515,
};
/*
 * For `prepare`: STATUS_CONFLICT, without a reason, while another process of the region has it, which is as it should
 * be.  It goes with the session.
 */
MUST_CHECK enum status worker_take_lock(struct worker *worker, enum worker_lock lock, struct strbuf *why);

/* Both are connected, or it is time to wait: then false. */
bool worker_connect(struct worker *worker, enum status (*prepare)(struct worker *worker, struct strbuf *why));
void worker_lose_broker(struct worker *worker, const char *why);
void worker_lose_session(struct worker *worker, const char *why);
/* Waits a while, less when stopping. */
void worker_wait(struct worker *worker);
void worker_succeed(struct worker *worker); /* the next failure is again a first one */

/* Events that shared a message with others; direction: sent, received. */
void worker_count_batched(const char *direction, size_t events);

/*
 * Takes one thing from the broker.  Confirmations go to the worker's confirms, alarms are logged; a delivery is the
 * caller's (news->happening == BROKER_DELIVERED), and everything else is nothing.  False when the broker was lost.
 */
bool worker_listen(struct worker *worker, int64_t timeout_ms, struct broker_news *news_out);

/* Takes what the broker has said so far; waits for at most timeout_ms.  False when the broker was lost. */
bool worker_pump(struct worker *worker, int64_t timeout_ms);
/* Until the broker has confirmed or refused each message of the batch.  False when it was lost, or when stopping. */
bool worker_settle(struct worker *worker);
/* A second, or until a NOTIFY on a channel that the session listens to. */
void worker_wait_notified(struct worker *worker);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The running part of canaries: a worker that sends and answers them over a broker
 * connection of its own, and what the consumer and the publisher tell it.  Safe
 * from any thread; nothing here waits but the worker.
 */
#ifndef FEDERATION_CANARY_SENDER_H
#define FEDERATION_CANARY_SENDER_H

#include "base/tls.h"
#include "federation/canary.h"
#include "federation/event.h"
#include "federation/worker.h"

#define CANARY_TYPE EVENT_OWN_PREFIX "canary"

struct canary_sender;

/* tls: of the certificate whose end is told; may be NULL, as `system` may, which is told of silence.  All outlive it. */
MUST_CHECK enum status canary_sender_create(const struct settings *settings, const struct mesh *mesh,
	const struct tls_store *tls, struct system_events *system, struct canary_sender **sender_out);
void canary_sender_destroy(struct canary_sender *sender);
/* Canaries go to other peers from now on: those of canaries_init() with another mesh; releases it.  Any thread. */
void canary_sender_follow(struct canary_sender *sender, struct canaries *fresh);
/* struct worker's work, with worker->canary set. */
void canary_sender_work(struct worker *worker);

/*
 * Whether an event that arrived is a canary: it is then of no further use.  A late one still shows that the link
 * flows, but is not answered.  sender NULL: this region has no mesh file and only lets canaries pass by.
 */
bool canary_take(struct canary_sender *sender, const struct event *event, bool is_late);

enum canary_count { CANARY_DUPLICATES, CANARY_GAPS };
/* More events of a peer that came twice, or are missing.  sender may be NULL. */
void canary_count(struct canary_sender *sender, const char *region, enum canary_count what, int64_t amount);
/* On the publisher's session, now and then: which events have no receipt. */
MUST_CHECK enum status canary_count_unreceipted(struct worker *worker, struct strbuf *why);

/*
 * For queries on the publisher's session: arrays of the peers and of canary_reached_age_ms() of each.  Empty arrays
 * without a mesh file.  STATUS_NO_MEMORY.
 */
#define CANARY_BEHIND_MS "10000" /* what was sent so long before it has been taken, and its receipt has come */
MUST_CHECK enum status canary_reached(struct canary_sender *sender, struct strbuf *regions, struct strbuf *ages_ms);

/* How many events the region takes in one message, by its own word; 1 without any.  sender may be NULL. */
size_t canary_batch_events(struct canary_sender *sender, const char *region);

/* The whole mesh as far as it is known here; NULL when out of memory. */
json_t *canary_matrix(struct canary_sender *sender);

#endif

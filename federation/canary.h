/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of each peer by its canaries: when the last one came, when the
 * last of ours was answered and how long that took, and what the peer itself says
 * of its links.  Pure: time is an argument, in milliseconds of the monotonic
 * clock, and nothing is sent from here (canary_sender.c does).
 */
#ifndef FEDERATION_CANARY_H
#define FEDERATION_CANARY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/object_id.h"
#include "base/status.h"
#include "federation/federation.h"

#define CANARY_SILENT_MS 8000      /* four canaries: fewer would call a slow broker dead */
#define CANARY_WINDOW 128          /* round trips that percentiles are taken from: four minutes and more */
#define CANARY_SENT_MAX 64         /* canaries that may still be answered; later answers are too late to measure */
#define CANARY_SLOW_AFTER_MS 60000 /* without any word of a peer: then a fifth as often, so that little piles up */
#define CANARY_SLOW_FACTOR 5
#define CANARY_VIEW_PEERS_MAX 16 /* told of one region's links; of more, only the link to whom it is told */
#define CANARY_INSTANCE_SIZE 17
#define CANARY_TRUSTED_MS 3600000 /* for so long after an answer, silence means that the link is down or slow */

struct canary_peer {
	char region[REGION_SIZE];
	int64_t heard_ms, answered_ms; /* -1: never */
	int64_t reached_ms;            /* when the newest that was answered had been sent */
	int64_t begin_ms;              /* when it became a peer */
	int64_t due_ms;
	uint64_t number; /* of the last one sent; from 1 */
	struct {
		uint64_t number; /* 0: none, or answered */
		int64_t at_ms;
	} sent[CANARY_SENT_MAX];
	int64_t round_trips_ms[CANARY_WINDOW];
	size_t round_trip_count; /* ever; the window is the last CANARY_WINDOW of them */
	int64_t duplicates, gaps, unreceipted;
	bool is_silent;
	int64_t batch_events_max; /* in one message that it takes; 1: it takes one event a message */
	json_t *view;             /* what it said last of its own links; NULL: nothing yet */
	int64_t view_ms;
};

struct canaries {
	char region[REGION_SIZE],
		instance[CANARY_INSTANCE_SIZE]; /* instance: of this process, so that answers to another's do not count */
	int64_t interval_ms;
	int64_t certificate_days; /* -1: unknown */
	int64_t alarms;
	struct canary_peer *peers;
	size_t count;
};

/* One peer for each link of the region.  A mesh that does not name the region has none. */
MUST_CHECK enum status canaries_init(
	struct canaries *canaries, const struct mesh *mesh, const char *region, int64_t interval_ms, int64_t now_ms);
void canaries_release(struct canaries *canaries);
/*
 * Takes the peers of `fresh`, made by canaries_init() of another mesh; what is known of those in both stays.  fresh is
 * left with the peers that are gone.
 */
void canaries_follow(struct canaries *canaries, struct canaries *fresh);
struct canary_peer *canaries_find(const struct canaries *canaries, const char *region);

/* ---- sending ---- */

bool canary_is_due(const struct canary_peer *peer, int64_t now_ms);
/* One is about to be sent: its number. */
uint64_t canary_sent(const struct canaries *canaries, struct canary_peer *peer, int64_t now_ms);
/* When the next of all of them is due. */
int64_t canaries_next_ms(const struct canaries *canaries);

/* ---- hearing ---- */

/* True when it is back after a silence. */
bool canary_heard(struct canary_peer *peer, int64_t now_ms);
/* An answer to one of ours; false when it is not known, or was answered before. */
bool canary_answered(struct canary_peer *peer, uint64_t number, int64_t now_ms);
/*
 * How long ago the newest canary that was answered had been sent: a link keeps the order, so what was sent to the peer
 * before that has come there, or is lost.  -1: nothing can be said, for it has not answered for an hour, or ever.
 */
int64_t canary_reached_age_ms(const struct canary_peer *peer, int64_t now_ms);
/* True when it has just fallen silent. */
bool canary_falls_silent(struct canary_peer *peer, int64_t now_ms);
/* How many events the peer takes in one message; 1 also of one that has not been heard for an hour: it may be another. */
int64_t canary_batch_events_max(const struct canary_peer *peer, int64_t now_ms);
/* Milliseconds, nearest rank, of the window; -1 when there is none. */
int64_t canary_percentile(const struct canary_peer *peer, unsigned percent);

/* ---- views: canary_view.c ---- */

/* What this region tells `to`: its links (or, of many, the one to `to`), certificate and alarms. */
json_t *canary_view(const struct canaries *canaries, const struct canary_peer *to, int64_t now_ms);
/* Keeps what a peer tells; takes a reference. */
void canary_told(struct canary_peer *peer, json_t *view, int64_t now_ms);
/* The whole matrix, as far as it is known here: {"region", "canary_interval_ms", "links": […], "regions": […]}. */
json_t *canaries_matrix(const struct canaries *canaries, int64_t now_ms);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System events: what homeward itself has to say to its operators, as CloudEvents
 * without personal data.  Part of the front door federation.h.
 *
 * The last SYSTEM_EVENTS_KEPT of them are in memory, with or without a broker:
 * read by `GET /admin/v1/events`, each logged, and published to the exchange
 * homeward.system where there is a broker.  Saying something never waits: when
 * the broker does not keep up the oldest is dropped, which is counted, and told
 * by the next one that is published (`missed`).
 */
#ifndef FEDERATION_SYSTEM_EVENTS_H
#define FEDERATION_SYSTEM_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "base/random.h"
#include "base/status.h"
#include "base/strbuf.h"

#define SYSTEM_EVENTS_KEPT 1000  /* of 1.5 KB at most */
#define SYSTEM_EVENTS_ANSWER 200 /* in one answer */
#define SYSTEM_READERS_MAX 16    /* waiting at once; operators are few */
#define SYSTEM_WAIT_S_MAX 25

struct system_events;

/* has_broker: somebody will publish them.  NULL when out of memory.  region is copied. */
struct system_events *system_events_create(
	const char *region, bool has_broker, const struct clock_source *clock, const struct random_source *random);
/* Readers must have been answered: system_events_refuse().  Accepts NULL. */
void system_events_destroy(struct system_events *system);

/* ---- saying; any thread, never waits, accepts NULL.  Texts are names of regions, callers and kinds, never ids. ---- */

/* data is taken. */
void system_events_say(struct system_events *system, const char *type, json_t *data);

void system_say_peer(struct system_events *system, const char *peer, bool is_up, const char *reason, int64_t down_s);
/* Down: no canary comes. */
void system_say_link(struct system_events *system, const char *from, const char *to, bool is_up);
/* peer NULL: a caller of this region; caller NULL: not one only. */
void system_say_denials(
	struct system_events *system, const char *peer, const char *caller, int64_t denied, int64_t window_s);
void system_say_certificate(
	struct system_events *system, const char *kind, const char *subject, int64_t not_after_s, int64_t now_s);
void system_say_routes(struct system_events *system, uint64_t count, uint64_t generation);
struct system_log_alarm {
	const char *kind;                   /* as in homeward.log.alarm */
	const char *peer, *caller, *detail; /* NULL: none */
	int64_t durable;                    /* < 0: not said */
};
void system_say_log_alarm(struct system_events *system, const struct system_log_alarm *alarm);
/* subject_hash: a keyed hash. */
void system_say_travel(struct system_events *system, const char *subject_hash, const char *from, const char *to,
	int64_t apart_s, int64_t possible_s);
struct system_gap {
	int64_t gap; /* its row in homeward.gaps, which has the subject */
	const char *origin, *source;
	int64_t missing_from, missing_to, waited_ms;
	bool is_start; /* nothing of that source and subject was known before */
};
/* Events of one source and subject that did not come. */
void system_say_gap(struct system_events *system, const struct system_gap *gap);
struct system_ledger {
	const char *from, *to, *since, *until;
	int64_t sent, taken, missing, extra;
};
/* What one region sent this one in that time is not what this one has. */
void system_say_ledger(struct system_events *system, const struct system_ledger *ledger);

/* Nothing is sent to a webhook any more until it is resumed. */
void system_say_webhook_paused(struct system_events *system, const char *webhook, const char *reason);

/* ---- reading ---- */

/* Where readers are answered as soon as something is said; before that, only by system_events_tend(). */
void system_events_follow(struct system_events *system, struct loop *loop);
/*
 * GET ?after=N&run=ID&type=PREFIX&wait=S, on an HTTP thread: replies, at once or when there is something.  `run` names
 * the process that numbered them; with another one's, the reader is given all that is kept.
 */
void system_events_answer(struct system_events *system, struct http_request *request);
/* About once a second, on any thread: answers readers whose time is over. */
void system_events_tend(struct system_events *system);
/* Answers all readers, and lets none wait any more. */
void system_events_refuse(struct system_events *system);
/*
 * What an answer says: {"run", "events": [{"number", "event"}], "last", "missed"}.  False when there is nothing after
 * `after`.  run "" : this one's.
 */
bool system_events_read(
	struct system_events *system, const char *run, uint64_t after, const char *prefix, struct strbuf *text);

/* A JSON array of the last `count` that tell of a fault, the newest last. */
void system_events_alarms(struct system_events *system, int count, struct strbuf *text);

/* ---- publishing: the publisher's thread only ---- */

struct system_event {
	uint64_t number;
	char type[64];
	char id[40];
	struct strbuf text; /* with `missed` when some were dropped before it */
};
/* The oldest after `after` that is not published; false when there is none.  The text is the caller's to release. */
bool system_events_next(struct system_events *system, uint64_t after, struct system_event *event_out);
/* All up to this one have been. */
void system_events_published(struct system_events *system, uint64_t number);
uint64_t system_events_last_published(struct system_events *system);

/* ---- what runs out: pure ---- */

#define SYSTEM_EXPIRIES_MAX 600

struct system_expiries {
	struct system_expiry {
		char kind[16], subject[256];
		int64_t expires_s, told_s;
		int threshold;
	} * entries;
	size_t count;
};
/* Whether its end is to be told now: 30 days before (a list: 7), 7 and 1, and once a day from the first. */
bool system_expiry_is_due(
	struct system_expiries *expiries, const char *kind, const char *subject, int64_t expires_s, int64_t now_s);
void system_expiries_release(struct system_expiries *expiries);

#endif

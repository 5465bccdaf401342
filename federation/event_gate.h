/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate for events, asked from a worker's thread: decides on a group of events
 * and puts each on record, on the loop of an access log, while the worker waits.
 */
#ifndef FEDERATION_EVENT_GATE_H
#define FEDERATION_EVENT_GATE_H

#include "base/exchange_id.h"
#include "federation/event.h"
#include "policy/policy.h"

#define EVENT_PURPOSE "event"

struct event_gate {
	const char *region; /* this one */
	struct gate *gate;
	struct access_log *log;
	struct loop *loop; /* the log's */
};

struct event_crossing {
	/* Given; alive until event_gate_ask() returns. */
	enum gate_operation operation; /* GATE_SEND or GATE_RECEIVE */
	const struct event *event;
	const char *classification; /* its schema's; NULL: it has none */
	const char *caller;
	struct exchange_id exchange;
	/*
	 * STATUS_OK: it may cross and is on record.  STATUS_NOT_AVAILABLE: denied, which is on record, and `why` is for
	 * whoever sent it.  Else it could not be put on record, and nothing may happen.
	 */
	enum status status;
	struct strbuf why;
	struct policy_release *release; /* only when STATUS_OK */
};

struct event_group;
/* For `capacity` events at most; crossings[i] are the caller's to fill. */
struct event_group *event_group_create(size_t capacity);
struct event_crossing *event_group_crossing(struct event_group *group, size_t index);
/* Not on the gate's loop.  Asks for the first `count` and waits until each has its status, timeout_ms at most. */
void event_gate_ask(struct event_gate *gate, struct event_group *group, size_t count, int64_t timeout_ms);
/* Not before the last use of a release.  Accepts NULL. */
void event_group_destroy(struct event_gate *gate, struct event_group *group);

/* The other region of the crossing, and what its object is called on record. */
const char *event_crossing_peer(const struct event_crossing *crossing);
void event_object(const struct event *event, struct object_id *object_out);
/* What the gate is asked about this crossing; borrows from it. */
struct gate_request event_request(const struct event_gate *gate, const struct event_crossing *crossing);
/* The question that goes on record with it. */
void event_question(const struct event_crossing *crossing, int64_t deadline_ms, struct lookup_question *question_out);

#endif

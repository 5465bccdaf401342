/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events from callers of POST /v1/events into the outbox.
 */
#ifndef FEDERATION_SUBMISSION_H
#define FEDERATION_SUBMISSION_H

#include "base/database.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "federation/event_gate.h"
#include "federation/event_schema.h"

#define SUBMISSION_EVENTS_MAX 256 /* in one request: it is one statement, and the loop decides on all in one turn */

struct submissions {
	const char *region;
	struct loop *loop;
	struct database *database; /* the loop's */
	const struct event_schemas *schemas;
	const struct event_gate *gate;
};

/* Replies to the request. */
void submission_take(struct submissions *submissions, struct http_request *request, const char *caller);

/* $1: text[] of envelopes that were checked, kept in this order; $2: text[], who handed each in.  One that is known is passed over. */
extern const char outbox_insert[];

#endif

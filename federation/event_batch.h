/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several events in one message: a JSON array of envelopes, as the batch mode of CloudEvents has it, under the key
 * <destination>.<source>.homeward.batch.  Pure.
 */
#ifndef FEDERATION_EVENT_BATCH_H
#define FEDERATION_EVENT_BATCH_H

#include <stddef.h>

#include "base/strbuf.h"
#include "federation/event.h"

#define EVENT_BATCH_TYPE EVENT_OWN_PREFIX "batch"
#define EVENT_BATCH_CONTENT "application/cloudevents-batch+json; charset=utf-8"
#define EVENT_BATCH_EVENTS_MAX 256  /* of one message that is taken; events.parcel_events_max of one that is sent */
#define EVENT_BATCH_BYTES_MAX 65536 /* of one that is sent: of small events; what is larger gains nothing by it */
/* What a canary says of its sender: how many events it takes in one message.  An older homeward does not say it. */
#define EVENT_BATCH_ATTRIBUTE "batchevents"

/* ---- writing ---- */

/* One more envelope. */
void event_batch_add(struct strbuf *body, const struct strbuf *envelope);
void event_batch_end(struct strbuf *body);

/* ---- reading ---- */

/*
 * How many texts the array has; 0 when it has none, or too many, or is no array.  What each text is, is not looked at: one
 * that is no event must not take its neighbours with it.
 */
size_t event_batch_count(const char *body, size_t size);

struct event_batch {
	const char *at, *end;
};
struct event_batch event_batch_begin(const char *body, size_t size);
/* The next text, borrowed from the body; false when there is none. */
bool event_batch_next(struct event_batch *batch, const char **text_out, size_t *length_out);

#endif

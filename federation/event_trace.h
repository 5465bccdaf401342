/* SPDX-License-Identifier: Apache-2.0 */
/*
 * W3C trace context of events: the attribute `traceparent` rides along in the
 * envelope; of traces that are sampled each step is a line of the log.
 */
#ifndef FEDERATION_EVENT_TRACE_H
#define FEDERATION_EVENT_TRACE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"

#define TRACEPARENT_LENGTH 55 /* 00-<32>-<16>-<2>, all that version 00 has */

/* Version 00, lower case, neither id all zeros.  NULL is none. */
bool event_trace_is_valid(const char *traceparent);
/* Gives the envelope this context (a header's) unless it has one, or the header is not valid: then it is ignored. */
MUST_CHECK enum status event_trace_take(json_t *envelope, const char *traceparent);
/* One that an operator sends to see the way: a canary with a context.  Its destination keeps nothing of it but answers
 * with a receipt. */
bool event_trace_is_probe(const char *type, const json_t *envelope);
/* envelope: an event's, or an event's part of a receipt.  Says nothing of traces that are not sampled.  outcome may be
 * NULL. */
void event_trace_log(const json_t *envelope, const char *step, const char *type, const char *outcome);

#endif

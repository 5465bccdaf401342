/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that homeward itself makes for other regions and publishes at once, without
 * the outbox: about events, never about persons.
 */
#ifndef FEDERATION_OWN_EVENT_H
#define FEDERATION_OWN_EVENT_H

#include <jansson.h>

#include "federation/worker.h"

struct own_event {
	const char *type, *source, *destination;
	json_t *data; /* taken, also on failure */
};

/* Adds one message to the worker's confirmations.  STATUS_UNREACHABLE: the broker was lost. */
MUST_CHECK enum status own_event_publish(struct worker *worker, const struct own_event *event, struct strbuf *why);

#endif

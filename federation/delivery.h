/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passing on: what the consumer publishes once the database has it, in rounds that
 * end when the broker has confirmed all of them.  On the consumer's thread.
 */
#ifndef FEDERATION_DELIVERY_H
#define FEDERATION_DELIVERY_H

#include "federation/arrival.h"

void delivery_begin(struct worker *worker);
/* False when the broker was lost. */
bool delivery_publish(struct worker *worker, const char *exchange, const char *key, const char *id, const char *body,
	size_t body_size);
/* To homeward.delivered. */
bool delivery_publish_event(struct worker *worker, const char *origin, const char *type, const char *id,
	const char *body, size_t body_size);
/* Until the broker has confirmed all; deliveries that come meanwhile are kept.  False when it did not. */
bool delivery_settle(struct worker *worker, struct arrivals *next);

/* What a batch brought, and what was made of it, to homeward.delivered and to its sources. */
bool delivery_of_batch(struct worker *worker, const struct arrivals *arrivals, struct arrivals *next);

#endif

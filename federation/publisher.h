/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The publisher's work: rows of the outbox to the broker, in batches, each row
 * marked sent only once the broker has confirmed it.
 */
#ifndef FEDERATION_PUBLISHER_H
#define FEDERATION_PUBLISHER_H

#include "federation/worker.h"

/* struct worker's work: one round. */
void publisher_work(struct worker *worker);

#endif

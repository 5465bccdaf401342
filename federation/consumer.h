/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer's work: deliveries of the inbox queue into the table
 * homeward.inbox, each once, and on to homeward.delivered.
 */
#ifndef FEDERATION_CONSUMER_H
#define FEDERATION_CONSUMER_H

#include "federation/worker.h"

/* struct worker's work: takes batches until something is lost. */
void consumer_work(struct worker *worker);

#endif

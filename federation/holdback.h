/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding back: an event that is ahead of its turn waits in homeward.held until the
 * missing ones have come, or for events.holdback_ms; then what is missing is
 * announced as a gap and the later ones are let through.
 */
#ifndef FEDERATION_HOLDBACK_H
#define FEDERATION_HOLDBACK_H

#include "federation/arrival.h"

/*
 * On the consumer's thread between batches, as often as it likes: takes into the inbox what has its turn, passes it
 * on and tells the sources; announces gaps.  False when the database or the broker was lost.
 */
bool holdback_work(struct worker *worker, struct arrivals *next);

#endif

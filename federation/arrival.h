/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An arrival is one event out of a delivery of the inbox queue, judged as it is taken.  The
 * next ones are taken while a batch is under way, so that heartbeats go on; a message of
 * several events waits unopened, so that what waits is bounded by the broker's own count.
 */
#ifndef FEDERATION_ARRIVAL_H
#define FEDERATION_ARRIVAL_H

#include "federation/event.h"
#include "federation/worker.h"

#define BATCH_MAX 500 /* events a transaction; more only makes a failed one dearer */

struct arrival {
	uint64_t tag; /* its message's */
	struct strbuf key, body;
	size_t batch_events; /* an unopened message of so many; nothing below is set but the link.  0: one event */
	bool is_from_link;
	char link_origin[REGION_SIZE];
	enum event_verdict verdict;
	struct strbuf why;
	struct event event; /* while the verdict is EVENT_TAKE; of some that were not taken, for their source's sake */
	const struct event_schema *schema;
	bool is_written;
	bool is_new;  /* the batch that wrote it knew none of its own from before: it was not passed on yet */
	bool is_held; /* written, but not into the inbox: it waits for an earlier one */
};

/* Those that wait: at most as many as the broker gives without an acknowledgement.  Those of a batch: BATCH_MAX. */
struct arrivals {
	struct arrival *items;
	size_t count;
};

void arrivals_release(struct arrivals *arrivals);

/*
 * Takes all that has come, for the next batch; waits for at most timeout_ms.  Stops early when every publication is
 * settled.  False when the broker was lost.
 */
bool arrivals_listen(struct worker *worker, int64_t timeout_ms, struct arrivals *next);
/* Whatever has come, up to BATCH_MAX messages; waits a turn when none is there.  False when the broker was lost. */
bool arrivals_gather(struct worker *worker, struct arrivals *arrivals);
/* Moves whole messages, of BATCH_MAX events together at most, and opens those of several.  STATUS_NO_MEMORY. */
MUST_CHECK enum status arrivals_open(struct worker *worker, struct arrivals *waiting, struct arrivals *batch);

bool arrival_is_own(const struct arrival *arrival); /* homeward's own, of other regions */
/* To be in the inbox, now or later, and passed on: all but homeward's own. */
bool arrival_is_kept(const struct arrival *arrival);
/* What its source is told now; NULL: nothing, since it is not known to be its source, or the event is held. */
const char *arrival_outcome(const struct arrival *arrival);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An arrival is one delivery of the inbox queue, judged as it is taken.  The next
 * batch's are taken while this one's are under way, so that heartbeats go on.
 */
#ifndef FEDERATION_ARRIVAL_H
#define FEDERATION_ARRIVAL_H

#include "federation/event.h"
#include "federation/worker.h"

#define BATCH_MAX 500 /* deliveries a transaction; more only makes a failed one dearer */

struct arrival {
	uint64_t tag;
	struct strbuf key, body;
	bool is_from_link;
	char link_origin[REGION_SIZE];
	enum event_verdict verdict;
	struct strbuf why;
	struct event event; /* while the verdict is EVENT_TAKE; of some that were not taken, for their source's sake */
	const struct event_schema *schema;
	bool is_written;
	bool is_held; /* written, but not into the inbox: it waits for an earlier one */
};

/* At most as many as the broker gives without an acknowledgement. */
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
/* One batch: whatever has come within a turn, at most BATCH_MAX.  False when the broker was lost. */
bool arrivals_gather(struct worker *worker, struct arrivals *arrivals);

bool arrival_is_own(const struct arrival *arrival); /* homeward's own, of other regions */
/* To be in the inbox, now or later, and passed on: all but homeward's own. */
bool arrival_is_kept(const struct arrival *arrival);
/* What its source is told now; NULL: nothing, since it is not known to be its source, or the event is held. */
const char *arrival_outcome(const struct arrival *arrival);

#endif

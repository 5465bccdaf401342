/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts of broadcasts: who should have one is told by the mesh file, who has it
 * by a row for each region.  It is sent again to exactly the region that lacks it:
 * under a key of that region, with the envelope as it was.
 */
#ifndef FEDERATION_BROADCASTS_H
#define FEDERATION_BROADCASTS_H

#include "federation/canary_sender.h"
#include "federation/worker.h"

/* On the publisher's session, now and then: rows for broadcasts that have left; gives up what had its chances. */
MUST_CHECK enum status broadcasts_upkeep(struct worker *worker, struct strbuf *why);

/* What a region told; `events` as in a receipt, in JSON.  In the transaction of a batch. */
MUST_CHECK enum status broadcasts_receipted(
	struct worker *worker, const char *region, const char *events, struct strbuf *why);

/*
 * Which rows of the outbox `o` the publisher sends again, all to one region; $2: how many, $3: seconds without a receipt,
 * and then twice as long, and so on; $4 and $5: canary_reached().
 */
#define BROADCASTS_RESENDS_MAX "20" /* as of other events */
#define BROADCASTS_DUE                                                                                                 \
	"receipted_at IS NULL AND given_up_at IS NULL AND resends < " BROADCASTS_RESENDS_MAX                           \
	" AND sent_at < now() - $3::bigint * interval '1 second'"                                                      \
	" AND sent_at < now() - least(3600, $3::bigint * power(2, least(resends, 12))) * interval '1 second'"          \
	" AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::bigint[]) AS reached(name, age_ms) WHERE name = region"   \
	" AND age_ms >= 0 AND sent_at >= now() - (age_ms + " CANARY_BEHIND_MS ") * interval '1 millisecond')"
#define BROADCASTS_AGAIN                                                                                               \
	" JOIN (SELECT seq, region FROM homeward.broadcasts WHERE " BROADCASTS_DUE                                     \
	" AND region = (SELECT region FROM homeward.broadcasts WHERE " BROADCASTS_DUE                                  \
	" ORDER BY sent_at LIMIT 1) ORDER BY seq LIMIT $2) AS again USING (seq) WHERE o.refused_at IS NULL ORDER BY "  \
	"seq"
/* What then became of them; $1: rows, $2: the region. */
#define BROADCASTS_MARK_SENT                                                                                           \
	"UPDATE homeward.broadcasts SET sent_at = now(), resends = resends + 1 WHERE seq = ANY($1::bigint[])"          \
	" AND region = $2"
#define BROADCASTS_MARK_LATER                                                                                          \
	"UPDATE homeward.broadcasts SET sent_at = now() WHERE seq = ANY($1::bigint[]) AND region = $2"

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts: the destination tells the source what became of each event.  What has
 * no receipt in time is sent again, with the same id; the inbox knows it.
 */
#ifndef FEDERATION_RECEIPTS_H
#define FEDERATION_RECEIPTS_H

#include "federation/worker.h"

/* Of a receipt's member `e`; what a peer wrote need not be a uuid. */
#define RECEIPT_EXCHANGE                                                                                               \
	"CASE WHEN e->>'exchangeid' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (e->>'exchangeid')::uuid END"
#define RECEIPT_TYPE EVENT_OWN_PREFIX "receipt"
#define RECEIPT_EVENTS_MAX 1000 /* in one receipt */

/* Of rows of homeward.outbox, as in the index outbox_unreceipted. */
#define RECEIPT_MISSING "sent_at IS NOT NULL AND receipted_at IS NULL AND refused_at IS NULL AND destination <> 'all'"
/*
 * places(name): the regions that events have no receipt from, and a NULL; one probe of that index for each, so that
 * what waits for a region that is away is not read through.
 */
#define RECEIPT_PLACES                                                                                                 \
	"WITH RECURSIVE places(name) AS ((SELECT destination FROM homeward.outbox WHERE " RECEIPT_MISSING              \
	" ORDER BY destination LIMIT 1)"                                                                               \
	" UNION ALL SELECT (SELECT destination FROM homeward.outbox WHERE " RECEIPT_MISSING                            \
	" AND destination > name ORDER BY destination LIMIT 1) FROM places WHERE name IS NOT NULL)"

/* Gathers what became of a batch's events and writes one receipt for each region they came from. */
struct receipts {
	json_t *by_origin; /* region: array of events */
};
void receipts_init(struct receipts *receipts);
void receipts_release(struct receipts *receipts);
void receipts_add(struct receipts *receipts, const struct event *event, const char *outcome);
/* Publishes them; each adds one message to the worker's confirmations.  STATUS_UNREACHABLE: the broker was lost. */
MUST_CHECK enum status receipts_publish(struct worker *worker, const struct receipts *receipts, struct strbuf *why);

/* A receipt that came.  Only events that were sent to its origin are marked. */
MUST_CHECK enum status receipts_take(struct worker *worker, const struct event *receipt, struct strbuf *why);

/* On the publisher's session, now and then: has unreceipted events sent again, removes what is over. */
MUST_CHECK enum status receipts_upkeep(struct worker *worker, struct strbuf *why);

#endif

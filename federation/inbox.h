/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inbox in the database: what a batch brought is written in one transaction.
 * An event met before changes nothing; one that is ahead of its turn is held
 * (holdback.h).  On the consumer's thread.
 */
#ifndef FEDERATION_INBOX_H
#define FEDERATION_INBOX_H

#include "federation/arrival.h"

/* One writer at a time, should two processes of a region ever consume at once: in each transaction on streams. */
#define INBOX_BEGIN "BEGIN; SELECT pg_advisory_xact_lock(7451038219046513)"

/*
 * The arrivals are brought into the order in which they were taken, and told which of them are held and which are
 * new.  What fails by itself becomes a dead letter.  Other than STATUS_OK: the database is away.
 */
MUST_CHECK enum status inbox_write(struct worker *worker, struct arrivals *arrivals, struct strbuf *why);
/* It is in the inbox by now. */
bool inbox_has(const struct arrival *arrival);

/* COMMIT, or when status is not STATUS_OK, ROLLBACK; returns what became of it. */
MUST_CHECK enum status inbox_end(struct worker *worker, enum status status, struct strbuf *why);
/* Of one row's own making: with others it might succeed. */
bool inbox_is_data_fault(enum status status);

void inbox_count(const char *outcome, uint64_t amount);

#endif

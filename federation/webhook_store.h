/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the database keeps of webhooks: which there are (homeward.webhooks), and what
 * waits for each (homeward.webhook_deliveries), which a trigger on the inbox fills.
 * Each function is one statement, and so one transaction.
 */
#ifndef FEDERATION_WEBHOOK_STORE_H
#define FEDERATION_WEBHOOK_STORE_H

#include <stdbool.h>

#include "base/database.h"
#include "base/settings.h"
#include "base/status.h"
#include "base/strbuf.h"

/* Those of the settings.  Before anything is taken into the inbox. */
MUST_CHECK enum status webhook_store_register(
	struct database_session *session, const struct settings *settings, struct strbuf *why);

enum {
	DELIVERY_PLACE,
	DELIVERY_ORIGIN,
	DELIVERY_SOURCE,
	DELIVERY_ID,
	DELIVERY_ATTEMPTS,
	DELIVERY_REFUSALS,
	DELIVERY_EXPIRES_US,
	DELIVERY_EVENT, /* "" when the inbox has it no more */
	DELIVERY_STREAM
};
/*
 * What may be sent now, the oldest first, but for the places in the array `known`; of each subject the first.  `stuck`:
 * streams whose first is known to wait, so that the others of a long one need not be looked at one by one.
 */
MUST_CHECK enum status webhook_store_read(struct database_session *session, const char *webhook, const char *limit,
	const char *known, const char *stuck, PGresult **rows_out, struct strbuf *why);

/*
 * Results: an array of {place, step, wait_ms, refusals, last, detail}; totals: one of {name, delivered, failures, dead,
 * last, is_gone}.
 */
MUST_CHECK enum status webhook_store_record(
	struct database_session *session, const char *results, const char *totals, struct strbuf *why);

/* What is too old becomes dead letters, but for the places in `known`: columns webhook and how many.  rows_out may be NULL. */
MUST_CHECK enum status webhook_store_expire(struct database_session *session, bool of_configured, const char *known,
	PGresult **rows_out, struct strbuf *why);

enum { STATE_NAME, STATE_IS_PAUSED, STATE_RESUMED_AT };
MUST_CHECK enum status webhook_store_states(struct database_session *session, PGresult **rows_out, struct strbuf *why);

enum { COUNT_NAME, COUNT_PENDING, COUNT_OLDEST_S };
MUST_CHECK enum status webhook_store_counts(struct database_session *session, PGresult **rows_out, struct strbuf *why);

#endif

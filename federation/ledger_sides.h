/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ledgers, the two sides.  The source tells what it sent (homeward.ledger).  The
 * destination compares sums and answers (homeward.ledger.answer); where they differ
 * it asks for ids, gets them a page at a time (homeward.ledger.ids), and names those
 * it lacks, which the source sends again.  Each message is taken in one transaction
 * and has at most one reply.  On the ledger worker's thread.
 */
#ifndef FEDERATION_LEDGER_SIDES_H
#define FEDERATION_LEDGER_SIDES_H

#include <jansson.h>

#include "federation/event.h"
#include "federation/ledger.h"
#include "federation/worker.h"

#define LEDGER_TYPE EVENT_OWN_PREFIX "ledger"
#define LEDGER_ANSWER_TYPE EVENT_OWN_PREFIX "ledger.answer"
#define LEDGER_IDS_TYPE EVENT_OWN_PREFIX "ledger.ids"

#define LEDGER_PAGE "400" /* ids in one message: below EVENT_BYTES_MAX however long they are */
#define LEDGER_WINDOWS 24 /* told to a region, or looked at again, in one turn */
#define LEDGER_WINDOWS_TEXT "24"

/* What every message says of its window; `l` is the row of homeward.ledgers. */
#define LEDGER_WINDOW                                                                                                  \
	"'from', l.origin, 'to', l.destination, 'since', "                                                             \
	"homeward.ledger_time(l.since)"                                                                                \
	", 'until', "                                                                                                  \
	"homeward.ledger_time(l.until)"
#define LEDGER_FOUND "'state', l.state, 'taken', l.taken, 'missing', l.missing, 'extra', l.extra, 'awaited', l.awaited"

struct ledger_message {
	const char *region; /* whose it is; the link says so */
	const char *text;   /* the data, in JSON */
	const json_t *data; /* the same */
	/* Of homeward.ledger: what is here of its window. */
	struct ledger_sums taken;
};

/* Of a window, by slices that commit on their own: not within a transaction.  since, until: as in messages. */
enum ledger_count {
	LEDGER_COUNT_SENT,  /* to the region */
	LEDGER_COUNT_TAKEN, /* from it */
	LEDGER_COUNT_ROWS   /* the same without the hash */
};
MUST_CHECK enum status ledger_count(struct worker *worker, enum ledger_count what, const char *region,
	const char *since, const char *until, struct ledger_sums *sums_out, struct strbuf *why);

/* One statement with the worker's session. */
MUST_CHECK enum status ledger_query(struct worker *worker, const char *sql, const char *const *parameters, int count,
	PGresult **rows_out, struct strbuf *why);
/* The JSON text in a row's column; NULL: none, or out of memory. */
json_t *ledger_json(const PGresult *rows, int row, int column);
/* Publishes it and waits for the broker's word; takes the data.  False when the broker was lost. */
bool ledger_send(struct worker *worker, const char *type, const char *region, json_t *data);

/* ---- the source ---- */

/* Tells a region of the windows that are due.  False when something was lost. */
bool ledger_tell(struct worker *worker, const char *region);
/* An answer; sends again what it names.  The reply, if any: homeward.ledger.ids. */
MUST_CHECK enum status ledger_take_answer(
	struct worker *worker, const struct ledger_message *message, json_t **reply_out, struct strbuf *why);

/* ---- the destination; replies: homeward.ledger.answer ---- */

MUST_CHECK enum status ledger_take_told(
	struct worker *worker, const struct ledger_message *message, json_t **reply_out, struct strbuf *why);
MUST_CHECK enum status ledger_take_ids(
	struct worker *worker, const struct ledger_message *message, json_t **reply_out, struct strbuf *why);
/* Windows of the last day that were even and have another number of events by now: asks for their ids. */
bool ledger_look_again(struct worker *worker);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reconcile: what two regions' access logs say of the same crossings, side by
 * side.  Both sides are read in the order of exchange ids, which are the same on
 * both, so that any number of crossings needs no memory.  An id begins with the
 * time it was made, so a span of time is a span of ids, the same for both sides.
 *
 * The judging is pure; the statement is here because both sides must ask alike.
 */
#ifndef POLICY_RECONCILE_H
#define POLICY_RECONCILE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/exchange_id.h"

/* $1 peer, $2 after this exchange, $3 before this one; RECONCILE_PAGE_ROWS + 1 rows at most. */
extern const char reconcile_page_statement[];
#define RECONCILE_PAGE_ROWS 1000
enum reconcile_column {
	RECONCILE_EXCHANGE,
	RECONCILE_OPERATION, /* ask, serve, send, receive */
	RECONCILE_KIND,      /* the same, got, deny */
	RECONCILE_DECISION,
	RECONCILE_OUTCOME, /* of got */
	RECONCILE_FIELDS,
	RECONCILE_TTL_S,
	RECONCILE_RECORD_HASH,
	RECONCILE_COLUMNS
};
/* How many rows of a result make a page: an exchange is never cut in two. */
size_t reconcile_page_rows(const PGresult *rows, bool *has_more_out);

/* The lowest exchange id of a millisecond. */
void reconcile_exchange_at(int64_t wall_us, char text[EXCHANGE_ID_TEXT_SIZE]);

/*
 * What one region's log says of one exchange; texts are borrowed, "" when absent.  A lookup is asked and served, an event
 * sent and received; the side that asks or sends is the asking one.
 */
struct reconcile_side {
	size_t ask, got, serve, send, receive, deny; /* entries of each kind */
	bool is_asking, is_serving, is_event;
	const char *got_outcome, *got_fields, *got_hash;
	const char *serve_fields, *serve_hash;
	const char *send_fields, *receive_fields;
	int64_t got_ttl_s, serve_ttl_s;
};
/* The row's texts, in the order of enum reconcile_column. */
void reconcile_side_add(struct reconcile_side *side, const char *const columns[RECONCILE_COLUMNS]);

enum reconcile_finding {
	RECONCILE_PAIRED,
	RECONCILE_NOT_ASKED,   /* refused by the asking side's own gate: nothing crossed */
	RECONCILE_UNANSWERED,  /* asked, not served, and no answer came: a fault of the way, not of a log */
	RECONCILE_ANSWER_LOST, /* served, and the asking side says that no answer came in time */
	RECONCILE_UNRECEIVED, /* sent, and no word of its coming: it waits somewhere, or was sent again as another exchange */
	/* The rest are faults. */
	RECONCILE_ASK_WITHOUT_SERVE,
	RECONCILE_SERVE_WITHOUT_ASK,
	RECONCILE_SERVE_WITHOUT_GOT,
	RECONCILE_REPEATED, /* an entry is there twice */
	RECONCILE_DECISION_DIFFERS,
	RECONCILE_RECORD_DIFFERS,
	RECONCILE_FIELDS_DIFFER,
	RECONCILE_TERMS_DIFFER, /* kept longer than allowed */
	RECONCILE_RECEIVE_WITHOUT_SEND,
	RECONCILE_RECEIPT_WITHOUT_RECEIVE, /* the region's receipt says that it took it, and its log does not */
	RECONCILE_FINDINGS
};
const char *reconcile_finding_name(enum reconcile_finding finding); /* "ask_without_serve" … */
bool reconcile_is_fault(enum reconcile_finding finding);

/* Either may be NULL: that region's log has nothing of this exchange.  The gravest finding. */
enum reconcile_finding reconcile_judge(const struct reconcile_side *first, const struct reconcile_side *second);

#endif

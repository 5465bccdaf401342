/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ledgers, the pure part: which window of time is told next, what two lists of ids
 * have in common, and what a comparison comes to.
 *
 * A window is a span of time by the clock of the source's database; an event belongs
 * to the one in which its row of the outbox was made.  The event says it itself
 * (`outboxtime`), so that both sides put it into the same window whatever their
 * clocks show.
 */
#ifndef FEDERATION_LEDGER_H
#define FEDERATION_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger_window {
	int64_t since_s, until_s; /* of the epoch; until_s is not part of it */
};

/* How long a window must be over: events that were made in it may be on their way until then. */
int64_t ledger_settle_s(int64_t interval_s);
/*
 * The window that follows one which ended at from_s: to the next multiple of the interval, whatever the interval was
 * before.  False when it is not over long enough yet.
 */
bool ledger_window_next(int64_t from_s, int64_t now_s, int64_t interval_s, struct ledger_window *window_out);

/*
 * A window is counted a slice at a time, each with a statement of its own: a busy hour in one would take longer than a
 * statement may.  The slice after one that ended from_s seconds into the window; false when there is none.
 */
#define LEDGER_SLICE_S 60
#define LEDGER_SLICES_MAX 1440 /* of a window, which another region may make as long as it likes */
bool ledger_slice_next(int64_t window_s, int64_t from_s, struct ledger_window *slice_out);

/* Counts of events, and the sum (exclusive or) of the hashes of their ids, as texts of '0' and '1'. */
#define LEDGER_HASH_BITS 256
struct ledger_sums {
	int64_t events, dead;
	char hash[LEDGER_HASH_BITS + 1]; /* "" of none */
};
/* The sum of both; `hash` may be "". */
void ledger_sums_add(struct ledger_sums *sums, int64_t events, int64_t dead, const char *hash);

/* An event's place in a window.  `at` is its outboxtime in UTC with microseconds, so that texts compare as times. */
struct ledger_key {
	const char *at, *source, *id; /* borrowed */
};
int ledger_key_compare(const struct ledger_key *a, const struct ledger_key *b);

enum ledger_word {     /* what the source knows of one of its events */
	LEDGER_TAKEN,  /* the destination said that it took it */
	LEDGER_WAITED, /* no receipt yet, and it is sent again until there is one */
	LEDGER_OTHER   /* need not be there: not sent, refused, expired, erased */
};
struct ledger_item {
	struct ledger_key key;
	enum ledger_word word;
	bool is_missing; /* set by ledger_compare() */
};
struct ledger_row { /* what the destination has */
	struct ledger_key key;
	bool is_extra; /* set by ledger_compare(): the source has no such event */
};

/* Both sorted by key.  Returns how many events the source awaits a receipt for, and the destination does not have. */
size_t ledger_compare(struct ledger_item *items, size_t item_count, struct ledger_row *rows, size_t row_count);

/* What was found in a whole window. */
struct ledger_counts {
	int64_t missing, extra, awaited; /* now */
	int64_t missing_ever;            /* in this comparison or an earlier one */
};
/* "missing", "open" (some are on their way), "extra", "mended" or "even". */
const char *ledger_state(const struct ledger_counts *counts);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search index: a thread that follows the log's files and copies what they say
 * into PostgreSQL (homeward.log_entries, shown by homeward.exchanges), so that
 * entries can be found by subject, exchange, time and what was decided.  The log does not
 * need it: it may be behind, lost, and made again.
 *
 * Rows and the position they bring the index to are one transaction, so each entry
 * has one row however often this stops, and however many follow at once.  Grants are
 * opened again from the `serve` entries.
 */
#ifndef POLICY_LOG_INDEX_H
#define POLICY_LOG_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"

struct log_index;

struct log_index_settings {
	const char *directory, *dsn; /* copied */
	int64_t entries_per_s;       /* at most, so that catching up does not hold up lookups; 0: no bound */
	int64_t grant_ttl_s;
};

/*
 * How many entries a second to copy while the log itself grows by so many: the bound, and a tenth of it while lookups
 * make more than a thousand and the index is less than a minute of those behind.  0: no bound.  Pure.
 */
int64_t log_index_pace(int64_t entries_per_s, int64_t growth_per_s, uint64_t behind);
/* Waits for PostgreSQL as long as that takes; the log is there already. */
MUST_CHECK enum status log_index_start(const struct log_index_settings *settings, struct log_index **index_out);
/* Within some seconds also when PostgreSQL does not answer.  Accepts NULL. */
void log_index_stop(struct log_index *index);

/* Takes the log's rows away and makes them again, in this thread; progress may be NULL and is called after each batch.
 * Others may follow the same log meanwhile. */
typedef void log_index_progress(void *arg, uint64_t done, uint64_t size);
MUST_CHECK enum status log_index_rebuild(
	const struct log_index_settings *settings, log_index_progress *progress, void *arg, struct strbuf *why);

#endif

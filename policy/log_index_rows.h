/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch of entries on its way into the search index: parallel arrays for one
 * statement, and the contexts that PostgreSQL has given a number.  One thread.
 */
#ifndef POLICY_LOG_INDEX_ROWS_H
#define POLICY_LOG_INDEX_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/database.h"
#include "base/strbuf.h"
#include "policy/entry.h"

#define INDEX_BATCH_ENTRIES 2000
#define INDEX_CONTEXT_COLUMNS 14 /* digest and what it is of */
#define INDEX_ENTRY_COLUMNS 7
#define INDEX_GRANT_COLUMNS 3
#define INDEX_DIGEST_SIZE 33
#define INDEX_CONTEXT_SLOTS 1024 /* remembered between batches */

/* One that PostgreSQL has given a number. */
struct index_context {
	struct strbuf columns; /* all but the digest, each with its NUL; empty: none */
	char digest[INDEX_DIGEST_SIZE];
};

struct log_index_rows {
	uint64_t first;
	int count, new_count, grant_count;
	struct strbuf entries[INDEX_ENTRY_COLUMNS];
	struct strbuf contexts[INDEX_CONTEXT_COLUMNS]; /* those not known to be there */
	struct strbuf grants[INDEX_GRANT_COLUMNS];
	struct index_context known[INDEX_CONTEXT_SLOTS];
	struct entry entry;    /* the one that is being added */
	struct strbuf columns; /* of its context */
};

void log_index_rows_init(struct log_index_rows *rows);
void log_index_rows_release(struct log_index_rows *rows);
/* Begins a batch; which contexts are known stays. */
void log_index_rows_begin(struct log_index_rows *rows, uint64_t first);
/* What cannot be read as an entry gets a row that says so. */
void log_index_rows_add(struct log_index_rows *rows, const char *entry, size_t size);
/* STATUS_CONFLICT: the index is not where this batch begins. */
MUST_CHECK enum status log_index_rows_write(struct log_index_rows *rows, struct database_session *session,
	const char *origin, int64_t grant_ttl_s, struct strbuf *why);
/* After the tables were emptied. */
void log_index_rows_forget(struct log_index_rows *rows);

#endif

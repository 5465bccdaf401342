/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where imported rows go: homeward.objects and homeward.routes, in one
 * transaction, with COPY underneath.
 */
#ifndef CLI_IMPORT_STORE_H
#define CLI_IMPORT_STORE_H

#include "base/database.h"
#include "cli/import_rows.h"

struct import_store;

/* Begins the transaction.  The session is borrowed. */
MUST_CHECK enum status import_store_begin(
	struct database_session *session, const char *type, struct import_store **store_out, struct strbuf *why);
MUST_CHECK enum status import_store_add(
	struct import_store *store, const struct imported *imported, struct strbuf *why);
/* Writes and commits.  *removed_out: objects that were here and whose home is another region now. */
MUST_CHECK enum status import_store_commit(struct import_store *store, int64_t *removed_out, struct strbuf *why);
/* Without a commit nothing has happened once the session is closed. */
void import_store_destroy(struct import_store *store);

#endif

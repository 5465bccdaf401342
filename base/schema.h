/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schema `homeward`: numbered, forward-only migrations (base/migrations/NNNN_what.sql),
 * embedded in the binary and applied under an advisory lock.
 */
#ifndef BASE_SCHEMA_H
#define BASE_SCHEMA_H

#include "base/database.h"
#include "base/status.h"
#include "base/strbuf.h"

/* The highest version this binary knows. */
int schema_version_known(void);
/*
 * Applies what is missing, each migration in a transaction of its own.  STATUS_CONFLICT when the database is
 * newer than this binary (nothing is changed).  *applied_out counts those applied now.
 */
MUST_CHECK enum status schema_migrate(struct database_session *session, int *applied_out, struct strbuf *why);
MUST_CHECK enum status schema_version_read(struct database_session *session, int *version_out, struct strbuf *why);

#endif

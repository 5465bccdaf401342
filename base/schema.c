/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Migrations.  The files are numbered without gaps from 1, so the version is how
 * many have been applied.  An advisory lock makes processes that start together
 * take turns; it belongs to the session and goes with it.  A database newer than
 * this program is refused: an old program must not write to tables it misreads.
 */
#include "base/schema.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"

#define LOCK_KEY "7451038219046511" /* of our own choosing, the same in every homeward */
#define STEP_TIMEOUT_MS 60000       /* a migration may rewrite a table */
#define LOCK_TIMEOUT_MS 120000      /* another process may be in the middle of its migrations */

int schema_version_known(void)
{
	return (int)embedded_migrations_count;
}

enum status schema_version_read(struct database_session *session, int *version_out, struct strbuf *why)
{
	PGresult *result;
	enum status status;
	bool has_table;

	*version_out = 0;
	status = database_session_query(session, "SELECT to_regclass('homeward.schema_migrations') IS NOT NULL", NULL,
		0, STEP_TIMEOUT_MS, &result, why);
	if (status != STATUS_OK)
		return status;
	has_table = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	if (!has_table)
		return STATUS_OK;
	status = database_session_query(session, "SELECT coalesce(max(version), 0) FROM homeward.schema_migrations",
		NULL, 0, STEP_TIMEOUT_MS, &result, why);
	if (status != STATUS_OK)
		return status;
	*version_out = (int)strtol(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return STATUS_OK;
}

/* The file is trusted, being part of the program; its name is NNNN_what.sql. */
static enum status apply(struct database_session *session, int version, struct strbuf *why)
{
	const struct embedded_file *file = &embedded_migrations[version - 1];
	struct strbuf script = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;

	strbuf_adds(&script, "BEGIN;\n");
	strbuf_adds(&script, (const char *)file->bytes);
	strbuf_addf(&script,
		"\n;INSERT INTO homeward.schema_migrations (version, name, applied_at) VALUES (%d, '%s', "
		"now());\nCOMMIT",
		version, file->name);
	if (strbuf_ok(&script))
		status = database_session_script(session, script.data, STEP_TIMEOUT_MS, why);
	strbuf_release(&script);
	if (status != STATUS_OK) {
		if (why != NULL)
			strbuf_addf(why, " (migration %s)", file->name);
		/* Best effort: the caller learns of the first failure, and closing the session rolls back too. */
		if (database_session_script(session, "ROLLBACK", STEP_TIMEOUT_MS, NULL) != STATUS_OK)
			return status;
	}
	return status;
}

static enum status migrate_locked(struct database_session *session, int *applied_out, struct strbuf *why)
{
	int version, known = schema_version_known();
	enum status status = schema_version_read(session, &version, why);

	if (status != STATUS_OK)
		return status;
	if (version > known) {
		if (why != NULL)
			strbuf_addf(why,
				"the database schema is at version %d and this homeward knows versions up to %d: "
				"run a newer homeward",
				version, known);
		return STATUS_CONFLICT;
	}
	if (version < known)
		status = database_session_script(session,
			"CREATE SCHEMA IF NOT EXISTS homeward;"
			"CREATE TABLE IF NOT EXISTS homeward.schema_migrations (version int PRIMARY KEY,"
			" name text NOT NULL, applied_at timestamptz NOT NULL)",
			STEP_TIMEOUT_MS, why);
	while (status == STATUS_OK && version < known) {
		status = apply(session, ++version, why);
		if (status == STATUS_OK)
			(*applied_out)++;
	}
	return status;
}

enum status schema_migrate(struct database_session *session, int *applied_out, struct strbuf *why)
{
	enum status status, unlocked;

	*applied_out = 0;
	status = database_session_query(
		session, "SELECT pg_advisory_lock(" LOCK_KEY ")", NULL, 0, LOCK_TIMEOUT_MS, NULL, why);
	if (status != STATUS_OK)
		return status;
	status = migrate_locked(session, applied_out, why);
	unlocked = database_session_query(session, "SELECT pg_advisory_unlock(" LOCK_KEY ")", NULL, 0, STEP_TIMEOUT_MS,
		NULL, status == STATUS_OK ? why : NULL);
	return status == STATUS_OK ? unlocked : status;
}

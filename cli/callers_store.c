/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers in the database: the token leaves this file in the clear once, to the
 * one who asked for it; the table has its hash alone.
 */
#include <string.h>

#include "cli/callers.h"
#include "cli/command.h"

enum status caller_add(struct database_session *session, const struct caller *caller, char token_out[CALLER_TOKEN_SIZE],
	struct strbuf *why)
{
	struct strbuf hash = STRBUF_INIT;
	uint8_t digest[SHA256_SIZE];
	enum status status = caller_check(caller, why);
	PGresult *rows = NULL;

	token_out[0] = '\0';
	if (status != STATUS_OK)
		return status;
	caller_token_make(token_out);
	hash_sha256(token_out, strlen(token_out), digest);
	strbuf_adds(&hash, "\\x");
	strbuf_add_hex(&hash, digest, sizeof(digest));
	const char *const parameters[] = { caller->name, hash.data, caller->purposes,
		caller->may_write ? "true" : "false" };
	status = database_session_query(session,
		"INSERT INTO homeward.callers (name, token_hash, purposes, may_write)"
		" VALUES ($1, $2::bytea, string_to_array($3, ','), $4::boolean)"
		" ON CONFLICT (name) DO NOTHING RETURNING name",
		parameters, 4, COMMAND_STATEMENT_MS, &rows, why);
	if (status == STATUS_OK && PQntuples(rows) == 0) {
		strbuf_addf(why, "there is a caller \"%s\" already; `homeward callers rm` forgets it", caller->name);
		status = STATUS_CONFLICT;
	}
	if (status != STATUS_OK)
		explicit_bzero(token_out, CALLER_TOKEN_SIZE);
	PQclear(rows);
	strbuf_release(&hash);
	return status;
}

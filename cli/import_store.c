/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows are copied into a temporary table and merged from there by three statements,
 * so that readers see either none or all of the file, and the routes' trigger
 * fires once.  What is the same already is left alone: its version does not rise
 * and no cache elsewhere is made to ask again.
 */
#include "cli/import_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/command.h"

#define COPY_BYTES (256 * 1024) /* handed to libpq at once */
#define MERGE_TIMEOUT_MS 600000 /* a million rows take about half a minute */

struct import_store {
	struct database_session *session;
	const char *type;
	struct strbuf pending;
};

enum status import_store_begin(
	struct database_session *session, const char *type, struct import_store **store_out, struct strbuf *why)
{
	struct import_store *store = calloc(1, sizeof(*store));
	enum status status;

	*store_out = NULL;
	if (store == NULL)
		return STATUS_NO_MEMORY;
	store->session = session;
	store->type = type;
	strbuf_init(&store->pending);
	status = database_session_script(session,
		"BEGIN; CREATE TEMPORARY TABLE import_rows (id text, region text, record jsonb) ON COMMIT DROP",
		COMMAND_STATEMENT_MS, why);
	if (status == STATUS_OK)
		status = database_session_copy_begin(session, "COPY import_rows FROM STDIN", why);
	if (status != STATUS_OK) {
		import_store_destroy(store);
		return status;
	}
	*store_out = store;
	return STATUS_OK;
}

void import_store_destroy(struct import_store *store)
{
	if (store == NULL)
		return;
	strbuf_release(&store->pending);
	free(store);
}

/* COPY's text format. */
static void add_field(struct strbuf *text, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		switch (bytes[i]) {
		case '\\':
			strbuf_adds(text, "\\\\");
			break;
		case '\t':
			strbuf_adds(text, "\\t");
			break;
		case '\n':
			strbuf_adds(text, "\\n");
			break;
		case '\r':
			strbuf_adds(text, "\\r");
			break;
		default:
			strbuf_addc(text, bytes[i]);
		}
	}
}

static enum status flush(struct import_store *store, struct strbuf *why)
{
	enum status status = STATUS_NO_MEMORY;

	if (strbuf_ok(&store->pending))
		status = database_session_copy_data(store->session, store->pending.data, store->pending.length, why);
	strbuf_reset(&store->pending);
	return status;
}

enum status import_store_add(struct import_store *store, const struct imported *imported, struct strbuf *why)
{
	struct strbuf *pending = &store->pending;
	struct strbuf record = STRBUF_INIT;
	enum status status = STATUS_OK;

	add_field(pending, imported->object.id, strlen(imported->object.id));
	strbuf_addc(pending, '\t');
	add_field(pending, imported->region, strlen(imported->region));
	strbuf_addc(pending, '\t');
	if (imported->record == NULL) {
		strbuf_adds(pending, "\\N");
	} else {
		status = json_write(imported->record, &record);
		add_field(pending, record.data, record.length);
	}
	strbuf_addc(pending, '\n');
	strbuf_release(&record);
	if (status == STATUS_OK && (!strbuf_ok(pending) || pending->length >= COPY_BYTES))
		status = flush(store, why);
	return status;
}

enum status import_store_commit(struct import_store *store, int64_t *removed_out, struct strbuf *why)
{
	static const char merge_objects[] = "INSERT INTO homeward.objects AS o (type, id, record) "
					    "SELECT $1, id, record FROM import_rows WHERE record IS NOT NULL "
					    "ON CONFLICT (type, id) DO UPDATE "
					    "SET version = o.version + 1, record = excluded.record, updated_at = now() "
					    "WHERE o.record IS DISTINCT FROM excluded.record";
	static const char merge_routes[] = "INSERT INTO homeward.routes AS r (type, kind, key, region) "
					   "SELECT $1, 'exact', id, region FROM import_rows "
					   "ON CONFLICT (type, kind, key) DO UPDATE SET region = excluded.region "
					   "WHERE r.region IS DISTINCT FROM excluded.region";
	/* The record of an object that moved away has no business here any more. */
	static const char remove_moved[] =
		"WITH moved AS (DELETE FROM homeward.objects o USING import_rows r WHERE o.type = $1 "
		"AND o.id = r.id AND r.record IS NULL RETURNING 1) SELECT count(*) FROM moved";
	const char *const parameters[] = { store->type };
	PGresult *removed = NULL;
	enum status status = STATUS_OK;

	*removed_out = 0;
	if (store->pending.length > 0)
		status = flush(store, why);
	if (status == STATUS_OK)
		status = database_session_copy_end(store->session, MERGE_TIMEOUT_MS, why);
	if (status == STATUS_OK)
		status = database_session_query(
			store->session, merge_objects, parameters, 1, MERGE_TIMEOUT_MS, NULL, why);
	if (status == STATUS_OK)
		status = database_session_query(
			store->session, remove_moved, parameters, 1, MERGE_TIMEOUT_MS, &removed, why);
	if (status == STATUS_OK)
		*removed_out = strtoll(PQgetvalue(removed, 0, 0), NULL, 10);
	PQclear(removed);
	if (status == STATUS_OK)
		status = database_session_query(
			store->session, merge_routes, parameters, 1, MERGE_TIMEOUT_MS, NULL, why);
	/* Plans made of the tables as they were are made anew. */
	if (status == STATUS_OK)
		status = database_session_script(
			store->session, "ANALYZE homeward.objects, homeward.routes", MERGE_TIMEOUT_MS, why);
	if (status == STATUS_OK)
		status = database_session_script(store->session, "COMMIT", COMMAND_STATEMENT_MS, why);
	return status;
}

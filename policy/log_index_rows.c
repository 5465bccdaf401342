/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries as rows.  Most of an entry is the same for thousands, so that part is a row
 * of its own, named by a digest; the entry's row has its number.  A batch is one
 * statement for contexts that were not met before, if any, and one that moves the
 * position, writes the rows and opens grants, all or nothing, and nothing when the
 * position is another than thought.  A context that was thought to be there and is not
 * makes it fail (its number is null), and the contexts are sent again.
 */
#include "policy/log_index_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"
#include "policy/entry.h"

#define STATEMENT_MS 20000

static const char insert_contexts[] =
	"INSERT INTO homeward.log_contexts (digest, kind, me, peer, type, operation, purpose, caller, decision, rules, "
	"policy, fields, outcome, ttl_s) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], "
	"$5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], "
	"$13::text[], $14::bigint[]) ON CONFLICT (digest) DO NOTHING";

/*
 * $1 origin, $2 position, $3 next position, $4 … $10 entries, $11 … $13 grants, $14 their length.  A grant that would
 * stay as it is is left out: a conflict locks its row before it is compared.
 */
static const char insert_entries[] =
	"WITH moved AS (UPDATE homeward.log_positions SET next_index = $3::bigint WHERE origin = $1 AND next_index = "
	"$2::bigint RETURNING id), "
	"written AS (INSERT INTO homeward.log_entries (log, context, log_index, at, count, exchange, subject, "
	"record_hash, message) SELECT m.id, c.id, $2::bigint + e.place - 1, timestamptz 'epoch' + e.at * interval "
	"'1 microsecond', nullif(e.count, -1), nullif(e.exchange, '')::uuid, nullif(e.subject, ''), "
	"decode(nullif(e.record_hash, ''), 'hex'), nullif(e.message, '') FROM moved m, "
	"unnest($4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[]) "
	"WITH ORDINALITY AS e(at, digest, exchange, subject, record_hash, message, count, place) "
	"LEFT JOIN homeward.log_contexts c ON c.digest = e.digest), "
	"granted AS (INSERT INTO homeward.grants (subject, region, opened_at, expires_at) "
	"SELECT g.subject, g.region, min(g.opened_at), max(g.opened_at) + $14::bigint * interval '1 second' "
	"FROM moved, (SELECT subject, region, timestamptz 'epoch' + at * interval '1 microsecond' AS opened_at "
	"FROM unnest($11::text[], $12::text[], $13::bigint[]) AS u(subject, region, at)) AS g "
	"WHERE g.opened_at + $14::bigint * interval '1 second' > now() AND NOT EXISTS (SELECT FROM homeward.grants "
	"o WHERE o.subject = g.subject AND o.region = g.region AND o.expires_at >= g.opened_at + $14::bigint * "
	"interval '0.95 second') GROUP BY g.subject, g.region "
	"ORDER BY g.subject, g.region ON CONFLICT (subject, region) DO UPDATE SET expires_at = excluded.expires_at "
	"WHERE grants.expires_at < excluded.expires_at - $14::bigint * interval '0.05 second') "
	"SELECT count(*) FROM moved";

void log_index_rows_init(struct log_index_rows *rows)
{
	memset(rows, 0, sizeof(*rows));
	for (int i = 0; i < INDEX_ENTRY_COLUMNS; i++)
		strbuf_init(&rows->entries[i]);
	for (int i = 0; i < INDEX_CONTEXT_COLUMNS; i++)
		strbuf_init(&rows->contexts[i]);
	for (int i = 0; i < INDEX_GRANT_COLUMNS; i++)
		strbuf_init(&rows->grants[i]);
	for (int i = 0; i < INDEX_CONTEXT_SLOTS; i++)
		strbuf_init(&rows->known[i].columns);
	strbuf_init(&rows->columns);
}

void log_index_rows_release(struct log_index_rows *rows)
{
	for (int i = 0; i < INDEX_ENTRY_COLUMNS; i++)
		strbuf_release(&rows->entries[i]);
	for (int i = 0; i < INDEX_CONTEXT_COLUMNS; i++)
		strbuf_release(&rows->contexts[i]);
	for (int i = 0; i < INDEX_GRANT_COLUMNS; i++)
		strbuf_release(&rows->grants[i]);
	for (int i = 0; i < INDEX_CONTEXT_SLOTS; i++)
		strbuf_release(&rows->known[i].columns);
	strbuf_release(&rows->columns);
}

static void begin_arrays(struct strbuf *arrays, int count)
{
	for (int i = 0; i < count; i++) {
		strbuf_reset(&arrays[i]);
		strbuf_addc(&arrays[i], '{');
	}
}

void log_index_rows_begin(struct log_index_rows *rows, uint64_t first)
{
	rows->first = first;
	rows->count = rows->new_count = rows->grant_count = 0;
	begin_arrays(rows->entries, INDEX_ENTRY_COLUMNS);
	begin_arrays(rows->contexts, INDEX_CONTEXT_COLUMNS);
	begin_arrays(rows->grants, INDEX_GRANT_COLUMNS);
}

void log_index_rows_forget(struct log_index_rows *rows)
{
	for (int i = 0; i < INDEX_CONTEXT_SLOTS; i++)
		strbuf_reset(&rows->known[i].columns);
}

static void add_text(struct strbuf *array, const char *text, bool is_first)
{
	database_array_add(array, text, strlen(text), is_first);
}

static void add_number(struct strbuf *array, int64_t number, bool is_first)
{
	if (!is_first)
		strbuf_addc(array, ',');
	if (number < 0)
		strbuf_addc(array, '-');
	strbuf_add_unsigned(array, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

/* ---- contexts ---- */

static void context_columns(const struct entry *entry, const char *columns[INDEX_CONTEXT_COLUMNS], char ttl[24])
{
	snprintf(ttl, 24, "%lld", (long long)entry->ttl_s);
	columns[1] = entry_kind_name(entry->kind);
	columns[2] = entry->me;
	columns[3] = entry->peer;
	columns[4] = entry->type;
	columns[5] = entry->operation;
	columns[6] = entry->purpose;
	columns[7] = entry->caller;
	columns[8] = entry->decision;
	columns[9] = entry->rules;
	columns[10] = entry->policy;
	columns[11] = entry->fields;
	columns[12] = entry->outcome;
	columns[13] = ttl;
}

static void digest_of(const struct strbuf *columns, char digest[INDEX_DIGEST_SIZE])
{
	uint8_t hash[SHA256_SIZE];

	hash_sha256(columns->data, columns->length, hash);
	*hex_format(hash, (INDEX_DIGEST_SIZE - 1) / 2, digest) = '\0';
}

/* Its place among those known; is_new_out: it is not there yet. */
static struct index_context *find_context(struct log_index_rows *rows, bool *is_new_out)
{
	uint64_t hash = hash_key64(rows->columns.data, rows->columns.length, 0);
	struct index_context *context = &rows->known[hash % INDEX_CONTEXT_SLOTS];

	*is_new_out = context->columns.length != rows->columns.length ||
		      memcmp(context->columns.data, rows->columns.data, rows->columns.length) != 0;
	return context;
}

static void add_context(struct log_index_rows *rows, const struct entry *entry, const char *kind)
{
	const char *columns[INDEX_CONTEXT_COLUMNS];
	struct index_context *context;
	char ttl[24];
	bool is_new;

	context_columns(entry, columns, ttl);
	if (kind != NULL)
		columns[1] = kind;
	strbuf_reset(&rows->columns);
	for (int i = 1; i < INDEX_CONTEXT_COLUMNS; i++)
		strbuf_add(&rows->columns, columns[i], strlen(columns[i]) + 1);
	if (!strbuf_ok(&rows->columns)) {
		rows->entries[0].failed = true;
		return;
	}
	context = find_context(rows, &is_new);
	if (is_new) {
		digest_of(&rows->columns, context->digest);
		strbuf_reset(&context->columns);
		strbuf_add(&context->columns, rows->columns.data, rows->columns.length);
		columns[0] = context->digest;
		for (int i = 0; i < INDEX_CONTEXT_COLUMNS; i++)
			add_text(&rows->contexts[i], columns[i], rows->new_count == 0);
		rows->new_count++;
	}
	add_text(&rows->entries[1], context->digest, rows->count == 0);
}

/* ---- entries ---- */

static void add_grant(struct log_index_rows *rows, const struct entry *entry)
{
	bool is_first = rows->grant_count == 0;

	if (entry->kind != ENTRY_SERVE || strcmp(entry->purpose, "charge.authorize") != 0 ||
		strcmp(entry->decision, "deny") == 0 || entry->subject[0] == '\0')
		return;
	add_text(&rows->grants[0], entry->subject, is_first);
	add_text(&rows->grants[1], entry->peer, is_first);
	add_number(&rows->grants[2], entry->at_us, is_first);
	rows->grant_count++;
}

void log_index_rows_add(struct log_index_rows *rows, const char *text, size_t size)
{
	struct entry *entry = &rows->entry;
	char exchange[EXCHANGE_ID_TEXT_SIZE] = "", hash[2 * ENTRY_HASH_SIZE + 1] = "";
	bool is_first = rows->count == 0, is_readable;
	const char *what = NULL;

	must(rows->count < INDEX_BATCH_ENTRIES);
	is_readable = entry_read(text, size, entry, &what) == STATUS_OK;
	if (!is_readable) {
		memset(entry, 0, sizeof(*entry));
		entry->ttl_s = entry->count = -1;
		snprintf(entry->message, sizeof(entry->message), "not readable: %s", what == NULL ? "" : what);
		LOG_ERROR("access_index_unreadable", "entry", log_number((int64_t)rows->first + rows->count), "reason",
			what);
	}
	if (entry->has_exchange)
		exchange_id_format(&entry->exchange, exchange);
	if (entry->has_record_hash)
		*hex_format(entry->record_hash, ENTRY_HASH_SIZE, hash) = '\0';
	add_number(&rows->entries[0], entry->at_us, is_first);
	add_context(rows, entry, is_readable ? NULL : "unreadable");
	add_text(&rows->entries[2], exchange, is_first);
	add_text(&rows->entries[3], entry->subject, is_first);
	add_text(&rows->entries[4], hash, is_first);
	add_text(&rows->entries[5], entry->message, is_first);
	add_number(&rows->entries[6], entry->count, is_first);
	if (is_readable)
		add_grant(rows, entry);
	rows->count++;
}

static bool end_arrays(struct strbuf *arrays, int count, const char **parameters)
{
	bool is_whole = true;

	for (int i = 0; i < count; i++) {
		strbuf_addc(&arrays[i], '}');
		is_whole = is_whole && strbuf_ok(&arrays[i]);
		parameters[i] = arrays[i].data;
	}
	return is_whole;
}

enum status log_index_rows_write(struct log_index_rows *rows, struct database_session *session, const char *origin,
	int64_t grant_ttl_s, struct strbuf *why)
{
	const char *contexts[INDEX_CONTEXT_COLUMNS];
	const char *parameters[3 + INDEX_ENTRY_COLUMNS + INDEX_GRANT_COLUMNS + 1] = { origin };
	char position[24], next[24], ttl[24];
	PGresult *result = NULL;
	enum status status = STATUS_OK;

	snprintf(position, sizeof(position), "%llu", (unsigned long long)rows->first);
	snprintf(next, sizeof(next), "%llu", (unsigned long long)rows->first + (unsigned int)rows->count);
	snprintf(ttl, sizeof(ttl), "%lld", (long long)grant_ttl_s);
	parameters[1] = position;
	parameters[2] = next;
	if (!end_arrays(rows->contexts, INDEX_CONTEXT_COLUMNS, contexts) ||
		!end_arrays(rows->entries, INDEX_ENTRY_COLUMNS, parameters + 3) ||
		!end_arrays(rows->grants, INDEX_GRANT_COLUMNS, parameters + 3 + INDEX_ENTRY_COLUMNS))
		status = STATUS_NO_MEMORY;
	parameters[3 + INDEX_ENTRY_COLUMNS + INDEX_GRANT_COLUMNS] = ttl;
	if (status == STATUS_OK && rows->new_count > 0)
		status = database_session_query(
			session, insert_contexts, contexts, INDEX_CONTEXT_COLUMNS, STATEMENT_MS, NULL, why);
	if (status == STATUS_OK)
		status = database_session_query(session, insert_entries, parameters,
			3 + INDEX_ENTRY_COLUMNS + INDEX_GRANT_COLUMNS + 1, STATEMENT_MS, &result, why);
	if (status == STATUS_CONFLICT)
		status = STATUS_INTERNAL; /* rows that are there before their time */
	if (status == STATUS_OK && strcmp(PQgetvalue(result, 0, 0), "1") != 0)
		status = STATUS_CONFLICT;
	if (result != NULL)
		PQclear(result);
	if (status != STATUS_OK)
		log_index_rows_forget(rows); /* whether they are there is not known */
	return status;
}

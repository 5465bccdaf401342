/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One batch of entries as one statement, which is one transaction: a group
 * commit.  An entry is four values of its own (when, exchange, subject, and the
 * number of its context); the eleven others are the same for most entries and are
 * sent once for each context.  PostgreSQL writes one row a context, with the
 * entries' own values as arrays: per entry that costs a third of a row of its own.
 *
 * Grants are opened by the same statement, so that a grant exists exactly when
 * its entry does.  A grant that has 95 % of its time left is not touched: most
 * drivers are looked up several times a visit.  DISTINCT ON sorts them, so two
 * writers lock them in the same order.
 */
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "policy/access_log.h"

/* $1 at, $2 exchange, $3 subject, $4 context; $5 to $15 the contexts' columns; $16 this region. */
#define ENTRIES "unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[]) AS e(at, exchange, subject, context)"
#define CONTEXTS                                                                                                       \
	"unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], "   \
	"$13::text[], $14::text[], $15::bigint[]) WITH ORDINALITY AS c(kind, peer, type, operation, purpose, caller, " \
	"decision, rules, policy, fields, ttl_s, context)"
#define WRITE_ENTRIES                                                                                                  \
	"INSERT INTO homeward.exchange_commits (kind, me, peer, type, operation, purpose, caller, decision, rules, "   \
	"policy, fields, ttl_s, at, exchange, subject) "                                                               \
	"SELECT c.kind, $16::text, c.peer, c.type, c.operation, c.purpose, c.caller, c.decision, c.rules, c.policy, "  \
	"c.fields, c.ttl_s, g.at, g.exchange, g.subject FROM (SELECT context, array_agg(at) AS at, "                   \
	"array_agg(exchange) AS exchange, array_agg(subject) AS subject FROM " ENTRIES                                 \
	" GROUP BY context) AS g JOIN " CONTEXTS " ON c.context = g.context ORDER BY c.context"

static const char insert_entries[] = WRITE_ENTRIES;

/* The open grant is looked for in a scalar subquery, which can only be an index probe: a join was planned for the table's
 * size when it was empty, and read all of it later. */
static const char insert_entries_and_grants[] =
	"WITH written AS (" WRITE_ENTRIES ") "
	"INSERT INTO homeward.grants (subject, region, opened_at, expires_at) "
	"SELECT DISTINCT ON (e.subject, c.peer) e.subject, c.peer, now(), now() + $17::bigint * interval '1 second' "
	"FROM " ENTRIES " JOIN " CONTEXTS " ON c.context = e.context "
	"WHERE c.kind = 'serve' AND c.purpose = 'charge.authorize' AND NOT coalesce((SELECT g.expires_at > now() + "
	"$17::bigint * interval '0.95 second' FROM homeward.grants g WHERE g.subject = e.subject AND g.region = "
	"c.peer), "
	"false) ORDER BY e.subject, c.peer "
	"ON CONFLICT (subject, region) DO UPDATE SET expires_at = excluded.expires_at, opened_at = CASE WHEN "
	"grants.expires_at < now() THEN excluded.opened_at ELSE grants.opened_at END";

#define PARAMETERS (4 + ACCESS_CONTEXT_COLUMNS + 2)

void access_context_put(struct access_context *context)
{
	if (context != NULL && --context->references == 0)
		free(context);
}

static void add_number(struct strbuf *array, int64_t number)
{
	char text[24];
	char *at = text + sizeof(text);
	uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest != 0);
	if (number < 0)
		*--at = '-';
	strbuf_add(array, at, (size_t)(text + sizeof(text) - at));
}

static void add_context(struct access_log *log, const struct access_context *context, bool is_first)
{
	const char *column = context->text;

	for (int i = 0; i < ACCESS_CONTEXT_COLUMNS; i++) {
		size_t length = strlen(column);

		database_array_add(&log->arrays[4 + i], column, length, is_first);
		column += length + 1;
	}
}

static void add_entry(struct access_log *log, const struct access_entry *entry, bool is_first)
{
	char exchange[EXCHANGE_ID_TEXT_SIZE];

	for (int i = 0; i < 4 && !is_first; i++)
		strbuf_addc(&log->arrays[i], ',');
	add_number(&log->arrays[0], entry->at_us);
	exchange_id_format(&entry->exchange, exchange);
	strbuf_add(&log->arrays[1], exchange, EXCHANGE_ID_TEXT_SIZE - 1);
	/* Neither has a character that an array literal would have to quote. */
	strbuf_adds(&log->arrays[2], entry->subject);
	add_number(&log->arrays[3], entry->context->batch_index);
}

static void take_entries(struct access_log *log, struct access_batch *batch, bool *opens_grants)
{
	int contexts = 0;

	log->batch_number++;
	while (log->waiting.first != NULL && batch->entries.count < log->batch_max) {
		struct access_entry *entry = log->waiting.first;
		struct access_context *context = entry->context;

		if (context->batch != log->batch_number) {
			if (contexts == ACCESS_CONTEXTS_MAX)
				break;
			context->batch = log->batch_number;
			context->batch_index = ++contexts;
			*opens_grants = *opens_grants || context->opens_grant;
			add_context(log, context, contexts == 1);
		}
		log->waiting.first = entry->next;
		log->waiting.count--;
		add_entry(log, entry, batch->entries.count == 0);
		entry_list_add(&batch->entries, entry);
	}
	if (log->waiting.first == NULL)
		log->waiting.last = &log->waiting.first;
}

static int64_t latest_deadline(const struct access_batch *batch)
{
	int64_t deadline_ms = 0;

	for (const struct access_entry *entry = batch->entries.first; entry != NULL; entry = entry->next)
		deadline_ms = entry->deadline_ms > deadline_ms ? entry->deadline_ms : deadline_ms;
	return deadline_ms;
}

static void give_back(struct access_log *log, struct access_batch *batch, enum status status)
{
	metric_move(log->queue, -(int64_t)batch->entries.count);
	while (batch->entries.first != NULL) {
		struct access_entry *entry = batch->entries.first;

		batch->entries.first = entry->next;
		access_log_refuse(log, entry, status);
	}
	entry_list_init(&batch->entries);
}

void access_batch_send(struct access_log *log, struct access_batch *batch, database_done *done)
{
	struct database_parameter parameters[PARAMETERS] = { 0 };
	bool opens_grants = false;
	bool is_whole = true;

	must(!batch->is_in_flight && batch->entries.first == NULL && log->waiting.first != NULL);
	for (int i = 0; i < 4 + ACCESS_CONTEXT_COLUMNS; i++) {
		strbuf_reset(&log->arrays[i]);
		strbuf_addc(&log->arrays[i], '{');
	}
	take_entries(log, batch, &opens_grants);
	for (int i = 0; i < 4 + ACCESS_CONTEXT_COLUMNS; i++) {
		strbuf_addc(&log->arrays[i], '}');
		is_whole = is_whole && strbuf_ok(&log->arrays[i]);
		parameters[i].text = log->arrays[i].data;
	}
	if (!is_whole) {
		give_back(log, batch, STATUS_NO_MEMORY);
		return;
	}
	parameters[PARAMETERS - 2].text = log->region;
	parameters[PARAMETERS - 1].text = log->grant_ttl_text;
	batch->is_in_flight = true;
	batch->sent_us = clock_wall_us(log->clock);
	log->in_flight++;
	database_query(log->database, opens_grants ? insert_entries_and_grants : insert_entries, parameters,
		opens_grants ? PARAMETERS : PARAMETERS - 1, latest_deadline(batch), done, batch);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One exchange is judged at a time, whichever region asked: the side whose
 * entries are of operation `ask` (or `send`) is the asking one.  What the asking
 * side's own gate refused never crossed and needs no counterpart.
 *
 * An event that was sent has its `receive` when it comes, which may be months later,
 * and twice when a broker gave it twice.  Whether it came although there is none is
 * for the receipt to say, and that is not in any log: the caller finds it.
 */
#include "policy/reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char reconcile_page_statement[] =
	"SELECT exchange::text, operation, kind, decision, coalesce(outcome, ''), fields, ttl_s::text, "
	"coalesce(rh, '') FROM homeward.exchanges e WHERE peer = ANY (ARRAY[$1, 'all']) AND exchange > $2::uuid AND "
	"exchange < $3::uuid AND kind IN ('ask', 'got', 'serve', 'send', 'receive', 'deny') AND "
	"operation IN ('ask', 'serve', 'send', 'receive') "
	"ORDER BY exchange, kind LIMIT 1001";

size_t reconcile_page_rows(const PGresult *rows, bool *has_more_out)
{
	size_t count = (size_t)PQntuples(rows);
	const char *last;

	*has_more_out = count > RECONCILE_PAGE_ROWS;
	if (!*has_more_out)
		return count;
	last = PQgetvalue(rows, (int)count - 1, RECONCILE_EXCHANGE);
	while (count > 0 && strcmp(PQgetvalue(rows, (int)count - 1, RECONCILE_EXCHANGE), last) == 0)
		count--;
	/* A thousand entries of one exchange are a fault anyway; going on matters more than seeing all of them. */
	return count > 0 ? count : RECONCILE_PAGE_ROWS;
}

void reconcile_exchange_at(int64_t wall_us, char text[EXCHANGE_ID_TEXT_SIZE])
{
	uint64_t milliseconds = wall_us > 0 ? (uint64_t)wall_us / 1000 : 0;

	snprintf(text, EXCHANGE_ID_TEXT_SIZE, "%08x-%04x-0000-0000-000000000000",
		(unsigned)(milliseconds >> 16 & UINT32_MAX), (unsigned)(milliseconds & UINT16_MAX));
}

void reconcile_side_add(struct reconcile_side *side, const char *const columns[RECONCILE_COLUMNS])
{
	const char *kind = columns[RECONCILE_KIND], *operation = columns[RECONCILE_OPERATION];
	bool is_send = strcmp(operation, "send") == 0, is_ask = is_send || strcmp(operation, "ask") == 0;

	side->is_asking |= is_ask;
	side->is_serving |= !is_ask;
	side->is_event |= is_send || strcmp(operation, "receive") == 0;
	if (strcmp(kind, "ask") == 0) {
		side->ask++;
	} else if (strcmp(kind, "deny") == 0) {
		side->deny++;
	} else if (strcmp(kind, "send") == 0) {
		side->send++;
		side->send_fields = columns[RECONCILE_FIELDS];
	} else if (strcmp(kind, "receive") == 0) {
		side->receive++;
		side->receive_fields = columns[RECONCILE_FIELDS];
	} else if (strcmp(kind, "serve") == 0) {
		side->serve++;
		side->serve_fields = columns[RECONCILE_FIELDS];
		side->serve_hash = columns[RECONCILE_RECORD_HASH];
		side->serve_ttl_s = strtoll(columns[RECONCILE_TTL_S], NULL, 10);
	} else if (strcmp(kind, "got") == 0) {
		side->got++;
		side->got_outcome = columns[RECONCILE_OUTCOME][0] != '\0' ? columns[RECONCILE_OUTCOME]
									  : columns[RECONCILE_DECISION];
		side->got_fields = columns[RECONCILE_FIELDS];
		side->got_hash = columns[RECONCILE_RECORD_HASH];
		side->got_ttl_s = strtoll(columns[RECONCILE_TTL_S], NULL, 10);
	}
}

const char *reconcile_finding_name(enum reconcile_finding finding)
{
	static const char *const names[] = { "paired", "not_asked", "unanswered", "answer_lost", "unreceived",
		"ask_without_serve", "serve_without_ask", "serve_without_got", "repeated", "decision_differs",
		"record_differs", "fields_differ", "terms_differ", "receive_without_send", "receipt_without_receive" };

	_Static_assert(sizeof(names) / sizeof(names[0]) == RECONCILE_FINDINGS, "a name each");
	return names[finding];
}

bool reconcile_is_fault(enum reconcile_finding finding)
{
	return finding >= RECONCILE_ASK_WITHOUT_SERVE;
}

/* Every name of `inner`, comma separated, is among those of `outer`. */
static bool are_among(const char *inner, const char *outer)
{
	while (*inner != '\0') {
		size_t length = strcspn(inner, ",");
		const char *at = outer;
		bool is_there = false;

		while (*at != '\0' && !is_there) {
			size_t other = strcspn(at, ",");

			is_there = other == length && memcmp(at, inner, length) == 0;
			at += other + (at[other] == ',');
		}
		if (!is_there)
			return false;
		inner += length + (inner[length] == ',');
	}
	return true;
}

static enum reconcile_finding judge_answer(const struct reconcile_side *asking, const struct reconcile_side *serving)
{
	bool was_answered = asking->got > 0 && (strcmp(asking->got_outcome, "ok") == 0 ||
						       strcmp(asking->got_outcome, "not_available") == 0);
	bool was_denied = serving->serve == 0;

	if (asking->got == 0)
		return RECONCILE_SERVE_WITHOUT_GOT;
	if (!was_answered)
		return RECONCILE_ANSWER_LOST;
	if (was_denied != (strcmp(asking->got_outcome, "not_available") == 0))
		return RECONCILE_DECISION_DIFFERS;
	if (was_denied)
		return RECONCILE_PAIRED;
	if (strcmp(asking->got_hash, serving->serve_hash) != 0)
		return RECONCILE_RECORD_DIFFERS;
	if (!are_among(asking->got_fields, serving->serve_fields))
		return RECONCILE_FIELDS_DIFFER;
	return asking->got_ttl_s > serving->serve_ttl_s ? RECONCILE_TERMS_DIFFER : RECONCILE_PAIRED;
}

static enum reconcile_finding judge_event(const struct reconcile_side *sending, const struct reconcile_side *receiving)
{
	if (sending->is_serving || receiving->is_asking || sending->send + sending->deny > 1 ||
		sending->ask + sending->got + receiving->serve > 0)
		return RECONCILE_REPEATED;
	if (receiving->receive + receiving->deny == 0)
		return sending->send > 0 ? RECONCILE_UNRECEIVED : RECONCILE_NOT_ASKED;
	if (sending->send == 0)
		return RECONCILE_RECEIVE_WITHOUT_SEND;
	if (receiving->receive > 0 && !are_among(receiving->receive_fields, sending->send_fields))
		return RECONCILE_FIELDS_DIFFER;
	return RECONCILE_PAIRED;
}

enum reconcile_finding reconcile_judge(const struct reconcile_side *first, const struct reconcile_side *second)
{
	static const struct reconcile_side nothing = { .ask = 0 };
	bool first_asks = first != NULL ? first->is_asking : !second->is_asking;
	const struct reconcile_side *asking = first_asks ? first : second, *serving = first_asks ? second : first;

	asking = asking != NULL ? asking : &nothing;
	serving = serving != NULL ? serving : &nothing;
	if (asking->is_event || serving->is_event)
		return judge_event(asking, serving);
	if (asking->is_serving || serving->is_asking || asking->ask + asking->deny > 1 || asking->got > 1 ||
		serving->serve + serving->deny > 1)
		return RECONCILE_REPEATED;
	if (serving->serve + serving->deny > 0)
		return asking->ask == 0 ? RECONCILE_SERVE_WITHOUT_ASK : judge_answer(asking, serving);
	if (asking->ask == 0)
		return asking->got > 0 ? RECONCILE_ASK_WITHOUT_SERVE : RECONCILE_NOT_ASKED;
	if (asking->got > 0 &&
		(strcmp(asking->got_outcome, "ok") == 0 || strcmp(asking->got_outcome, "not_available") == 0))
		return RECONCILE_ASK_WITHOUT_SERVE;
	return RECONCILE_UNANSWERED;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an auditor looks for, and the searchable index in PostgreSQL read by it,
 * a thousand rows at a time; private to cli.
 */
#ifndef CLI_AUDIT_QUERY_H
#define CLI_AUDIT_QUERY_H

#include "base/clock.h"
#include "cli/command.h"

enum audit_filter_name {
	AUDIT_FROM,
	AUDIT_TO,
	AUDIT_KIND,
	AUDIT_EXCHANGE,
	AUDIT_PEER,
	AUDIT_TYPE,
	AUDIT_PURPOSE,
	AUDIT_CALLER,
	AUDIT_DECISION,
	AUDIT_RULE,
	AUDIT_PSEUDONYM,
	AUDIT_FILTERS
};

struct audit_filter {
	const char *values[AUDIT_FILTERS]; /* NULL: any.  Times point into from and to */
	char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE];
	int64_t from_us, to_us; /* INT64_MIN and INT64_MAX: open */
};

/* Rows for a command's table of options; the ids are AUDIT_OPTION + enum audit_filter_name. */
enum { AUDIT_OPTION = COMMAND_ID_FIRST + 100 };
#define AUDIT_OPTION_TIMES                                                                                             \
	{ AUDIT_OPTION + AUDIT_FROM, "from", "TIME", "not before: 2026-11-21 or 2026-11-21T04:00:00Z" },               \
	{                                                                                                              \
		AUDIT_OPTION + AUDIT_TO, "to", "TIME", "before"                                                        \
	}
#define AUDIT_OPTION_FILTERS                                                                                           \
	AUDIT_OPTION_TIMES, { AUDIT_OPTION + AUDIT_KIND, "kind", "KIND", "ask, serve, got, deny ..." },                \
		{ AUDIT_OPTION + AUDIT_EXCHANGE, "exchange", "ID", "this exchange" },                                  \
		{ AUDIT_OPTION + AUDIT_PEER, "peer", "REGION", "crossings with this region" },                         \
		{ AUDIT_OPTION + AUDIT_TYPE, "type", "TYPE", "objects of this type" },                                 \
		{ AUDIT_OPTION + AUDIT_PURPOSE, "purpose", "PURPOSE", "for this purpose" },                            \
		{ AUDIT_OPTION + AUDIT_CALLER, "caller", "NAME", "by this caller" },                                   \
		{ AUDIT_OPTION + AUDIT_DECISION, "decision", "DECISION", "permit, deny ..." },                         \
		{ AUDIT_OPTION + AUDIT_RULE, "rule", "ID", "decided by this rule, perhaps among others" },             \
	{                                                                                                              \
		AUDIT_OPTION + AUDIT_PSEUDONYM, "pseudonym", "TEXT", "about this pseudonym (homeward audit hash)"      \
	}

void audit_filter_init(struct audit_filter *filter);
/* Takes the option; false after saying what is wrong with it (line->is_over is set then). */
bool audit_filter_take(struct audit_filter *filter, struct command_line *line, int id);

/*
 * Rows of "SELECT <columns> FROM homeward.exchanges WHERE <filter> <rest>", given to `each` as texts until it returns
 * false.  subjects: NULL for any, else an array literal of pseudonyms.
 */
typedef bool audit_each_row(void *arg, const PGresult *rows, int row);
MUST_CHECK enum status audit_query(struct database_session *session, const char *columns, const char *rest,
	const struct audit_filter *filter, const char *subjects, audit_each_row *each, void *arg, struct strbuf *why);

#endif

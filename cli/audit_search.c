/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward audit search`, `report daily` and `hash`: the index in PostgreSQL by
 * whatever an auditor knows.  The index has no ids; who knows one asks for what
 * stands for it, which needs the region's keys.
 */
#include "cli/audit.h"

#include <string.h>

#include "cli/audit_query.h"
#include "cli/audit_subject.h"

enum { OPTION_SUBJECT = COMMAND_ID_FIRST, OPTION_LIMIT = 'n', OPTION_BY };
enum { TABLE_ROWS_MAX = 1000, ROWS_MAX = 100000000 };

#define COLUMN_COUNT 16

static const struct output_column columns[COLUMN_COUNT] = {
	{ "at", OUTPUT_TEXT },
	{ "kind", OUTPUT_TEXT },
	{ "exchange", OUTPUT_TEXT },
	{ "peer", OUTPUT_TEXT },
	{ "type", OUTPUT_TEXT },
	{ "operation", OUTPUT_TEXT },
	{ "purpose", OUTPUT_TEXT },
	{ "caller", OUTPUT_TEXT },
	{ "decision", OUTPUT_TEXT },
	{ "outcome", OUTPUT_TEXT },
	{ "rules", OUTPUT_TEXT },
	{ "fields", OUTPUT_TEXT },
	{ "ttl_s", OUTPUT_NUMBER },
	{ "policy", OUTPUT_TEXT },
	{ "subject", OUTPUT_TEXT },
	{ "index", OUTPUT_NUMBER },
};
#define AT DATABASE_TIME_US("at")
static const char selected[] = AT
	", kind, exchange, peer, type, operation, "
	"purpose, caller, decision, outcome, rules, fields, nullif(ttl_s, -1), policy, subject, "
	"log_index";

/* ---- search ---- */

struct search {
	struct output *output;
	int64_t left;
	bool was_cut;
};

static bool show_row(void *arg, const PGresult *rows, int row)
{
	struct search *search = arg;
	const char *cells[COLUMN_COUNT];

	if (search->left-- == 0) {
		search->was_cut = true;
		return false;
	}
	for (int i = 0; i < COLUMN_COUNT; i++)
		cells[i] = PQgetisnull(rows, row, i) ? NULL : PQgetvalue(rows, row, i);
	output_row(search->output, cells);
	return true;
}

static int search_index(
	const struct command_line *line, const struct audit_filter *filter, const char *subject, int64_t limit)
{
	struct search search = { NULL, limit, false };
	struct strbuf subjects = STRBUF_INIT;
	struct command_work work;
	enum status status = STATUS_OK;

	if (!command_work_open(&work, line))
		goto out;
	if (subject != NULL)
		status = audit_subject_array(work.settings, work.session, subject, &subjects, &work.why);
	if (status == STATUS_OK) {
		search.output = output_create(stdout, line->format, columns, COLUMN_COUNT);
		status = audit_query(work.session, selected, "ORDER BY at, exchange, kind", filter,
			subject != NULL ? subjects.data : NULL, show_row, &search, &work.why);
		work.exit_code = output_finish(search.output);
	}
	if (command_work_succeeds(&work, status) && search.was_cut)
		fprintf(stderr, "homeward: more than %lld entries; narrow the search, or give --limit or -o csv\n",
			(long long)limit);
out:
	strbuf_release(&subjects);
	return command_work_finish(&work);
}

int audit_search(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_SUBJECT, "subject", "TYPE/ID", "about this object, whatever stands for it in the log" },
		AUDIT_OPTION_FILTERS,
		{ OPTION_LIMIT, "limit", "N", "at most N entries (a table: 1000; json and csv: all)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward audit search", "[FILTER ...]",
		"Lists the entries of the access log that fit every filter, oldest first, from the\n"
		"index in PostgreSQL.  Json and csv are written as they are read.",
		options,
		"homeward audit search --subject token/04A2B3C4D5E6F7 --from 2026-11-01\n"
		"homeward audit search --peer na --decision deny --from 2026-11-21 -o csv > denied.csv\n" };
	const char *subject = NULL;
	struct audit_filter filter;
	struct command_line line;
	int64_t limit = -1;

	audit_filter_init(&filter);
	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id >= AUDIT_OPTION && !audit_filter_take(&filter, &line, id))
			return line.exit_code;
		if (id == OPTION_LIMIT && !command_line_number(&line, 1, ROWS_MAX, &limit))
			return line.exit_code;
		subject = id == OPTION_SUBJECT ? line.value : subject;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	if (limit < 0)
		limit = line.format == OUTPUT_TABLE ? TABLE_ROWS_MAX : ROWS_MAX;
	return search_index(&line, &filter, subject, limit);
}

/* ---- report ---- */

static bool show_count(void *arg, const PGresult *rows, int row)
{
	const char *cells[8];

	for (int i = 0; i < 8; i++)
		cells[i] = PQgetvalue(rows, row, i);
	output_row(arg, cells);
	return true;
}

int audit_report_daily(int argc, char **argv)
{
	static const struct command_option options[] = {
		AUDIT_OPTION_FILTERS,
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward audit report daily", "[FILTER ...]",
		"Counts entries for each day, peer, kind, type, purpose, rules and decision.", options,
		"homeward audit report daily --from 2026-11-01 --to 2026-12-01 --kind serve\n" };
	static const struct output_column counted[] = {
		{ "day", OUTPUT_TEXT },
		{ "peer", OUTPUT_TEXT },
		{ "kind", OUTPUT_TEXT },
		{ "type", OUTPUT_TEXT },
		{ "purpose", OUTPUT_TEXT },
		{ "rules", OUTPUT_TEXT },
		{ "decision", OUTPUT_TEXT },
		{ "count", OUTPUT_NUMBER },
	};
	struct audit_filter filter;
	struct command_line line;
	struct command_work work;

	audit_filter_init(&filter);
	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id >= AUDIT_OPTION && !audit_filter_take(&filter, &line, id))
			return line.exit_code;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	if (command_work_open(&work, &line)) {
		struct output *output = output_create(stdout, line.format, counted, 8);
		enum status status = audit_query(work.session,
			"to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), peer, kind, type, purpose, rules, decision, "
			"count(*)",
			"GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7", &filter, NULL, show_count, output,
			&work.why);

		work.exit_code = output_finish(output);
		(void)command_work_succeeds(&work, status);
	}
	return command_work_finish(&work);
}

/* ---- hash ---- */

static void show_subject(void *arg, const char *pseudonym, const char *key)
{
	output_row(arg, (const char *const[]){ pseudonym, key });
}

int audit_hash(int argc, char **argv)
{
	static const struct command_option options[] = {
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward audit hash", "TYPE ID",
		"Shows what stands for an object in this region's access log: under its own key, and\n"
		"under each epoch's that is kept.  After an erasure there is none of its own any more.",
		options, "homeward audit hash token 04A2B3C4D5E6F7\n" };
	static const struct output_column shown[] = { { "pseudonym", OUTPUT_TEXT }, { "key", OUTPUT_TEXT } };
	struct strbuf subject = STRBUF_INIT;
	struct command_work work;
	enum status status;

	if (command_work_begin(&work, &usage, argc, argv, 2)) {
		struct output *output = output_create(stdout, work.line.format, shown, 2);

		strbuf_addf(&subject, "%s/%s", work.line.arguments[0], work.line.arguments[1]);
		status = audit_subject_each(work.settings, work.session, subject.data, show_subject, output, &work.why);
		work.exit_code = output_finish(output);
		(void)command_work_succeeds(&work, status);
	}
	strbuf_release(&subject);
	return command_work_finish(&work);
}

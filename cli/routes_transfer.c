/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward routes import` and `export`.  An import is one transaction: rows are
 * checked one by one on the way into a COPY to a temporary table, and merged by
 * one statement only when all of them are good, so running daemons see all of it
 * or nothing, and hear of it once.
 */
#include "cli/routes.h"

#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/row_source.h"

enum { OPTION_REPLACE = COMMAND_ID_FIRST, OPTION_DRY_RUN };

#define COPY_BYTES 65536      /* handed to libpq at a time */
#define BAD_ROWS_SHOWN_MAX 20 /* enough to see what is wrong with a file */
#define MERGE_TIMEOUT_MS 600000

struct import {
	const char *path;
	struct settings *settings;
	struct database_session *session;
	struct strbuf pending, why;
	int64_t good, bad;
	bool replace, dry_run;
};

/* COPY's text format: the only character of a key that needs an escape is the backslash. */
static void add_field(struct strbuf *text, const char *field, char after)
{
	for (; *field != '\0'; field++) {
		if (*field == '\\')
			strbuf_addc(text, '\\');
		strbuf_addc(text, *field);
	}
	strbuf_addc(text, after);
}

static enum status flush(struct import *import)
{
	enum status status = STATUS_OK;

	if (!strbuf_ok(&import->pending))
		return STATUS_NO_MEMORY;
	if (import->pending.length > 0)
		status = database_session_copy_data(
			import->session, import->pending.data, import->pending.length, &import->why);
	strbuf_reset(&import->pending);
	return status;
}

static void show_bad_row(struct import *import, int64_t number)
{
	if (import->bad++ < BAD_ROWS_SHOWN_MAX)
		fprintf(stderr, "%s: row %lld: %s\n", import->path, (long long)number, import->why.data);
	strbuf_reset(&import->why);
}

static bool check_row(struct import *import, const json_t *row, struct route *route)
{
	static const char *const names[] = { "type", "kind", "key", "region" };
	struct strbuf fields[4] = { STRBUF_INIT, STRBUF_INIT, STRBUF_INIT, STRBUF_INIT };
	bool is_good = true;

	for (int i = 0; i < 4 && is_good; i++) {
		is_good = row_text(row_get(row, names[i]), &fields[i]);
		if (!is_good)
			strbuf_addf(&import->why, "%s is missing", names[i]);
	}
	is_good = is_good && routes_check_row(import->settings, fields[0].data, fields[1].data, fields[2].data,
				     fields[3].data, route, &import->why) == STATUS_OK;
	for (int i = 0; i < 4; i++)
		strbuf_release(&fields[i]);
	return is_good;
}

static enum status read_all(struct import *import)
{
	struct row_source *source = NULL;
	enum status status = row_source_open(import->path, &source, &import->why);

	while (status == STATUS_OK) {
		struct route route;
		json_t *row = NULL;
		int64_t number = 0;

		status = row_source_next(source, &row, &number, &import->why);
		if (status == STATUS_INVALID || (status == STATUS_OK && !check_row(import, row, &route))) {
			show_bad_row(import, number);
			status = STATUS_OK;
		} else if (status == STATUS_OK) {
			import->good++;
			add_field(&import->pending, route.type, '\t');
			add_field(&import->pending, route.kind == ROUTE_PREFIX ? "prefix" : "exact", '\t');
			add_field(&import->pending, route.key, '\t');
			add_field(&import->pending, route.region, '\n');
			if (import->pending.length >= COPY_BYTES)
				status = flush(import);
		}
		json_decref(row);
	}
	row_source_close(source);
	return status == STATUS_NOT_FOUND ? flush(import) : status;
}

static enum status merge(struct import *import)
{
	enum status status = STATUS_OK;

	if (import->replace)
		status = database_session_script(
			import->session, "DELETE FROM homeward.routes", MERGE_TIMEOUT_MS, &import->why);
	/* Of rows with the same key the last counts, as in the live table. */
	if (status == STATUS_OK)
		status = database_session_script(import->session,
			"INSERT INTO homeward.routes (type, kind, key, region)"
			" SELECT DISTINCT ON (type, kind, key) type, kind, key, region FROM import_routes"
			" ORDER BY type, kind, key, number DESC"
			" ON CONFLICT (type, kind, key) DO UPDATE SET region = EXCLUDED.region;"
			"COMMIT",
			MERGE_TIMEOUT_MS, &import->why);
	return status;
}

static int run_in_transaction(struct import *import)
{
	enum status status = database_session_script(import->session,
		"BEGIN;"
		"CREATE TEMPORARY TABLE import_routes (number bigint GENERATED ALWAYS AS IDENTITY,"
		" type text, kind text, key text, region text) ON COMMIT DROP",
		COMMAND_STATEMENT_MS, &import->why);

	if (status == STATUS_OK)
		status = database_session_copy_begin(
			import->session, "COPY import_routes (type, kind, key, region) FROM STDIN", &import->why);
	if (status == STATUS_OK)
		status = read_all(import);
	if (status == STATUS_OK)
		status = database_session_copy_end(import->session, MERGE_TIMEOUT_MS, &import->why);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s: %s", import->path, import->why.data);
	if (import->bad > 0)
		return command_fail(
			EXIT_CODE_DATA, "%s: %lld bad rows; nothing was changed", import->path, (long long)import->bad);
	if (!import->dry_run)
		status = merge(import);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", import->why.data);
	printf("%lld routes %s\n", (long long)import->good, import->dry_run ? "would be loaded" : "loaded");
	return EXIT_CODE_OK;
}

int routes_run_import(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_REPLACE, "replace", NULL, "forget all other routes in the same moment" },
		{ OPTION_DRY_RUN, "dry-run", NULL, "check the file and change nothing" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward routes import", "[--replace] [--dry-run] FILE",
		"Loads rows of type, kind, key and region from CSV with a header, NDJSON or a JSON array (\"-\":\n"
		"standard input).  One bad row and nothing is changed; rows that exist are replaced.",
		options, "homeward routes import routes.csv\n" };
	struct import import = { .pending = STRBUF_INIT, .why = STRBUF_INIT };
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		import.replace = import.replace || id == OPTION_REPLACE;
		import.dry_run = import.dry_run || id == OPTION_DRY_RUN;
	}
	if (!command_line_expect(&line, 1, 1))
		return line.exit_code;
	import.path = line.arguments[0];
	exit_code = command_database(&line, &import.settings, &import.session);
	if (exit_code == EXIT_CODE_OK)
		exit_code = run_in_transaction(&import);
	database_session_close(import.session);
	settings_destroy(import.settings);
	strbuf_release(&import.pending);
	strbuf_release(&import.why);
	return exit_code;
}

static enum status write_all(struct database_session *session, struct output *output, struct strbuf *why)
{
	enum status status = database_session_script(session,
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
		"DECLARE all_routes NO SCROLL CURSOR FOR"
		" SELECT type, kind, key, region FROM homeward.routes ORDER BY type, kind, key",
		COMMAND_STATEMENT_MS, why);
	int count = 1;

	while (status == STATUS_OK && count > 0) {
		PGresult *rows = NULL;

		status = database_session_query(
			session, "FETCH 10000 FROM all_routes", NULL, 0, COMMAND_STATEMENT_MS, &rows, why);
		count = status == STATUS_OK ? PQntuples(rows) : 0;
		for (int i = 0; i < count; i++)
			output_row(output, (const char *const[]){ PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1),
						   PQgetvalue(rows, i, 2), PQgetvalue(rows, i, 3) });
		PQclear(rows);
	}
	return status;
}

int routes_run_export(int argc, char **argv)
{
	static const struct command_option options[] = {
		COMMAND_OPTION_CONFIG,
		{ COMMAND_ID_OUTPUT, "output", "FORMAT", "csv (default) or json" },
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward routes export", "",
		"Writes all rows to standard output, in a form that `homeward routes import` reads.", options,
		"homeward routes export > routes.csv\n" };
	static const struct output_column columns[] = {
		{ "type", OUTPUT_TEXT },
		{ "kind", OUTPUT_TEXT },
		{ "key", OUTPUT_TEXT },
		{ "region", OUTPUT_TEXT },
	};
	struct command_work work;

	if (command_work_begin(&work, &usage, argc, argv, 0)) {
		enum output_format format = work.line.format == OUTPUT_TABLE ? OUTPUT_CSV : work.line.format;
		struct output *output = output_create(stdout, format, columns, 4);
		enum status status = write_all(work.session, output, &work.why);

		work.exit_code = output_finish(output);
		(void)command_work_succeeds(&work, status);
	}
	return command_work_finish(&work);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward routes`: the rows that say which region is home to which objects,
 * straight in the database.  Running daemons hear of every change by NOTIFY.
 *
 * Keys are spelled as the type's id format spells ids before they are stored or
 * looked for, so that a row cannot be written that no id would ever match.
 */
#include "cli/routes.h"

#include <string.h>

#include "cli/command.h"

enum { OPTION_TYPE = 't', OPTION_REGION = 'r', OPTION_KIND = 'k', OPTION_LIMIT = 'n' };
enum { LIMIT_DEFAULT = 1000, LIMIT_MAX = 1000000 }; /* a table of more is for `export` */

static const struct settings_type *known_type(const struct settings *settings, const char *name, struct strbuf *why)
{
	const struct settings_type *type = settings_type(settings, name);

	if (type == NULL)
		strbuf_addf(why, "the settings have no type \"%s\"", name);
	return type;
}

enum status routes_check_row(const struct settings *settings, const char *type, const char *kind, const char *key,
	const char *region, struct route *route_out, struct strbuf *why)
{
	const struct settings_type *known = known_type(settings, type, why);
	struct object_id object;
	enum status status;

	memset(route_out, 0, sizeof(*route_out));
	if (known == NULL)
		return STATUS_INVALID;
	if (strcmp(kind, "exact") != 0 && strcmp(kind, "prefix") != 0) {
		strbuf_addf(why, "kind is exact or prefix, not \"%s\"", kind);
		return STATUS_INVALID;
	}
	if (!region_is_valid(region)) {
		strbuf_addf(why, "\"%s\" is no name of a region", region);
		return STATUS_INVALID;
	}
	if (strcmp(kind, "prefix") == 0) {
		route_out->kind = ROUTE_PREFIX;
		status = object_prefix_make(key, strlen(key), known->id_format, route_out->key, why);
	} else {
		status = object_id_make(type, key, strlen(key), known->id_format, &object, why);
		memcpy(route_out->key, object.id, sizeof(route_out->key));
	}
	memcpy(route_out->type, type, strlen(type));
	memcpy(route_out->region, region, strlen(region));
	return status;
}

static const struct output_column columns[] = {
	{ "type", OUTPUT_TEXT },
	{ "kind", OUTPUT_TEXT },
	{ "key", OUTPUT_TEXT },
	{ "region", OUTPUT_TEXT },
};
enum { COLUMN_COUNT = sizeof(columns) / sizeof(columns[0]) };

static int run_ls(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_TYPE, "type", "TYPE", "only this type" },
		{ OPTION_KIND, "kind", "KIND", "only exact, or only prefix" },
		{ OPTION_REGION, "region", "REGION", "only those at home there" },
		{ OPTION_LIMIT, "limit", "N", "at most N rows (1000)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward routes ls", "[-t TYPE] [-k KIND] [-r REGION] [-n N]",
		"Lists routes in the order of type, kind and key.  `homeward routes export` writes all of them.",
		options, "homeward routes ls -t token -k prefix\n" };
	const char *type = NULL, *kind = NULL, *region = NULL;
	int64_t limit = LIMIT_DEFAULT;
	struct command_line line;
	struct command_work work;
	char limit_text[24];
	int count;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_LIMIT && !command_line_number(&line, 1, LIMIT_MAX, &limit))
			return line.exit_code;
		type = id == OPTION_TYPE ? line.value : type;
		kind = id == OPTION_KIND ? line.value : kind;
		region = id == OPTION_REGION ? line.value : region;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	snprintf(limit_text, sizeof(limit_text), "%lld", (long long)limit + 1);
	const char *const parameters[] = { type, kind, region, limit_text };

	if (command_work_open(&work, &line) &&
		command_work_query(&work,
			"SELECT type, kind, key, region FROM homeward.routes WHERE ($1::text IS NULL OR type = $1)"
			" AND ($2::text IS NULL OR kind = $2) AND ($3::text IS NULL OR region = $3)"
			" ORDER BY type, kind, key LIMIT $4::bigint",
			parameters, 4)) {
		count = PQntuples(work.rows) > limit ? (int)limit : PQntuples(work.rows);
		command_work_show(&work, count, columns, COLUMN_COUNT);
		if (PQntuples(work.rows) > limit)
			fprintf(stderr, "homeward: there are more; --limit shows more of them\n");
	}
	return command_work_finish(&work);
}

/* The rows that speak for an id, the one that decides first. */
#define DECIDING_ROWS                                                                                                  \
	"SELECT type, kind, key, region FROM homeward.routes WHERE type = $1 AND"                                      \
	" ((kind = 'exact' AND key = $2) OR (kind = 'prefix' AND starts_with($2, key)))"                               \
	" ORDER BY kind, octet_length(key) DESC"

static bool find_rows(struct command_work *work, struct object_id *object)
{
	char **arguments = work->line.arguments;
	const struct settings_type *type = known_type(work->settings, arguments[0], &work->why);

	if (type == NULL || object_id_make(arguments[0], arguments[1], strlen(arguments[1]), type->id_format, object,
				    &work->why) != STATUS_OK) {
		work->exit_code = command_fail(EXIT_CODE_DATA, "%s", work->why.data);
		return false;
	}
	const char *const parameters[] = { object->type, object->id };

	return command_work_query(work, DECIDING_ROWS, parameters, 2);
}

static int run_get(int argc, char **argv)
{
	static const struct command_option options[] = {
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward routes get", "TYPE ID",
		"Shows the rows that speak for an id, the one that decides first.  Exit code 1: there is none.",
		options, "homeward routes get token NL-TNM-C00122045-K\n" };
	struct object_id object;
	struct command_work work;

	if (command_work_begin(&work, &usage, argc, argv, 2) && find_rows(&work, &object)) {
		command_work_show(&work, PQntuples(work.rows), columns, COLUMN_COUNT);
		if (PQntuples(work.rows) == 0 && work.exit_code == EXIT_CODE_OK)
			work.exit_code = EXIT_CODE_FAILED;
	}
	return command_work_finish(&work);
}

static int run_simulate(int argc, char **argv)
{
	static const struct command_option options[] = {
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward routes simulate", "TYPE ID",
		"Says where a lookup of this id would go, without going there: its canonical form, the row that\n"
		"decides, its home, and whether it would cross a border.  Exit code 1: it has no home.",
		options, "homeward routes simulate token nl-tnm-012204-5\n" };
	static const struct output_column found[] = {
		{ "type", OUTPUT_TEXT },
		{ "canonical", OUTPUT_TEXT },
		{ "found", OUTPUT_TEXT },
		{ "key", OUTPUT_TEXT },
		{ "home", OUTPUT_TEXT },
		{ "crosses_border", OUTPUT_BOOLEAN },
	};
	struct object_id object;
	struct command_work work;

	if (command_work_begin(&work, &usage, argc, argv, 2) && find_rows(&work, &object)) {
		bool is_found = PQntuples(work.rows) > 0;
		const char *home = is_found ? PQgetvalue(work.rows, 0, 3) : NULL;
		bool crosses = is_found && strcmp(home, work.settings->region) != 0;
		struct output *output = output_create(stdout, work.line.format, found, 6);

		output_row(output,
			(const char *const[]){ object.type, object.id, is_found ? PQgetvalue(work.rows, 0, 1) : "none",
				is_found ? PQgetvalue(work.rows, 0, 2) : NULL, home, crosses ? "true" : "false" });
		work.exit_code = output_finish(output);
		if (!is_found && work.exit_code == EXIT_CODE_OK)
			work.exit_code = EXIT_CODE_FAILED;
		if (crosses && settings_peer(work.settings, home) == NULL)
			fprintf(stderr, "homeward: the settings have no peer \"%s\": the lookup would fail\n", home);
	}
	return command_work_finish(&work);
}

/* The route that the arguments name, at home in `region`. */
static bool check_row(struct command_work *work, const char *region, struct route *route_out)
{
	char **arguments = work->line.arguments;

	if (routes_check_row(work->settings, arguments[0], arguments[1], arguments[2], region, route_out, &work->why) ==
		STATUS_OK)
		return true;
	work->exit_code = command_fail(EXIT_CODE_DATA, "%s", work->why.data);
	return false;
}

static int run_add(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward routes add", "TYPE exact|prefix KEY REGION",
		"Says that REGION is home to one object, or to all whose canonical id begins with KEY.\n"
		"A row of the same type, kind and key is replaced.",
		options,
		"homeward routes add token exact NL-TNM-C00122045-K eu\n"
		"homeward routes add token prefix NL-TNM eu\n" };
	struct command_work work;
	struct route route;

	if (!command_work_begin(&work, &usage, argc, argv, 4) || !check_row(&work, work.line.arguments[3], &route))
		return command_work_finish(&work);
	if (strcmp(route.region, work.settings->region) != 0 && settings_peer(work.settings, route.region) == NULL)
		fprintf(stderr, "homeward: note: the settings have no peer \"%s\"\n", route.region);
	const char *const parameters[] = { route.type, work.line.arguments[1], route.key, route.region };

	if (command_work_query(&work,
		    "INSERT INTO homeward.routes (type, kind, key, region) VALUES ($1, $2, $3, $4)"
		    " ON CONFLICT (type, kind, key) DO UPDATE SET region = EXCLUDED.region",
		    parameters, 4))
		printf("%s %s %s is at home in %s\n", route.type, work.line.arguments[1], route.key, route.region);
	return command_work_finish(&work);
}

static int run_rm(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward routes rm", "TYPE exact|prefix KEY",
		"Forgets a row.  Exit code 1: there is none like it.", options,
		"homeward routes rm token prefix NL-TNM\n" };
	struct command_work work;
	struct route route;

	if (!command_work_begin(&work, &usage, argc, argv, 3) || !check_row(&work, work.settings->region, &route))
		return command_work_finish(&work);
	const char *const parameters[] = { route.type, work.line.arguments[1], route.key };

	if (command_work_query(&work,
		    "DELETE FROM homeward.routes WHERE type = $1 AND kind = $2 AND key = $3 RETURNING key", parameters,
		    3) &&
		PQntuples(work.rows) == 0)
		work.exit_code = command_fail(EXIT_CODE_FAILED, "there is no such row");
	return command_work_finish(&work);
}

int command_routes(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "ls", run_ls, "list routes" },
		{ "get", run_get, "the rows that speak for an id" },
		{ "add", run_add, "say which region is home to an object or a prefix" },
		{ "rm", run_rm, "forget a row" },
		{ "import", routes_run_import, "load rows from CSV or JSON, all or none" },
		{ "export", routes_run_export, "write all rows as CSV or JSON" },
		{ "simulate", run_simulate, "where a lookup would go, without going there" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward routes",
		"Which region is home to which objects: exact rows, then the longest prefix, then nowhere.", entries,
		"homeward routes add token prefix NL-TNM eu\n"
		"homeward routes simulate token nl-tnm-012204-5\n" };

	return command_group_run(&group, argc, argv);
}

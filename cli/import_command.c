/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward import`: objects and their homes from a file.  Rows whose home is this
 * region become objects and routes; rows of other regions become routes alone,
 * since another region's record has no business here.
 *
 * A bad row is set aside and told; it never stops the others (unless --strict).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/import_rows.h"
#include "cli/import_store.h"
#include "cli/row_source.h"

#define PROGRESS_ROWS 5000
#define REASONS_SHOWN 5 /* on stderr, when there is no file for them */

enum {
	OPTION_ID = COMMAND_ID_FIRST,
	OPTION_REGION,
	OPTION_REGION_MAP,
	OPTION_REGION_VALUE,
	OPTION_REJECT,
	OPTION_DRY_RUN,
	OPTION_FIELDS,
	OPTION_SET,
	OPTION_DISTINCT,
	OPTION_STRICT,
};

static const struct command_option options[] = {
	{ 't', "type", "TYPE", "the objects' type, one of the settings' types" },
	{ OPTION_ID, "id", "COLUMN[,…]", "the column with the id; the first that has a value" },
	{ OPTION_REGION, "region", "COLUMN", "the column that tells the home region" },
	{ OPTION_REGION_MAP, "region-map", "VALUE=REGION[,…]", "which region a value of that column means" },
	{ OPTION_REGION_VALUE, "region-value", "REGION", "the home region of every row" },
	{ OPTION_FIELDS, "fields", "COLUMN[,NAME=COLUMN…]", "keep only these in the record" },
	{ OPTION_SET, "set", "NAME=VALUE", "put this into every record (true, 5 and \"text\" as in JSON)" },
	{ OPTION_DISTINCT, "distinct", NULL, "one object an id: later rows of the same id and region are merged" },
	{ OPTION_REJECT, "reject", "FILE", "write rows that cannot be taken here, one JSON object a line" },
	{ OPTION_STRICT, "strict", NULL, "import nothing when a row cannot be taken" },
	{ OPTION_DRY_RUN, "dry-run", NULL, "read and check the file, change nothing" },
	COMMAND_OPTION_CONFIG,
	COMMAND_OPTION_END,
};

static const struct command_usage usage = { "homeward import",
	"FILE --type TYPE --id COLUMN (--region COLUMN [--region-map MAP] | --region-value REGION)",
	"Loads objects and their routes from a JSON array, NDJSON or CSV with a header (\"-\" is standard\n"
	"input).  Columns of nested JSON are named by their path, address.region.  Rows at home here become\n"
	"objects and routes, rows of other regions only routes, and an object here that the file says is at\n"
	"home elsewhere is removed from this region.  All in one transaction; a second run of the\n"
	"same file changes nothing.  Exit code 0 with some rows rejected, 1 when nothing was imported.",
	options,
	"homeward import superchargers.json --type station --id locationId,id --region address.region \\\n"
	"    --region-map 'North America=na,Europe=eu,Asia Pacific=ap' --reject rejected.ndjson\n"
	"homeward import stations.csv --type station --id ChargingStationId --region-value eu\n" };

struct import {
	struct command_line line;
	struct import_rules rules;
	const char *reject_path;
	bool is_strict, is_dry_run;
	struct settings *settings;
	struct database_session *session;
	struct importer *importer;
	struct row_source *source;
	struct import_store *store;
	FILE *rejects;
	int64_t objects, routes, merged, rejected, removed;
};

/* ---- the command's line ---- */

/* A value is JSON where it can be read as a scalar of it, else text. */
static bool add_constant(struct import *import, const char *text)
{
	const char *equals = strchr(text, '=');
	json_t *value;

	if (equals == NULL || equals == text)
		return false;
	if (import->rules.constants == NULL)
		import->rules.constants = json_object();
	value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
	if (value == NULL)
		value = json_string(equals + 1);
	return json_object_setn_new(import->rules.constants, text, (size_t)(equals - text), value) == 0;
}

static void read_option(struct import *import, int id)
{
	const char *value = import->line.value;

	switch (id) {
	case 't':
		import->rules.type = value;
		break;
	case OPTION_ID:
		import->rules.id_columns = value;
		break;
	case OPTION_REGION:
		import->rules.region = value;
		break;
	case OPTION_REGION_MAP:
		import->rules.region_map = value;
		break;
	case OPTION_REGION_VALUE:
		import->rules.region_value = value;
		break;
	case OPTION_FIELDS:
		import->rules.fields = value;
		break;
	case OPTION_SET:
		if (!add_constant(import, value))
			(void)command_line_wrong(&import->line, "--set takes NAME=VALUE");
		break;
	case OPTION_DISTINCT:
		import->rules.is_distinct = true;
		break;
	case OPTION_REJECT:
		import->reject_path = value;
		break;
	case OPTION_STRICT:
		import->is_strict = true;
		break;
	case OPTION_DRY_RUN:
		import->is_dry_run = true;
		break;
	default:
		break;
	}
}

static int read_line(struct import *import, int argc, char **argv)
{
	struct command_line *line = &import->line;

	command_line_begin(line, &usage, argc, argv);
	for (int id; !line->is_over && (id = command_line_next(line)) != COMMAND_LINE_END;)
		read_option(import, id);
	if (line->is_over || !command_line_expect(line, 1, 1))
		return line->exit_code;
	if (import->rules.type == NULL || import->rules.id_columns == NULL)
		return command_line_wrong(line, "--type and --id are needed");
	if ((import->rules.region == NULL) == (import->rules.region_value == NULL))
		return command_line_wrong(line, "either --region or --region-value is needed");
	return EXIT_CODE_OK;
}

/* ---- opening ---- */

/* Rejected rows are people's data like the accepted ones: only for their importer's eyes. */
static bool open_rejects(struct import *import)
{
	int fd = open(import->reject_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	import->rejects = fd < 0 ? NULL : fdopen(fd, "w");
	if (import->rejects == NULL && fd >= 0)
		close(fd);
	return import->rejects != NULL;
}

static int open_all(struct import *import, struct strbuf *why)
{
	const char *path = import->line.arguments[0];
	const struct settings_type *type;
	enum status status;
	int exit_code;

	if (import->is_dry_run)
		exit_code = command_settings(import->line.config, &import->settings);
	else
		exit_code = command_database(&import->line, &import->settings, &import->session);
	if (exit_code != EXIT_CODE_OK)
		return exit_code;
	type = settings_type(import->settings, import->rules.type);
	if (type == NULL)
		return command_fail(
			EXIT_CODE_CONFIGURATION, "%s: types has no \"%s\"", import->line.config, import->rules.type);
	import->rules.id_format = type->id_format;
	import->rules.own_region = import->settings->region;
	if (importer_create(&import->rules, &import->importer, why) != STATUS_OK)
		return command_line_wrong(&import->line, "%s", why->data);
	status = row_source_open(path, &import->source, why);
	if (status != STATUS_OK)
		return command_fail(EXIT_CODE_DATA, "%s", why->data);
	if (import->reject_path != NULL) {
		if (!open_rejects(import))
			return command_fail(EXIT_CODE_FAILED, "%s: %s", import->reject_path, strerror(errno));
	}
	if (!import->is_dry_run) {
		status = import_store_begin(import->session, import->rules.type, &import->store, why);
		if (status != STATUS_OK)
			return command_fail(command_exit_code(status), "%s", why->data);
	}
	return EXIT_CODE_OK;
}

/* ---- rows ---- */

static void reject(struct import *import, int64_t number, const char *reason, const json_t *row)
{
	struct strbuf text = STRBUF_INIT;

	import->rejected++;
	if (import->rejects == NULL) {
		if (import->rejected <= REASONS_SHOWN)
			fprintf(stderr, "homeward: record %" PRId64 ": %s\n", number, reason);
		return;
	}
	strbuf_addf(&text, "{\"record\":%" PRId64 ",\"reason\":", number);
	strbuf_add_json(&text, reason, strlen(reason));
	strbuf_adds(&text, ",\"row\":");
	if (row == NULL || json_write(row, &text) != STATUS_OK)
		strbuf_adds(&text, "null");
	fprintf(import->rejects, "%s}\n", text.data);
	strbuf_release(&text);
}

static enum status take(struct import *import, const json_t *row, int64_t number, struct strbuf *why)
{
	struct imported imported;
	enum status status = STATUS_OK;

	switch (importer_take(import->importer, row, number, &imported, why)) {
	case IMPORT_REJECTED:
		reject(import, number, why->data, row);
		break;
	case IMPORT_MERGED:
		import->merged++;
		break;
	case IMPORT_TAKEN:
		import->routes++;
		import->objects += imported.record != NULL;
		if (import->store != NULL)
			status = import_store_add(import->store, &imported, why);
		break;
	}
	json_decref(imported.record);
	return status;
}

static enum status take_all(struct import *import, struct strbuf *why)
{
	bool shows_progress = isatty(STDERR_FILENO) == 1;
	enum status status = STATUS_OK;

	while (status == STATUS_OK) {
		json_t *row;
		int64_t number;

		strbuf_reset(why);
		status = row_source_next(import->source, &row, &number, why);
		if (status == STATUS_INVALID) {
			reject(import, number, why->data, NULL);
			status = STATUS_OK;
		} else if (status == STATUS_OK) {
			status = take(import, row, number, why);
		}
		json_decref(row);
		if (shows_progress && number % PROGRESS_ROWS == 0)
			fprintf(stderr, "\r%" PRId64 " rows", number);
	}
	if (shows_progress)
		fputs("\r\033[K", stderr);
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static void summarise(const struct import *import)
{
	printf("%s %" PRId64 " objects, %" PRId64 " routes, rejected %" PRId64,
		import->is_dry_run ? "would import" : "imported", import->objects, import->routes, import->rejected);
	if (import->rejected > 0 && import->rejects != NULL)
		printf(" (see %s)", import->reject_path);
	if (import->merged > 0)
		printf(", merged %" PRId64, import->merged);
	if (import->removed > 0)
		printf(", removed %" PRId64 " whose home is elsewhere now", import->removed);
	printf("\n");
}

static int run(struct import *import, struct strbuf *why)
{
	enum status status = take_all(import, why);

	if (import->rejects != NULL && fflush(import->rejects) != 0)
		return command_fail(EXIT_CODE_FAILED, "%s: %s", import->reject_path, strerror(errno));
	if (status == STATUS_OK && import->is_strict && import->rejected > 0)
		return command_fail(
			EXIT_CODE_DATA, "%" PRId64 " rows cannot be taken, so nothing was imported", import->rejected);
	if (status == STATUS_OK && import->store != NULL)
		status = import_store_commit(import->store, &import->removed, why);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "nothing was imported: %s",
			why->length > 0 ? why->data : status_name(status));
	summarise(import);
	return import->routes > 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

int command_import(int argc, char **argv)
{
	struct import import = { .rules = { .type = NULL } };
	struct strbuf why = STRBUF_INIT;
	int exit_code = read_line(&import, argc, argv);

	if (exit_code == EXIT_CODE_OK && !import.line.is_over)
		exit_code = open_all(&import, &why);
	if (exit_code == EXIT_CODE_OK && !import.line.is_over)
		exit_code = run(&import, &why);

	import_store_destroy(import.store);
	database_session_close(import.session);
	row_source_close(import.source);
	importer_destroy(import.importer);
	json_decref(import.rules.constants);
	settings_destroy(import.settings);
	if (import.rejects != NULL)
		(void)fclose(import.rejects);
	strbuf_release(&why);
	return exit_code;
}

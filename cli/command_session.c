/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command opens: its settings, and a blocking database session; and what
 * most commands do with them.  Errors are shown here, once, so that commands only
 * pass the exit code on.
 */
#include "cli/command.h"

#include <stdio.h>

#include "base/must.h"

int command_settings(const char *path, struct settings **settings_out)
{
	struct strbuf errors = STRBUF_INIT;
	enum status status = settings_read(path, settings_out, &errors);

	if (status != STATUS_OK)
		fputs(errors.data, stderr);
	strbuf_release(&errors);
	return status == STATUS_OK ? EXIT_CODE_OK : EXIT_CODE_CONFIGURATION;
}

int command_database(
	const struct command_line *line, struct settings **settings_out, struct database_session **session_out)
{
	struct settings *settings = NULL;
	struct strbuf dsn = STRBUF_INIT, why = STRBUF_INIT;
	int exit_code = command_settings(line->config, &settings);
	enum status status;

	*session_out = NULL;
	if (settings_out != NULL)
		*settings_out = NULL;
	if (exit_code != EXIT_CODE_OK)
		goto out;
	status = settings_dsn(settings, &dsn, &why);
	if (status == STATUS_OK)
		status = database_session_open(dsn.data, COMMAND_DATABASE_OPEN_MS, session_out, &why);
	if (status != STATUS_OK) {
		exit_code = command_fail(command_exit_code(status), "%s", why.data);
		goto out;
	}
	if (settings_out != NULL) {
		*settings_out = settings;
		settings = NULL;
	}
out:
	settings_destroy(settings);
	strbuf_release(&dsn);
	strbuf_release(&why);
	return exit_code;
}

/* ---- a command with a database ---- */

bool command_work_open(struct command_work *work, const struct command_line *line)
{
	*work = (struct command_work){ .line = *line };
	strbuf_init(&work->why);
	work->exit_code = command_database(&work->line, &work->settings, &work->session);
	return work->exit_code == EXIT_CODE_OK;
}

bool command_work_begin(
	struct command_work *work, const struct command_usage *usage, int argc, char **argv, int arguments)
{
	struct command_line line;

	command_line_begin(&line, usage, argc, argv);
	(void)command_line_next(&line);
	if (command_line_expect(&line, arguments, arguments))
		return command_work_open(work, &line);
	*work = (struct command_work){ .exit_code = line.exit_code };
	strbuf_init(&work->why);
	return false;
}

bool command_work_succeeds(struct command_work *work, enum status status)
{
	if (status != STATUS_OK)
		work->exit_code = command_fail(command_exit_code(status), "%s", work->why.data);
	return status == STATUS_OK;
}

bool command_work_query(struct command_work *work, const char *sql, const char *const *parameters, int count)
{
	PQclear(work->rows);
	work->rows = NULL;
	return command_work_succeeds(work, database_session_query(work->session, sql, parameters, count,
						   COMMAND_STATEMENT_MS, &work->rows, &work->why));
}

void command_work_show(struct command_work *work, int row_count, const struct output_column *columns, size_t count)
{
	struct output *output = output_create(stdout, work->line.format, columns, count);

	must(count <= COMMAND_COLUMNS_MAX);
	for (int i = 0; i < row_count; i++) {
		const char *cells[COMMAND_COLUMNS_MAX] = { NULL };

		for (size_t j = 0; j < count; j++)
			cells[j] = PQgetisnull(work->rows, i, (int)j) ? NULL : PQgetvalue(work->rows, i, (int)j);
		output_row(output, cells);
	}
	work->exit_code = output_finish(output);
}

int command_work_finish(struct command_work *work)
{
	PQclear(work->rows);
	database_session_close(work->session);
	settings_destroy(work->settings);
	strbuf_release(&work->why);
	return work->exit_code;
}

int command_show_rows(const struct command_line *line, const char *sql, const char *const *parameters, int count,
	const struct output_column *columns, size_t column_count)
{
	struct command_work work;

	if (command_work_open(&work, line) && command_work_query(&work, sql, parameters, count))
		command_work_show(&work, PQntuples(work.rows), columns, column_count);
	return command_work_finish(&work);
}

int command_show_table(const struct command_usage *usage, int argc, char **argv, const char *sql,
	const struct output_column *columns, size_t column_count)
{
	struct command_work work;

	if (command_work_begin(&work, usage, argc, argv, 0) && command_work_query(&work, sql, NULL, 0))
		command_work_show(&work, PQntuples(work.rows), columns, column_count);
	return command_work_finish(&work);
}

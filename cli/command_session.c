/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command opens: its settings, and a blocking database session.  Errors
 * are shown here, once, so that commands only pass the exit code on.
 */
#include "cli/command.h"

#include <stdio.h>

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

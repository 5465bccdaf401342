/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward db`: brings the schema of the settings' database to what this program
 * knows, or says where it is.  The daemon does the same at its start unless
 * database.migrate is off, which is what makes `db migrate` a deployment's own step.
 */
#include <stdio.h>

#include "base/schema.h"
#include "cli/command.h"

static const struct command_option options[] = { COMMAND_OPTION_CONFIG, COMMAND_OPTION_END };

static int begin(const struct command_usage *usage, int argc, char **argv, struct database_session **session_out)
{
	struct command_line line;

	*session_out = NULL;
	command_line_begin(&line, usage, argc, argv);
	(void)command_line_next(&line);
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	return command_database(&line, NULL, session_out);
}

static int run_migrate(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward db migrate", "[-c FILE]",
		"Applies the migrations the database does not have yet, each in a transaction of its own,\n"
		"under a lock.  A database newer than this program is refused and left as it is.",
		options, "homeward db migrate -c /etc/homeward/homeward.conf\n" };
	struct database_session *session = NULL;
	struct strbuf why = STRBUF_INIT;
	int applied = 0;
	int exit_code = begin(&usage, argc, argv, &session);

	if (session == NULL)
		return exit_code;
	enum status status = schema_migrate(session, &applied, &why);
	if (status == STATUS_OK)
		printf("schema version %d, %d migration%s applied now\n", schema_version_known(), applied,
			applied == 1 ? "" : "s");
	else
		exit_code = command_fail(command_exit_code(status), "%s", why.data);
	database_session_close(session);
	strbuf_release(&why);
	return exit_code;
}

static int run_version(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward db version", "[-c FILE]",
		"Shows the schema version of the database and the one this program knows.\n"
		"Exit code 0: they agree; 1: the database is older; 78: it is newer.",
		options, "homeward db version\n" };
	struct database_session *session = NULL;
	struct strbuf why = STRBUF_INIT;
	int version = 0, known = schema_version_known();
	int exit_code = begin(&usage, argc, argv, &session);

	if (session == NULL)
		return exit_code;
	enum status status = schema_version_read(session, &version, &why);
	if (status != STATUS_OK) {
		exit_code = command_fail(command_exit_code(status), "%s", why.data);
	} else {
		printf("database %d, program %d\n", version, known);
		if (version < known)
			exit_code = EXIT_CODE_FAILED;
		else if (version > known)
			exit_code = EXIT_CODE_CONFIGURATION;
	}
	database_session_close(session);
	strbuf_release(&why);
	return exit_code;
}

int command_db(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "migrate", run_migrate, "bring the schema up to date" },
		{ "version", run_version, "schema versions of the database and of this program" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward db", "The database's schema, `homeward`.", entries,
		"homeward db migrate\n" };

	return command_group_run(&group, argc, argv);
}

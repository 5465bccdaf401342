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

static int run_migrate(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward db migrate", "[-c FILE]",
		"Applies the migrations the database does not have yet, each in a transaction of its own,\n"
		"under a lock.  A database newer than this program is refused and left as it is.",
		options, "homeward db migrate -c /etc/homeward/homeward.conf\n" };
	struct command_work work;
	int applied = 0;

	if (command_work_begin(&work, &usage, argc, argv, 0) &&
		command_work_succeeds(&work, schema_migrate(work.session, &applied, &work.why)))
		printf("schema version %d, %d migration%s applied now\n", schema_version_known(), applied,
			applied == 1 ? "" : "s");
	return command_work_finish(&work);
}

static int run_version(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward db version", "[-c FILE]",
		"Shows the schema version of the database and the one this program knows.\n"
		"Exit code 0: they agree; 1: the database is older; 78: it is newer.",
		options, "homeward db version\n" };
	struct command_work work;
	int version = 0, known = schema_version_known();

	if (command_work_begin(&work, &usage, argc, argv, 0) &&
		command_work_succeeds(&work, schema_version_read(work.session, &version, &work.why))) {
		printf("database %d, program %d\n", version, known);
		if (version < known)
			work.exit_code = EXIT_CODE_FAILED;
		else if (version > known)
			work.exit_code = EXIT_CODE_CONFIGURATION;
	}
	return command_work_finish(&work);
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

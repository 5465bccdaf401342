/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward callers`: the services that may ask in this region, and the purposes
 * each may name.  A token is 256 random bits, shown once; the database keeps its
 * SHA-256 alone.  (Nothing slower is needed: no one guesses 256 bits.)  Running
 * daemons hear of every change by NOTIFY.
 */
#include <stdio.h>
#include <string.h>

#include "cli/callers.h"
#include "cli/command.h"

enum { OPTION_PURPOSES = COMMAND_ID_FIRST, OPTION_MAY_WRITE };

static int run_add(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_PURPOSES, "purposes", "LIST", "purposes it may name, separated by commas; \"*\" is any" },
		{ OPTION_MAY_WRITE, "may-write", NULL, "it may also PUT and DELETE objects at home here" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward callers add", "NAME --purposes LIST [--may-write]",
		"Lets a service ask, and prints its bearer token.  The token is shown this once only:\n"
		"the database keeps a hash of it.  Exit code 1: there is a caller of that name.",
		options, "homeward callers add charging --purposes charge.authorize,session.view > charging.token\n" };
	struct strbuf why = STRBUF_INIT;
	struct caller caller = { .may_write = false };
	struct command_work work;
	char token[CALLER_TOKEN_SIZE];
	struct command_line line;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_PURPOSES)
			caller.purposes = line.value;
		else
			caller.may_write = true;
	}
	if (!command_line_expect(&line, 1, 1))
		return line.exit_code;
	if (caller.purposes == NULL)
		return command_line_wrong(&line, "--purposes is needed");
	caller.name = line.arguments[0];
	enum status status = caller_check(&caller, &why);
	if (status != STATUS_OK) {
		command_line_wrong(&line, "%s", why.data);
		strbuf_release(&why);
		return line.exit_code;
	}
	strbuf_release(&why);
	if (command_work_open(&work, &line) &&
		command_work_succeeds(&work, caller_add(work.session, &caller, token, &work.why)))
		printf("%s\n", token);
	explicit_bzero(token, sizeof(token));
	return command_work_finish(&work);
}

static int run_ls(int argc, char **argv)
{
	static const struct command_option options[] = {
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward callers ls", "", "Lists callers.", options,
		"homeward callers ls -o json\n" };
	static const struct output_column columns[] = {
		{ "name", OUTPUT_TEXT },
		{ "purposes", OUTPUT_TEXT },
		{ "may_write", OUTPUT_BOOLEAN },
		{ "created_at", OUTPUT_TEXT },
	};

	return command_show_table(&usage, argc, argv,
		"SELECT name, array_to_string(purposes, ','), CASE WHEN may_write THEN 'true' ELSE 'false' END,"
		" " DATABASE_TIME_S("created_at") " FROM homeward.callers ORDER BY name",
		columns, 4);
}

static int run_rm(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward callers rm", "NAME",
		"Forgets a caller: its token is refused from now on.  Exit code 1: there is none of that name.",
		options, "homeward callers rm charging\n" };
	struct command_work work;

	if (command_work_begin(&work, &usage, argc, argv, 1)) {
		const char *const parameters[] = { work.line.arguments[0] };

		if (command_work_query(
			    &work, "DELETE FROM homeward.callers WHERE name = $1 RETURNING name", parameters, 1) &&
			PQntuples(work.rows) == 0)
			work.exit_code = command_fail(EXIT_CODE_FAILED, "there is no caller \"%s\"", parameters[0]);
	}
	return command_work_finish(&work);
}

int command_callers(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "add", run_add, "let a service ask, and print its token once" },
		{ "ls", run_ls, "list callers" },
		{ "rm", run_rm, "forget a caller" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward callers",
		"The services that may ask in this region, and for which purposes.", entries,
		"homeward callers add charging --purposes charge.authorize\n" };

	return command_group_run(&group, argc, argv);
}

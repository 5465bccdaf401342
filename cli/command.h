/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every command shares: options and usage text from one table, subcommands
 * with did-you-mean, settings, a database session, errors on stderr.
 *
 * A command is `int command_<name>(int argc, char **argv)`, argv[0] its own name,
 * and returns an exit code of cli.h.  Its line is read like this:
 *
 *	static const struct command_option options[] = {
 *		COMMAND_OPTION_CONFIG,
 *		COMMAND_OPTION_OUTPUT,
 *		{ 't', "type", "TYPE", "only this type" },
 *		{ OPTION_DRY_RUN, "dry-run", NULL, "change nothing" },	(an id of 256 or more has no letter)
 *		COMMAND_OPTION_END
 *	};
 *	static const struct command_usage usage = { "homeward routes ls", "[-t TYPE]", "Lists routes.", options,
 *		"homeward routes ls -o json\n" };
 *	struct command_line line;
 *	command_line_begin(&line, &usage, argc, argv);
 *	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;)
 *		if (id == 't')
 *			type = line.value;
 *	if (line.is_over)		(--help was shown, or the error was)
 *		return line.exit_code;
 *	… line.argument_count, line.arguments …
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/database.h"
#include "base/settings.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "cli/cli.h"
#include "cli/output.h"

/* ---- commands ---- */

struct command_entry {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help; /* one line */
};
struct command_group {
	const char *name;                    /* "homeward routes" */
	const char *summary;                 /* what it is for */
	const struct command_entry *entries; /* ended by a NULL name */
	const char *examples;                /* lines, or NULL */
};
/* Runs the subcommand argv[1] names; shows help for none, "help", "-h" and "--help". */
int command_group_run(const struct command_group *group, int argc, char **argv);

int command_audit(int argc, char **argv);
int command_callers(int argc, char **argv);
int command_config(int argc, char **argv);
int command_db(int argc, char **argv);
int command_dev(int argc, char **argv);
int command_events(int argc, char **argv);
int command_import(int argc, char **argv);
int command_mesh(int argc, char **argv);
int command_pki(int argc, char **argv);
int command_policy(int argc, char **argv);
int command_reload(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_routes(int argc, char **argv);
int command_status(int argc, char **argv);
int command_subject(int argc, char **argv);
int command_consent(int argc, char **argv);

/* ---- one command's line ---- */

struct command_option {
	int id;               /* the letter, or 256 and up for a long option alone */
	const char *name;     /* long option */
	const char *argument; /* what to call its value in the help; NULL: takes none */
	const char *help;
};
enum { COMMAND_ID_CONFIG = 'c', COMMAND_ID_OUTPUT = 'o', COMMAND_ID_HELP = 'h', COMMAND_ID_FIRST = 256 };
#define COMMAND_CONFIG_DEFAULT "/etc/homeward/homeward.conf"
/* These two are read by command_line_next itself, into line.config and line.format. */
#define COMMAND_OPTION_CONFIG                                                                                          \
	{                                                                                                              \
		COMMAND_ID_CONFIG, "config", "FILE",                                                                   \
			"settings file (default: $HOMEWARD_CONFIG or " COMMAND_CONFIG_DEFAULT ")"                      \
	}
#define COMMAND_OPTION_OUTPUT                                                                                          \
	{                                                                                                              \
		COMMAND_ID_OUTPUT, "output", "FORMAT", "table (default), json or csv"                                  \
	}
#define COMMAND_OPTION_END                                                                                             \
	{                                                                                                              \
		0, NULL, NULL, NULL                                                                                    \
	}

struct command_usage {
	const char *name;                     /* "homeward routes ls" */
	const char *synopsis;                 /* what follows the name */
	const char *summary;                  /* sentences */
	const struct command_option *options; /* ended by COMMAND_OPTION_END */
	const char *examples;                 /* lines, or NULL */
};

#define COMMAND_OPTIONS_MAX 32 /* more would be a command nobody can remember */
#define COMMAND_LINE_END (-1)

struct command_line {
	const char *config; /* never NULL */
	enum output_format format;
	const char *value; /* of the option just returned */
	char **arguments;  /* after the options; options may stand among them, "--" ends them */
	int argument_count;
	bool is_over; /* stop and return exit_code */
	int exit_code;
	const struct command_usage *usage;
	int argc;
	char **argv;
};

void command_line_begin(struct command_line *line, const struct command_usage *usage, int argc, char **argv);
/* The id of the next option, or COMMAND_LINE_END: after the last one, after --help, or after an error. */
int command_line_next(struct command_line *line);
/* Says what is wrong with the line and where help is; returns EXIT_CODE_USAGE. */
int command_line_wrong(struct command_line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Checks the number of arguments; false after saying what is wrong (line->is_over is set then). */
bool command_line_expect(struct command_line *line, int count_min, int count_max);
/* line->value as a whole number in [min, max]; false after saying so (line->is_over is set then). */
bool command_line_number(struct command_line *line, int64_t min, int64_t max, int64_t *number_out);

/* ---- what commands do ---- */

/* "homeward: …" on stderr; returns exit_code. */
int command_fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The exit code that fits a status. */
int command_exit_code(enum status status);
/* Reads the settings; on failure its errors are on stderr and the exit code (78) is returned. */
int command_settings(const char *path, struct settings **settings_out);
/* Opens the settings' database and, when `settings_out` is not NULL, hands the settings over as well. */
int command_database(
	const struct command_line *line, struct settings **settings_out, struct database_session **session_out);
/* What a command with a database works with: opened by one of two, ended by command_work_finish in any case. */
struct command_work {
	struct command_line line;
	struct settings *settings;
	struct database_session *session;
	PGresult *rows; /* of the last query */
	struct strbuf why;
	int exit_code;
};
/* Reads a line without options of the command's own, with so many arguments, and opens.  False: only finish it. */
bool command_work_begin(
	struct command_work *work, const struct command_usage *usage, int argc, char **argv, int arguments);
/* The same for a line that was read. */
bool command_work_open(struct command_work *work, const struct command_line *line);
/* False unless it is STATUS_OK, after saying what is in `why`. */
bool command_work_succeeds(struct command_work *work, enum status status);
bool command_work_query(struct command_work *work, const char *sql, const char *const *parameters, int count);
/* Shows the first rows as they are. */
void command_work_show(struct command_work *work, int row_count, const struct output_column *columns, size_t count);
/* Closes it; the exit code. */
int command_work_finish(struct command_work *work);
#define COMMAND_COLUMNS_MAX 12
/* A whole command: shows the rows of one statement. */
int command_show_rows(const struct command_line *line, const char *sql, const char *const *parameters, int count,
	const struct output_column *columns, size_t column_count);
/* The same for a command that takes no more than a configuration and a format. */
int command_show_table(const struct command_usage *usage, int argc, char **argv, const char *sql,
	const struct output_column *columns, size_t column_count);

/* The name nearest to `wanted`, or NULL when none is near (edit distance over a third of its length). */
const char *command_nearest(const char *wanted, const char *const *names, size_t count);

/* How long a command waits for the database to take it on, and for one statement. */
enum { COMMAND_DATABASE_OPEN_MS = 5000, COMMAND_STATEMENT_MS = 60000 };

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that `homeward subject` is made of, and what they share; private to cli. */
#ifndef CLI_SUBJECT_H
#define CLI_SUBJECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/command.h"

/* ---- one function a subcommand: a new one is a line here and a row in subject_command.c ---- */

int subject_access_report(int argc, char **argv);
int subject_change_master_key(int argc, char **argv);
int subject_restrict(int argc, char **argv);
int subject_unrestrict(int argc, char **argv);

/* ---- shared ---- */

enum { SUBJECT_OPTION_ADMIN = COMMAND_ID_FIRST, SUBJECT_OPTION_REASON, SUBJECT_OPTION_WAIT };
#define SUBJECT_WAIT_S 10 /* for other regions, unless said */
/* What a command that waits for other regions was asked for. */
struct subject_options {
	struct command_line line;
	struct strbuf where; /* the daemon's admin listener */
	const char *reason;  /* "" unless said */
	int64_t wait_s;
};
/* Reads the line, which must have `arguments` arguments.  False: nothing is left to do but return line.exit_code.
 * Release it in either case. */
bool subject_options_init(struct subject_options *options, const struct command_usage *usage, int argc, char **argv,
	int arguments, int64_t wait_s);
void subject_options_release(struct subject_options *options);

/* What the daemon answered; NULL after saying what went wrong. */
json_t *subject_call(const char *where, const char *method, const char *path, const char *sent, int *exit_code);
/* Until every region has acknowledged, `wait_s` seconds at most; the exit code says whether they have. */
int subject_await_regions(const char *where, const char *request, int64_t regions, int64_t wait_s);

#endif

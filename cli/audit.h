/* SPDX-License-Identifier: Apache-2.0 */
/* What the `homeward audit` commands share, and the commands their table is made of. */
#ifndef CLI_AUDIT_H
#define CLI_AUDIT_H

#include "cli/command.h"
#include "policy/policy.h"

/* ---- one function a subcommand: a new one is a line here and a row in audit_command.c ---- */

int audit_export(int argc, char **argv);
int audit_hash(int argc, char **argv);
int audit_receipt(int argc, char **argv);
int audit_reindex(int argc, char **argv);
int audit_reconcile(int argc, char **argv);
int audit_report(int argc, char **argv);
int audit_report_daily(int argc, char **argv); /* of `report` */
int audit_search(int argc, char **argv);
int audit_show(int argc, char **argv);
int audit_verify(int argc, char **argv);

/* ---- shared ---- */

/* A key as people give it: the text itself, or a file that holds it.  EXIT_CODE_OK, or what was said. */
int audit_key(const char *text, struct note_verifier *verifier_out);
/* Where the log is: `given`, or what the settings say when that is NULL.  EXIT_CODE_OK, or what was said. */
int audit_directory(const char *config, const char *given, struct strbuf *directory_out);
/* Opens the log in `directory`; key NULL: without asking whose signature it has. */
int audit_open(const char *directory, const struct note_verifier *key, struct log_reader **reader_out);
/* The argument as an index; false after saying so. */
bool audit_index(struct command_line *line, const char *text, uint64_t *index_out);

#endif

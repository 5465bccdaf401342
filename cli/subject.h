/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that `homeward subject` is made of, and what they share; private to cli. */
#ifndef CLI_SUBJECT_H
#define CLI_SUBJECT_H

#include <jansson.h>
#include <stdint.h>

/* ---- one function a subcommand: a new one is a line here and a row in subject_command.c ---- */

int subject_access_report(int argc, char **argv);
int subject_change_master_key(int argc, char **argv);
int subject_restrict(int argc, char **argv);
int subject_unrestrict(int argc, char **argv);

/* ---- shared ---- */

/* What the daemon answered; NULL after saying what went wrong. */
json_t *subject_call(const char *where, const char *method, const char *path, const char *sent, int *exit_code);
/* Until every region has acknowledged, `wait_s` seconds at most; the exit code says whether they have. */
int subject_await_regions(const char *where, const char *request, int64_t regions, int64_t wait_s);

#endif

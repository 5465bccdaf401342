/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `homeward policy` share. */
#ifndef CLI_POLICY_COMMAND_H
#define CLI_POLICY_COMMAND_H

#include "cli/command.h"
#include "policy/policy.h"

/* The file named, else the settings'; an exit code, after printing what is wrong. */
int policy_command_read(const struct command_line *line, const char *path, struct policy **policy_out);
/* The same for a file whose own tests and invariants may fail. */
int policy_command_read_untested(const struct command_line *line, const char *path, struct policy **policy_out);

int policy_run_test(int argc, char **argv);
int policy_run_can_see(int argc, char **argv);
int policy_run_diff(int argc, char **argv);
int policy_run_coverage(int argc, char **argv);
int policy_run_mutate(int argc, char **argv);
int policy_run_enumerate(int argc, char **argv);
int policy_run_keygen(int argc, char **argv);
int policy_run_ropa(int argc, char **argv);
int policy_run_shadow(int argc, char **argv);
int policy_run_sign(int argc, char **argv);
int policy_run_verify(int argc, char **argv);

#endif

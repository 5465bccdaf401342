/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of `homeward events`, private to cli/events_*.c. */
#ifndef CLI_EVENTS_H
#define CLI_EVENTS_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/output.h"

#include "cli/command.h"

/* One line for people of {"number", "event"}: its number, time, type, and what it says. */
void events_print(const json_t *row);

/* What the daemon there has said, of types with these prefixes (ended by NULL); and what it says from now on, when it
 * follows.  Returns an exit code. */
int events_show(const char *where, const char *const *types, enum output_format format, bool follows);

int command_events_tail(int argc, char **argv);
int command_events_outbox(int argc, char **argv);
int command_events_inbox(int argc, char **argv);
int command_events_dead(int argc, char **argv);
int command_events_resend(int argc, char **argv);
int command_events_webhooks(int argc, char **argv);
int command_events_ledger(int argc, char **argv);

#endif

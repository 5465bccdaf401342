/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of `homeward events`, private to cli/events_*.c. */
#ifndef CLI_EVENTS_H
#define CLI_EVENTS_H

#include <jansson.h>

/* One line for people of {"number", "event"}: its number, time, type, and what it says. */
void events_print(const json_t *row);

int command_events_tail(int argc, char **argv);
int command_events_outbox(int argc, char **argv);
int command_events_inbox(int argc, char **argv);
int command_events_dead(int argc, char **argv);
int command_events_resend(int argc, char **argv);

#endif

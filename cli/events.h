/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of `homeward events`, private to cli/events_*.c. */
#ifndef CLI_EVENTS_H
#define CLI_EVENTS_H

int command_events_tail(int argc, char **argv);

#endif

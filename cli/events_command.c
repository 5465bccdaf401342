/* SPDX-License-Identifier: Apache-2.0 */
/* `homeward events`: its subcommands. */
#include "cli/command.h"
#include "cli/events.h"

int command_events(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "tail", command_events_tail, "what homeward itself says, as it says it" },
		{ "outbox", command_events_outbox, "how many events wait to leave, or for a receipt" },
		{ "inbox", command_events_inbox, "how many events have come, and from where" },
		{ "dead", command_events_dead, "events that could not be taken, and why; put one back" },
		{ "webhooks", command_events_webhooks, "what waits for each webhook; pause, resume, redeliver" },
		{ "resend", command_events_resend, "send an event of the outbox again" },
		{ "ledger", command_events_ledger, "what regions sent each other, window by window, and what came" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward events",
		"What a region's homeward says to its operators, and the events it sends and receives.", entries,
		"homeward events tail\nhomeward events outbox\nhomeward events dead\n"
		"homeward events resend 7f1c0a5e-8a54-4a53-9d0f-3f0b8c0f2a11\n" };

	return command_group_run(&group, argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* `homeward events`: its subcommands. */
#include "cli/command.h"
#include "cli/events.h"

int command_events(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "tail", command_events_tail, "what homeward itself says, as it says it" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward events",
		"What a region's homeward says to its operators, and the events it sends and receives.", entries,
		"homeward events tail\nhomeward events tail --type homeward.peer. -o json\n" };

	return command_group_run(&group, argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward events ledger`: what was sent and what came, window by window, as this
 * region knows it of both directions; and by name what was missing or extra.
 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/events.h"

enum { OPTION_LIMIT = COMMAND_ID_FIRST, OPTION_OPEN, OPTION_IDS };

#define LIMIT_MAX 10000
#define LIMIT_SIZE 24
#define SINCE DATABASE_TIME_S("since")
#define UNTIL DATABASE_TIME_S("until")
#define FOUND_AT DATABASE_TIME_S("found_at")

static const char read_windows[] = "SELECT " SINCE ", " UNTIL
				   ", origin, destination, sent, dead, taken, missing, extra, resent, state"
				   " FROM homeward.ledgers WHERE $1 = '' OR state NOT IN ('even', 'mended')"
				   " ORDER BY homeward.ledgers.since DESC, origin, destination LIMIT $2::bigint";
static const char read_names[] =
	"SELECT " SINCE ", origin, destination, kind, source, id, " FOUND_AT
	" FROM homeward.ledger_differences WHERE $1 = '' OR EXISTS (SELECT 1 FROM homeward.ledgers l"
	" WHERE l.state NOT IN ('even', 'mended') AND (l.origin, l.destination, l.since) = "
	"(ledger_differences.origin, ledger_differences.destination, ledger_differences.since))"
	" ORDER BY homeward.ledger_differences.since DESC, origin, source, id LIMIT $2::bigint";

int command_events_ledger(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_IDS, "ids", NULL, "the events by name that were missing here, or extra" },
		{ OPTION_OPEN, "open", NULL, "only windows that are not even and not mended" },
		{ OPTION_LIMIT, "limit", "N", "at most so many rows, the newest (50)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward events ledger", "[--ids] [--open] [--limit N]",
		"Shows for each window of time what one region sent another, and what the other has, the newest first. "
		" dead: it\n"
		"said that it would not take them; missing: it named them as lost; extra: it has them, and the sender "
		"does not\n"
		"know them; resent: they were sent again.  The state is told (not compared yet), comparing, open (some "
		"are on\n"
		"their way), missing, even, mended (even again), extra, or forgotten (older than the inbox).",
		options,
		"homeward events ledger\nhomeward events ledger --open -o json\nhomeward events ledger --ids\n" };
	static const struct output_column windows[] = { { "window", OUTPUT_TEXT }, { "until", OUTPUT_TEXT },
		{ "from", OUTPUT_TEXT }, { "to", OUTPUT_TEXT }, { "sent", OUTPUT_NUMBER }, { "dead", OUTPUT_NUMBER },
		{ "taken", OUTPUT_NUMBER }, { "missing", OUTPUT_NUMBER }, { "extra", OUTPUT_NUMBER },
		{ "resent", OUTPUT_NUMBER }, { "state", OUTPUT_TEXT } };
	static const struct output_column names[] = { { "window", OUTPUT_TEXT }, { "from", OUTPUT_TEXT },
		{ "to", OUTPUT_TEXT }, { "kind", OUTPUT_TEXT }, { "source", OUTPUT_TEXT }, { "id", OUTPUT_TEXT },
		{ "found", OUTPUT_TEXT } };
	char limit[LIMIT_SIZE];
	const char *parameters[] = { "", limit };
	struct command_line line;
	int64_t number = 50;
	bool is_ids = false;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_IDS)
			is_ids = true;
		else if (id == OPTION_OPEN)
			parameters[0] = "open";
		else
			(void)command_line_number(&line, 1, LIMIT_MAX, &number);
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	(void)snprintf(limit, sizeof(limit), "%lld", (long long)number);
	if (is_ids)
		return command_show_rows(&line, read_names, parameters, 2, names, sizeof(names) / sizeof(names[0]));
	return command_show_rows(&line, read_windows, parameters, 2, windows, sizeof(windows) / sizeof(windows[0]));
}

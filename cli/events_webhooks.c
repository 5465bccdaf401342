/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward events webhooks`: how each stands, and what an operator does about it.
 * All of it is in the database; the process that delivers is told by a NOTIFY.
 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/events.h"

static const struct command_option only_common[] = {
	COMMAND_OPTION_CONFIG,
	COMMAND_OPTION_OUTPUT,
	COMMAND_OPTION_END,
};
static const struct command_option only_config[] = {
	COMMAND_OPTION_CONFIG,
	COMMAND_OPTION_END,
};

static const char pause_one[] =
	"WITH done AS (UPDATE homeward.webhooks SET pause_reason = CASE WHEN paused_at IS NULL THEN 'operator'"
	" ELSE pause_reason END, paused_at = coalesce(paused_at, now()) WHERE name = $1 RETURNING name)"
	" SELECT count(*), 0, pg_notify('homeward_webhooks', '') FROM done";
static const char resume_one[] =
	"WITH done AS (UPDATE homeward.webhooks SET paused_at = NULL, pause_reason = '', resumed_at = now()"
	" WHERE name = $1 RETURNING name), due AS (UPDATE homeward.webhook_deliveries SET next_at = now()"
	" WHERE webhook = $1 AND next_at > now())"
	" SELECT count(*), (SELECT count(*) FROM homeward.webhook_deliveries WHERE webhook = $1),"
	" pg_notify('homeward_webhooks', '') FROM done";
/* What was erased since has no event any more, neither in its dead letter nor in the inbox. */
static const char redeliver_all[] =
	"WITH hook AS (SELECT name, keep FROM homeward.webhooks WHERE name = $1),"
	" letters AS (SELECT seq, convert_from(body, 'UTF8')::jsonb AS e FROM homeward.dead_letters"
	" WHERE reason = 'webhook' AND starts_with(detail, $1 || ': ') AND length(body) > 2),"
	" again AS (INSERT INTO homeward.webhook_deliveries (webhook, origin, source, id, stream, expires_at)"
	" SELECT h.name, i.origin, i.source, i.id, homeward.webhook_stream(i.origin, i.source, i.subject), now() + "
	"h.keep"
	" FROM hook h CROSS JOIN letters l JOIN homeward.inbox i ON (i.origin, i.source, i.id) ="
	" (l.e->>'originregion', l.e->>'source', l.e->>'id') WHERE i.event <> '{}' ORDER BY l.seq"
	" ON CONFLICT DO NOTHING RETURNING origin, source, id),"
	" gone AS (DELETE FROM homeward.dead_letters d USING letters l, again a WHERE d.seq = l.seq"
	" AND (a.origin, a.source, a.id) = (l.e->>'originregion', l.e->>'source', l.e->>'id'))"
	" SELECT (SELECT count(*) FROM hook), (SELECT count(*) FROM again), pg_notify('homeward_webhooks', '')";

static int run_ls(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward events webhooks", "",
		"Lists webhooks: events that wait for each and for how long the oldest has, what the last attempt was\n"
		"answered and how long ago, events delivered, attempts that failed, and events that became dead\n"
		"letters.  State `removed`: not in the settings any more; what waits for it waits until it expires.",
		only_common, "homeward events webhooks -o json\n" };
	static const struct output_column columns[] = { { "webhook", OUTPUT_TEXT }, { "state", OUTPUT_TEXT },
		{ "pending", OUTPUT_NUMBER }, { "oldest_s", OUTPUT_NUMBER }, { "last", OUTPUT_TEXT },
		{ "last_s", OUTPUT_NUMBER }, { "delivered", OUTPUT_NUMBER }, { "failures", OUTPUT_NUMBER },
		{ "dead", OUTPUT_NUMBER } };

	return command_show_table(&usage, argc, argv,
		"SELECT w.name, CASE WHEN NOT is_configured THEN 'removed' WHEN paused_at IS NOT NULL THEN 'paused: ' "
		"||"
		" pause_reason WHEN last <> '' AND last NOT LIKE '2__' THEN 'failing' ELSE 'running' END, d.pending,"
		" d.oldest_s, last, greatest(0, extract(epoch FROM now() - last_at))::bigint, delivered, failures, dead"
		" FROM homeward.webhooks w LEFT JOIN LATERAL (SELECT count(*) AS pending,"
		" greatest(0, extract(epoch FROM now() - min(created_at)))::bigint AS oldest_s"
		" FROM homeward.webhook_deliveries WHERE webhook = w.name) AS d ON true ORDER BY w.name",
		columns, 9);
}

/* A statement about the one webhook named; said: a line with its name, and how many events it is about. */
static int change(const struct command_usage *usage, int argc, char **argv, const char *sql, const char *said)
{
	struct command_work work;

	if (command_work_begin(&work, usage, argc, argv, 1)) {
		const char *const parameters[] = { work.line.arguments[0] };

		if (command_work_query(&work, sql, parameters, 1)) {
			if (strcmp(PQgetvalue(work.rows, 0, 0), "0") == 0)
				work.exit_code = command_fail(
					EXIT_CODE_FAILED, "there is no webhook %s", parameters[0]);
			else
				printf("%s %s: %s waiting\n", parameters[0], said, PQgetvalue(work.rows, 0, 1));
		}
	}
	return command_work_finish(&work);
}

static int run_pause(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward events webhooks pause", "NAME",
		"Sends nothing more to a webhook; what comes for it waits, until it expires.  Attempts under way end.",
		only_config, "homeward events webhooks pause billing\n" };

	return change(&usage, argc, argv, pause_one, "is paused");
}

static int run_resume(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward events webhooks resume", "NAME",
		"Sends to a webhook again that was paused, by an operator or by its answer 410.  One that waits after\n"
		"failures is tried at once.",
		only_config, "homeward events webhooks resume billing\n" };

	return change(&usage, argc, argv, resume_one, "is resumed");
}

static int run_redeliver(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward events webhooks redeliver", "NAME",
		"Hands a webhook's dead letters to it again, in their order, and removes them from the dead letters.\n"
		"They come after what waits already; each is kept as long as a new event.",
		only_config, "homeward events webhooks redeliver billing\n" };

	return change(&usage, argc, argv, redeliver_all, "gets its dead letters again");
}

int command_events_webhooks(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "ls", run_ls, "list webhooks and how they stand" },
		{ "pause", run_pause, "send nothing more to one" },
		{ "resume", run_resume, "send to it again, at once" },
		{ "redeliver", run_redeliver, "hand its dead letters to it again" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward events webhooks",
		"Addresses that events of this region are posted to.", entries,
		"homeward events webhooks\nhomeward events webhooks resume billing\n" };

	/* Without a subcommand it is `ls`, as `dead` is. */
	if (argc == 1 || (argv[1][0] == '-' && strcmp(argv[1], "-h") != 0 && strcmp(argv[1], "--help") != 0))
		return run_ls(argc, argv);
	return command_group_run(&group, argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward events outbox|inbox|dead`: what the tables of events hold, so that
 * operators need no SQL.  Counts only, but for dead letters: each of those is a
 * case of its own.  `dead` shows why an event was not taken, which may quote it:
 * whoever may read the database may read that.
 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/events.h"
#include "federation/federation.h"

enum { OPTION_LIMIT = COMMAND_ID_FIRST, OPTION_REASON, OPTION_CONFIRM };

#define LIMIT_MAX 10000
#define SEQ_SIZE 24
#define AT DATABASE_TIME_S("at")

static const struct command_option only_common[] = {
	COMMAND_OPTION_CONFIG,
	COMMAND_OPTION_OUTPUT,
	COMMAND_OPTION_END,
};

int command_events_outbox(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward events outbox", "",
		"Counts the events of the outbox by destination and state.  waiting: not sent yet; put_off: tried, and "
		"tried\n"
		"again; sent: without a receipt yet; broadcast: sent, and wants none; refused: may never leave; and "
		"what the\n"
		"destination said of the others (applied, expired, refused_there, dead).",
		only_common, "homeward events outbox -o json\n" };
	static const struct output_column columns[] = { { "destination", OUTPUT_TEXT }, { "state", OUTPUT_TEXT },
		{ "events", OUTPUT_NUMBER }, { "oldest_s", OUTPUT_NUMBER } };

	return command_show_table(&usage, argc, argv,
		"SELECT destination, state, count(*), greatest(0, extract(epoch FROM now() - min(created_at)))::bigint"
		" FROM (SELECT destination, created_at, CASE WHEN refused_at IS NOT NULL THEN 'refused'"
		" WHEN receipt = 'refused' THEN 'refused_there' WHEN receipted_at IS NOT NULL THEN receipt"
		" WHEN sent_at IS NOT NULL AND destination = 'all' THEN 'broadcast' WHEN sent_at IS NOT NULL THEN "
		"'sent'"
		" WHEN attempts > 0 THEN 'put_off' ELSE 'waiting' END AS state FROM homeward.outbox) AS o"
		" GROUP BY destination, state ORDER BY destination, state",
		columns, 4);
}

int command_events_inbox(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward events inbox", "",
		"Counts the events that were taken, by origin and type.  undelivered: not passed on to "
		"homeward.delivered\n"
		"yet; newest_s: since the last one came.",
		only_common, "homeward events inbox\n" };
	static const struct output_column columns[] = { { "origin", OUTPUT_TEXT }, { "type", OUTPUT_TEXT },
		{ "events", OUTPUT_NUMBER }, { "undelivered", OUTPUT_NUMBER }, { "oldest_s", OUTPUT_NUMBER },
		{ "newest_s", OUTPUT_NUMBER } };

	return command_show_table(&usage, argc, argv,
		"SELECT origin, type, count(*), count(*) FILTER (WHERE delivered_at IS NULL),"
		" greatest(0, extract(epoch FROM now() - min(received_at)))::bigint,"
		" greatest(0, extract(epoch FROM now() - max(received_at)))::bigint"
		" FROM homeward.inbox GROUP BY origin, type ORDER BY origin, type",
		columns, 6);
}

static int run_ls(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_REASON, "reason", "WORD",
			"only those: submitted, malformed, forged, expired, refused, webhook" },
		{ OPTION_LIMIT, "limit", "N", "at most so many, the newest (50)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward events dead", "[--reason WORD] [--limit N]",
		"Lists dead letters, the newest first: what came and could not be taken, and why.", options,
		"homeward events dead --reason submitted\n" };
	static const struct output_column columns[] = { { "number", OUTPUT_NUMBER }, { "at", OUTPUT_TEXT },
		{ "reason", OUTPUT_TEXT }, { "key", OUTPUT_TEXT }, { "bytes", OUTPUT_NUMBER },
		{ "detail", OUTPUT_TEXT } };
	const char *parameters[] = { "", NULL };
	struct command_line line;
	char limit[SEQ_SIZE];
	int64_t number = 50;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_REASON)
			parameters[0] = line.value;
		else
			(void)command_line_number(&line, 1, LIMIT_MAX, &number);
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	(void)snprintf(limit, sizeof(limit), "%lld", (long long)number);
	parameters[1] = limit;
	return command_show_rows(&line,
		"SELECT seq, " AT ", reason, routing_key,"
		" length(body), detail FROM homeward.dead_letters WHERE $1 = '' OR reason = $1"
		" ORDER BY seq DESC LIMIT $2::bigint",
		parameters, 2, columns, 6);
}

/* The one dead letter, into `body`; an exit code. */
static int read_letter(struct database_session *session, const char *number, struct strbuf *body, struct strbuf *why)
{
	PGresult *rows = NULL;
	const char *reason;
	int exit_code = EXIT_CODE_OK;
	unsigned char *bytes;
	size_t size = 0;
	enum status status = database_session_query(session,
		"SELECT reason, body FROM homeward.dead_letters WHERE seq = $1::bigint", &number, 1,
		COMMAND_STATEMENT_MS, &rows, why);

	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", why->data);
	if (PQntuples(rows) == 0) {
		PQclear(rows);
		return command_fail(EXIT_CODE_FAILED, "there is no dead letter %s", number);
	}
	reason = PQgetvalue(rows, 0, 0);
	if (strcmp(reason, "submitted") != 0) {
		exit_code = command_fail(EXIT_CODE_FAILED,
			strcmp(reason, "forged") == 0 ? "dead letter %s was forged: nobody sends it again"
			: strcmp(reason, "webhook") == 0
				? "dead letter %s was taken here: `homeward events webhooks redeliver NAME`"
				: "dead letter %s came from another region, which has it still: "
				  "there, `homeward events resend ID`",
			number);
	} else {
		bytes = PQunescapeBytea((const unsigned char *)PQgetvalue(rows, 0, 1), &size);
		if (bytes != NULL)
			strbuf_add(body, (const char *)bytes, size);
		PQfreemem(bytes);
	}
	PQclear(rows);
	return exit_code;
}

static int put_back(const struct command_line *line, const char *number)
{
	struct database_session *session = NULL;
	struct strbuf body = STRBUF_INIT, why = STRBUF_INIT;
	struct settings *settings = NULL;
	int exit_code = command_database(line, &settings, &session);
	enum status status;

	if (exit_code == EXIT_CODE_OK)
		exit_code = read_letter(session, number, &body, &why);
	if (exit_code != EXIT_CODE_OK)
		goto out;
	if (settings->events.broker[0] == '\0') {
		exit_code = command_fail(EXIT_CODE_CONFIGURATION, "%s: no events.broker", line->config);
		goto out;
	}
	status = events_put_back(settings, body.data, body.length, &why);
	/* Only when the broker has it. */
	if (status == STATUS_OK)
		status = database_session_query(session, "DELETE FROM homeward.dead_letters WHERE seq = $1::bigint",
			&number, 1, COMMAND_STATEMENT_MS, NULL, &why);
	if (status == STATUS_OK)
		printf("dead letter %s is in homeward.submit again\n", number);
	else
		exit_code = command_fail(command_exit_code(status), "%s", why.data);
out:
	database_session_close(session);
	settings_destroy(settings);
	strbuf_release(&body);
	strbuf_release(&why);
	return exit_code;
}

static int run_requeue(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_CONFIRM, "confirm", "NUMBER", "the same number: the dead letter is gone afterwards" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward events dead requeue", "NUMBER --confirm NUMBER",
		"Hands a dead letter with the reason `submitted` in again, to homeward.submit, and removes it: when "
		"what was\n"
		"wrong was a schema or a rule, and is right by now.  What came from another region that region has "
		"still:\n"
		"there, `homeward events resend ID`.  Exit code 77: not confirmed.",
		options, "homeward events dead requeue 17 --confirm 17\n" };
	const char *confirm = NULL;
	struct command_line line;

	command_line_begin(&line, &usage, argc, argv);
	while (command_line_next(&line) != COMMAND_LINE_END)
		confirm = line.value;
	if (!command_line_expect(&line, 1, 1))
		return line.exit_code;
	const char *number = line.arguments[0];
	if (number[0] == '\0' || strlen(number) > 18 || number[strspn(number, "0123456789")] != '\0')
		return command_line_wrong(&line, "NUMBER is that of `homeward events dead`");
	if (confirm == NULL || strcmp(confirm, number) != 0)
		return command_fail(EXIT_CODE_NOT_PERMITTED,
			"the dead letter is removed when it is handed in: type --confirm %s; nothing was done", number);
	return put_back(&line, number);
}

int command_events_dead(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "ls", run_ls, "list dead letters and why they are dead" },
		{ "requeue", run_requeue, "hand one in again" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward events dead",
		"Events that came and could not be taken: from local producers, and from other regions.", entries,
		"homeward events dead\nhomeward events dead requeue 17 --confirm 17\n" };

	/* Without a subcommand it is `ls`, as `outbox` and `inbox` are. */
	if (argc == 1 || (argv[1][0] == '-' && strcmp(argv[1], "-h") != 0 && strcmp(argv[1], "--help") != 0))
		return run_ls(argc, argv);
	return command_group_run(&group, argc, argv);
}

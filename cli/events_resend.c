/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward events resend`: has an event of the outbox sent again, under the same
 * id.  Its destination takes it once: one that was taken there is a duplicate, as
 * long as the inbox remembers it; since it may not any more, sending what was
 * applied again wants its id typed.
 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/events.h"

enum { OPTION_SOURCE = COMMAND_ID_FIRST, OPTION_CONFIRM };

static const char find_event[] =
	"SELECT source, destination, CASE WHEN sent_at IS NULL AND refused_at IS NULL THEN 'waiting'"
	" ELSE coalesce(nullif(receipt, ''), 'none') END FROM homeward.outbox WHERE id = $1 AND ($2 = '' OR source = "
	"$2)"
	" ORDER BY source LIMIT 2";
/* One statement, one transaction: the publisher is told when it is done. */
static const char send_again[] =
	"WITH again AS (UPDATE homeward.outbox SET sent_at = NULL, receipted_at = NULL, receipt = '', refused_at = "
	"NULL,"
	" reason = '', attempts = 0, resends = 0, next_at = now() WHERE id = $1 AND source = $2"
	" AND (sent_at IS NOT NULL OR refused_at IS NOT NULL) RETURNING seq)"
	" SELECT count(*), pg_notify('homeward_outbox', '') FROM again";

static int resend(
	struct database_session *session, const char *id, const char *source, const char *confirm, struct strbuf *why)
{
	const char *parameters[] = { id, source };
	PGresult *rows = NULL;
	int exit_code = EXIT_CODE_OK;
	enum status status = database_session_query(
		session, find_event, parameters, 2, COMMAND_STATEMENT_MS, &rows, why);

	if (status != STATUS_OK) {
		exit_code = command_fail(command_exit_code(status), "%s", why->data);
	} else if (PQntuples(rows) == 0) {
		exit_code = command_fail(EXIT_CODE_FAILED, "the outbox has no event %s", id);
	} else if (PQntuples(rows) > 1) {
		exit_code = command_fail(EXIT_CODE_FAILED, "%s is an id of several sources: say --source %s or another",
			id, PQgetvalue(rows, 0, 0));
	} else if (strcmp(PQgetvalue(rows, 0, 2), "waiting") == 0) {
		exit_code = command_fail(EXIT_CODE_FAILED, "%s waits to be sent already", id);
	} else if (strcmp(PQgetvalue(rows, 0, 2), "applied") == 0 && (confirm == NULL || strcmp(confirm, id) != 0)) {
		exit_code = command_fail(EXIT_CODE_NOT_PERMITTED,
			"%s was applied in %s; were it forgotten there, it would be applied twice: type --confirm %s; "
			"nothing "
			"was done",
			id, PQgetvalue(rows, 0, 1), id);
	} else {
		parameters[1] = PQgetvalue(rows, 0, 0);
		status = database_session_query(session, send_again, parameters, 2, COMMAND_STATEMENT_MS, NULL, why);
		if (status == STATUS_OK)
			printf("%s is sent to %s again\n", id, PQgetvalue(rows, 0, 1));
		else
			exit_code = command_fail(command_exit_code(status), "%s", why->data);
	}
	PQclear(rows);
	return exit_code;
}

int command_events_resend(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_SOURCE, "source", "TEXT", "its source, when several have an event of this id" },
		{ OPTION_CONFIRM, "confirm", "ID", "the same id: for an event that was applied already" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward events resend", "ID [--source TEXT] [--confirm ID]",
		"Sends an event of the outbox again, under the same id: one that was refused, was given up, or became "
		"a dead\n"
		"letter where it was sent, once the cause is mended.  Schema and policy are asked again.  Exit code "
		"77: it was\n"
		"applied already, and this was not confirmed.",
		options, "homeward events resend 7f1c0a5e-8a54-4a53-9d0f-3f0b8c0f2a11\n" };
	const char *source = "", *confirm = NULL;
	struct command_line line;
	struct command_work work;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_SOURCE)
			source = line.value;
		else
			confirm = line.value;
	}
	if (!command_line_expect(&line, 1, 1))
		return line.exit_code;
	if (command_work_open(&work, &line))
		work.exit_code = resend(work.session, line.arguments[0], source, confirm, &work.why);
	return command_work_finish(&work);
}

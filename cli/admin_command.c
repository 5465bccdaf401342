/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every command that asks a running daemon does: read the line, find the
 * admin listener (--admin, or the settings), make one call, show its answer.
 */
#include "cli/admin_client.h"

int admin_command(const struct command_usage *usage, int argc, char **argv, const char *method, const char *path,
	int (*show)(int http_status, const struct strbuf *body, enum output_format format))
{
	struct strbuf where = STRBUF_INIT, body = STRBUF_INIT, why = STRBUF_INIT;
	int http_status, exit_code = EXIT_CODE_CONFIGURATION;
	enum status status = STATUS_OK;
	struct command_line line;

	command_line_begin(&line, usage, argc, argv);
	while (command_line_next(&line) != COMMAND_LINE_END)
		strbuf_adds(&where, line.value);
	if (!command_line_expect(&line, 0, 0)) {
		exit_code = line.exit_code;
		goto out;
	}
	if (where.length == 0)
		status = admin_where(line.config, &where);
	if (status != STATUS_OK)
		goto out;
	status = admin_call(where.data, method, path, ADMIN_CALL_MS, &http_status, &body, &why);
	exit_code = status == STATUS_OK ? show(http_status, &body, line.format)
					: command_fail(command_exit_code(status), "%s", why.data);
out:
	strbuf_release(&where);
	strbuf_release(&body);
	strbuf_release(&why);
	return exit_code;
}

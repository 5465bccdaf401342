/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward reload`: the same as SIGHUP, but the answer comes back: what was
 * applied, what needs a restart, or why nothing was changed.
 */
#include <stdio.h>

#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/command.h"

enum { OPTION_ADMIN = COMMAND_ID_FIRST };

static void print_list(const json_t *answer, const char *member, const char *title)
{
	const json_t *list = json_object_get(answer, member);

	if (json_array_size(list) == 0)
		return;
	printf("%s:\n", title);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *key = json_string_value(json_array_get(list, i));

		if (key != NULL)
			printf("  %s\n", key);
	}
}

static int show(int http_status, const struct strbuf *body, enum output_format format)
{
	json_t *answer = NULL;
	int exit_code = EXIT_CODE_OK;

	(void)format;
	if (json_parse(body->data, body->length, &answer, NULL) != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "the daemon answered %d and nothing readable", http_status);
	if (http_status == 200) {
		print_list(answer, "applied", "applied");
		print_list(answer, "restart_needed", "needs a restart");
		if (json_array_size(json_object_get(answer, "applied")) == 0 &&
			json_array_size(json_object_get(answer, "restart_needed")) == 0)
			printf("reloaded; no setting differs\n");
	} else {
		const char *detail = json_get_string(answer, "detail");

		exit_code = command_fail(
			EXIT_CODE_FAILED, "refused, nothing is changed:\n%s", detail != NULL ? detail : body->data);
	}
	json_decref(answer);
	return exit_code;
}

int command_reload(int argc, char **argv)
{
	static const struct command_option options[] = {
		ADMIN_OPTION_ROW(OPTION_ADMIN),
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward reload", "[--admin WHERE]",
		"Makes the running daemon read its settings, policy, certificates, CRL and mesh file again: all or "
		"nothing.\n"
		"Exit code 0: done; 1: refused, with the reasons; 69: no daemon answers.",
		options, "homeward reload\nhomeward reload --admin http://127.0.0.1:7401\n" };

	return admin_command(&usage, argc, argv, "POST", "/admin/v1/reload", show);
}

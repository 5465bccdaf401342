/* SPDX-License-Identifier: Apache-2.0 */
/* `homeward policy shadow`: how a second policy would have decided on what a running daemon decided. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/policy_command.h"

enum { OPTION_ADMIN = COMMAND_ID_FIRST };

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_get_string(object, key);

	return text != NULL ? text : "";
}

static int show_rows(const json_t *answer, enum output_format format)
{
	static const struct output_column columns[] = { { "rule", OUTPUT_TEXT }, { "kind", OUTPUT_TEXT },
		{ "count", OUTPUT_NUMBER }, { "example", OUTPUT_TEXT } };
	struct output *output = output_create(stdout, format, columns, sizeof(columns) / sizeof(columns[0]));
	const json_t *rows = json_object_get(answer, "differences");

	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		char count[24];

		snprintf(count, sizeof(count), "%" PRId64, (int64_t)json_integer_value(json_object_get(row, "count")));
		output_row(output, (const char *const[]){ text_of(row, "rule"), text_of(row, "kind"), count,
					   text_of(row, "example") });
	}
	return output_finish(output);
}

static int show(int http_status, const struct strbuf *body, enum output_format format)
{
	json_t *answer = NULL;
	int exit_code = EXIT_CODE_OK;

	if (http_status != 200 || json_parse(body->data, body->length, &answer, NULL) != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "the daemon answered %d and nothing readable", http_status);
	if (json_is_null(json_object_get(answer, "shadow"))) {
		exit_code = command_fail(EXIT_CODE_FAILED, "no shadow policy: set policy.shadow_file and reload");
	} else {
		if (format == OUTPUT_TABLE)
			printf("%s in force, %s in its shadow: %" PRId64 " decisions, %" PRId64 " of them the same\n",
				text_of(answer, "in_force"), text_of(answer, "shadow"),
				(int64_t)json_integer_value(json_object_get(answer, "decided")),
				(int64_t)json_integer_value(json_object_get(answer, "same")));
		exit_code = show_rows(answer, format);
	}
	json_decref(answer);
	return exit_code;
}

int policy_run_shadow(int argc, char **argv)
{
	static const struct command_option options[] = { ADMIN_OPTION_ROW(OPTION_ADMIN), COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy shadow", "[--admin WHERE]",
		"How the policy of the setting policy.shadow_file would have decided on what a running daemon decided\n"
		"since its last reload: where they differ, by rule, with one request each.  It is never enforced.",
		options, "homeward policy shadow\n" };

	return admin_command(&usage, argc, argv, "GET", "/admin/v1/policy/shadow", show);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward subject`: what the law lets people ask for.  The running daemon does it,
 * because it has the caches and the access log; the id goes to its admin listener in
 * a body and is neither logged nor kept.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/subject.h"

#define WAIT_STEP_NS 100000000L
#define WAIT_MAX_S 86400

bool subject_options_init(struct subject_options *options, const struct command_usage *usage, int argc, char **argv,
	int arguments, int64_t wait_s)
{
	struct command_line *line = &options->line;

	strbuf_init(&options->where);
	options->reason = "";
	options->wait_s = wait_s;
	command_line_begin(line, usage, argc, argv);
	for (int id; (id = command_line_next(line)) != COMMAND_LINE_END;) {
		if (id == SUBJECT_OPTION_REASON)
			options->reason = line->value;
		else if (id == SUBJECT_OPTION_ADMIN)
			strbuf_adds(&options->where, line->value);
		else if (!command_line_number(line, 0, WAIT_MAX_S, &options->wait_s))
			break;
	}
	if (!command_line_expect(line, arguments, arguments))
		return false;
	if (options->where.length > 0 || admin_where(line->config, &options->where) == STATUS_OK)
		return true;
	line->exit_code = EXIT_CODE_CONFIGURATION;
	return false;
}

void subject_options_release(struct subject_options *options)
{
	strbuf_release(&options->where);
}

json_t *subject_call(const char *where, const char *method, const char *path, const char *sent, int *exit_code)
{
	struct strbuf body = STRBUF_INIT, why = STRBUF_INIT;
	json_t *answer = NULL;
	int http_status = 0;
	enum status status = admin_send(where, method, path, sent, ADMIN_CALL_MS, &http_status, &body, &why);

	if (status != STATUS_OK) {
		*exit_code = command_fail(command_exit_code(status), "%s", why.data);
	} else if (http_status != 200) {
		const char *detail = json_parse(body.data, body.length, &answer, NULL) == STATUS_OK
					     ? json_get_string(answer, "detail")
					     : NULL;

		*exit_code = command_fail(http_status < 500 ? EXIT_CODE_DATA : EXIT_CODE_FAILED, "%s",
			detail != NULL ? detail : "the daemon cannot do that now");
		json_decref(answer);
		answer = NULL;
	} else if (json_parse(body.data, body.length, &answer, NULL) != STATUS_OK) {
		*exit_code = command_fail(EXIT_CODE_FAILED, "the daemon answered nothing readable");
	}
	strbuf_release(&body);
	strbuf_release(&why);
	return answer;
}

static size_t count_pending(const json_t *erasures, const char *erasure)
{
	size_t index, pending = 0;
	json_t *one;

	json_array_foreach(erasures, index, one)
	{
		const char *id = json_get_string(one, "erasure"), *state = json_get_string(one, "state");

		if (id != NULL && strcmp(id, erasure) == 0 && state != NULL && strcmp(state, "pending") == 0)
			pending++;
	}
	return pending;
}

int subject_await_regions(const char *where, const char *erasure, int64_t regions, int64_t wait_s)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + wait_s * 1000;
	struct timespec step = { 0, WAIT_STEP_NS };
	int exit_code = EXIT_CODE_OK;
	size_t pending = (size_t)regions;

	while (regions > 0) {
		json_t *erasures = subject_call(where, "GET", "/admin/v1/subjects/erasures", "", &exit_code);

		if (erasures == NULL)
			return exit_code;
		pending = count_pending(erasures, erasure);
		json_decref(erasures);
		if (pending == 0 || clock_monotonic_ms(clock_system()) >= end_ms)
			break;
		nanosleep(&step, NULL);
	}
	printf("%" PRId64 " of %" PRId64 " regions have acknowledged%s\n", regions - (int64_t)pending, regions,
		pending > 0 ? "; the others are told again until they do" : "");
	return pending > 0 ? EXIT_CODE_TRY_AGAIN : EXIT_CODE_OK;
}

static int erase(const struct subject_options *asked)
{
	const char *where = asked->where.data, *type = asked->line.arguments[0], *id = asked->line.arguments[1];
	struct strbuf sent = STRBUF_INIT;
	int exit_code = EXIT_CODE_OK;
	int64_t records = 0, regions = 0;
	const char *erasure;
	json_t *answer;

	strbuf_adds(&sent, "{\"type\":");
	strbuf_add_json(&sent, type, strlen(type));
	strbuf_adds(&sent, ",\"id\":");
	strbuf_add_json(&sent, id, strlen(id));
	strbuf_addc(&sent, '}');
	answer = subject_call(where, "POST", "/admin/v1/subjects/erase", sent.data, &exit_code);
	strbuf_release(&sent);
	if (answer == NULL)
		return exit_code;
	erasure = json_get_string(answer, "erasure");
	(void)json_get_integer(answer, "records", &records);
	(void)json_get_integer(answer, "regions", &regions);
	printf("erasure %s: the key is destroyed, %s\n", erasure != NULL ? erasure : "?",
		records > 0 ? "the record deleted" : "there was no record here");
	exit_code = subject_await_regions(where, erasure != NULL ? erasure : "", regions, asked->wait_s);
	json_decref(answer);
	return exit_code;
}

static int run_erase(int argc, char **argv)
{
	static const struct command_option options[] = {
		ADMIN_OPTION_ROW(SUBJECT_OPTION_ADMIN),
		{ SUBJECT_OPTION_WAIT, "wait", "SECONDS", "for other regions' acknowledgements (default 10)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward subject erase", "TYPE ID [--wait SECONDS]",
		"Erases a subject at its home: destroys its key, so that the access log's entries are nobody's;\n"
		"deletes its record, route and visits; and has every region that was sent something forget it.\n"
		"Exit code 75: a region has not acknowledged yet; it is told again until it does.",
		options, "homeward subject erase token 04A2B3C4D5E6F7\n" };
	struct subject_options asked;
	int exit_code;

	exit_code = subject_options_init(&asked, &usage, argc, argv, 2, SUBJECT_WAIT_S) ? erase(&asked)
											: asked.line.exit_code;
	subject_options_release(&asked);
	return exit_code;
}

static int show_erasures(int http_status, const struct strbuf *body, enum output_format format)
{
	static const struct output_column columns[] = { { "erasure", OUTPUT_TEXT }, { "region", OUTPUT_TEXT },
		{ "type", OUTPUT_TEXT }, { "state", OUTPUT_TEXT }, { "requested_at", OUTPUT_TEXT },
		{ "acknowledged_at", OUTPUT_TEXT } };
	struct output *output;
	json_t *erasures = NULL, *one;
	size_t index;

	if (http_status != 200 || json_parse(body->data, body->length, &erasures, NULL) != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "the daemon answered %d and nothing readable", http_status);
	output = output_create(stdout, format, columns, 6);
	json_array_foreach(erasures, index, one)
	{
		const char *cells[6];

		for (int i = 0; i < 6; i++)
			cells[i] = json_get_string(one, columns[i].name);
		output_row(output, cells);
	}
	json_decref(erasures);
	return output_finish(output);
}

static int run_erasures(int argc, char **argv)
{
	static const struct command_option options[] = {
		ADMIN_OPTION_ROW(SUBJECT_OPTION_ADMIN),
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward subject erasures", "",
		"Lists erasures and the regions that were told, and which of them have acknowledged.", options,
		"homeward subject erasures -o json\n" };

	return admin_command(&usage, argc, argv, "GET", "/admin/v1/subjects/erasures", show_erasures);
}

int command_subject(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "erase", run_erase, "destroy its key, delete it here, and have other regions forget it" },
		{ "erasures", run_erasures, "what was erased, and who has acknowledged" },
		{ "restrict", subject_restrict,
			"nothing of it crosses any more but what the policy lets a restricted one" },
		{ "unrestrict", subject_unrestrict, "take that back" },
		{ "access-report", subject_access_report, "what crossed about it, with a receipt of each entry" },
		{ "change-master-key", subject_change_master_key, "another key around all subjects' keys" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward subject", "What people may ask for about their data.",
		entries, "homeward subject erase token 04A2B3C4D5E6F7\n" };

	return command_group_run(&group, argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward subject restrict` and `unrestrict`, and `homeward consent set`: each sets one flag of a
 * subject at its home, in the record or beside it, which the daemon does and puts on record; then
 * it awaits the regions that were told to forget their copies.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/subject.h"

static const struct command_option options[] = {
	{ SUBJECT_OPTION_REASON, "reason", "TEXT", "for the access log; no personal data" },
	{ SUBJECT_OPTION_WAIT, "wait", "SECONDS", "for other regions' acknowledgements (default 10)" },
	ADMIN_OPTION_ROW(SUBJECT_OPTION_ADMIN),
	COMMAND_OPTION_CONFIG,
	COMMAND_OPTION_END,
};

static int set(const struct subject_options *asked, const char *flag, const char *value)
{
	json_t *body = json_pack("{s:s,s:s,s:s,s:s,s:s}", "type", asked->line.arguments[0], "id",
		asked->line.arguments[1], "flag", flag, "value", value, "reason", asked->reason);
	struct strbuf sent = STRBUF_INIT;
	int64_t version = 0, regions = 0;
	int exit_code = EXIT_CODE_OK;
	json_t *answer = NULL;

	if (body == NULL || json_write(body, &sent) != STATUS_OK)
		exit_code = command_fail(EXIT_CODE_DATA, "type, id and reason must be UTF-8");
	else
		answer = subject_call(asked->where.data, "POST", "/admin/v1/subjects/flag", sent.data, &exit_code);
	if (answer != NULL) {
		const char *request = json_get_string(answer, "request");

		(void)json_get_integer(answer, "version", &version);
		(void)json_get_integer(answer, "regions", &regions);
		if (version > 0)
			printf("%s = %s, version %" PRId64 " of the record\n", flag, value, version);
		else
			printf("%s = %s, kept beside the record, which another system has\n", flag, value);
		exit_code = subject_await_regions(
			asked->where.data, request != NULL ? request : "", regions, asked->wait_s);
	}
	json_decref(answer);
	json_decref(body);
	strbuf_release(&sent);
	return exit_code;
}

static int run(const struct command_usage *usage, int argc, char **argv, const char *value)
{
	struct subject_options asked;
	int exit_code;

	exit_code = subject_options_init(&asked, usage, argc, argv, 2, SUBJECT_WAIT_S)
			    ? set(&asked, "subject.restricted", value)
			    : asked.line.exit_code;
	subject_options_release(&asked);
	return exit_code;
}

int subject_restrict(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward subject restrict", "TYPE ID [--reason TEXT]",
		"Restricts a subject at its home (GDPR, article 18): sets subject.restricted, by which the\n"
		"policy forbids crossings, and has every region that was sent something forget its copies.\n"
		"Exit code 75: a region has not acknowledged yet; it is told again until it does.",
		options, "homeward subject restrict token 04A2B3C4D5E6F7 --reason ticket-311\n" };

	return run(&usage, argc, argv, "yes");
}

int subject_unrestrict(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward subject unrestrict", "TYPE ID [--reason TEXT]",
		"Takes a restriction back.", options,
		"homeward subject unrestrict token 04A2B3C4D5E6F7 --reason ticket-311\n" };

	return run(&usage, argc, argv, "no");
}

static int consent_set(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward consent set",
		"TYPE ID PURPOSE granted|withdrawn [--reason TEXT]",
		"Notes at a subject's home what it has consented to: sets subject.consent_PURPOSE, as the\n"
		"policy names it, and has every region that was sent something forget its copies.",
		options, "homeward consent set token 04A2B3C4D5E6F7 analytics granted --reason form-12\n" };
	struct strbuf flag = STRBUF_INIT;
	struct subject_options asked;
	int exit_code;

	if (!subject_options_init(&asked, &usage, argc, argv, 4, SUBJECT_WAIT_S)) {
		exit_code = asked.line.exit_code;
	} else {
		const char *value = asked.line.arguments[3];

		strbuf_addf(&flag, "subject.consent_%s", asked.line.arguments[2]);
		if (strcmp(value, "granted") != 0 && strcmp(value, "withdrawn") != 0)
			exit_code = command_line_wrong(&asked.line, "consent is granted or withdrawn, not `%s`", value);
		else
			exit_code = set(&asked, flag.data, value);
	}
	strbuf_release(&flag);
	subject_options_release(&asked);
	return exit_code;
}

int command_consent(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "set", consent_set, "what a subject has consented to" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward consent", "What people have consented to.", entries,
		"homeward consent set token 04A2B3C4D5E6F7 analytics granted\n" };

	return command_group_run(&group, argc, argv);
}

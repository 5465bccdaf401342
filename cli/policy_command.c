/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward policy`: checks a policy file as the daemon would, and explains one
 * decision.  Explaining works on the file and on attributes given by hand: it
 * reads no record and asks no database, so that it can be tried anywhere and
 * shows nobody's data.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/policy_command.h"

enum {
	OPTION_POLICY = COMMAND_ID_FIRST,
	OPTION_OPERATION,
	OPTION_REQUESTER,
	OPTION_TO,
	OPTION_TYPE,
	OPTION_PURPOSE,
	OPTION_CALLER,
	OPTION_STATION_REGION,
	OPTION_ROAMING,
	OPTION_RECORD,
	OPTION_AT
};

typedef enum status read_file(const char *path, struct policy **policy_out, struct strbuf *why);

static int read_policy(const struct command_line *line, const char *path, read_file *read, struct policy **policy_out)
{
	struct settings *settings = NULL;
	struct strbuf why = STRBUF_INIT;
	int exit_code = EXIT_CODE_OK;
	enum status status;

	*policy_out = NULL;
	if (path == NULL) {
		exit_code = command_settings(line->config, &settings);
		if (exit_code == EXIT_CODE_OK)
			path = settings->policy.file;
		if (exit_code == EXIT_CODE_OK && path == NULL)
			exit_code = command_fail(EXIT_CODE_CONFIGURATION, "%s names no policy file", line->config);
	}
	if (exit_code == EXIT_CODE_OK) {
		status = read(path, policy_out, &why);
		if (status != STATUS_OK) {
			fprintf(stderr, "%s%s", why.data,
				why.length > 0 && why.data[why.length - 1] == '\n' ? "" : "\n");
			exit_code = status == STATUS_INVALID ? EXIT_CODE_CONFIGURATION : command_exit_code(status);
		}
	}
	strbuf_release(&why);
	settings_destroy(settings);
	return exit_code;
}

int policy_command_read(const struct command_line *line, const char *path, struct policy **policy_out)
{
	return read_policy(line, path, policy_read, policy_out);
}

int policy_command_read_untested(const struct command_line *line, const char *path, struct policy **policy_out)
{
	return read_policy(line, path, policy_read_untested, policy_out);
}

static int run_check(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy check", "[FILE]",
		"Reads a policy file (default: the settings'), runs its tests and tries its invariants, as the daemon\n"
		"does before a policy comes into force.  Shows every problem with its place in the file.\n"
		"Exit code 0: it is good; 78: it is not.",
		options, "homeward policy check policy.json\n" };
	struct policy *policy;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	(void)command_line_next(&line);
	if (!command_line_expect(&line, 0, 1))
		return line.exit_code;
	exit_code = policy_command_read(&line, line.argument_count == 1 ? line.arguments[0] : NULL, &policy);
	if (exit_code == EXIT_CODE_OK)
		printf("good: policy %s of %s, %d tests passed\n", policy_version(policy), policy_home(policy),
			policy_test_count(policy));
	policy_release_reference(policy);
	return exit_code;
}

struct explain {
	const char *policy_path, *operation, *roaming, *record, *at;
	struct gate_request request;
};

static void take_option(struct explain *explain, int id, const char *value)
{
	switch (id) {
	case OPTION_POLICY:
		explain->policy_path = value;
		break;
	case OPTION_OPERATION:
		explain->operation = value;
		break;
	case OPTION_REQUESTER:
		explain->request.requester = value;
		break;
	case OPTION_TO:
		explain->request.to = value;
		break;
	case OPTION_TYPE:
		explain->request.type = value;
		break;
	case OPTION_PURPOSE:
		explain->request.purpose = value;
		break;
	case OPTION_CALLER:
		explain->request.caller = value;
		break;
	case OPTION_STATION_REGION:
		explain->request.station_region = value;
		break;
	case OPTION_ROAMING:
		explain->roaming = value;
		break;
	case OPTION_RECORD:
		explain->record = value;
		break;
	case OPTION_AT:
		explain->at = value;
		break;
	}
}

/* An error is said through the line. */
static bool read_words(struct command_line *line, struct explain *explain, json_t **record_out)
{
	struct gate_request *request = &explain->request;
	struct strbuf why = STRBUF_INIT;

	if (request->type == NULL || request->purpose == NULL)
		line->exit_code = command_line_wrong(line, "--type and --purpose are needed");
	else if (strcmp(explain->operation, "local") == 0)
		request->operation = GATE_LOCAL;
	else if (strcmp(explain->operation, "ask") == 0)
		request->operation = GATE_ASK;
	else if (strcmp(explain->operation, "serve") == 0)
		request->operation = GATE_SERVE;
	else if (strcmp(explain->operation, "send") == 0)
		request->operation = GATE_SEND;
	else if (strcmp(explain->operation, "receive") == 0)
		request->operation = GATE_RECEIVE;
	else
		line->exit_code = command_line_wrong(line, "--operation is local, ask, serve, send or receive");
	if (explain->roaming != NULL && strcmp(explain->roaming, "active") == 0)
		request->roaming = ROAMING_ACTIVE;
	else if (explain->roaming != NULL && strcmp(explain->roaming, "none") == 0)
		request->roaming = ROAMING_NONE;
	else if (explain->roaming != NULL && strcmp(explain->roaming, "unknown") != 0)
		line->exit_code = command_line_wrong(line, "--roaming is active, none or unknown");
	request->now_wall_us = clock_wall_us(clock_system());
	if (explain->at != NULL && clock_parse(explain->at, &request->now_wall_us) != STATUS_OK)
		line->exit_code = command_line_wrong(line, "--at is a date such as 2027-01-01T00:00:00Z");
	if (explain->record != NULL &&
		json_parse(explain->record, strlen(explain->record), record_out, &why) != STATUS_OK)
		line->exit_code = command_line_wrong(line, "--record is no JSON object: %s", why.data);
	request->record = *record_out;
	strbuf_release(&why);
	return line->exit_code == EXIT_CODE_OK;
}

/* What follows from the operation need not be said. */
static void fill_regions(const struct policy *policy, struct gate_request *request)
{
	bool is_event = request->operation == GATE_SEND || request->operation == GATE_RECEIVE;

	/* Whether an event has a schema is not known here: any classification will do. */
	if (is_event && policy_type_classification(policy, request->type) == NULL)
		request->classification = "public";
	if (request->operation != GATE_SERVE && request->operation != GATE_RECEIVE && request->requester == NULL)
		request->requester = policy_home(policy);
	if (request->to == NULL && (request->operation == GATE_LOCAL || request->operation == GATE_RECEIVE))
		request->to = policy_home(policy);
	if (request->to == NULL && request->operation == GATE_SERVE)
		request->to = request->requester;
}

static int explain_decision(struct command_line *line, struct explain *explain)
{
	struct strbuf text = STRBUF_INIT;
	struct gate_decision decision;
	struct policy *policy = NULL;
	json_t *record = NULL;
	int exit_code;

	exit_code = read_words(line, explain, &record) ? EXIT_CODE_OK : EXIT_CODE_USAGE;
	if (exit_code == EXIT_CODE_OK)
		exit_code = policy_command_read(line, explain->policy_path, &policy);
	if (exit_code == EXIT_CODE_OK) {
		fill_regions(policy, &explain->request);
		policy_explain(policy, &explain->request, &text);
		policy_decide(policy, &explain->request, &decision);
		fputs(text.data, stdout);
		exit_code = decision.permitted ? EXIT_CODE_OK : EXIT_CODE_FAILED;
	}
	strbuf_release(&text);
	json_decref(record);
	policy_release_reference(policy);
	return exit_code;
}

static int run_explain(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG,
		{ OPTION_POLICY, "policy", "FILE", "policy file (default: the settings')" },
		{ OPTION_OPERATION, "operation", "OPERATION", "local, ask or serve (default)" },
		{ OPTION_REQUESTER, "requester", "REGION", "who asks (default for local and ask: the policy's home)" },
		{ OPTION_TO, "to", "REGION", "who would receive (default for serve: the requester)" },
		{ OPTION_TYPE, "type", "TYPE", "the object's type" },
		{ OPTION_PURPOSE, "purpose", "PURPOSE", "what for" },
		{ OPTION_CALLER, "caller", "NAME", "the service that asks" },
		{ OPTION_STATION_REGION, "station-region", "REGION", "where the station in evidence is" },
		{ OPTION_ROAMING, "roaming", "STATE", "active, none or unknown (default)" },
		{ OPTION_RECORD, "record", "JSON", "the record, for its flags, e.g. '{\"restricted\":\"yes\"}'" },
		{ OPTION_AT, "at", "DATE", "as it would be decided then (default: now)" }, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy explain",
		"--type TYPE --purpose PURPOSE [--requester REGION] …",
		"Shows how the policy decides on one lookup: every rule, whether it matched, and which condition\n"
		"failed first.  What is not given is unknown.  Exit code 0: permitted; 1: denied.",
		options,
		"homeward policy explain --policy policy.json --requester na --type token \\\n"
		"    --purpose charge.authorize --station-region na --record '{}'\n" };
	struct explain explain = { .operation = "serve" };
	struct command_line line;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;)
		take_option(&explain, id, line.value);
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	return explain_decision(&line, &explain);
}

int command_policy(int argc, char **argv)
{
	static const struct command_entry entries[] = { { "check", run_check, "check a policy file and run its tests" },
		{ "explain", run_explain, "how the policy decides on one lookup, rule by rule" },
		{ "test", policy_run_test, "run the tests and invariants a policy carries, one by one" },
		{ "can-see", policy_run_can_see, "what a region may be served, and what it can never get" },
		{ "diff", policy_run_diff, "what another policy file newly allows and newly denies" },
		{ "coverage", policy_run_coverage, "which rules and conditions the policy's tests exercise" },
		{ "mutate", policy_run_mutate, "which small changes of the policy its tests would not notice" },
		{ "ropa", policy_run_ropa, "the record of processing activities, from policy and access log" },
		{ "shadow", policy_run_shadow, "how a second policy would have decided on live traffic" },
		{ "keygen", policy_run_keygen, "make a key that signs policies" },
		{ "sign", policy_run_sign, "check a policy file and sign it" },
		{ "verify", policy_run_verify, "check a policy file's signature" },
		{ "enumerate", policy_run_enumerate, "every kind of request with its decision, as CSV" },
		{ NULL, NULL, NULL } };
	static const struct command_group group = { "homeward policy",
		"The privacy policy: what may cross a border, and why (docs/POLICY.md).", entries,
		"homeward policy check policy.json\n" };

	return command_group_run(&group, argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward policy test|can-see|diff|coverage|mutate|enumerate`: what a policy
 * file does over every kind of request there can be.  Each tool's report is one
 * JSON object; --json prints it, else it is told in lines for people.  None of
 * them asks a daemon or a database.
 */
#include <stdio.h>
#include <string.h>

#include "cli/policy_command.h"

enum { OPTION_POLICY = COMMAND_ID_FIRST, OPTION_JSON, OPTION_CSV, OPTION_EXPIRED };

#define OPTION_ROW_POLICY                                                                                              \
	{                                                                                                              \
		OPTION_POLICY, "policy", "FILE", "policy file (default: the settings')"                                \
	}
#define OPTION_ROW_JSON                                                                                                \
	{                                                                                                              \
		OPTION_JSON, "json", NULL, "one JSON object instead of lines for people"                               \
	}

struct tool {
	struct command_line line;
	const char *policy_path;
	bool is_json, is_csv, has_expired;
	struct policy *policy;
	json_t *report;
	struct strbuf why;
	int exit_code;
};

/* False: only finish() is left to do. */
static bool read_line(
	struct tool *tool, const struct command_usage *usage, int argc, char **argv, int count_min, int count_max)
{
	*tool = (struct tool){ .exit_code = EXIT_CODE_OK };
	strbuf_init(&tool->why);
	command_line_begin(&tool->line, usage, argc, argv);
	for (int id; (id = command_line_next(&tool->line)) != COMMAND_LINE_END;) {
		if (id == OPTION_POLICY)
			tool->policy_path = tool->line.value;
		tool->is_json = tool->is_json || id == OPTION_JSON;
		tool->is_csv = tool->is_csv || id == OPTION_CSV;
		tool->has_expired = tool->has_expired || id == OPTION_EXPIRED;
	}
	if (command_line_expect(&tool->line, count_min, count_max))
		return true;
	tool->exit_code = tool->line.exit_code;
	return false;
}

typedef int read_policy(const struct command_line *line, const char *path, struct policy **policy_out);

/* A line that may name a policy file, and the policy. */
static bool begin(struct tool *tool, const struct command_usage *usage, int argc, char **argv, read_policy *read_one)
{
	if (!read_line(tool, usage, argc, argv, 0, 1))
		return false;
	tool->exit_code = read_one(
		&tool->line, tool->line.argument_count == 1 ? tool->line.arguments[0] : NULL, &tool->policy);
	return tool->exit_code == EXIT_CODE_OK;
}

/* False unless it is STATUS_OK, after saying what went wrong. */
static bool succeeds(struct tool *tool, enum status status)
{
	if (status != STATUS_OK)
		tool->exit_code = command_fail(
			command_exit_code(status), "%s", tool->why.length > 0 ? tool->why.data : "out of memory");
	return status == STATUS_OK;
}

static int finish(struct tool *tool)
{
	strbuf_release(&tool->why);
	json_decref(tool->report);
	policy_release_reference(tool->policy);
	return tool->exit_code;
}

static int print_json(const json_t *report)
{
	if (json_dumpf(report, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF)
		return EXIT_CODE_FAILED;
	return EXIT_CODE_OK;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void print_list(const json_t *list, const char *separator, const char *when_empty)
{
	if (json_array_size(list) == 0)
		fputs(when_empty, stdout);
	for (size_t i = 0; i < json_array_size(list); i++)
		printf("%s%s", i > 0 ? separator : "", json_string_value(json_array_get(list, i)));
}

/* ---- test ---- */

static int print_tests(const json_t *list, const char *name_key, const char *word)
{
	int failed = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *test = json_array_get(list, i);
		bool has_passed = json_is_true(json_object_get(test, "passed"));

		printf("%s %s %zu %s\n", has_passed ? "ok    " : "FAILED", word, i, text_of(test, name_key));
		if (!has_passed)
			printf("       %s\n", text_of(test, "why"));
		failed += !has_passed;
	}
	return failed;
}

static int count_failed(const json_t *list)
{
	int failed = 0;

	for (size_t i = 0; i < json_array_size(list); i++)
		failed += !json_is_true(json_object_get(json_array_get(list, i), "passed"));
	return failed;
}

int policy_run_test(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, OPTION_ROW_JSON, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy test", "[FILE]",
		"Runs the tests and invariants a policy file carries (default: the settings' file) and reports each.\n"
		"Exit code 0: all hold; 1: one does not; 78: the file is no policy.",
		options, "homeward policy test policy.json\n" };
	struct tool tool;

	if (begin(&tool, &usage, argc, argv, policy_command_read_untested) &&
		succeeds(&tool, policy_test_report(tool.policy, &tool.report, &tool.why))) {
		const json_t *tests = json_object_get(tool.report, "tests");
		const json_t *invariants = json_object_get(tool.report, "invariants");
		int failed = count_failed(tests) + count_failed(invariants);

		if (tool.is_json) {
			tool.exit_code = print_json(tool.report);
		} else {
			print_tests(tests, "name", "test");
			print_tests(invariants, "note", "invariant");
			printf("%zu tests and %zu invariants, %d failed\n", json_array_size(tests),
				json_array_size(invariants), failed);
		}
		if (failed > 0)
			tool.exit_code = EXIT_CODE_FAILED;
	}
	return finish(&tool);
}

/* ---- reports about one policy ---- */

typedef void print_report(const json_t *report);

/* Printed one way or the other, or the failure said. */
static void show(struct tool *tool, enum status status, print_report *print)
{
	if (!succeeds(tool, status))
		return;
	if (tool->is_json)
		tool->exit_code = print_json(tool->report);
	else
		print(tool->report);
}

static void print_when(const json_t *when)
{
	const char *name;
	json_t *values;
	bool is_first = true;

	json_object_foreach((json_t *)(uintptr_t)when, name, values)
	{
		printf("%s%s: ", is_first ? "    when " : "; ", name);
		print_list(values, ", ", "never");
		is_first = false;
	}
	if (!is_first)
		putchar('\n');
}

static void print_can_see(const json_t *report)
{
	const json_t *sees = json_object_get(report, "sees");
	json_t *never = json_object_get(report, "never"), *fields;
	const char *region = text_of(report, "region"), *type;

	printf("policy %s, %lld kinds of request tried\n", text_of(report, "policy"), number_of(report, "points"));
	for (size_t i = 0; i < json_array_size(sees); i++) {
		const json_t *row = json_array_get(sees, i);
		long long ttl_s = number_of(row, "cache_ttl_max_s");

		printf("%s %s [", text_of(row, "operation"), text_of(row, "type"));
		print_list(json_object_get(row, "rules"), ", ", "");
		fputs("] ", stdout);
		print_list(json_object_get(row, "fields"), ", ", "nothing");
		putchar('\n');
		print_when(json_object_get(row, "when"));
		if (ttl_s >= 0)
			printf("    kept for at most %lld s\n", ttl_s);
	}
	if (json_array_size(sees) == 0)
		printf("%s can see nothing\n", region);
	json_object_foreach(never, type, fields)
	{
		printf("never, of %s: ", type);
		print_list(fields, ", ", "");
		putchar('\n');
	}
}

int policy_run_can_see(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, OPTION_ROW_POLICY, OPTION_ROW_JSON,
		COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy can-see", "REGION",
		"Lists what a region may be served, and what may be asked of it, with the rules and the conditions it\n"
		"takes; and the fields it can never get.  Every kind of request is tried, so nothing is left out.",
		options, "homeward policy can-see na --policy policy.json\n" };
	struct tool tool;

	if (read_line(&tool, &usage, argc, argv, 1, 1))
		tool.exit_code = policy_command_read(&tool.line, tool.policy_path, &tool.policy);
	if (tool.policy != NULL)
		show(&tool, policy_can_see(tool.policy, tool.line.arguments[0], &tool.report, &tool.why),
			print_can_see);
	return finish(&tool);
}

static void print_coverage(const json_t *report)
{
	const json_t *rules = json_object_get(report, "rules");

	for (size_t i = 0; i < json_array_size(rules); i++) {
		const json_t *rule = json_array_get(rules, i);
		const json_t *conditions = json_object_get(rule, "conditions");
		long long tests = number_of(rule, "tests");

		printf("%s %s %s", tests > 0 ? "ok    " : "MISSED", text_of(rule, "effect"), text_of(rule, "id"));
		if (json_is_true(json_object_get(rule, "dead")))
			printf(": DEAD, %s\n", number_of(rule, "matches") > 0
						       ? "a forbid overrides it wherever it matches"
						       : "no request can match it");
		else
			printf(": decides in %lld test%s\n", tests, tests == 1 ? "" : "s");
		for (size_t j = 0; j < json_array_size(conditions); j++) {
			const json_t *condition = json_array_get(conditions, j);
			long long held = number_of(condition, "held"), failed = number_of(condition, "failed");

			printf("%s   %s: held in %lld, failed in %lld\n", held > 0 && failed > 0 ? "ok    " : "MISSED",
				text_of(condition, "condition"), held, failed);
		}
	}
	printf("%lld tests exercise %lld of %lld rules and %lld of %lld conditions; %lld rules are dead\n",
		number_of(report, "tests"), number_of(report, "rules_exercised"), number_of(report, "rules_all"),
		number_of(report, "conditions_exercised"), number_of(report, "conditions_all"),
		number_of(report, "rules_dead"));
}

static void print_mutate(const json_t *report)
{
	const json_t *survived = json_object_get(report, "survived"), *redundant = json_object_get(report, "redundant");
	long long all = number_of(report, "changes");

	for (size_t i = 0; i < json_array_size(survived); i++) {
		const json_t *row = json_array_get(survived, i);

		printf("SURVIVED  %s\n    e.g. %s\n", text_of(row, "change"), text_of(row, "example"));
	}
	for (size_t i = 0; i < json_array_size(redundant); i++)
		printf("redundant %s\n", text_of(json_array_get(redundant, i), "change"));
	printf("%lld changes: %lld caught by a test, %lld by an invariant, %zu survived, %lld change no decision\n",
		all, number_of(report, "caught_by_tests"), number_of(report, "caught_by_invariants"),
		json_array_size(survived), number_of(report, "without_effect"));
}

typedef enum status make_report(const struct policy *policy, json_t **report_out, struct strbuf *why);

static int run_report(const struct command_usage *usage, int argc, char **argv, make_report *make, print_report *print)
{
	struct tool tool;

	if (begin(&tool, usage, argc, argv, policy_command_read))
		show(&tool, make(tool.policy, &tool.report, &tool.why), print);
	return finish(&tool);
}

int policy_run_coverage(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, OPTION_ROW_JSON, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy coverage", "[FILE]",
		"Which rules decide in some test of the policy, which conditions have both held and failed in tests, "
		"and\n"
		"which rules can never decide.",
		options, "homeward policy coverage policy.json\n" };

	return run_report(&usage, argc, argv, policy_coverage, print_coverage);
}

int policy_run_mutate(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, OPTION_ROW_JSON, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy mutate", "[FILE]",
		"Changes the policy in every small way and asks its tests and invariants.  A change that nothing "
		"catches\n"
		"is listed with a request it decides otherwise: that request is the test that is missing.  One that\n"
		"changes no decision at all shows something redundant.",
		options, "homeward policy mutate policy.json\n" };

	return run_report(&usage, argc, argv, policy_mutate, print_mutate);
}

/* ---- diff ---- */

static void print_changes(const json_t *list, const char *word)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *row = json_array_get(list, i);

		printf("%s %s %s, %s, for %s: ", word, text_of(row, "operation"), text_of(row, "type"),
			text_of(row, "region"), text_of(row, "purpose"));
		if (json_object_get(row, "what") != NULL)
			fputs(text_of(row, "what"), stdout);
		else
			print_list(json_object_get(row, "fields"), ", ", "");
		fputs("\n    [", stdout);
		print_list(json_object_get(row, "before"), ", ", "no rule");
		fputs("] -> [", stdout);
		print_list(json_object_get(row, "after"), ", ", "no rule");
		printf("] e.g. %s\n", text_of(row, "example"));
	}
}

static void print_diff(const json_t *report)
{
	const json_t *definitions = json_object_get(report, "definitions");

	printf("%s -> %s\n", text_of(report, "before"), text_of(report, "after"));
	print_changes(json_object_get(report, "allowed"), "+ newly allowed:");
	print_changes(json_object_get(report, "denied"), "- newly denied: ");
	print_changes(json_object_get(report, "terms"), "~ other terms:  ");
	for (size_t i = 0; i < json_array_size(definitions); i++)
		printf("~ %s\n", json_string_value(json_array_get(definitions, i)));
	printf("%lld of %lld kinds of request are decided otherwise\n", number_of(report, "changed"),
		number_of(report, "points"));
}

static bool is_different(const json_t *report)
{
	return number_of(report, "changed") > 0 || json_array_size(json_object_get(report, "definitions")) > 0;
}

int policy_run_diff(int argc, char **argv)
{
	static const struct command_option options[] = { OPTION_ROW_JSON, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy diff", "OLD NEW",
		"What changes when the policy file OLD is replaced by NEW: every field newly let out or kept in, by "
		"region\n"
		"and purpose, with one request that shows it.\n"
		"Exit code 0: they decide alike; 2: they do not.",
		options, "homeward policy diff policy.json policy.new.json\n" };
	struct policy *after = NULL;
	struct tool tool;

	if (!read_line(&tool, &usage, argc, argv, 2, 2))
		return finish(&tool);
	tool.exit_code = policy_command_read(&tool.line, tool.line.arguments[0], &tool.policy);
	if (tool.exit_code == EXIT_CODE_OK)
		tool.exit_code = policy_command_read(&tool.line, tool.line.arguments[1], &after);
	if (tool.exit_code == EXIT_CODE_OK) {
		show(&tool, policy_diff(tool.policy, after, &tool.report, &tool.why), print_diff);
		if (tool.exit_code == EXIT_CODE_OK && is_different(tool.report))
			tool.exit_code = EXIT_CODE_DIFFERENCE;
	}
	policy_release_reference(after);
	return finish(&tool);
}

/* ---- enumerate ---- */

static void write_line(void *arg, const char *line, size_t length)
{
	uint64_t *count = arg;

	++*count;
	fwrite(line, 1, length, stdout);
}

static void count_line(void *arg, const char *line, size_t length)
{
	uint64_t *count = arg;

	(void)line;
	(void)length;
	++*count;
}

int policy_run_enumerate(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG,
		{ OPTION_CSV, "csv", NULL, "write every point with its decision, the first line naming the columns" },
		{ OPTION_EXPIRED, "expired", NULL, "as it is decided after the policy's not_after" },
		COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy enumerate", "[FILE]",
		"Decides every kind of request the policy can tell apart, as the daemon would: so that another "
		"program\n"
		"can check the decisions.  \"unknown\" is an attribute that is not known, \"~other\" one value that "
		"the\n"
		"policy does not name.  Without --csv only counts them.",
		options, "homeward policy enumerate policy.json --csv > points.csv\n" };
	uint64_t lines = 0;
	struct tool tool;

	if (!begin(&tool, &usage, argc, argv, policy_command_read))
		return finish(&tool);
	if (succeeds(&tool, policy_enumerate(tool.policy, tool.has_expired, tool.is_csv ? write_line : count_line,
				    &lines, &tool.why)) &&
		!tool.is_csv)
		printf("%llu kinds of request\n", (unsigned long long)lines - 1);
	if (ferror(stdout) != 0 || fflush(stdout) != 0)
		tool.exit_code = EXIT_CODE_FAILED;
	return finish(&tool);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward policy ropa`, also `homeward audit report ropa`: the record of
 * processing activities.  What may leave is read from the policy, what has left
 * from the access log's index, so the record cannot drift from either.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/audit.h"
#include "cli/policy_command.h"

enum { OPTION_POLICY = COMMAND_ID_FIRST, OPTION_FROM, OPTION_TO, OPTION_WITHOUT_COUNTS, OPTION_JSON };

struct ropa {
	struct command_line line;
	const char *policy_path;
	char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE]; /* "" for no bound */
	bool is_json, is_without_counts;
};

static const char counts_sql[] =
	"SELECT rule, peer, purpose, count(*), count(DISTINCT subject), to_char(min(at) AT TIME ZONE 'UTC',"
	" 'YYYY-MM-DD'), to_char(max(at) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
	" FROM homeward.exchanges, unnest(string_to_array(rules, ',')) AS rule"
	" WHERE kind IN ('ask', 'serve', 'send') AND at >= coalesce($1::timestamptz, '-infinity')"
	" AND at < coalesce($2::timestamptz, 'infinity') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

static json_t *find_activity(json_t *report, const char *rule)
{
	json_t *activities = json_object_get(report, "activities");

	for (size_t i = 0; i < json_array_size(activities); i++) {
		json_t *activity = json_array_get(activities, i);

		if (strcmp(json_string_value(json_object_get(activity, "rule")), rule) == 0)
			return activity;
	}
	return NULL;
}

/* What crossed under a rule that the policy no longer has goes to "former_rules". */
static void add_counts(json_t *report, const PGresult *rows)
{
	json_t *former = json_array();

	for (int i = 0; i < PQntuples(rows); i++) {
		const char *rule = PQgetvalue(rows, i, 0);
		json_t *activity = find_activity(report, rule);
		json_t *row = json_pack("{s:s,s:s,s:I,s:I,s:s,s:s}", "region", PQgetvalue(rows, i, 1), "purpose",
			PQgetvalue(rows, i, 2), "crossings", (json_int_t)strtoll(PQgetvalue(rows, i, 3), NULL, 10),
			"subjects", (json_int_t)strtoll(PQgetvalue(rows, i, 4), NULL, 10), "first",
			PQgetvalue(rows, i, 5), "last", PQgetvalue(rows, i, 6));

		if (activity == NULL) {
			json_object_set_new(row, "rule", json_string(rule));
			json_array_append_new(former, row);
			continue;
		}
		if (json_object_get(activity, "crossings") == NULL)
			json_object_set_new(activity, "crossings", json_array());
		json_array_append_new(json_object_get(activity, "crossings"), row);
	}
	json_object_set_new(report, "former_rules", former);
}

static int count_crossings(const struct ropa *ropa, json_t *report)
{
	const char *const parameters[] = { ropa->from[0] != '\0' ? ropa->from : NULL,
		ropa->to[0] != '\0' ? ropa->to : NULL };
	struct command_work work;

	if (command_work_open(&work, &ropa->line) && command_work_query(&work, counts_sql, parameters, 2))
		add_counts(report, work.rows);
	return command_work_finish(&work);
}

/* ---- for people ---- */

static void print_list(const char *what, const json_t *list, const char *when_any)
{
	printf("- %s: ", what);
	if (json_is_null(list))
		fputs(when_any, stdout);
	else if (json_array_size(list) == 0)
		fputs("none", stdout);
	for (size_t i = 0; i < json_array_size(list); i++)
		printf("%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(list, i)));
	putchar('\n');
}

/* Of an `ask` only the id and the station leave; its fields are what may come back. */
static bool is_ask_only(const json_t *activity)
{
	const json_t *operations = json_object_get(activity, "operations");

	return json_array_size(operations) == 1 && strcmp(json_string_value(json_array_get(operations, 0)), "ask") == 0;
}

static void print_categories(const json_t *categories, bool is_received)
{
	if (is_received)
		puts("- data: the object's id, and the station it was shown at");
	for (size_t i = 0; i < json_array_size(categories); i++) {
		const json_t *category = json_array_get(categories, i);
		const json_t *fields = json_object_get(category, "fields");

		printf("- %s: %s (%s): ", is_received ? "received" : "data",
			json_string_value(json_object_get(category, "type")),
			json_is_true(json_object_get(category, "personal")) ? "personal" : "not personal");
		for (size_t j = 0; j < json_array_size(fields); j++)
			printf("%s%s", j > 0 ? ", " : "", json_string_value(json_array_get(fields, j)));
		putchar('\n');
	}
}

static void print_basis(json_t *basis)
{
	const char *key;
	json_t *value;
	bool is_first = true;

	fputs("- ground: ", stdout);
	json_object_foreach(basis, key, value)
	{
		printf("%s%s %s", is_first ? "" : "; ", key, json_string_value(value));
		is_first = false;
	}
	puts(is_first ? "none given" : "");
}

static void print_crossings(const json_t *crossings)
{
	for (size_t i = 0; i < json_array_size(crossings); i++) {
		const json_t *row = json_array_get(crossings, i);

		printf("- on record: %lld to %s for %s, %lld subjects, %s to %s\n",
			json_integer_value(json_object_get(row, "crossings")),
			json_string_value(json_object_get(row, "region")),
			json_string_value(json_object_get(row, "purpose")),
			json_integer_value(json_object_get(row, "subjects")),
			json_string_value(json_object_get(row, "first")),
			json_string_value(json_object_get(row, "last")));
	}
}

static void print_activity(const json_t *activity, bool has_counts)
{
	long long ttl_s = json_integer_value(json_object_get(activity, "cache_ttl_max_s"));
	const json_t *crossings = json_object_get(activity, "crossings");

	printf("\n## %s\n\n", json_string_value(json_object_get(activity, "rule")));
	print_list("operations", json_object_get(activity, "operations"), "any");
	print_list("purposes", json_object_get(activity, "purposes"), "any purpose of a caller");
	print_categories(json_object_get(activity, "categories"), is_ask_only(activity));
	print_list("recipients", json_object_get(activity, "recipients"), "any region of the mesh");
	print_list("conditions", json_object_get(activity, "conditions"), "");
	print_basis(json_object_get(activity, "basis"));
	if (is_ask_only(activity))
		puts("- time limit: the answerer's");
	else if (ttl_s >= 0)
		printf("- time limit: kept by the recipient for at most %lld s\n", ttl_s);
	else
		puts("- time limit: the recipient's own (its setting cache.ttl_max_s)");
	if (has_counts && json_array_size(crossings) == 0)
		puts("- on record: none");
	print_crossings(crossings);
}

static void print_record(const json_t *report)
{
	const json_t *activities = json_object_get(report, "activities");
	const json_t *former = json_object_get(report, "former_rules");

	printf("# Record of processing activities: %s\n\nPolicy %s, in force until %s.\n",
		json_string_value(json_object_get(report, "region")),
		json_string_value(json_object_get(report, "policy")),
		json_string_value(json_object_get(report, "policy_not_after")));
	for (size_t i = 0; i < json_array_size(activities); i++)
		print_activity(json_array_get(activities, i), former != NULL);
	if (json_array_size(former) > 0)
		puts("\n## Rules the policy no longer has\n");
	for (size_t i = 0; i < json_array_size(former); i++) {
		const json_t *row = json_array_get(former, i);

		printf("- %s: %lld to %s for %s\n", json_string_value(json_object_get(row, "rule")),
			json_integer_value(json_object_get(row, "crossings")),
			json_string_value(json_object_get(row, "region")),
			json_string_value(json_object_get(row, "purpose")));
	}
}

/* ---- the command ---- */

static bool read_date(struct ropa *ropa, const char *name, char text[CLOCK_TEXT_SIZE])
{
	int64_t at_us;

	if (clock_parse(ropa->line.value, &at_us) != STATUS_OK) {
		ropa->line.exit_code = command_line_wrong(
			&ropa->line, "--%s is a date such as 2027-01-01T00:00:00Z", name);
		return false;
	}
	clock_format(at_us, text);
	return true;
}

static bool read_line(struct ropa *ropa, const struct command_usage *usage, int argc, char **argv)
{
	bool is_fine = true;

	command_line_begin(&ropa->line, usage, argc, argv);
	for (int id; is_fine && (id = command_line_next(&ropa->line)) != COMMAND_LINE_END;) {
		if (id == OPTION_POLICY)
			ropa->policy_path = ropa->line.value;
		else if (id == OPTION_FROM)
			is_fine = read_date(ropa, "from", ropa->from);
		else if (id == OPTION_TO)
			is_fine = read_date(ropa, "to", ropa->to);
		ropa->is_without_counts = ropa->is_without_counts || id == OPTION_WITHOUT_COUNTS;
		ropa->is_json = ropa->is_json || id == OPTION_JSON;
	}
	return is_fine && command_line_expect(&ropa->line, 0, 0);
}

static int run(const struct command_usage *usage, int argc, char **argv)
{
	struct ropa ropa = { .is_json = false };
	struct policy *policy = NULL;
	json_t *report = NULL;
	int exit_code;

	if (!read_line(&ropa, usage, argc, argv))
		return ropa.line.exit_code;
	exit_code = policy_command_read(&ropa.line, ropa.policy_path, &policy);
	if (exit_code == EXIT_CODE_OK)
		report = policy_activities(policy);
	if (exit_code == EXIT_CODE_OK && report == NULL)
		exit_code = command_fail(EXIT_CODE_FAILED, "out of memory");
	if (exit_code == EXIT_CODE_OK && !ropa.is_without_counts)
		exit_code = count_crossings(&ropa, report);
	if (exit_code == EXIT_CODE_OK && ropa.is_json)
		exit_code = json_dumpf(report, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF ? EXIT_CODE_OK
												    : EXIT_CODE_FAILED;
	else if (exit_code == EXIT_CODE_OK)
		print_record(report);
	json_decref(report);
	policy_release_reference(policy);
	return exit_code;
}

static const struct command_option options[] = { COMMAND_OPTION_CONFIG,
	{ OPTION_POLICY, "policy", "FILE", "policy file (default: the settings')" },
	{ OPTION_FROM, "from", "DATE", "count crossings from then on" },
	{ OPTION_TO, "to", "DATE", "count crossings before then" },
	{ OPTION_WITHOUT_COUNTS, "without-counts", NULL, "from the policy alone; needs no database" },
	{ OPTION_JSON, "json", NULL, "one JSON object instead of Markdown" }, COMMAND_OPTION_END };

#define SUMMARY                                                                                                        \
	"Writes the record of processing activities (GDPR, article 30): what the policy lets leave the region, to\n"   \
	"whom, on which ground and for how long, and how often each was used by the access log's index."

int policy_run_ropa(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward policy ropa", "[--from DATE] [--to DATE]", SUMMARY,
		options, "homeward policy ropa --from 2026-01-01T00:00:00Z > record.md\n" };

	return run(&usage, argc, argv);
}

static int report_ropa(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward audit report ropa", "[--from DATE] [--to DATE]", SUMMARY,
		options, "homeward audit report ropa --from 2026-01-01T00:00:00Z > record.md\n" };

	return run(&usage, argc, argv);
}

int audit_report(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "daily", audit_report_daily, "counts for each day, peer, purpose, rule and decision" },
		{ "ropa", report_ropa, "the record of processing activities" }, { NULL, NULL, NULL }
	};
	static const struct command_group group = { "homeward audit report", "Reports made of the access log.", entries,
		"homeward audit report daily --from 2026-11-01 --kind serve\n"
		"homeward audit report ropa > record.md\n" };

	return command_group_run(&group, argc, argv);
}

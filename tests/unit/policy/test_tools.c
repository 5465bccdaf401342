/* SPDX-License-Identifier: Apache-2.0 */
/* What the tools find in a policy: reach, differences, what its tests exercise, what they would miss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policy/policy.h"
#include "tests/unit/support/policies.h"

#define HEAD                                                                                                           \
	"{\"schema\":\"homeward-policy/1\",\"home\":\"eu\",\"version\":3,\"not_after\":\"2030-01-01T00:00:00Z\","      \
	"\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\",\"email\"],\"personal\":true,"                 \
	"\"flags\":{\"subject.restricted\":{\"field\":\"restricted\",\"absent\":\"no\"}}}},\"rules\":["
#define TAP                                                                                                            \
	"{\"id\":\"A\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"to\":[\"na\"],\"type\":[\"token\"],"          \
	"\"purpose\":[\"charge.authorize\"],\"when\":[[\"evidence.station_region\",\"eq\",\"$requester\"]],"           \
	"\"fields\":[\"uid\"],\"obligations\":{\"cache_ttl_max_s\":900}}"
#define RESTRICTED                                                                                                     \
	"{\"id\":\"F\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"when\":"                                      \
	"[[\"subject.restricted\",\"ne\",\"no\"]]}"
#define TESTED                                                                                                         \
	",\"tests\":[{\"name\":\"tap\",\"in\":{\"operation\":\"serve\",\"requester\":\"na\",\"type\":\"token\","       \
	"\"purpose\":\"charge.authorize\",\"evidence.station_region\":\"na\",\"subject.restricted\":\"no\"},"          \
	"\"expect\":{\"decision\":\"permit\",\"fields\":[\"uid\"],\"ttl\":900}}]"
#define GOOD HEAD TAP "," RESTRICTED "]" TESTED "}"

typedef enum status tool(const struct policy *policy, json_t **report_out, struct strbuf *why);

static json_t *report_of(tool *run, const char *text)
{
	struct policy *policy = policy_of(text);
	struct strbuf why = STRBUF_INIT;
	json_t *report;

	assert_int_equal(run(policy, &report, &why), STATUS_OK);
	assert_int_equal(why.length, 0);
	strbuf_release(&why);
	policy_release_reference(policy);
	return report;
}

static json_t *diff_of(const char *before, const char *after)
{
	struct policy *policies[2] = { policy_of(before), policy_of(after) };
	struct strbuf why = STRBUF_INIT;
	json_t *report;

	assert_int_equal(policy_diff(policies[0], policies[1], &report, &why), STATUS_OK);
	strbuf_release(&why);
	policy_release_reference(policies[0]);
	policy_release_reference(policies[1]);
	return report;
}

static void assert_text(const json_t *object, const char *key, const char *text)
{
	assert_string_equal(json_string_value(json_object_get(object, key)), text);
}

static void assert_compact(const json_t *value, const char *text)
{
	char *got = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);

	assert_string_equal(got, text);
	free(got);
}

static json_t *see(const char *text, const char *region)
{
	struct policy *policy = policy_of(text);
	struct strbuf why = STRBUF_INIT;
	json_t *report;

	assert_int_equal(policy_can_see(policy, region, &report, &why), STATUS_OK);
	strbuf_release(&why);
	policy_release_reference(policy);
	return report;
}

static void a_region_sees_what_its_rules_say_under_their_conditions(void **state)
{
	json_t *report = see(GOOD, "na"), *row;

	(void)state;
	assert_int_equal(json_array_size(json_object_get(report, "sees")), 1);
	row = json_array_get(json_object_get(report, "sees"), 0);
	assert_text(row, "operation", "serve");
	assert_compact(json_object_get(row, "fields"), "[\"uid\"]");
	assert_compact(json_object_get(row, "rules"), "[\"A\"]");
	assert_compact(json_object_get(row, "when"),
		"{\"evidence.station_region\":[\"na\"],\"purpose\":[\"charge.authorize\"],"
		"\"subject.restricted\":[\"no\"]}");
	assert_compact(json_object_get(report, "never"), "{\"token\":[\"email\"]}");
	json_decref(report);
}

static void a_region_the_policy_does_not_name_sees_nothing_of_this(void **state)
{
	json_t *report = see(GOOD, "zz");

	(void)state;
	assert_int_equal(json_array_size(json_object_get(report, "sees")), 0);
	assert_compact(json_object_get(report, "never"), "{\"token\":[\"uid\",\"email\"]}");
	json_decref(report);
}

static void a_region_nobody_named_sees_what_is_for_any(void **state)
{
	json_t *report = see(HEAD "{\"id\":\"A\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"fields\":[\"uid\"],"
				  "\"when\":[[\"evidence.station_region\",\"eq\",\"$requester\"]]}]}",
		"zz");
	const json_t *row = json_array_get(json_object_get(report, "sees"), 0);

	(void)state;
	assert_compact(json_object_get(row, "when"), "{\"evidence.station_region\":[\"zz\"]}");
	json_decref(report);
}

static void a_policy_does_not_differ_from_itself(void **state)
{
	json_t *report = diff_of(GOOD, GOOD);

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(report, "changed")), 0);
	assert_true(json_integer_value(json_object_get(report, "points")) > 50);
	json_decref(report);
}

static void a_diff_gives_one_example_for_each_thing(void **state)
{
	/* Another region, and email for the first one. */
	json_t *report = diff_of(GOOD, HEAD
		"{\"id\":\"A\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"to\":[\"na\",\"cn\"],"
		"\"type\":[\"token\"],\"purpose\":[\"charge.authorize\"],"
		"\"when\":[[\"evidence.station_region\",\"eq\",\"$requester\"]],\"fields\":[\"uid\"],"
		"\"obligations\":{\"cache_ttl_max_s\":900}}," RESTRICTED ","
		"{\"id\":\"B\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"to\":[\"na\"],\"type\":[\"token\"],"
		"\"purpose\":[\"charge.authorize\"],\"fields\":[\"email\"]}]}");
	const json_t *allowed = json_object_get(report, "allowed");

	(void)state;
	assert_int_equal(json_array_size(allowed), 2);
	assert_text(json_array_get(allowed, 0), "region", "na");
	assert_compact(json_object_get(json_array_get(allowed, 0), "fields"), "[\"email\"]");
	assert_text(json_array_get(allowed, 1), "region", "cn");
	assert_text(json_array_get(allowed, 1), "example",
		"serve token, requester cn, to cn, evidence.station_region cn, purpose charge.authorize, "
		"subject.restricted no");
	assert_int_equal(json_array_size(json_object_get(report, "denied")), 0);
	json_decref(report);

	report = diff_of(GOOD, HEAD RESTRICTED "]}");
	assert_int_equal(json_array_size(json_object_get(report, "allowed")), 0);
	assert_int_equal(json_array_size(json_object_get(report, "denied")), 1);
	json_decref(report);
}

static void a_diff_tells_what_is_no_decision(void **state)
{
	static const char other[] =
		"{\"schema\":\"homeward-policy/"
		"1\",\"home\":\"eu\",\"version\":4,\"not_after\":\"2031-01-01T00:00:00Z\","
		"\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\",\"email\"],\"personal\":false,"
		"\"flags\":{\"subject.restricted\":{\"field\":\"blocked\",\"absent\":\"no\"}}}},\"rules\":[" TAP
		"," RESTRICTED "]}";
	json_t *report = diff_of(GOOD, other);

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(report, "changed")), 0);
	assert_compact(json_object_get(report, "definitions"),
		"[\"not_after moves from 2030-01-01T00:00:00Z to 2031-01-01T00:00:00Z\","
		"\"type token: its flags are read from the record in another way\","
		"\"type token is no longer personal\"]");
	json_decref(report);
}

static void a_longer_time_is_another_term(void **state)
{
	json_t *report = diff_of(HEAD TAP "]}", HEAD
		"{\"id\":\"A\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"to\":[\"na\"],\"type\":[\"token\"],"
		"\"purpose\":[\"charge.authorize\"],\"when\":[[\"evidence.station_region\",\"eq\",\"$requester\"]],"
		"\"fields\":[\"uid\"],\"obligations\":{\"onward\":\"yes\"}}]}");
	const json_t *terms = json_object_get(report, "terms");

	(void)state;
	assert_int_equal(json_array_size(terms), 2);
	assert_text(json_array_get(terms, 0), "what", "may be kept longer");
	assert_text(json_array_get(terms, 1), "what", "may go onward now");
	json_decref(report);
}

static void policies_of_two_homes_are_not_compared(void **state)
{
	struct policy *policies[2] = { policy_of(GOOD), NULL };
	struct strbuf why = STRBUF_INIT, text = STRBUF_INIT;
	json_t *report;
	char *home;

	(void)state;
	strbuf_adds(&text, HEAD RESTRICTED "]}");
	home = strstr(text.data, "\"eu\"");
	memcpy(home, "\"ap\"", 4);
	policies[1] = policy_of(text.data);
	assert_int_equal(policy_diff(policies[0], policies[1], &report, &why), STATUS_INVALID);
	assert_string_equal(why.data, "one speaks for eu and the other for ap");
	strbuf_release(&why);
	strbuf_release(&text);
	policy_release_reference(policies[0]);
	policy_release_reference(policies[1]);
}

static void coverage_counts_what_tests_reach(void **state)
{
	json_t *report = report_of(policy_coverage, GOOD), *rules = json_object_get(report, "rules"), *condition;

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(report, "rules_exercised")), 1);
	assert_int_equal(json_integer_value(json_object_get(report, "conditions_exercised")), 0);
	condition = json_array_get(json_object_get(json_array_get(rules, 0), "conditions"), 0);
	assert_text(condition, "condition", "evidence.station_region eq $requester");
	assert_int_equal(json_integer_value(json_object_get(condition, "held")), 1);
	assert_int_equal(json_integer_value(json_object_get(condition, "failed")), 0);
	json_decref(report);
}

static void a_rule_no_request_reaches_is_dead(void **state)
{
	json_t *report = report_of(policy_coverage, HEAD
		"{\"id\":\"F\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"purpose\":[\"analytics\"]},"
		"{\"id\":\"P\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"purpose\":[\"analytics\"],"
		"\"fields\":[\"uid\"]},"
		"{\"id\":\"Q\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"from\":[\"eu\"],\"fields\":[\"uid\"]},"
		"{\"id\":\"R\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"fields\":[\"uid\"]}]}");
	const json_t *rules = json_object_get(report, "rules");
	static const bool is_dead[] = { false, true, true, false };

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(json_is_true(json_object_get(json_array_get(rules, i), "dead")), is_dead[i]);
	assert_true(json_integer_value(json_object_get(json_array_get(rules, 1), "matches")) > 0);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(rules, 2), "matches")), 0);
	assert_int_equal(json_integer_value(json_object_get(report, "rules_dead")), 2);
	json_decref(report);
}

static bool has_change(const json_t *list, const char *change)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "change")), change) == 0)
			return true;
	}
	return false;
}

static void mutants_are_caught_survive_or_change_nothing(void **state)
{
	json_t *report = report_of(policy_mutate,
		HEAD TAP "," RESTRICTED ",{\"id\":\"G\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"when\":"
			 "[[\"subject.restricted\",\"eq\",\"yes\"]]}]" TESTED
			 ",\"invariants\":[{\"never\":{\"to\":[\"cn\"],\"decision\":\"permit\"}}]}");
	const json_t *survived = json_object_get(report, "survived");
	long long caught = json_integer_value(json_object_get(report, "caught_by_tests")) +
			   json_integer_value(json_object_get(report, "caught_by_invariants"));

	(void)state;
	/* No test has a restricted driver, and G says nothing that F does not. */
	assert_true(has_change(survived, "F: drop the rule"));
	assert_true(has_change(survived, "A: drop the condition evidence.station_region eq $requester"));
	assert_true(has_change(json_object_get(report, "redundant"), "G: drop the rule"));
	assert_false(has_change(survived, "G: drop the rule"));
	assert_false(has_change(survived, "A: drop the rule"));
	assert_false(has_change(survived, "A: fields: also email of token"));
	assert_false(has_change(survived, "A: to: also cn"));
	assert_true(json_integer_value(json_object_get(report, "caught_by_invariants")) >= 1);
	assert_int_equal(json_integer_value(json_object_get(report, "changes")),
		caught + (long long)json_array_size(survived) +
			json_integer_value(json_object_get(report, "without_effect")));
	json_decref(report);
}

static void tests_are_reported_one_by_one(void **state)
{
	json_t *report = report_of(policy_test_report, GOOD);
	const json_t *test = json_array_get(json_object_get(report, "tests"), 0);

	(void)state;
	assert_text(test, "name", "tap");
	assert_true(json_is_true(json_object_get(test, "passed")));
	json_decref(report);
}

struct lines {
	int count;
	char first[256], last[256];
};

static void take_line(void *arg, const char *line, size_t length)
{
	struct lines *lines = arg;
	char *to = lines->count++ == 0 ? lines->first : lines->last;

	assert_true(length < 256);
	memcpy(to, line, length);
	to[length] = '\0';
}

static void every_point_is_a_line(void **state)
{
	struct policy *policy = policy_of(GOOD);
	struct strbuf why = STRBUF_INIT;
	struct lines lines = { 0 };

	(void)state;
	assert_int_equal(policy_enumerate(policy, false, take_line, &lines, &why), STATUS_OK);
	assert_string_equal(lines.first,
		"operation,type,requester,to,evidence.station_region,purpose,caller,subject.roaming,"
		"subject.restricted,decision,rules,fields,ttl,onward\n");
	/* local: 5 stations, 3 purposes, 3 flag values; ask: 2 regions; serve: both. */
	assert_int_equal(lines.count, 1 + 45 + 30 + 90);
	assert_string_equal(
		lines.last, "serve,token,na,na,na,charge.authorize,unknown,unknown,no,permit,\"A\",\"uid\",900,no\n");

	memset(&lines, 0, sizeof(lines));
	assert_int_equal(policy_enumerate(policy, true, take_line, &lines, &why), STATUS_OK);
	assert_string_equal(
		lines.last, "serve,token,na,na,na,charge.authorize,unknown,unknown,no,deny,\"\",\"\",-1,no\n");
	strbuf_release(&why);
	policy_release_reference(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_region_sees_what_its_rules_say_under_their_conditions),
		cmocka_unit_test(a_region_the_policy_does_not_name_sees_nothing_of_this),
		cmocka_unit_test(a_region_nobody_named_sees_what_is_for_any),
		cmocka_unit_test(a_policy_does_not_differ_from_itself),
		cmocka_unit_test(a_diff_gives_one_example_for_each_thing),
		cmocka_unit_test(a_diff_tells_what_is_no_decision),
		cmocka_unit_test(a_longer_time_is_another_term),
		cmocka_unit_test(policies_of_two_homes_are_not_compared),
		cmocka_unit_test(coverage_counts_what_tests_reach),
		cmocka_unit_test(a_rule_no_request_reaches_is_dead),
		cmocka_unit_test(mutants_are_caught_survive_or_change_nothing),
		cmocka_unit_test(tests_are_reported_one_by_one),
		cmocka_unit_test(every_point_is_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

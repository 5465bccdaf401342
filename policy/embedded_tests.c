/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests a policy carries.  They run whenever it is read, on every machine
 * that reads it, and one that fails refuses the file: a policy is only in force
 * where it does what its author wrote down.  An attribute a test leaves out is
 * unknown, but requester and to follow from the operation when they are left out.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "policy/reading.h"

static void set_region(struct facts *facts, int attribute, int id, const char *text)
{
	facts->id[attribute] = (uint8_t)id;
	facts->region[attribute] = text;
}

static void default_regions(const struct policy *policy, struct facts *facts)
{
	bool has_requester = facts->id[ATTRIBUTE_REQUESTER] != NAME_UNKNOWN;

	if (!has_requester && facts->operation != GATE_SERVE && facts->operation != GATE_RECEIVE)
		set_region(facts, ATTRIBUTE_REQUESTER, policy->home_id, policy->home);
	if (facts->id[ATTRIBUTE_TO] != NAME_UNKNOWN)
		return;
	if (facts->operation == GATE_LOCAL || facts->operation == GATE_RECEIVE)
		set_region(facts, ATTRIBUTE_TO, policy->home_id, policy->home);
	else if (facts->operation == GATE_SERVE && has_requester)
		set_region(facts, ATTRIBUTE_TO, facts->id[ATTRIBUTE_REQUESTER], facts->region[ATTRIBUTE_REQUESTER]);
}

static void read_fact(struct reading *reading, const char *key, const json_t *value, struct facts *facts)
{
	struct policy *policy = reading->policy;
	const char *text = json_string_value(value);
	size_t mark = reading_enter(reading, key);
	int attribute = attribute_find(policy, key);
	int id;

	if (strcmp(key, "operation") == 0) {
		id = text != NULL ? operation_find(text) : -1;
		if (id < 0)
			reading_complain(reading, "must be " OPERATION_NAMES);
		else
			facts->operation = (enum gate_operation)id;
	} else if (strcmp(key, "type") == 0) {
		facts->type = text != NULL ? names_find(&policy->types, text) : NAME_OTHER;
		if (facts->type == NAME_OTHER || facts->type == NAME_UNKNOWN)
			reading_complain(reading, "must be one of the types declared");
	} else if (attribute < 0) {
		reading_complain(reading, "no such attribute");
	} else {
		id = reading_value(reading, attribute, value, true);
		if (id >= 0)
			facts->id[attribute] = (uint8_t)id;
		if (attribute < ATTRIBUTE_REGIONS)
			facts->region[attribute] = text;
	}
	reading_leave(reading, mark);
}

static void read_facts(struct reading *reading, json_t *test, struct facts *facts)
{
	json_t *in = json_object_get(test, "in");
	size_t mark = reading_enter(reading, "in");

	memset(facts, 0, sizeof(*facts));
	memset(facts->id, NAME_UNKNOWN, sizeof(facts->id));
	if (!json_is_object(in))
		reading_complain(reading, "must be an object");
	if (json_object_get(in, "operation") == NULL)
		reading_complain_at(reading, "operation", "is missing");
	if (json_object_get(in, "type") == NULL)
		reading_complain_at(reading, "type", "is missing");
	for (void *at = json_object_iter(in); at != NULL; at = json_object_iter_next(in, at))
		read_fact(reading, json_object_iter_key(at), json_object_iter_value(at), facts);
	default_regions(reading->policy, facts);
	reading_leave(reading, mark);
}

static void add_rules(struct strbuf *text, const struct gate_decision *decision)
{
	strbuf_adds(text, decision->rule_count == 0 ? "no rule" : "");
	for (size_t i = 0; i < decision->rule_count; i++)
		strbuf_addf(text, "%s%s", i > 0 ? ", " : "", decision->rules[i]);
}

static void check_outcome(struct reading *reading, const json_t *expect, const struct gate_decision *decision)
{
	const char *expected = reading_string(reading, expect, "decision", true);
	const char *got = decision->permitted ? "permit" : "deny";
	struct strbuf rules = STRBUF_INIT;

	add_rules(&rules, decision);
	if (expected != NULL && strcmp(expected, "permit") != 0 && strcmp(expected, "deny") != 0)
		reading_complain_at(reading, "decision", "must be \"permit\" or \"deny\"");
	else if (expected != NULL && strcmp(expected, got) != 0)
		reading_complain(reading, "the test fails: expected %s, got %s (%s)", expected, got, rules.data);
	strbuf_release(&rules);
}

static void check_rules(struct reading *reading, const json_t *expect, const struct gate_decision *decision)
{
	const json_t *list = json_object_get(expect, "rules");
	struct strbuf rules = STRBUF_INIT;
	bool is_same = json_is_array(list) && json_array_size(list) == decision->rule_count;

	if (list == NULL)
		return;
	for (size_t i = 0; is_same && i < decision->rule_count; i++) {
		bool is_expected = false;

		for (size_t j = 0; j < json_array_size(list); j++) {
			const char *id = json_string_value(json_array_get(list, j));

			is_expected = is_expected || (id != NULL && strcmp(id, decision->rules[i]) == 0);
		}
		is_same = is_expected;
	}
	add_rules(&rules, decision);
	if (!is_same)
		reading_complain_at(reading, "rules", "the test fails: got %s", rules.data);
	strbuf_release(&rules);
}

static void check_fields(
	struct reading *reading, const json_t *expect, const struct facts *facts, const struct gate_decision *decision)
{
	const json_t *list = json_object_get(expect, "fields");
	uint64_t fields[NAMES_MAX + 2] = { 0 };
	struct strbuf names = STRBUF_INIT;

	if (list == NULL || facts->type == NAME_OTHER || facts->type == NAME_UNKNOWN)
		return;
	if (!json_is_array(list))
		reading_complain_at(reading, "fields", "must be a list");
	reading_fields(reading, list, NAME_BIT(facts->type), fields);
	policy_field_names(reading->policy, reading->policy->types.text[facts->type], decision->fields, &names);
	if (fields[facts->type] != decision->fields)
		reading_complain_at(
			reading, "fields", "the test fails: got %s", names.length > 0 ? names.data : "none");
	strbuf_release(&names);
}

static void check_obligations(struct reading *reading, const json_t *expect, const struct gate_decision *decision)
{
	const char *onward = reading_string(reading, expect, "onward", false);
	int64_t ttl_s;

	if (json_object_get(expect, "ttl") != NULL) {
		if (!json_get_integer(expect, "ttl", &ttl_s))
			reading_complain_at(reading, "ttl", "must be seconds");
		else if (ttl_s != decision->ttl_max_s)
			reading_complain_at(reading, "ttl", "the test fails: expected %lld, got %lld (-1: no cap)",
				(long long)ttl_s, (long long)decision->ttl_max_s);
	}
	if (onward != NULL && strcmp(onward, decision->onward ? "yes" : "no") != 0)
		reading_complain_at(reading, "onward", "the test fails: got %s", decision->onward ? "yes" : "no");
}

/* What the policy decides is complained of at the member of "expect" that says otherwise. */
static void try_test(struct reading *reading, const struct policy_test *test)
{
	struct gate_decision decision;

	facts_decide(reading->policy, &test->facts, &decision);
	check_outcome(reading, test->expect, &decision);
	check_rules(reading, test->expect, &decision);
	check_fields(reading, test->expect, &test->facts, &decision);
	check_obligations(reading, test->expect, &decision);
}

bool policy_test_passes(const struct policy *policy, const struct policy_test *test, struct strbuf *why)
{
	/* Checking reads the policy; only reading a file writes to it. */
	struct reading reading = { .policy = (struct policy *)(uintptr_t)policy, .why = why, .name = test->name };

	try_test(&reading, test);
	return reading.problems == 0;
}

static void read_test(struct reading *reading, json_t *value, struct policy_test *test)
{
	static const char *const keys[] = { "name", "in", "expect", NULL };
	static const char *const expect_keys[] = { "decision", "rules", "fields", "ttl", "onward", NULL };
	json_t *expect = json_object_get(value, "expect");
	int problems = reading->problems;
	size_t mark;

	if (!reading_check_object(reading, value, keys))
		return;
	test->name = reading_string(reading, value, "name", true);
	test->expect = expect;
	read_facts(reading, value, &test->facts);
	mark = reading_enter(reading, "expect");
	if (reading_check_object(reading, expect, expect_keys) && reading->problems == problems && !reading->is_lenient)
		try_test(reading, test);
	reading_leave(reading, mark);
	if (test->name != NULL && reading->problems > problems)
		reading_complain_at(reading, "name", "this is the test \"%s\"", test->name);
	reading->policy->test_count++;
}

void reading_tests(struct reading *reading, json_t *document)
{
	struct policy *policy = reading->policy;
	json_t *tests;
	size_t mark;

	if (!reading_array(reading, document, "tests", false, &tests))
		return;
	mark = reading_enter(reading, "tests");
	policy->tests = calloc(json_array_size(tests), sizeof(*policy->tests));
	if (policy->tests == NULL)
		reading_complain(reading, "out of memory");
	for (size_t i = 0; policy->tests != NULL && i < json_array_size(tests); i++) {
		size_t element = reading_enter_index(reading, i);

		read_test(reading, json_array_get(tests, i), &policy->tests[i]);
		reading_leave(reading, element);
	}
	reading_leave(reading, mark);
}

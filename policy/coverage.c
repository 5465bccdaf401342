/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rules and conditions a policy's tests exercise: a rule when it decided
 * in some test, a condition when in tests of its rule it has both held and
 * failed.  A rule that no request can make decide is dead, which is told from
 * walking every point and not from the tests.
 */
#include <stdlib.h>

#include "policy/report.h"
#include "policy/tools.h"

struct rule_reach {
	uint64_t matches, decides; /* points */
};

static bool decides(const struct gate_decision *decision, const struct rule *rule)
{
	for (size_t i = 0; i < decision->rule_count; i++) {
		if (decision->rules[i] == rule->id)
			return true;
	}
	/* A decision names a bounded number of rules; past that only the match can be told. */
	return decision->rule_count == GATE_RULES_MAX;
}

static void reach_point(const struct policy *policy, const struct facts *facts, struct rule_reach *reach)
{
	struct gate_decision decision;

	facts_decide(policy, facts, &decision);
	for (size_t i = 0; i < policy->rule_count; i++) {
		if (!rule_matches(policy, &policy->rules[i], facts))
			continue;
		reach[i].matches++;
		if (decides(&decision, &policy->rules[i]))
			reach[i].decides++;
	}
}

static enum status walk(const struct policy *policy, struct rule_reach *reach)
{
	struct enumeration *points = calloc(1, sizeof(*points));

	if (points == NULL)
		return STATUS_NO_MEMORY;
	for (int operation = 0; operation < GATE_OPERATIONS; operation++) {
		for (int type = 1; type <= policy->types.count; type++) {
			enumeration_begin(
				points, &policy, 1, (enum gate_operation)operation, policy->types.text[type], NULL);
			do
				reach_point(policy, &points->facts[0], reach);
			while (enumeration_step(points));
		}
	}
	free(points);
	return STATUS_OK;
}

struct tally {
	int rules, rules_exercised, conditions, conditions_exercised, dead;
};

static json_t *report_conditions(const struct policy *policy, size_t index, struct tally *tally)
{
	const struct rule *rule = &policy->rules[index];
	json_t *list = json_array();

	for (size_t i = 0; i < rule->condition_count; i++) {
		struct strbuf text = STRBUF_INIT;
		int held = 0, failed = 0;

		for (size_t t = 0; t < policy->test_count; t++) {
			const struct facts *facts = &policy->tests[t].facts;

			if (!rule_is_about(rule, facts))
				continue;
			if (condition_holds(policy, rule, &rule->conditions[i], facts))
				held++;
			else
				failed++;
		}
		rule_condition_text(policy, index, i, &text);
		json_array_append_new(
			list, json_pack("{s:s,s:i,s:i}", "condition", text.data, "held", held, "failed", failed));
		strbuf_release(&text);
		tally->conditions++;
		tally->conditions_exercised += held > 0 && failed > 0;
	}
	return list;
}

static json_t *report_rule(
	const struct policy *policy, size_t index, const struct rule_reach *reach, struct tally *tally)
{
	const struct rule *rule = &policy->rules[index];
	int tests = 0;

	for (size_t t = 0; t < policy->test_count; t++) {
		struct gate_decision decision;

		facts_decide(policy, &policy->tests[t].facts, &decision);
		tests += rule_matches(policy, rule, &policy->tests[t].facts) && decides(&decision, rule);
	}
	tally->rules++;
	tally->rules_exercised += tests > 0;
	tally->dead += reach->decides == 0;
	return json_pack("{s:s,s:s,s:i,s:I,s:I,s:b,s:o}", "id", rule->id, "effect",
		rule->is_forbid ? "forbid" : "permit", "tests", tests, "matches", (json_int_t)reach->matches, "decides",
		(json_int_t)reach->decides, "dead", reach->decides == 0, "conditions",
		report_conditions(policy, index, tally));
}

enum status policy_coverage(const struct policy *policy, json_t **report_out, struct strbuf *why)
{
	uint64_t points = enumeration_count(&policy, 1, NULL, why);
	struct rule_reach *reach;
	struct tally tally = { 0 };
	json_t *rules;
	enum status status;

	*report_out = NULL;
	if (points > POLICY_POINTS_MAX)
		return STATUS_TOO_LARGE;
	reach = calloc(policy->rule_count, sizeof(*reach));
	if (reach == NULL)
		return STATUS_NO_MEMORY;
	status = walk(policy, reach);
	if (status == STATUS_OK) {
		rules = json_array();
		for (size_t i = 0; i < policy->rule_count; i++)
			json_array_append_new(rules, report_rule(policy, i, &reach[i], &tally));
		*report_out = json_pack("{s:s,s:I,s:I,s:i,s:i,s:i,s:i,s:i,s:o}", "policy", policy->version, "points",
			(json_int_t)points, "tests", (json_int_t)policy->test_count, "rules_all", tally.rules,
			"rules_exercised", tally.rules_exercised, "conditions_all", tally.conditions,
			"conditions_exercised", tally.conditions_exercised, "rules_dead", tally.dead, "rules", rules);
		status = *report_out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	}
	free(reach);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does anyone notice when the policy changes?  Each rule is changed in every
 * small way (dropped, turned, a list or a condition taken away, a name added or
 * removed, a term loosened), and the policy's own tests and invariants are asked.
 * A change that nothing catches survives, unless walking every point shows that
 * it changes no decision: then, if it took something out, that was redundant.
 *
 * Invariants hold for the policy itself, so they need trying only where a mutant
 * decides otherwise.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/report.h"
#include "policy/tools.h"

struct mutation {
	const struct policy *policy;
	struct policy mutant; /* shares everything but `rules` */
	struct rule *rule;    /* the one changed */
	size_t index;
	struct enumeration points;
	int all, by_tests, by_invariants, without_effect;
	json_t *survived, *redundant;
};

enum finding { CAUGHT_BY_TEST, CAUGHT_BY_INVARIANT, SURVIVED, REDUNDANT };

static bool breaks_invariant(
	const struct policy *policy, const struct facts *facts, const struct gate_decision *decision)
{
	for (size_t i = 0; i < policy->invariant_count; i++) {
		if (invariant_is_broken(&policy->invariants[i], facts, decision))
			return true;
	}
	return false;
}

/* Over the points of one operation and type; *example_out is the first that differs. */
static enum finding find_difference(struct mutation *mutation, json_t **example_out)
{
	enum finding finding = REDUNDANT;

	do {
		const struct facts *facts = &mutation->points.facts[0];
		struct gate_decision before, after;

		facts_decide(mutation->policy, facts, &before);
		facts_decide(&mutation->mutant, facts, &after);
		if (decision_equal(&before, &after))
			continue;
		if (*example_out == NULL)
			*example_out = report_describe(&mutation->points);
		if (breaks_invariant(mutation->policy, facts, &after))
			return CAUGHT_BY_INVARIANT;
		finding = SURVIVED;
	} while (enumeration_step(&mutation->points));
	return finding;
}

static enum finding judge_by_points(struct mutation *mutation, json_t **example_out)
{
	const struct policy *policy = mutation->policy;
	const struct rule *before = &policy->rules[mutation->index], *after = mutation->rule;
	enum finding finding = REDUNDANT;

	for (int operation = 0; operation < GATE_OPERATIONS; operation++) {
		for (int type = 1; type <= policy->types.count; type++) {
			enum finding here;

			if (((before->operations | after->operations) & OPERATION_BIT(operation)) == 0 ||
				((before->types | after->types) & NAME_BIT(type)) == 0)
				continue;
			enumeration_begin(&mutation->points, &policy, 1, (enum gate_operation)operation,
				policy->types.text[type], NULL);
			here = find_difference(mutation, example_out);
			if (here == CAUGHT_BY_INVARIANT)
				return here;
			if (here == SURVIVED)
				finding = SURVIVED;
		}
	}
	return finding;
}

static enum finding judge(struct mutation *mutation, json_t **example_out)
{
	for (size_t i = 0; i < mutation->policy->test_count; i++) {
		struct strbuf why = STRBUF_INIT;
		bool passes = policy_test_passes(&mutation->mutant, &mutation->policy->tests[i], &why);

		strbuf_release(&why);
		if (!passes)
			return CAUGHT_BY_TEST;
	}
	return judge_by_points(mutation, example_out);
}

static void restore_rule(struct mutation *mutation)
{
	const struct rule *original = &mutation->policy->rules[mutation->index];
	uint64_t *fields = mutation->rule->fields;

	*mutation->rule = *original;
	mutation->rule->fields = fields;
	memcpy(fields, original->fields, (NAMES_MAX + 1) * sizeof(*fields));
}

/* Judges the mutant as it stands, then puts the rule back.  takes_away: the change takes something out of the policy. */
static void try_mutant(struct mutation *mutation, bool takes_away, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void try_mutant(struct mutation *mutation, bool takes_away, const char *format, ...)
{
	const struct rule *original = &mutation->policy->rules[mutation->index];
	struct strbuf text = STRBUF_INIT;
	json_t *example = NULL;
	va_list args;

	strbuf_addf(&text, "%s: ", original->id);
	va_start(args, format);
	strbuf_vaddf(&text, format, args);
	va_end(args);
	mutation->all++;
	switch (judge(mutation, &example)) {
	case CAUGHT_BY_TEST:
		mutation->by_tests++;
		break;
	case CAUGHT_BY_INVARIANT:
		mutation->by_invariants++;
		break;
	case SURVIVED:
		json_array_append_new(
			mutation->survived, json_pack("{s:s,s:O}", "change", text.data, "example", example));
		break;
	case REDUNDANT:
		mutation->without_effect++;
		if (takes_away)
			json_array_append_new(mutation->redundant, json_pack("{s:s}", "change", text.data));
		break;
	}
	json_decref(example);
	strbuf_release(&text);
	restore_rule(mutation);
}

/* A rule that is about nothing. */
static void drop_rule(struct mutation *mutation)
{
	mutation->rule->operations = 0;
	try_mutant(mutation, true, "drop the rule");
}

static void turn_rule(struct mutation *mutation)
{
	const struct policy *policy = mutation->policy;

	mutation->rule->is_forbid = !mutation->rule->is_forbid;
	for (int type = 1; mutation->rule->is_forbid == false && type <= policy->types.count; type++) {
		size_t count = policy->type[type].field_count;

		mutation->rule->fields[type] = count == 64 ? ~(uint64_t)0 : NAME_BIT(count) - 1;
	}
	try_mutant(mutation, false, "turn %s into %s",
		mutation->policy->rules[mutation->index].is_forbid ? "forbid" : "permit",
		mutation->policy->rules[mutation->index].is_forbid ? "permit" : "forbid");
}

static void change_operations(struct mutation *mutation)
{
	uint8_t operations = mutation->policy->rules[mutation->index].operations;

	for (int operation = 0; operation < GATE_OPERATIONS; operation++) {
		bool has = (operations & OPERATION_BIT(operation)) != 0;

		if (has && operations == OPERATION_BIT(operation))
			continue;
		mutation->rule->operations ^= (uint8_t)OPERATION_BIT(operation);
		try_mutant(mutation, has, "operation: %s %s", has ? "without" : "also",
			operation_name((enum gate_operation)operation));
	}
}

static void change_list(struct mutation *mutation, const char *key, uint64_t *list, const struct names *names)
{
	uint64_t before = *list;

	if (before == ~(uint64_t)0)
		return;
	*list = ~(uint64_t)0;
	try_mutant(mutation, true, "%s: any", key);
	for (int id = 1; id <= names->count; id++) {
		bool has = (before & NAME_BIT(id)) != 0;

		*list = before ^ NAME_BIT(id);
		if (has && (*list & ~NAME_BIT(NAME_UNKNOWN)) == 0) {
			*list = before; /* none left: that is dropping the rule */
			continue;
		}
		try_mutant(mutation, has, "%s: %s %s", key, has ? "without" : "also", names->text[id]);
	}
}

static void change_conditions(struct mutation *mutation)
{
	const struct rule *original = &mutation->policy->rules[mutation->index];

	for (size_t i = 0; i < original->condition_count; i++) {
		struct strbuf text = STRBUF_INIT;

		rule_condition_text(mutation->policy, mutation->index, i, &text);
		mutation->rule->conditions[i] = original->conditions[original->condition_count - 1];
		mutation->rule->condition_count--;
		try_mutant(mutation, true, "drop the condition %s", text.data);
		mutation->rule->conditions[i].is_negated = !mutation->rule->conditions[i].is_negated;
		try_mutant(mutation, false, "turn the condition %s", text.data);
		strbuf_release(&text);
	}
}

static void change_fields(struct mutation *mutation)
{
	const struct policy *policy = mutation->policy;
	const struct rule *original = &policy->rules[mutation->index];

	for (int type = 1; type <= policy->types.count; type++) {
		if (original->fields[type] == 0)
			continue;
		for (size_t i = 0; i < policy->type[type].field_count; i++) {
			bool has = (original->fields[type] & NAME_BIT(i)) != 0;

			mutation->rule->fields[type] ^= NAME_BIT(i);
			try_mutant(mutation, has, "fields: %s %s of %s", has ? "without" : "also",
				policy->type[type].fields[i], policy->types.text[type]);
		}
	}
}

static void change_terms(struct mutation *mutation)
{
	const struct rule *original = &mutation->policy->rules[mutation->index];

	if (original->is_forbid)
		return;
	if (original->ttl_max_s >= 0) {
		mutation->rule->ttl_max_s = -1;
		try_mutant(mutation, true, "drop cache_ttl_max_s");
	}
	mutation->rule->onward = !original->onward;
	try_mutant(mutation, false, "onward: %s", original->onward ? "no" : "yes");
}

static void change_rule(struct mutation *mutation)
{
	const struct policy *policy = mutation->policy;
	const struct rule *original = &policy->rules[mutation->index];
	struct rule *rule = mutation->rule;
	bool is_local = original->operations == OPERATION_BIT(GATE_LOCAL);

	drop_rule(mutation);
	turn_rule(mutation);
	change_operations(mutation);
	change_list(mutation, "from", &rule->from, &policy->regions);
	change_list(mutation, "to", &rule->to, &policy->regions);
	change_list(mutation, "type", &rule->types, &policy->types);
	change_list(mutation, "purpose", &rule->purposes, &policy->purposes);
	change_list(mutation, "caller", &rule->callers, &policy->callers);
	change_conditions(mutation);
	/* Fields and terms at home bind nobody. */
	if (!original->is_forbid && !is_local)
		change_fields(mutation);
	if (!is_local)
		change_terms(mutation);
}

static bool change_all(struct mutation *mutation)
{
	const struct policy *policy = mutation->policy;
	uint64_t *fields = calloc(NAMES_MAX + 1, sizeof(*fields));
	struct rule *rules = calloc(policy->rule_count, sizeof(*rules));
	bool is_done = fields != NULL && rules != NULL;

	for (size_t i = 0; is_done && i < policy->rule_count; i++) {
		memcpy(rules, policy->rules, policy->rule_count * sizeof(*rules));
		memcpy(fields, policy->rules[i].fields, (NAMES_MAX + 1) * sizeof(*fields));
		rules[i].fields = fields;
		mutation->mutant.rules = rules;
		mutation->rule = &rules[i];
		mutation->index = i;
		change_rule(mutation);
	}
	free(rules);
	free(fields);
	return is_done;
}

enum status policy_mutate(const struct policy *policy, json_t **report_out, struct strbuf *why)
{
	struct mutation *mutation;

	*report_out = NULL;
	if (enumeration_count(&policy, 1, NULL, why) > POLICY_POINTS_MAX)
		return STATUS_TOO_LARGE;
	mutation = calloc(1, sizeof(*mutation));
	if (mutation == NULL)
		return STATUS_NO_MEMORY;
	mutation->policy = policy;
	mutation->mutant = *policy;
	mutation->survived = json_array();
	mutation->redundant = json_array();
	if (change_all(mutation))
		*report_out = json_pack("{s:s,s:i,s:i,s:i,s:i,s:O,s:O}", "policy", policy->version, "changes",
			mutation->all, "without_effect", mutation->without_effect, "caught_by_tests",
			mutation->by_tests, "caught_by_invariants", mutation->by_invariants, "survived",
			mutation->survived, "redundant", mutation->redundant);
	json_decref(mutation->survived);
	json_decref(mutation->redundant);
	free(mutation);
	return *report_out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

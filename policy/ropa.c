/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy's side of a record of processing activities (GDPR, article 30): each
 * rule that lets something leave this region, as an activity with its purposes,
 * categories of data, recipients, ground and time limit.  How often each was used
 * is in the access log and not known here.
 */
#include "policy/report.h"
#include "policy/tools.h"

#define LEAVES (OPERATION_BIT(GATE_SERVE) | OPERATION_BIT(GATE_ASK) | OPERATION_BIT(GATE_SEND))

/* The names in the set, or null when it is every name. */
static json_t *names_in(const struct names *names, uint64_t set)
{
	json_t *list;

	if (set == ~(uint64_t)0)
		return json_null();
	list = json_array();
	for (int id = 1; id <= names->count; id++) {
		if ((set & NAME_BIT(id)) != 0)
			json_array_append_new(list, json_string(names->text[id]));
	}
	return list;
}

static json_t *operations_of(const struct rule *rule)
{
	json_t *list = json_array();

	for (int operation = 0; operation < GATE_OPERATIONS; operation++) {
		if ((rule->operations & LEAVES & OPERATION_BIT(operation)) != 0)
			json_array_append_new(list, json_string(operation_name((enum gate_operation)operation)));
	}
	return list;
}

static json_t *categories_of(const struct policy *policy, const struct rule *rule)
{
	json_t *list = json_array();

	for (int type = 1; type <= policy->types.count; type++) {
		if ((rule->types & NAME_BIT(type)) != 0 && rule->fields[type] != 0)
			json_array_append_new(list, json_pack("{s:s,s:b,s:o}", "type", policy->types.text[type],
							    "personal", policy->type[type].is_personal, "fields",
							    report_fields(policy, type, rule->fields[type])));
	}
	return list;
}

static json_t *conditions_of(const struct policy *policy, size_t index)
{
	json_t *list = json_array();

	for (size_t i = 0; i < policy->rules[index].condition_count; i++) {
		struct strbuf text = STRBUF_INIT;

		rule_condition_text(policy, index, i, &text);
		json_array_append_new(list, json_string(text.data));
		strbuf_release(&text);
	}
	return list;
}

json_t *policy_activities(const struct policy *policy)
{
	const json_t *rules = json_object_get(policy->document, "rules");
	json_t *activities = json_array();

	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		json_t *basis = json_object_get(json_array_get(rules, i), "basis"), *activity;

		if (rule->is_forbid || (rule->operations & LEAVES) == 0)
			continue;
		activity = json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:I}", "rule", rule->id, "operations",
			operations_of(rule), "purposes", names_in(&policy->purposes, rule->purposes), "categories",
			categories_of(policy, rule), "recipients", names_in(&policy->regions, rule->to), "callers",
			names_in(&policy->callers, rule->callers), "conditions", conditions_of(policy, i), "onward",
			rule->onward ? "yes" : "no", "cache_ttl_max_s", (json_int_t)rule->ttl_max_s);
		json_object_set_new(activity, "basis", basis != NULL ? json_incref(basis) : json_object());
		json_array_append_new(activities, activity);
	}
	return json_pack("{s:s,s:s,s:s,s:o}", "region", policy->home, "policy", policy->version, "policy_not_after",
		json_string_value(json_object_get(policy->document, "not_after")), "activities", activities);
}

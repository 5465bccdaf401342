/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision.  The numbered steps are those of docs/POLICY.md.  A request is
 * first turned into numbers (one hash lookup per attribute), and every rule is
 * then a few bit tests; nothing is allocated and no text is compared, but for
 * regions that the policy does not mention: two of those have the same number.
 *
 * Pure: the same policy and request give the same decision.  Any thread.
 */
#include <string.h>

#include "base/must.h"
#include "policy/rules.h"

static void flags_of_record(const struct policy *policy, const json_t *record, struct facts *facts)
{
	const struct policy_type *type = &policy->type[facts->type];

	for (int flag = 0; flag < policy->flags.count; flag++) {
		const json_t *value;
		uint8_t *id = &facts->id[ATTRIBUTE_FLAGS + flag];

		if (type->flag_fields[flag] == NULL)
			continue;
		value = json_object_get(record, type->flag_fields[flag]);
		if (value == NULL)
			*id = type->flag_absent[flag];
		else if (json_is_string(value))
			*id = (uint8_t)names_find(&policy->flag_values, json_string_value(value));
		else if (json_is_boolean(value))
			*id = (uint8_t)names_find(&policy->flag_values, json_is_true(value) ? "yes" : "no");
	}
}

bool policy_flag_field(const struct policy *policy, const char *type, const char *flag, char field[GATE_FIELD_SIZE])
{
	int type_id = names_find(&policy->types, type), flag_id = names_find(&policy->flags, flag);
	const char *name;

	if (type_id == NAME_OTHER || type_id == NAME_UNKNOWN || flag_id == NAME_OTHER || flag_id == NAME_UNKNOWN)
		return false;
	name = policy->type[type_id].flag_fields[flag_id - 1];
	if (name == NULL || strlen(name) >= GATE_FIELD_SIZE)
		return false;
	memcpy(field, name, strlen(name) + 1);
	return true;
}

bool policy_has_flags(const struct policy *policy, const char *type)
{
	int type_id = names_find(&policy->types, type);

	if (type_id == NAME_OTHER || type_id == NAME_UNKNOWN)
		return false;
	for (int flag = 0; flag < policy->flags.count; flag++) {
		if (policy->type[type_id].flag_fields[flag] != NULL)
			return true;
	}
	return false;
}

void facts_of_request(const struct policy *policy, const struct gate_request *request, struct facts *facts)
{
	int type = names_find(&policy->types, request->type);

	memset(facts->id, NAME_UNKNOWN, sizeof(facts->id));
	facts->operation = request->operation;
	facts->type = type == NAME_UNKNOWN ? NAME_OTHER : type;
	facts->region[ATTRIBUTE_REQUESTER] = request->requester;
	facts->region[ATTRIBUTE_TO] = request->to;
	facts->region[ATTRIBUTE_STATION_REGION] = request->station_region;
	for (int i = 0; i < ATTRIBUTE_REGIONS; i++)
		facts->id[i] = (uint8_t)names_find(&policy->regions, facts->region[i]);
	facts->id[ATTRIBUTE_PURPOSE] = (uint8_t)names_find(&policy->purposes, request->purpose);
	facts->id[ATTRIBUTE_CALLER] = (uint8_t)names_find(&policy->callers, request->caller);
	if (request->roaming == ROAMING_ACTIVE)
		facts->id[ATTRIBUTE_ROAMING] = (uint8_t)names_find(&policy->roaming, "active");
	else if (request->roaming == ROAMING_NONE)
		facts->id[ATTRIBUTE_ROAMING] = (uint8_t)names_find(&policy->roaming, "none");
	if (facts->type != NAME_OTHER && json_is_object(request->record) &&
		(OPERATION_BIT(request->operation) & OPERATIONS_RECORD) != 0)
		flags_of_record(policy, request->record, facts);
}

static bool is_same_region(const struct facts *facts, int a, int b)
{
	if (facts->id[a] != facts->id[b] || facts->id[a] == NAME_UNKNOWN)
		return false;
	return facts->id[a] != NAME_OTHER || strcmp(facts->region[a], facts->region[b]) == 0;
}

bool facts_are_consistent(const struct policy *policy, const struct facts *facts)
{
	bool from_home = facts->id[ATTRIBUTE_REQUESTER] == policy->home_id;
	bool to_home = facts->id[ATTRIBUTE_TO] == policy->home_id;
	bool to_unknown = facts->id[ATTRIBUTE_TO] == NAME_UNKNOWN;

	switch (facts->operation) {
	case GATE_LOCAL:
		return from_home && to_home;
	case GATE_ASK:
		return from_home && !to_home && !to_unknown;
	case GATE_SERVE:
		return !to_home && is_same_region(facts, ATTRIBUTE_REQUESTER, ATTRIBUTE_TO);
	case GATE_SEND:
		return from_home && !to_home && !to_unknown;
	case GATE_RECEIVE:
		return to_home && !from_home && facts->id[ATTRIBUTE_REQUESTER] != NAME_UNKNOWN;
	}
	return false;
}

void facts_set_regions(const struct policy *policy, struct facts *facts, uint8_t other_id, const char *other)
{
	bool from_home = facts->operation == GATE_LOCAL || facts->operation == GATE_ASK ||
			 facts->operation == GATE_SEND;
	bool to_home = facts->operation == GATE_LOCAL || facts->operation == GATE_RECEIVE;

	facts->id[ATTRIBUTE_REQUESTER] = from_home ? (uint8_t)policy->home_id : other_id;
	facts->region[ATTRIBUTE_REQUESTER] = from_home ? policy->home : other;
	facts->id[ATTRIBUTE_TO] = to_home ? (uint8_t)policy->home_id : other_id;
	facts->region[ATTRIBUTE_TO] = to_home ? policy->home : other;
}

bool rule_is_about(const struct rule *rule, const struct facts *facts)
{
	return (rule->operations & OPERATION_BIT(facts->operation)) != 0 &&
	       (rule->types & NAME_BIT(facts->type)) != 0 &&
	       (rule->from & NAME_BIT(facts->id[ATTRIBUTE_REQUESTER])) != 0 &&
	       (rule->to & NAME_BIT(facts->id[ATTRIBUTE_TO])) != 0 &&
	       (rule->purposes & NAME_BIT(facts->id[ATTRIBUTE_PURPOSE])) != 0 &&
	       (rule->callers & NAME_BIT(facts->id[ATTRIBUTE_CALLER])) != 0;
}

bool condition_holds(const struct policy *policy, const struct rule *rule, const struct condition *condition,
	const struct facts *facts)
{
	int attribute = condition->attribute;
	int id = facts->id[attribute];
	bool is_in;

	if (id == NAME_UNKNOWN)
		return rule->is_forbid;
	is_in = (condition->values & NAME_BIT(id)) != 0;
	if ((condition->variables & VARIABLE_HOME) != 0 && id == policy->home_id)
		is_in = true;
	if ((condition->variables & VARIABLE_REQUESTER) != 0 && is_same_region(facts, attribute, ATTRIBUTE_REQUESTER))
		is_in = true;
	if ((condition->variables & VARIABLE_TO) != 0 && is_same_region(facts, attribute, ATTRIBUTE_TO))
		is_in = true;
	return is_in != condition->is_negated;
}

bool rule_matches(const struct policy *policy, const struct rule *rule, const struct facts *facts)
{
	if (!rule_is_about(rule, facts))
		return false;
	for (size_t i = 0; i < rule->condition_count; i++) {
		if (!condition_holds(policy, rule, &rule->conditions[i], facts))
			return false;
	}
	return true;
}

static void name_rule(struct gate_decision *decision, const struct rule *rule)
{
	if (decision->rule_count < GATE_RULES_MAX)
		decision->rules[decision->rule_count++] = rule->id;
}

static void deny(struct gate_decision *decision)
{
	decision->permitted = false;
	decision->fields = 0;
	decision->ttl_max_s = -1;
	decision->onward = false;
	decision->rule_count = 0;
}

void facts_decide(const struct policy *policy, const struct facts *facts, struct gate_decision *decision)
{
	bool is_forbidden = false;

	deny(decision);
	/* 1: the regions must fit the operation. */
	if (!facts_are_consistent(policy, facts))
		return;
	/* 2: a type the policy does not describe. */
	if (facts->type == NAME_OTHER)
		return;
	/* 4: every rule is looked at, so that all forbids are named. */
	decision->onward = true;
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];

		if ((is_forbidden && !rule->is_forbid) || !rule_matches(policy, rule, facts))
			continue;
		if (rule->is_forbid && !is_forbidden) {
			deny(decision);
			is_forbidden = true;
		}
		name_rule(decision, rule);
		if (rule->is_forbid)
			continue;
		decision->fields |= rule->fields[facts->type];
		if (rule->ttl_max_s >= 0 && (decision->ttl_max_s < 0 || rule->ttl_max_s < decision->ttl_max_s))
			decision->ttl_max_s = rule->ttl_max_s;
		decision->onward = decision->onward && rule->onward;
	}
	/* 5: a forbid overrides every permit. */
	if (is_forbidden)
		return;
	/* 6: nothing permits it, or nothing of it. */
	if (decision->fields == 0) {
		deny(decision);
		return;
	}
	/* 7: permitted, with the strictest of the permits' obligations. */
	decision->permitted = true;
}

void policy_decide(const struct policy *policy, const struct gate_request *request, struct gate_decision *decision)
{
	struct facts facts;

	must(decision != NULL);
	if (policy == NULL) {
		deny(decision);
		return;
	}
	if (request->is_over_budget) {
		deny(decision);
		decision->rules[decision->rule_count++] = GATE_BUDGET;
		return;
	}
	if (request->is_absent) {
		deny(decision);
		decision->rules[decision->rule_count++] = GATE_ABSENT;
		return;
	}
	facts_of_request(policy, request, &facts);
	/* 3: out of date, so nothing personal. */
	if (request->now_wall_us >= policy->not_after_us && facts.type != NAME_OTHER &&
		policy->type[facts.type].is_personal) {
		deny(decision);
		return;
	}
	facts_decide(policy, &facts, decision);
	/* 8: an event crosses whole or not at all. */
	if (decision->permitted && (OPERATION_BIT(request->operation) & OPERATIONS_EVENT) != 0)
		event_decide(policy, request, decision);
}

bool policy_may_permit(const struct policy *policy, enum gate_operation operation, int type)
{
	if ((OPERATION_BIT(operation) & OPERATIONS_EVENT) == 0)
		return true;
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];

		if (!rule->is_forbid && (rule->operations & OPERATION_BIT(operation)) != 0 &&
			(rule->types & NAME_BIT(type)) != 0)
			return true;
	}
	return false;
}

bool policy_reads_roaming(
	const struct policy *policy, enum gate_operation operation, const char *type, const char *purpose)
{
	uint64_t type_bit, purpose_bit;

	if (policy != NULL && policy->shadow != NULL &&
		policy_reads_roaming(shadow_policy_of(policy->shadow), operation, type, purpose))
		return true;
	if (policy == NULL || !policy->is_read[ATTRIBUTE_ROAMING])
		return false;
	type_bit = NAME_BIT(names_find(&policy->types, type));
	purpose_bit = NAME_BIT(names_find(&policy->purposes, purpose));
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];

		if ((rule->operations & OPERATION_BIT(operation)) == 0 || (rule->types & type_bit) == 0 ||
			(rule->purposes & purpose_bit) == 0)
			continue;
		for (size_t j = 0; j < rule->condition_count; j++) {
			if (rule->conditions[j].attribute == ATTRIBUTE_ROAMING)
				return true;
		}
	}
	return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the rules.  Beyond their form it refuses what can only be a mistake: a
 * condition on a flag that some type of the rule does not have, or that cannot
 * be known for some operation of the rule (an `ask` has no record yet).  Such a
 * condition is on an unknown attribute for ever, and so a forbid that always
 * fires or a permit that never matches.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "policy/reading.h"

#define REGION_VALUES "\"$requester\", \"$home\" or \"$to\""

static uint8_t variable_of(const char *text)
{
	if (strcmp(text, "$requester") == 0)
		return VARIABLE_REQUESTER;
	if (strcmp(text, "$home") == 0)
		return VARIABLE_HOME;
	return strcmp(text, "$to") == 0 ? VARIABLE_TO : 0;
}

static void read_condition_value(struct reading *reading, const json_t *value, struct condition *condition)
{
	const char *text = json_string_value(value);
	int id;

	if (text != NULL && text[0] == '$') {
		uint8_t variable = variable_of(text);

		if (variable == 0 || condition->attribute >= ATTRIBUTE_REGIONS)
			reading_complain(reading, "a variable is " REGION_VALUES ", and only for a region");
		condition->variables |= variable;
		return;
	}
	id = reading_value(reading, condition->attribute, value, false);
	if (id >= 0)
		condition->values |= NAME_BIT(id);
}

static void check_flag(struct reading *reading, const struct rule *rule, int attribute)
{
	const struct policy *policy = reading->policy;
	int flag = attribute - ATTRIBUTE_FLAGS;

	if (flag < 0)
		return;
	if ((rule->operations & ~OPERATIONS_RECORD) != 0)
		reading_complain(reading,
			"%s is known to \"local\" and \"serve\" only, which have a record; name the rule's operations",
			policy->flags.text[flag + 1]);
	for (int type = 1; type <= policy->types.count; type++) {
		if ((rule->types & NAME_BIT(type)) != 0 && policy->type[type].flag_fields[flag] == NULL)
			reading_complain(reading, "type %s has no flag %s; name the types the rule is for",
				policy->types.text[type], policy->flags.text[flag + 1]);
	}
}

static void read_condition_values(
	struct reading *reading, const char *operation, const json_t *values, struct condition *condition)
{
	if (operation == NULL ||
		(strcmp(operation, "eq") != 0 && strcmp(operation, "ne") != 0 && strcmp(operation, "in") != 0)) {
		reading_complain(reading, "the operator must be \"eq\", \"ne\" or \"in\"");
	} else if (strcmp(operation, "in") != 0) {
		condition->is_negated = strcmp(operation, "ne") == 0;
		read_condition_value(reading, values, condition);
	} else if (!json_is_array(values) || json_array_size(values) == 0) {
		reading_complain(reading, "\"in\" needs a list that is not empty");
	} else {
		for (size_t i = 0; i < json_array_size(values); i++)
			read_condition_value(reading, json_array_get(values, i), condition);
	}
}

static void read_condition(struct reading *reading, const json_t *value, struct rule *rule)
{
	struct policy *policy = reading->policy;
	struct condition *condition = &rule->conditions[rule->condition_count];
	const char *name = json_string_value(json_array_get(value, 0));
	int attribute;

	if (!json_is_array(value) || json_array_size(value) != 3 || name == NULL) {
		reading_complain(reading, "must be [attribute, operator, value]");
		return;
	}
	attribute = attribute_find(policy, name);
	if (attribute < 0) {
		reading_complain(reading,
			"no attribute \"%s\"; there are requester, to, evidence.station_region, purpose, caller, "
			"subject.roaming and the flags of the types",
			name);
		return;
	}
	condition->attribute = (uint8_t)attribute;
	check_flag(reading, rule, attribute);
	read_condition_values(
		reading, json_string_value(json_array_get(value, 1)), json_array_get(value, 2), condition);
	policy->is_read[attribute] = true;
	policy->mentioned[attribute] |= condition->values;
	rule->condition_count++;
}

static void read_conditions(struct reading *reading, const json_t *value, struct rule *rule)
{
	json_t *list;
	size_t mark;

	if (!reading_array(reading, value, "when", false, &list))
		return;
	mark = reading_enter(reading, "when");
	if (json_array_size(list) > POLICY_CONDITIONS_MAX)
		reading_complain(reading, "more than %d conditions", POLICY_CONDITIONS_MAX);
	for (size_t i = 0; i < json_array_size(list) && rule->condition_count < POLICY_CONDITIONS_MAX; i++) {
		size_t element = reading_enter_index(reading, i);

		read_condition(reading, json_array_get(list, i), rule);
		reading_leave(reading, element);
	}
	reading_leave(reading, mark);
}

static void read_rule_fields(struct reading *reading, const json_t *value, struct rule *rule)
{
	const char *first;
	json_t *list;

	if (rule->is_forbid) {
		if (json_object_get(value, "fields") != NULL)
			reading_complain_at(reading, "fields", "a forbid has none: it denies the whole lookup");
		return;
	}
	if (!reading_array(reading, value, "fields", true, &list))
		return;
	first = json_string_value(json_array_get(list, 0));
	if (json_array_size(list) != 1 || first == NULL || strcmp(first, "*") != 0) {
		reading_fields(reading, list, rule->types, rule->fields);
		return;
	}
	if (rule->operations != OPERATION_BIT(GATE_LOCAL))
		reading_complain_at(reading, "fields", "\"*\" is only for a rule with \"operation\":[\"local\"]");
	for (int type = 1; type <= reading->policy->types.count; type++) {
		size_t count = reading->policy->type[type].field_count;

		if ((rule->types & NAME_BIT(type)) != 0)
			rule->fields[type] = count == 64 ? ~(uint64_t)0 : NAME_BIT(count) - 1;
	}
}

static void read_obligations(struct reading *reading, const json_t *value, struct rule *rule)
{
	static const char *const keys[] = { "cache_ttl_max_s", "onward", NULL };
	json_t *obligations = json_object_get(value, "obligations");
	const char *onward;
	size_t mark;

	rule->ttl_max_s = -1;
	if (obligations == NULL)
		return;
	mark = reading_enter(reading, "obligations");
	if (rule->is_forbid)
		reading_complain(reading, "a forbid has none");
	else if (reading_check_object(reading, obligations, keys)) {
		onward = reading_string(reading, obligations, "onward", false);
		if (onward != NULL && strcmp(onward, "yes") != 0 && strcmp(onward, "no") != 0)
			reading_complain_at(reading, "onward", "must be \"yes\" or \"no\"");
		rule->onward = onward != NULL && strcmp(onward, "yes") == 0;
		if (json_object_get(obligations, "cache_ttl_max_s") != NULL &&
			(!json_get_integer(obligations, "cache_ttl_max_s", &rule->ttl_max_s) || rule->ttl_max_s < 0))
			reading_complain_at(reading, "cache_ttl_max_s", "must be seconds, 0 or more");
	}
	reading_leave(reading, mark);
}

static void read_basis(struct reading *reading, const json_t *value)
{
	json_t *basis = json_object_get(value, "basis");
	size_t mark = reading_enter(reading, "basis");

	if (basis != NULL && !json_is_object(basis))
		reading_complain(reading, "must be an object of strings");
	for (void *at = json_object_iter(basis); at != NULL; at = json_object_iter_next(basis, at)) {
		if (!json_is_string(json_object_iter_value(at)))
			reading_complain_at(reading, json_object_iter_key(at), "must be a string");
	}
	reading_leave(reading, mark);
}

static void read_scope(struct reading *reading, const json_t *value, struct rule *rule)
{
	struct policy *policy = reading->policy;

	/* A permit that was written for lookups must not let events through as well. */
	rule->operations = reading_operations(reading, value, rule->is_forbid ? OPERATIONS_ALL : OPERATIONS_LOOKUP);
	rule->from = reading_names(reading, value, "from", &policy->regions, true, REGION_SIZE, false);
	rule->to = reading_names(reading, value, "to", &policy->regions, true, REGION_SIZE, false);
	rule->types = reading_names(reading, value, "type", &policy->types, false, OBJECT_TYPE_SIZE, false);
	rule->purposes = reading_names(reading, value, "purpose", &policy->purposes, true, PURPOSE_SIZE, false);
	rule->callers = reading_names(reading, value, "caller", &policy->callers, true, CALLER_SIZE, false);
	if (json_object_get(value, "caller") != NULL)
		policy->is_read[ATTRIBUTE_CALLER] = true;
	/* Data that nobody described crosses only by a rule that names it. */
	for (int type = 1; type <= policy->types.count && !rule->is_forbid; type++)
		if (json_object_get(value, "type") == NULL && policy->type[type].classification != NULL)
			rule->types &= ~NAME_BIT(type);
	/* What is not known may be on the list. */
	if (rule->is_forbid) {
		rule->purposes |= NAME_BIT(NAME_UNKNOWN);
		rule->callers |= NAME_BIT(NAME_UNKNOWN);
	}
}

static void check_rule_id(struct reading *reading, size_t index)
{
	const struct rule *rules = reading->policy->rules;

	/* The access log lists rules with commas between. */
	if (strpbrk(rules[index].id, ", ") != NULL || strlen(rules[index].id) > 64)
		reading_complain_at(reading, "id", "must be at most 64 characters without ',' or a space");
	if (strcmp(rules[index].id, GATE_ABSENT) == 0)
		reading_complain_at(
			reading, "id", "\"" GATE_ABSENT "\" is what the record says of an object that does not exist");
	if (strcmp(rules[index].id, GATE_BUDGET) == 0)
		reading_complain_at(
			reading, "id", "\"" GATE_BUDGET "\" is what the record says of a lookup past its budget");
	for (size_t i = 0; i < index; i++) {
		if (rules[i].id != NULL && strcmp(rules[i].id, rules[index].id) == 0)
			reading_complain_at(reading, "id", "rule %zu has the same id", i);
	}
}

static void read_rule(struct reading *reading, json_t *value, size_t index)
{
	static const char *const keys[] = { "id", "effect", "operation", "from", "to", "type", "purpose", "caller",
		"when", "fields", "obligations", "basis", NULL };
	struct rule *rule = &reading->policy->rules[index];
	const char *effect;

	if (!reading_check_object(reading, value, keys))
		return;
	rule->id = reading_string(reading, value, "id", true);
	if (rule->id != NULL)
		check_rule_id(reading, index);
	effect = reading_string(reading, value, "effect", true);
	if (effect != NULL && strcmp(effect, "permit") != 0 && strcmp(effect, "forbid") != 0)
		reading_complain_at(reading, "effect", "must be \"permit\" or \"forbid\"");
	rule->is_forbid = effect == NULL || strcmp(effect, "permit") != 0;
	read_scope(reading, value, rule);
	read_conditions(reading, value, rule);
	read_rule_fields(reading, value, rule);
	read_obligations(reading, value, rule);
	read_basis(reading, value);
}

void reading_rules(struct reading *reading, json_t *document)
{
	struct policy *policy = reading->policy;
	json_t *rules;
	size_t mark;

	if (!reading_array(reading, document, "rules", true, &rules))
		return;
	mark = reading_enter(reading, "rules");
	if (json_array_size(rules) > POLICY_RULES_MAX)
		reading_complain(reading, "more than %d rules", POLICY_RULES_MAX);
	else
		policy->rules = calloc(json_array_size(rules), sizeof(*policy->rules));
	policy->rule_count = policy->rules != NULL ? json_array_size(rules) : 0;
	for (size_t i = 0; i < policy->rule_count; i++) {
		size_t element = reading_enter_index(reading, i);

		policy->rules[i].fields = calloc(NAMES_MAX + 1, sizeof(uint64_t));
		if (policy->rules[i].fields == NULL)
			reading_complain(reading, "out of memory");
		else
			read_rule(reading, json_array_get(rules, i), i);
		reading_leave(reading, element);
	}
	if (policy->rule_count == 0 && json_array_size(rules) <= POLICY_RULES_MAX)
		reading_complain(reading, "out of memory");
	reading_leave(reading, mark);
}

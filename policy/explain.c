/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision in words, for the operator of the home region: outside, denied
 * and unknown look the same, and this is where the difference can be learnt.
 * Works on the same facts as the decision and asks the same functions, so it
 * cannot tell another story; the words of a condition are taken from the file.
 */
#include "policy/rules.h"

static const json_t *rule_json(const struct policy *policy, size_t index)
{
	return json_array_get(json_object_get(policy->document, "rules"), index);
}

static void add_list(struct strbuf *text, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		strbuf_addf(text, "%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(list, i)));
}

static void add_condition(struct strbuf *text, const json_t *condition)
{
	const json_t *value = json_array_get(condition, 2);

	strbuf_addf(text, "%s %s ", json_string_value(json_array_get(condition, 0)),
		json_string_value(json_array_get(condition, 1)));
	if (json_is_array(value))
		add_list(text, value);
	else
		strbuf_adds(text, json_string_value(value));
}

void rule_condition_text(const struct policy *policy, size_t rule, size_t condition, struct strbuf *text)
{
	add_condition(text, json_array_get(json_object_get(rule_json(policy, rule), "when"), condition));
}

static void add_head(
	const struct policy *policy, const struct gate_request *request, const struct facts *facts, struct strbuf *text)
{
	strbuf_addf(text, "policy %s of %s\n%s %s: requester %s, to %s, purpose %s, caller %s\n", policy->version,
		policy->home, operation_name(facts->operation), request->type != NULL ? request->type : "unknown",
		fact_text(policy, facts, ATTRIBUTE_REQUESTER), fact_text(policy, facts, ATTRIBUTE_TO),
		request->purpose != NULL ? request->purpose : "unknown",
		request->caller != NULL && request->caller[0] != '\0' ? request->caller : "unknown");
	strbuf_addf(text, "  evidence.station_region is %s\n  subject.roaming is %s\n",
		fact_text(policy, facts, ATTRIBUTE_STATION_REGION), fact_text(policy, facts, ATTRIBUTE_ROAMING));
	for (int flag = 0; facts->type != NAME_OTHER && flag < policy->flags.count; flag++) {
		if (policy->type[facts->type].flag_fields[flag] != NULL)
			strbuf_addf(text, "  %s is %s\n", attribute_name(policy, ATTRIBUTE_FLAGS + flag),
				fact_text(policy, facts, ATTRIBUTE_FLAGS + flag));
	}
}

static bool add_scope_mismatch(
	const struct rule *rule, const json_t *json, const struct facts *facts, struct strbuf *text)
{
	const struct {
		const char *key;
		bool matches;
	} lists[] = {
		{ "operation", (rule->operations & OPERATION_BIT(facts->operation)) != 0 },
		{ "type", (rule->types & NAME_BIT(facts->type)) != 0 },
		{ "from", (rule->from & NAME_BIT(facts->id[ATTRIBUTE_REQUESTER])) != 0 },
		{ "to", (rule->to & NAME_BIT(facts->id[ATTRIBUTE_TO])) != 0 },
		{ "purpose", (rule->purposes & NAME_BIT(facts->id[ATTRIBUTE_PURPOSE])) != 0 },
		{ "caller", (rule->callers & NAME_BIT(facts->id[ATTRIBUTE_CALLER])) != 0 },
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (lists[i].matches)
			continue;
		strbuf_addf(text, "is for another %s: ", lists[i].key);
		add_list(text, json_object_get(json, lists[i].key));
		return true;
	}
	return false;
}

static void add_unknowns(
	const struct rule *rule, const struct facts *facts, const struct policy *policy, struct strbuf *text)
{
	for (size_t i = 0; i < rule->condition_count; i++) {
		int attribute = rule->conditions[i].attribute;

		if (facts->id[attribute] == NAME_UNKNOWN)
			strbuf_addf(text, "; %s is unknown, which fires a forbid", attribute_name(policy, attribute));
	}
}

static void add_rule(const struct policy *policy, size_t index, const struct facts *facts, struct strbuf *text)
{
	const struct rule *rule = &policy->rules[index];
	const json_t *json = rule_json(policy, index);

	strbuf_addf(text, "%s %s ", rule->is_forbid ? "forbid" : "permit", rule->id);
	if (add_scope_mismatch(rule, json, facts, text)) {
		strbuf_addc(text, '\n');
		return;
	}
	for (size_t i = 0; i < rule->condition_count; i++) {
		int attribute = rule->conditions[i].attribute;

		if (condition_holds(policy, rule, &rule->conditions[i], facts))
			continue;
		strbuf_adds(text, "does not match: ");
		rule_condition_text(policy, index, i, text);
		strbuf_addf(text, ", but it is %s%s\n", fact_text(policy, facts, attribute),
			facts->id[attribute] == NAME_UNKNOWN ? ", which fails a permit" : "");
		return;
	}
	strbuf_adds(text, rule->is_forbid ? "FIRES" : "MATCHES");
	if (rule->is_forbid)
		add_unknowns(rule, facts, policy, text);
	strbuf_addc(text, '\n');
}

static void add_verdict(
	const struct policy *policy, const struct gate_request *request, const struct facts *facts, struct strbuf *text)
{
	struct gate_decision decision;

	policy_decide(policy, request, &decision);
	if (decision.permitted) {
		strbuf_adds(text, "PERMITTED: ");
		policy_field_names(policy, request->type, decision.fields, text);
		if (decision.ttl_max_s >= 0)
			strbuf_addf(text, "; cached for at most %lld s", (long long)decision.ttl_max_s);
		strbuf_addf(text, "; onward %s\n", decision.onward ? "yes" : "no");
		return;
	}
	strbuf_adds(text, "DENIED: ");
	if (!facts_are_consistent(policy, facts))
		strbuf_adds(text, "requester and to do not fit the operation");
	else if (facts->type == NAME_OTHER)
		strbuf_adds(text, "the policy does not describe this type");
	else if (request->now_wall_us >= policy->not_after_us && policy->type[facts->type].is_personal)
		strbuf_adds(text, "the policy has expired and the type is personal");
	else if ((OPERATION_BIT(facts->operation) & OPERATIONS_EVENT) != 0)
		policy_event_refusal(policy, request, text);
	else if (decision.rule_count == 0)
		strbuf_adds(text, "no rule permits it");
	else
		strbuf_adds(text, "a forbid overrides");
	strbuf_addc(text, '\n');
}

void policy_explain(const struct policy *policy, const struct gate_request *request, struct strbuf *text)
{
	struct facts facts;

	if (policy == NULL) {
		strbuf_adds(text, "DENIED: there is no policy\n");
		return;
	}
	facts_of_request(policy, request, &facts);
	add_head(policy, request, &facts, text);
	for (size_t i = 0; i < policy->rule_count; i++)
		add_rule(policy, i, &facts, text);
	add_verdict(policy, request, &facts, text);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision a second time: an interpreter that walks the policy's JSON and
 * compares strings.  Slow and plain, so that it can be believed by reading it;
 * shares no code with policy/.
 */
#ifndef TESTS_POLICY_REFERENCE_H
#define TESTS_POLICY_REFERENCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "policy/policy.h"

struct reference_decision {
	bool permitted;
	uint64_t fields;
	int64_t ttl_max_s;
	bool onward;
	int rule_count;
	const char *rules[64];
};

static const char *reference_operation(const struct gate_request *request)
{
	return request->operation == GATE_LOCAL ? "local" : request->operation == GATE_ASK ? "ask" : "serve";
}

static bool reference_has(const json_t *list, const char *text)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item)
	{
		if (strcmp(json_string_value(item), text) == 0)
			return true;
	}
	return false;
}

/* NULL: unknown. */
static const char *reference_attribute(const json_t *type, const struct gate_request *request, const char *name)
{
	const json_t *flag = json_object_get(json_object_get(type, "flags"), name);
	const json_t *value;
	const char *absent;

	if (strcmp(name, "requester") == 0)
		return request->requester;
	if (strcmp(name, "to") == 0)
		return request->to;
	if (strcmp(name, "purpose") == 0)
		return request->purpose;
	if (strcmp(name, "caller") == 0)
		return request->caller;
	if (strcmp(name, "evidence.station_region") == 0)
		return request->station_region;
	if (strcmp(name, "subject.roaming") == 0)
		return request->roaming == ROAMING_ACTIVE ? "active" : request->roaming == ROAMING_NONE ? "none" : NULL;
	if (flag == NULL || request->record == NULL)
		return NULL;
	value = json_object_get(request->record, json_string_value(json_object_get(flag, "field")));
	absent = json_string_value(json_object_get(flag, "absent"));
	if (value == NULL)
		return strcmp(absent, "unknown") == 0 ? NULL : absent;
	if (json_is_boolean(value))
		return json_is_true(value) ? "yes" : "no";
	return json_string_value(value);
}

static const char *reference_value(const json_t *policy, const struct gate_request *request, const char *text)
{
	if (strcmp(text, "$requester") == 0)
		return request->requester;
	if (strcmp(text, "$to") == 0)
		return request->to;
	if (strcmp(text, "$home") == 0)
		return json_string_value(json_object_get(policy, "home"));
	return text;
}

static bool reference_condition(const json_t *policy, const json_t *type, const json_t *condition,
	const struct gate_request *request, bool is_forbid)
{
	const char *operation = json_string_value(json_array_get(condition, 1));
	const json_t *value = json_array_get(condition, 2);
	const char *have = reference_attribute(type, request, json_string_value(json_array_get(condition, 0)));
	size_t i;
	json_t *item;

	if (have == NULL)
		return is_forbid;
	if (strcmp(operation, "eq") == 0)
		return strcmp(have, reference_value(policy, request, json_string_value(value))) == 0;
	if (strcmp(operation, "ne") == 0)
		return strcmp(have, reference_value(policy, request, json_string_value(value))) != 0;
	json_array_foreach(value, i, item)
	{
		if (strcmp(have, reference_value(policy, request, json_string_value(item))) == 0)
			return true;
	}
	return false;
}

static bool reference_scope(const json_t *rule, const char *key, const char *value, bool is_forbid)
{
	const json_t *list = json_object_get(rule, key);

	if (list == NULL)
		return true;
	return value == NULL ? is_forbid : reference_has(list, value);
}

static bool reference_rule(
	const json_t *policy, const json_t *type, const json_t *rule, const struct gate_request *request)
{
	bool is_forbid = strcmp(json_string_value(json_object_get(rule, "effect")), "forbid") == 0;
	const json_t *when = json_object_get(rule, "when");
	size_t i;
	json_t *item;

	if (!reference_scope(rule, "operation", reference_operation(request), is_forbid) ||
		!reference_scope(rule, "from", request->requester, is_forbid) ||
		!reference_scope(rule, "to", request->to, is_forbid) ||
		!reference_scope(rule, "type", request->type, is_forbid) ||
		!reference_scope(rule, "purpose", request->purpose, is_forbid) ||
		!reference_scope(rule, "caller", request->caller, is_forbid))
		return false;
	json_array_foreach(when, i, item)
	{
		if (!reference_condition(policy, type, item, request, is_forbid))
			return false;
	}
	return true;
}

static bool reference_is_consistent(const json_t *policy, const struct gate_request *request)
{
	const char *home = json_string_value(json_object_get(policy, "home"));

	if (request->requester == NULL || request->to == NULL)
		return false;
	if (request->operation == GATE_LOCAL)
		return strcmp(request->requester, home) == 0 && strcmp(request->to, home) == 0;
	if (request->operation == GATE_ASK)
		return strcmp(request->requester, home) == 0 && strcmp(request->to, home) != 0;
	return strcmp(request->requester, request->to) == 0 && strcmp(request->to, home) != 0;
}

static void reference_permit(const json_t *type, const json_t *rule, struct reference_decision *decision)
{
	const json_t *fields = json_object_get(rule, "fields");
	const json_t *obligations = json_object_get(rule, "obligations");
	const json_t *ttl = json_object_get(obligations, "cache_ttl_max_s");
	const char *onward = json_string_value(json_object_get(obligations, "onward"));
	size_t i;
	json_t *item;

	json_array_foreach(json_object_get(type, "fields"), i, item)
	{
		if (reference_has(fields, "*") || reference_has(fields, json_string_value(item)))
			decision->fields |= (uint64_t)1 << i;
	}
	if (ttl != NULL && (decision->ttl_max_s < 0 || json_integer_value(ttl) < decision->ttl_max_s))
		decision->ttl_max_s = json_integer_value(ttl);
	if (onward == NULL || strcmp(onward, "yes") != 0)
		decision->onward = false;
}

static void reference_decide(
	const json_t *policy, const struct gate_request *request, struct reference_decision *decision)
{
	const struct reference_decision denied = { .ttl_max_s = -1 };
	const json_t *type = json_object_get(json_object_get(policy, "types"), request->type ? request->type : "");
	int64_t not_after;
	bool forbidden = false;
	size_t i;
	json_t *rule;

	*decision = denied;
	if (!reference_is_consistent(policy, request) || type == NULL)
		return;
	if (clock_parse(json_string_value(json_object_get(policy, "not_after")), &not_after) != STATUS_OK)
		return;
	if (request->now_wall_us >= not_after && json_is_true(json_object_get(type, "personal")))
		return;
	json_array_foreach(json_object_get(policy, "rules"), i, rule)
	{
		if (strcmp(json_string_value(json_object_get(rule, "effect")), "forbid") == 0 &&
			reference_rule(policy, type, rule, request)) {
			forbidden = true;
			decision->rules[decision->rule_count++] = json_string_value(json_object_get(rule, "id"));
		}
	}
	if (forbidden)
		return;
	decision->onward = true;
	json_array_foreach(json_object_get(policy, "rules"), i, rule)
	{
		if (strcmp(json_string_value(json_object_get(rule, "effect")), "permit") == 0 &&
			reference_rule(policy, type, rule, request)) {
			reference_permit(type, rule, decision);
			decision->rules[decision->rule_count++] = json_string_value(json_object_get(rule, "id"));
		}
	}
	if (decision->fields == 0)
		*decision = denied;
	else
		decision->permitted = true;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy as a value: its references, its names, and the view, which is the
 * only way from a record to what may be sent.  A view holds references to the
 * record's members and not copies, since members are never changed after.
 */
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "policy/rules.h"

struct policy *policy_acquire(struct policy *policy)
{
	if (policy != NULL)
		atomic_fetch_add_explicit(&policy->references, 1, memory_order_relaxed);
	return policy;
}

void policy_release_reference(struct policy *policy)
{
	if (policy == NULL || atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; policy->rules != NULL && i < policy->rule_count; i++)
		free(policy->rules[i].fields);
	shadow_destroy(policy->shadow);
	free(policy->rules);
	free(policy->tests);
	free(policy->invariants);
	free(policy->type);
	json_decref(policy->document);
	free(policy);
}

const char *policy_version(const struct policy *policy)
{
	return policy->version;
}

const char *policy_home(const struct policy *policy)
{
	return policy->home;
}

int64_t policy_not_after_us(const struct policy *policy)
{
	return policy->not_after_us;
}

bool policy_is_personal(const struct policy *policy, const char *type)
{
	int id = policy != NULL ? names_find(&policy->types, type) : NAME_UNKNOWN;

	return id == NAME_UNKNOWN || id == NAME_OTHER || policy->type[id].is_personal;
}

int policy_test_count(const struct policy *policy)
{
	return (int)policy->test_count;
}

static const struct policy_type *type_of(const struct policy *policy, const char *type)
{
	int id = names_find(&policy->types, type);

	return id == NAME_OTHER || id == NAME_UNKNOWN ? NULL : &policy->type[id];
}

json_t *policy_view(
	const struct policy *policy, const char *type, const struct gate_decision *decision, const json_t *record)
{
	const struct policy_type *described = type_of(policy, type);
	json_t *view = json_object();

	if (view == NULL || described == NULL || !decision->permitted)
		return view;
	for (size_t i = 0; i < described->field_count; i++) {
		json_t *value;

		if ((decision->fields & NAME_BIT(i)) == 0)
			continue;
		value = json_object_get(record, described->fields[i]);
		if (value != NULL && json_object_set_nocheck(view, described->fields[i], value) != 0) {
			json_decref(view);
			return NULL;
		}
	}
	return view;
}

void policy_field_names(const struct policy *policy, const char *type, uint64_t fields, struct strbuf *names)
{
	const struct policy_type *described = type_of(policy, type);
	bool is_first = true;

	for (size_t i = 0; described != NULL && i < described->field_count; i++) {
		if ((fields & NAME_BIT(i)) == 0)
			continue;
		if (!is_first)
			strbuf_addc(names, ',');
		strbuf_adds(names, described->fields[i]);
		is_first = false;
	}
}

static const char *const fixed_attributes[ATTRIBUTE_FLAGS] = { "requester", "to", "evidence.station_region", "purpose",
	"caller", "subject.roaming" };

const char *attribute_name(const struct policy *policy, int attribute)
{
	if (attribute < ATTRIBUTE_FLAGS)
		return fixed_attributes[attribute];
	must(attribute - ATTRIBUTE_FLAGS < policy->flags.count);
	return policy->flags.text[attribute - ATTRIBUTE_FLAGS + 1];
}

int attribute_find(const struct policy *policy, const char *name)
{
	int flag = names_find(&policy->flags, name);

	for (int i = 0; i < ATTRIBUTE_FLAGS; i++) {
		if (strcmp(fixed_attributes[i], name) == 0)
			return i;
	}
	return flag == NAME_OTHER || flag == NAME_UNKNOWN ? -1 : ATTRIBUTE_FLAGS + flag - 1;
}

const struct names *attribute_values_of(const struct policy *policy, int attribute)
{
	if (attribute < ATTRIBUTE_REGIONS)
		return &policy->regions;
	if (attribute == ATTRIBUTE_PURPOSE)
		return &policy->purposes;
	if (attribute == ATTRIBUTE_CALLER)
		return &policy->callers;
	return attribute == ATTRIBUTE_ROAMING ? &policy->roaming : &policy->flag_values;
}

struct names *attribute_values(struct policy *policy, int attribute)
{
	return (struct names *)(uintptr_t)attribute_values_of(policy, attribute);
}

const char *fact_text(const struct policy *policy, const struct facts *facts, int attribute)
{
	int id = facts->id[attribute];

	if (id == NAME_UNKNOWN)
		return "unknown";
	if (attribute < ATTRIBUTE_REGIONS)
		return facts->region[attribute];
	return id == NAME_OTHER ? "a value the policy does not mention"
				: attribute_values_of(policy, attribute)->text[id];
}

static const char *const operations[] = { "local", "ask", "serve", "send", "receive" };

const char *operation_name(enum gate_operation operation)
{
	return operations[operation];
}

int operation_find(const char *name)
{
	for (int i = 0; i < GATE_OPERATIONS; i++) {
		if (strcmp(operations[i], name) == 0)
			return i;
	}
	return -1;
}

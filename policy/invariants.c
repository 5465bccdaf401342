/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants: what must never be decided, whatever is asked.  Every kind of
 * request there can be is tried (enumerate.c), so an invariant that holds here
 * holds for all.  Runs while a policy is read; the bound keeps a start from
 * taking minutes.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/enumerate.h"
#include "policy/reading.h"

#define INVARIANTS_MAX 64

static const char *const never_keys_fixed[] = { "operation", "type", "fields", "decision" };

static void read_never_key(struct reading *reading, const json_t *never, const char *key, struct invariant *invariant)
{
	struct policy *policy = reading->policy;
	int attribute = attribute_find(policy, key);

	for (size_t i = 0; i < sizeof(never_keys_fixed) / sizeof(never_keys_fixed[0]); i++) {
		if (strcmp(never_keys_fixed[i], key) == 0)
			return;
	}
	if (attribute < 0) {
		reading_complain_at(reading, key,
			"unknown key; allowed are operation, type, fields, decision and the names of attributes");
		return;
	}
	invariant->allowed[attribute] = reading_names(reading, never, key, attribute_values(policy, attribute),
		attribute != ATTRIBUTE_ROAMING, attribute < ATTRIBUTE_REGIONS ? REGION_SIZE : PURPOSE_SIZE, true);
	policy->is_read[attribute] = true;
	policy->mentioned[attribute] |= invariant->allowed[attribute] & ~NAME_BIT(NAME_UNKNOWN);
}

static void read_never(struct reading *reading, json_t *never, struct invariant *invariant)
{
	struct policy *policy = reading->policy;
	const char *decision = reading_string(reading, never, "decision", false);
	json_t *fields;

	memset(invariant->allowed, 0xff, sizeof(invariant->allowed));
	/* Fields at home are no one else's business: an invariant is about borders unless it says otherwise. */
	invariant->operations = reading_operations(
		reading, never, OPERATION_BIT(GATE_ASK) | OPERATION_BIT(GATE_SERVE) | OPERATION_BIT(GATE_SEND));
	invariant->types = reading_names(reading, never, "type", &policy->types, false, OBJECT_TYPE_SIZE, false);
	for (void *at = json_object_iter(never); at != NULL; at = json_object_iter_next(never, at))
		read_never_key(reading, never, json_object_iter_key(at), invariant);
	invariant->is_about_fields = reading_array(reading, never, "fields", false, &fields);
	if (invariant->is_about_fields)
		reading_fields(reading, fields, invariant->types, invariant->fields);
	if (decision != NULL && strcmp(decision, "permit") != 0 && strcmp(decision, "deny") != 0)
		reading_complain_at(reading, "decision", "must be \"permit\" or \"deny\"");
	if (decision == NULL && !invariant->is_about_fields)
		reading_complain(reading, "needs \"fields\" or \"decision\"");
	invariant->permitted = decision == NULL || strcmp(decision, "permit") == 0;
}

static void read_invariant(struct reading *reading, json_t *value, struct invariant *invariant)
{
	static const char *const keys[] = { "never", "note", NULL };
	json_t *never = json_object_get(value, "never");
	size_t mark;

	if (!reading_check_object(reading, value, keys))
		return;
	invariant->note = json_string_value(json_object_get(value, "note"));
	mark = reading_enter(reading, "never");
	if (json_is_object(never))
		read_never(reading, never, invariant);
	else
		reading_complain(reading, "must be an object");
	reading_leave(reading, mark);
}

bool invariant_is_broken(
	const struct invariant *invariant, const struct facts *facts, const struct gate_decision *decision)
{
	if (decision->permitted != invariant->permitted ||
		(invariant->operations & OPERATION_BIT(facts->operation)) == 0 ||
		(invariant->types & NAME_BIT(facts->type)) == 0)
		return false;
	if (invariant->is_about_fields && (decision->fields & invariant->fields[facts->type]) == 0)
		return false;
	for (int i = 0; i < ATTRIBUTE_COUNT; i++) {
		if ((invariant->allowed[i] & NAME_BIT(facts->id[i])) == 0)
			return false;
	}
	return true;
}

static void say_point(const struct enumeration *enumeration, const struct gate_decision *decision, struct strbuf *text)
{
	strbuf_adds(text, "is broken by: ");
	enumeration_describe(enumeration, text);
	strbuf_addf(text, ": %s", decision->permitted ? "permitted by" : "denied by");
	for (size_t i = 0; i < decision->rule_count; i++)
		strbuf_addf(text, " %s", decision->rules[i]);
	if (decision->rule_count == 0)
		strbuf_adds(text, " default");
}

static void try_points(
	const struct policy *policy, struct enumeration *enumeration, struct strbuf *broken, bool *is_broken)
{
	struct gate_decision decision;

	do {
		facts_decide(policy, &enumeration->facts[0], &decision);
		for (size_t i = 0; i < policy->invariant_count; i++) {
			if (is_broken[i] ||
				!invariant_is_broken(&policy->invariants[i], &enumeration->facts[0], &decision))
				continue;
			is_broken[i] = true;
			say_point(enumeration, &decision, &broken[i]);
		}
	} while (enumeration_step(enumeration));
}

/* Where no rule permits an event everything is denied, and only "never deny" could be broken. */
static bool is_worth_trying(const struct policy *policy, enum gate_operation operation, int type)
{
	bool is_worth = policy_may_permit(policy, operation, type);

	for (size_t i = 0; i < policy->invariant_count && !is_worth; i++)
		is_worth = !policy->invariants[i].permitted &&
			   (policy->invariants[i].operations & OPERATION_BIT(operation)) != 0;
	return is_worth;
}

enum status invariants_try(const struct policy *policy, struct strbuf *broken)
{
	struct enumeration *enumeration = calloc(1, sizeof(*enumeration));
	bool *is_broken = calloc(policy->invariant_count + 1, sizeof(*is_broken));
	enum status status = enumeration != NULL && is_broken != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	uint64_t points = 0;

	for (int pass = 0; pass < 2 && status == STATUS_OK; pass++) {
		for (int operation = 0; operation < GATE_OPERATIONS; operation++) {
			for (int type = 1; type <= policy->types.count; type++) {
				if (!is_worth_trying(policy, (enum gate_operation)operation, type))
					continue;
				points += enumeration_begin(enumeration, &policy, 1, (enum gate_operation)operation,
					policy->types.text[type], NULL);
				if (pass == 1)
					try_points(policy, enumeration, broken, is_broken);
			}
		}
		if (points > INVARIANT_POINTS_MAX && pass == 0)
			status = STATUS_TOO_LARGE;
	}
	free(is_broken);
	free(enumeration);
	return status;
}

static void try_all(struct reading *reading)
{
	struct policy *policy = reading->policy;
	struct strbuf *broken = calloc(policy->invariant_count + 1, sizeof(*broken));
	enum status status = broken != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	size_t mark = reading_enter(reading, "invariants");

	for (size_t i = 0; broken != NULL && i < policy->invariant_count; i++)
		strbuf_init(&broken[i]);
	if (status == STATUS_OK)
		status = invariants_try(policy, broken);
	if (status == STATUS_TOO_LARGE)
		reading_complain(reading,
			"more than %d kinds of request would have to be tried; name fewer regions, purposes "
			"or flag values, or split the policy",
			INVARIANT_POINTS_MAX);
	else if (status != STATUS_OK)
		reading_complain(reading, "out of memory");
	for (size_t i = 0; broken != NULL && i < policy->invariant_count; i++) {
		size_t element = reading_enter_index(reading, i);

		if (broken[i].length > 0)
			reading_complain(reading, "%s", broken[i].data);
		reading_leave(reading, element);
		strbuf_release(&broken[i]);
	}
	reading_leave(reading, mark);
	free(broken);
}

void reading_invariants(struct reading *reading, json_t *document)
{
	struct policy *policy = reading->policy;
	int problems = reading->problems;
	json_t *list;
	size_t mark;

	if (!reading_array(reading, document, "invariants", false, &list))
		return;
	mark = reading_enter(reading, "invariants");
	if (json_array_size(list) > INVARIANTS_MAX)
		reading_complain(reading, "more than %d invariants", INVARIANTS_MAX);
	else if ((policy->invariants = calloc(json_array_size(list), sizeof(*policy->invariants))) == NULL)
		reading_complain(reading, "out of memory");
	for (size_t i = 0; policy->invariants != NULL && i < json_array_size(list); i++) {
		size_t element = reading_enter_index(reading, i);

		read_invariant(reading, json_array_get(list, i), &policy->invariants[i]);
		policy->invariant_count++;
		reading_leave(reading, element);
	}
	reading_leave(reading, mark);
	if (reading->problems == problems && !reading->is_lenient)
		try_all(reading);
}

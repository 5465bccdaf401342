/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants: what must never be decided, whatever is asked.  A request has
 * finitely many kinds: every attribute is one of the values the file names, or
 * "some other", or unknown.  So each is tried, and an invariant that holds here
 * holds for every request there can be.  Two other regions are tried, since
 * whether two unlisted regions are the same one matters to $requester.
 *
 * An attribute that no rule and no invariant reads is left unknown: it cannot
 * change a decision.  Runs while a policy is read; the bound keeps a start from
 * taking minutes.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "policy/reading.h"

#define POINTS_MAX 2000000 /* about a second's work */
#define INVARIANTS_MAX 64
#define OTHER_REGION_1 "~one other region"
#define OTHER_REGION_2 "~a second other region"

struct invariant {
	uint8_t operations;
	uint64_t types;
	uint64_t allowed[ATTRIBUTE_COUNT];
	uint64_t fields[NAMES_MAX + 1];
	bool is_about_fields, is_broken;
	bool permitted;
};

struct value {
	uint8_t id;
	const char *region;
};

struct dimension {
	int attribute;
	int count, at;
	struct value values[NAMES_MAX + 4];
};

/* Dimensions of one type's requests: the other region, then one for each attribute that is read. */
struct domain {
	struct dimension dimensions[ATTRIBUTE_COUNT];
	int count;
};

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
	invariant->operations = reading_operations(reading, never, OPERATION_BIT(GATE_ASK) | OPERATION_BIT(GATE_SERVE));
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
	mark = reading_enter(reading, "never");
	if (json_is_object(never))
		read_never(reading, never, invariant);
	else
		reading_complain(reading, "must be an object");
	reading_leave(reading, mark);
}

static struct dimension *add_dimension(struct domain *domain, int attribute)
{
	struct dimension *dimension = &domain->dimensions[domain->count++];

	dimension->attribute = attribute;
	dimension->count = 0;
	dimension->at = 0;
	return dimension;
}

static void add_value(struct dimension *dimension, int id, const char *region)
{
	dimension->values[dimension->count].id = (uint8_t)id;
	dimension->values[dimension->count++].region = region;
}

static void add_attribute(const struct policy *policy, struct domain *domain, int attribute, const struct names *names)
{
	struct dimension *dimension;

	if (!policy->is_read[attribute] && attribute != ATTRIBUTE_PURPOSE)
		return;
	dimension = add_dimension(domain, attribute);
	add_value(dimension, NAME_UNKNOWN, NULL);
	if (attribute != ATTRIBUTE_ROAMING)
		add_value(dimension, NAME_OTHER, OTHER_REGION_1);
	if (attribute == ATTRIBUTE_STATION_REGION)
		add_value(dimension, NAME_OTHER, OTHER_REGION_2);
	for (int id = 1; id <= names->count; id++) {
		/* A flag has only the values it is compared with. */
		bool is_flag = attribute >= ATTRIBUTE_FLAGS && attribute < ATTRIBUTE_COUNT;

		if (!is_flag || (policy->mentioned[attribute] & NAME_BIT(id)) != 0)
			add_value(dimension, id, names->text[id]);
	}
}

static uint64_t build_domain(struct policy *policy, enum gate_operation operation, int type, struct domain *domain)
{
	struct dimension *other;
	uint64_t points = 1;

	domain->count = 0;
	other = add_dimension(domain, -1);
	if (operation == GATE_LOCAL)
		add_value(other, policy->home_id, policy->home);
	else
		add_value(other, NAME_OTHER, OTHER_REGION_1);
	for (int id = 1; operation != GATE_LOCAL && id <= policy->regions.count; id++) {
		if (id != policy->home_id)
			add_value(other, id, policy->regions.text[id]);
	}
	for (int attribute = ATTRIBUTE_STATION_REGION; attribute < ATTRIBUTE_FLAGS + policy->flags.count; attribute++) {
		if (attribute < ATTRIBUTE_FLAGS ||
			(operation != GATE_ASK && policy->type[type].flag_fields[attribute - ATTRIBUTE_FLAGS] != NULL))
			add_attribute(policy, domain, attribute, attribute_values(policy, attribute));
	}
	for (int i = 0; i < domain->count; i++)
		points = points > POINTS_MAX ? points : points * (uint64_t)domain->dimensions[i].count;
	return points;
}

static void point_facts(const struct policy *policy, const struct domain *domain, struct facts *facts)
{
	for (int i = 0; i < domain->count; i++) {
		const struct dimension *dimension = &domain->dimensions[i];
		const struct value *value = &dimension->values[dimension->at];

		if (dimension->attribute < 0) {
			bool is_ask = facts->operation == GATE_ASK;

			facts->id[ATTRIBUTE_TO] = value->id;
			facts->region[ATTRIBUTE_TO] = value->region;
			facts->id[ATTRIBUTE_REQUESTER] = is_ask ? (uint8_t)policy->home_id : value->id;
			facts->region[ATTRIBUTE_REQUESTER] = is_ask ? policy->home : value->region;
			continue;
		}
		facts->id[dimension->attribute] = value->id;
		if (dimension->attribute < ATTRIBUTE_REGIONS)
			facts->region[dimension->attribute] = value->region;
	}
}

static bool step(struct domain *domain)
{
	for (int i = 0; i < domain->count; i++) {
		if (++domain->dimensions[i].at < domain->dimensions[i].count)
			return true;
		domain->dimensions[i].at = 0;
	}
	return false;
}

static bool breaks(const struct invariant *invariant, const struct facts *facts, const struct gate_decision *decision)
{
	if (invariant->is_broken || decision->permitted != invariant->permitted ||
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

static void complain_of_point(
	struct reading *reading, size_t index, const struct facts *facts, const struct gate_decision *decision)
{
	const struct policy *policy = reading->policy;
	struct strbuf text = STRBUF_INIT;
	size_t mark = reading_enter(reading, "invariants");
	size_t element = reading_enter_index(reading, index);

	strbuf_addf(&text, "%s %s", operation_name(facts->operation), policy->types.text[facts->type]);
	for (int i = 0; i < ATTRIBUTE_FLAGS + policy->flags.count; i++) {
		if (i < ATTRIBUTE_REGIONS || facts->id[i] != NAME_UNKNOWN)
			strbuf_addf(&text, ", %s %s", attribute_name(policy, i), fact_text(policy, facts, i));
	}
	strbuf_addf(&text, ": %s", decision->permitted ? "permitted by" : "denied by");
	for (size_t i = 0; i < decision->rule_count; i++)
		strbuf_addf(&text, " %s", decision->rules[i]);
	if (decision->rule_count == 0)
		strbuf_adds(&text, " default");
	reading_complain(reading, "is broken by: %s", text.data);
	reading_leave(reading, element);
	reading_leave(reading, mark);
	strbuf_release(&text);
}

static void try_points(
	struct reading *reading, struct domain *domain, struct facts *facts, struct invariant *invariants, size_t count)
{
	struct gate_decision decision;

	do {
		point_facts(reading->policy, domain, facts);
		facts_decide(reading->policy, facts, &decision);
		for (size_t i = 0; i < count; i++) {
			if (breaks(&invariants[i], facts, &decision)) {
				invariants[i].is_broken = true;
				complain_of_point(reading, i, facts, &decision);
			}
		}
	} while (step(domain));
}

static void try_all(struct reading *reading, struct domain *domain, struct invariant *invariants, size_t count)
{
	struct policy *policy = reading->policy;
	uint64_t points = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (int operation = GATE_LOCAL; operation <= GATE_SERVE; operation++) {
			for (int type = 1; type <= policy->types.count; type++) {
				struct facts facts = { .operation = (enum gate_operation)operation, .type = type };

				points += build_domain(policy, facts.operation, type, domain);
				memset(facts.id, NAME_UNKNOWN, sizeof(facts.id));
				if (pass == 1)
					try_points(reading, domain, &facts, invariants, count);
			}
		}
		if (pass == 0 && points > POINTS_MAX) {
			reading_complain_at(reading, "invariants",
				"more than %d kinds of request would have to be tried; name fewer regions, purposes "
				"or flag values, or split the policy",
				POINTS_MAX);
			return;
		}
	}
}

void reading_invariants(struct reading *reading, json_t *document)
{
	struct invariant *invariants = NULL;
	struct domain *domain = NULL;
	json_t *list;
	size_t count, mark;
	int problems = reading->problems;

	if (!reading_array(reading, document, "invariants", false, &list))
		return;
	count = json_array_size(list);
	mark = reading_enter(reading, "invariants");
	if (count > INVARIANTS_MAX) {
		reading_complain(reading, "more than %d invariants", INVARIANTS_MAX);
		goto out;
	}
	invariants = calloc(count, sizeof(*invariants));
	domain = calloc(1, sizeof(*domain));
	if (invariants == NULL || domain == NULL) {
		reading_complain(reading, "out of memory");
		goto out;
	}
	for (size_t i = 0; i < count; i++) {
		size_t element = reading_enter_index(reading, i);

		read_invariant(reading, json_array_get(list, i), &invariants[i]);
		reading_leave(reading, element);
	}
out:
	reading_leave(reading, mark);
	if (reading->problems == problems)
		try_all(reading, domain, invariants, count);
	free(invariants);
	free(domain);
}

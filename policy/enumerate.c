/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request has finitely many kinds: every attribute is one of the values the
 * policy names, or some other, or unknown.  Walking them all answers questions
 * about a policy ("what can this region see?") for every request there can be,
 * without a solver.  Two other regions are walked for the station, since whether
 * two unlisted regions are the same one matters to $requester.
 *
 * An attribute that nothing reads is left unknown: it cannot change a decision.
 * With two policies an axis has the values of both, and a point is a request in
 * the numbers of each.
 *
 * Pure; any thread.
 */
#include "policy/enumerate.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "policy/tools.h"

#define POINTS_COUNTED_MAX UINT64_C(1000000000000000)

static struct axis *add_axis(struct enumeration *enumeration, const char *name)
{
	struct axis *axis = &enumeration->axes[enumeration->axis_count++];

	must(enumeration->axis_count <= AXES_MAX);
	axis->name = name;
	axis->count = 0;
	axis->at = 0;
	for (int i = 0; i < ENUMERATED_POLICIES_MAX; i++)
		axis->attribute[i] = AXIS_ABSENT;
	return axis;
}

/* The number each policy has for a value; one it does not name is some other to it. */
static void add_value(const struct enumeration *enumeration, struct axis *axis, const char *text)
{
	struct axis_value *value = &axis->values[axis->count];

	for (int i = 0; i < axis->count; i++) {
		if (axis->values[i].text == text ||
			(text != NULL && axis->values[i].text != NULL && strcmp(axis->values[i].text, text) == 0))
			return;
	}
	must(axis->count < AXIS_VALUES_MAX);
	value->text = text;
	for (int i = 0; i < enumeration->policy_count; i++) {
		int attribute = axis->attribute[i] == AXIS_OTHER_REGION ? ATTRIBUTE_TO : axis->attribute[i];

		value->id[i] = NAME_UNKNOWN;
		if (attribute != AXIS_ABSENT)
			value->id[i] = (uint8_t)names_find(
				attribute_values_of(enumeration->policies[i], attribute), text);
	}
	axis->count++;
}

static void add_named(
	const struct enumeration *enumeration, struct axis *axis, int which, int attribute, const char *except)
{
	const struct policy *policy = enumeration->policies[which];
	const struct names *names = attribute_values_of(policy, attribute);

	for (int id = 1; id <= names->count; id++) {
		/* All flags share one table of values; a flag has only those it is compared with. */
		if (attribute >= ATTRIBUTE_FLAGS && attribute < ATTRIBUTE_COUNT &&
			(policy->mentioned[attribute] & NAME_BIT(id)) == 0)
			continue;
		if (except == NULL || strcmp(names->text[id], except) != 0)
			add_value(enumeration, axis, names->text[id]);
	}
}

static void add_other_region(struct enumeration *enumeration, const char *region)
{
	const char *home = enumeration->policies[0]->home;
	struct axis *axis = add_axis(enumeration, "region");

	for (int i = 0; i < enumeration->policy_count; i++)
		axis->attribute[i] = AXIS_OTHER_REGION;
	if (enumeration->operation == GATE_LOCAL) {
		add_value(enumeration, axis, home);
	} else if (region != NULL) {
		add_value(enumeration, axis, region);
	} else {
		add_value(enumeration, axis, VALUE_OTHER);
		for (int i = 0; i < enumeration->policy_count; i++)
			add_named(enumeration, axis, i, ATTRIBUTE_TO, home);
	}
}

static void add_attribute(struct enumeration *enumeration, const char *name, const int attributes[], const char *region)
{
	struct axis *axis = add_axis(enumeration, name);

	memcpy(axis->attribute, attributes, sizeof(axis->attribute));
	add_value(enumeration, axis, NULL);
	if (strcmp(name, "subject.roaming") != 0)
		add_value(enumeration, axis, VALUE_OTHER);
	if (strcmp(name, "evidence.station_region") == 0) {
		add_value(enumeration, axis, VALUE_OTHER_2);
		if (region != NULL)
			add_value(enumeration, axis, region);
	}
	for (int i = 0; i < enumeration->policy_count; i++) {
		if (attributes[i] >= 0)
			add_named(enumeration, axis, i, attributes[i], NULL);
	}
}

static void add_fixed_attributes(struct enumeration *enumeration, const char *region)
{
	for (int attribute = ATTRIBUTE_STATION_REGION; attribute < ATTRIBUTE_FLAGS; attribute++) {
		int attributes[ENUMERATED_POLICIES_MAX] = { attribute, attribute };
		bool is_read = attribute == ATTRIBUTE_PURPOSE; /* who reads a listing wants to see it in any case */

		for (int i = 0; i < enumeration->policy_count; i++)
			is_read = is_read || enumeration->policies[i]->is_read[attribute];
		if (is_read)
			add_attribute(
				enumeration, attribute_name(enumeration->policies[0], attribute), attributes, region);
	}
}

/* Whether this policy's type has the flag; the attribute even when nothing reads it. */
static int flag_of_type(const struct policy *policy, const char *type, const char *flag)
{
	int id = names_find(&policy->types, type);
	int attribute = attribute_find(policy, flag);

	if (id == NAME_OTHER || attribute < ATTRIBUTE_FLAGS ||
		policy->type[id].flag_fields[attribute - ATTRIBUTE_FLAGS] == NULL)
		return AXIS_ABSENT;
	return attribute;
}

static void add_flags(struct enumeration *enumeration)
{
	for (int i = 0; i < enumeration->policy_count; i++) {
		const struct names *flags = &enumeration->policies[i]->flags;

		for (int id = 1; id <= flags->count; id++) {
			int attributes[ENUMERATED_POLICIES_MAX] = { AXIS_ABSENT, AXIS_ABSENT };
			bool is_read = false, is_new = i == 0;

			for (int j = 0; j < enumeration->policy_count; j++) {
				attributes[j] = flag_of_type(
					enumeration->policies[j], enumeration->type, flags->text[id]);
				is_read = is_read ||
					  (attributes[j] >= 0 && enumeration->policies[j]->is_read[attributes[j]]);
			}
			is_new = is_new || attribute_find(enumeration->policies[0], flags->text[id]) < 0;
			if (is_read && is_new)
				add_attribute(enumeration, flags->text[id], attributes, NULL);
		}
	}
}

/* Puts the axis' value into the facts of each policy. */
static void place(struct enumeration *enumeration, const struct axis *axis)
{
	const struct axis_value *value = &axis->values[axis->at];

	for (int i = 0; i < enumeration->policy_count; i++) {
		struct facts *facts = &enumeration->facts[i];
		int attribute = axis->attribute[i];

		if (attribute == AXIS_OTHER_REGION) {
			facts_set_regions(enumeration->policies[i], facts, value->id[i], value->text);
		} else if (attribute >= 0) {
			facts->id[attribute] = value->id[i];
			if (attribute < ATTRIBUTE_REGIONS)
				facts->region[attribute] = value->text;
		}
	}
}

uint64_t enumeration_begin(struct enumeration *enumeration, const struct policy *const *policies, int policy_count,
	enum gate_operation operation, const char *type, const char *region)
{
	uint64_t points = 1;

	must(policy_count >= 1 && policy_count <= ENUMERATED_POLICIES_MAX);
	enumeration->policy_count = policy_count;
	enumeration->operation = operation;
	enumeration->type = type;
	enumeration->axis_count = 0;
	for (int i = 0; i < policy_count; i++) {
		struct facts *facts = &enumeration->facts[i];

		enumeration->policies[i] = policies[i];
		memset(facts, 0, sizeof(*facts));
		memset(facts->id, NAME_UNKNOWN, sizeof(facts->id));
		facts->operation = operation;
		facts->type = names_find(&policies[i]->types, type);
	}
	add_other_region(enumeration, region);
	add_fixed_attributes(enumeration, region);
	if ((OPERATION_BIT(operation) & OPERATIONS_RECORD) != 0)
		add_flags(enumeration);
	for (int i = 0; i < enumeration->axis_count; i++) {
		place(enumeration, &enumeration->axes[i]);
		if (points < POINTS_COUNTED_MAX)
			points *= (uint64_t)enumeration->axes[i].count;
	}
	return points;
}

uint64_t enumeration_count(
	const struct policy *const *policies, int policy_count, const char *region, struct strbuf *why)
{
	struct enumeration *enumeration = calloc(1, sizeof(*enumeration));
	uint64_t points = 0;

	if (enumeration == NULL) {
		strbuf_adds(why, "out of memory");
		return UINT64_MAX;
	}
	for (int operation = 0; operation < GATE_OPERATIONS; operation++) {
		for (int i = 0; i < policy_count; i++) {
			for (int type = 1; type <= policies[i]->types.count; type++)
				points += enumeration_begin(enumeration, policies, policy_count,
					(enum gate_operation)operation, policies[i]->types.text[type], region);
		}
	}
	free(enumeration);
	if (points > POLICY_POINTS_MAX)
		strbuf_addf(why,
			"more than %d kinds of request would have to be tried; name fewer regions, purposes, callers "
			"or flag values",
			POLICY_POINTS_MAX);
	return points;
}

bool enumeration_step(struct enumeration *enumeration)
{
	for (int i = 0; i < enumeration->axis_count; i++) {
		struct axis *axis = &enumeration->axes[i];
		bool has_turned = ++axis->at == axis->count;

		if (has_turned)
			axis->at = 0;
		place(enumeration, axis);
		if (!has_turned)
			return true;
	}
	return false;
}

void enumeration_describe(const struct enumeration *enumeration, struct strbuf *text)
{
	const struct facts *facts = &enumeration->facts[0];

	strbuf_addf(text, "%s %s, requester %s, to %s", operation_name(enumeration->operation), enumeration->type,
		facts->region[ATTRIBUTE_REQUESTER], facts->region[ATTRIBUTE_TO]);
	for (int i = 1; i < enumeration->axis_count; i++) {
		const struct axis *axis = &enumeration->axes[i];

		if (axis->values[axis->at].text != NULL)
			strbuf_addf(text, ", %s %s", axis->name, axis->values[axis->at].text);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can a region see?  Every request it could make is decided, and those that
 * end alike (the same rules, fields and terms) become one row.  A row names, for
 * each attribute, the values it was seen with, unless it was seen with all of
 * them: those are the conditions, found and not read from the file.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/report.h"
#include "policy/tools.h"

struct seen_row {
	struct gate_decision decision;
	uint64_t points;
	bool values[AXES_MAX][AXIS_VALUES_MAX];
};

struct seeing {
	const struct policy *policy;
	struct enumeration points;
	struct seen_row **rows; /* of one operation and type */
	size_t count, room;
	uint64_t total;
	json_t *list, *never;
};

static bool is_alike(const struct gate_decision *a, const struct gate_decision *b)
{
	if (!decision_equal(a, b) || a->rule_count != b->rule_count)
		return false;
	/* Ids are borrowed from the one policy: the same rule is the same pointer. */
	return memcmp(a->rules, b->rules, a->rule_count * sizeof(a->rules[0])) == 0;
}

static struct seen_row *row_of(struct seeing *seeing, const struct gate_decision *decision)
{
	struct seen_row *row;

	for (size_t i = 0; i < seeing->count; i++) {
		if (is_alike(&seeing->rows[i]->decision, decision))
			return seeing->rows[i];
	}
	if (seeing->count == seeing->room) {
		size_t room = seeing->room > 0 ? seeing->room * 2 : 16;
		struct seen_row **rows = realloc(seeing->rows, room * sizeof(*rows));

		if (rows == NULL)
			return NULL;
		seeing->rows = rows;
		seeing->room = room;
	}
	row = calloc(1, sizeof(*row));
	if (row != NULL) {
		row->decision = *decision;
		seeing->rows[seeing->count++] = row;
	}
	return row;
}

static const char *value_word(const char *text)
{
	if (text == NULL)
		return "unknown";
	if (strcmp(text, VALUE_OTHER) == 0 || strcmp(text, VALUE_OTHER_2) == 0)
		return "any other";
	return text;
}

/* NULL when every value was seen. */
static json_t *values_seen(const struct axis *axis, const bool *values)
{
	json_t *list = json_array();
	bool has_all = true, has_other = false;

	for (int i = 0; i < axis->count; i++) {
		const char *word = value_word(axis->values[i].text);
		bool is_other = strcmp(word, "any other") == 0;

		has_all = has_all && values[i];
		if (values[i] && !(is_other && has_other))
			json_array_append_new(list, json_string(word));
		has_other = has_other || (is_other && values[i]);
	}
	if (!has_all)
		return list;
	json_decref(list);
	return NULL;
}

static void report_row(struct seeing *seeing, const struct seen_row *row)
{
	const struct enumeration *points = &seeing->points;
	const struct gate_decision *decision = &row->decision;
	json_t *when = json_object(), *object;

	for (int i = 1; i < points->axis_count; i++) {
		json_t *values = values_seen(&points->axes[i], row->values[i]);

		if (values != NULL)
			json_object_set_new(when, points->axes[i].name, values);
	}
	object = json_pack("{s:s,s:s,s:o,s:o,s:o,s:I,s:s,s:I}", "operation", operation_name(points->operation), "type",
		points->type, "rules", report_rules(decision), "fields",
		report_fields(seeing->policy, points->facts[0].type, decision->fields), "when", when, "cache_ttl_max_s",
		(json_int_t)decision->ttl_max_s, "onward", decision->onward ? "yes" : "no", "points",
		(json_int_t)row->points);
	json_array_append_new(seeing->list, object);
}

static bool walk(struct seeing *seeing, enum gate_operation operation, int type, uint64_t *fields_seen)
{
	const struct policy *policy = seeing->policy;
	struct enumeration *points = &seeing->points;

	do {
		struct gate_decision decision;
		struct seen_row *row;

		seeing->total++;
		facts_decide(policy, &points->facts[0], &decision);
		if (!decision.permitted)
			continue;
		row = row_of(seeing, &decision);
		if (row == NULL)
			return false;
		row->points++;
		for (int i = 1; i < points->axis_count; i++)
			row->values[i][points->axes[i].at] = true;
		if (operation != GATE_ASK)
			fields_seen[type] |= decision.fields;
	} while (enumeration_step(points));
	for (size_t i = 0; i < seeing->count; i++) {
		report_row(seeing, seeing->rows[i]);
		free(seeing->rows[i]);
	}
	seeing->count = 0;
	return true;
}

static bool see_all(struct seeing *seeing, const char *region)
{
	const struct policy *policy = seeing->policy;
	bool is_home = strcmp(region, policy->home) == 0;
	uint64_t fields_seen[NAMES_MAX + 1] = { 0 };

	for (int type = 1; type <= policy->types.count; type++) {
		for (int operation = GATE_OPERATIONS - 1; operation >= 0; operation--) {
			if ((operation == GATE_LOCAL) != is_home || operation == GATE_RECEIVE)
				continue;
			enumeration_begin(&seeing->points, &policy, 1, (enum gate_operation)operation,
				policy->types.text[type], region);
			if (!walk(seeing, (enum gate_operation)operation, type, fields_seen))
				return false;
		}
	}
	for (int type = 1; type <= policy->types.count; type++) {
		size_t count = policy->type[type].field_count;
		uint64_t all = count == 64 ? ~(uint64_t)0 : NAME_BIT(count) - 1;

		if ((all & ~fields_seen[type]) != 0)
			json_object_set_new(seeing->never, policy->types.text[type],
				report_fields(policy, type, all & ~fields_seen[type]));
	}
	return true;
}

enum status policy_can_see(const struct policy *policy, const char *region, json_t **report_out, struct strbuf *why)
{
	struct seeing *seeing;
	enum status status = STATUS_NO_MEMORY;

	*report_out = NULL;
	if (!name_is_valid(region, REGION_SIZE)) {
		strbuf_addf(why, "\"%s\" is no name of a region", region);
		return STATUS_INVALID;
	}
	if (enumeration_count(&policy, 1, region, why) > POLICY_POINTS_MAX)
		return STATUS_TOO_LARGE;
	seeing = calloc(1, sizeof(*seeing));
	if (seeing == NULL)
		return status;
	seeing->policy = policy;
	seeing->list = json_array();
	seeing->never = json_object();
	if (see_all(seeing, region)) {
		*report_out = json_pack("{s:s,s:s,s:I,s:O,s:O}", "policy", policy->version, "region", region, "points",
			(json_int_t)seeing->total, "sees", seeing->list, "never", seeing->never);
		status = *report_out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	}
	for (size_t i = 0; i < seeing->count; i++)
		free(seeing->rows[i]);
	free(seeing->rows);
	json_decref(seeing->list);
	json_decref(seeing->never);
	free(seeing);
	return status;
}

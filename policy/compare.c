/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two policies over every request either can tell apart.  A "thing" is one field
 * of one type, for one region and one purpose; each thing that one policy lets
 * out and the other does not is reported once, with the first request that shows
 * it.  What is not a decision (what a flag is read from, whether a type is
 * personal, the date of expiry) is compared by itself: it changes what requests
 * become.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "policy/report.h"
#include "policy/tools.h"

enum { BEFORE, AFTER };
enum { TERM_LONGER, TERM_SHORTER, TERM_ONWARD, TERM_NOT_ONWARD, TERM_COUNT };

static const char *const term_words[TERM_COUNT] = { "may be kept longer", "may be kept less long", "may go onward now",
	"may not go onward now" };

struct comparison {
	const struct policy *policies[2];
	struct enumeration points;
	int purpose_axis;
	int type[2];                   /* ids; NAME_OTHER: not described */
	int field[2][GATE_FIELDS_MAX]; /* the other policy's index of each field; -1: none */
	/* By region and purpose: the fields reported already, and the terms. */
	uint64_t reported[2][AXIS_VALUES_MAX][AXIS_VALUES_MAX];
	bool terms[TERM_COUNT][AXIS_VALUES_MAX][AXIS_VALUES_MAX];
	uint64_t total, changed;
	json_t *allowed, *denied, *term_list, *definitions;
};

static int field_find(const struct policy *policy, int type, const char *name)
{
	for (size_t i = 0; type != NAME_OTHER && i < policy->type[type].field_count; i++) {
		if (strcmp(policy->type[type].fields[i], name) == 0)
			return (int)i;
	}
	return -1;
}

static void begin_type(struct comparison *comparison, enum gate_operation operation, const char *type)
{
	struct enumeration *points = &comparison->points;

	enumeration_begin(points, comparison->policies, 2, operation, type, NULL);
	for (int i = 0; i < points->axis_count; i++) {
		if (strcmp(points->axes[i].name, "purpose") == 0)
			comparison->purpose_axis = i;
	}
	for (int side = BEFORE; side <= AFTER; side++)
		comparison->type[side] = points->facts[side].type;
	for (int side = BEFORE; side <= AFTER; side++) {
		const struct policy *policy = comparison->policies[side];
		int id = comparison->type[side];

		for (size_t i = 0; id != NAME_OTHER && i < policy->type[id].field_count; i++)
			comparison->field[side][i] = field_find(
				comparison->policies[1 - side], comparison->type[1 - side], policy->type[id].fields[i]);
	}
	memset(comparison->reported, 0, sizeof(comparison->reported));
	memset(comparison->terms, 0, sizeof(comparison->terms));
}

/* The fields of `side` that the other side's decision does not let out, in the numbers of `side`. */
static uint64_t only_of(const struct comparison *comparison, int side, const struct gate_decision decisions[2])
{
	uint64_t only = 0;

	for (uint64_t rest = decisions[side].fields; rest != 0; rest &= rest - 1) {
		int field = __builtin_ctzll(rest);
		int other = comparison->field[side][field];

		if (other < 0 || (decisions[1 - side].fields & NAME_BIT(other)) == 0)
			only |= NAME_BIT(field);
	}
	return only;
}

static void report_point(struct comparison *comparison, json_t *list, int side, uint64_t fields, const char *what,
	const struct gate_decision decisions[2])
{
	const struct enumeration *points = &comparison->points;
	const struct axis *purpose = &points->axes[comparison->purpose_axis];
	const char *purpose_text = purpose->values[purpose->at].text;
	json_t *object = json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "operation", operation_name(points->operation),
		"type", points->type, "region", points->axes[0].values[points->axes[0].at].text, "purpose",
		purpose_text != NULL ? purpose_text : "unknown", "before", report_rules(&decisions[BEFORE]), "after",
		report_rules(&decisions[AFTER]), "example", report_describe(points));

	if (what != NULL)
		json_object_set_new(object, "what", json_string(what));
	else
		json_object_set_new(
			object, "fields", report_fields(comparison->policies[side], comparison->type[side], fields));
	json_array_append_new(list, object);
}

static void compare_fields(struct comparison *comparison, int side, const struct gate_decision decisions[2])
{
	const struct axis *axes = comparison->points.axes;
	uint64_t *reported = &comparison->reported[side][axes[0].at][axes[comparison->purpose_axis].at];
	uint64_t fresh = only_of(comparison, side, decisions) & ~*reported;

	if (fresh == 0)
		return;
	*reported |= fresh;
	report_point(
		comparison, side == AFTER ? comparison->allowed : comparison->denied, side, fresh, NULL, decisions);
}

static void compare_terms(struct comparison *comparison, const struct gate_decision decisions[2])
{
	const struct axis *axes = comparison->points.axes;
	int64_t before_s = decisions[BEFORE].ttl_max_s, after_s = decisions[AFTER].ttl_max_s;
	bool is[TERM_COUNT];

	if (!decisions[BEFORE].permitted || !decisions[AFTER].permitted)
		return;
	is[TERM_LONGER] = before_s >= 0 && (after_s < 0 || after_s > before_s);
	is[TERM_SHORTER] = after_s >= 0 && (before_s < 0 || before_s > after_s);
	is[TERM_ONWARD] = decisions[AFTER].onward && !decisions[BEFORE].onward;
	is[TERM_NOT_ONWARD] = decisions[BEFORE].onward && !decisions[AFTER].onward;
	for (int term = 0; term < TERM_COUNT; term++) {
		bool *is_reported = &comparison->terms[term][axes[0].at][axes[comparison->purpose_axis].at];

		if (!is[term] || *is_reported)
			continue;
		*is_reported = true;
		report_point(comparison, comparison->term_list, AFTER, 0, term_words[term], decisions);
	}
}

static void walk(struct comparison *comparison)
{
	do {
		struct gate_decision decisions[2];
		bool is_same;

		for (int side = BEFORE; side <= AFTER; side++)
			facts_decide(comparison->policies[side], &comparison->points.facts[side], &decisions[side]);
		comparison->total++;
		is_same = decisions[BEFORE].permitted == decisions[AFTER].permitted &&
			  decisions[BEFORE].ttl_max_s == decisions[AFTER].ttl_max_s &&
			  decisions[BEFORE].onward == decisions[AFTER].onward &&
			  only_of(comparison, BEFORE, decisions) == 0 && only_of(comparison, AFTER, decisions) == 0;
		if (is_same)
			continue;
		comparison->changed++;
		compare_fields(comparison, BEFORE, decisions);
		compare_fields(comparison, AFTER, decisions);
		compare_terms(comparison, decisions);
	} while (enumeration_step(&comparison->points));
}

/* ---- what is no decision ---- */

static void define(struct comparison *comparison, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void define(struct comparison *comparison, const char *format, ...)
{
	struct strbuf text = STRBUF_INIT;
	va_list args;

	va_start(args, format);
	strbuf_vaddf(&text, format, args);
	va_end(args);
	json_array_append_new(comparison->definitions, json_string(text.data));
	strbuf_release(&text);
}

static const json_t *type_json(const struct policy *policy, const char *type)
{
	return json_object_get(json_object_get(policy->document, "types"), type);
}

static void compare_type(struct comparison *comparison, const char *type)
{
	const json_t *before = type_json(comparison->policies[BEFORE], type);
	const json_t *after = type_json(comparison->policies[AFTER], type);

	if (before == NULL || after == NULL) {
		define(comparison, "type %s is described only %s", type, before == NULL ? "after" : "before");
		return;
	}
	if (!json_equal(json_object_get(before, "flags"), json_object_get(after, "flags")) &&
		(json_object_get(before, "flags") != NULL || json_object_get(after, "flags") != NULL))
		define(comparison, "type %s: its flags are read from the record in another way", type);
	if (json_is_true(json_object_get(before, "personal")) != json_is_true(json_object_get(after, "personal")))
		define(comparison, "type %s %s personal", type,
			json_is_true(json_object_get(after, "personal")) ? "becomes" : "is no longer");
}

static void compare_definitions(struct comparison *comparison)
{
	const struct policy *before = comparison->policies[BEFORE], *after = comparison->policies[AFTER];

	if (before->not_after_us != after->not_after_us)
		define(comparison, "not_after moves from %s to %s",
			json_string_value(json_object_get(before->document, "not_after")),
			json_string_value(json_object_get(after->document, "not_after")));
	for (int type = 1; type <= before->types.count; type++)
		compare_type(comparison, before->types.text[type]);
	for (int type = 1; type <= after->types.count; type++) {
		if (type_json(before, after->types.text[type]) == NULL)
			compare_type(comparison, after->types.text[type]);
	}
}

/* ---- the whole ---- */

static void compare_all(struct comparison *comparison)
{
	for (int side = BEFORE; side <= AFTER; side++) {
		const struct names *types = &comparison->policies[side]->types;

		for (int type = 1; type <= types->count; type++) {
			if (side == AFTER && type_json(comparison->policies[BEFORE], types->text[type]) != NULL)
				continue;
			for (int operation = 0; operation < GATE_OPERATIONS; operation++) {
				begin_type(comparison, (enum gate_operation)operation, types->text[type]);
				walk(comparison);
			}
		}
	}
	compare_definitions(comparison);
}

enum status policy_diff(
	const struct policy *before, const struct policy *after, json_t **report_out, struct strbuf *why)
{
	const struct policy *policies[2] = { before, after };
	struct comparison *comparison;

	*report_out = NULL;
	if (strcmp(before->home, after->home) != 0) {
		strbuf_addf(why, "one speaks for %s and the other for %s", before->home, after->home);
		return STATUS_INVALID;
	}
	if (enumeration_count(policies, 2, NULL, why) > POLICY_POINTS_MAX)
		return STATUS_TOO_LARGE;
	comparison = calloc(1, sizeof(*comparison));
	if (comparison == NULL)
		return STATUS_NO_MEMORY;
	comparison->policies[BEFORE] = before;
	comparison->policies[AFTER] = after;
	comparison->allowed = json_array();
	comparison->denied = json_array();
	comparison->term_list = json_array();
	comparison->definitions = json_array();
	compare_all(comparison);
	*report_out = json_pack("{s:s,s:s,s:I,s:I,s:o,s:o,s:o,s:o}", "before", before->version, "after", after->version,
		"points", (json_int_t)comparison->total, "changed", (json_int_t)comparison->changed, "allowed",
		comparison->allowed, "denied", comparison->denied, "terms", comparison->term_list, "definitions",
		comparison->definitions);
	free(comparison);
	return *report_out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

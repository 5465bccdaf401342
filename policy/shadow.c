/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shadow's decision costs one more walk of rules, and nothing more when both
 * agree: fields are compared by a map made when it was attached, and counts are
 * atomic.  Only a difference takes the mutex.  What is kept of one is its rule,
 * its kind and the first request's attributes: never an id.
 */
#include "policy/shadow.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/must.h"
#include "policy/rules.h"

#define ROWS_MAX 128 /* rules and kinds; more fold into the last */

enum kind { KIND_ALLOWS, KIND_DENIES, KIND_MORE_FIELDS, KIND_FEWER_FIELDS, KIND_TERMS };
static const char *const kind_names[] = { "allows", "denies", "more_fields", "fewer_fields", "terms" };

struct shadow_row {
	const char *rule; /* borrowed from one of the policies */
	enum kind kind;
	uint64_t count;
	char *example;
};

struct shadow {
	struct policy *policy;
	int8_t (*fields)[GATE_FIELDS_MAX]; /* by type id and field of the policy in force: the shadow's field, or -1 */
	struct metric_series *agreed, *differed;
	struct metric *disagreements;
	atomic_uint_least64_t decided, same;
	struct log_limit logged;
	pthread_mutex_t mutex; /* guards the rows */
	struct shadow_row rows[ROWS_MAX];
	size_t row_count;
};

static void map_fields(const struct policy *policy, struct shadow *shadow)
{
	for (int type = 1; type <= policy->types.count; type++) {
		int other = names_find(&shadow->policy->types, policy->types.text[type]);

		memset(shadow->fields[type], -1, GATE_FIELDS_MAX);
		for (size_t i = 0; other != NAME_OTHER && i < policy->type[type].field_count; i++) {
			for (size_t j = 0; j < shadow->policy->type[other].field_count; j++) {
				if (strcmp(policy->type[type].fields[i], shadow->policy->type[other].fields[j]) == 0)
					shadow->fields[type][i] = (int8_t)j;
			}
		}
	}
}

enum status policy_attach_shadow(struct policy *policy, struct policy *shadow_policy, struct strbuf *why)
{
	struct shadow *shadow;
	struct metric *decisions;

	if (strcmp(policy->home, shadow_policy->home) != 0) {
		strbuf_addf(why, "the shadow policy speaks for %s, not for %s", shadow_policy->home, policy->home);
		policy_release_reference(shadow_policy);
		return STATUS_INVALID;
	}
	shadow = calloc(1, sizeof(*shadow));
	if (shadow != NULL)
		shadow->fields = calloc((size_t)policy->types.count + 1, sizeof(*shadow->fields));
	if (shadow == NULL || shadow->fields == NULL) {
		free(shadow);
		policy_release_reference(shadow_policy);
		return STATUS_NO_MEMORY;
	}
	shadow->policy = shadow_policy;
	map_fields(policy, shadow);
	decisions = metric_register(METRIC_COUNTER, "homeward_policy_shadow_decisions_total",
		"Decisions the shadow policy made too, by whether it would have decided the same.", "result");
	shadow->agreed = metric_series(decisions, "same", (const char *)NULL);
	shadow->differed = metric_series(decisions, "different", (const char *)NULL);
	shadow->disagreements = metric_register(METRIC_COUNTER, "homeward_policy_shadow_disagreements_total",
		"Decisions the shadow policy would have made otherwise, by the rule that makes the difference.",
		"rule,kind");
	must(pthread_mutex_init(&shadow->mutex, NULL) == 0);
	policy->shadow = shadow;
	return STATUS_OK;
}

void shadow_destroy(struct shadow *shadow)
{
	if (shadow == NULL)
		return;
	for (size_t i = 0; i < shadow->row_count; i++)
		free(shadow->rows[i].example);
	policy_release_reference(shadow->policy);
	pthread_mutex_destroy(&shadow->mutex);
	free(shadow->fields);
	free(shadow);
}

const struct policy *shadow_policy_of(const struct shadow *shadow)
{
	return shadow->policy;
}

/* The fields in the shadow's numbers; one it does not describe is told by *has_more_out. */
static uint64_t translate(const struct shadow *shadow, int type, uint64_t fields, bool *has_more_out)
{
	uint64_t translated = 0;

	for (; fields != 0; fields &= fields - 1) {
		int8_t field = shadow->fields[type][__builtin_ctzll(fields)];

		if (field >= 0)
			translated |= NAME_BIT(field);
		else
			*has_more_out = true;
	}
	return translated;
}

/* False when they are the same. */
static bool compare(const struct policy *policy, const struct gate_request *request, const struct gate_decision *ours,
	const struct gate_decision *theirs, enum kind *kind_out)
{
	int type = names_find(&policy->types, request->type);
	bool has_more = false;
	uint64_t fields;

	if (ours->permitted != theirs->permitted) {
		*kind_out = theirs->permitted ? KIND_ALLOWS : KIND_DENIES;
		return true;
	}
	if (!ours->permitted || type == NAME_OTHER || type == NAME_UNKNOWN)
		return false;
	fields = translate(policy->shadow, type, ours->fields, &has_more);
	if ((theirs->fields & ~fields) != 0)
		*kind_out = KIND_MORE_FIELDS;
	else if (has_more || fields != theirs->fields)
		*kind_out = KIND_FEWER_FIELDS;
	else if (ours->ttl_max_s != theirs->ttl_max_s || ours->onward != theirs->onward)
		*kind_out = KIND_TERMS;
	else
		return false;
	return true;
}

static const char *first_rule(const struct gate_decision *decision)
{
	return decision->rule_count > 0 ? decision->rules[0] : "default";
}

static const char *or_unknown(const char *text)
{
	return text != NULL && text[0] != '\0' ? text : "unknown";
}

/* NULL when out of memory. */
static char *describe(
	const struct gate_request *request, const struct gate_decision *ours, const struct gate_decision *theirs)
{
	struct strbuf text = STRBUF_INIT;
	size_t size;

	strbuf_addf(&text, "%s %s, requester %s, to %s, purpose %s, caller %s, evidence.station_region %s",
		operation_name(request->operation), or_unknown(request->type), or_unknown(request->requester),
		or_unknown(request->to), or_unknown(request->purpose), or_unknown(request->caller),
		or_unknown(request->station_region));
	strbuf_addf(&text, ": %s by %s, and %s by %s in the shadow", ours->permitted ? "permitted" : "denied",
		first_rule(ours), theirs->permitted ? "permitted" : "denied", first_rule(theirs));
	return strbuf_take(&text, &size);
}

/* Counts it under its rule and kind; true when it is the first of them. */
static bool count_row(struct shadow *shadow, const char *rule, enum kind kind, char *example)
{
	struct shadow_row *row = NULL;
	bool is_first = false;

	pthread_mutex_lock(&shadow->mutex);
	for (size_t i = 0; i < shadow->row_count && row == NULL; i++) {
		if (shadow->rows[i].kind == kind && strcmp(shadow->rows[i].rule, rule) == 0)
			row = &shadow->rows[i];
	}
	if (row == NULL && shadow->row_count == ROWS_MAX)
		row = &shadow->rows[ROWS_MAX - 1];
	if (row == NULL) {
		row = &shadow->rows[shadow->row_count++];
		*row = (struct shadow_row){ .rule = rule, .kind = kind, .example = example };
		is_first = true;
	}
	row->count++;
	pthread_mutex_unlock(&shadow->mutex);
	return is_first;
}

void policy_shadow_observe(
	const struct policy *policy, const struct gate_request *request, const struct gate_decision *decision)
{
	struct gate_decision theirs;
	struct shadow *shadow;
	const char *rule;
	enum kind kind;
	char *example;

	/* What is denied before any rule is denied by both. */
	if (policy == NULL || policy->shadow == NULL || request->is_absent || request->is_over_budget)
		return;
	shadow = policy->shadow;
	policy_decide(shadow->policy, request, &theirs);
	atomic_fetch_add_explicit(&shadow->decided, 1, memory_order_relaxed);
	if (!compare(policy, request, decision, &theirs, &kind)) {
		atomic_fetch_add_explicit(&shadow->same, 1, memory_order_relaxed);
		metric_add(shadow->agreed, 1);
		return;
	}
	/* Denied by default over there: what makes the difference is the rule here that is missing. */
	rule = theirs.rule_count > 0 ? theirs.rules[0] : first_rule(decision);
	metric_add(shadow->differed, 1);
	metric_add(metric_series(shadow->disagreements, rule, kind_names[kind], (const char *)NULL), 1);
	example = describe(request, decision, &theirs);
	LOG_LIMITED(&shadow->logged, LOG_LEVEL_INFO, "policy_shadow_differs", "rule", rule, "kind", kind_names[kind],
		"request", example);
	if (!count_row(shadow, rule, kind, example))
		free(example);
}

json_t *policy_shadow_report(const struct policy *policy)
{
	struct shadow *shadow = policy != NULL ? policy->shadow : NULL;
	json_t *rows = json_array(), *report;

	if (shadow == NULL) {
		json_decref(rows);
		return json_pack("{s:s,s:n}", "in_force", policy != NULL ? policy->version : "", "shadow");
	}
	pthread_mutex_lock(&shadow->mutex);
	for (size_t i = 0; i < shadow->row_count; i++) {
		const struct shadow_row *row = &shadow->rows[i];

		json_array_append_new(
			rows, json_pack("{s:s,s:s,s:I,s:s}", "rule", row->rule, "kind", kind_names[row->kind], "count",
				      (json_int_t)row->count, "example", row->example != NULL ? row->example : ""));
	}
	pthread_mutex_unlock(&shadow->mutex);
	report = json_pack("{s:s,s:s,s:I,s:I,s:o}", "in_force", policy->version, "shadow", shadow->policy->version,
		"decided", (json_int_t)atomic_load(&shadow->decided), "same", (json_int_t)atomic_load(&shadow->same),
		"differences", rows);
	return report;
}

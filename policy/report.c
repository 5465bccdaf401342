/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small parts of the tools' reports, and the two reports that only repeat
 * what reading the file found: its tests and its invariants.
 */
#include "policy/report.h"

#include <stdlib.h>

#include "policy/tools.h"

json_t *report_fields(const struct policy *policy, int type, uint64_t fields)
{
	json_t *list = json_array();

	for (size_t i = 0; i < policy->type[type].field_count; i++) {
		if ((fields & NAME_BIT(i)) != 0)
			json_array_append_new(list, json_string(policy->type[type].fields[i]));
	}
	return list;
}

json_t *report_rules(const struct gate_decision *decision)
{
	json_t *list = json_array();

	for (size_t i = 0; i < decision->rule_count; i++)
		json_array_append_new(list, json_string(decision->rules[i]));
	return list;
}

json_t *report_describe(const struct enumeration *enumeration)
{
	struct strbuf text = STRBUF_INIT;
	json_t *described;

	enumeration_describe(enumeration, &text);
	described = json_string(text.data);
	strbuf_release(&text);
	return described;
}

bool decision_equal(const struct gate_decision *a, const struct gate_decision *b)
{
	return a->permitted == b->permitted && a->fields == b->fields && a->ttl_max_s == b->ttl_max_s &&
	       a->onward == b->onward;
}

static json_t *run_tests(const struct policy *policy)
{
	json_t *list = json_array();

	for (size_t i = 0; i < policy->test_count; i++) {
		struct strbuf why = STRBUF_INIT;
		bool passes = policy_test_passes(policy, &policy->tests[i], &why);

		strbuf_trim_end(&why, "\n");
		json_array_append_new(list,
			json_pack("{s:s,s:b,s:s}", "name", policy->tests[i].name, "passed", passes, "why", why.data));
		strbuf_release(&why);
	}
	return list;
}

static enum status run_invariants(const struct policy *policy, json_t *list)
{
	struct strbuf *broken = calloc(policy->invariant_count + 1, sizeof(*broken));
	enum status status = broken != NULL ? STATUS_OK : STATUS_NO_MEMORY;

	for (size_t i = 0; broken != NULL && i < policy->invariant_count; i++)
		strbuf_init(&broken[i]);
	if (status == STATUS_OK)
		status = invariants_try(policy, broken);
	for (size_t i = 0; broken != NULL && i < policy->invariant_count; i++) {
		const char *note = policy->invariants[i].note;

		json_array_append_new(list, json_pack("{s:s,s:b,s:s}", "note", note != NULL ? note : "", "passed",
						    broken[i].length == 0, "why", broken[i].data));
		strbuf_release(&broken[i]);
	}
	free(broken);
	return status;
}

enum status policy_test_report(const struct policy *policy, json_t **report_out, struct strbuf *why)
{
	json_t *invariants = json_array(), *report;
	enum status status = run_invariants(policy, invariants);

	*report_out = NULL;
	if (status == STATUS_TOO_LARGE)
		strbuf_addf(why, "more than %d kinds of request would have to be tried", INVARIANT_POINTS_MAX);
	else if (status != STATUS_OK)
		strbuf_adds(why, "out of memory");
	report = json_pack(
		"{s:s,s:o,s:o}", "policy", policy->version, "tests", run_tests(policy), "invariants", invariants);
	if (status == STATUS_OK && report == NULL)
		status = STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		*report_out = report;
	else
		json_decref(report);
	return status;
}

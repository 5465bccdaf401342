/* SPDX-License-Identifier: Apache-2.0 */
/* A shadow policy counts where it differs, and changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/metrics.h"
#include "policy/policy.h"
#include "tests/unit/support/policies.h"

#define HEAD(home)                                                                                                     \
	"{\"schema\":\"homeward-policy/1\",\"home\":\"" home                                                           \
	"\",\"version\":3,\"not_after\":\"2030-01-01T00:00:00Z\","                                                     \
	"\"default\":\"deny\",\"types\":{"
#define OURS                                                                                                           \
	HEAD("eu")                                                                                                     \
	"\"token\":{\"fields\":[\"uid\",\"valid\",\"email\"],\"personal\":true}},\"rules\":["                          \
	"{\"id\":\"A\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"purpose\":[\"charge.authorize\"],"            \
	"\"fields\":[\"uid\",\"valid\"],\"obligations\":{\"cache_ttl_max_s\":60}}]}"
/* The same fields in another order, so that their numbers differ. */
#define THEIRS(rules)                                                                                                  \
	HEAD("eu") "\"token\":{\"fields\":[\"email\",\"valid\",\"uid\"],\"personal\":true}},\"rules\":[" rules "]}"
#define PERMIT(id, purpose, fields, ttl)                                                                               \
	"{\"id\":\"" id "\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"purpose\":[\"" purpose                   \
	"\"],\"fields\":[" fields "],\"obligations\":{\"cache_ttl_max_s\":" ttl "}}"

static void observe(const struct policy *policy, const char *purpose, bool is_absent)
{
	struct gate_request request = { .operation = GATE_SERVE,
		.requester = "na",
		.to = "na",
		.type = "token",
		.purpose = purpose,
		.caller = "cs-auth",
		.is_absent = is_absent,
		.now_wall_us = 0 };
	struct gate_decision before, after;

	policy_decide(policy, &request, &before);
	after = before;
	policy_shadow_observe(policy, &request, &after);
	assert_memory_equal(&before, &after, sizeof(before));
}

/* The one difference after a charge.authorize and an analytics: "rule kind count". */
static void assert_difference(const char *shadow_text, const char *expected)
{
	struct policy *policy = policy_of(OURS);
	struct strbuf why = STRBUF_INIT, got = STRBUF_INIT;
	json_t *report, *rows;

	assert_int_equal(policy_attach_shadow(policy, policy_of(shadow_text), &why), STATUS_OK);
	observe(policy, "charge.authorize", false);
	observe(policy, "analytics", false);
	observe(policy, "charge.authorize", true);
	report = policy_shadow_report(policy);
	assert_int_equal(json_integer_value(json_object_get(report, "decided")), 2);
	rows = json_object_get(report, "differences");
	for (size_t i = 0; i < json_array_size(rows); i++)
		strbuf_addf(&got, "%s %s %lld\n", json_string_value(json_object_get(json_array_get(rows, i), "rule")),
			json_string_value(json_object_get(json_array_get(rows, i), "kind")),
			(long long)json_integer_value(json_object_get(json_array_get(rows, i), "count")));
	strbuf_addf(&got, "same %lld", (long long)json_integer_value(json_object_get(report, "same")));
	assert_string_equal(got.data, expected);
	json_decref(report);
	strbuf_release(&got);
	strbuf_release(&why);
	policy_release_reference(policy);
}

static void each_kind_of_difference_is_told(void **state)
{
	(void)state;
	assert_difference(THEIRS(PERMIT("A", "charge.authorize", "\"uid\",\"valid\"", "60")), "same 2");
	assert_difference(THEIRS(PERMIT("B", "charge.authorize", "\"uid\",\"valid\"", "90")), "B terms 1\nsame 1");
	assert_difference(THEIRS(PERMIT("B", "charge.authorize", "\"uid\"", "60")), "B fewer_fields 1\nsame 1");
	assert_difference(THEIRS(PERMIT("B", "charge.authorize", "\"uid\",\"valid\",\"email\"", "60")),
		"B more_fields 1\nsame 1");
	assert_difference(THEIRS(PERMIT("B", "analytics", "\"uid\"", "60")), "A denies 1\nB allows 1\nsame 0");
}

static void without_a_shadow_the_report_says_so(void **state)
{
	struct policy *policy = policy_of(OURS);
	json_t *report;

	(void)state;
	observe(policy, "charge.authorize", false);
	report = policy_shadow_report(policy);
	assert_true(json_is_null(json_object_get(report, "shadow")));
	json_decref(report);
	policy_release_reference(policy);
	report = policy_shadow_report(NULL);
	assert_non_null(report);
	json_decref(report);
}

static void the_shadow_of_another_region_is_refused(void **state)
{
	struct policy *policy = policy_of(OURS);
	struct strbuf why = STRBUF_INIT;

	(void)state;
	assert_int_equal(
		policy_attach_shadow(policy,
			policy_of(HEAD("ap") "\"token\":{\"fields\":[\"uid\"],\"personal\":true}},\"rules\":[" PERMIT(
				"A", "analytics", "\"uid\"", "1") "]}"),
			&why),
		STATUS_INVALID);
	assert_string_equal(why.data, "the shadow policy speaks for ap, not for eu");
	strbuf_release(&why);
	policy_release_reference(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_difference_is_told),
		cmocka_unit_test(without_a_shadow_the_report_says_so),
		cmocka_unit_test(the_shadow_of_another_region_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

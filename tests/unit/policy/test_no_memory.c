/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a policy and making a view, with each allocation failing in turn: never a policy by half, never a field more. */
#include "tests/unit/support/failing_allocator.h"

#include "base/json.h"
#include "policy/policy.h"
#include "tests/unit/support/policies.h"

static const char text[] =
	"{\"schema\":\"homeward-policy/1\",\"home\":\"eu\",\"version\":7,\"not_after\":\"2030-01-01T00:00:00Z\","
	"\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\",\"valid\",\"email\"],\"personal\":true,"
	"\"flags\":{\"subject.restricted\":{\"field\":\"restricted\",\"absent\":\"no\"}}}},\"rules\":["
	"{\"id\":\"R1\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"type\":[\"token\"],"
	"\"when\":[[\"subject.restricted\",\"ne\",\"no\"]]},"
	"{\"id\":\"R2\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"type\":[\"token\"],\"to\":[\"na\",\"ap\"],"
	"\"purpose\":[\"charge.authorize\"],\"fields\":[\"uid\",\"valid\"],"
	"\"obligations\":{\"cache_ttl_max_s\":900,\"onward\":\"no\"}}],"
	"\"tests\":[{\"name\":\"one\",\"in\":{\"operation\":\"serve\",\"requester\":\"na\",\"type\":\"token\","
	"\"purpose\":\"charge.authorize\",\"subject.restricted\":\"no\"},\"expect\":{\"decision\":\"permit\"}}],"
	"\"invariants\":[{\"never\":{\"operation\":[\"serve\"],\"fields\":[\"email\"]}}]}";

static bool read_policy(void *arg)
{
	struct strbuf why = STRBUF_INIT;
	struct policy *policy = NULL;
	enum status status = policy_parse("p.json", arg, strlen(arg), &policy, &why);

	assert_int_equal(status == STATUS_OK, policy != NULL);
	policy_release_reference(policy);
	strbuf_release(&why);
	return status == STATUS_OK || strstr(arg, "efect2") != NULL;
}

static bool make_view(void *arg)
{
	struct gate_request request = { .operation = GATE_SERVE,
		.requester = "na",
		.to = "na",
		.type = "token",
		.purpose = "charge.authorize",
		.caller = "cs",
		.now_wall_us = 1767225600000000 };
	struct gate_decision decision;
	struct strbuf written = STRBUF_INIT;
	json_t *record = json_loads("{\"uid\":\"A\",\"valid\":true,\"email\":\"a@example.org\"}", 0, NULL),
	       *view = NULL;
	bool is_written = false;

	request.record = record;
	policy_decide(arg, &request, &decision);
	/* Flags that could not be read are unknown, and unknown denies. */
	assert_int_equal(decision.permitted, record != NULL);
	if (record != NULL)
		view = policy_view(arg, "token", &decision, record);
	if (view != NULL && json_write(view, &written) == STATUS_OK) {
		assert_string_equal(written.data, "{\"uid\":\"A\",\"valid\":true}");
		is_written = true;
	}
	json_decref(view);
	json_decref(record);
	strbuf_release(&written);
	return is_written;
}

static void reading_without_memory(void **state)
{
	static char good[sizeof(text)], bad[sizeof(text)];

	(void)state;
	memcpy(good, text, sizeof(text));
	memcpy(bad, text, sizeof(text));
	memcpy(strstr(bad, "effect"), "efect2", 6);
	fail_each_allocation(read_policy, good);
	fail_each_allocation(read_policy, bad);
}

static void viewing_without_memory(void **state)
{
	struct policy *policy = policy_of(text);

	(void)state;
	fail_each_allocation(make_view, policy);
	policy_release_reference(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(viewing_without_memory),
		cmocka_unit_test(reading_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

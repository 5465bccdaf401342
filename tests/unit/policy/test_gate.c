/* SPDX-License-Identifier: Apache-2.0 */
/* Readers keep the policy they took while another thread swaps it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policy/policy.h"
#include "tests/unit/support/policies.h"

#define READERS 3
#define SWAPS 200

static struct policy *make(int version)
{
	struct strbuf text = STRBUF_INIT;
	struct policy *policy;

	strbuf_addf(&text,
		"{\"schema\":\"homeward-policy/"
		"1\",\"home\":\"eu\",\"version\":%d,\"not_after\":\"2030-01-01T00:00:00Z\","
		"\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\"],\"personal\":true}},"
		"\"rules\":[{\"id\":\"R%d\",\"effect\":\"permit\",\"operation\":[\"local\"],\"fields\":[\"*\"]}]}",
		version, version);
	policy = policy_of(text.data);
	strbuf_release(&text);
	return policy;
}

/* Reads until the last policy is in force; returns how often a rule was not of the policy it came with. */
static void *read_until_last(void *arg)
{
	struct gate *gate = arg;
	struct gate_request request = { .operation = GATE_LOCAL, .requester = "eu", .to = "eu", .type = "token" };
	uintptr_t wrong = 0;
	int version = 0;

	while (version < SWAPS) {
		struct policy *policy = gate_acquire(gate);
		struct gate_decision decision;

		policy_decide(policy, &request, &decision);
		version = (int)strtol(policy_version(policy), NULL, 10);
		if (!decision.permitted || strtol(decision.rules[0] + 1, NULL, 10) != version)
			wrong++;
		policy_release_reference(policy);
	}
	return (void *)wrong;
}

static void readers_keep_the_policy_they_took(void **state)
{
	struct gate *gate = gate_create(make(1), clock_system());
	uint64_t generation = gate_generation(gate);
	pthread_t readers[READERS];

	(void)state;
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_until_last, gate), 0);
	for (int i = 2; i <= SWAPS; i++)
		gate_swap(gate, make(i));
	for (int i = 0; i < READERS; i++) {
		void *wrong;

		pthread_join(readers[i], &wrong);
		assert_null(wrong);
	}
	assert_int_equal(gate_generation(gate), generation + SWAPS - 1);
	gate_destroy(gate);
}

static void a_gate_without_a_policy_has_none(void **state)
{
	struct gate *gate = gate_create(NULL, clock_system());
	struct policy *policy;

	(void)state;
	assert_null(gate_acquire(gate));
	gate_swap(gate, make(5));
	policy = gate_acquire(gate);
	gate_swap(gate, NULL);
	assert_memory_equal(policy_version(policy), "5:", 2);
	policy_release_reference(policy);
	assert_null(gate_acquire(gate));
	gate_destroy(gate);
	gate_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_keep_the_policy_they_took),
		cmocka_unit_test(a_gate_without_a_policy_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

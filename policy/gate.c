/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate holds the policy in force.  A snapshot is taken by reference under a
 * mutex held for two instructions; the generation is a plain atomic, so that an
 * engine or a cache can keep its reference and take a new one only when the
 * number has changed.  The swapped-out policy is let go outside the lock: its
 * last reference may free a good deal.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/must.h"
#include "policy/policy.h"

struct gate {
	pthread_mutex_t mutex; /* guards policy */
	struct policy *policy;
	atomic_uint_fast64_t generation;
};

struct gate *gate_create(struct policy *policy, const struct clock_source *clock)
{
	struct gate *gate = calloc(1, sizeof(*gate));

	(void)clock; /* requests carry their own time */
	if (gate == NULL) {
		policy_release_reference(policy);
		return NULL;
	}
	must(pthread_mutex_init(&gate->mutex, NULL) == 0);
	gate->policy = policy;
	atomic_init(&gate->generation, 1);
	return gate;
}

void gate_destroy(struct gate *gate)
{
	if (gate == NULL)
		return;
	policy_release_reference(gate->policy);
	pthread_mutex_destroy(&gate->mutex);
	free(gate);
}

void gate_swap(struct gate *gate, struct policy *policy)
{
	struct policy *before;

	pthread_mutex_lock(&gate->mutex);
	before = gate->policy;
	gate->policy = policy;
	atomic_fetch_add_explicit(&gate->generation, 1, memory_order_release);
	pthread_mutex_unlock(&gate->mutex);
	policy_release_reference(before);
}

struct policy *gate_acquire(struct gate *gate)
{
	struct policy *policy;

	pthread_mutex_lock(&gate->mutex);
	policy = policy_acquire(gate->policy);
	pthread_mutex_unlock(&gate->mutex);
	return policy;
}

uint64_t gate_generation(const struct gate *gate)
{
	return atomic_load_explicit(&gate->generation, memory_order_acquire);
}

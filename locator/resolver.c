/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolver: who waits for which lookup, and until when.  Each waiter has a
 * deadline of its own in one heap with one timer; a waiter that leaves early
 * does not end the lookup, whose completions still refer to its question.
 *
 * Invariant: a waiter is in the heap exactly while it is on a lookup's list.
 */
#include "locator/resolve.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/must.h"
#include "locator/resolve_steps.h"

static void arm(struct resolver *resolver)
{
	struct deadline *first = deadlines_first(&resolver->deadlines);
	int64_t at_ms = first ? first->at_ms : -1;
	/* A timer that comes too early only arms itself again, so it is moved only when it would be late. */
	if (at_ms < 0 || (resolver->armed_at_ms >= 0 && resolver->armed_at_ms <= at_ms))
		return;
	int64_t delay_ms = at_ms - clock_monotonic_ms(resolver->settings.clock);
	resolver->armed_at_ms = at_ms;
	resolver->settings.world.wake_after(resolver->settings.world.arg, delay_ms > 0 ? delay_ms : 0);
}

static enum status add_waiter(struct resolve_lookup *lookup, struct resolve_waiter *waiter)
{
	waiter->deadline = (struct deadline){ .at_ms = waiter->question.deadline_ms };
	enum status status = deadlines_add(&lookup->resolver->deadlines, &waiter->deadline);
	if (status)
		return status;
	waiter->lookup = lookup;
	waiter->previous = NULL;
	waiter->next = lookup->waiters;
	if (waiter->next)
		waiter->next->previous = waiter;
	lookup->waiters = waiter;
	lookup->in_flight.waiter_count++;
	return STATUS_OK;
}

static void refuse(struct resolve_waiter *waiter, enum status status)
{
	struct resolve_result result = { .status = status, .peer = "", .exchange = waiter->question.exchange };
	waiter->done(waiter, &result);
}

static struct resolve_lookup *lookup_create(struct resolver *resolver, const struct resolve_waiter *waiter)
{
	struct resolve_lookup *lookup = resolve_lookup_create(resolver);
	if (!lookup)
		return NULL;
	lookup->question = waiter->question;
	lookup->in_flight.question = &lookup->question;
	lookup->in_flight.mode = waiter->mode;
	return lookup;
}

void resolver_submit(struct resolver *resolver, struct resolve_waiter *waiter)
{
	int64_t now_ms = clock_monotonic_ms(resolver->settings.clock);
	waiter->has_joined = false;
	if (waiter->question.deadline_ms <= now_ms) {
		refuse(waiter, STATUS_DEADLINE);
		return;
	}
	struct in_flight_entry *under_way;
	enum status status = in_flight_find(&resolver->in_flight, &waiter->question, waiter->mode, now_ms, &under_way);
	if (status) {
		refuse(waiter, status);
		return;
	}
	struct resolve_lookup *lookup;
	if (under_way) {
		lookup = (struct resolve_lookup *)((char *)under_way - offsetof(struct resolve_lookup, in_flight));
		waiter->has_joined = true;
		if (add_waiter(lookup, waiter))
			refuse(waiter, STATUS_NO_MEMORY);
		else
			arm(resolver);
		return;
	}
	lookup = lookup_create(resolver, waiter);
	if (!lookup || add_waiter(lookup, waiter)) {
		if (lookup)
			resolve_lookup_destroy(lookup);
		refuse(waiter, STATUS_NO_MEMORY);
		return;
	}
	in_flight_add(&resolver->in_flight, &lookup->in_flight);
	resolve_start(lookup);
	arm(resolver);
}

void resolver_wake(struct resolver *resolver)
{
	int64_t now_ms = clock_monotonic_ms(resolver->settings.clock);
	resolver->armed_at_ms = -1;
	struct deadline *first;
	while ((first = deadlines_first(&resolver->deadlines)) && first->at_ms <= now_ms) {
		struct resolve_waiter *waiter = (struct resolve_waiter *)((char *)first -
									  offsetof(struct resolve_waiter, deadline));
		struct resolve_lookup *lookup = waiter->lookup;
		struct resolve_result result = { .status = STATUS_DEADLINE };
		result.source = lookup->is_delegated ? SOURCE_HOME : SOURCE_NONE;
		result.failure = lookup->is_delegated ? HTTP_CLIENT_RESPONSE_TIMEOUT : HTTP_CLIENT_OK;
		resolve_tell(lookup, waiter, &result);
	}
	arm(resolver);
}

size_t resolver_in_flight(const struct resolver *resolver)
{
	return resolver->alive;
}

enum status resolver_create(const struct resolver_settings *settings, struct resolver **resolver_out)
{
	*resolver_out = NULL;
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	if (!resolver)
		return STATUS_NO_MEMORY;
	resolver->settings = *settings;
	resolver->armed_at_ms = -1;
	enum status status = in_flight_init(&resolver->in_flight, settings->expected_in_flight, settings->seed);
	if (status) {
		free(resolver);
		return status;
	}
	*resolver_out = resolver;
	return STATUS_OK;
}

void resolver_destroy(struct resolver *resolver)
{
	if (!resolver)
		return;
	must(!resolver->alive);
	while (resolver->spare) {
		struct resolve_lookup *lookup = resolver->spare;
		resolver->spare = lookup->next_spare;
		free(lookup);
	}
	in_flight_release(&resolver->in_flight);
	deadlines_release(&resolver->deadlines);
	free(resolver);
}

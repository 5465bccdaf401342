/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delegate: carries lookups to their home region, many in one request.
 *
 * A lane is what goes to one peer.  While fewer than two requests are under way,
 * whatever one round of the loop brought leaves at its end, so a lone lookup waits
 * for nothing.  Beyond that, lookups gather until there are DELEGATE_GATHERED or
 * linger_ms has passed: enough to share a request's cost, and few enough that the
 * two sides work at the same time instead of in turn.  More than that are spread
 * over the free connections; when all are under way, batches grow up to batch_max,
 * so that load makes batches larger and not requests more.
 *
 * Every lookup ends at its own deadline whatever its batch does: a heap of
 * deadlines drives one timer.  All of it belongs to one loop; nothing is locked.
 *
 * Invariant: a lookup is in the heap, and either on its lane's waiting list or in
 * exactly one batch.  done is called from the loop, never from delegate_lookup.
 */
#include "router/delegate.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/peer_wire.h"

#define EAGER_REQUESTS 2 /* one on the way there while the other is on the way back */

struct refusal { /* a lookup that never got as far as waiting; its done must still come later */
	struct refusal *next;
	enum status status;
	delegate_done *done;
	void *arg;
};

static void on_deadline(void *arg);
static void after_round(struct loop_task *task);
static void after_refusals(struct loop_task *task);

enum status delegate_create_with(struct loop *loop, const struct delegate_ports *ports, struct peers *peers,
	const struct delegate_settings *settings, struct delegate **delegate_out)
{
	struct delegate *delegate = calloc(1, sizeof(*delegate));
	enum status status;

	*delegate_out = NULL;
	if (delegate == NULL)
		return STATUS_NO_MEMORY;
	must(settings->batch_max >= 1 && settings->batch_max <= PEER_BATCH_MAX && settings->connections_max >= 1);
	delegate->loop = loop;
	delegate->peers = peers;
	delegate->ports = *ports;
	delegate->settings = *settings;
	delegate->armed_ms = INT64_MAX;
	delegate->after_round.run = after_round;
	delegate->after_refusals.run = after_refusals;
	delegate->refused_tail = &delegate->refused;
	delegate->lookups_metric = metric_register(
		METRIC_COUNTER, "homeward_delegate_lookups_total", "Lookups carried to the peer.", "peer");
	delegate->requests_metric = metric_register(METRIC_COUNTER, "homeward_delegate_requests_total",
		"Requests that carried them, retries included.", "peer");
	delegate->retries_metric = metric_register(METRIC_COUNTER, "homeward_delegate_retries_total",
		"Requests sent again to another URL of the same peer.", "peer");
	status = loop_timer_init(loop, &delegate->deadline_timer, on_deadline, delegate);
	if (status != STATUS_OK) {
		free(delegate);
		return status;
	}
	*delegate_out = delegate;
	return STATUS_OK;
}

static void free_lookup(struct delegate *delegate, struct delegated *lookup)
{
	delegate->ports.drop_release(lookup->release);
	free(lookup);
}

void delegate_destroy(struct delegate *delegate)
{
	if (delegate == NULL)
		return;
	/* The transport still owes each batch its end, and frees it then. */
	for (struct delegate_batch *batch = delegate->batches, *next; batch != NULL; batch = next) {
		next = batch->next;
		batch->lane = NULL;
		delegate->ports.cancel(delegate->ports.arg, batch->call);
	}
	for (size_t i = 0; i < delegate->deadlines.count; i++)
		free_lookup(delegate, delegate->deadlines.entries[i]);
	free(delegate->deadlines.entries);
	for (struct delegate_lane *lane = delegate->lanes, *next; lane != NULL; lane = next) {
		next = lane->next;
		loop_timer_release(&lane->linger);
		free(lane);
	}
	for (struct refusal *refusal = delegate->refused, *next; refusal != NULL; refusal = next) {
		next = refusal->next;
		free(refusal);
	}
	loop_timer_release(&delegate->deadline_timer);
	free(delegate);
}

/* ---- lanes ---- */

static void on_linger(void *arg)
{
	delegate_lane_wake(arg);
}

static struct delegate_lane *lane_of(struct delegate *delegate, const char *region)
{
	struct delegate_lane *lane = delegate->lanes;

	while (lane != NULL && strcmp(lane->region, region) != 0)
		lane = lane->next;
	if (lane != NULL)
		return lane;
	lane = calloc(1, sizeof(*lane));
	if (lane == NULL || loop_timer_init(delegate->loop, &lane->linger, on_linger, lane) != STATUS_OK) {
		free(lane);
		return NULL;
	}
	must(strlen(region) < sizeof(lane->region));
	memcpy(lane->region, region, strlen(region));
	lane->delegate = delegate;
	lane->lookups = metric_series(delegate->lookups_metric, region, NULL);
	lane->requests = metric_series(delegate->requests_metric, region, NULL);
	lane->retries = metric_series(delegate->retries_metric, region, NULL);
	lane->next = delegate->lanes;
	delegate->lanes = lane;
	return lane;
}

void delegate_lane_wake(struct delegate_lane *lane)
{
	struct delegate *delegate = lane->delegate;

	if (lane->is_due)
		return;
	lane->is_due = true;
	lane->next_due = delegate->due;
	delegate->due = lane;
	if (!delegate->is_after_round_set) {
		delegate->is_after_round_set = true;
		loop_defer(delegate->loop, &delegate->after_round);
	}
}

/* Sends what may go now; what must still gather gets its linger timer. */
static void flush_lane(struct delegate_lane *lane)
{
	const struct delegate_settings *settings = &lane->delegate->settings;
	int64_t now_ms = loop_now_ms(lane->delegate->loop);
	int64_t enough = settings->batch_max < DELEGATE_GATHERED ? settings->batch_max : DELEGATE_GATHERED;

	while (lane->waiting > 0 && lane->under_way < settings->connections_max) {
		int64_t waited_ms = now_ms - lane->first->queued_ms;

		if (lane->under_way >= EAGER_REQUESTS && lane->waiting < enough && waited_ms < settings->linger_ms) {
			loop_timer_start(&lane->linger, settings->linger_ms - waited_ms);
			return;
		}
		delegate_batch_send(lane);
	}
}

static void after_round(struct loop_task *task)
{
	struct delegate *delegate = (struct delegate *)((char *)task - offsetof(struct delegate, after_round));
	struct delegate_lane *lane = delegate->due;

	delegate->due = NULL;
	delegate->is_after_round_set = false;
	while (lane != NULL) {
		struct delegate_lane *next = lane->next_due;

		lane->is_due = false;
		flush_lane(lane);
		lane = next;
	}
}

/* ---- deadlines ---- */

static void arm(struct delegate *delegate)
{
	int64_t soonest_ms;

	if (delegate->deadlines.count == 0)
		return;
	soonest_ms = delegate->deadlines.entries[0]->deadline_ms;
	if (soonest_ms >= delegate->armed_ms)
		return;
	delegate->armed_ms = soonest_ms;
	loop_timer_start(&delegate->deadline_timer, soonest_ms - loop_now_ms(delegate->loop));
}

static void on_deadline(void *arg)
{
	struct delegate *delegate = arg;
	int64_t now_ms = loop_now_ms(delegate->loop);

	delegate->armed_ms = INT64_MAX;
	while (delegate->deadlines.count > 0 && delegate->deadlines.entries[0]->deadline_ms <= now_ms) {
		struct delegated *lookup = delegate->deadlines.entries[0];
		struct lookup_answer answer = { .status = STATUS_DEADLINE };

		delegated_end(lookup, &answer, lookup->batch != NULL ? HTTP_CLIENT_RESPONSE_TIMEOUT : HTTP_CLIENT_OK);
	}
	arm(delegate);
}

/* ---- one lookup ---- */

static void leave_waiting(struct delegated *lookup)
{
	struct delegate_lane *lane = lookup->lane;

	*(lookup->previous != NULL ? &lookup->previous->next : &lane->first) = lookup->next;
	*(lookup->next != NULL ? &lookup->next->previous : &lane->last) = lookup->previous;
	lane->waiting--;
}

void delegated_end(struct delegated *lookup, struct lookup_answer *answer, enum http_client_error failure)
{
	struct delegate *delegate = lookup->lane->delegate;
	delegate_done *done = lookup->done;
	void *arg = lookup->arg;

	delegate_deadlines_remove(&delegate->deadlines, lookup);
	if (lookup->batch == NULL) {
		leave_waiting(lookup);
	} else {
		lookup->batch->lookups[lookup->batch_index] = NULL;
		lookup->batch->live--;
	}
	free_lookup(delegate, lookup);
	done(arg, answer, failure);
}

static void after_refusals(struct loop_task *task)
{
	struct delegate *delegate = (struct delegate *)((char *)task - offsetof(struct delegate, after_refusals));
	struct refusal *refusal = delegate->refused;

	delegate->refused = NULL;
	delegate->refused_tail = &delegate->refused;
	while (refusal != NULL) {
		struct lookup_answer answer = { .status = refusal->status };
		struct refusal *next = refusal->next;

		refusal->done(refusal->arg, &answer, HTTP_CLIENT_OK);
		free(refusal);
		refusal = next;
	}
}

static void refuse(
	struct delegate *delegate, enum status status, struct policy_release *release, delegate_done *done, void *arg)
{
	struct refusal *refusal = calloc(1, sizeof(*refusal));

	/* A lookup whose end cannot be told would hang its client; there is nothing sound left to do. */
	must(refusal != NULL);
	delegate->ports.drop_release(release);
	refusal->status = status;
	refusal->done = done;
	refusal->arg = arg;
	if (delegate->refused == NULL)
		loop_defer(delegate->loop, &delegate->after_refusals);
	*delegate->refused_tail = refusal;
	delegate->refused_tail = &refusal->next;
}

void delegate_lookup(struct delegate *delegate, const char *region, const struct lookup_question *question,
	struct policy_release *release, delegate_done *done, void *arg)
{
	struct delegate_lane *lane = lane_of(delegate, region);
	struct delegated *lookup = NULL;
	enum status status = STATUS_NO_MEMORY;

	must(release != NULL && delegate->ports.covers(release, &question->object, region));
	if (lane == NULL)
		goto refused;
	if (lane->waiting >= delegate->settings.waiting_max) {
		status = STATUS_OVERLOADED;
		goto refused;
	}
	lookup = calloc(1, sizeof(*lookup));
	if (lookup == NULL)
		goto refused;
	lookup->question = question;
	lookup->release = release;
	lookup->done = done;
	lookup->arg = arg;
	lookup->lane = lane;
	lookup->deadline_ms = question->deadline_ms;
	lookup->queued_ms = loop_now_ms(delegate->loop);
	status = delegate_deadlines_add(&delegate->deadlines, lookup);
	if (status != STATUS_OK)
		goto refused;
	lookup->previous = lane->last;
	*(lane->last != NULL ? &lane->last->next : &lane->first) = lookup;
	lane->last = lookup;
	lane->waiting++;
	arm(delegate);
	/* A full house has nothing to look at until a request comes back. */
	if (lane->under_way < delegate->settings.connections_max)
		delegate_lane_wake(lane);
	return;
refused:
	free(lookup);
	refuse(delegate, status, release, done, arg);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group of events goes to the loop of an access log as one task, so that its
 * entries share commits.  Each request ends exactly once, at its deadline at the
 * latest, which is what bounds the worker's wait.  Releases belong to the loop
 * and are given back there.
 */
#include "federation/event_gate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct event_group {
	struct loop_task task;
	struct event_gate *gate;
	struct event_crossing *crossings;
	struct pending *pending;
	size_t capacity, count;
	int64_t deadline_ms;
	pthread_mutex_t lock; /* of waiting */
	pthread_cond_t changed;
	size_t waiting;
};

struct pending {
	struct event_group *group;
	struct event_crossing *crossing;
};

struct event_group *event_group_create(size_t capacity)
{
	struct event_group *group = calloc(1, sizeof(*group));

	if (group == NULL)
		return NULL;
	group->crossings = calloc(capacity, sizeof(*group->crossings));
	group->pending = calloc(capacity, sizeof(*group->pending));
	group->capacity = capacity;
	for (size_t i = 0; group->crossings != NULL && i < capacity; i++)
		strbuf_init(&group->crossings[i].why);
	pthread_mutex_init(&group->lock, NULL);
	pthread_cond_init(&group->changed, NULL);
	if (group->crossings != NULL && group->pending != NULL)
		return group;
	event_group_destroy(NULL, group);
	return NULL;
}

struct event_crossing *event_group_crossing(struct event_group *group, size_t index)
{
	return &group->crossings[index];
}

const char *event_crossing_peer(const struct event_crossing *crossing)
{
	return crossing->operation == GATE_SEND ? crossing->event->destination : crossing->event->origin;
}

static void copy_text(char *to, size_t size, const char *from, size_t length)
{
	length = length < size ? length : size - 1;
	memcpy(to, from, length);
	to[length] = '\0';
}

/* A subject written "token/04A2…" is the object itself, so that the record finds all that was told of it. */
void event_object(const struct event *event, struct object_id *object_out)
{
	const char *slash = strchr(event->subject, '/');
	size_t length = slash != NULL ? (size_t)(slash - event->subject) : 0;

	memset(object_out, 0, sizeof(*object_out));
	if (length > 0 && length < sizeof(object_out->type) && slash[1] != '\0') {
		copy_text(object_out->type, sizeof(object_out->type), event->subject, length);
		copy_text(object_out->id, sizeof(object_out->id), slash + 1, strlen(slash + 1));
		return;
	}
	copy_text(object_out->type, sizeof(object_out->type), event->type, strlen(event->type));
	copy_text(object_out->id, sizeof(object_out->id), event->subject, strlen(event->subject));
}

struct gate_request event_request(const struct event_gate *gate, const struct event_crossing *crossing)
{
	bool is_send = crossing->operation == GATE_SEND;

	return (struct gate_request){
		.operation = crossing->operation,
		.requester = is_send ? gate->region : crossing->event->origin,
		.to = is_send ? crossing->event->destination : gate->region,
		.type = crossing->event->type,
		.purpose = EVENT_PURPOSE,
		.caller = crossing->caller,
		.record = json_object_get(crossing->event->envelope, "data"),
		.classification = crossing->classification,
		.now_wall_us = clock_wall_us(clock_system()),
	};
}

void event_question(const struct event_crossing *crossing, int64_t deadline_ms, struct lookup_question *question_out)
{
	memset(question_out, 0, sizeof(*question_out));
	question_out->exchange = crossing->exchange;
	event_object(crossing->event, &question_out->object);
	copy_text(question_out->purpose, sizeof(question_out->purpose), EVENT_PURPOSE, strlen(EVENT_PURPOSE));
	copy_text(question_out->caller, sizeof(question_out->caller), crossing->caller, strlen(crossing->caller));
	question_out->deadline_ms = deadline_ms;
}

static void on_recorded(void *arg, enum status status, struct policy_release *release)
{
	struct pending *pending = arg;
	struct event_group *group = pending->group;

	pending->crossing->status = status;
	pending->crossing->release = release;
	pthread_mutex_lock(&group->lock);
	if (--group->waiting == 0)
		pthread_cond_signal(&group->changed);
	pthread_mutex_unlock(&group->lock);
}

static void ask_all(struct loop_task *task)
{
	struct event_group *group = (struct event_group *)(void *)((char *)task - offsetof(struct event_group, task));
	struct event_gate *gate = group->gate;
	struct policy *policy = gate_acquire(gate->gate);

	for (size_t i = 0; i < group->count; i++) {
		struct event_crossing *crossing = &group->crossings[i];
		struct gate_request request = event_request(gate, crossing);
		struct lookup_question question;
		struct gate_decision decision;

		policy_decide(policy, &request, &decision);
		if (!decision.permitted)
			policy_event_refusal(policy, &request, &crossing->why);
		event_question(crossing, group->deadline_ms, &question);
		policy_release_request(gate->log, policy, &request, &question, event_crossing_peer(crossing),
			on_recorded, &group->pending[i]);
	}
	policy_release_reference(policy);
}

void event_gate_ask(struct event_gate *gate, struct event_group *group, size_t count, int64_t timeout_ms)
{
	if (count == 0)
		return;
	group->gate = gate;
	group->count = group->waiting = count;
	group->deadline_ms = clock_monotonic_ms(clock_system()) + timeout_ms;
	group->task.run = ask_all;
	for (size_t i = 0; i < count; i++)
		group->pending[i] = (struct pending){ group, &group->crossings[i] };
	loop_post(gate->loop, &group->task);
	pthread_mutex_lock(&group->lock);
	while (group->waiting > 0)
		pthread_cond_wait(&group->changed, &group->lock);
	pthread_mutex_unlock(&group->lock);
}

static void free_group(struct loop_task *task)
{
	struct event_group *group = (struct event_group *)(void *)((char *)task - offsetof(struct event_group, task));

	for (size_t i = 0; i < group->count; i++)
		policy_release_destroy(group->crossings[i].release);
	for (size_t i = 0; group->crossings != NULL && i < group->capacity; i++)
		strbuf_release(&group->crossings[i].why);
	pthread_mutex_destroy(&group->lock);
	pthread_cond_destroy(&group->changed);
	free(group->crossings);
	free(group->pending);
	free(group);
}

void event_group_destroy(struct event_gate *gate, struct event_group *group)
{
	if (group == NULL)
		return;
	group->task.run = free_group;
	if (group->count > 0)
		loop_post(gate->loop, &group->task);
	else
		free_group(&group->task);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake world for resolve: a clock that stands still, one region "eu" with peers
 * "na" and "ap", and a gate that does as it is told.  It keeps what was started,
 * and completes it when the test says so, in whatever order the test likes.
 */
#ifndef SUPPORT_FAKE_WORLD_H
#define SUPPORT_FAKE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "locator/resolve.h"

#define WAITERS 4

struct policy {
	int unused;
};
struct policy_release {
	struct gate_decision decision;
};

struct fake {
	struct fake_clock clock;
	struct cache *records, *negatives;
	struct resolver *resolver;
	struct policy policy;
	uint64_t policy_generation;
	bool permits, permits_without_station;
	uint64_t fields;
	char caller[CALLER_SIZE];
	int64_t ttl_max_s, armed_ms;
	const char *object_home, *station_home; /* NULL: no route */

	int fetches, releases, delegations, gots;
	handlers_fetch_done *fetched;
	void *fetch_arg;
	struct object_id fetch_object;
	policy_release_done *released;
	void *release_arg;
	bool release_permits;
	char asked_station_region[REGION_SIZE], asked_peer[REGION_SIZE];
	struct policy_release release;
	delegate_done *delegated;
	void *delegate_arg;
	access_log_done *logged;
	void *log_arg;
	enum status got_answer;
	char got_fields[128];

	struct resolve_waiter waiters[WAITERS];
	struct {
		int calls;
		struct resolve_result result;
		char record[256], stale[256];
	} told[WAITERS];
};

/* ---- the fake world ---- */

static inline void fake_find_route(void *arg, const struct object_id *object, struct route_answer *answer)
{
	struct fake *fake = arg;
	const char *home = strcmp(object->type, "station") ? fake->object_home : fake->station_home;
	*answer = (struct route_answer){ .found = home ? ROUTE_FOUND_EXACT : ROUTE_FOUND_NONE };
	snprintf(answer->region, sizeof(answer->region), "%s", home ? home : "");
}

static inline uint64_t fake_routes_generation(void *arg)
{
	(void)arg;
	return 5;
}

static inline uint64_t fake_policy_generation(void *arg)
{
	return ((struct fake *)arg)->policy_generation;
}

static inline struct policy *fake_acquire(void *arg)
{
	return &((struct fake *)arg)->policy;
}

static inline void fake_return(void *arg, struct policy *policy)
{
	(void)arg;
	(void)policy;
}

static inline const char *fake_version(void *arg, const struct policy *policy)
{
	(void)arg;
	(void)policy;
	return "1:aa";
}

static inline void fake_decide(
	void *arg, const struct policy *policy, const struct gate_request *request, struct gate_decision *decision)
{
	struct fake *fake = arg;
	(void)policy;
	*decision = (struct gate_decision){ .fields = fake->fields, .ttl_max_s = fake->ttl_max_s };
	decision->permitted = fake->permits && (request->station_region || fake->permits_without_station);
}

static inline json_t *fake_view(void *arg, const struct policy *policy, const char *type,
	const struct gate_decision *decision, const json_t *record)
{
	(void)arg;
	(void)policy;
	(void)type;
	static const char *const names[] = { "valid", "name" };
	json_t *view = json_object();
	for (unsigned i = 0; i < 2 && view; i++) {
		json_t *value = decision->fields & 1u << i ? json_object_get(record, names[i]) : NULL;
		if (value && json_object_set(view, names[i], value)) {
			json_decref(view);
			view = NULL;
		}
	}
	return view;
}

static inline void fake_field_names(
	void *arg, const struct policy *policy, const char *type, uint64_t fields, struct strbuf *names)
{
	(void)arg;
	(void)policy;
	(void)type;
	strbuf_addf(names, "%d", (int)fields);
}

static inline void fake_fetch(
	void *arg, const struct object_id *object, int64_t deadline_ms, handlers_fetch_done *done, void *done_arg)
{
	struct fake *fake = arg;
	(void)deadline_ms;
	fake->fetches++;
	fake->fetch_object = *object;
	fake->fetched = done;
	fake->fetch_arg = done_arg;
}

static inline void fake_request_release(void *arg, struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, const char *peer, policy_release_done *done, void *done_arg)
{
	struct fake *fake = arg;
	(void)question;
	fake->releases++;
	snprintf(fake->asked_station_region, REGION_SIZE, "%s", request->station_region ? request->station_region : "");
	snprintf(fake->asked_peer, REGION_SIZE, "%s", peer);
	assert_int_equal(request->operation, GATE_ASK);
	assert_string_equal(request->to, peer);
	fake_decide(fake, policy, request, &fake->release.decision);
	fake->release_permits = fake->release.decision.permitted;
	fake->released = done;
	fake->release_arg = done_arg;
}

static inline struct gate_decision fake_release_decision(void *arg, const struct policy_release *release)
{
	(void)arg;
	return release->decision;
}

static inline void fake_delegate(void *arg, const char *region, const struct lookup_question *question,
	struct policy_release *release, delegate_done *done, void *done_arg)
{
	struct fake *fake = arg;
	assert_ptr_equal(release, &fake->release);
	assert_string_equal(region, fake->asked_peer);
	assert_string_equal(question->object.id, "A1");
	fake->delegations++;
	fake->delegated = done;
	fake->delegate_arg = done_arg;
}

static inline void fake_log_got(void *arg, const struct access_got *got, access_log_done *done, void *done_arg)
{
	struct fake *fake = arg;
	fake->gots++;
	fake->got_answer = got->answer;
	snprintf(fake->got_fields, sizeof(fake->got_fields), "%s", got->fields);
	fake->logged = done;
	fake->log_arg = done_arg;
}

static inline void fake_wake_after(void *arg, int64_t delay_ms)
{
	struct fake *fake = arg;
	fake->armed_ms = fake->clock.now_ms + delay_ms;
}

/* ---- completing what was started ---- */

static inline void complete_fetch(struct fake *fake, enum status status, const char *content)
{
	json_t *record = content ? json_loads(content, 0, NULL) : NULL;
	fake->fetched(fake->fetch_arg, status, 4, record);
	json_decref(record);
}

static inline void complete_release(struct fake *fake, enum status status)
{
	if (!status && !fake->release_permits)
		status = STATUS_NOT_AVAILABLE;
	fake->released(fake->release_arg, status, status ? NULL : &fake->release);
}

static inline void complete_delegate(struct fake *fake, enum status status, const char *record, int64_t ttl_s)
{
	struct lookup_answer answer = { .status = status, .version = 7, .ttl_s = ttl_s, .policy_version = "9:ff" };
	answer.record = record ? strdup(record) : NULL;
	answer.record_length = record ? strlen(record) : 0;
	fake->delegated(fake->delegate_arg, &answer,
		status == STATUS_UNREACHABLE ? HTTP_CLIENT_CONNECTION_REFUSED : HTTP_CLIENT_OK);
	lookup_answer_release(&answer);
}

static inline void complete_log(struct fake *fake, enum status status)
{
	fake->logged(fake->log_arg, status);
}

static struct fake *current; /* done() has no argument of its own */

static inline void waiter_done(struct resolve_waiter *waiter, const struct resolve_result *result)
{
	size_t i = (size_t)(waiter - current->waiters);
	current->told[i].calls++;
	current->told[i].result = *result;
	if (result->entry)
		snprintf(current->told[i].record, sizeof(current->told[i].record), "%s", result->entry->record);
	if (result->stale)
		snprintf(current->told[i].stale, sizeof(current->told[i].stale), "%s", result->stale->record);
}

static inline void submit(struct fake *fake, int i, const char *station, int64_t timeout_ms)
{
	struct resolve_waiter *waiter = &fake->waiters[i];
	memset(&fake->told[i], 0, sizeof(fake->told[i]));
	struct lookup_question *question = &waiter->question;
	memset(question, 0, sizeof(*question));
	question->exchange.bytes[0] = (uint8_t)(i + 1);
	question->deadline_ms = fake->clock.now_ms + timeout_ms;
	snprintf(question->object.type, OBJECT_TYPE_SIZE, "token");
	snprintf(question->object.id, OBJECT_ID_SIZE, "A1");
	snprintf(question->purpose, PURPOSE_SIZE, "charge.authorize");
	snprintf(question->caller, CALLER_SIZE, "%s", fake->caller);
	if (station) {
		snprintf(question->evidence.station.type, OBJECT_TYPE_SIZE, "station");
		snprintf(question->evidence.station.id, OBJECT_ID_SIZE, "%s", station);
	}
	waiter->done = waiter_done;
	resolver_submit(fake->resolver, waiter);
}

static inline int set_up(void **state)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	fake_clock_init(&fake->clock, 1000);
	fake->permits = true;
	fake->permits_without_station = true;
	fake->fields = 1;
	snprintf(fake->caller, sizeof(fake->caller), "cpo");
	fake->ttl_max_s = -1;
	fake->object_home = "na";
	fake->station_home = "eu";
	struct cache_settings cache = { .bytes_max = 1 << 20, .shards = 1, .stale_keep_ms = 3600000 };
	assert_int_equal(cache_create(&cache, &fake->records), STATUS_OK);
	assert_int_equal(cache_create(&cache, &fake->negatives), STATUS_OK);
	struct resolver_settings settings = { .world = { .arg = fake,
						      .find_route = fake_find_route,
						      .routes_generation = fake_routes_generation,
						      .policy_generation = fake_policy_generation,
						      .policy_acquire = fake_acquire,
						      .policy_return = fake_return,
						      .policy_version = fake_version,
						      .decide = fake_decide,
						      .view = fake_view,
						      .field_names = fake_field_names,
						      .fetch = fake_fetch,
						      .request_release = fake_request_release,
						      .release_decision = fake_release_decision,
						      .delegate = fake_delegate,
						      .log_got = fake_log_got,
						      .wake_after = fake_wake_after },
		.clock = &fake->clock.source,
		.region = "eu",
		.records = fake->records,
		.negatives = fake->negatives,
		.ttl_max_s = 900,
		.negative_ttl_s = 10,
		.expected_in_flight = 16 };
	assert_int_equal(resolver_create(&settings, &fake->resolver), STATUS_OK);
	current = fake;
	*state = fake;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fake *fake = *state;
	assert_int_equal(resolver_in_flight(fake->resolver), 0);
	resolver_destroy(fake->resolver);
	cache_destroy(fake->records);
	cache_destroy(fake->negatives);
	free(fake);
	return 0;
}

/* One whole delegated lookup for waiter i. */
static inline void bring(struct fake *fake, int i, const char *record, int64_t ttl_s)
{
	submit(fake, i, "S1", 2500);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, record ? STATUS_OK : STATUS_NOT_AVAILABLE, record, ttl_s);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[i].calls, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif

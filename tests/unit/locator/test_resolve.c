/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolve with a fake clock and a fake world: each path a lookup can take and
 * each way it can fail.  The fake keeps what was started and completes it when
 * the test says so, in whatever order the test likes.
 */
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

static void fake_find_route(void *arg, const struct object_id *object, struct route_answer *answer)
{
	struct fake *fake = arg;
	const char *home = strcmp(object->type, "station") ? fake->object_home : fake->station_home;
	*answer = (struct route_answer){ .found = home ? ROUTE_FOUND_EXACT : ROUTE_FOUND_NONE };
	snprintf(answer->region, sizeof(answer->region), "%s", home ? home : "");
}

static uint64_t fake_routes_generation(void *arg)
{
	(void)arg;
	return 5;
}

static uint64_t fake_policy_generation(void *arg)
{
	return ((struct fake *)arg)->policy_generation;
}

static struct policy *fake_acquire(void *arg)
{
	return &((struct fake *)arg)->policy;
}

static void fake_return(void *arg, struct policy *policy)
{
	(void)arg;
	(void)policy;
}

static const char *fake_version(void *arg, const struct policy *policy)
{
	(void)arg;
	(void)policy;
	return "1:aa";
}

static void fake_decide(
	void *arg, const struct policy *policy, const struct gate_request *request, struct gate_decision *decision)
{
	struct fake *fake = arg;
	(void)policy;
	*decision = (struct gate_decision){ .fields = fake->fields, .ttl_max_s = fake->ttl_max_s };
	decision->permitted = fake->permits && (request->station_region || fake->permits_without_station);
}

static json_t *fake_view(void *arg, const struct policy *policy, const char *type, const struct gate_decision *decision,
	const json_t *record)
{
	(void)arg;
	(void)policy;
	(void)type;
	json_t *view = json_object();
	if (decision->fields & 1)
		json_object_set(view, "valid", json_object_get(record, "valid"));
	if (decision->fields & 2)
		json_object_set(view, "name", json_object_get(record, "name"));
	return view;
}

static void fake_field_names(
	void *arg, const struct policy *policy, const char *type, uint64_t fields, struct strbuf *names)
{
	(void)arg;
	(void)policy;
	(void)type;
	strbuf_addf(names, "%d", (int)fields);
}

static void fake_fetch(
	void *arg, const struct object_id *object, int64_t deadline_ms, handlers_fetch_done *done, void *done_arg)
{
	struct fake *fake = arg;
	(void)deadline_ms;
	fake->fetches++;
	fake->fetch_object = *object;
	fake->fetched = done;
	fake->fetch_arg = done_arg;
}

static void fake_request_release(void *arg, struct policy *policy, const struct gate_request *request,
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

static struct gate_decision fake_release_decision(void *arg, const struct policy_release *release)
{
	(void)arg;
	return release->decision;
}

static void fake_delegate(void *arg, const char *region, const struct lookup_question *question,
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

static void fake_log_got(void *arg, const struct access_got *got, access_log_done *done, void *done_arg)
{
	struct fake *fake = arg;
	fake->gots++;
	fake->got_answer = got->answer;
	snprintf(fake->got_fields, sizeof(fake->got_fields), "%s", got->fields);
	fake->logged = done;
	fake->log_arg = done_arg;
}

static void fake_wake_after(void *arg, int64_t delay_ms)
{
	struct fake *fake = arg;
	fake->armed_ms = fake->clock.now_ms + delay_ms;
}

/* ---- completing what was started ---- */

static void complete_fetch(struct fake *fake, enum status status, const char *content)
{
	json_t *record = content ? json_loads(content, 0, NULL) : NULL;
	fake->fetched(fake->fetch_arg, status, 4, record);
	json_decref(record);
}

static void complete_release(struct fake *fake, enum status status)
{
	if (!status && !fake->release_permits)
		status = STATUS_NOT_AVAILABLE;
	fake->released(fake->release_arg, status, status ? NULL : &fake->release);
}

static void complete_delegate(struct fake *fake, enum status status, const char *record, int64_t ttl_s)
{
	struct lookup_answer answer = { .status = status, .version = 7, .ttl_s = ttl_s, .policy_version = "9:ff" };
	answer.record = record ? strdup(record) : NULL;
	answer.record_length = record ? strlen(record) : 0;
	fake->delegated(fake->delegate_arg, &answer,
		status == STATUS_UNREACHABLE ? HTTP_CLIENT_CONNECTION_REFUSED : HTTP_CLIENT_OK);
	lookup_answer_release(&answer);
}

static void complete_log(struct fake *fake, enum status status)
{
	fake->logged(fake->log_arg, status);
}

static struct fake *current; /* done() has no argument of its own */

static void waiter_done(struct resolve_waiter *waiter, const struct resolve_result *result)
{
	size_t i = (size_t)(waiter - current->waiters);
	current->told[i].calls++;
	current->told[i].result = *result;
	if (result->entry)
		snprintf(current->told[i].record, sizeof(current->told[i].record), "%s", result->entry->record);
	if (result->stale)
		snprintf(current->told[i].stale, sizeof(current->told[i].stale), "%s", result->stale->record);
}

static void submit(struct fake *fake, int i, const char *station, int64_t timeout_ms)
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
	snprintf(question->caller, CALLER_SIZE, "cpo");
	if (station) {
		snprintf(question->evidence.station.type, OBJECT_TYPE_SIZE, "station");
		snprintf(question->evidence.station.id, OBJECT_ID_SIZE, "%s", station);
	}
	waiter->done = waiter_done;
	resolver_submit(fake->resolver, waiter);
}

static int set_up(void **state)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	fake_clock_init(&fake->clock, 1000);
	fake->permits = true;
	fake->permits_without_station = true;
	fake->fields = 1;
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

static int tear_down(void **state)
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
static void bring(struct fake *fake, int i, const char *record, int64_t ttl_s)
{
	submit(fake, i, "S1", 2500);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, record ? STATUS_OK : STATUS_NOT_AVAILABLE, record, ttl_s);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[i].calls, 1);
}

/* ---- paths ---- */

static void test_delegates_records_and_caches(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	assert_int_equal(fake->releases, 1);
	assert_string_equal(fake->asked_station_region, "eu");
	assert_string_equal(fake->asked_peer, "na");
	assert_int_equal(fake->delegations, 0);
	complete_release(fake, STATUS_OK);
	assert_int_equal(fake->delegations, 1);
	complete_delegate(fake, STATUS_OK, "{\"valid\":true,\"name\":\"Ann\"}", 300);
	assert_int_equal(fake->told[0].calls, 0); /* not before `got` is durable */
	assert_string_equal(fake->got_fields, "valid,name");
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[0].calls, 1);
	assert_int_equal(fake->told[0].result.status, STATUS_OK);
	assert_int_equal(fake->told[0].result.source, SOURCE_HOME);
	assert_true(fake->told[0].result.is_stored);
	assert_string_equal(fake->told[0].record, "{\"valid\":true}"); /* what was not asked for is dropped */

	submit(fake, 1, "S2", 2500);
	assert_int_equal(fake->told[1].calls, 1);
	assert_int_equal(fake->told[1].result.source, SOURCE_CACHE);
	assert_string_equal(fake->told[1].record, "{\"valid\":true}");
	assert_int_equal(fake->releases, 1);
	fake_clock_advance_ms(&fake->clock, 300 * 1000);
	submit(fake, 2, "S1", 2500);
	assert_int_equal(fake->releases, 2);
	complete_release(fake, STATUS_INTERNAL);
	assert_int_equal(fake->told[2].result.status, STATUS_INTERNAL);
}

static void test_ttl_is_the_least_of_all(void **state)
{
	struct fake *fake = *state;
	fake->ttl_max_s = 60;
	bring(fake, 0, "{\"valid\":true}", 300);
	fake_clock_advance_ms(&fake->clock, 60 * 1000);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->releases, 2);
	complete_release(fake, STATUS_DEADLINE);
	fake->ttl_max_s = -1;
	bring(fake, 2, "{\"valid\":true}", 0);
	assert_false(fake->told[2].result.is_stored);
}

static void test_own_gate_may_refuse_and_nothing_leaves(void **state)
{
	struct fake *fake = *state;
	fake->permits = false;
	submit(fake, 0, "S1", 2500);
	complete_release(fake, STATUS_OK);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_AVAILABLE);
	assert_true(fake->told[0].result.was_denied);
	assert_int_equal(fake->delegations, 0);
}

static void test_cached_record_needs_the_gate_again(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, "{\"valid\":true,\"name\":\"Ann\"}", 300);
	fake->permits = false;
	submit(fake, 1, "S1", 2500);
	complete_release(fake, STATUS_OK);
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_AVAILABLE);
	fake->permits = true;
	fake->fields = 3; /* a policy that now asks for more: what is cached is not that */
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].calls, 0);
	complete_release(fake, STATUS_UNREACHABLE);
	fake->fields = 1;
	submit(fake, 1, NULL, 2500); /* without evidence it was never permitted */
	assert_int_equal(fake->told[1].calls, 0);
	assert_string_equal(fake->asked_station_region, "");
	complete_release(fake, STATUS_UNREACHABLE);
	fake->ttl_max_s = 10; /* a policy that now lets it be kept for less */
	fake_clock_advance_ms(&fake->clock, 10 * 1000);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].calls, 0);
	complete_release(fake, STATUS_UNREACHABLE);
	fake->ttl_max_s = -1;
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.source, SOURCE_CACHE);
}

static void test_moved_object_is_not_answered_from_its_old_home(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, "{\"valid\":true}", 300);
	fake->object_home = "ap";
	submit(fake, 1, "S1", 2500);
	assert_string_equal(fake->asked_peer, "ap");
	complete_release(fake, STATUS_UNREACHABLE);
}

static void test_negative_answers_are_remembered_for_that_evidence_only(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, NULL, 30);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fake->told[0].result.source, SOURCE_HOME);
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fake->told[1].result.source, SOURCE_CACHE);
	submit(fake, 2, NULL, 2500);
	assert_int_equal(fake->told[2].calls, 0);
	complete_release(fake, STATUS_UNREACHABLE);
	fake_clock_advance_ms(&fake->clock, 10 * 1000); /* the negative ttl caps the home's 30 s */
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].calls, 0);
	complete_release(fake, STATUS_UNREACHABLE);
}

static void test_object_at_home_here_crosses_nothing(void **state)
{
	struct fake *fake = *state;
	fake->object_home = "eu";
	submit(fake, 0, "S1", 2500);
	complete_fetch(fake, STATUS_OK, "{\"valid\":true,\"name\":\"Ann\"}");
	assert_int_equal(fake->told[0].result.status, STATUS_OK);
	assert_int_equal(fake->told[0].result.source, SOURCE_LOCAL);
	assert_string_equal(fake->told[0].record, "{\"valid\":true}");
	fake->permits = false;
	submit(fake, 1, "S1", 2500);
	complete_fetch(fake, STATUS_OK, "{\"valid\":true}");
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_AVAILABLE);
	submit(fake, 2, "S1", 2500);
	complete_fetch(fake, STATUS_UNREACHABLE, NULL);
	assert_int_equal(fake->told[2].result.status, STATUS_UNREACHABLE);
	assert_int_equal(fake->releases + fake->gots, 0);
}

static void test_unknown_id_never_leaves_the_region(void **state)
{
	struct fake *fake = *state;
	fake->object_home = NULL;
	submit(fake, 0, "S1", 2500);
	complete_fetch(fake, STATUS_NOT_AVAILABLE, NULL);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fake->told[0].result.source, SOURCE_NONE);
	assert_int_equal(fake->releases, 0);
	submit(fake, 1, "S1", 2500); /* not routed, but held here */
	complete_fetch(fake, STATUS_OK, "{\"valid\":false}");
	assert_int_equal(fake->told[1].result.source, SOURCE_LOCAL);
}

static void test_station_without_a_route_is_looked_for_here(void **state)
{
	struct fake *fake = *state;
	fake->station_home = NULL;
	submit(fake, 0, "S1", 2500);
	assert_string_equal(fake->fetch_object.type, "station");
	assert_int_equal(fake->releases, 0);
	complete_fetch(fake, STATUS_OK, "{}");
	assert_string_equal(fake->asked_station_region, "eu");
	complete_release(fake, STATUS_UNREACHABLE);
	submit(fake, 1, "S1", 2500);
	complete_fetch(fake, STATUS_NOT_AVAILABLE, NULL);
	assert_string_equal(fake->asked_station_region, "");
	complete_release(fake, STATUS_UNREACHABLE);
	submit(fake, 2, "S1", 2500);
	complete_fetch(fake, STATUS_UNREACHABLE, NULL);
	assert_int_equal(fake->told[2].result.status, STATUS_UNREACHABLE);
	assert_int_equal(fake->releases, 2);
}

static void test_equal_questions_share_one_delegation(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	submit(fake, 1, "S1", 2500);
	complete_release(fake, STATUS_OK);
	submit(fake, 2, "S1", 2500);
	complete_delegate(fake, STATUS_OK, "{\"valid\":true}", 300);
	submit(fake, 3, "S1", 2500);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->delegations, 1);
	for (int i = 0; i < WAITERS; i++) {
		assert_int_equal(fake->told[i].calls, 1);
		assert_int_equal(fake->told[i].result.has_joined, i > 0);
		assert_int_equal(fake->told[i].result.exchange.bytes[0], 1);
		assert_string_equal(fake->told[i].record, "{\"valid\":true}");
	}
}

static void test_bypass_and_only_if_cached(void **state)
{
	struct fake *fake = *state;
	fake->waiters[0].mode = CACHE_MODE_ONLY;
	submit(fake, 0, "S1", 2500);
	assert_int_equal(fake->told[0].result.status, STATUS_NOT_CACHED);
	assert_int_equal(fake->releases, 0);
	bring(fake, 1, "{\"valid\":true}", 300);
	submit(fake, 0, "S1", 2500);
	assert_int_equal(fake->told[0].result.source, SOURCE_CACHE);
	fake->waiters[2].mode = CACHE_MODE_BYPASS;
	bring(fake, 2, "{\"valid\":false}", 300);
	assert_string_equal(fake->told[2].record, "{\"valid\":false}");
	submit(fake, 0, "S1", 2500);
	assert_string_equal(fake->told[0].record, "{\"valid\":false}");
}

/* ---- failures ---- */

static void test_unreachable_home_is_said_at_once_and_still_recorded(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, STATUS_UNREACHABLE, NULL, 0);
	assert_int_equal(fake->told[0].result.status, STATUS_UNREACHABLE);
	assert_int_equal(fake->told[0].result.failure, HTTP_CLIENT_CONNECTION_REFUSED);
	assert_string_equal(fake->told[0].result.peer, "na");
	assert_int_equal(fake->gots, 1);
	assert_int_equal(fake->got_answer, STATUS_UNREACHABLE);
	submit(fake, 1, "S1", 2500); /* does not join what has been answered */
	assert_int_equal(fake->releases, 2);
	complete_log(fake, STATUS_OK);
	complete_release(fake, STATUS_UNREACHABLE);
	assert_int_equal(fake->told[0].calls, 1);
}

static void test_record_is_not_given_when_got_is_not_durable(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, STATUS_OK, "{\"valid\":true}", 300);
	complete_log(fake, STATUS_UNREACHABLE);
	assert_int_equal(fake->told[0].result.status, STATUS_UNREACHABLE);
	assert_null(fake->told[0].result.entry);
	fake->waiters[1].mode = CACHE_MODE_ONLY;
	submit(fake, 1, "S1", 2500);
	assert_int_equal(fake->told[1].result.status, STATUS_NOT_CACHED);
}

static void test_nonsense_from_the_home_is_no_answer(void **state)
{
	struct fake *fake = *state;
	const char *const nonsense[] = { "[1]", "{", "" };
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		submit(fake, 0, "S1", 2500);
		complete_release(fake, STATUS_OK);
		complete_delegate(fake, STATUS_OK, nonsense[i], 300);
		assert_int_equal(fake->told[0].result.status, STATUS_BAD_PEER);
		complete_log(fake, STATUS_OK);
	}
}

static void test_every_waiter_ends_by_its_own_deadline(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2000);
	submit(fake, 1, "S1", 500);
	assert_int_equal(fake->armed_ms, 1500);
	complete_release(fake, STATUS_OK);
	fake_clock_advance_ms(&fake->clock, 500);
	resolver_wake(fake->resolver);
	assert_int_equal(fake->told[1].result.status, STATUS_DEADLINE);
	assert_int_equal(fake->told[1].result.failure, HTTP_CLIENT_RESPONSE_TIMEOUT);
	assert_int_equal(fake->told[0].calls, 0);
	assert_int_equal(fake->armed_ms, 3000);
	fake_clock_advance_ms(&fake->clock, 1500);
	resolver_wake(fake->resolver);
	assert_int_equal(fake->told[0].result.status, STATUS_DEADLINE);
	/* Late, but on record and good for the next one. */
	complete_delegate(fake, STATUS_OK, "{\"valid\":true}", 300);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[0].calls, 1);
	submit(fake, 2, "S1", 2500);
	assert_int_equal(fake->told[2].result.source, SOURCE_CACHE);
	submit(fake, 3, "S1", 0);
	assert_int_equal(fake->told[3].result.status, STATUS_DEADLINE);
}

static void test_nothing_is_asked_for_waiters_who_left(void **state)
{
	struct fake *fake = *state;
	fake->station_home = NULL;
	submit(fake, 0, "S1", 100);
	fake_clock_advance_ms(&fake->clock, 100);
	resolver_wake(fake->resolver);
	assert_int_equal(fake->told[0].result.status, STATUS_DEADLINE);
	complete_fetch(fake, STATUS_OK, "{}");
	assert_int_equal(fake->releases, 0);
}

static void test_stale_record_is_handed_over_for_refusing(void **state)
{
	struct fake *fake = *state;
	bring(fake, 0, "{\"valid\":false}", 60);
	fake_clock_advance_ms(&fake->clock, 61 * 1000);
	fake->waiters[1].wants_stale = true;
	submit(fake, 1, "S1", 2500);
	complete_release(fake, STATUS_OK);
	complete_delegate(fake, STATUS_UNREACHABLE, NULL, 0);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[1].result.status, STATUS_UNREACHABLE);
	assert_string_equal(fake->told[1].stale, "{\"valid\":false}");
	submit(fake, 2, "S1", 2500); /* did not want it */
	complete_release(fake, STATUS_UNREACHABLE);
	assert_string_equal(fake->told[2].stale, "");
	fake->permits = false; /* may not even be used to refuse */
	submit(fake, 1, "S1", 2500);
	complete_release(fake, STATUS_UNREACHABLE);
	assert_string_equal(fake->told[1].stale, "");
}

static void test_forgotten_meanwhile_is_not_cached(void **state)
{
	struct fake *fake = *state;
	submit(fake, 0, "S1", 2500);
	complete_release(fake, STATUS_OK);
	cache_forget(fake->records, "token", "A1");
	complete_delegate(fake, STATUS_OK, "{\"valid\":true}", 300);
	complete_log(fake, STATUS_OK);
	assert_int_equal(fake->told[0].result.status, STATUS_OK);
	assert_false(fake->told[0].result.is_stored);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_delegates_records_and_caches),
		TEST(test_ttl_is_the_least_of_all),
		TEST(test_own_gate_may_refuse_and_nothing_leaves),
		TEST(test_cached_record_needs_the_gate_again),
		TEST(test_moved_object_is_not_answered_from_its_old_home),
		TEST(test_negative_answers_are_remembered_for_that_evidence_only),
		TEST(test_object_at_home_here_crosses_nothing),
		TEST(test_unknown_id_never_leaves_the_region),
		TEST(test_station_without_a_route_is_looked_for_here),
		TEST(test_equal_questions_share_one_delegation),
		TEST(test_bypass_and_only_if_cached),
		TEST(test_unreachable_home_is_said_at_once_and_still_recorded),
		TEST(test_record_is_not_given_when_got_is_not_durable),
		TEST(test_nonsense_from_the_home_is_no_answer),
		TEST(test_every_waiter_ends_by_its_own_deadline),
		TEST(test_nothing_is_asked_for_waiters_who_left),
		TEST(test_stale_record_is_handed_over_for_refusing),
		TEST(test_forgotten_meanwhile_is_not_cached),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests for handlers/peer_service.c and handlers/serve.c inside a fake home
 * region; the loop and the wire format are real.  Deadlines are the only real time.
 */
#include "tests/unit/support/fake_home.h"

/* ---- tests ---- */

static void serves_the_view_of_a_permitted_object(void **state)
{
	(void)state;
	world.ttl_max_s = 600;
	json_t *answers = ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04a2b3c4", "charge.authorize", "")));

	assert_string_equal(answer_string(answers, 0, "status"), "found");
	assert_string_equal(answer_string(answers, 0, "id"), "04a2b3c4"); /* as it was asked */
	assert_int_equal(answer_integer(answers, 0, "version"), 7);
	assert_int_equal(answer_integer(answers, 0, "ttl_s"), 600);
	assert_null(strstr(world.request.response->body, "Ada"));
	assert_string_equal(world.entries[0].subject, "04A2B3C4"); /* canonical on record */
	assert_int_equal(world.entry_count, 1);
	json_decref(answers);
}

static void own_ttl_bound_holds_when_no_rule_caps(void **state)
{
	(void)state;
	json_t *answers = ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "")));

	assert_int_equal(answer_integer(answers, 0, "ttl_s"), 900);
	json_decref(answers);
}

static void identity_is_the_certificates_and_not_the_bodys(void **state)
{
	(void)state;
	json_t *answers = ask("{\"region\":\"ap\",\"requester\":\"ap\",\"lookups\":[" LOOKUP(
		EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", ",\"requester\":\"ap\",\"region\":\"ap\"") "]}");

	assert_string_equal(world.entries[0].requester, "eu");
	assert_string_equal(world.entries[0].peer, "eu");
	json_decref(answers);
}

static void without_a_certificate_nothing_is_read(void **state)
{
	(void)state;
	world.request.peer = NULL;
	post(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "")));
	assert_int_equal(world.request.problem, STATUS_UNAUTHENTICATED);
	assert_false(world.request.is_suspended);
	assert_int_equal(world.entry_count, 0);
}

static void own_region_is_refused(void **state)
{
	(void)state;
	world.request.peer = "na";
	post(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "")));
	assert_int_equal(world.request.problem, STATUS_FORBIDDEN);
	assert_int_equal(world.entry_count, 0);
}

static void denied_absent_and_unknown_look_the_same(void **state)
{
	static const char *const bodies[] = {
		BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "analytics", "")),        /* denied */
		BATCH(LOOKUP(EXCHANGE_1, "token", "0BADCAFE", "charge.authorize", "")), /* absent */
		BATCH(LOOKUP(EXCHANGE_1, "token", "not hex", "charge.authorize", "")),  /* not an id of the type */
		BATCH(LOOKUP(EXCHANGE_1, "cable", "04A2B3C4", "charge.authorize", "")), /* not a type here */
	};
	char *first = NULL;

	(void)state;
	for (int i = 0; i < 4; i++) {
		json_t *answers = ask(bodies[i]);

		assert_string_equal(answer_string(answers, 0, "status"), "not_available");
		assert_int_equal(answer_integer(answers, 0, "ttl_s"), 30);
		if (first == NULL)
			first = strdup(world.request.response->body);
		assert_string_equal(world.request.response->body, first);
		assert_int_equal(world.entry_count, i + 1); /* each is on record */
		assert_true(world.entries[i].had_policy);
		assert_int_equal(world.entries[i].was_absent, i > 0);
		json_decref(answers);
	}
	free(first);
}

static void nothing_is_answered_when_the_entry_is_not_durable(void **state)
{
	(void)state;
	world.log_status = STATUS_UNREACHABLE;
	json_t *answers = ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "")));

	assert_string_equal(answer_string(answers, 0, "status"), "error");
	assert_null(strstr(world.request.response->body, "valid"));
	json_decref(answers);
}

static void database_away_is_an_error_and_never_not_available(void **state)
{
	(void)state;
	world.fetch_status = STATUS_UNREACHABLE;
	json_t *answers = ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "")));

	assert_string_equal(answer_string(answers, 0, "status"), "error");
	assert_int_equal(world.entry_count, 0);
	json_decref(answers);
}

static void equal_lookups_of_a_batch_are_each_answered_and_recorded(void **state)
{
	(void)state;
	json_t *answers = ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "") "," LOOKUP(
		EXCHANGE_2, "token", "04A2B3C4", "charge.authorize", "")));

	assert_string_equal(answer_string(answers, 0, "exchange"), EXCHANGE_1);
	assert_string_equal(answer_string(answers, 0, "status"), "found");
	assert_string_equal(answer_string(answers, 1, "exchange"), EXCHANGE_2);
	assert_string_equal(answer_string(answers, 1, "status"), "found");
	assert_int_equal(world.entry_count, 2);
	json_decref(answers);
}

static void station_is_placed_by_the_router_or_by_own_objects(void **state)
{
	(void)state;
	world.router_places = "eu";
	json_decref(ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize",
		",\"station\":\"X9\",\"station_type\":\"station\""))));
	assert_string_equal(world.entries[0].station_region, "eu");

	world.router_places = "";
	json_decref(ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize",
		",\"station\":\"DE1\",\"station_type\":\"station\""))));
	assert_string_equal(world.entries[1].station_region, "na");

	json_decref(ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize",
		",\"station\":\"X9\",\"station_type\":\"station\""))));
	assert_string_equal(world.entries[2].station_region, "");
}

static void grant_is_asked_for_only_when_a_rule_reads_it(void **state)
{
	(void)state;
	json_decref(ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", ""))));
	assert_int_equal(world.grant_checks, 0);
	assert_int_equal(world.entries[0].roaming, ROAMING_UNKNOWN);

	world.reads_roaming = true;
	json_decref(ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", ""))));
	assert_int_equal(world.entries[1].roaming, ROAMING_NONE);
	world.grant_is_open = true;
	json_decref(ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", ""))));
	assert_int_equal(world.entries[2].roaming, ROAMING_ACTIVE);
	assert_int_equal(world.grant_checks, 2);
}

static void release_held(void)
{
	world.holds_fetches = false;
	while (world.held != NULL) {
		struct held_fetch *fetch = world.held;

		world.held = fetch->next;
		loop_defer(world.loop, &fetch->task);
	}
}

static void break_loop(struct loop_task *task)
{
	(void)task;
	loop_break(world.loop);
}

static void deadline_answers_and_the_late_end_is_dropped(void **state)
{
	struct loop_task stop = { break_loop, NULL };

	(void)state;
	world.holds_fetches = true;
	world.request.timeout = "40";
	json_t *answers = ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "")));
	assert_string_equal(answer_string(answers, 0, "status"), "error");
	assert_string_equal(answer_string(answers, 0, "code"), "deadline");
	json_decref(answers);

	release_held();
	for (int i = 0; i < 3; i++) { /* a round each for the fetch, the release, and nothing more */
		loop_defer(world.loop, &stop);
		loop_run_here(world.loop);
	}
	assert_int_equal(world.request.replies, 1);
	assert_int_equal(world.policy.references, 0);
}

static void requesters_timeout_bounds_and_shrinks(void **state)
{
	int64_t before_ms = clock_monotonic_ms(clock_system());

	(void)state;
	world.request.timeout = "1000";
	json_decref(ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", ""))));
	assert_in_range(world.deadline_seen_ms, before_ms + 900, clock_monotonic_ms(clock_system()) + 950);

	static const char *const wrong[] = { "0", "-5", "1s", "", " 5", "99999999999999999999" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		world.request.timeout = wrong[i];
		post(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "")));
		assert_int_equal(world.request.problem, STATUS_INVALID);
	}
}

static void lookups_past_the_peers_bound_are_refused_one_by_one(void **state)
{
	(void)state;
	world.settings.lookup.in_flight_max = 1;
	for (int round = 0; round < 3; round++) { /* the place is given back each time */
		json_t *answers = ask(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "") "," LOOKUP(
			EXCHANGE_2, "token", "04A2B3C4", "charge.authorize", "")));

		assert_string_equal(answer_string(answers, 0, "status"), "found");
		assert_string_equal(answer_string(answers, 1, "status"), "error");
		assert_string_equal(answer_string(answers, 1, "code"), "overloaded");
		json_decref(answers);
	}
	world.settings.lookup.in_flight_max = 0;
	post(BATCH(LOOKUP(EXCHANGE_1, "token", "04A2B3C4", "charge.authorize", "")));
	assert_int_equal(world.request.replies, 1);
	assert_non_null(strstr(world.request.response->body, "overloaded"));
}

static void nonsense_is_refused(void **state)
{
	static const char *const bodies[] = { "", "[]", "{\"lookups\":7}", "{\"lookups\":[{}]}", "{" };

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		post(bodies[i]);
		assert_int_equal(world.request.replies, 1);
		assert_int_equal(world.request.problem, STATUS_INVALID);
	}
}

static void health_names_the_region(void **state)
{
	const struct http_route *routes;
	size_t count;

	(void)state;
	routes = peer_service_routes(&count);
	assert_string_equal(routes[1].pattern, "/peer/v1/health");
	routes[1].handler(world.service, &world.request);
	assert_string_equal(world.request.response->body, "{\"region\":\"na\",\"status\":\"ok\"}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(serves_the_view_of_a_permitted_object, setup, teardown),
		cmocka_unit_test_setup_teardown(own_ttl_bound_holds_when_no_rule_caps, setup, teardown),
		cmocka_unit_test_setup_teardown(identity_is_the_certificates_and_not_the_bodys, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_certificate_nothing_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(own_region_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(denied_absent_and_unknown_look_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_answered_when_the_entry_is_not_durable, setup, teardown),
		cmocka_unit_test_setup_teardown(database_away_is_an_error_and_never_not_available, setup, teardown),
		cmocka_unit_test_setup_teardown(
			equal_lookups_of_a_batch_are_each_answered_and_recorded, setup, teardown),
		cmocka_unit_test_setup_teardown(station_is_placed_by_the_router_or_by_own_objects, setup, teardown),
		cmocka_unit_test_setup_teardown(grant_is_asked_for_only_when_a_rule_reads_it, setup, teardown),
		cmocka_unit_test_setup_teardown(deadline_answers_and_the_late_end_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(requesters_timeout_bounds_and_shrinks, setup, teardown),
		cmocka_unit_test_setup_teardown(lookups_past_the_peers_bound_are_refused_one_by_one, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(health_names_the_region, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

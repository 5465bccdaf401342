/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests for router/delegate.c and delegate_batch.c on a real loop, with a fake
 * network that keeps requests until the test answers them, and a fake gate.
 */
#include "tests/unit/support/fake_network.h"

/* ---- batches ---- */

static void what_one_round_brings_leaves_together(void **state)
{
	struct bench *bench = *state;

	for (int i = 0; i < 3; i++)
		ask(bench, "na", 5000);
	run_until(bench, 1, 0);
	assert_int_equal(bench->sent[0].count, 3);
	assert_string_equal(bench->sent[0].url, "https://na-1:7443/peer/v1/resolve");
	assert_string_equal(bench->sent[0].region, "na");
	assert_in_range(strtol(bench->sent[0].timeout, NULL, 10), 1, 5000);
	answer_found(bench, 0);
	assert_int_equal(bench->ended, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_outcome(bench, i, STATUS_OK, HTTP_CLIENT_OK);
		assert_int_equal(bench->outcomes[i].version, 1);
	}
	assert_int_equal(releases_alive, 0);
}

static void batches_are_bounded_and_peers_apart(void **state)
{
	struct bench *bench = *state;

	for (int i = 0; i < 6; i++)
		ask(bench, "na", 5000);
	ask(bench, "ap", 5000);
	run_until(bench, 3, 0);
	assert_int_equal(bench->sent[0].count + bench->sent[1].count + bench->sent[2].count, 7);
	for (size_t i = 0; i < 3; i++) {
		assert_true(bench->sent[i].count <= 4);
		if (strcmp(bench->sent[i].region, "na") != 0) {
			assert_string_equal(bench->sent[i].url, "http://127.0.0.1:1/peer/v1/resolve");
			assert_int_equal(bench->sent[i].count, 1);
		}
		answer_found(bench, i);
	}
	assert_int_equal(bench->ended, 7);
}

static void under_load_lookups_gather_until_the_linger_is_over(void **state)
{
	struct bench *bench = *state;
	int64_t began_ms;

	for (size_t i = 1; i <= 2; i++) {
		ask(bench, "na", 5000);
		run_until(bench, i, 0);
	}
	ask(bench, "na", 5000);
	began_ms = loop_now_ms(bench->loop);
	run_briefly(bench);
	assert_int_equal(bench->sent_count, 2);
	ask(bench, "na", 5000);
	run_until(bench, 3, 0);
	assert_int_equal(bench->sent[2].count, 2);
	assert_true(loop_now_ms(bench->loop) - began_ms >= usual.linger_ms - 1);
}

static void a_full_batch_does_not_linger_but_connections_are_bounded(void **state)
{
	struct bench *bench = *state;

	for (size_t i = 1; i <= 2; i++) {
		ask(bench, "na", 5000);
		run_until(bench, i, 0);
	}
	for (int i = 0; i < 9; i++)
		ask(bench, "na", 5000);
	run_until(bench, 3, 0);
	assert_int_equal(bench->sent[2].count, 4);
	run_briefly(bench);
	assert_int_equal(bench->sent_count, 3);
	answer_found(bench, 2);
	run_until(bench, 4, 0);
	assert_int_equal(bench->sent[3].count, 4);
	answer_found(bench, 0);
	run_until(bench, 5, 0);
	assert_int_equal(bench->sent[4].count, 1);
	answer_found(bench, 1);
	answer_found(bench, 3);
	answer_found(bench, 4);
	assert_int_equal(bench->ended, 11);
}

static int begin_wide(void **state)
{
	static const struct delegate_settings wide = {
		.batch_max = 150, .connections_max = 3, .linger_ms = 250, .waiting_max = 250
	};

	return begin_with(state, &wide);
}

static void many_are_spread_over_the_free_connections(void **state)
{
	struct bench *bench = *state;

	for (int i = 0; i < 100; i++)
		ask(bench, "na", 5000);
	run_until(bench, 3, 0);
	assert_int_equal(bench->sent[0].count, DELEGATE_GATHERED);
	assert_int_equal(bench->sent[1].count, DELEGATE_GATHERED);
	assert_int_equal(bench->sent[2].count, 100 - 2 * DELEGATE_GATHERED); /* after the linger */
	for (int i = 0; i < 100; i++)
		ask(bench, "na", 5000);
	run_briefly(bench);
	assert_int_equal(bench->sent_count, 3);
	answer_found(bench, 0);
	run_until(bench, 4, 0);
	assert_int_equal(bench->sent[3].count, 100); /* the one that is free takes all */
	for (size_t i = 1; i < 4; i++)
		answer_found(bench, i);
	assert_int_equal(bench->ended, 200);
}

static void waiting_is_bounded(void **state)
{
	struct bench *bench = *state;
	size_t last = 0;

	for (int64_t i = 0; i <= usual.waiting_max; i++)
		last = ask(bench, "na", 5000);
	run_until(bench, 0, 1);
	assert_outcome(bench, last, STATUS_OVERLOADED, HTTP_CLIENT_OK);
}

/* ---- deadlines ---- */

static void each_lookup_ends_at_its_own_deadline(void **state)
{
	struct bench *bench = *state;
	size_t quick, slow;
	int64_t began_ms = loop_now_ms(bench->loop);

	slow = ask(bench, "na", 5000);
	quick = ask(bench, "na", 20);
	run_until(bench, 0, 1);
	assert_outcome(bench, quick, STATUS_DEADLINE, HTTP_CLIENT_RESPONSE_TIMEOUT);
	assert_true(bench->outcomes[quick].at_ms - began_ms >= 20);
	assert_int_equal(bench->sent_count, 1);
	assert_true(bench->sent[0].deadline_ms >= began_ms + 5000);
	/* The question of a lookup that ended may be gone when the batch comes back. */
	memset(&bench->questions[quick], 0xEE, sizeof(bench->questions[quick]));
	answer_found(bench, 0);
	assert_outcome(bench, slow, STATUS_OK, HTTP_CLIENT_OK);
	assert_outcome(bench, quick, STATUS_DEADLINE, HTTP_CLIENT_RESPONSE_TIMEOUT);
}

static void deadlines_end_in_order_whatever_order_they_came_in(void **state)
{
	static const int64_t timeouts_ms[] = { 50, 10, 40, 20, 60, 30, 15, 45 };
	struct bench *bench = *state;
	size_t count = sizeof(timeouts_ms) / sizeof(timeouts_ms[0]);
	int64_t began_ms = loop_now_ms(bench->loop);

	for (size_t i = 0; i < count; i++)
		ask(bench, "na", timeouts_ms[i]);
	run_until(bench, 0, count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(bench->outcomes[i].calls, 1);
		assert_int_equal(bench->outcomes[i].status, STATUS_DEADLINE);
		assert_true(bench->outcomes[i].at_ms - began_ms >= timeouts_ms[i]);
		for (size_t j = 0; j < count; j++)
			if (timeouts_ms[i] < timeouts_ms[j])
				assert_true(bench->outcomes[i].at_ms <= bench->outcomes[j].at_ms);
	}
	assert_int_equal(releases_alive, 0);
}

/* ---- failures ---- */

static void a_failed_transport_is_tried_once_at_the_other_url(void **state)
{
	struct bench *bench = *state;

	ask(bench, "na", 5000);
	run_until(bench, 1, 0);
	finish(bench, 0, HTTP_CLIENT_CONNECTION_REFUSED, 0, "");
	assert_int_equal(bench->sent_count, 2);
	assert_string_equal(bench->sent[1].url, "https://na-2:7443/peer/v1/resolve");
	assert_int_equal(bench->sent[1].count, 1);
	finish(bench, 1, HTTP_CLIENT_CONNECTION_TERMINATED, 0, "");
	assert_int_equal(bench->sent_count, 2);
	assert_outcome(bench, 0, STATUS_UNREACHABLE, HTTP_CLIENT_CONNECTION_TERMINATED);
}

static void a_retry_carries_only_what_is_still_alive(void **state)
{
	struct bench *bench = *state;
	size_t gone, left;

	gone = ask(bench, "na", 10);
	left = ask(bench, "na", 5000);
	run_until(bench, 0, 1);
	memset(&bench->questions[gone], 0xEE, sizeof(bench->questions[gone]));
	finish(bench, 0, HTTP_CLIENT_CONNECTION_TERMINATED, 0, "");
	assert_int_equal(bench->sent[1].count, 1);
	assert_true(object_id_equal(&bench->sent[1].questions[0].object, &bench->questions[left].object));
	answer_found(bench, 1);
	assert_outcome(bench, left, STATUS_OK, HTTP_CLIENT_OK);
}

static void what_must_not_be_tried_again_is_not(void **state)
{
	static const struct {
		enum http_client_error error;
		int http;
		const char *body;
		enum status status;
	} rows[] = { { HTTP_CLIENT_TLS_CERTIFICATE_ERROR, 0, "", STATUS_UNREACHABLE },
		{ HTTP_CLIENT_RESPONSE_TIMEOUT, 0, "", STATUS_DEADLINE },
		{ HTTP_CLIENT_RESPONSE_TOO_LARGE, 0, "", STATUS_BAD_PEER },
		{ HTTP_CLIENT_PROTOCOL_ERROR, 0, "", STATUS_BAD_PEER },
		{ HTTP_CLIENT_CANCELLED, 0, "", STATUS_DRAINING }, { HTTP_CLIENT_OK, 400, "{}", STATUS_BAD_PEER },
		{ HTTP_CLIENT_OK, 403, "{}", STATUS_BAD_PEER }, { HTTP_CLIENT_OK, 302, "", STATUS_BAD_PEER },
		{ HTTP_CLIENT_OK, 500, "{}", STATUS_UNREACHABLE },
		{ HTTP_CLIENT_OK, 503, "{\"code\":\"unreachable\"}", STATUS_UNREACHABLE },
		{ HTTP_CLIENT_OK, 200, "<html>", STATUS_BAD_PEER },
		{ HTTP_CLIENT_OK, 200, "{\"answers\":[]}", STATUS_BAD_PEER } };
	struct bench *bench = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t asked = ask(bench, "na", 5000);

		run_until(bench, i + 1, 0);
		finish(bench, i, rows[i].error, rows[i].http, rows[i].body);
		assert_int_equal(bench->sent_count, i + 1);
		assert_outcome(bench, asked, rows[i].status, rows[i].error);
	}
}

static void a_peer_without_room_is_tried_at_its_other_url(void **state)
{
	struct bench *bench = *state;

	ask(bench, "na", 5000);
	run_until(bench, 1, 0);
	finish(bench, 0, HTTP_CLIENT_OK, 503, "{\"code\":\"overloaded\"}");
	assert_int_equal(bench->sent_count, 2);
	answer_found(bench, 1);
	assert_outcome(bench, 0, STATUS_OK, HTTP_CLIENT_OK);
}

static void there_is_no_retry_without_time_or_another_url(void **state)
{
	struct bench *bench = *state;
	size_t lone;

	lone = ask(bench, "ap", 5000);
	run_until(bench, 1, 0);
	finish(bench, 0, HTTP_CLIENT_CONNECTION_TERMINATED, 0, "");
	assert_outcome(bench, lone, STATUS_UNREACHABLE, HTTP_CLIENT_CONNECTION_TERMINATED);
	ask(bench, "na", 15);
	run_until(bench, 2, 0);
	finish(bench, 1, HTTP_CLIENT_CONNECTION_TERMINATED, 0, "");
	assert_int_equal(bench->sent_count, 2);
}

static void retries_stop_when_the_budget_is_spent(void **state)
{
	struct bench *bench = *state;
	size_t retried = 0;

	for (int i = 0; i < 10; i++) {
		size_t before = bench->sent_count;

		ask(bench, "na", 5000);
		run_until(bench, before + 1, 0);
		finish(bench, before, HTTP_CLIENT_OK, 503, "{\"code\":\"draining\"}");
		if (bench->sent_count == before + 2) {
			retried++;
			answer_found(bench, before + 1);
		}
	}
	assert_in_range(retried, 3, 5);
	assert_int_equal(bench->ended, 10);
}

static void a_peer_that_is_down_or_unknown_fails_at_once(void **state)
{
	struct bench *bench = *state;

	for (int i = 0; i < 2; i++)
		peers_report(bench->peers, "ap", "http://127.0.0.1:1", HTTP_CLIENT_CONNECTION_REFUSED, 1);
	ask(bench, "ap", 5000);
	ask(bench, "ap", 5000);
	ask(bench, "sa", 5000);
	run_until(bench, 0, 3);
	for (size_t i = 0; i < 3; i++)
		assert_outcome(bench, i, STATUS_UNREACHABLE, HTTP_CLIENT_OK);
	assert_int_equal(bench->sent_count, 0);
}

static void a_send_that_fails_ends_its_lookups(void **state)
{
	struct bench *bench = *state;

	bench->send_status = STATUS_NO_MEMORY;
	ask(bench, "na", 5000);
	run_until(bench, 0, 1);
	assert_outcome(bench, 0, STATUS_NO_MEMORY, HTTP_CLIENT_OK);
}

static void an_answer_for_another_object_plants_nothing(void **state)
{
	struct bench *bench = *state;

	ask(bench, "na", 5000);
	run_until(bench, 1, 0);
	memcpy(bench->sent[0].questions[0].object.id, "other", 6);
	answer_found(bench, 0);
	assert_outcome(bench, 0, STATUS_BAD_PEER, HTTP_CLIENT_OK);
}

static void what_is_under_way_at_the_end_is_forgotten(void **state)
{
	struct bench *bench = *state;

	for (int i = 0; i < 5; i++)
		ask(bench, "na", 5000);
	run_until(bench, 1, 0);
	ask(bench, "na", 5000); /* still waiting; end() destroys and checks that nothing is left */
	assert_int_equal(bench->ended, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_one_round_brings_leaves_together),
		TEST(batches_are_bounded_and_peers_apart),
		TEST(under_load_lookups_gather_until_the_linger_is_over),
		TEST(a_full_batch_does_not_linger_but_connections_are_bounded),
		cmocka_unit_test_setup_teardown(many_are_spread_over_the_free_connections, begin_wide, end),
		TEST(waiting_is_bounded),
		TEST(each_lookup_ends_at_its_own_deadline),
		TEST(deadlines_end_in_order_whatever_order_they_came_in),
		TEST(a_failed_transport_is_tried_once_at_the_other_url),
		TEST(a_retry_carries_only_what_is_still_alive),
		TEST(what_must_not_be_tried_again_is_not),
		TEST(a_peer_without_room_is_tried_at_its_other_url),
		TEST(there_is_no_retry_without_time_or_another_url),
		TEST(retries_stop_when_the_budget_is_spent),
		TEST(a_peer_that_is_down_or_unknown_fails_at_once),
		TEST(a_send_that_fails_ends_its_lookups),
		TEST(an_answer_for_another_object_plants_nothing),
		TEST(what_is_under_way_at_the_end_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

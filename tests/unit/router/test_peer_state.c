/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for router/peer_state.c.  Time is a number; nothing sleeps. */
#include "router/peer_state.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct peers_settings settings = {
	.suspect_after = 1, .down_after = 3, .up_after = 2, .probe_interval_ms = 500, .retry_percent = 20
};

struct bench {
	struct peer_health health;
	struct random_seeded random;
	int64_t now_ms;
};

static void begin(struct bench *bench)
{
	bench->now_ms = 100000;
	random_seeded_init(&bench->random, 3);
	peer_health_init(&bench->health, bench->now_ms);
}

static bool tell(struct bench *bench, bool is_probe, enum http_client_error error, int64_t duration_ms)
{
	return peer_health_report(
		&bench->health, &settings, is_probe, error, duration_ms, bench->now_ms, &bench->random.source);
}

static void knock_down(struct bench *bench)
{
	for (int i = 0; i < 3; i++)
		tell(bench, false, HTTP_CLIENT_CONNECTION_REFUSED, 1);
	assert_int_equal(bench->health.state, PEER_DOWN);
}

static void one_timeout_makes_suspect_and_an_answer_clears_it(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	assert_int_equal(bench.health.state, PEER_UP);
	assert_false(peer_health_wants_probe(&bench.health, bench.now_ms));
	assert_true(tell(&bench, false, HTTP_CLIENT_RESPONSE_TIMEOUT, 2000));
	assert_int_equal(bench.health.state, PEER_SUSPECT);
	assert_true(peer_health_wants_probe(&bench.health, bench.now_ms));
	assert_true(tell(&bench, false, HTTP_CLIENT_OK, 40));
	assert_int_equal(bench.health.state, PEER_UP);
	assert_int_equal(bench.health.failures, 0);
	assert_int_equal(bench.health.round_trip_us, 40000);
	assert_int_equal(bench.health.last_success_ms, bench.now_ms);
}

static void timeouts_of_requests_alone_never_mean_down(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	for (int i = 0; i < 100; i++) {
		bench.now_ms += 3000;
		tell(&bench, false, HTTP_CLIENT_RESPONSE_TIMEOUT, 2000);
	}
	assert_int_equal(bench.health.state, PEER_SUSPECT);
	/* … but the probe that follows has the last word. */
	assert_true(tell(&bench, true, HTTP_CLIENT_RESPONSE_TIMEOUT, 1000));
	assert_int_equal(bench.health.state, PEER_DOWN);
}

static void connections_lost_together_are_one_incident(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	for (int i = 0; i < 30; i++) {
		bench.now_ms += 1;
		tell(&bench, false, HTTP_CLIENT_CONNECTION_TERMINATED, 500);
	}
	assert_int_equal(bench.health.state, PEER_SUSPECT);
	bench.now_ms += 1000;
	tell(&bench, false, HTTP_CLIENT_CONNECTION_TERMINATED, 10);
	bench.now_ms += 1000;
	assert_true(tell(&bench, false, HTTP_CLIENT_CONNECTION_TERMINATED, 10));
	assert_int_equal(bench.health.state, PEER_DOWN);
}

static void refused_connections_mean_down_after_the_limit(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	assert_true(tell(&bench, false, HTTP_CLIENT_CONNECTION_REFUSED, 1));
	assert_int_equal(bench.health.state, PEER_SUSPECT);
	assert_false(tell(&bench, false, HTTP_CLIENT_DNS_ERROR, 1));
	assert_true(tell(&bench, false, HTTP_CLIENT_CONNECTION_TIMEOUT, 1000));
	assert_int_equal(bench.health.state, PEER_DOWN);
	assert_int_equal(bench.health.reason, HTTP_CLIENT_CONNECTION_TIMEOUT);
}

static void the_way_back_needs_good_probes_in_a_row(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	knock_down(&bench);
	assert_false(tell(&bench, true, HTTP_CLIENT_OK, 5));
	assert_int_equal(bench.health.state, PEER_DOWN);
	assert_true(bench.health.next_probe_ms - bench.now_ms <= PEER_RECOVERY_DELAY_MAX_MS);
	assert_false(tell(&bench, true, HTTP_CLIENT_CONNECTION_REFUSED, 5));
	assert_false(tell(&bench, true, HTTP_CLIENT_OK, 5));
	assert_int_equal(bench.health.state, PEER_DOWN);
	assert_true(tell(&bench, true, HTTP_CLIENT_OK, 5));
	assert_int_equal(bench.health.state, PEER_UP);
}

static void recovery_takes_less_than_three_seconds_however_long_it_was_down(void **state)
{
	struct bench bench;
	int64_t back_ms;
	int probes = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		begin(&bench);
		random_seeded_init(&bench.random, seed);
		knock_down(&bench);
		for (back_ms = bench.now_ms + 60000 + (int64_t)seed * 37; bench.now_ms < back_ms; bench.now_ms++) {
			if (!peer_health_wants_probe(&bench.health, bench.now_ms))
				continue;
			tell(&bench, true, HTTP_CLIENT_CONNECTION_REFUSED, 1);
			probes++;
		}
		for (; bench.health.state != PEER_UP; bench.now_ms++)
			if (peer_health_wants_probe(&bench.health, bench.now_ms))
				tell(&bench, true, HTTP_CLIENT_OK, 1);
		assert_true(bench.now_ms - back_ms < 3000);
	}
	/* Backed off: about one every two seconds in a minute, not one every half. */
	assert_in_range(probes / 50, 25, 45);
}

static void a_refused_certificate_backs_off_on_its_own(void **state)
{
	struct bench bench;
	int64_t last_delay_ms = 0;

	(void)state;
	begin(&bench);
	assert_true(tell(&bench, false, HTTP_CLIENT_TLS_CERTIFICATE_ERROR, 3));
	assert_int_equal(bench.health.state, PEER_DOWN);
	assert_true(bench.health.next_probe_ms - bench.now_ms >= PEER_CERTIFICATE_DELAY_MS * 4 / 5);
	for (int i = 0; i < 10; i++) {
		bench.now_ms = bench.health.next_probe_ms;
		tell(&bench, true, HTTP_CLIENT_TLS_CERTIFICATE_ERROR, 3);
		last_delay_ms = bench.health.next_probe_ms - bench.now_ms;
		assert_true(last_delay_ms <= PEER_CERTIFICATE_DELAY_MAX_MS);
	}
	assert_true(last_delay_ms >= PEER_CERTIFICATE_DELAY_MAX_MS * 4 / 5);
	/* Once the certificate is right and only the port is closed, probing is quick again. */
	tell(&bench, true, HTTP_CLIENT_CONNECTION_REFUSED, 3);
	assert_true(bench.health.next_probe_ms - bench.now_ms <= PEER_PROBE_DELAY_MAX_MS);
}

static void traffic_does_not_put_probes_off(void **state)
{
	struct bench bench;
	int64_t due_ms;

	(void)state;
	begin(&bench);
	knock_down(&bench);
	due_ms = bench.health.next_probe_ms;
	for (int i = 0; i < 100; i++) {
		bench.now_ms += 2;
		tell(&bench, false, HTTP_CLIENT_CONNECTION_REFUSED, 1);
	}
	assert_int_equal(bench.health.next_probe_ms, due_ms);
}

static void idle_urls_are_probed_once_they_were_in_use(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	assert_false(peer_health_wants_probe(&bench.health, bench.now_ms + 1000000));
	tell(&bench, false, HTTP_CLIENT_OK, 5);
	assert_false(peer_health_wants_probe(&bench.health, bench.now_ms + PEER_IDLE_PROBE_MS - 1));
	assert_true(peer_health_wants_probe(&bench.health, bench.now_ms + PEER_IDLE_PROBE_MS));
}

static void a_cancelled_request_says_nothing(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	assert_false(tell(&bench, false, HTTP_CLIENT_CANCELLED, 5));
	assert_int_equal(bench.health.state, PEER_UP);
	assert_int_equal(bench.health.failures, 0);
}

static void retries_are_a_share_of_what_is_sent(void **state)
{
	struct retry_budget budget;
	int taken = 0;

	(void)state;
	retry_budget_init(&budget, 0);
	for (int i = 0; i < 10; i++)
		taken += retry_budget_take(&budget, 0) ? 1 : 0;
	assert_int_equal(taken, RETRY_TRICKLE_PER_S);
	for (int i = 0; i < 50; i++)
		retry_budget_sent(&budget, 20);
	for (int i = 0; i < 20; i++)
		taken += retry_budget_take(&budget, 0) ? 1 : 0;
	assert_int_equal(taken, RETRY_TRICKLE_PER_S + 10);
	assert_false(retry_budget_take(&budget, 100));
	assert_true(retry_budget_take(&budget, 500));
	for (int i = 0; i < 100000; i++)
		retry_budget_sent(&budget, 20);
	for (taken = 0; retry_budget_take(&budget, 500); taken++)
		;
	assert_int_equal(taken, RETRY_TOKENS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_timeout_makes_suspect_and_an_answer_clears_it),
		cmocka_unit_test(timeouts_of_requests_alone_never_mean_down),
		cmocka_unit_test(connections_lost_together_are_one_incident),
		cmocka_unit_test(refused_connections_mean_down_after_the_limit),
		cmocka_unit_test(the_way_back_needs_good_probes_in_a_row),
		cmocka_unit_test(recovery_takes_less_than_three_seconds_however_long_it_was_down),
		cmocka_unit_test(a_refused_certificate_backs_off_on_its_own),
		cmocka_unit_test(traffic_does_not_put_probes_off),
		cmocka_unit_test(idle_urls_are_probed_once_they_were_in_use),
		cmocka_unit_test(a_cancelled_request_says_nothing),
		cmocka_unit_test(retries_are_a_share_of_what_is_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

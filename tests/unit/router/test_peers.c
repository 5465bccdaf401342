/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for router/peers.c: choosing a URL, redefinition, budget and rows.  Time is fake. */
#include "router/peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"

/* The names belong to the transport, which these tests do without. */
const char *http_client_error_name(enum http_client_error error)
{
	return error == HTTP_CLIENT_CONNECTION_REFUSED ? "connection_refused" : "other";
}

static const struct peers_settings settings = {
	.suspect_after = 1, .down_after = 2, .up_after = 2, .probe_interval_ms = 500, .retry_percent = 10
};
static const char *const two_urls[] = { "https://na-1:7443/", "https://na-2:7443" };
static const struct peer_definition definitions[] = { { "na", two_urls, 2 }, { "ap", two_urls, 1 } };

struct bench {
	struct fake_clock clock;
	struct random_seeded random;
	struct peers *peers;
};

static int begin(void **state)
{
	static struct bench bench;

	fake_clock_init(&bench.clock, 50000);
	random_seeded_init(&bench.random, 1);
	bench.peers = peers_create(&settings, &bench.clock.source, &bench.random.source);
	assert_non_null(bench.peers);
	assert_int_equal(peers_define(bench.peers, definitions, 2), STATUS_OK);
	*state = &bench;
	return 0;
}

static int end(void **state)
{
	struct bench *bench = *state;

	peers_destroy(bench->peers);
	metrics_reset();
	return 0;
}

static void assert_chosen(struct bench *bench, const char *not_url, const char *wanted)
{
	char url[PEER_URL_SIZE];

	assert_int_equal(peers_choose(bench->peers, "na", not_url, url), STATUS_OK);
	assert_string_equal(url, wanted);
}

static void refuse_twice(struct bench *bench, const char *url)
{
	for (int i = 0; i < 2; i++)
		peers_report(bench->peers, "na", url, HTTP_CLIENT_CONNECTION_REFUSED, 1);
}

struct told {
	int count;
	bool is_up;
	int64_t down_ms;
	char last[64];
};

static void tell(void *arg, const char *region, bool is_up, const char *reason, int64_t down_ms)
{
	struct told *told = arg;

	told->count++;
	told->is_up = is_up;
	told->down_ms = down_ms;
	snprintf(told->last, sizeof(told->last), "%s %s", region, reason);
}

static void told_when_the_last_url_goes_and_the_first_is_back(void **state)
{
	struct bench *bench = *state;
	struct told told = { .count = 0 };
	const struct peers_hook hook = { tell, &told };
	struct peer_probe_target target = { .region = "na" };

	peers_tell(bench->peers, &hook);
	refuse_twice(bench, "https://na-1:7443");
	assert_int_equal(told.count, 0);
	refuse_twice(bench, "https://na-2:7443");
	assert_int_equal(told.count, 1);
	assert_false(told.is_up);
	assert_string_equal(told.last, "na connection_refused");
	fake_clock_advance_ms(&bench->clock, 41000);
	memcpy(target.url, two_urls[1], strlen(two_urls[1]) + 1);
	for (int i = 0; i < 3; i++)
		peers_report_probe(bench->peers, &target, HTTP_CLIENT_OK, 1);
	assert_int_equal(told.count, 2);
	assert_true(told.is_up);
	assert_int_equal(told.down_ms, 41000);
}

static void the_first_url_that_is_well_is_used(void **state)
{
	struct bench *bench = *state;
	char url[PEER_URL_SIZE];

	assert_true(peers_know(bench->peers, "na"));
	assert_false(peers_know(bench->peers, "sa"));
	assert_chosen(bench, NULL, "https://na-1:7443");
	assert_chosen(bench, "https://na-1:7443", "https://na-2:7443");
	peers_report(bench->peers, "na", "https://na-1:7443", HTTP_CLIENT_RESPONSE_TIMEOUT, 2000);
	assert_chosen(bench, NULL, "https://na-2:7443");
	refuse_twice(bench, "https://na-2:7443");
	assert_chosen(bench, NULL, "https://na-1:7443");
	assert_int_equal(peers_choose(bench->peers, "na", "https://na-1:7443", url), STATUS_UNREACHABLE);
	refuse_twice(bench, "https://na-1:7443");
	assert_int_equal(peers_choose(bench->peers, "na", NULL, url), STATUS_UNREACHABLE);
	assert_string_equal(url, "");
	assert_int_equal(peers_choose(bench->peers, "sa", NULL, url), STATUS_NOT_FOUND);
	assert_int_equal(peers_choose(bench->peers, "ap", NULL, url), STATUS_OK);
}

static void a_url_that_stays_keeps_its_state(void **state)
{
	static const char *const changed[] = { "https://na-3:7443", "https://na-1:7443" };
	static const struct peer_definition next[] = { { "na", changed, 2 } };
	static const struct peer_definition bad[] = { { "na", changed, 0 } };
	struct bench *bench = *state;

	refuse_twice(bench, "https://na-1:7443");
	assert_int_equal(peers_define(bench->peers, next, 1), STATUS_OK);
	assert_false(peers_know(bench->peers, "ap"));
	assert_chosen(bench, NULL, "https://na-3:7443");
	refuse_twice(bench, "https://na-3:7443");
	{
		char url[PEER_URL_SIZE];

		assert_int_equal(peers_choose(bench->peers, "na", NULL, url), STATUS_UNREACHABLE);
	}
	assert_int_equal(peers_define(bench->peers, bad, 1), STATUS_INVALID);
	assert_true(peers_know(bench->peers, "na"));
	/* News of a URL that is gone is no news. */
	peers_report(bench->peers, "na", "https://na-2:7443", HTTP_CLIENT_OK, 1);
	peers_report(bench->peers, "ap", "https://na-1:7443", HTTP_CLIENT_OK, 1);
}

static void probes_are_due_once_until_reported(void **state)
{
	struct bench *bench = *state;
	struct peer_probe_target targets[4];

	assert_int_equal(peers_take_due(bench->peers, targets, 4), 0);
	refuse_twice(bench, "https://na-1:7443");
	assert_int_equal(peers_take_due(bench->peers, targets, 4), 0);
	fake_clock_advance_ms(&bench->clock, 500);
	assert_int_equal(peers_take_due(bench->peers, targets, 4), 1);
	assert_string_equal(targets[0].url, "https://na-1:7443");
	assert_string_equal(targets[0].region, "na");
	fake_clock_advance_ms(&bench->clock, 5000);
	assert_int_equal(peers_take_due(bench->peers, targets, 4), 0);
	peers_report_probe(bench->peers, &targets[0], HTTP_CLIENT_OK, 3);
	assert_chosen(bench, NULL, "https://na-2:7443");
	fake_clock_advance_ms(&bench->clock, 500);
	assert_int_equal(peers_take_due(bench->peers, targets, 4), 1);
	peers_report_probe(bench->peers, &targets[0], HTTP_CLIENT_OK, 3);
	assert_chosen(bench, NULL, "https://na-1:7443");
}

static void retries_are_bounded_by_what_was_sent(void **state)
{
	struct bench *bench = *state;
	int taken = 0;

	for (int i = 0; i < 100; i++)
		assert_chosen(bench, NULL, "https://na-1:7443");
	while (peers_may_retry(bench->peers, "na"))
		taken++;
	assert_int_equal(taken, RETRY_TRICKLE_PER_S + 10);
	assert_false(peers_may_retry(bench->peers, "sa"));
	assert_true(peers_may_retry(bench->peers, "ap"));
}

struct rows {
	struct peer_row rows[4];
	int count;
};

static void collect(void *arg, const struct peer_row *row)
{
	struct rows *rows = arg;

	rows->rows[rows->count++] = *row;
}

static void rows_tell_state_reason_and_ages(void **state)
{
	struct bench *bench = *state;
	struct rows rows = { .count = 0 };

	peers_report(bench->peers, "na", "https://na-1:7443", HTTP_CLIENT_OK, 42);
	fake_clock_advance_ms(&bench->clock, 1000);
	refuse_twice(bench, "https://na-1:7443");
	fake_clock_advance_ms(&bench->clock, 200);
	peers_each(bench->peers, collect, &rows);
	assert_int_equal(rows.count, 3);
	assert_int_equal(rows.rows[0].state, PEER_DOWN);
	assert_string_equal(rows.rows[0].reason, "connection_refused");
	assert_int_equal(rows.rows[0].since_ms, 200);
	assert_int_equal(rows.rows[0].last_success_ms, 1200);
	assert_int_equal(rows.rows[0].round_trip_ms, 42);
	assert_int_equal(rows.rows[1].state, PEER_UP);
	assert_int_equal(rows.rows[1].last_success_ms, -1);
	assert_int_equal(rows.rows[1].round_trip_ms, -1);
	assert_string_equal(rows.rows[1].reason, "");
	assert_string_equal(rows.rows[2].region, "ap");
	assert_string_equal(peer_state_name(PEER_SUSPECT), "suspect");
}

static void metrics_tell_who_is_reachable(void **state)
{
	struct bench *bench = *state;
	struct strbuf text = STRBUF_INIT;

	metrics_write(&text);
	assert_non_null(strstr(text.data, "homeward_peer_up{peer=\"na\"} 1"));
	refuse_twice(bench, "https://na-1:7443");
	refuse_twice(bench, "https://na-2:7443");
	strbuf_reset(&text);
	metrics_write(&text);
	assert_non_null(strstr(text.data, "homeward_peer_up{peer=\"na\"} 0"));
	assert_non_null(strstr(text.data, "homeward_peer_up{peer=\"ap\"} 1"));
	assert_non_null(strstr(text.data, "homeward_peer_errors_total{peer=\"na\",reason=\"connection_refused\"} 4"));
	strbuf_release(&text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_first_url_that_is_well_is_used),
		TEST(told_when_the_last_url_goes_and_the_first_is_back),
		TEST(a_url_that_stays_keeps_its_state),
		TEST(probes_are_due_once_until_reported),
		TEST(retries_are_bounded_by_what_was_sent),
		TEST(rows_tell_state_reason_and_ages),
		TEST(metrics_tell_who_is_reachable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

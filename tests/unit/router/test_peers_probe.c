/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probing with the real HTTP client against real servers: a peer that returns is
 * found, one that hangs or shows another region's certificate is not.  Everything
 * is awaited; only a failing test waits long.
 */
#include "router/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/certificates.h"
#include "tests/unit/support/web_server.h"

#define PATIENCE_MS 30000

struct bench {
	struct loop *loop;
	struct http_client *client;
	struct peers *peers;
	struct loop_timer patience, poll;
	struct web_server *server;
	enum peer_state wanted_state;
	const char *wanted_reason;   /* also awaited, when not NULL */
	bool wants_only_connections; /* one is enough, whatever the state */
	bool has_run_out;
	struct peer_row row; /* of the one peer */
	char url[64];
};

static void on_patience(void *arg)
{
	struct bench *bench = arg;

	bench->has_run_out = true;
	loop_break(bench->loop);
}

static void keep_row(void *arg, const struct peer_row *row)
{
	((struct bench *)arg)->row = *row;
}

static void on_poll(void *arg)
{
	struct bench *bench = arg;
	bool is_there;

	peers_each(bench->peers, keep_row, bench);
	is_there = bench->row.state == bench->wanted_state &&
		   (bench->wanted_reason == NULL || strcmp(bench->row.reason, bench->wanted_reason) == 0);
	if (bench->wants_only_connections)
		is_there = web_server_connections(bench->server) > 0;
	if (is_there)
		loop_break(bench->loop);
	else
		loop_timer_start(&bench->poll, 5);
}

static void await(struct bench *bench, enum peer_state state, const char *reason)
{
	bench->wanted_state = state;
	bench->wanted_reason = reason;
	loop_timer_start(&bench->poll, 0);
	loop_timer_start(&bench->patience, PATIENCE_MS);
	loop_run_here(bench->loop);
	if (bench->has_run_out)
		fail_msg("%s %s, and not %s %s", peer_state_name(bench->row.state), bench->row.reason,
			peer_state_name(state), reason != NULL ? reason : "");
}

static void begin(struct bench *bench, struct tls_store *tls, const char *scheme)
{
	static const struct peers_settings settings = {
		.suspect_after = 1, .down_after = 2, .up_after = 2, .probe_interval_ms = 20, .retry_percent = 10
	};
	const struct http_client_settings client_settings = { .tls = tls };
	const char *const urls[] = { bench->url };
	const struct peer_definition definition = { "na", urls, 1 };

	snprintf(bench->url, sizeof(bench->url), "%s://127.0.0.1:%d", scheme, web_server_port(bench->server));
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->patience, on_patience, bench), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->poll, on_poll, bench), STATUS_OK);
	assert_int_equal(http_client_create(bench->loop, &client_settings, &bench->client), STATUS_OK);
	bench->peers = peers_create(&settings, clock_system(), random_system());
	assert_int_equal(peers_define(bench->peers, &definition, 1), STATUS_OK);
	assert_int_equal(peers_probe(bench->peers, bench->loop, bench->client), STATUS_OK);
}

static void end(struct bench *bench)
{
	peers_probe_stop(bench->peers);
	loop_timer_release(&bench->patience);
	loop_timer_release(&bench->poll);
	http_client_destroy(bench->client);
	loop_destroy(bench->loop);
	peers_destroy(bench->peers);
	if (bench->server != NULL)
		web_server_stop(bench->server);
}

static void report_down(struct bench *bench)
{
	for (int i = 0; i < 2; i++)
		peers_report(bench->peers, "na", bench->url, HTTP_CLIENT_CONNECTION_REFUSED, 1);
	peers_each(bench->peers, keep_row, bench);
	assert_int_equal(bench->row.state, PEER_DOWN);
}

static void a_peer_that_answers_again_is_up(void **state)
{
	struct bench bench = { .server = web_server_start(NULL, NULL, NULL) };

	(void)state;
	begin(&bench, NULL, "http");
	report_down(&bench);
	await(&bench, PEER_UP, NULL);
	assert_true(bench.row.last_success_ms >= 0);
	assert_true(web_server_connections(bench.server) >= 1);
	end(&bench);
}

static void a_peer_that_is_gone_stays_down(void **state)
{
	struct bench bench = { .server = web_server_start(NULL, NULL, NULL) };

	(void)state;
	begin(&bench, NULL, "http");
	web_server_stop(bench.server);
	bench.server = NULL;
	peers_report(bench.peers, "na", bench.url, HTTP_CLIENT_RESPONSE_TIMEOUT, 1);
	await(&bench, PEER_DOWN, "connection_refused"); /* suspect by the report, down by its probes */
	end(&bench);
}

static void another_regions_certificate_is_no_life(void **state)
{
	static const struct test_leaf own = { .uris = { "spiffe://lab/region/eu" }, .serial = 1 };
	static const struct test_leaf other = { .uris = { "spiffe://lab/region/ap" }, .serial = 2 };
	struct bench bench = { 0 };
	struct test_authority authority;
	struct tls_store *tls = NULL;
	struct strbuf why = STRBUF_INIT;
	char folder[TEST_PATH_SIZE];

	(void)state;
	certificates_make_folder(folder);
	certificates_make_authority(folder, "ca", &authority);
	certificates_make_leaf(&authority, folder, "eu", &own);
	certificates_make_leaf(&authority, folder, "ap", &other);
	const struct tls_files files = { .certificate = certificates_path(folder, "eu", ".pem"),
		.key = certificates_path(folder, "eu", ".key"),
		.ca = authority.path };
	if (tls_store_create(&files, "lab", "eu", &tls, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	bench.server = web_server_start(
		certificates_path(folder, "ap", ".pem"), certificates_path(folder, "ap", ".key"), authority.path);
	begin(&bench, tls, "https");
	report_down(&bench);
	await(&bench, PEER_DOWN, "tls_certificate_error");
	end(&bench);
	tls_store_destroy(tls);
	certificates_release_authority(&authority);
	certificates_remove_folder(folder);
	strbuf_release(&why);
}

static void probes_under_way_at_the_end_are_forgotten(void **state)
{
	struct bench bench = { .server = web_server_start(NULL, NULL, NULL), .wants_only_connections = true };

	(void)state;
	begin(&bench, NULL, "http");
	report_down(&bench);
	await(&bench, PEER_DOWN, NULL); /* its answer may be on the way */
	end(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_peer_that_answers_again_is_up),
		cmocka_unit_test(a_peer_that_is_gone_stays_down),
		cmocka_unit_test(another_regions_certificate_is_no_life),
		cmocka_unit_test(probes_under_way_at_the_end_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

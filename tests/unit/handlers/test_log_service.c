/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other regions may read of this region's log, and what they are told when they ask for its
 * cosignature: real files and a real witness behind a fake HTTP server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/metrics.h"
#include "handlers/log_service.h"
#include "tests/unit/support/fake_http.h"
#include "tests/unit/support/scratch.h"
#include "tests/unit/support/witness_requests.h"

#define LOG_SIZE 300 /* a full tile and a partial one */

static struct {
	struct loop *loop;
	struct loop_timer patience;
	struct log_peers *peers;
	struct witness *witness;
	struct log_service *service;
	struct http_request request;
	char folder[64];
	int alarms;
	enum witness_result alarmed;
} bench;

static void alarmed(void *arg, const char *region, enum witness_result result)
{
	(void)arg;
	assert_string_equal(region, "eu");
	bench.alarms++;
	bench.alarmed = result;
}

static void give_up(void *arg)
{
	(void)arg;
	loop_break(bench.loop);
}

static void start_witness(void)
{
	struct strbuf path = STRBUF_INIT, why = STRBUF_INIT;
	uint8_t seed[NOTE_SEED_SIZE] = { 9 };
	struct note_signer *signer;

	assert_int_equal(note_signer_create("na.test.example/access-log", seed, &signer), STATUS_OK);
	strbuf_addf(&path, "%s/witnessed", bench.folder);
	assert_int_equal(witness_create(path.data, signer, bench.peers, &bench.witness, &why), STATUS_OK);
	strbuf_release(&path);
	strbuf_release(&why);
}

static int set_up(void **state)
{
	struct log_service_settings settings = { .clock = clock_system(), .hook = { alarmed, NULL } };
	struct note_signer *signer = log_files_signer();
	struct log_peer peer = { .region = "eu", .key = *note_signer_verifier(signer) };

	(void)state;
	note_signer_destroy(signer);
	memset(&bench, 0, sizeof(bench));
	snprintf(bench.folder, sizeof(bench.folder), "%s/homeward-log-service-XXXXXX", scratch_place());
	assert_non_null(mkdtemp(bench.folder));
	log_files_write(bench.folder, LOG_SIZE);
	bench.peers = log_peers_create();
	log_peers_define(bench.peers, &peer, 1);
	start_witness();
	assert_int_equal(loop_create("test", &bench.loop), STATUS_OK);
	assert_int_equal(loop_timer_init(bench.loop, &bench.patience, give_up, NULL), STATUS_OK);
	bench.request.loop = bench.loop;
	bench.request.peer = "eu";
	settings.loop = bench.loop;
	settings.directory = bench.folder;
	settings.witness = bench.witness;
	assert_int_equal(log_service_create(&settings, &bench.service), STATUS_OK);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fake_http_forget(&bench.request);
	log_service_destroy(bench.service);
	witness_destroy(bench.witness);
	log_peers_destroy(bench.peers);
	loop_timer_release(&bench.patience);
	loop_destroy(bench.loop);
	assert_true(scratch_remove(bench.folder));
	metrics_reset();
	return 0;
}

/* ---- asking ---- */

/* What was handed over is answered. */
static void await_answer(void)
{
	if (bench.request.is_suspended) {
		loop_timer_start(&bench.patience, 30000);
		loop_run_here(bench.loop);
		loop_timer_stop(&bench.patience);
	}
	assert_int_equal(bench.request.replies, 1);
}

static void read_tile(const char *path)
{
	fake_http_forget(&bench.request);
	bench.request.param = path;
	log_service_tile(bench.service, &bench.request);
	await_answer();
}

static void is_problem(enum status status)
{
	assert_null(bench.request.response);
	assert_int_equal(bench.request.problem, status);
}

/* The HTTP status, and whether the body is `body` (NULL: anything). */
static void told(const char *request, int status, const char *type, const char *body)
{
	fake_http_forget(&bench.request);
	bench.request.body = request;
	log_service_add_checkpoint(bench.service, &bench.request);
	await_answer();
	assert_non_null(bench.request.response);
	assert_int_equal(bench.request.response->status, status);
	assert_string_equal(bench.request.response->type, type);
	assert_string_equal(bench.request.response->cache_control, "no-store");
	if (body != NULL)
		assert_string_equal(bench.request.response->body, body);
}

static void asks(uint64_t old, uint64_t size, int status, const char *body)
{
	struct strbuf request = STRBUF_INIT;

	witness_request_write(bench.folder, old, size, &request);
	told(request.data, status, status == 409 ? "text/x.tlog.size" : "text/plain; charset=utf-8", body);
	strbuf_release(&request);
}

static void forges(uint64_t old, uint64_t size, int status, const char *body)
{
	struct strbuf request = STRBUF_INIT;

	witness_request_fork(old, size, &request);
	told(request.data, status, "text/plain; charset=utf-8", body);
	strbuf_release(&request);
}

/* ---- the log's files ---- */

static void checkpoint_is_shown_and_never_kept(void **state)
{
	struct strbuf path = STRBUF_INIT, bytes = STRBUF_INIT;

	(void)state;
	log_service_checkpoint(bench.service, &bench.request);
	assert_int_equal(bench.request.replies, 0); /* an HTTP thread does not wait for the disk */
	await_answer();
	strbuf_addf(&path, "%s/" LOG_CHECKPOINT, bench.folder);
	assert_int_equal(file_read(path.data, NOTE_BYTES_MAX, &bytes, NULL), STATUS_OK);
	assert_string_equal(bench.request.response->body, bytes.data);
	assert_string_equal(bench.request.response->type, "text/plain; charset=utf-8");
	assert_string_equal(bench.request.response->cache_control, "no-store");

	assert_int_equal(unlink(path.data), 0);
	fake_http_forget(&bench.request);
	log_service_checkpoint(bench.service, &bench.request);
	await_answer();
	is_problem(STATUS_NOT_FOUND);
	strbuf_release(&path);
	strbuf_release(&bytes);
}

static void a_full_tile_may_be_kept_forever_and_a_partial_one_not(void **state)
{
	(void)state;
	read_tile("0/000");
	assert_int_equal(bench.request.response->size, TILE_WIDTH * SHA256_SIZE);
	assert_string_equal(bench.request.response->type, "application/octet-stream");
	assert_non_null(strstr(bench.request.response->cache_control, "immutable"));
	read_tile("0/001.p/44");
	assert_int_equal(bench.request.response->size, 44 * SHA256_SIZE);
	assert_string_equal(bench.request.response->cache_control, "no-store");
}

static void only_hash_tiles_of_this_log_are_shown(void **state)
{
	static const char *const none[] = { "entries/000", "../checkpoint", "0/../../witnessed/x", "0/000/..", "0/1",
		"", "0/000.p/256", "64/000", "/0/000",
		"0/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/000" };

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		read_tile(none[i]);
		is_problem(STATUS_NOT_FOUND);
		assert_false(bench.request.is_suspended); /* the disk was not touched */
	}
	read_tile(NULL);
	is_problem(STATUS_NOT_FOUND);
	read_tile("0/007"); /* well-formed, and not there */
	is_problem(STATUS_NOT_FOUND);
	assert_true(bench.request.is_suspended);
}

static void without_a_certificate_or_a_log_nothing_is_shown(void **state)
{
	static void (*const endpoints[])(struct log_service * service, struct http_request * request) = {
		log_service_checkpoint, log_service_tile, log_service_add_checkpoint
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		fake_http_forget(&bench.request);
		bench.request.peer = NULL;
		bench.request.param = "0/000";
		endpoints[i](bench.service, &bench.request);
		assert_int_equal(bench.request.replies, 1);
		is_problem(STATUS_UNAUTHENTICATED);

		fake_http_forget(&bench.request);
		bench.request.peer = "eu";
		endpoints[i](NULL, &bench.request);
		assert_int_equal(bench.request.replies, 1);
		is_problem(STATUS_NOT_FOUND);
	}
}

/* ---- cosigning theirs ---- */

static void what_goes_on_is_cosigned_and_a_stale_size_is_told(void **state)
{
	(void)state;
	asks(0, 300, 200, NULL);
	assert_non_null(strstr(bench.request.response->body, "na.test.example/access-log "));
	asks(0, 700, 409, "300\n");
	asks(299, 700, 409, "300\n");
	asks(300, 700, 200, NULL);
	assert_int_equal(bench.alarms, 0);
}

static void a_shorter_log_is_a_rollback_and_told(void **state)
{
	(void)state;
	asks(0, 700, 200, NULL);
	asks(300, 300, 409, "700\n");
	assert_int_equal(bench.alarms, 1);
	assert_int_equal(bench.alarmed, WITNESS_ROLLBACK);
}

static void another_log_is_a_fork_and_told(void **state)
{
	(void)state;
	asks(0, 300, 200, NULL);
	forges(300, 300, 409, "fork\n");
	assert_int_equal(bench.alarmed, WITNESS_FORK);
	forges(300, 301, 422, "inconsistent\n");
	assert_int_equal(bench.alarmed, WITNESS_INCONSISTENT);
	assert_int_equal(bench.alarms, 2);
	asks(300, 700, 200, NULL);
	assert_int_equal(bench.alarms, 2);
}

static void who_is_not_the_logs_region_gets_nothing(void **state)
{
	static const char text[] = "text/plain; charset=utf-8";
	struct strbuf request = STRBUF_INIT;

	(void)state;
	witness_request_write(bench.folder, 0, 300, &request);
	bench.request.peer = "ap"; /* no key of it is known */
	told(request.data, 404, text, "unknown\n");
	bench.request.peer = "eu";
	told("old 0\n", 400, text, NULL);
	memcpy(strstr(request.data, "\n300\n"), "\n301\n", 5);
	told(request.data, 403, text, "unsigned\n");
	assert_int_equal(bench.alarms, 0); /* anybody could send those */
	asks(0, 300, 200, NULL);           /* and nothing of it was remembered */
	strbuf_release(&request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(checkpoint_is_shown_and_never_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_full_tile_may_be_kept_forever_and_a_partial_one_not, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_hash_tiles_of_this_log_are_shown, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_a_certificate_or_a_log_nothing_is_shown, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_goes_on_is_cosigned_and_a_stale_size_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_shorter_log_is_a_rollback_and_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(another_log_is_a_fork_and_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_is_not_the_logs_region_gets_nothing, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

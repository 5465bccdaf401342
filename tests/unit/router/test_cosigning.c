/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking peers to cosign this region's log: what each of their answers leads to, and that only what they
 * really signed is kept.  The log is in files, the loop is real, and the transport is a fake that answers by a list.
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
#include "router/router.h"
#include "tests/unit/support/log_files.h"
#include "tests/unit/support/scratch.h"

#define PATIENCE_MS 30000 /* only a failing test waits so long */
#define INTERVAL_MS 2
#define QUIET_MS 40 /* many rounds */
#define LOG_SIZE 300
#define ANSWERS_MAX 8
#define RESULT(result) "homeward_access_log_cosignatures_total{peer=\"na\",result=\"" result "\"} "

/* Bodies that the fake makes from what it was sent. */
static const char honest[] = "honest", by_another_key[] = "by another key", of_another_tree[] = "of another tree";

struct scripted {
	enum http_client_error error;
	int status;
	const char *body;
};

struct sent {
	struct loop_task task;
	http_client_done *done;
	void *arg;
	char region[REGION_SIZE];
	uint64_t old_size;
	size_t proof_count;
	struct scripted scripted;
	struct strbuf answer;
};

static struct {
	struct loop *loop;
	struct loop_timer timer;
	struct peers *peers;
	struct log_peers *log_peers;
	struct cosigning *cosigning;
	struct random_seeded random;
	char directory[64];
	const struct scripted *script; /* the rest is never answered */
	size_t script_count, answered, sent_count;
	enum status send_status;
	struct sent sent[ANSWERS_MAX];
	bool has_run_out;
} bench;

/* ---- the fake transport ---- */

const char *http_client_error_name(enum http_client_error error)
{
	return error == HTTP_CLIENT_OK ? "ok" : "failed";
}

static struct note_signer *signer_of(const char *region, int seed_byte)
{
	uint8_t seed[NOTE_SEED_SIZE];
	struct note_signer *signer;
	char name[64];

	memset(seed, seed_byte, sizeof(seed));
	snprintf(name, sizeof(name), "%s.test.example/access-log", region);
	assert_int_equal(note_signer_create(name, seed, &signer), STATUS_OK);
	return signer;
}

static void write_answer(struct sent *sent, const struct add_checkpoint *asked)
{
	const char *body = sent->scripted.body;
	struct note_signer *signer = signer_of(sent->region, body == by_another_key ? 99 : sent->region[0]);
	struct checkpoint checkpoint;
	struct strbuf text = STRBUF_INIT;
	struct note note;

	assert_int_equal(note_parse(asked->checkpoint, asked->checkpoint_size, &note, NULL), STATUS_OK);
	assert_int_equal(checkpoint_parse(note.text, note.text_size, &checkpoint, NULL), STATUS_OK);
	if (body == of_another_tree)
		checkpoint.root.bytes[0] ^= 1;
	checkpoint_write(&checkpoint, &text);
	if (body == honest || body == by_another_key || body == of_another_tree)
		assert_int_equal(note_cosign(signer, text.data, text.length, 1767225600, &sent->answer), STATUS_OK);
	else
		strbuf_adds(&sent->answer, body);
	strbuf_release(&text);
	note_signer_destroy(signer);
}

static void answers(struct loop_task *task)
{
	struct sent *sent = (struct sent *)task;
	const struct http_client_result result = { sent->scripted.error, "", sent->scripted.status, sent->answer.data,
		sent->answer.length, 5, NULL };

	sent->done(sent->arg, &result);
	if (++bench.answered == bench.script_count)
		loop_break(bench.loop);
}

enum status http_client_send(struct http_client *client, const struct http_client_request *request,
	http_client_done *done, void *arg, struct http_client_call **call_out)
{
	struct sent *sent = &bench.sent[bench.sent_count];
	struct add_checkpoint asked;

	(void)client;
	(void)call_out;
	assert_true(bench.sent_count < ANSWERS_MAX);
	if (bench.send_status != STATUS_OK) {
		loop_break(bench.loop);
		return bench.send_status;
	}
	assert_non_null(strstr(request->url, ":7443/peer/v1/log/add-checkpoint"));
	assert_true(request->deadline_ms > 0 && request->response_bytes_max > 0);
	assert_non_null(request->peer_region);
	assert_int_equal(add_checkpoint_parse(request->body, request->body_size, &asked, NULL), STATUS_OK);
	snprintf(sent->region, sizeof(sent->region), "%s", request->peer_region);
	sent->old_size = asked.old_size;
	sent->proof_count = asked.proof.count;
	sent->done = done;
	sent->arg = arg;
	sent->task.run = answers;
	if (bench.sent_count < bench.script_count) {
		sent->scripted = bench.script[bench.sent_count];
		write_answer(sent, &asked);
		loop_defer(bench.loop, &sent->task);
	} else if (bench.script_count == 0) {
		loop_break(bench.loop);
	}
	bench.sent_count++;
	return STATUS_OK;
}

/* ---- driving ---- */

static void time_is_over(void *arg)
{
	(void)arg;
	bench.has_run_out = true;
	loop_break(bench.loop);
}

static void run(void)
{
	bench.has_run_out = false;
	loop_timer_start(&bench.timer, PATIENCE_MS);
	loop_run_here(bench.loop);
	loop_timer_stop(&bench.timer);
	assert_false(bench.has_run_out);
}

/* Nothing is sent in many rounds. */
static void run_quietly(void)
{
	loop_timer_start(&bench.timer, QUIET_MS);
	loop_run_here(bench.loop);
	assert_int_equal(bench.sent_count, 0);
}

static void play(const struct scripted *script, size_t count)
{
	bench.script = script;
	bench.script_count = count;
	run();
	assert_int_equal(bench.answered, count);
}

#define PLAY(...)                                                                                                      \
	play((const struct scripted[]){ __VA_ARGS__ },                                                                 \
		sizeof((struct scripted[]){ __VA_ARGS__ }) / sizeof(struct scripted))

static double value_of(const char *series)
{
	struct strbuf text = STRBUF_INIT;
	const char *at;
	double value;

	metrics_write(&text);
	at = strstr(text.data, series);
	value = at != NULL ? strtod(at + strlen(series), NULL) : -1;
	strbuf_release(&text);
	return value;
}

static void counted(const char *series, double expected)
{
	assert_float_equal(value_of(series), expected, 0.1);
}

/* The file beside the checkpoint; "" when there is none. */
static void kept(struct strbuf *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/" LOG_CHECKPOINT_COSIGNED, bench.directory);
	strbuf_reset(text);
	if (access(path, F_OK) == 0)
		assert_int_equal(file_read(path, NOTE_BYTES_MAX, text, NULL), STATUS_OK);
}

static void nothing_is_kept(void)
{
	struct strbuf text = STRBUF_INIT;

	kept(&text);
	assert_int_equal(text.length, 0);
	strbuf_release(&text);
}

static bool is_cosigned_by(const char *region)
{
	struct note_signer *signer = signer_of(region, region[0]);
	struct strbuf text = STRBUF_INIT;
	struct note_verifier cosigner;
	struct note note;
	bool is_cosigned;

	kept(&text);
	note_verifier_as(note_signer_verifier(signer), NOTE_COSIGNATURE_V1, &cosigner);
	is_cosigned = text.length > 0 && note_parse(text.data, text.length, &note, NULL) == STATUS_OK &&
		      note_verify(&note, &cosigner, NULL) == STATUS_OK;
	note_signer_destroy(signer);
	strbuf_release(&text);
	return is_cosigned;
}

static void know_keys(size_t count)
{
	static const char *const regions[] = { "na", "ap" };
	struct log_peer all[2] = { { .region = "na" }, { .region = "ap" } };

	for (size_t i = 0; i < count; i++) {
		struct note_signer *signer = signer_of(regions[i], regions[i][0]);

		all[i].key = *note_signer_verifier(signer);
		note_signer_destroy(signer);
	}
	log_peers_define(bench.log_peers, all, count);
}

static int set_up(void **state)
{
	static const struct peers_settings settings = { 1000, 1000, 1, 1000, 10 };
	static const char *const na_urls[] = { "https://na:7443" }, *const ap_urls[] = { "https://ap:7443" };
	static const struct peer_definition definitions[] = { { "na", na_urls, 1 }, { "ap", ap_urls, 1 } };
	struct note_signer *signer = log_files_signer();
	struct cosigning_settings cosigning = { .own = *note_signer_verifier(signer), .interval_ms = INTERVAL_MS };

	(void)state;
	note_signer_destroy(signer);
	memset(&bench, 0, sizeof(bench));
	snprintf(bench.directory, sizeof(bench.directory), "%s/homeward-cosigning-XXXXXX", scratch_place());
	assert_non_null(mkdtemp(bench.directory));
	log_files_write(bench.directory, LOG_SIZE);
	random_seeded_init(&bench.random, 1);
	assert_int_equal(loop_create("test", &bench.loop), STATUS_OK);
	assert_int_equal(loop_timer_init(bench.loop, &bench.timer, time_is_over, NULL), STATUS_OK);
	bench.peers = peers_create(&settings, clock_system(), &bench.random.source);
	assert_int_equal(peers_define(bench.peers, definitions, 2), STATUS_OK);
	bench.log_peers = log_peers_create();
	know_keys(1);
	cosigning.loop = bench.loop;
	cosigning.peers = bench.peers;
	cosigning.log_peers = bench.log_peers;
	cosigning.directory = bench.directory;
	assert_int_equal(cosigning_create(&cosigning, &bench.cosigning), STATUS_OK);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cosigning_destroy(bench.cosigning);
	for (size_t i = 0; i < bench.sent_count; i++) {
		const struct http_client_result gone = { .error = HTTP_CLIENT_CANCELLED };

		/* As a client does when it is destroyed. */
		if (i >= bench.answered)
			bench.sent[i].done(bench.sent[i].arg, &gone);
		strbuf_release(&bench.sent[i].answer);
	}
	log_peers_destroy(bench.log_peers);
	peers_destroy(bench.peers);
	loop_timer_release(&bench.timer);
	loop_destroy(bench.loop);
	assert_true(scratch_remove(bench.directory));
	metrics_reset();
	return 0;
}

/* ---- tests ---- */

static void what_a_peer_signs_is_kept_beside_the_checkpoint(void **state)
{
	(void)state;
	PLAY({ HTTP_CLIENT_OK, 200, honest }, { HTTP_CLIENT_OK, 200, honest });
	assert_int_equal(bench.sent[0].old_size, 0);
	assert_int_equal(bench.sent[1].old_size, LOG_SIZE); /* it is not asked what it remembers again */
	assert_int_equal(bench.sent[1].proof_count, 0);
	assert_true(is_cosigned_by("na"));
	assert_false(is_cosigned_by("ap"));
	counted(RESULT("cosigned"), 2);
	counted("homeward_access_log_cosigned_entries{peer=\"na\"} ", 300);
}

static void lines_of_several_peers_stand_together(void **state)
{
	struct note_signer *own = log_files_signer();
	struct strbuf why = STRBUF_INIT;

	(void)state;
	know_keys(2);
	PLAY({ HTTP_CLIENT_OK, 200, honest }, { HTTP_CLIENT_OK, 200, honest });
	assert_string_not_equal(bench.sent[0].region, bench.sent[1].region);
	assert_true(is_cosigned_by("na"));
	assert_true(is_cosigned_by("ap"));
	assert_int_equal(log_cosigned_check(bench.directory, note_signer_verifier(own), &why), STATUS_OK);
	note_signer_destroy(own);
	strbuf_release(&why);
}

static void what_a_peer_did_not_sign_is_not_kept(void **state)
{
	(void)state;
	PLAY({ HTTP_CLIENT_OK, 200, by_another_key }, { HTTP_CLIENT_OK, 200, of_another_tree },
		{ HTTP_CLIENT_OK, 200, "" }, { HTTP_CLIENT_OK, 200, "yes\n" },
		{ HTTP_CLIENT_OK, 200, "\xe2\x80\x94 na.test.example/access-log AAAA\n" });
	nothing_is_kept();
	counted(RESULT("failed"), 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(bench.sent[i].old_size, 0);
}

static void the_size_a_peer_remembers_is_asked_for_and_proved(void **state)
{
	(void)state;
	PLAY({ HTTP_CLIENT_OK, 409, "5\n" }, { HTTP_CLIENT_OK, 200, honest });
	assert_int_equal(bench.sent[0].old_size, 0);
	assert_int_equal(bench.sent[0].proof_count, 0);
	assert_int_equal(bench.sent[1].old_size, 5);
	assert_true(bench.sent[1].proof_count > 0);
	assert_true(is_cosigned_by("na"));
	counted(RESULT("cosigned"), 1);
}

static void a_peer_that_tells_another_size_again_is_left_alone_for_the_round(void **state)
{
	(void)state;
	PLAY({ HTTP_CLIENT_OK, 409, "5\n" }, { HTTP_CLIENT_OK, 409, "6\n" }, { HTTP_CLIENT_OK, 409, "6\n" },
		{ HTTP_CLIENT_OK, 200, honest });
	counted(RESULT("refused"), 1);
	assert_int_equal(bench.sent[2].old_size, 5); /* the next round's first */
	assert_int_equal(bench.sent[3].old_size, 6);
	assert_true(is_cosigned_by("na"));
}

static void a_peer_that_remembers_more_is_an_alarm(void **state)
{
	(void)state;
	PLAY({ HTTP_CLIENT_OK, 409, "301\n" }, { HTTP_CLIENT_OK, 409, "301\n" });
	counted(RESULT("behind"), 2);
	assert_int_equal(bench.sent[1].old_size, 0); /* not believed: it goes on being asked */
	nothing_is_kept();
}

static void a_conflict_without_a_size_is_a_refusal(void **state)
{
	(void)state;
	PLAY({ HTTP_CLIENT_OK, 409, "" }, { HTTP_CLIENT_OK, 409, "x\n" }, { HTTP_CLIENT_OK, 409, "5" },
		{ HTTP_CLIENT_OK, 409, "5 \n" }, { HTTP_CLIENT_OK, 409, "-5\n" },
		{ HTTP_CLIENT_OK, 409, "99999999999999999999999\n" });
	counted(RESULT("refused"), 6);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(bench.sent[i].old_size, 0);
}

static void refusals_are_told_apart(void **state)
{
	(void)state;
	PLAY({ HTTP_CLIENT_OK, 403, "" }, { HTTP_CLIENT_OK, 404, "" }, { HTTP_CLIENT_OK, 422, "fork\n" },
		{ HTTP_CLIENT_OK, 503, "" }, { HTTP_CLIENT_CONNECTION_REFUSED, 0, "" });
	counted(RESULT("unknown"), 2);
	counted(RESULT("refused"), 1);
	counted(RESULT("failed"), 1);
	counted(RESULT("unreachable"), 1);
	nothing_is_kept();
}

static void who_has_no_key_here_is_not_asked(void **state)
{
	(void)state;
	know_keys(0);
	run_quietly();
	know_keys(1);
	PLAY({ HTTP_CLIENT_OK, 200, honest });
	assert_true(is_cosigned_by("na"));
}

static void a_log_without_a_checkpoint_waits_for_one(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/" LOG_CHECKPOINT, bench.directory);
	assert_int_equal(unlink(path), 0);
	run_quietly();
	log_files_write(bench.directory, LOG_SIZE + 1);
	PLAY({ HTTP_CLIENT_OK, 200, honest });
	counted("homeward_access_log_cosigned_entries{peer=\"na\"} ", 301);
}

static void without_an_address_nothing_is_sent(void **state)
{
	(void)state;
	assert_int_equal(peers_define(bench.peers, NULL, 0), STATUS_OK);
	run_quietly();
	assert_true(value_of(RESULT("unreachable")) >= 1);
}

static void a_client_that_is_full_is_tried_again(void **state)
{
	(void)state;
	bench.send_status = STATUS_OVERLOADED;
	run();
	counted(RESULT("unreachable"), 1);
	bench.send_status = STATUS_OK;
	PLAY({ HTTP_CLIENT_OK, 200, honest });
	assert_true(is_cosigned_by("na"));
}

static void an_answer_after_the_end_is_nobodys(void **state)
{
	(void)state;
	run(); /* to the first request, which tear_down() ends after cosigning is gone */
	assert_int_equal(bench.sent_count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_a_peer_signs_is_kept_beside_the_checkpoint, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lines_of_several_peers_stand_together, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_peer_did_not_sign_is_not_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_size_a_peer_remembers_is_asked_for_and_proved, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_peer_that_tells_another_size_again_is_left_alone_for_the_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_peer_that_remembers_more_is_an_alarm, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_conflict_without_a_size_is_a_refusal, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refusals_are_told_apart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_has_no_key_here_is_not_asked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_log_without_a_checkpoint_waits_for_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_an_address_nothing_is_sent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_client_that_is_full_is_tried_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_answer_after_the_end_is_nobodys, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

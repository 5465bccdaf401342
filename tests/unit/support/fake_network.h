/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake network and a fake gate around the delegate, on a real loop: requests are
 * kept until the test answers them, in whatever order it likes.  One thread.
 * Invariant, checked at the end of each test: no release outlives its lookup.
 */
#ifndef SUPPORT_FAKE_NETWORK_H
#define SUPPORT_FAKE_NETWORK_H

#include "router/delegate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/peer_wire.h"

/* The names belong to the transport, which these tests do without. */
const char *http_client_error_name(enum http_client_error error)
{
	return error == HTTP_CLIENT_OK ? "ok" : "failed";
}

/* ---- fakes ---- */

struct policy_release {
	struct object_id object;
	char peer[REGION_SIZE];
};

static int releases_alive;

static struct policy_release *make_release(const struct object_id *object, const char *peer)
{
	struct policy_release *release = calloc(1, sizeof(*release));

	assert_non_null(release);
	release->object = *object;
	memcpy(release->peer, peer, strlen(peer));
	releases_alive++;
	return release;
}

static bool fake_covers(const struct policy_release *release, const struct object_id *object, const char *peer)
{
	return object_id_equal(&release->object, object) && strcmp(release->peer, peer) == 0;
}

static void fake_drop(struct policy_release *release)
{
	releases_alive--;
	free(release);
}

#define SENT_MAX 64
#define LOOKUPS_MAX 256

struct sent {
	char url[PEER_URL_SIZE];
	char region[REGION_SIZE];
	char timeout[64];
	struct lookup_question *questions;
	size_t count;
	int64_t deadline_ms;
	http_client_done *done;
	void *arg;
	bool is_over;
};

struct bench {
	struct loop *loop;
	struct peers *peers;
	struct random_seeded random;
	struct delegate *delegate;
	struct sent sent[SENT_MAX];
	size_t sent_count;
	enum status send_status;
	struct lookup_question questions[LOOKUPS_MAX];
	struct outcome {
		struct bench *bench;
		int calls;
		enum status status;
		enum http_client_error failure;
		uint64_t version;
		int64_t at_ms;
	} outcomes[LOOKUPS_MAX];
	size_t asked, ended, stop_at_ended, stop_at_sent;
	struct loop_timer guard;
	bool timed_out;
};

static void stop_when_reached(struct bench *bench)
{
	if ((bench->stop_at_ended > 0 && bench->ended >= bench->stop_at_ended) ||
		(bench->stop_at_sent > 0 && bench->sent_count >= bench->stop_at_sent))
		loop_break(bench->loop);
}

static enum status fake_send(void *arg, const struct http_client_request *request, http_client_done *done,
	void *done_arg, struct http_client_call **call_out)
{
	struct bench *bench = arg;
	struct sent *sent = &bench->sent[bench->sent_count];

	assert_true(bench->sent_count < SENT_MAX);
	if (bench->send_status != STATUS_OK)
		return bench->send_status;
	memset(sent, 0, sizeof(*sent));
	assert_true(strlen(request->url) < sizeof(sent->url));
	memcpy(sent->url, request->url, strlen(request->url));
	if (request->peer_region != NULL)
		memcpy(sent->region, request->peer_region, strlen(request->peer_region));
	for (const char *const *header = request->headers; *header != NULL; header++)
		if (strncmp(*header, "Homeward-Timeout-Ms: ", 21) == 0)
			memcpy(sent->timeout, *header + 21, strlen(*header) - 21);
	assert_string_equal(request->method, "POST");
	assert_int_equal(peer_wire_read_questions(
				 request->body, request->body_size, 0, 60000, &sent->questions, &sent->count, NULL),
		STATUS_OK);
	sent->deadline_ms = request->deadline_ms;
	sent->done = done;
	sent->arg = done_arg;
	*call_out = (struct http_client_call *)(void *)sent;
	bench->sent_count++;
	stop_when_reached(bench);
	return STATUS_OK;
}

static void finish(struct bench *bench, size_t which, enum http_client_error error, int status, const char *body)
{
	struct sent *sent = &bench->sent[which];
	struct http_client_result result = { error, "", status, body, strlen(body), 5, NULL };

	assert_true(which < bench->sent_count);
	assert_false(sent->is_over);
	sent->is_over = true;
	sent->done(sent->arg, &result);
}

static void fake_cancel(void *arg, struct http_client_call *call)
{
	(void)arg;
	(void)call;
}

/* Answers each question of a request with a record whose version is that of the request. */
static void answer_found(struct bench *bench, size_t which)
{
	struct sent *sent = &bench->sent[which];
	struct lookup_answer *answers = calloc(sent->count, sizeof(*answers));
	static char record[] = "{}";
	struct strbuf body = STRBUF_INIT;

	assert_non_null(answers);
	for (size_t i = 0; i < sent->count; i++)
		answers[i] = (struct lookup_answer){
			.status = STATUS_OK, .version = which + 1, .record = record, .record_length = 2
		};
	peer_wire_write_answers(sent->questions, answers, sent->count, "1:00", &body);
	finish(bench, which, HTTP_CLIENT_OK, 200, body.data);
	strbuf_release(&body);
	free(answers);
}

static void on_done(void *arg, struct lookup_answer *answer, enum http_client_error failure)
{
	struct outcome *outcome = arg;

	outcome->calls++;
	outcome->status = answer->status;
	outcome->version = answer->version;
	outcome->failure = failure;
	outcome->at_ms = loop_now_ms(outcome->bench->loop);
	outcome->bench->ended++;
	stop_when_reached(outcome->bench);
}

/* ---- driving ---- */

static void on_guard(void *arg)
{
	struct bench *bench = arg;

	bench->timed_out = true;
	loop_break(bench->loop);
}

static void run_until(struct bench *bench, size_t sent, size_t ended)
{
	bench->stop_at_sent = sent;
	bench->stop_at_ended = ended;
	if ((sent > 0 && bench->sent_count >= sent) || (ended > 0 && bench->ended >= ended)) {
		bench->stop_at_sent = bench->stop_at_ended = 0;
		return;
	}
	loop_timer_start(&bench->guard, 10000);
	loop_run_here(bench->loop);
	loop_timer_stop(&bench->guard);
	assert_false(bench->timed_out);
	bench->stop_at_sent = bench->stop_at_ended = 0;
}

static void run_briefly(struct bench *bench)
{
	loop_break(bench->loop);
	loop_run_here(bench->loop);
}

static size_t ask(struct bench *bench, const char *region, int64_t timeout_ms)
{
	size_t i = bench->asked++;
	struct lookup_question *question = &bench->questions[i];
	char id[4] = { 'A', (char)('A' + i / 26), (char)('A' + i % 26), '\0' };

	assert_true(i < LOOKUPS_MAX);
	memset(question, 0, sizeof(*question));
	random_fill(&bench->random.source, &question->exchange, sizeof(question->exchange));
	assert_int_equal(object_id_make("token", id, 3, ID_FORMAT_OPAQUE, &question->object, NULL), STATUS_OK);
	memcpy(question->purpose, "p", 2);
	question->deadline_ms = loop_now_ms(bench->loop) + timeout_ms;
	bench->outcomes[i].bench = bench;
	delegate_lookup(bench->delegate, region, question, make_release(&question->object, region), on_done,
		&bench->outcomes[i]);
	assert_int_equal(bench->outcomes[i].calls, 0);
	return i;
}

static void assert_outcome(struct bench *bench, size_t i, enum status status, enum http_client_error failure)
{
	assert_int_equal(bench->outcomes[i].calls, 1);
	assert_int_equal(bench->outcomes[i].status, status);
	assert_int_equal(bench->outcomes[i].failure, failure);
}

static const struct delegate_settings usual = {
	.batch_max = 4, .connections_max = 3, .linger_ms = 250, .waiting_max = 20
};

static int begin_with(void **state, const struct delegate_settings *settings)
{
	static const struct peers_settings peers_settings = {
		.suspect_after = 1, .down_after = 2, .up_after = 1, .probe_interval_ms = 500, .retry_percent = 10
	};
	static const char *const urls[] = { "https://na-1:7443", "https://na-2:7443" };
	static const char *const plain[] = { "http://127.0.0.1:1" };
	static const struct peer_definition definitions[] = { { "na", urls, 2 }, { "ap", plain, 1 } };
	struct bench *bench = calloc(1, sizeof(*bench));
	struct delegate_ports ports = { fake_send, fake_cancel, bench, fake_covers, fake_drop };

	assert_non_null(bench);
	random_seeded_init(&bench->random, 9);
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	bench->peers = peers_create(&peers_settings, clock_system(), &bench->random.source);
	assert_non_null(bench->peers);
	assert_int_equal(peers_define(bench->peers, definitions, 2), STATUS_OK);
	assert_int_equal(
		delegate_create_with(bench->loop, &ports, bench->peers, settings, &bench->delegate), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->guard, on_guard, bench), STATUS_OK);
	*state = bench;
	return 0;
}

static int begin(void **state)
{
	return begin_with(state, &usual);
}

static int end(void **state)
{
	struct bench *bench = *state;

	delegate_destroy(bench->delegate);
	for (size_t i = 0; i < bench->sent_count; i++) {
		if (!bench->sent[i].is_over)
			finish(bench, i, HTTP_CLIENT_CANCELLED, 0, "");
		free(bench->sent[i].questions);
	}
	assert_int_equal(releases_alive, 0);
	loop_timer_release(&bench->guard);
	loop_destroy(bench->loop);
	peers_destroy(bench->peers);
	free(bench);
	return 0;
}

#endif

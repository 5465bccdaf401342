/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server over real loopback sockets: each test starts its own server on a
 * free port and speaks raw bytes to it, because what matters here is what happens
 * to bytes no well-behaved client sends.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/http_server.h"
#include "base/metrics.h"
#include "base/problem.h"
#include "tests/unit/support/raw_http.h"

#define BODY_MAX 1000

struct fixture {
	struct http_server *server;
	atomic_int calls;
	struct http_response *prebuilt;
	pthread_t answerer;
	_Atomic(struct http_request *) held;
};

/* ---- endpoints ---- */

static void echo_handler(void *arg, struct http_request *request)
{
	struct fixture *fixture = arg;
	struct strbuf text = STRBUF_INIT;
	const char *id = http_request_param(request, "id");
	const char *rest = http_request_param(request, "rest");
	const char *query = http_request_query(request, "q");
	size_t size = 0;
	const char *body = http_request_body(request, &size);
	atomic_fetch_add(&fixture->calls, 1);
	strbuf_addf(&text, "%s id=%s rest=%s q=%s body=%.*s", http_request_method(request), id == NULL ? "-" : id,
		rest == NULL ? "-" : rest, query == NULL ? "-" : query, (int)size, body == NULL ? "" : body);
	http_request_reply(request, http_response_create(200, "text/plain", text.data, text.length));
	strbuf_release(&text);
}

static void literal_handler(void *arg, struct http_request *request)
{
	struct fixture *fixture = arg;
	atomic_fetch_add(&fixture->calls, 1);
	http_request_reply(request, http_response_create(200, NULL, "literal", 7));
}

static void prebuilt_handler(void *arg, struct http_request *request)
{
	struct fixture *fixture = arg;
	http_request_reply(request, http_response_acquire(fixture->prebuilt));
}

static void *answer_later(void *arg)
{
	http_request_reply(arg, http_response_create(200, NULL, "later", 5));
	return NULL;
}

static void later_handler(void *arg, struct http_request *request)
{
	pthread_t thread;
	(void)arg;
	http_request_suspend(request);
	assert_int_equal(pthread_create(&thread, NULL, answer_later, request), 0);
	pthread_detach(thread);
}

static void hold_handler(void *arg, struct http_request *request)
{
	struct fixture *fixture = arg;
	http_request_suspend(request);
	atomic_store(&fixture->held, request);
}

static const struct http_route routes[] = {
	{ "GET", "/v1/things/{id}", echo_handler },
	{ "PUT", "/v1/things/{id}", echo_handler },
	{ "POST", "/v1/things", echo_handler },
	{ "POST", "/v1/things:batch", literal_handler },
	{ "GET", "/v1/things/special", literal_handler },
	{ "GET", "/files/{rest*}", echo_handler },
	{ "GET", "/prebuilt", prebuilt_handler },
	{ "GET", "/later", later_handler },
	{ "GET", "/hold", hold_handler },
};

static struct http_server_settings settings_of(struct fixture *fixture)
{
	return (struct http_server_settings){
		.name = "test",
		.address = "127.0.0.1:0",
		.threads = 1,
		.connections_max = 100,
		.body_bytes_max = BODY_MAX,
		.request_deadline_ms = RAW_HTTP_PATIENCE_MS,
		.idle_timeout_ms = RAW_HTTP_PATIENCE_MS,
		.routes = routes,
		.route_count = sizeof routes / sizeof routes[0],
		.arg = fixture,
	};
}

static void start(struct fixture *fixture, const struct http_server_settings *settings)
{
	struct strbuf why = STRBUF_INIT;
	memset(fixture, 0, sizeof *fixture);
	fixture->prebuilt = http_response_create(200, "text/plain", "prebuilt", 8);
	if (http_server_start(settings, &fixture->server, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&why);
}

static void stop(struct fixture *fixture)
{
	http_server_stop(fixture->server);
	http_response_release(fixture->prebuilt);
}

#define END " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

/* ---- tests ---- */

static void endpoints_are_found_and_parameters_decoded_once(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	start(&fixture, &settings);
	raw_http_expect(
		http_server_port(fixture.server), "GET /v1/things/a%20b%252F" END, "HTTP/1.1 200", "id=a b%2F rest=-");
	raw_http_expect(http_server_port(fixture.server), "GET /v1/things/special" END, "HTTP/1.1 200", "literal");
	raw_http_expect(
		http_server_port(fixture.server), "GET /v1/things/x?q=1%26q%3D2+3&z" END, "HTTP/1.1 200", "q=1&q=2 3 ");
	raw_http_expect(http_server_port(fixture.server), "GET /files/a/b%20c/d" END, "HTTP/1.1 200", "rest=a/b c/d ");
	raw_http_expect(http_server_port(fixture.server), "HEAD /v1/things/x" END, "HTTP/1.1 200", "Content-Length");
	raw_http_expect(
		http_server_port(fixture.server), "GET /v1/nothing" END, "HTTP/1.1 404", "\"code\":\"not-found\"");
	raw_http_expect(http_server_port(fixture.server), "GET /files/a%2Fb" END, "HTTP/1.1 404", "not-found");
	raw_http_expect(http_server_port(fixture.server), "DELETE /v1/things/x" END, "HTTP/1.1 405", "Allow: ");
	raw_http_expect(http_server_port(fixture.server), "DELETE /v1/things/x" END, "HTTP/1.1 405",
		"application/problem+json");
	stop(&fixture);
}

static void bodies_are_whole_and_bounded(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	start(&fixture, &settings);
	raw_http_expect(http_server_port(fixture.server),
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200", "body=hello");
	raw_http_expect(http_server_port(fixture.server),
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200",
		"body=");
	raw_http_expect(http_server_port(fixture.server), "POST /v1/things" END, "HTTP/1.1 411", "length-required");
	int calls = atomic_load(&fixture.calls);
	struct strbuf large = STRBUF_INIT;
	strbuf_addf(&large, "POST /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
		300000);
	for (int i = 0; i < 300000; i++)
		strbuf_addc(&large, 'x');
	raw_http_expect(http_server_port(fixture.server), large.data, "HTTP/1.1 413", "too-large");
	strbuf_release(&large);
	raw_http_expect(http_server_port(fixture.server),
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 300000\r\n\r\n",
		"HTTP/1.1 413", "Connection: close");
	assert_int_equal(atomic_load(&fixture.calls), calls);
	stop(&fixture);
}

static void strict_paths_refuse_escapes(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	settings.strict_path = true;
	start(&fixture, &settings);
	raw_http_expect(http_server_port(fixture.server), "GET /v1/things/a%41" END, "HTTP/1.1 400", "percent escapes");
	raw_http_expect(http_server_port(fixture.server), "GET /v1/things/a?q=%41" END, "HTTP/1.1 200", "q=A");
	stop(&fixture);
}

static void long_targets_are_bounded(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	start(&fixture, &settings);
	static const struct {
		size_t length;
		const char *first_line;
	} cases[] = { { 300, "HTTP/1.1 200" }, { 370, "HTTP/1.1 200" }, { 2000, "HTTP/1.1 200" },
		{ 5000, "HTTP/1.1 4" }, { 50000, "HTTP/1.1 4" } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct strbuf request = STRBUF_INIT;
		strbuf_adds(&request, "GET /v1/things/");
		for (size_t at = 0; at < cases[i].length; at++)
			strbuf_addc(&request, 'x');
		strbuf_adds(&request, END);
		raw_http_expect(http_server_port(fixture.server), request.data, cases[i].first_line, "HTTP/1.1");
		strbuf_release(&request);
	}
	stop(&fixture);
}

static void a_trickling_body_ends_at_the_deadline(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	settings.request_deadline_ms = 400;
	start(&fixture, &settings);
	static const char *const beginnings[] = {
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n",
		"GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX-Slow: ",
		"GET /v1/thin",
	};
	for (size_t i = 0; i < 3; i++) {
		int fd = raw_http_dial(http_server_port(fixture.server));
		int64_t begun_ms = raw_http_now_ms();
		bool ended = false;
		raw_http_says(fd, beginnings[i]);
		while (!ended && raw_http_now_ms() - begun_ms < 5000) {
			struct pollfd poller = { .fd = fd, .events = POLLIN };
			char byte;
			raw_http_say(fd, "x", 1);
			if (poll(&poller, 1, 50) > 0)
				ended = recv(fd, &byte, 1, 0) <= 0;
		}
		close(fd);
		assert_true(ended);
		assert_in_range(raw_http_now_ms() - begun_ms, 300, 2000);
	}
	assert_int_equal(atomic_load(&fixture.calls), 0);
	stop(&fixture);
}

static void idle_and_old_connections_are_closed(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	char answer[2048];
	settings.idle_timeout_ms = 200;
	settings.connection_age_ms_max = 1;
	start(&fixture, &settings);
	int fd = raw_http_dial(http_server_port(fixture.server));
	/* It is old from its second millisecond on, by the server's count, which began when it was accepted. */
	do {
		raw_http_says(fd, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
		raw_http_hear(fd, answer, sizeof answer, "prebuilt");
	} while (strstr(answer, "Connection: close") == NULL);
	assert_non_null(strstr(answer, "Content-Type: text/plain"));
	assert_non_null(strstr(answer, "\r\n\r\nprebuilt"));
	assert_true(raw_http_hear(fd, answer, sizeof answer, NULL));
	close(fd);
	stop(&fixture);

	settings.connection_age_ms_max = 0;
	start(&fixture, &settings);
	fd = raw_http_dial(http_server_port(fixture.server));
	raw_http_says(fd, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_true(raw_http_hear(fd, answer, sizeof answer, NULL));
	assert_null(strstr(answer, "Connection: close"));
	close(fd);
	stop(&fixture);
}

static void suspended_requests_are_answered_from_another_thread(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	settings.threads = 2;
	start(&fixture, &settings);
	int fds[32];
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 32; i++) {
			if (round == 0)
				fds[i] = raw_http_dial(http_server_port(fixture.server));
			raw_http_say(fds[i], "GET /later HTTP/1.1\r\nHost: a\r\n\r\n",
				strlen("GET /later HTTP/1.1\r\nHost: a\r\n\r\n"));
		}
		for (int i = 0; i < 32; i++) {
			char answer[1024];
			raw_http_hear(fds[i], answer, sizeof answer, "later");
		}
	}
	for (int i = 0; i < 32; i++)
		close(fds[i]);
	/* A request is over a moment after its last byte has gone out. */
	int64_t until_ms = raw_http_now_ms() + RAW_HTTP_PATIENCE_MS;
	while (http_server_in_flight(fixture.server) > 0 && raw_http_now_ms() < until_ms)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	assert_int_equal(http_server_in_flight(fixture.server), 0);
	stop(&fixture);
}

static struct http_request *wait_held(struct fixture *fixture)
{
	int64_t until_ms = raw_http_now_ms() + RAW_HTTP_PATIENCE_MS;
	while (atomic_load(&fixture->held) == NULL && raw_http_now_ms() < until_ms)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	struct http_request *request = atomic_exchange(&fixture->held, NULL);
	assert_non_null(request);
	return request;
}

static void a_reply_after_the_client_left_is_safe(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	settings.request_deadline_ms = 200;
	start(&fixture, &settings);
	/* The client goes at once. */
	int fd = raw_http_dial(http_server_port(fixture.server));
	raw_http_says(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
	struct http_request *request = wait_held(&fixture);
	close(fd);
	assert_int_equal(http_server_in_flight(fixture.server), 1);
	http_request_reply(request, http_response_create(200, NULL, "late", 4));
	/* The deadline takes the connection before the answer comes. */
	fd = raw_http_dial(http_server_port(fixture.server));
	raw_http_says(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
	request = wait_held(&fixture);
	char answer[256];
	assert_true(raw_http_hear(fd, answer, sizeof answer, NULL));
	assert_string_equal(answer, "");
	close(fd);
	http_request_reply(request, NULL);
	assert_int_equal(http_server_in_flight(fixture.server), 0);
	stop(&fixture);
}

static void draining_closes_after_the_answer(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	start(&fixture, &settings);
	int waiting = raw_http_dial(http_server_port(fixture.server));
	int idle = raw_http_dial(http_server_port(fixture.server));
	char answer[1024];
	raw_http_says(idle, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
	raw_http_hear(idle, answer, sizeof answer, "prebuilt");
	raw_http_says(waiting, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
	struct http_request *request = wait_held(&fixture);
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)http_server_port(fixture.server)) };
	http_server_drain(fixture.server);
	int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(refused, (struct sockaddr *)&address, sizeof address), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(refused);
	raw_http_says(idle, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_true(raw_http_hear(idle, answer, sizeof answer, NULL));
	assert_non_null(strstr(answer, "Connection: close"));
	http_request_reply(request, http_response_create(200, NULL, "done", 4));
	assert_true(raw_http_hear(waiting, answer, sizeof answer, NULL));
	assert_non_null(strstr(answer, "Connection: close"));
	assert_non_null(strstr(answer, "done"));
	close(idle);
	close(waiting);
	stop(&fixture);
}

static void refusing_answers_without_a_handler(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	char answer[1024];
	start(&fixture, &settings);
	int waiting = raw_http_dial(http_server_port(fixture.server));
	int idle = raw_http_dial(http_server_port(fixture.server));
	raw_http_says(idle, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
	raw_http_hear(idle, answer, sizeof answer, "prebuilt");
	raw_http_says(waiting, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
	struct http_request *request = wait_held(&fixture);
	int calls = atomic_load(&fixture.calls);
	http_server_refuse(fixture.server);
	raw_http_says(idle, "GET /v1/things/7 HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_true(raw_http_hear(idle, answer, sizeof answer, NULL));
	assert_non_null(strstr(answer, "HTTP/1.1 503"));
	assert_non_null(strstr(answer, "draining"));
	assert_int_equal(atomic_load(&fixture.calls), calls);
	assert_int_equal(http_server_in_flight(fixture.server), 1);
	http_request_reply(request, http_response_create(200, NULL, "done", 4));
	assert_true(raw_http_hear(waiting, answer, sizeof answer, NULL));
	assert_non_null(strstr(answer, "done"));
	close(idle);
	close(waiting);
	stop(&fixture);
}

static void connections_over_the_limit_are_closed(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	char answer[1024];
	settings.connections_max = 2;
	start(&fixture, &settings);
	int first = raw_http_dial(http_server_port(fixture.server));
	int second = raw_http_dial(http_server_port(fixture.server));
	raw_http_says(first, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
	raw_http_says(second, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
	raw_http_hear(first, answer, sizeof answer, "prebuilt");
	raw_http_hear(second, answer, sizeof answer, "prebuilt");
	int third = raw_http_dial(http_server_port(fixture.server));
	assert_true(raw_http_hear(third, answer, sizeof answer, NULL));
	assert_string_equal(answer, "");
	close(third);
	close(first);
	close(second);
	/* The places are free again. */
	int64_t until_ms = raw_http_now_ms() + RAW_HTTP_PATIENCE_MS;
	answer[0] = '\0';
	while (strstr(answer, "prebuilt") == NULL && raw_http_now_ms() < until_ms) {
		third = raw_http_dial(http_server_port(fixture.server));
		raw_http_say(third, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n",
			strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
		raw_http_hear(third, answer, sizeof answer, "prebuilt");
		close(third);
	}
	assert_non_null(strstr(answer, "prebuilt"));
	stop(&fixture);

	settings.connections_max = 100;
	settings.connections_per_ip_max = 1;
	start(&fixture, &settings);
	first = raw_http_dial(http_server_port(fixture.server));
	raw_http_says(first, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
	raw_http_hear(first, answer, sizeof answer, "prebuilt");
	second = raw_http_dial(http_server_port(fixture.server));
	assert_true(raw_http_hear(second, answer, sizeof answer, NULL));
	close(first);
	close(second);
	stop(&fixture);
}

static void unix_sockets_are_private_and_replaced(void **state)
{
	(void)state;
	struct fixture fixture;
	char folder[] = "/tmp/homeward-test-XXXXXX";
	char path[64];
	char answer[1024];
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/socket", folder);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	memcpy(address.sun_path, path, strlen(path) + 1);
	/* One left behind by a process that died. */
	int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof address), 0);
	close(stale);

	struct http_server_settings settings = settings_of(&fixture);
	settings.address = NULL;
	settings.unix_path = path;
	start(&fixture, &settings);
	struct stat found;
	assert_int_equal(stat(path, &found), 0);
	assert_int_equal(found.st_mode & 0777, 0660);
	assert_int_equal(http_server_port(fixture.server), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	raw_http_says(fd, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n");
	raw_http_hear(fd, answer, sizeof answer, "prebuilt");
	close(fd);
	/* A second server must not take the path of a living one. */
	struct http_server *second = NULL;
	struct strbuf why = STRBUF_INIT;
	assert_int_equal(http_server_start(&settings, &second, &why), STATUS_CONFLICT);
	assert_null(second);
	assert_non_null(strstr(why.data, "another process"));
	strbuf_release(&why);
	stop(&fixture);
	assert_int_equal(stat(path, &found), -1);
	assert_int_equal(rmdir(folder), 0);
}

static void bad_addresses_are_explained(void **state)
{
	(void)state;
	static const char *const bad[] = { "7400", "localhost:80", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:8x",
		"[::1:80", ":80", "127.0.0.1:-1" };
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct http_server *server = NULL;
		struct strbuf why = STRBUF_INIT;
		settings.address = bad[i];
		assert_int_equal(http_server_start(&settings, &server, &why), STATUS_INVALID);
		assert_non_null(strstr(why.data, bad[i]));
		strbuf_release(&why);
	}
}

static void requests_are_measured(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	struct strbuf text = STRBUF_INIT;
	start(&fixture, &settings);
	raw_http_expect(http_server_port(fixture.server), "GET /v1/things/a" END, "HTTP/1.1 200", "id=a");
	raw_http_expect(http_server_port(fixture.server), "GET /nowhere" END, "HTTP/1.1 404", "not-found");
	metrics_write(&text);
	assert_non_null(strstr(text.data, "route=\"/v1/things/{id}\",method=\"GET\",code=\"2xx\""));
	assert_non_null(strstr(text.data, "route=\"none\",method=\"any\",code=\"4xx\""));
	strbuf_release(&text);
	stop(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(endpoints_are_found_and_parameters_decoded_once),
		cmocka_unit_test(bodies_are_whole_and_bounded),
		cmocka_unit_test(strict_paths_refuse_escapes),
		cmocka_unit_test(long_targets_are_bounded),
		cmocka_unit_test(a_trickling_body_ends_at_the_deadline),
		cmocka_unit_test(idle_and_old_connections_are_closed),
		cmocka_unit_test(suspended_requests_are_answered_from_another_thread),
		cmocka_unit_test(a_reply_after_the_client_left_is_safe),
		cmocka_unit_test(draining_closes_after_the_answer),
		cmocka_unit_test(refusing_answers_without_a_handler),
		cmocka_unit_test(connections_over_the_limit_are_closed),
		cmocka_unit_test(unix_sockets_are_private_and_replaced),
		cmocka_unit_test(bad_addresses_are_explained),
		cmocka_unit_test(requests_are_measured),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

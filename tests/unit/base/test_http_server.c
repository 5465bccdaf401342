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

#define BODY_MAX 1000
#define PATIENCE_MS 10000 /* a test that waits this long has failed */

struct fixture {
	struct http_server *server;
	atomic_int calls;
	struct http_response *prebuilt;
	pthread_t answerer;
	_Atomic(struct http_request *) held;
};

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

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
		.request_deadline_ms = PATIENCE_MS,
		.idle_timeout_ms = PATIENCE_MS,
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

/* ---- a raw client ---- */

static int dial(const struct fixture *fixture)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)http_server_port(fixture->server)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void say(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
		if (sent <= 0)
			return; /* the server may refuse before everything is sent */
		bytes += sent;
		size -= (size_t)sent;
	}
}

/* Reads until `wanted` is in the text, or the end when NULL.  Returns whether the connection ended. */
static bool hear(int fd, char *text, size_t size, const char *wanted)
{
	size_t length = 0;
	int64_t until_ms = now_ms() + PATIENCE_MS;
	text[0] = '\0';
	while (now_ms() < until_ms) {
		if (wanted != NULL && strstr(text, wanted) != NULL)
			return false;
		struct pollfd poller = { .fd = fd, .events = POLLIN };
		if (poll(&poller, 1, 100) <= 0)
			continue;
		ssize_t got = recv(fd, text + length, size - 1 - length, 0);
		if (got <= 0)
			return true;
		length += (size_t)got;
		text[length] = '\0';
	}
	fail_msg("nothing more came after: %s", text);
	return false;
}

/* One exchange on a connection of its own; the request says Connection: close. */
static void ask(const struct fixture *fixture, const char *request, char *answer, size_t size)
{
	int fd = dial(fixture);
	say(fd, request, strlen(request));
	hear(fd, answer, size, NULL);
	close(fd);
}

static void expect(const struct fixture *fixture, const char *request, const char *first_line, const char *part)
{
	char answer[8192];
	ask(fixture, request, answer, sizeof answer);
	if (strncmp(answer, first_line, strlen(first_line)) != 0 || strstr(answer, part) == NULL)
		fail_msg("%s\n---- gave ----\n%s\n---- not ----\n%s … %s", request, answer, first_line, part);
}

#define END " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

/* ---- tests ---- */

static void endpoints_are_found_and_parameters_decoded_once(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	start(&fixture, &settings);
	expect(&fixture, "GET /v1/things/a%20b%252F" END, "HTTP/1.1 200", "id=a b%2F rest=-");
	expect(&fixture, "GET /v1/things/special" END, "HTTP/1.1 200", "literal");
	expect(&fixture, "GET /v1/things/x?q=1%26q%3D2+3&z" END, "HTTP/1.1 200", "q=1&q=2 3 ");
	expect(&fixture, "GET /files/a/b%20c/d" END, "HTTP/1.1 200", "rest=a/b c/d ");
	expect(&fixture, "HEAD /v1/things/x" END, "HTTP/1.1 200", "Content-Length");
	expect(&fixture, "GET /v1/nothing" END, "HTTP/1.1 404", "\"code\":\"not-found\"");
	expect(&fixture, "GET /files/a%2Fb" END, "HTTP/1.1 404", "not-found");
	expect(&fixture, "DELETE /v1/things/x" END, "HTTP/1.1 405", "Allow: ");
	expect(&fixture, "DELETE /v1/things/x" END, "HTTP/1.1 405", "application/problem+json");
	stop(&fixture);
}

static void bodies_are_whole_and_bounded(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	start(&fixture, &settings);
	expect(&fixture, "POST /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200", "body=hello");
	expect(&fixture, "POST /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200", "body=");
	expect(&fixture, "POST /v1/things" END, "HTTP/1.1 411", "length-required");
	int calls = atomic_load(&fixture.calls);
	struct strbuf large = STRBUF_INIT;
	strbuf_addf(&large, "POST /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
		300000);
	for (int i = 0; i < 300000; i++)
		strbuf_addc(&large, 'x');
	expect(&fixture, large.data, "HTTP/1.1 413", "too-large");
	strbuf_release(&large);
	expect(&fixture,
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 300000\r\n\r\n",
		"HTTP/1.1 413", "Connection: close");
	assert_int_equal(atomic_load(&fixture.calls), calls);
	stop(&fixture);
}

struct payload {
	const char *name;
	const char *bytes;
	size_t size;
};
#define PAYLOAD(name, bytes)                                                                                           \
	{                                                                                                              \
		name, bytes, sizeof(bytes) - 1                                                                         \
	}
#define AFTER "GET /v1/things/after HTTP/1.1\r\nHost: a\r\n\r\n"

static const struct payload smuggling[] = {
	PAYLOAD("length and chunks", "POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
				     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" AFTER),
	PAYLOAD("two lengths", "POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
			       "Content-Length: 5\r\n\r\nabcXY" AFTER),
	PAYLOAD("two equal lengths", "POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
				     "Content-Length: 3\r\n\r\nabc" AFTER),
	PAYLOAD("identity", "POST /v1/things HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n"
			    "Content-Length: 3\r\n\r\nabc" AFTER),
	PAYLOAD("xchunked",
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" AFTER),
	PAYLOAD("chunked get",
		"GET /v1/things/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" AFTER),
	PAYLOAD("space before colon", "GET /v1/things/a HTTP/1.1\r\nHost : a\r\n\r\n" AFTER),
	PAYLOAD("tab before colon", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX-A\t: a\r\n\r\n" AFTER),
	PAYLOAD("fold", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n" AFTER),
	PAYLOAD("fold of the last field by tab", "GET /v1/things/a HTTP/1.1\r\nX-A: b\r\nHost: a\r\n\tc\r\n\r\n" AFTER),
	PAYLOAD("fold in the middle", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\nX-B: d\r\n\r\n" AFTER),
	PAYLOAD("fold of nothing", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX-A:\r\n c\r\n\r\n" AFTER),
	PAYLOAD("fold first", "GET /v1/things/a HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("bare LF everywhere", "GET /v1/things/a HTTP/1.1\nHost: a\n\n" AFTER),
	PAYLOAD("bare LF after the request line", "GET /v1/things/a HTTP/1.1\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("bare LF after a field", "GET /v1/things/a HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n" AFTER),
	PAYLOAD("bare LF after the last field", "GET /v1/things/a HTTP/1.1\r\nHost: a\n\r\n" AFTER),
	PAYLOAD("bare LF as the empty line", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\n\n" AFTER),
	PAYLOAD("bare LF as the empty line before a body",
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\nabc" AFTER),
	PAYLOAD("bare CR in a field", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n" AFTER),
	PAYLOAD("CR CR LF", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\r\n\r\n" AFTER),
	PAYLOAD("no host", "GET /v1/things/a HTTP/1.1\r\n\r\n" AFTER),
	PAYLOAD("no host in 1.0", "GET /v1/things/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" AFTER),
	PAYLOAD("two hosts", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" AFTER),
	PAYLOAD("a list of hosts", "GET /v1/things/a HTTP/1.1\r\nHost: a, b\r\n\r\n" AFTER),
	PAYLOAD("an empty host", "GET /v1/things/a HTTP/1.1\r\nHost:\r\n\r\n" AFTER),
	PAYLOAD("two content types", "POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Type: a/b\r\n"
				     "content-type: c/d\r\n\r\na" AFTER),
	PAYLOAD("two credentials", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nauthorization: "
				   "Bearer b\r\n\r\n" AFTER),
	PAYLOAD("our header twice", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nHomeward-Timeout-Ms: 1\r\n"
				    "homeward-timeout-ms: 2\r\n\r\n" AFTER),
	PAYLOAD("NUL in a value", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n" AFTER),
	PAYLOAD("NUL in a name", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX\0Y: ab\r\n\r\n" AFTER),
	PAYLOAD("NUL after the last value", "GET /v1/things/a HTTP/1.1\r\nHost: a\0\r\n\r\n" AFTER),
	PAYLOAD("NUL in the target", "GET /v1/things/a\0b HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("NUL in the version", "GET /v1/things/a HTTP/1.1\0x\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("control character in a value", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX: a\001b\r\n\r\n" AFTER),
	PAYLOAD("a name that is no token", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX(Y): a\r\n\r\n" AFTER),
	PAYLOAD("an empty name", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n" AFTER),
	PAYLOAD("no colon", "GET /v1/things/a HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n" AFTER),
	PAYLOAD("length with a plus", "POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde" AFTER),
	PAYLOAD("length with a minus", "POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nabcde" AFTER),
	PAYLOAD("length in hex", "POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nabcde" AFTER),
	PAYLOAD("length with a list", "POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nabcde" AFTER),
	PAYLOAD("length with a trailing space",
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 5 x\r\n\r\nabcde" AFTER),
	PAYLOAD("length that overflows",
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nabcde" AFTER),
	PAYLOAD("no length", "POST /v1/things HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("chunk ended by LF",
		"POST /v1/things HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n" AFTER),
	PAYLOAD("chunk extension", "POST /v1/things HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
				   "chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n" AFTER),
	PAYLOAD("version 9.9", "GET /v1/things/a HTTP/9.9\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("version 1.2", "GET /v1/things/a HTTP/1.2\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("lower-case version", "GET /v1/things/a http/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("no version", "GET /v1/things/a\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("absolute target", "GET http://evil/v1/things/a HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("authority target", "CONNECT evil:443 HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("asterisk target", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("two spaces", "GET  /v1/things/a HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("space in the target", "GET /v1/things/a b HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("tab in the target", "GET /v1/things/a\tb HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("escaped NUL", "GET /v1/things/a%00b HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("escaped LF", "GET /v1/things/a%0ab HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("bad escape", "GET /v1/things/a%zzb HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("cut escape", "GET /v1/things/a%2 HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("bad escape in the query", "GET /v1/things/a?q=%g1 HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("dots", "GET /v1/things/../things/a HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("escaped dots", "GET /v1/things/%2e%2E HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("a dot", "GET /v1/./things/a HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("an empty segment", "GET /v1//things/a HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
	PAYLOAD("backslash", "GET /v1/things/a\\b HTTP/1.1\r\nHost: a\r\n\r\n" AFTER),
};

static void smuggling_never_reaches_an_endpoint(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	start(&fixture, &settings);
	for (size_t i = 0; i < sizeof smuggling / sizeof smuggling[0]; i++) {
		char answer[8192];
		int fd = dial(&fixture);
		say(fd, smuggling[i].bytes, smuggling[i].size);
		hear(fd, answer, sizeof answer, NULL);
		close(fd);
		/* What came after would have been answered with 200 by an endpoint, had it been read as a request. */
		if (atomic_load(&fixture.calls) != 0 || strstr(answer, " 200 ") != NULL ||
			(answer[0] != '\0' && strncmp(answer, "HTTP/1.1 4", 10) != 0 &&
				strncmp(answer, "HTTP/1.0 4", 10) != 0 && strncmp(answer, "HTTP/1.1 505", 12) != 0))
			fail_msg("%s: %d calls, answer:\n%s", smuggling[i].name, atomic_load(&fixture.calls), answer);
	}
	stop(&fixture);
}

static void ordinary_requests_pass_the_guard(void **state)
{
	(void)state;
	static const char *const ordinary[] = {
		"GET /v1/things/a HTTP/1.1\r\nHost: localhost:7400\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
		"GET /v1/things/a HTTP/1.1\r\nHost:a\r\nX-Empty:\r\nX-Spaces:   b  \r\nAccept: a\r\nAccept: b\r\n\r\n",
		"GET /v1/things/a HTTP/1.1\r\nX-Utf8: \xc3\xa9\r\nHost: [::1]:80\r\nCookie: a=b; c=\"d\"\r\n\r\n",
		"GET /v1/things/a?q=%C3%A9&r=s HTTP/1.1\r\nCookie: k\r\nHost: under_score.test\r\nTE: trailers\r\n\r\n",
		"GET /v1/things/a HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\nX-Spaces-Last: b \t \r\n\r\n",
		"PUT /v1/things/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}",
	};
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	start(&fixture, &settings);
	int fd = dial(&fixture);
	for (size_t i = 0; i < sizeof ordinary / sizeof ordinary[0]; i++) {
		char answer[2048];
		say(fd, ordinary[i], strlen(ordinary[i]));
		hear(fd, answer, sizeof answer, "body=");
		if (strstr(answer, " 200 OK") == NULL)
			fail_msg("%s\n---- gave ----\n%s", ordinary[i], answer);
	}
	/* The same bytes a few at a time, as a network may deliver them. */
	for (size_t at = 0; at < strlen(ordinary[1]); at++) {
		say(fd, ordinary[1] + at, 1);
		if (at % 16 == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	char answer[2048];
	hear(fd, answer, sizeof answer, "body=");
	/* Pipelined. */
	char twice[1024];
	snprintf(twice, sizeof twice, "%s%s", ordinary[0], ordinary[3]);
	say(fd, twice, strlen(twice));
	hear(fd, answer, sizeof answer, "q=\xc3\xa9 body=");
	close(fd);
	stop(&fixture);
}

static void strict_paths_refuse_escapes(void **state)
{
	(void)state;
	struct fixture fixture;
	struct http_server_settings settings = settings_of(&fixture);
	settings.strict_path = true;
	start(&fixture, &settings);
	expect(&fixture, "GET /v1/things/a%41" END, "HTTP/1.1 400", "percent escapes");
	expect(&fixture, "GET /v1/things/a?q=%41" END, "HTTP/1.1 200", "q=A");
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
		expect(&fixture, request.data, cases[i].first_line, "HTTP/1.1");
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
		int fd = dial(&fixture);
		int64_t begun_ms = now_ms();
		bool ended = false;
		say(fd, beginnings[i], strlen(beginnings[i]));
		while (!ended && now_ms() - begun_ms < 5000) {
			struct pollfd poller = { .fd = fd, .events = POLLIN };
			char byte;
			say(fd, "x", 1);
			if (poll(&poller, 1, 50) > 0)
				ended = recv(fd, &byte, 1, 0) <= 0;
		}
		close(fd);
		assert_true(ended);
		assert_in_range(now_ms() - begun_ms, 300, 2000);
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
	int fd = dial(&fixture);
	nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	say(fd, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(hear(fd, answer, sizeof answer, NULL));
	assert_non_null(strstr(answer, "Connection: close"));
	assert_non_null(strstr(answer, "Content-Type: text/plain"));
	assert_non_null(strstr(answer, "\r\n\r\nprebuilt"));
	close(fd);
	stop(&fixture);

	settings.connection_age_ms_max = 0;
	start(&fixture, &settings);
	fd = dial(&fixture);
	say(fd, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(hear(fd, answer, sizeof answer, NULL));
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
				fds[i] = dial(&fixture);
			say(fds[i], "GET /later HTTP/1.1\r\nHost: a\r\n\r\n",
				strlen("GET /later HTTP/1.1\r\nHost: a\r\n\r\n"));
		}
		for (int i = 0; i < 32; i++) {
			char answer[1024];
			hear(fds[i], answer, sizeof answer, "later");
		}
	}
	for (int i = 0; i < 32; i++)
		close(fds[i]);
	assert_int_equal(http_server_in_flight(fixture.server), 0);
	stop(&fixture);
}

static struct http_request *wait_held(struct fixture *fixture)
{
	int64_t until_ms = now_ms() + PATIENCE_MS;
	while (atomic_load(&fixture->held) == NULL && now_ms() < until_ms)
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
	int fd = dial(&fixture);
	say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	struct http_request *request = wait_held(&fixture);
	close(fd);
	assert_int_equal(http_server_in_flight(fixture.server), 1);
	http_request_reply(request, http_response_create(200, NULL, "late", 4));
	/* The deadline takes the connection before the answer comes. */
	fd = dial(&fixture);
	say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	request = wait_held(&fixture);
	char answer[256];
	assert_true(hear(fd, answer, sizeof answer, NULL));
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
	int waiting = dial(&fixture);
	int idle = dial(&fixture);
	char answer[1024];
	say(idle, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
	hear(idle, answer, sizeof answer, "prebuilt");
	say(waiting, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	struct http_request *request = wait_held(&fixture);
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)http_server_port(fixture.server)) };
	http_server_drain(fixture.server);
	int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(refused, (struct sockaddr *)&address, sizeof address), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(refused);
	say(idle, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(hear(idle, answer, sizeof answer, NULL));
	assert_non_null(strstr(answer, "Connection: close"));
	http_request_reply(request, http_response_create(200, NULL, "done", 4));
	assert_true(hear(waiting, answer, sizeof answer, NULL));
	assert_non_null(strstr(answer, "Connection: close"));
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
	int first = dial(&fixture);
	int second = dial(&fixture);
	say(first, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
	say(second, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
	hear(first, answer, sizeof answer, "prebuilt");
	hear(second, answer, sizeof answer, "prebuilt");
	int third = dial(&fixture);
	assert_true(hear(third, answer, sizeof answer, NULL));
	assert_string_equal(answer, "");
	close(third);
	close(first);
	close(second);
	/* The places are free again. */
	int64_t until_ms = now_ms() + PATIENCE_MS;
	answer[0] = '\0';
	while (strstr(answer, "prebuilt") == NULL && now_ms() < until_ms) {
		third = dial(&fixture);
		say(third, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n",
			strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
		hear(third, answer, sizeof answer, "prebuilt");
		close(third);
	}
	assert_non_null(strstr(answer, "prebuilt"));
	stop(&fixture);

	settings.connections_max = 100;
	settings.connections_per_ip_max = 1;
	start(&fixture, &settings);
	first = dial(&fixture);
	say(first, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
	hear(first, answer, sizeof answer, "prebuilt");
	second = dial(&fixture);
	assert_true(hear(second, answer, sizeof answer, NULL));
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
	say(fd, "GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n", strlen("GET /prebuilt HTTP/1.1\r\nHost: a\r\n\r\n"));
	hear(fd, answer, sizeof answer, "prebuilt");
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
	expect(&fixture, "GET /v1/things/a" END, "HTTP/1.1 200", "id=a");
	expect(&fixture, "GET /nowhere" END, "HTTP/1.1 404", "not-found");
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
		cmocka_unit_test(smuggling_never_reaches_an_endpoint),
		cmocka_unit_test(ordinary_requests_pass_the_guard),
		cmocka_unit_test(strict_paths_refuse_escapes),
		cmocka_unit_test(long_targets_are_bounded),
		cmocka_unit_test(a_trickling_body_ends_at_the_deadline),
		cmocka_unit_test(idle_and_old_connections_are_closed),
		cmocka_unit_test(suspended_requests_are_answered_from_another_thread),
		cmocka_unit_test(a_reply_after_the_client_left_is_safe),
		cmocka_unit_test(draining_closes_after_the_answer),
		cmocka_unit_test(connections_over_the_limit_are_closed),
		cmocka_unit_test(unix_sockets_are_private_and_replaced),
		cmocka_unit_test(bad_addresses_are_explained),
		cmocka_unit_test(requests_are_measured),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header guard over real sockets: every way known to us of saying one thing to
 * one parser and another to the next must be refused before an endpoint is called,
 * with nothing after it on that connection read as a request; and what ordinary
 * clients send must pass, in whatever pieces it arrives.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/http_server.h"
#include "tests/unit/support/raw_http.h"

struct fixture {
	struct http_server *server;
	atomic_int calls;
};

static void count_handler(void *arg, struct http_request *request)
{
	struct fixture *fixture = arg;
	struct strbuf text = STRBUF_INIT;
	const char *query = http_request_query(request, "q");
	atomic_fetch_add(&fixture->calls, 1);
	strbuf_addf(&text, "q=%s.", query == NULL ? "-" : query);
	http_request_reply(request, http_response_create(200, NULL, text.data, text.length));
	strbuf_release(&text);
}

static const struct http_route routes[] = {
	{ "GET", "/v1/things/{id}", count_handler },
	{ "PUT", "/v1/things/{id}", count_handler },
	{ "POST", "/v1/things", count_handler },
};

static int set_up(void **state)
{
	static struct fixture fixture;
	struct strbuf why = STRBUF_INIT;
	struct http_server_settings settings = {
		.name = "guard",
		.address = "127.0.0.1:0",
		.threads = 1,
		.connections_max = 100,
		.body_bytes_max = 1000,
		.request_deadline_ms = RAW_HTTP_PATIENCE_MS,
		.idle_timeout_ms = RAW_HTTP_PATIENCE_MS,
		.routes = routes,
		.route_count = sizeof routes / sizeof routes[0],
		.arg = &fixture,
	};
	atomic_store(&fixture.calls, 0);
	if (http_server_start(&settings, &fixture.server, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&why);
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	http_server_stop(fixture->server);
	return 0;
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
	struct fixture *fixture = *state;
	for (size_t i = 0; i < sizeof smuggling / sizeof smuggling[0]; i++) {
		char answer[8192];
		int fd = raw_http_dial(http_server_port(fixture->server));
		raw_http_say(fd, smuggling[i].bytes, smuggling[i].size);
		raw_http_hear(fd, answer, sizeof answer, NULL);
		close(fd);
		/* What came after would have been answered with 200 by an endpoint, had it been read as a request. */
		if (atomic_load(&fixture->calls) != 0 || strstr(answer, " 200 ") != NULL ||
			(answer[0] != '\0' && strncmp(answer, "HTTP/1.1 4", 10) != 0 &&
				strncmp(answer, "HTTP/1.0 4", 10) != 0 && strncmp(answer, "HTTP/1.1 505", 12) != 0))
			fail_msg("%s: %d calls, answer:\n%s", smuggling[i].name, atomic_load(&fixture->calls), answer);
	}
}

static void ordinary_requests_pass_the_guard(void **state)
{
	static const char *const ordinary[] = {
		"GET /v1/things/a HTTP/1.1\r\nHost: localhost:7400\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
		"GET /v1/things/a HTTP/1.1\r\nHost:a\r\nX-Empty:\r\nX-Spaces:   b  \r\nAccept: a\r\nAccept: b\r\n\r\n",
		"GET /v1/things/a HTTP/1.1\r\nX-Utf8: \xc3\xa9\r\nHost: [::1]:80\r\nCookie: a=b; c=\"d\"\r\n\r\n",
		"GET /v1/things/a?q=%C3%A9&r=s HTTP/1.1\r\nCookie: k\r\nHost: under_score.test\r\nTE: trailers\r\n\r\n",
		"GET /v1/things/a HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\nX-Spaces-Last: b \t \r\n\r\n",
		"PUT /v1/things/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}",
	};
	struct fixture *fixture = *state;
	int fd = raw_http_dial(http_server_port(fixture->server));
	for (size_t i = 0; i < sizeof ordinary / sizeof ordinary[0]; i++) {
		char answer[2048];
		raw_http_says(fd, ordinary[i]);
		raw_http_hear(fd, answer, sizeof answer, "q=");
		if (strstr(answer, " 200 OK") == NULL)
			fail_msg("%s\n---- gave ----\n%s", ordinary[i], answer);
	}
	/* The same bytes a few at a time, as a network may deliver them. */
	for (size_t at = 0; at < strlen(ordinary[1]); at++) {
		raw_http_say(fd, ordinary[1] + at, 1);
		if (at % 16 == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	char answer[2048];
	raw_http_hear(fd, answer, sizeof answer, "q=");
	/* Pipelined. */
	char twice[1024];
	snprintf(twice, sizeof twice, "%s%s", ordinary[0], ordinary[3]);
	raw_http_says(fd, twice);
	raw_http_hear(fd, answer, sizeof answer, "q=\xc3\xa9.");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(smuggling_never_reaches_an_endpoint, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ordinary_requests_pass_the_guard, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

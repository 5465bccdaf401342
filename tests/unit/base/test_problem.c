/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Problems as clients see them: through a server, since a response can only be read
 * once it is sent.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/http_server.h"
#include "base/problem.h"
#include "tests/unit/support/raw_http.h"

static void plain_handler(void *arg, struct http_request *request)
{
	(void)arg;
	problem_reply(request, (enum status)strtol(http_request_param(request, "status"), NULL, 10), NULL);
}

static void full_handler(void *arg, struct http_request *request)
{
	(void)arg;
	http_request_reply(request, problem_response(&(struct problem){
					    .status = STATUS_UNREACHABLE,
					    .detail = "eu said \"no\"\n",
					    .code = "finer",
					    .trace_id = "0af7651916cd43dd8448eb211c80319c",
					    .exchange = "x-1",
					    .retry_after_s = 7,
					    .proxy_status = "homeward-na; error=connection_refused",
				    }));
}

static const struct http_route routes[] = {
	{ "GET", "/plain/{status}", plain_handler },
	{ "GET", "/full", full_handler },
};

static struct http_server *start(void)
{
	struct http_server *server = NULL;
	struct strbuf why = STRBUF_INIT;
	struct http_server_settings settings = {
		.name = "problems",
		.address = "127.0.0.1:0",
		.threads = 1,
		.connections_max = 10,
		.body_bytes_max = 10,
		.request_deadline_ms = RAW_HTTP_PATIENCE_MS,
		.idle_timeout_ms = RAW_HTTP_PATIENCE_MS,
		.routes = routes,
		.route_count = sizeof routes / sizeof routes[0],
	};
	if (http_server_start(&settings, &server, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&why);
	return server;
}

static void every_status_has_its_problem(void **state)
{
	(void)state;
	static const struct {
		enum status status;
		int http_status;
		const char *code;
		const char *header;
	} cases[] = {
		{ STATUS_INVALID, 400, "invalid", "" },
		{ STATUS_UNAUTHENTICATED, 401, "unauthenticated", "WWW-Authenticate: Bearer\r\n" },
		{ STATUS_FORBIDDEN, 403, "forbidden", "" },
		{ STATUS_NOT_AVAILABLE, 404, "not-available", "" },
		{ STATUS_NOT_FOUND, 404, "not-found", "" },
		{ STATUS_NOT_CACHED, 504, "not-cached", "" },
		{ STATUS_CONFLICT, 409, "conflict", "" },
		{ STATUS_PRECONDITION_FAILED, 412, "precondition-failed", "" },
		{ STATUS_PRECONDITION_REQUIRED, 428, "precondition-required", "" },
		{ STATUS_MISDIRECTED, 421, "misdirected", "" },
		{ STATUS_TOO_LARGE, 413, "too-large", "" },
		{ STATUS_OVERLOADED, 503, "overloaded", "Retry-After: 1\r\n" },
		{ STATUS_DEADLINE, 504, "deadline", "" },
		{ STATUS_UNREACHABLE, 503, "home-unreachable", "" },
		{ STATUS_BAD_PEER, 502, "bad-peer", "" },
		{ STATUS_UNRECORDED, 503, "access-log-unavailable", "" },
		{ STATUS_DRAINING, 503, "draining", "" },
		{ STATUS_NO_MEMORY, 503, "overloaded", "" },
		{ STATUS_IO, 500, "internal", "" },
		{ STATUS_INTERNAL, 500, "internal", "" },
	};
	struct http_server *server = start();
	assert_int_equal(sizeof cases / sizeof cases[0], STATUS_COUNT - 1);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char request[128];
		char first_line[32];
		char type[128];
		snprintf(request, sizeof request, "GET /plain/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			(int)cases[i].status);
		snprintf(first_line, sizeof first_line, "HTTP/1.1 %d", cases[i].http_status);
		snprintf(type, sizeof type, "{\"type\":\"https://homeward.dev/problems/%s\"", cases[i].code);
		raw_http_expect(http_server_port(server), request, first_line, type);
		raw_http_expect(http_server_port(server), request, first_line, cases[i].header);
		raw_http_expect(http_server_port(server), request, first_line,
			"Content-Type: application/problem+json\r\nCache-Control: no-store\r\n");
		assert_int_equal(problem_http_status(cases[i].status), cases[i].http_status);
		assert_string_equal(problem_code(cases[i].status), cases[i].code);
	}
	http_server_stop(server);
}

static void every_member_is_sent(void **state)
{
	(void)state;
	static const char request[] = "GET /full HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	struct http_server *server = start();
	int port = http_server_port(server);
	raw_http_expect(port, request, "HTTP/1.1 503",
		"{\"type\":\"https://homeward.dev/problems/finer\",\"title\":\"The home region cannot be reached\","
		"\"status\":503,\"detail\":\"eu said \\\"no\\\"\\n\",\"code\":\"finer\","
		"\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\"exchange\":\"x-1\"}");
	raw_http_expect(port, request, "HTTP/1.1 503", "Retry-After: 7\r\n");
	raw_http_expect(port, request, "HTTP/1.1 503", "Proxy-Status: homeward-na; error=connection_refused\r\n");
	http_server_stop(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_has_its_problem),
		cmocka_unit_test(every_member_is_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

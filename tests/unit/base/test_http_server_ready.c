/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many connections that are ready at the same moment.  libmicrohttpd takes 128
 * events at a time; its own thread then slept on what it had when that was exactly
 * all there was.  The only HTTP thread is held inside a handler until the others
 * have sent, so that they are all ready at once when it looks again.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#include "base/http_server.h"
#include "tests/unit/support/raw_http.h"

#define CONNECTIONS_MAX 257

static sem_t is_inside, may_go;

static void wait_handler(void *arg, struct http_request *request)
{
	(void)arg;
	sem_post(&is_inside);
	while (sem_wait(&may_go) != 0)
		continue;
	http_request_reply(request, http_response_create(200, NULL, "waited", 6));
}

static void quick_handler(void *arg, struct http_request *request)
{
	(void)arg;
	http_request_reply(request, http_response_create(200, NULL, "quick", 5));
}

static const struct http_route routes[] = {
	{ "GET", "/wait", wait_handler },
	{ "GET", "/quick", quick_handler },
};

/* Every connection is accepted and answered once before, so that only requests are ready, and all of them. */
static void answer_all_of(int port, int count)
{
	static const char quick[] = "GET /quick HTTP/1.1\r\nHost: a\r\n\r\n";
	int waiting = raw_http_dial(port), fds[CONNECTIONS_MAX];
	char answer[1024];

	for (int i = 0; i < count; i++) {
		fds[i] = raw_http_dial(port);
		raw_http_says(fds[i], quick);
		assert_false(raw_http_hear(fds[i], answer, sizeof answer, "quick"));
	}
	raw_http_says(waiting, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
	while (sem_wait(&is_inside) != 0)
		continue;
	for (int i = 0; i < count; i++)
		raw_http_says(fds[i], quick);
	sem_post(&may_go);
	for (int i = 0; i < count; i++) {
		assert_false(raw_http_hear(fds[i], answer, sizeof answer, "quick"));
		close(fds[i]);
	}
	assert_false(raw_http_hear(waiting, answer, sizeof answer, "waited"));
	close(waiting);
}

static void connections_that_are_ready_at_once_are_all_answered(void **state)
{
	static const int counts[] = { 1, 127, 128, 129, 255, 256, 257 };
	struct http_server_settings settings = {
		.name = "test",
		.address = "127.0.0.1:0",
		.threads = 1,
		.connections_max = CONNECTIONS_MAX + 10,
		.body_bytes_max = 1000,
		.request_deadline_ms = 30000,
		.idle_timeout_ms = 30000,
		.routes = routes,
		.route_count = sizeof(routes) / sizeof(routes[0]),
	};
	struct strbuf why = STRBUF_INIT;
	struct http_server *server = NULL;

	(void)state;
	assert_int_equal(http_server_start(&settings, &server, &why), STATUS_OK);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		answer_all_of(http_server_port(server), counts[i]);
	http_server_drain(server);
	http_server_stop(server);
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_that_are_ready_at_once_are_all_answered),
	};

	sem_init(&is_inside, 0, 0);
	sem_init(&may_go, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

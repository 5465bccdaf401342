/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP client: plain calls, failures by name, bounds, cancelling, and mutual
 * TLS that accepts the region asked for and nobody else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/http_client.h"
#include "tests/unit/support/certificates.h"
#include "tests/unit/support/web_server.h"

#define PATIENCE_MS 30000

struct bench {
	struct loop *loop;
	struct http_client *client;
	struct loop_timer patience;
	int wanted;
	bool has_run_out;
};

struct answer {
	char header[64];
	struct bench *bench;
	enum http_client_error error;
	int status, calls;
	size_t size;
	char body[1024], detail[256];
};

static void on_patience(void *arg)
{
	struct bench *bench = arg;

	bench->has_run_out = true;
	loop_break(bench->loop);
}

static void open_bench(struct bench *bench, struct tls_store *tls, int per_host)
{
	struct http_client_settings settings = { .tls = tls, .connections_per_host_max = per_host };

	*bench = (struct bench){ 0 };
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->patience, on_patience, bench), STATUS_OK);
	assert_int_equal(http_client_create(bench->loop, &settings, &bench->client), STATUS_OK);
}

static void close_bench(struct bench *bench)
{
	http_client_destroy(bench->client);
	loop_timer_release(&bench->patience);
	loop_destroy(bench->loop);
}

static void on_done(void *arg, const struct http_client_result *result)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->error = result->error;
	answer->status = result->status;
	answer->size = result->body_size;
	assert_non_null(result->detail);
	assert_int_equal(strlen(result->body), result->body_size);
	snprintf(answer->body, sizeof(answer->body), "%s", result->body);
	snprintf(answer->detail, sizeof(answer->detail), "%s", result->detail);
	snprintf(answer->header, sizeof(answer->header), "%s", result->header != NULL ? result->header : "none");
	if (--answer->bench->wanted == 0)
		loop_break(answer->bench->loop);
}

static void send_to(struct bench *bench, struct answer *answer, int port, const char *path,
	struct http_client_request request, struct http_client_call **call_out)
{
	char url[64];

	snprintf(url, sizeof(url), "%s://127.0.0.1:%d%s", request.peer_region != NULL ? "https" : "http", port, path);
	request.url = url;
	request.method = request.method != NULL ? request.method : "GET";
	request.deadline_ms = loop_now_ms(bench->loop) + (request.deadline_ms != 0 ? request.deadline_ms : PATIENCE_MS);
	*answer = (struct answer){ .bench = bench };
	bench->wanted++;
	assert_int_equal(http_client_send(bench->client, &request, on_done, answer, call_out), STATUS_OK);
	assert_int_equal(answer->calls, 0);
}

static void await(struct bench *bench)
{
	if (bench->wanted == 0)
		return;
	loop_timer_start(&bench->patience, PATIENCE_MS);
	loop_run_here(bench->loop);
	assert_false(bench->has_run_out);
}

static void get(struct bench *bench, struct answer *answer, int port, const char *path, const char *region)
{
	send_to(bench, answer, port, path, (struct http_client_request){ .peer_region = region }, NULL);
	await(bench);
	assert_int_equal(answer->calls, 1);
}

static void test_calls_share_a_warm_connection(void **state)
{
	struct web_server *server = web_server_start(NULL, NULL, NULL);
	const char *headers[] = { "X-First: one", "Content-Type: application/json", NULL };
	struct http_client_request post = { .method = "POST", .headers = headers, .body = "{\"a\":1}", .body_size = 7 };
	struct answer answer;
	struct bench bench;

	(void)state;
	open_bench(&bench, NULL, 0);
	for (int i = 0; i < 3; i++) {
		send_to(&bench, &answer, web_server_port(server), "/echo", post, NULL);
		await(&bench);
		assert_int_equal(answer.error, HTTP_CLIENT_OK);
		assert_int_equal(answer.status, 200);
		assert_ptr_equal(strstr(answer.body, "POST /echo HTTP/1.1\r\n"), answer.body);
		assert_non_null(strstr(answer.body, "X-First: one\r\nContent-Type: application/json\r\n"));
		assert_non_null(strstr(answer.body, "\r\n\r\n{\"a\":1}"));
		assert_null(strstr(answer.body, "Expect"));
	}
	/* A used handle carries nothing over. */
	get(&bench, &answer, web_server_port(server), "/echo/a/../%2e", NULL);
	assert_ptr_equal(strstr(answer.body, "GET /echo/a/../%2e HTTP/1.1\r\n"), answer.body);
	assert_null(strstr(answer.body, "X-First"));
	assert_null(strstr(answer.body, "Content-"));
	assert_int_equal(web_server_connections(server), 1);
	close_bench(&bench);
	web_server_stop(server);
}

static void test_one_header_of_the_answer_can_be_had(void **state)
{
	struct web_server *server = web_server_start(NULL, NULL, NULL);
	struct http_client_request request = { .wanted_header = "content-length" };
	struct answer answer;
	struct bench bench;

	(void)state;
	open_bench(&bench, NULL, 0);
	send_to(&bench, &answer, web_server_port(server), "/large", request, NULL);
	await(&bench);
	assert_string_equal(answer.header, "100000");
	request.wanted_header = "ETag";
	send_to(&bench, &answer, web_server_port(server), "/hello", request, NULL);
	await(&bench);
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer.header, "none");
	get(&bench, &answer, web_server_port(server), "/hello", NULL);
	assert_string_equal(answer.header, "none");
	close_bench(&bench);
	web_server_stop(server);
}

static void test_many_calls_stay_within_the_connections_allowed(void **state)
{
	struct web_server *server = web_server_start(NULL, NULL, NULL);
	static struct answer answers[500];
	struct bench bench;

	(void)state;
	open_bench(&bench, NULL, 4);
	for (int i = 0; i < 500; i++)
		send_to(&bench, &answers[i], web_server_port(server), "/hello", (struct http_client_request){ 0 },
			NULL);
	await(&bench);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(answers[i].calls, 1);
		assert_string_equal(answers[i].body, "hello");
	}
	assert_in_range(web_server_connections(server), 1, 4);
	close_bench(&bench);
	web_server_stop(server);
}

static void test_failures_by_name(void **state)
{
	struct web_server *server = web_server_start(NULL, NULL, NULL);
	int port = web_server_port(server);
	struct http_client_request short_time = { .deadline_ms = 100 }, late = { .deadline_ms = -1 };
	struct http_client_request small = { .response_bytes_max = 99999 };
	struct answer answer;
	struct bench bench;

	(void)state;
	open_bench(&bench, NULL, 0);
	send_to(&bench, &answer, port, "/slow", short_time, NULL);
	await(&bench);
	assert_int_equal(answer.error, HTTP_CLIENT_RESPONSE_TIMEOUT);
	send_to(&bench, &answer, port, "/hello", late, NULL);
	await(&bench);
	assert_int_equal(answer.error, HTTP_CLIENT_CONNECTION_TIMEOUT);
	send_to(&bench, &answer, port, "/large", small, NULL);
	await(&bench);
	assert_int_equal(answer.error, HTTP_CLIENT_RESPONSE_TOO_LARGE);
	get(&bench, &answer, port, "/large", NULL);
	assert_int_equal(answer.error, HTTP_CLIENT_OK);
	assert_int_equal(answer.size, 100000);
	get(&bench, &answer, port, "/close", NULL);
	assert_int_equal(answer.error, HTTP_CLIENT_CONNECTION_TERMINATED);
	get(&bench, &answer, port, "/part", NULL);
	assert_int_equal(answer.error, HTTP_CLIENT_CONNECTION_TERMINATED);
	web_server_stop(server);
	get(&bench, &answer, port, "/hello", NULL);
	assert_int_equal(answer.error, HTTP_CLIENT_CONNECTION_REFUSED);
	close_bench(&bench);
	for (int i = 0; i < HTTP_CLIENT_ERROR_COUNT; i++)
		assert_true(strlen(http_client_error_name((enum http_client_error)i)) > 1);
}

/* A listener whose queue is full does not answer the handshake. */
static void test_a_connect_that_hangs_has_its_own_bound(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct http_client_request request = { .connect_timeout_ms = 100 };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fillers[4];
	struct answer answer;
	struct bench bench;
	int64_t start_ms;

	(void)state;
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 0), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	for (int i = 0; i < 4; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(fillers[i], (struct sockaddr *)&address, sizeof(address));
	}
	open_bench(&bench, NULL, 0);
	start_ms = loop_now_ms(bench.loop);
	send_to(&bench, &answer, ntohs(address.sin_port), "/", request, NULL);
	await(&bench);
	assert_int_equal(answer.error, HTTP_CLIENT_CONNECTION_TIMEOUT);
	assert_in_range(loop_now_ms(bench.loop) - start_ms, 90, 10000);
	close_bench(&bench);
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(listener);
}

static void on_destroyed(void *arg, const struct http_client_result *result)
{
	struct answer *answer = arg;
	struct http_client_request request = {
		.method = "GET", .url = "http://127.0.0.1:1/", .deadline_ms = INT64_MAX / 2
	};

	answer->calls++;
	answer->error = result->error;
	assert_int_equal(http_client_send(answer->bench->client, &request, on_destroyed, arg, NULL), STATUS_DRAINING);
}

static void test_cancelled_calls_are_still_told(void **state)
{
	struct web_server *server = web_server_start(NULL, NULL, NULL);
	struct http_client_request request = { .method = "GET" };
	struct http_client_call *call;
	struct answer cancelled, other, left;
	struct bench bench;
	char url[64];

	(void)state;
	open_bench(&bench, NULL, 0);
	send_to(&bench, &cancelled, web_server_port(server), "/slow", request, &call);
	http_client_cancel(bench.client, call);
	http_client_cancel(bench.client, call);
	assert_int_equal(cancelled.calls, 0);
	send_to(&bench, &other, web_server_port(server), "/hello", request, NULL);
	await(&bench);
	assert_int_equal(cancelled.calls, 1);
	assert_int_equal(cancelled.error, HTTP_CLIENT_CANCELLED);
	assert_int_equal(other.error, HTTP_CLIENT_OK);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/slow", web_server_port(server));
	request.url = url;
	request.deadline_ms = loop_now_ms(bench.loop) + PATIENCE_MS;
	left = (struct answer){ .bench = &bench };
	assert_int_equal(http_client_send(bench.client, &request, on_destroyed, &left, NULL), STATUS_OK);
	close_bench(&bench);
	assert_int_equal(left.calls, 1);
	assert_int_equal(left.error, HTTP_CLIENT_CANCELLED);
	web_server_stop(server);
}

static void test_what_is_refused_at_once(void **state)
{
	struct http_client_request request = { .method = "GET", .url = "https://127.0.0.1:1/", .peer_region = "eu" };
	struct answer answer;
	struct bench bench;

	(void)state;
	open_bench(&bench, NULL, 0);
	request.deadline_ms = loop_now_ms(bench.loop) + PATIENCE_MS;
	answer = (struct answer){ .bench = &bench };
	/* A peer without our own certificate. */
	assert_int_equal(http_client_send(bench.client, &request, on_done, &answer, NULL), STATUS_INVALID);
	assert_int_equal(answer.calls, 0);
	/* https to nobody in particular. */
	request.peer_region = NULL;
	bench.wanted = 1;
	assert_int_equal(http_client_send(bench.client, &request, on_done, &answer, NULL), STATUS_OK);
	await(&bench);
	assert_int_equal(answer.error, HTTP_CLIENT_PROTOCOL_ERROR);
	close_bench(&bench);
}

/* ---- mutual TLS ---- */

struct mesh {
	char folder[TEST_PATH_SIZE];
	struct test_authority ca, rogue;
	struct tls_store *tls;
	struct bench bench;
};

#define EU "spiffe://test/region/eu"

static void open_mesh(struct mesh *mesh)
{
	const struct test_leaf own = { .uris = { "spiffe://test/region/na" }, .serial = 1 };
	const unsigned revoked[] = { 66, 0 };
	struct strbuf why = STRBUF_INIT;
	struct tls_files files;

	memset(mesh, 0, sizeof(*mesh));
	certificates_make_folder(mesh->folder);
	certificates_make_authority(mesh->folder, "ca", &mesh->ca);
	certificates_make_authority(mesh->folder, "rogue", &mesh->rogue);
	certificates_make_leaf(&mesh->ca, mesh->folder, "na", &own);
	certificates_make_crl(&mesh->ca, mesh->folder, "crl.pem", revoked);
	files = (struct tls_files){ .certificate = certificates_path(mesh->folder, "na", ".pem"),
		.key = certificates_path(mesh->folder, "na", ".key"),
		.ca = mesh->ca.path,
		.crl = certificates_path(mesh->folder, "crl", ".pem") };
	if (tls_store_create(&files, "test", "na", &mesh->tls, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&why);
	open_bench(&mesh->bench, mesh->tls, 0);
}

static void close_mesh(struct mesh *mesh)
{
	close_bench(&mesh->bench);
	tls_store_destroy(mesh->tls);
	certificates_release_authority(&mesh->ca);
	certificates_release_authority(&mesh->rogue);
	certificates_remove_folder(mesh->folder);
}

static struct web_server *serve(
	struct mesh *mesh, const struct test_authority *authority, const struct test_leaf *leaf, const char *trusted)
{
	certificates_make_leaf(authority, mesh->folder, "server", leaf);
	return web_server_start(certificates_path(mesh->folder, "server", ".pem"),
		certificates_path(mesh->folder, "server", ".key"), trusted);
}

static void test_the_region_asked_for_is_accepted_and_no_other(void **state)
{
	const struct test_leaf leaf = { .uris = { EU }, .serial = 2 };
	struct web_server *server;
	struct answer answer;
	struct mesh mesh;

	(void)state;
	open_mesh(&mesh);
	server = serve(&mesh, &mesh.ca, &leaf, mesh.ca.path);
	for (int i = 0; i < 3; i++) {
		get(&mesh.bench, &answer, web_server_port(server), "/hello", "eu");
		assert_string_equal(answer.detail, "No error");
		assert_string_equal(answer.body, "hello");
	}
	assert_int_equal(web_server_connections(server), 1);
	/* The same address, asked as another region: the warm connection must not serve it. */
	get(&mesh.bench, &answer, web_server_port(server), "/hello", "ap");
	assert_int_equal(answer.error, HTTP_CLIENT_TLS_CERTIFICATE_ERROR);
	assert_int_equal(answer.status, 0);
	get(&mesh.bench, &answer, web_server_port(server), "/connection", "eu");
	assert_string_equal(answer.body, "1");
	close_mesh(&mesh);
	web_server_stop(server);
}

static void test_bad_server_certificates_are_refused(void **state)
{
	const struct {
		const char *what;
		struct test_leaf leaf;
		bool is_rogue;
	} cases[] = {
		{ "no uri", { .uris = { NULL }, .serial = 3 }, false },
		{ "two uris", { .uris = { EU, "spiffe://test/region/ap" }, .serial = 4 }, false },
		{ "twice the same", { .uris = { EU, EU }, .serial = 5 }, false },
		{ "another trust domain", { .uris = { "spiffe://live/region/eu" }, .serial = 6 }, false },
		{ "longer name", { .uris = { EU "x" }, .serial = 7 }, false },
		{ "expired", { .uris = { EU }, .serial = 8, .expires_in_s = -60 }, false },
		{ "revoked", { .uris = { EU }, .serial = 66 }, false },
		{ "a ca", { .uris = { EU }, .serial = 9, .is_ca = true }, false },
		{ "for clients only", { .uris = { EU }, .serial = 10, .purpose = GNUTLS_KP_TLS_WWW_CLIENT }, false },
		{ "another ca", { .uris = { EU }, .serial = 11 }, true },
	};
	struct mesh mesh;

	(void)state;
	open_mesh(&mesh);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct web_server *server = serve(
			&mesh, cases[i].is_rogue ? &mesh.rogue : &mesh.ca, &cases[i].leaf, mesh.ca.path);
		struct answer answer;

		get(&mesh.bench, &answer, web_server_port(server), "/hello", "eu");
		if (answer.error != HTTP_CLIENT_TLS_CERTIFICATE_ERROR || answer.status != 0)
			fail_msg("%s: %s, %s", cases[i].what, http_client_error_name(answer.error), answer.detail);
		web_server_stop(server);
	}
	close_mesh(&mesh);
}

static void test_a_server_that_refuses_our_certificate(void **state)
{
	const struct test_leaf leaf = { .uris = { EU }, .serial = 2 };
	struct web_server *server;
	struct answer answer;
	struct mesh mesh;

	(void)state;
	open_mesh(&mesh);
	server = serve(&mesh, &mesh.ca, &leaf, mesh.rogue.path);
	get(&mesh.bench, &answer, web_server_port(server), "/hello", "eu");
	assert_int_equal(answer.error, HTTP_CLIENT_TLS_CERTIFICATE_ERROR);
	web_server_stop(server);
	server = web_server_start(NULL, NULL, NULL); /* it speaks no TLS at all */
	get(&mesh.bench, &answer, web_server_port(server), "/hello", "eu");
	assert_true(answer.error == HTTP_CLIENT_TLS_PROTOCOL_ERROR ||
		    answer.error == HTTP_CLIENT_CONNECTION_TERMINATED ||
		    answer.error == HTTP_CLIENT_CONNECTION_TIMEOUT);
	close_mesh(&mesh);
	web_server_stop(server);
}

static void test_a_rotation_makes_new_connections(void **state)
{
	const struct test_leaf leaf = { .uris = { EU }, .serial = 2 },
			       own = { .uris = { "spiffe://test/region/na" }, .serial = 12 };
	const unsigned revoked[] = { 2, 0 };
	struct web_server *server;
	struct answer answer, slow;
	struct mesh mesh;

	(void)state;
	open_mesh(&mesh);
	server = serve(&mesh, &mesh.ca, &leaf, mesh.ca.path);
	get(&mesh.bench, &answer, web_server_port(server), "/connection", "eu");
	assert_string_equal(answer.body, "1");
	send_to(&mesh.bench, &slow, web_server_port(server), "/slow",
		(struct http_client_request){ .peer_region = "eu", .deadline_ms = 300 }, NULL);
	certificates_make_leaf(&mesh.ca, mesh.folder, "na", &own);
	assert_int_equal(tls_store_reload(mesh.tls, NULL), STATUS_OK);
	send_to(&mesh.bench, &answer, web_server_port(server), "/connection",
		(struct http_client_request){ .peer_region = "eu" }, NULL);
	await(&mesh.bench); /* the call under the old certificate runs to its own end */
	assert_int_equal(slow.error, HTTP_CLIENT_RESPONSE_TIMEOUT);
	assert_int_equal(answer.error, HTTP_CLIENT_OK);
	assert_string_not_equal(answer.body, "1");
	/* A revocation that comes later reaches a server with warm connections too. */
	certificates_make_crl(&mesh.ca, mesh.folder, "crl.pem", revoked);
	assert_int_equal(tls_store_reload(mesh.tls, NULL), STATUS_OK);
	get(&mesh.bench, &answer, web_server_port(server), "/hello", "eu");
	assert_int_equal(answer.error, HTTP_CLIENT_TLS_CERTIFICATE_ERROR);
	close_mesh(&mesh);
	web_server_stop(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_share_a_warm_connection),
		cmocka_unit_test(test_one_header_of_the_answer_can_be_had),
		cmocka_unit_test(test_many_calls_stay_within_the_connections_allowed),
		cmocka_unit_test(test_failures_by_name),
		cmocka_unit_test(test_a_connect_that_hangs_has_its_own_bound),
		cmocka_unit_test(test_cancelled_calls_are_still_told),
		cmocka_unit_test(test_what_is_refused_at_once),
		cmocka_unit_test(test_the_region_asked_for_is_accepted_and_no_other),
		cmocka_unit_test(test_bad_server_certificates_are_refused),
		cmocka_unit_test(test_a_server_that_refuses_our_certificate),
		cmocka_unit_test(test_a_rotation_makes_new_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

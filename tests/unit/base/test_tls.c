/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutual TLS, with real handshakes over loopback: who is let in, who is not, and
 * what a reload changes.  Certificates are made afresh into a folder of their own.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <gnutls/gnutls.h>

#include "tests/unit/support/certificates.h"
#include "base/http_server.h"
#include "base/tls.h"

#define DOMAIN "test.example"
#define EU "spiffe://" DOMAIN "/region/eu"
#define NA "spiffe://" DOMAIN "/region/na"
#define AP "spiffe://" DOMAIN "/region/ap"

struct fixture {
	char folder[TEST_PATH_SIZE];
	struct test_authority authority;
	struct test_authority stranger;
	struct tls_store *store;
	struct http_server *server;
};

static atomic_int calls;

static void peer_handler(void *arg, struct http_request *request)
{
	(void)arg;
	atomic_fetch_add(&calls, 1);
	const char *peer = http_request_peer(request);
	http_request_reply(request, http_response_create(200, NULL, peer, strlen(peer)));
}

static const struct http_route routes[] = { { "GET", "/peer", peer_handler } };

static struct tls_files files_in(const char *folder)
{
	return (struct tls_files){ certificates_path(folder, "eu", ".pem"), certificates_path(folder, "eu", ".key"),
		certificates_path(folder, "ca", ".pem"), certificates_path(folder, "ca.crl", "") };
}

static int set_up(void **state)
{
	static struct fixture fixture;
	struct strbuf why = STRBUF_INIT;
	memset(&fixture, 0, sizeof fixture);
	certificates_make_folder(fixture.folder);
	certificates_make_authority(fixture.folder, "ca", &fixture.authority);
	certificates_make_authority(fixture.folder, "stranger", &fixture.stranger);
	certificates_make_leaf(
		&fixture.authority, fixture.folder, "eu", &(struct test_leaf){ .uris = { EU }, .serial = 2 });
	certificates_make_leaf(
		&fixture.authority, fixture.folder, "na", &(struct test_leaf){ .uris = { NA }, .serial = 3 });
	certificates_make_crl(&fixture.authority, fixture.folder, "ca.crl", (const unsigned[]){ 99, 0 });
	struct tls_files files = files_in(fixture.folder);
	if (tls_store_create(&files, DOMAIN, "eu", &fixture.store, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	struct http_server_settings settings = {
		.name = "peer",
		.address = "127.0.0.1:0",
		.threads = 2,
		.connections_max = 50,
		.connections_per_peer_max = 3,
		.body_bytes_max = 100,
		.request_deadline_ms = 10000,
		.idle_timeout_ms = 10000,
		.strict_path = true,
		.tls = fixture.store,
		.routes = routes,
		.route_count = 1,
	};
	if (http_server_start(&settings, &fixture.server, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&why);
	atomic_store(&calls, 0);
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	http_server_stop(fixture->server);
	tls_store_destroy(fixture->store);
	certificates_release_authority(&fixture->authority);
	certificates_release_authority(&fixture->stranger);
	certificates_remove_folder(fixture->folder);
	return 0;
}

/* ---- a client ---- */

struct client {
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;
	int fd;
};

static int dial(const struct fixture *fixture)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)http_server_port(fixture->server)) };
	struct timeval patience = { .tv_sec = 10 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

/* `name` NULL: without a certificate.  Returns false when the handshake fails already. */
static bool client_open(const struct fixture *fixture, const char *name, const char *priorities, struct client *client)
{
	assert_int_equal(gnutls_certificate_allocate_credentials(&client->credentials), 0);
	if (name != NULL)
		assert_int_equal(gnutls_certificate_set_x509_key_file(client->credentials,
					 certificates_path(fixture->folder, name, ".pem"),
					 certificates_path(fixture->folder, name, ".key"), GNUTLS_X509_FMT_PEM),
			0);
	/* The server's list of CAs must not decide whether a bad certificate is sent: send it whatever it says. */
	assert_int_equal(gnutls_init(&client->session, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT), 0);
	assert_int_equal(gnutls_priority_set_direct(client->session, priorities, NULL), 0);
	assert_int_equal(gnutls_credentials_set(client->session, GNUTLS_CRD_CERTIFICATE, client->credentials), 0);
	client->fd = dial(fixture);
	gnutls_transport_set_int(client->session, client->fd);
	int result = 0;
	do {
		result = gnutls_handshake(client->session);
	} while (result < 0 && gnutls_error_is_fatal(result) == 0);
	return result == 0;
}

static void client_close(struct client *client)
{
	close(client->fd);
	gnutls_deinit(client->session);
	gnutls_certificate_free_credentials(client->credentials);
}

/* The body of the answer, or "" when the connection ended instead. */
static const char *client_ask(struct client *client)
{
	static const char request[] = "GET /peer HTTP/1.1\r\nHost: peer\r\n\r\n";
	static char answer[4096];
	size_t length = 0;
	answer[0] = '\0';
	if (gnutls_record_send(client->session, request, sizeof request - 1) < 0)
		return "";
	for (;;) {
		ssize_t got = gnutls_record_recv(client->session, answer + length, sizeof answer - 1 - length);
		if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
			continue;
		if (got <= 0)
			return "";
		length += (size_t)got;
		answer[length] = '\0';
		const char *body = strstr(answer, "\r\n\r\n");
		if (body != NULL && body[4] != '\0')
			return body + 4;
	}
}

#define MODERN "NORMAL:-VERS-ALL:+VERS-TLS1.3"

static void assert_refused(const struct fixture *fixture, const char *name, const char *priorities)
{
	struct client client;
	int before = atomic_load(&calls);
	/* In TLS 1.3 the client's side of the handshake may end before the server has looked at its certificate. */
	if (client_open(fixture, name, priorities, &client) && client_ask(&client)[0] != '\0')
		fail_msg("%s was answered", name == NULL ? "no certificate" : name);
	client_close(&client);
	assert_int_equal(atomic_load(&calls), before);
}

static void assert_answered(const struct fixture *fixture, const char *name, const char *region)
{
	struct client client;
	if (!client_open(fixture, name, MODERN, &client))
		fail_msg("%s: handshake failed", name);
	assert_string_equal(client_ask(&client), region);
	client_close(&client);
}

static void reload(const struct fixture *fixture)
{
	struct strbuf why = STRBUF_INIT;
	if (tls_store_reload(fixture->store, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&why);
}

/* ---- tests ---- */

static void regions_are_read_from_uris(void **state)
{
	(void)state;
	char region[REGION_SIZE];
	assert_int_equal(tls_region_of_uri(EU, DOMAIN, region), STATUS_OK);
	assert_string_equal(region, "eu");
	static const char *const bad[] = { "", "spiffe://", "spiffe://test.example", "spiffe://test.example/region/",
		"spiffe://test.example/region/EU", "spiffe://test.example/region/eu/x",
		"spiffe://test.example/region/eu ", "spiffe://test.example.evil/region/eu",
		"spiffe://test.exampl/region/eu", "spiffe://evil/region/eu", "SPIFFE://test.example/region/eu",
		"https://test.example/region/eu", "spiffe://test.example//region/eu",
		"spiffe://test.example/region/eu?x", "spiffe://test.example:1/region/eu",
		"spiffe://test.example/region/a123456789012345678901234567890123" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(tls_region_of_uri(bad[i], DOMAIN, region), STATUS_INVALID);
		assert_string_equal(region, "");
	}
	assert_int_equal(tls_region_of_uri("spiffe:///region/eu", "", region), STATUS_INVALID);
}

static void a_good_peer_is_answered_by_its_region(void **state)
{
	struct fixture *fixture = *state;
	assert_answered(fixture, "na", "na");
	/* Without extended key usage any purpose will do; with clientAuth alone it may be a client. */
	certificates_make_leaf(&fixture->authority, fixture->folder, "client",
		&(struct test_leaf){ .uris = { AP }, .serial = 4, .purpose = GNUTLS_KP_TLS_WWW_CLIENT });
	assert_answered(fixture, "client", "ap");
}

static void every_bad_certificate_is_refused_in_the_handshake(void **state)
{
	struct fixture *fixture = *state;
	const struct {
		const char *name;
		const struct test_authority *authority;
		struct test_leaf leaf;
	} bad[] = {
		{ "another-ca", &fixture->stranger, { .uris = { NA }, .serial = 10 } },
		{ "expired", &fixture->authority, { .uris = { NA }, .serial = 11, .expires_in_s = -60 } },
		{ "revoked", &fixture->authority, { .uris = { NA }, .serial = 99 } },
		{ "two-uris", &fixture->authority, { .uris = { NA, AP }, .serial = 12 } },
		{ "same-uri-twice", &fixture->authority, { .uris = { NA, NA }, .serial = 13 } },
		{ "no-uri", &fixture->authority, { .serial = 14 } },
		{ "another-domain", &fixture->authority,
			{ .uris = { "spiffe://qa.example/region/na" }, .serial = 15 } },
		{ "no-region", &fixture->authority, { .uris = { "spiffe://" DOMAIN "/broker/na" }, .serial = 16 } },
		{ "ca-as-leaf", &fixture->authority, { .uris = { NA }, .serial = 17, .is_ca = true } },
		{ "signer", &fixture->authority, { .uris = { NA }, .serial = 18, .signs_certificates = true } },
		{ "server-only", &fixture->authority,
			{ .uris = { NA }, .serial = 19, .purpose = GNUTLS_KP_TLS_WWW_SERVER } },
	};
	assert_refused(fixture, NULL, MODERN);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		certificates_make_leaf(bad[i].authority, fixture->folder, bad[i].name, &bad[i].leaf);
		assert_refused(fixture, bad[i].name, MODERN);
	}
	assert_refused(fixture, "na", "NORMAL:-VERS-ALL:+VERS-TLS1.2");
	assert_int_equal(atomic_load(&calls), 0);
	assert_answered(fixture, "na", "na");
}

static void plain_http_is_not_answered(void **state)
{
	struct fixture *fixture = *state;
	static const char request[] = "GET /peer HTTP/1.1\r\nHost: peer\r\n\r\n";
	char answer[256] = "";
	int fd = dial(fixture);
	assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
	ssize_t got = recv(fd, answer, sizeof answer - 1, 0);
	assert_true(got <= 0 || strncmp(answer, "HTTP", 4) != 0);
	close(fd);
	assert_int_equal(atomic_load(&calls), 0);
}

static void a_revocation_ends_open_connections(void **state)
{
	struct fixture *fixture = *state;
	struct client na;
	struct client ap;
	certificates_make_leaf(
		&fixture->authority, fixture->folder, "ap", &(struct test_leaf){ .uris = { AP }, .serial = 5 });
	assert_true(client_open(fixture, "na", MODERN, &na));
	assert_true(client_open(fixture, "ap", MODERN, &ap));
	assert_string_equal(client_ask(&na), "na");
	assert_string_equal(client_ask(&ap), "ap");
	certificates_make_crl(&fixture->authority, fixture->folder, "ca.crl", (const unsigned[]){ 3, 0 });
	/* Written, but not yet loaded. */
	assert_string_equal(client_ask(&na), "na");
	reload(fixture);
	assert_string_equal(client_ask(&na), "");
	assert_string_equal(client_ask(&ap), "ap");
	assert_refused(fixture, "na", MODERN);
	client_close(&na);
	client_close(&ap);
}

static unsigned serial_served(const struct fixture *fixture)
{
	struct client client;
	unsigned length = 0;
	unsigned char serial[32] = { 0 };
	size_t size = sizeof serial;
	gnutls_x509_crt_t certificate;
	assert_true(client_open(fixture, "na", MODERN, &client));
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(client.session, &length);
	assert_non_null(chain);
	assert_int_equal(gnutls_x509_crt_init(&certificate), 0);
	assert_int_equal(gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER), 0);
	assert_int_equal(gnutls_x509_crt_get_serial(certificate, serial, &size), 0);
	gnutls_x509_crt_deinit(certificate);
	client_close(&client);
	return serial[size - 1];
}

static void a_reload_swaps_the_certificate_and_the_ca(void **state)
{
	struct fixture *fixture = *state;
	struct client open;
	bool was_refused;
	uint64_t generation = tls_store_generation(fixture->store);
	assert_int_equal(serial_served(fixture), 2);
	assert_false(tls_store_has_changed(fixture->store, &was_refused));
	certificates_make_leaf(
		&fixture->authority, fixture->folder, "eu", &(struct test_leaf){ .uris = { EU }, .serial = 22 });
	assert_true(tls_store_has_changed(fixture->store, &was_refused));
	assert_false(was_refused);
	assert_int_equal(serial_served(fixture), 2);
	reload(fixture);
	assert_int_equal(tls_store_generation(fixture->store), generation + 1);
	assert_false(tls_store_has_changed(fixture->store, &was_refused));
	assert_int_equal(serial_served(fixture), 22);
	/* Another CA: those of the old one are no longer peers, not even on connections they have. */
	assert_true(client_open(fixture, "na", MODERN, &open));
	assert_string_equal(client_ask(&open), "na");
	certificates_release_authority(&fixture->authority);
	certificates_make_authority(fixture->folder, "ca", &fixture->authority);
	certificates_make_leaf(
		&fixture->authority, fixture->folder, "eu", &(struct test_leaf){ .uris = { EU }, .serial = 23 });
	certificates_make_crl(&fixture->authority, fixture->folder, "ca.crl", (const unsigned[]){ 99, 0 });
	reload(fixture);
	assert_string_equal(client_ask(&open), "");
	client_close(&open);
	assert_refused(fixture, "na", MODERN);
	certificates_make_leaf(
		&fixture->authority, fixture->folder, "na", &(struct test_leaf){ .uris = { NA }, .serial = 24 });
	assert_answered(fixture, "na", "na");
}

static void refuse_reload(const struct fixture *fixture, const char *reason)
{
	struct strbuf why = STRBUF_INIT;
	uint64_t generation = tls_store_generation(fixture->store);
	assert_int_not_equal(tls_store_reload(fixture->store, &why), STATUS_OK);
	if (strstr(why.data, reason) == NULL)
		fail_msg("expected \"%s\" in: %s", reason, why.data);
	strbuf_release(&why);
	assert_int_equal(tls_store_generation(fixture->store), generation);
	assert_answered(fixture, "na", "na");
}

static void own_leaf(const struct fixture *fixture, const struct test_authority *authority, struct test_leaf leaf)
{
	leaf.serial = 30;
	certificates_make_leaf(authority, fixture->folder, "eu", &leaf);
}

static void a_reload_that_does_not_fit_changes_nothing(void **state)
{
	bool was_refused;
	struct fixture *fixture = *state;
	own_leaf(fixture, &fixture->authority, (struct test_leaf){ .uris = { NA } });
	refuse_reload(fixture, "names region na, but this is eu");
	own_leaf(fixture, &fixture->authority, (struct test_leaf){ .uris = { "spiffe://qa.example/region/eu" } });
	refuse_reload(fixture, "trust domain");
	own_leaf(fixture, &fixture->authority, (struct test_leaf){ .uris = { EU }, .expires_in_s = -5 });
	refuse_reload(fixture, "expired");
	own_leaf(fixture, &fixture->stranger, (struct test_leaf){ .uris = { EU } });
	refuse_reload(fixture, "unknown CA");
	own_leaf(fixture, &fixture->authority,
		(struct test_leaf){ .uris = { EU }, .purpose = GNUTLS_KP_TLS_WWW_CLIENT });
	refuse_reload(fixture, "serverAuth");
	own_leaf(fixture, &fixture->authority, (struct test_leaf){ .uris = { EU } });
	char key[TEST_PATH_SIZE * 2];
	snprintf(key, sizeof key, "%s", certificates_path(fixture->folder, "eu", ".key"));
	assert_int_equal(rename(certificates_path(fixture->folder, "na", ".key"), key), 0);
	struct strbuf why = STRBUF_INIT;
	assert_int_equal(tls_store_reload(fixture->store, &why), STATUS_INVALID);
	assert_non_null(strstr(why.data, "not the key of"));
	strbuf_reset(&why);
	unlink(key);
	assert_int_equal(tls_store_reload(fixture->store, &why), STATUS_NOT_FOUND);
	assert_true(tls_store_has_changed(fixture->store, &was_refused));
	assert_true(was_refused); /* the same files again: known, and said before */
	strbuf_reset(&why);
	own_leaf(fixture, &fixture->authority, (struct test_leaf){ .uris = { EU } });
	certificates_make_crl(&fixture->stranger, fixture->folder, "ca.crl", (const unsigned[]){ 3, 0 });
	assert_int_equal(tls_store_reload(fixture->store, &why), STATUS_INVALID);
	assert_non_null(strstr(why.data, "CRL"));
	strbuf_reset(&why);
	/* Repaired. */
	certificates_make_crl(&fixture->authority, fixture->folder, "ca.crl", (const unsigned[]){ 99, 0 });
	assert_int_equal(tls_store_reload(fixture->store, &why), STATUS_OK);
	strbuf_release(&why);
}

static void expiry_is_told(void **state)
{
	struct fixture *fixture = *state;
	int64_t leaf = 0;
	int64_t ca = 0;
	int64_t crl = 0;
	tls_store_expiry(fixture->store, &leaf, &ca, &crl);
	assert_true(leaf > 0 && ca > leaf && crl > 0);
	assert_string_equal(tls_store_trust_domain(fixture->store), DOMAIN);
	assert_non_null(strstr(tls_store_files(fixture->store)->ca, "ca.pem"));
}

static void a_region_has_a_bounded_number_of_connections(void **state)
{
	struct fixture *fixture = *state;
	struct client clients[3];
	certificates_make_leaf(
		&fixture->authority, fixture->folder, "ap", &(struct test_leaf){ .uris = { AP }, .serial = 5 });
	for (int i = 0; i < 3; i++) {
		assert_true(client_open(fixture, "na", MODERN, &clients[i]));
		assert_string_equal(client_ask(&clients[i]), "na");
	}
	assert_refused(fixture, "na", MODERN);
	assert_answered(fixture, "ap", "ap");
	for (int i = 0; i < 3; i++)
		client_close(&clients[i]);
	/* The places come back when the server has seen the ends. */
	bool answered = false;
	for (int attempt = 0; attempt < 1000 && !answered; attempt++) {
		struct client client;
		answered = client_open(fixture, "na", MODERN, &client) && client_ask(&client)[0] != '\0';
		client_close(&client);
	}
	assert_true(answered);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_are_read_from_uris),
		cmocka_unit_test_setup_teardown(a_good_peer_is_answered_by_its_region, set_up, tear_down),
		cmocka_unit_test_setup_teardown(every_bad_certificate_is_refused_in_the_handshake, set_up, tear_down),
		cmocka_unit_test_setup_teardown(plain_http_is_not_answered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_revocation_ends_open_connections, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_reload_swaps_the_certificate_and_the_ca, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_reload_that_does_not_fit_changes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(expiry_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_region_has_a_bounded_number_of_connections, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

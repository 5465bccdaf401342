/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL by hand, because every client library gives up at the first fault and
 * keeps the certificate to itself.  The chain's verdict is remembered and the
 * handshake goes on; nothing is ever sent to a listener that was not trusted.
 * In TLS 1.3 a refusal of our own certificate comes with the first read.
 */
#include "cli/handshake.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"

enum { REPLY_BYTES_MAX = 4096, PORT_SIZE = 8 };

struct attempt {
	const struct handshake_wish *wish;
	struct handshake *result;
	char host[ADDRESS_HOST_SIZE], port[PORT_SIZE];
	int64_t deadline_ms;
	int fd;
	SSL_CTX *context;
	SSL *ssl;
};

const char *handshake_fault_text(enum handshake_fault fault)
{
	static const char *const texts[] = { "", "our certificate, key or authority cannot be used",
		"cannot be reached", "no TLS handshake", "its certificate is not valid now",
		"its certificate is not by our authority", "its certificate is for another name",
		"it does not accept our certificate" };

	return texts[fault];
}

static bool fail(struct attempt *attempt, enum handshake_fault fault, const char *detail)
{
	attempt->result->fault = fault;
	if (attempt->result->detail.length == 0)
		strbuf_adds(&attempt->result->detail, detail);
	return false;
}

static bool fail_library(struct attempt *attempt, enum handshake_fault fault, const char *otherwise)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	fail(attempt, fault, reason != NULL ? reason : otherwise);
	ERR_clear_error();
	return false;
}

static bool read_url(struct attempt *attempt)
{
	struct address_url address;

	if (!address_of_url(attempt->wish->url, &address))
		return fail(attempt, HANDSHAKE_UNREACHABLE, "not an address");
	memcpy(attempt->host, address.host, sizeof(attempt->host));
	(void)snprintf(attempt->port, PORT_SIZE, "%d", address.port > 0 ? address.port : attempt->wish->default_port);
	return true;
}

/* False when the time is up. */
static bool await(const struct attempt *attempt, short events)
{
	struct pollfd wanted = { .fd = attempt->fd, .events = events };
	int64_t left_ms = attempt->deadline_ms - clock_monotonic_ms(clock_system());

	return left_ms > 0 && poll(&wanted, 1, (int)left_ms) > 0;
}

static bool connect_one(struct attempt *attempt, const struct addrinfo *address)
{
	int error = 0;
	socklen_t size = sizeof(error);

	attempt->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (attempt->fd < 0)
		return fail(attempt, HANDSHAKE_UNREACHABLE, strerror(errno));
	if (connect(attempt->fd, address->ai_addr, address->ai_addrlen) == 0)
		return true;
	if (errno == EINPROGRESS)
		error = !await(attempt, POLLOUT)                                            ? ETIMEDOUT
			: getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ? errno
											    : error;
	else
		error = errno;
	if (error == 0)
		return true;
	strbuf_reset(&attempt->result->detail);
	fail(attempt, HANDSHAKE_UNREACHABLE, strerror(error));
	close(attempt->fd);
	attempt->fd = -1;
	return false;
}

static bool connect_host(struct attempt *attempt)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int error = getaddrinfo(attempt->host, attempt->port, &hints, &list);
	bool is_connected = false;

	if (error != 0)
		return fail(attempt, HANDSHAKE_UNREACHABLE, gai_strerror(error));
	for (const struct addrinfo *at = list; at != NULL && !is_connected; at = at->ai_next)
		is_connected = connect_one(attempt, at);
	freeaddrinfo(list);
	if (is_connected) {
		attempt->result->fault = HANDSHAKE_FINE;
		strbuf_reset(&attempt->result->detail);
	}
	return is_connected;
}

/* The verdict is asked for afterwards. */
static int go_on(int is_good, X509_STORE_CTX *context)
{
	(void)is_good;
	(void)context;
	return 1;
}

static bool prepare(struct attempt *attempt)
{
	const struct handshake_wish *wish = attempt->wish;

	attempt->context = SSL_CTX_new(TLS_client_method());
	if (attempt->context == NULL)
		return fail_library(attempt, HANDSHAKE_FILES, "out of memory");
	SSL_CTX_set_verify(attempt->context, SSL_VERIFY_PEER, go_on);
	if (wish->ca[0] != '\0' ? SSL_CTX_load_verify_locations(attempt->context, wish->ca, NULL) != 1
				: SSL_CTX_set_default_verify_paths(attempt->context) != 1)
		return fail_library(attempt, HANDSHAKE_FILES, wish->ca);
	if (wish->certificate != NULL &&
		(SSL_CTX_use_certificate_chain_file(attempt->context, wish->certificate) != 1 ||
			SSL_CTX_use_PrivateKey_file(attempt->context, wish->key, SSL_FILETYPE_PEM) != 1))
		return fail_library(attempt, HANDSHAKE_FILES, wish->certificate);
	attempt->ssl = SSL_new(attempt->context);
	if (attempt->ssl == NULL || SSL_set_fd(attempt->ssl, attempt->fd) != 1 ||
		SSL_set_tlsext_host_name(attempt->ssl, attempt->host) != 1)
		return fail_library(attempt, HANDSHAKE_FILES, "out of memory");
	return true;
}

/* Whether to try again, having waited for what the library wants. */
static bool wants_more(const struct attempt *attempt, int result)
{
	switch (SSL_get_error(attempt->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return await(attempt, POLLIN);
	case SSL_ERROR_WANT_WRITE:
		return await(attempt, POLLOUT);
	default:
		return false;
	}
}

static void copy_uri(X509 *certificate, struct handshake *result)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && result->uri[0] == '\0'; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_URI)
			(void)snprintf(result->uri, sizeof(result->uri), "%.*s",
				ASN1_STRING_length(name->d.uniformResourceIdentifier),
				(const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier));
	}
	GENERAL_NAMES_free(names);
}

static bool look_at(struct attempt *attempt)
{
	struct handshake *result = attempt->result;
	X509 *certificate = SSL_get1_peer_certificate(attempt->ssl);
	long verdict = SSL_get_verify_result(attempt->ssl);
	struct tm end;
	bool is_named;

	(void)snprintf(result->protocol, sizeof(result->protocol), "%s", SSL_get_version(attempt->ssl));
	if (certificate == NULL)
		return fail(attempt, HANDSHAKE_NO_TLS, "it shows no certificate");
	(void)X509_NAME_get_text_by_NID(
		X509_get_subject_name(certificate), NID_commonName, result->common_name, sizeof(result->common_name));
	copy_uri(certificate, result);
	if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1)
		result->expires_s = timegm(&end);
	is_named = !attempt->wish->has_host_name || X509_check_host(certificate, attempt->host, 0, 0, NULL) == 1 ||
		   X509_check_ip_asc(certificate, attempt->host, 0) == 1;
	X509_free(certificate);
	if (verdict == X509_V_ERR_CERT_HAS_EXPIRED || verdict == X509_V_ERR_CERT_NOT_YET_VALID)
		return fail(attempt, HANDSHAKE_EXPIRED, X509_verify_cert_error_string(verdict));
	if (verdict != X509_V_OK)
		return fail(attempt, HANDSHAKE_CHAIN, X509_verify_cert_error_string(verdict));
	return is_named || fail(attempt, HANDSHAKE_NAME, attempt->host);
}

static bool shake_hands(struct attempt *attempt)
{
	int result;

	while ((result = SSL_connect(attempt->ssl)) != 1)
		if (!wants_more(attempt, result))
			return fail_library(
				attempt, HANDSHAKE_NO_TLS, "the connection was closed, or no answer in time");
	return look_at(attempt);
}

static bool converse(struct attempt *attempt)
{
	struct handshake *result = attempt->result;
	char bytes[REPLY_BYTES_MAX];
	int count, size = (int)attempt->wish->request_size;

	result->sent_us = clock_wall_us(clock_system());
	while ((count = SSL_write(attempt->ssl, attempt->wish->request, size)) <= 0)
		if (!wants_more(attempt, count))
			return fail_library(attempt, HANDSHAKE_CLIENT, "the connection was closed");
	while ((count = SSL_read(attempt->ssl, bytes, sizeof(bytes))) <= 0)
		if (!wants_more(attempt, count))
			return fail_library(
				attempt, HANDSHAKE_CLIENT, "the connection was closed, or no answer in time");
	result->replied_us = clock_wall_us(clock_system());
	strbuf_add(&result->reply, bytes, (size_t)count);
	return true;
}

void handshake_try(const struct handshake_wish *wish, struct handshake *handshake_out)
{
	struct attempt attempt = { .wish = wish,
		.result = handshake_out,
		.deadline_ms = clock_monotonic_ms(clock_system()) + HANDSHAKE_MS,
		.fd = -1 };

	*handshake_out = (struct handshake){ .fault = HANDSHAKE_FINE };
	strbuf_init(&handshake_out->detail);
	strbuf_init(&handshake_out->reply);
	if (read_url(&attempt) && connect_host(&attempt) && prepare(&attempt) && shake_hands(&attempt) &&
		wish->request != NULL)
		(void)converse(&attempt);
	SSL_free(attempt.ssl);
	SSL_CTX_free(attempt.context);
	if (attempt.fd >= 0)
		close(attempt.fd);
}

void handshake_release(struct handshake *handshake)
{
	strbuf_release(&handshake->detail);
	strbuf_release(&handshake->reply);
}

bool handshake_clock(const struct handshake *handshake, int64_t *ahead_ms_out)
{
	const char *at = strcasestr(handshake->reply.data, "\r\ndate:");
	char date[64];
	time_t told_s;

	*ahead_ms_out = 0;
	if (at == NULL)
		return false;
	at += strlen("\r\ndate:");
	at += strspn(at, " ");
	(void)snprintf(date, sizeof(date), "%.*s", (int)strcspn(at, "\r\n"), at);
	told_s = curl_getdate(date, NULL);
	if (told_s < 0)
		return false;
	/* It was said between sending and reply, in whole seconds. */
	if ((int64_t)told_s * 1000 + 999 < handshake->sent_us / 1000)
		*ahead_ms_out = (int64_t)told_s * 1000 + 999 - handshake->sent_us / 1000;
	else if ((int64_t)told_s * 1000 > handshake->replied_us / 1000)
		*ahead_ms_out = (int64_t)told_s * 1000 - handshake->replied_us / 1000;
	return true;
}

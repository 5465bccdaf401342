/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP client: libcurl on one loop, warm keep-alive connections, a pool apart for each region.
 * https is TLS 1.3 with the region's certificate, our CA only (CURLOPT_CAPATH off),
 * the CRL, and the server's SPIFFE URI checked against the region asked for.
 * Connections live at most 300 s and never past a certificate rotation.
 * No redirects, no proxies, no environment.
 */
#ifndef BASE_HTTP_CLIENT_H
#define BASE_HTTP_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/status.h"
#include "base/tls.h"

struct http_client;
struct http_client_call;

/* Why a transport failed, for retry and peer state; names are the tokens of RFC 9209. */
enum http_client_error {
	HTTP_CLIENT_OK = 0,
	HTTP_CLIENT_DNS_ERROR,
	HTTP_CLIENT_CONNECTION_REFUSED,
	HTTP_CLIENT_CONNECTION_TERMINATED,
	HTTP_CLIENT_CONNECTION_TIMEOUT,
	HTTP_CLIENT_RESPONSE_TIMEOUT,
	HTTP_CLIENT_TLS_CERTIFICATE_ERROR,
	HTTP_CLIENT_TLS_PROTOCOL_ERROR,
	HTTP_CLIENT_RESPONSE_TOO_LARGE,
	HTTP_CLIENT_PROTOCOL_ERROR,
	HTTP_CLIENT_CANCELLED,
	HTTP_CLIENT_ERROR_COUNT
};
const char *http_client_error_name(enum http_client_error error); /* "connection_refused" … */

struct http_client_settings {
	struct tls_store *tls; /* NULL: only plain http, calls to peers are refused.  Borrowed, outlives the client */
	int connections_per_host_max; /* 0: 32 */
};

struct http_client_request {
	const char *method; /* "GET", "POST"; everything is copied but the body */
	const char *url;
	const char *const *headers; /* "Name: value", NULL terminated, or NULL */
	const char *body;           /* must stay alive until done; NULL for none */
	size_t body_size;
	int64_t deadline_ms;        /* absolute; required */
	int64_t connect_timeout_ms; /* 0: 1,000 */
	size_t response_bytes_max;  /* 0: 1 MiB */
	const char *wanted_header;  /* one header of the answer to be told, by name; a literal; NULL for none */
	const char *peer_region;    /* https only: the region the server's certificate must name; NULL for plain http */
};

struct http_client_result {
	enum http_client_error error;
	const char *detail; /* libcurl's words, for logs; never NULL */
	int status;         /* HTTP status, 0 when there was none */
	const char *body;   /* borrowed; NUL terminated */
	size_t body_size;
	int64_t duration_ms;
	const char *header; /* the value of the header wanted, borrowed; NULL: not there, there twice, or too long */
};
typedef void http_client_done(void *arg, const struct http_client_result *result);

MUST_CHECK enum status http_client_create(
	struct loop *loop, const struct http_client_settings *settings, struct http_client **client_out);
/* Calls still under way end with HTTP_CLIENT_CANCELLED, here.  Not from a completion.  Accepts NULL. */
void http_client_destroy(struct http_client *client);
/*
 * STATUS_OK: done will come.  Otherwise it will not: STATUS_INVALID for a peer without our own certificate,
 * STATUS_IO when that cannot be loaded, STATUS_DRAINING in a completion of http_client_destroy().
 * *call_out (may be NULL) is valid until done.
 */
MUST_CHECK enum status http_client_send(struct http_client *client, const struct http_client_request *request,
	http_client_done *done, void *arg, struct http_client_call **call_out);
/* done still comes, with HTTP_CLIENT_CANCELLED. */
void http_client_cancel(struct http_client *client, struct http_client_call *call);

#endif

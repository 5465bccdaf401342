/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 server over libmicrohttpd (epoll, a pool of threads), made safe:
 * header guard against smuggling, absolute request deadlines, bounded bodies and
 * connections, mutual TLS that really verifies.  Handlers run on an HTTP thread
 * once the whole body is in; a handler answers at once, or suspends and answers
 * later from any thread.  Each request is answered exactly once.
 */
#ifndef BASE_HTTP_SERVER_H
#define BASE_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"
#include "base/tls.h"

struct http_server;
struct http_request;
struct http_response;

typedef void http_handler(void *arg, struct http_request *request);

/*
 * pattern: "/v1/objects/{type}/{id}"; a {name} takes one whole segment, percent-decoded once.
 * "{rest*}" as the last segment takes the remaining path.  Literal segments win over parameters.
 */
struct http_route {
	const char *method;
	const char *pattern; /* also the `route` label of the metrics */
	http_handler *handler;
};

struct http_server_settings {
	const char *name;      /* "api", "peer", "admin": log and metric label */
	const char *address;   /* "127.0.0.1:7400", "[::1]:0"; or NULL when unix_path is set */
	const char *unix_path; /* made with mode 0660, removed at stop; or NULL */
	int threads;
	int connections_max;
	int connections_per_ip_max;   /* 0: no limit */
	int connections_per_peer_max; /* per TLS identity; 0: no limit */
	size_t body_bytes_max;
	int64_t request_deadline_ms; /* from the first byte accepted to the answer sent, and for an idle TLS handshake */
	int64_t idle_timeout_ms;     /* keep-alive without a request */
	int64_t connection_age_ms_max;   /* 0: no limit; closed after the answer that passes it */
	bool strict_path;                /* refuse '%' in paths (peer listener) */
	struct tls_store *tls;           /* NULL: plain.  Borrowed, outlives the server */
	const struct http_route *routes; /* borrowed */
	size_t route_count;
	void *arg; /* given to every handler */
};

MUST_CHECK enum status http_server_start(
	const struct http_server_settings *settings, struct http_server **server_out, struct strbuf *why);
/* The port bound, 0 for a unix socket. */
int http_server_port(const struct http_server *server);
/* No new connections; answers carry Connection: close. */
void http_server_drain(struct http_server *server);
/* Drains, and from now on answers what idle connections still bring with STATUS_DRAINING, without a handler. */
void http_server_refuse(struct http_server *server);
/* Requests without an answer yet. */
int http_server_in_flight(const struct http_server *server);
/* Refuses, and waits for handlers that are running; all suspended requests must have been answered.  Accepts NULL. */
void http_server_stop(struct http_server *server);

/* Borrowed until the request is answered.  NULL when there is none. */
const char *http_request_method(const struct http_request *request);
const char *http_request_param(const struct http_request *request, const char *name);
const char *http_request_query(const struct http_request *request, const char *name);
/* Returns false from `each` to stop. */
void http_request_each_query(
	const struct http_request *request, bool (*each)(void *arg, const char *name, const char *value), void *arg);
const char *http_request_header(const struct http_request *request, const char *name);
void http_request_each_header(
	const struct http_request *request, bool (*each)(void *arg, const char *name, const char *value), void *arg);
const char *http_request_body(const struct http_request *request, size_t *size_out);
/* The verified region of the client certificate; NULL on a plain listener. */
const char *http_request_peer(const struct http_request *request);
int64_t http_request_started_ms(const struct http_request *request);

/* From the handler only, before handing the request to another thread. */
void http_request_suspend(struct http_request *request);
/* Takes the response and the request.  From the handler, or from any thread after a suspend. */
void http_request_reply(struct http_request *request, struct http_response *response);

/* Copies the body (may be NULL with size 0).  content_type NULL: none.  NULL when out of memory. */
struct http_response *http_response_create(int status, const char *content_type, const void *body, size_t size);
/* Takes a heap body: free()d when the last reference goes. */
struct http_response *http_response_create_taking(int status, const char *content_type, char *body, size_t size);
/* A response may be kept and replied many times (a cache's prebuilt answer); each reply takes one reference.
 * Headers may only be set while the caller has the only one. */
struct http_response *http_response_acquire(struct http_response *response);
void http_response_release(struct http_response *response);
/* Copies.  A name given twice is sent twice.  CR, LF or NUL in a value drops the header and logs. */
void http_response_header(struct http_response *response, const char *name, const char *value);
int http_response_status(const struct http_response *response);

#endif

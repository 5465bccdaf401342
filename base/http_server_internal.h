/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the http_server*.c files share.  A connection owns the one request that
 * can be under way on it, so a keep-alive request costs no allocation.  All of
 * a connection is touched only by its HTTP thread, but for the deadline (the
 * reaper reads it) and, between suspend and reply, the request's response.
 */
#ifndef BASE_HTTP_SERVER_INTERNAL_H
#define BASE_HTTP_SERVER_INTERNAL_H

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/http_server.h"
#include "base/metrics.h"
#include "base/object_id.h"
#include "base/tls_session.h"

#define URI_SIZE_MAX 4096          /* ids are 128 bytes; leaves room for a long OCPI path with a query */
#define URI_INLINE_SIZE 384        /* longer ones are allocated */
#define SEGMENTS_MAX 16            /* the longest route has eight */
#define QUERY_ARGS_MAX 32          /* the widest endpoint takes twelve */
#define HEADERS_MAX 64             /* a browser behind a proxy sends about thirty */
#define OWN_HEADERS_MAX 16         /* Homeward-* headers in one request */
#define ROUTE_METHOD_CLASSES 6     /* 1xx to 5xx, and other */
#define DISCARD_BYTES_MAX 16777216 /* read and thrown away so that an early refusal reaches its client */
#define BODY_KEPT_BYTES_MAX 4096   /* a larger body buffer is not kept for the connection's next request */
#define PEERS_MAX 64               /* regions in a mesh that can be counted apart */

struct route_segment {
	const char *text;
	size_t length;
	bool is_param;
};

struct compiled_route {
	const struct http_route *route;
	size_t segment_count;
	bool takes_rest;
	struct route_segment segments[SEGMENTS_MAX];
	_Atomic(struct metric_series *) series[ROUTE_METHOD_CLASSES];
};

struct route_table {
	struct compiled_route *routes; /* literal segments before parameters, so the first match is the best */
	size_t count;
};

struct query_arg {
	const char *name;
	const char *value;
};

struct parsed_uri {
	size_t segment_count;
	char *segments[SEGMENTS_MAX]; /* percent-decoded, NUL terminated, inside the request's copy of the URI */
	size_t query_count;
	struct query_arg query[QUERY_ARGS_MAX];
};

enum request_phase {
	REQUEST_NONE,      /* between requests */
	REQUEST_LINE,      /* the request line is in */
	REQUEST_BODY,      /* headers are accepted, the body is coming */
	REQUEST_SUSPENDED, /* the handler will answer from elsewhere */
	REQUEST_ANSWERED
};

struct http_request {
	struct http_connection *connection;
	enum request_phase phase;
	const char *method;
	const char *raw_uri; /* in libmicrohttpd's read buffer: for the guard's distances only */
	size_t uri_length;
	char *uri; /* our copy: inline_uri or heap */
	char inline_uri[URI_INLINE_SIZE];
	struct parsed_uri parsed;
	struct compiled_route *route;  /* NULL until matched */
	struct http_response *refusal; /* sent once the body has been thrown away */
	_Atomic(struct http_response *) response;
	bool is_suspended;
	struct http_request *next_answered; /* among those to be resumed */
	bool must_close;
	char *body;
	size_t body_length;
	size_t body_capacity;
	size_t content_length;
	int64_t started_us;
};

struct http_connection {
	struct http_connection *previous; /* the reaper's list */
	struct http_connection *next;
	_Atomic int64_t deadline_ms; /* shut down when passed */
	int fd;
	struct http_server *server;
	struct http_loop *loop; /* the HTTP thread it belongs to */
	struct MHD_Connection *mhd;
	int64_t opened_ms;
	struct tls_set *handshake_set;
	bool was_judged;              /* the handshake came as far as the client's certificate */
	uint64_t verified_generation; /* 0: the peer is not verified */
	int64_t peer_expires_s;
	struct peer_count *peer_count;
	char peer[REGION_SIZE];
	struct http_request request;
};

struct peer_count {
	char region[REGION_SIZE];
	int connections;
};

struct http_loop {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	int epoll_fd; /* the daemon's */
	int wake_fd;
	pthread_t thread;
	_Atomic(struct http_request *) answered; /* suspended, with an answer from another thread; latest first */
	_Atomic bool must_stop;
};

struct http_server {
	struct http_server_settings settings;
	char *name;
	char *unix_path;
	int listen_fd;
	int port;
	struct http_loop *loops; /* settings.threads of them */
	int loop_count;          /* of those that run */
	struct route_table routes;
	struct compiled_route no_route; /* metrics of requests that match none */
	struct metric *duration;
	struct metric *refused;
	struct metric_series *connections_gauge;
	struct http_response *no_memory; /* made at start, for the reply that could not be built */
	_Atomic bool is_draining;
	_Atomic bool is_refusing; /* no handler runs any more */
	_Atomic int connections;
	_Atomic int in_flight;
	_Atomic int unfinished;
	pthread_mutex_t peers_mutex;
	struct peer_count peers[PEERS_MAX];
	_Atomic int64_t refusal_window_ms; /* TLS refusals are logged at a bounded rate */
	_Atomic int refusals_in_window;
};

int64_t http_now_ms(void);
int64_t http_now_us(void);

/* http_server_listen.c.  A listening, non-blocking socket. */
MUST_CHECK enum status http_listen(
	const struct http_server_settings *settings, int *fd_out, int *port_out, struct strbuf *why);

/* http_server.c.  Does not poll by itself. */
struct MHD_Daemon *http_daemon_start(struct http_loop *loop);

/* http_server_loop.c.  One HTTP thread; `loop` is zeroed. */
MUST_CHECK enum status http_loop_start(struct http_loop *loop, struct http_server *server);
void http_loop_stop(struct http_loop *loop);
/* The suspended request has its answer; any thread.  It may be gone when this returns. */
void http_loop_answered(struct http_request *request);

/* http_server_reaper.c.  One thread for the process, alive while a server is. */
MUST_CHECK enum status http_reaper_acquire(void);
void http_reaper_release(void);
void http_reaper_add(struct http_connection *connection);
void http_reaper_remove(struct http_connection *connection);

/* http_server_route.c */
MUST_CHECK enum status route_table_build(
	const struct http_route *routes, size_t count, struct route_table *table_out, struct strbuf *why);
void route_table_release(struct route_table *table);
/* Cuts and decodes `uri` (NUL terminated, changed) in place.  STATUS_INVALID names the rule in *why_out. */
MUST_CHECK enum status uri_parse(char *uri, bool strict_path, struct parsed_uri *parsed_out, const char **why_out);
/* STATUS_NOT_FOUND, or STATUS_INVALID with the methods that would do in `allowed`. */
MUST_CHECK enum status route_match(const struct route_table *table, const char *method, struct parsed_uri *parsed,
	struct compiled_route **route_out, struct strbuf *allowed);

/* http_server_guard.c.  What the header guard saw; `why` is a short static word when it refuses. */
struct guarded_headers {
	bool has_content_length;
	bool expects_continue;
	size_t content_length;
};
MUST_CHECK enum status http_guard(const struct http_request *request, const char *version,
	struct guarded_headers *headers_out, const char **why_out);

/* http_server_request.c: libmicrohttpd's callbacks. */
void *http_on_uri(void *arg, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result http_on_access(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
	const char *version, const char *upload, size_t *upload_size, void **context);
void http_on_completed(
	void *arg, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode termination);
void http_request_forget(struct http_request *request);

/* http_server_connection.c */
enum MHD_Result http_on_accept(void *arg, const struct sockaddr *address, socklen_t length);
void http_on_connection(
	void *arg, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code);
int http_on_certificate(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
	const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **chain, unsigned *chain_length,
	gnutls_privkey_t *key);
/* The peer is verified under the certificates, CAs and CRLs of now. */
bool http_peer_is_good(struct http_connection *connection);

/* http_server_response.c.  Queues, with Connection: close when asked; false when out of memory. */
bool http_response_queue(struct http_response *response, struct MHD_Connection *mhd, bool closes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of struct http_client, shared by http_client.c (calls),
 * http_client_pool.c (connections) and http_client_tls.c (who is on the other
 * side).  Nobody else includes this.
 */
#ifndef BASE_HTTP_CLIENT_POOL_H
#define BASE_HTTP_CLIENT_POOL_H

#include <curl/curl.h>
#include <openssl/x509.h>

#include "base/http_client.h"
#include "base/object_id.h"
#include "base/strbuf.h"

/* One generation of the region's certificate, parsed once and shared by the pools made under it. */
struct http_client_credentials {
	int references; /* loop's thread only */
	uint64_t generation;
	X509 *leaf;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
	STACK_OF(X509_CRL) * crls;
	struct strbuf ca; /* PEM */
};

struct http_client_socket {
	struct http_client_pool *pool;
	struct loop_watch watch;
	curl_socket_t fd;
	struct http_client_socket *next, **at;
};

/* The connections to one region under one generation of certificates, or the plain ones. */
struct http_client_pool {
	struct http_client_pool *next;
	struct http_client *client;
	char region[REGION_SIZE];                    /* "" for plain http */
	char *uri;                                   /* what the server's certificate must say */
	struct http_client_credentials *credentials; /* NULL for plain http */
	bool is_retired;                             /* no new calls; goes when the last ends */
	CURLM *multi;
	struct loop_timer timer;
	struct http_client_socket *sockets;
	struct http_client_call *active; /* given to curl */
	struct http_client_call *free;   /* configured, waiting to be used again */
	int count;                       /* calls not yet done */
};

struct http_client_call {
	struct http_client_call *next, **at;
	struct http_client_pool *pool;
	CURL *easy;
	struct curl_slist *headers;
	struct strbuf body;
	const char *wanted_header;
	http_client_done *done;
	void *arg;
	int64_t started_ms;
	enum http_client_error error; /* for calls ended without curl */
	bool is_ended, is_too_large;
	char detail[CURL_ERROR_SIZE];
};

struct http_client {
	struct loop *loop;
	struct tls_store *tls;
	int connections_per_host_max;
	struct http_client_pool *pools;
	struct http_client_credentials *credentials; /* the newest */
	int64_t load_again_ms;                       /* after a failed load */
	struct http_client_call *ended;              /* to be told at the end of the round */
	struct loop_task later;
	bool is_later_deferred;
	bool is_closing; /* completions may not send again */
};

/* ---- http_client.c ---- */
/* A call that curl is through with. */
void http_client_finish(struct http_client_call *call, CURLcode code);
void http_client_call_free(struct http_client_call *call);

/* ---- http_client_pool.c ---- */
/* region NULL for plain http.  Retires pools of older certificates. */
MUST_CHECK enum status http_client_pool_get(
	struct http_client *client, const char *region, struct http_client_pool **pool_out);
/* Destroys retired pools without calls.  Not from inside a pool's own callbacks. */
void http_client_pool_sweep(struct http_client *client);
/* No calls may be left. */
void http_client_pool_destroy(struct http_client_pool *pool);

/* ---- http_client_tls.c ---- */
/* The newest set, borrowed; the last good one while new files cannot be loaded. */
MUST_CHECK enum status http_client_credentials_get(
	struct http_client *client, struct http_client_credentials **credentials_out);
void http_client_credentials_put(struct http_client_credentials *credentials);
/* Sets an easy handle up for mutual TLS with the pool's region and nobody else. */
MUST_CHECK bool http_client_tls_configure(CURL *easy, struct http_client_pool *pool);

#endif

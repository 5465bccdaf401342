/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls.  A call keeps its curl handle, header list and response buffer for the
 * next one, so that a warm call allocates next to nothing.  Its pool
 * (http_client_pool.c) decides which connections it may use.
 *
 * A call ends in one of two ways: curl reports it, or it is cancelled or was late
 * from the start; the latter wait in `ended` until the round's end.  Runs on the
 * loop's thread.
 */
#include "base/http_client.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/http_client_pool.h"
#include "base/must.h"

#define CONNECTIONS_PER_HOST_DEFAULT 32
#define CONNECT_TIMEOUT_DEFAULT_MS 1000
#define RESPONSE_BYTES_DEFAULT (1 << 20)
#define RESPONSE_KEPT_BYTES_MAX (1 << 18) /* a larger buffer is not kept for the next call */
#define HEADER_BYTES_MAX 256              /* of the one header that may be asked for */
#define CONNECTION_LIFE_S 300L            /* revocation does not touch open connections: this bounds it */
#define CONNECTION_IDLE_S 100L
#define KEEPALIVE_IDLE_S 30L
#define KEEPALIVE_INTERVAL_S 10L
#define BUFFER_BYTES 65536L /* a batch's answer in few reads */

static const char *const error_names[HTTP_CLIENT_ERROR_COUNT] = {
	[HTTP_CLIENT_OK] = "ok",
	[HTTP_CLIENT_DNS_ERROR] = "dns_error",
	[HTTP_CLIENT_CONNECTION_REFUSED] = "connection_refused",
	[HTTP_CLIENT_CONNECTION_TERMINATED] = "connection_terminated",
	[HTTP_CLIENT_CONNECTION_TIMEOUT] = "connection_timeout",
	[HTTP_CLIENT_RESPONSE_TIMEOUT] = "http_response_timeout",
	[HTTP_CLIENT_TLS_CERTIFICATE_ERROR] = "tls_certificate_error",
	[HTTP_CLIENT_TLS_PROTOCOL_ERROR] = "tls_protocol_error",
	[HTTP_CLIENT_RESPONSE_TOO_LARGE] = "http_response_body_size",
	[HTTP_CLIENT_PROTOCOL_ERROR] = "http_protocol_error",
	[HTTP_CLIENT_CANCELLED] = "cancelled",
};

const char *http_client_error_name(enum http_client_error error)
{
	must(error >= 0 && error < HTTP_CLIENT_ERROR_COUNT);
	return error_names[error];
}

/* ---- what curl says ---- */

static enum http_client_error timeout_kind(const struct http_client_call *call)
{
	curl_off_t sent_us = 0;

	/* Set when the request is about to be sent, on a new connection or a warm one. */
	curl_easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
	return sent_us > 0 ? HTTP_CLIENT_RESPONSE_TIMEOUT : HTTP_CLIENT_CONNECTION_TIMEOUT;
}

/* In TLS 1.3 the server judges our certificate after our side of the handshake is over. */
static enum http_client_error termination_kind(const struct http_client_call *call)
{
	if (strstr(call->detail, "alert") == NULL)
		return HTTP_CLIENT_CONNECTION_TERMINATED;
	return strstr(call->detail, "certificate") != NULL || strstr(call->detail, "unknown ca") != NULL
		       ? HTTP_CLIENT_TLS_CERTIFICATE_ERROR
		       : HTTP_CLIENT_TLS_PROTOCOL_ERROR;
}

static enum http_client_error error_of(const struct http_client_call *call, CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return HTTP_CLIENT_OK;
	case CURLE_COULDNT_RESOLVE_HOST:
		return HTTP_CLIENT_DNS_ERROR;
	case CURLE_COULDNT_CONNECT:
		return HTTP_CLIENT_CONNECTION_REFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return timeout_kind(call);
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
		return termination_kind(call);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CLIENTCERT:
		return HTTP_CLIENT_TLS_CERTIFICATE_ERROR;
	case CURLE_SSL_CONNECT_ERROR:
		return strstr(call->detail, "alert") != NULL ? termination_kind(call) : HTTP_CLIENT_TLS_PROTOCOL_ERROR;
	case CURLE_SSL_CIPHER:
	case CURLE_USE_SSL_FAILED:
	case CURLE_SSL_SHUTDOWN_FAILED:
		return HTTP_CLIENT_TLS_PROTOCOL_ERROR;
	case CURLE_FILESIZE_EXCEEDED:
		return HTTP_CLIENT_RESPONSE_TOO_LARGE;
	default:
		return call->is_too_large ? HTTP_CLIENT_RESPONSE_TOO_LARGE : HTTP_CLIENT_PROTOCOL_ERROR;
	}
}

/* ---- a call's life ---- */

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct http_client_call *call = arg;

	strbuf_add(&call->body, bytes, size * count);
	call->is_too_large = !strbuf_ok(&call->body);
	return call->is_too_large ? 0 : size * count;
}

/* What is the same for every call of the pool. */
static bool configure(struct http_client_call *call)
{
	CURL *easy = call->easy;
	bool is_tls = call->pool->credentials != NULL;

	return curl_easy_setopt(easy, CURLOPT_PRIVATE, call) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->detail) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEDATA, call) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, is_tls ? "https" : "http") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, CONNECTION_IDLE_S) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S) == CURLE_OK &&
	       (!is_tls || http_client_tls_configure(easy, call->pool));
}

void http_client_call_free(struct http_client_call *call)
{
	if (call->easy != NULL)
		curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	strbuf_release(&call->body);
	free(call);
}

static struct http_client_call *call_get(struct http_client_pool *pool)
{
	struct http_client_call *call = pool->free;

	if (call != NULL) {
		pool->free = call->next;
		return call;
	}
	call = calloc(1, sizeof(*call));
	if (call == NULL)
		return NULL;
	call->pool = pool;
	strbuf_init(&call->body);
	call->easy = curl_easy_init();
	if (call->easy == NULL || !configure(call)) {
		http_client_call_free(call);
		return NULL;
	}
	return call;
}

static void call_put(struct http_client_call *call)
{
	if (call->body.capacity > RESPONSE_KEPT_BYTES_MAX)
		strbuf_release(&call->body);
	call->next = call->pool->free;
	call->pool->free = call;
}

static void link_into(struct http_client_call **list, struct http_client_call *call)
{
	call->next = *list;
	call->at = list;
	if (call->next != NULL)
		call->next->at = &call->next;
	*list = call;
}

static void unlink_call(struct http_client_call *call)
{
	*call->at = call->next;
	if (call->next != NULL)
		call->next->at = call->at;
}

static void run_soon(struct http_client *client)
{
	if (client->is_later_deferred)
		return;
	client->is_later_deferred = true;
	loop_defer(client->loop, &client->later);
}

/* libcurl keeps an answer's headers until its handle is used again. */
static const char *header_of(const struct http_client_call *call)
{
	struct curl_header *header = NULL;

	if (call->wanted_header == NULL ||
		curl_easy_header(call->easy, call->wanted_header, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return NULL;
	return header->amount == 1 && strlen(header->value) <= HEADER_BYTES_MAX ? header->value : NULL;
}

/* The call is in no list any more. */
static void tell(struct http_client_call *call, enum http_client_error error, const char *detail)
{
	struct http_client_pool *pool = call->pool;
	struct http_client_result result = { .error = error,
		.detail = detail,
		.body = call->body.data,
		.body_size = call->body.length,
		.duration_ms = loop_now_ms(pool->client->loop) - call->started_ms };
	long status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	result.status = (int)status;
	if (error == HTTP_CLIENT_OK)
		result.header = header_of(call);
	call->done(call->arg, &result);
	call_put(call);
	if (--pool->count == 0 && pool->is_retired)
		run_soon(pool->client);
}

void http_client_finish(struct http_client_call *call, CURLcode code)
{
	unlink_call(call);
	curl_multi_remove_handle(call->pool->multi, call->easy);
	tell(call, error_of(call, code),
		code == CURLE_OK || call->detail[0] == '\0' ? curl_easy_strerror(code) : call->detail);
}

static void end_early(struct http_client_call *call, enum http_client_error error)
{
	struct http_client *client = call->pool->client;

	call->is_ended = true;
	call->error = error;
	link_into(&client->ended, call);
	run_soon(client);
}

static void tell_ended(struct http_client *client)
{
	while (client->ended != NULL) {
		struct http_client_call *call = client->ended;

		unlink_call(call);
		tell(call, call->error,
			call->error == HTTP_CLIENT_CANCELLED ? "cancelled" : "the deadline had passed already");
	}
}

static void run_later(struct loop_task *task)
{
	struct http_client *client = (struct http_client *)(void *)((char *)task - offsetof(struct http_client, later));

	client->is_later_deferred = false;
	tell_ended(client);
	http_client_pool_sweep(client);
}

/* ---- sending ---- */

static bool has_headers(const struct http_client_call *call, const char *const *headers)
{
	const struct curl_slist *entry = call->headers;

	/* The first is our own. */
	if (entry == NULL)
		return false;
	entry = entry->next;
	for (; headers != NULL && *headers != NULL; headers++, entry = entry->next)
		if (entry == NULL || strcmp(entry->data, *headers) != 0)
			return false;
	return entry == NULL;
}

static bool add_header(struct http_client_call *call, const char *header)
{
	struct curl_slist *grown = curl_slist_append(call->headers, header);

	if (grown == NULL)
		return false;
	call->headers = grown;
	return true;
}

static bool set_headers(struct http_client_call *call, const char *const *headers)
{
	if (has_headers(call, headers))
		return true;
	curl_slist_free_all(call->headers);
	call->headers = NULL;
	if (!add_header(call, "Expect:")) /* no round trip before a body */
		return false;
	for (; headers != NULL && *headers != NULL; headers++)
		if (!add_header(call, *headers))
			return false;
	return curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
}

static bool set_method(struct http_client_call *call, const struct http_client_request *request)
{
	CURL *easy = call->easy;
	bool is_get = strcmp(request->method, "GET") == 0, is_post = strcmp(request->method, "POST") == 0;

	if (curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, is_get || is_post ? NULL : request->method) != CURLE_OK)
		return false;
	if (!is_post && request->body == NULL)
		return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
	return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size) == CURLE_OK;
}

static bool set_request(struct http_client_call *call, const struct http_client_request *request, int64_t left_ms)
{
	int64_t connect_ms = request->connect_timeout_ms > 0 ? request->connect_timeout_ms : CONNECT_TIMEOUT_DEFAULT_MS;

	return set_method(call, request) && set_headers(call, request->headers) &&
	       curl_easy_setopt(call->easy, CURLOPT_URL, request->url) == CURLE_OK &&
	       curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, (long)left_ms) == CURLE_OK &&
	       curl_easy_setopt(call->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) == CURLE_OK;
}

enum status http_client_send(struct http_client *client, const struct http_client_request *request,
	http_client_done *done, void *arg, struct http_client_call **call_out)
{
	struct http_client_pool *pool;
	struct http_client_call *call;
	int64_t now_ms = loop_now_ms(client->loop), left_ms = request->deadline_ms - now_ms;
	enum status status;

	if (call_out != NULL)
		*call_out = NULL;
	if (client->is_closing)
		return STATUS_DRAINING;
	status = http_client_pool_get(client, request->peer_region, &pool);
	if (status != STATUS_OK)
		return status;
	call = call_get(pool);
	if (call == NULL)
		return STATUS_NO_MEMORY;
	strbuf_reset(&call->body);
	call->body.max = request->response_bytes_max > 0 ? request->response_bytes_max : RESPONSE_BYTES_DEFAULT;
	call->done = done;
	call->arg = arg;
	call->started_ms = now_ms;
	call->wanted_header = request->wanted_header;
	call->is_ended = call->is_too_large = false;
	call->detail[0] = '\0';
	if (!set_request(call, request, left_ms > 0 ? left_ms : 1)) {
		call_put(call);
		return STATUS_NO_MEMORY;
	}
	pool->count++;
	if (left_ms <= 0) {
		end_early(call, HTTP_CLIENT_CONNECTION_TIMEOUT);
	} else if (curl_multi_add_handle(pool->multi, call->easy) == CURLM_OK) {
		link_into(&pool->active, call);
	} else {
		pool->count--;
		call_put(call);
		return STATUS_NO_MEMORY;
	}
	if (call_out != NULL)
		*call_out = call;
	return STATUS_OK;
}

void http_client_cancel(struct http_client *client, struct http_client_call *call)
{
	must(call->pool->client == client);
	if (call->is_ended)
		return;
	unlink_call(call);
	curl_multi_remove_handle(call->pool->multi, call->easy);
	end_early(call, HTTP_CLIENT_CANCELLED);
}

/* ---- the client ---- */

static void init_curl(void)
{
	must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

enum status http_client_create(
	struct loop *loop, const struct http_client_settings *settings, struct http_client **client_out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT; /* libcurl's own state is the process's */
	struct http_client *client = calloc(1, sizeof(*client));

	*client_out = client;
	if (client == NULL)
		return STATUS_NO_MEMORY;
	pthread_once(&once, init_curl);
	client->loop = loop;
	client->tls = settings->tls;
	client->connections_per_host_max = settings->connections_per_host_max > 0 ? settings->connections_per_host_max
										  : CONNECTIONS_PER_HOST_DEFAULT;
	client->later.run = run_later;
	return STATUS_OK;
}

void http_client_destroy(struct http_client *client)
{
	if (client == NULL)
		return;
	client->is_closing = true;
	for (struct http_client_pool *pool = client->pools; pool != NULL; pool = pool->next)
		while (pool->active != NULL)
			http_client_cancel(client, pool->active);
	tell_ended(client);
	while (client->pools != NULL) {
		struct http_client_pool *pool = client->pools;

		must(pool->count == 0);
		client->pools = pool->next;
		http_client_pool_destroy(pool);
	}
	if (client->is_later_deferred)
		loop_defer_cancel(client->loop, &client->later);
	http_client_credentials_put(client->credentials);
	free(client);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's life on its HTTP thread: request line, guard, endpoint, body,
 * handler, answer.  libmicrohttpd calls http_on_access once with the headers, then
 * for each piece of body, then once with nothing more to read; a suspended request
 * is called once more after its reply.  What is refused before its body is read is
 * still answered cleanly: a body of reasonable size is thrown away first, because
 * closing on unread data would destroy the answer on its way.
 */
#include <stdlib.h>
#include <string.h>

#include "base/http_server_internal.h"
#include "base/log.h"
#include "base/must.h"
#include "base/problem.h"

static void set_deadline(struct http_connection *connection, int64_t deadline_ms)
{
	atomic_store_explicit(&connection->deadline_ms, deadline_ms, memory_order_relaxed);
}

/* ---- the answer ---- */

static struct metric_series *series_for(struct http_request *request, int status)
{
	static const char *const classes[ROUTE_METHOD_CLASSES] = { "other", "1xx", "2xx", "3xx", "4xx", "5xx" };
	struct http_server *server = request->connection->server;
	struct compiled_route *route = request->route == NULL ? &server->no_route : request->route;
	int class = status >= 100 && status < 600 ? status / 100 : 0;
	struct metric_series *series = atomic_load_explicit(&route->series[class], memory_order_acquire);
	if (series == NULL) {
		series = metric_series(server->duration, server->name, route->route->pattern, route->route->method,
			classes[class], (const char *)NULL);
		atomic_store_explicit(&route->series[class], series, memory_order_release);
	}
	return series;
}

static bool must_close(const struct http_request *request)
{
	const struct http_connection *connection = request->connection;
	const struct http_server *server = connection->server;
	if (request->must_close || atomic_load_explicit(&server->is_draining, memory_order_relaxed))
		return true;
	int64_t age_ms_max = server->settings.connection_age_ms_max;
	return age_ms_max > 0 && request->started_us / 1000 - connection->opened_ms >= age_ms_max;
}

/* Takes the response. */
static enum MHD_Result queue(struct http_request *request, struct http_response *response)
{
	request->phase = REQUEST_ANSWERED;
	bool queued = http_response_queue(response, request->connection->mhd, must_close(request));
	metric_observe_us(series_for(request, http_response_status(response)), http_now_us() - request->started_us);
	http_response_release(response);
	return queued ? MHD_YES : MHD_NO;
}

static struct http_response *refusal(enum status status, const char *code, const char *detail)
{
	return problem_response(&(struct problem){ .status = status, .code = code, .detail = detail });
}

static void count_refusal(struct http_request *request, const char *reason)
{
	struct http_server *server = request->connection->server;
	metric_add(metric_series(server->refused, server->name, reason, (const char *)NULL), 1);
	LOG_DEBUG("http_request_refused", "server", server->name, "reason", reason);
}

/* Answers at once and reads nothing more from this connection. */
static enum MHD_Result refuse_and_close(struct http_request *request, struct http_response *response)
{
	request->must_close = true;
	return response == NULL ? MHD_NO : queue(request, response);
}

/* ---- the request line and the headers ---- */

void *http_on_uri(void *arg, const char *uri, struct MHD_Connection *mhd)
{
	(void)arg;
	struct http_connection *connection =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	if (connection == NULL)
		return NULL;
	struct http_request *request = &connection->request;
	if (request->phase != REQUEST_NONE)
		http_request_forget(request);
	request->started_us = http_now_us();
	set_deadline(connection, request->started_us / 1000 + connection->server->settings.request_deadline_ms);
	atomic_fetch_add_explicit(&connection->server->unfinished, 1, memory_order_relaxed);
	request->phase = REQUEST_LINE;
	request->raw_uri = uri;
	request->uri_length = strlen(uri);
	request->uri = request->inline_uri;
	if (request->uri_length >= URI_INLINE_SIZE && request->uri_length <= URI_SIZE_MAX)
		request->uri = malloc(request->uri_length + 1);
	if (request->uri == NULL)
		return NULL;
	if (request->uri_length <= URI_SIZE_MAX)
		memcpy(request->uri, uri, request->uri_length + 1);
	return request;
}

static bool method_has_body(const char *method)
{
	return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

/* Finds the endpoint; NULL when all is well, else the refusal, which `*out_of_memory` may stand for. */
static struct http_response *find_endpoint(
	struct http_request *request, const struct guarded_headers *headers, bool *out_of_memory)
{
	const struct http_server *server = request->connection->server;
	struct http_response *response = NULL;
	struct strbuf allowed = STRBUF_INIT;
	enum status status = route_match(&server->routes, request->method, &request->parsed, &request->route, &allowed);
	if (status == STATUS_NOT_FOUND) {
		response = refusal(STATUS_NOT_FOUND, NULL, NULL);
	} else if (status != STATUS_OK) {
		response = problem_response(&(struct problem){ .status = STATUS_INVALID,
			.http_status = 405,
			.code = "method-not-allowed",
			.title = "This endpoint has other methods" });
		if (response != NULL && strbuf_ok(&allowed))
			http_response_header(response, "Allow", allowed.data);
	} else if (!headers->has_content_length && method_has_body(request->method)) {
		response = problem_response(&(struct problem){ .status = STATUS_INVALID,
			.http_status = 411,
			.code = "length-required",
			.title = "Content-Length is needed" });
	} else if (headers->content_length > server->settings.body_bytes_max) {
		response = refusal(STATUS_TOO_LARGE, NULL, "The body is larger than this listener accepts.");
	} else {
		strbuf_release(&allowed);
		return NULL;
	}
	strbuf_release(&allowed);
	*out_of_memory = response == NULL;
	return response;
}

static enum MHD_Result begin(struct http_request *request, const char *version)
{
	struct http_connection *connection = request->connection;
	struct guarded_headers headers;
	const char *why = NULL;
	if (http_guard(request, version, &headers, &why) != STATUS_OK) {
		count_refusal(request, why);
		return refuse_and_close(
			request, refusal(STATUS_INVALID, NULL, "The request's framing is not acceptable."));
	}
	if (connection->server->settings.tls != NULL && !http_peer_is_good(connection)) {
		count_refusal(request, "peer");
		return MHD_NO;
	}
	if (uri_parse(request->uri, connection->server->settings.strict_path, &request->parsed, &why) != STATUS_OK) {
		count_refusal(request, "target");
		return refuse_and_close(request, refusal(STATUS_INVALID, NULL, why));
	}
	bool out_of_memory = false;
	request->content_length = headers.content_length;
	request->refusal = find_endpoint(request, &headers, &out_of_memory);
	if (out_of_memory)
		return MHD_NO;
	if (request->refusal != NULL && (headers.expects_continue || headers.content_length > DISCARD_BYTES_MAX ||
						(!headers.has_content_length && method_has_body(request->method)))) {
		struct http_response *response = request->refusal;
		request->refusal = NULL;
		return refuse_and_close(request, response);
	}
	request->phase = REQUEST_BODY;
	return MHD_YES;
}

/* ---- the body ---- */

static bool body_add(struct http_request *request, const char *bytes, size_t size)
{
	must(request->body_length + size <= request->content_length);
	size_t needed = request->body_length + size + 1;
	if (needed > request->body_capacity) {
		size_t capacity = request->body_capacity * 2;
		if (capacity < needed)
			capacity = needed;
		/* What has been promised is only believed in part: the rest is allocated as it comes. */
		if (capacity < request->content_length + 1 && request->content_length < BODY_KEPT_BYTES_MAX)
			capacity = request->content_length + 1;
		char *body = realloc(request->body, capacity);
		if (body == NULL)
			return false;
		request->body = body;
		request->body_capacity = capacity;
	}
	memcpy(request->body + request->body_length, bytes, size);
	request->body_length += size;
	request->body[request->body_length] = '\0';
	return true;
}

static enum MHD_Result dispatch(struct http_request *request)
{
	struct http_server *server = request->connection->server;
	struct http_response *response = request->refusal;
	if (response != NULL) {
		request->refusal = NULL;
		return queue(request, response);
	}
	/* Counted before the look, as http_server_refuse() looks after its mark: one of the two sees the other. */
	atomic_fetch_add(&server->in_flight, 1);
	if (atomic_load(&server->is_refusing)) {
		atomic_fetch_sub(&server->in_flight, 1);
		return refuse_and_close(request, refusal(STATUS_DRAINING, NULL, NULL));
	}
	request->phase = REQUEST_SUSPENDED;
	request->route->route->handler(server->settings.arg, request);
	if (request->is_suspended)
		return MHD_YES;
	response = atomic_load_explicit(&request->response, memory_order_relaxed);
	must(response != NULL);
	atomic_store_explicit(&request->response, NULL, memory_order_relaxed);
	return queue(request, response);
}

enum MHD_Result http_on_access(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
	const char *version, const char *upload, size_t *upload_size, void **context)
{
	struct http_request *request = *context;
	(void)arg;
	(void)mhd;
	(void)url;
	if (request == NULL)
		return MHD_NO;
	switch (request->phase) {
	case REQUEST_LINE:
		request->method = method;
		return begin(request, version);
	case REQUEST_BODY:
		if (*upload_size == 0)
			return dispatch(request);
		if (request->refusal == NULL && !body_add(request, upload, *upload_size))
			return MHD_NO;
		*upload_size = 0;
		return MHD_YES;
	case REQUEST_SUSPENDED: {
		struct http_response *response = atomic_exchange_explicit(
			&request->response, NULL, memory_order_acquire);
		return response == NULL ? MHD_YES : queue(request, response);
	}
	default:
		return MHD_NO;
	}
}

void http_request_forget(struct http_request *request)
{
	if (request->phase == REQUEST_NONE)
		return;
	if (request->uri != request->inline_uri)
		free(request->uri);
	if (request->body_capacity > BODY_KEPT_BYTES_MAX) {
		free(request->body);
		request->body = NULL;
		request->body_capacity = 0;
	}
	http_response_release(request->refusal);
	http_response_release(atomic_load_explicit(&request->response, memory_order_acquire));
	request->uri = NULL;
	request->route = NULL;
	request->refusal = NULL;
	request->is_suspended = false;
	request->must_close = false;
	request->body_length = 0;
	request->content_length = 0;
	request->phase = REQUEST_NONE;
	atomic_store_explicit(&request->response, NULL, memory_order_relaxed);
	atomic_fetch_sub_explicit(&request->connection->server->unfinished, 1, memory_order_relaxed);
}

void http_on_completed(
	void *arg, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode termination)
{
	struct http_request *request = *context;
	(void)arg;
	(void)mhd;
	*context = NULL;
	if (request == NULL)
		return;
	struct http_connection *connection = request->connection;
	http_request_forget(request);
	if (termination == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		set_deadline(connection, http_now_ms() + connection->server->settings.idle_timeout_ms);
}

/* ---- what a handler sees ---- */

const char *http_request_method(const struct http_request *request)
{
	return request->method;
}

const char *http_request_param(const struct http_request *request, const char *name)
{
	const struct compiled_route *route = request->route;
	size_t length = strlen(name);
	for (size_t i = 0; i < route->segment_count; i++) {
		const struct route_segment *segment = &route->segments[i];
		if (segment->is_param && segment->length == length && memcmp(segment->text, name, length) == 0)
			return request->parsed.segments[i];
	}
	return NULL;
}

const char *http_request_query(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->parsed.query_count; i++) {
		if (strcmp(request->parsed.query[i].name, name) == 0)
			return request->parsed.query[i].value;
	}
	return NULL;
}

void http_request_each_query(
	const struct http_request *request, bool (*each)(void *arg, const char *name, const char *value), void *arg)
{
	for (size_t i = 0; i < request->parsed.query_count; i++) {
		if (!each(arg, request->parsed.query[i].name, request->parsed.query[i].value))
			return;
	}
}

const char *http_request_header(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection->mhd, MHD_HEADER_KIND, name);
}

struct header_visit {
	bool (*each)(void *arg, const char *name, const char *value);
	void *arg;
};

static enum MHD_Result visit_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	const struct header_visit *visit = arg;

	(void)kind;
	return visit->each(visit->arg, name, value != NULL ? value : "") ? MHD_YES : MHD_NO;
}

void http_request_each_header(
	const struct http_request *request, bool (*each)(void *arg, const char *name, const char *value), void *arg)
{
	struct header_visit visit = { each, arg };

	MHD_get_connection_values(request->connection->mhd, MHD_HEADER_KIND, visit_header, &visit);
}

const char *http_request_body(const struct http_request *request, size_t *size_out)
{
	if (size_out != NULL)
		*size_out = request->body_length;
	return request->body_length == 0 ? NULL : request->body;
}

const char *http_request_peer(const struct http_request *request)
{
	return request->connection->server->settings.tls == NULL ? NULL : request->connection->peer;
}

int64_t http_request_started_ms(const struct http_request *request)
{
	return request->started_us / 1000;
}

void http_request_suspend(struct http_request *request)
{
	must(request->phase == REQUEST_SUSPENDED && !request->is_suspended);
	request->is_suspended = true;
	MHD_suspend_connection(request->connection->mhd);
}

void http_request_reply(struct http_request *request, struct http_response *response)
{
	struct http_server *server = request->connection->server;
	if (response == NULL)
		response = http_response_acquire(server->no_memory);
	bool is_suspended = request->is_suspended;
	struct http_response *earlier = atomic_exchange_explicit(&request->response, response, memory_order_acq_rel);
	must(earlier == NULL);
	/* From here on the request belongs to its HTTP thread and may be gone; the count keeps the server. */
	if (is_suspended)
		http_loop_answered(request);
	atomic_fetch_sub_explicit(&server->in_flight, 1, memory_order_release);
}

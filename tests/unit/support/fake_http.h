/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake HTTP server's side of one request: what is asked is set by the test, and what was
 * answered is kept for it.  For the one program that includes it, which it links instead of the real one.
 */
#ifndef SUPPORT_FAKE_HTTP_H
#define SUPPORT_FAKE_HTTP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/http_server.h"
#include "base/loop.h"
#include "base/must.h"
#include "base/problem.h"

struct http_response {
	int status;
	const char *type, *cache_control; /* borrowed */
	char *body;
	size_t size;
};

struct http_request {
	struct loop *loop; /* left when it is answered with a response */
	const char *peer, *timeout, *body, *param;
	struct http_response *response;
	enum status problem;
	int replies;
	bool is_suspended;
};

const char *http_request_param(const struct http_request *request, const char *name)
{
	(void)name;
	return request->param;
}

const char *http_request_peer(const struct http_request *request)
{
	return request->peer;
}

const char *http_request_header(const struct http_request *request, const char *name)
{
	return strcmp(name, "Homeward-Timeout-Ms") == 0 ? request->timeout : NULL;
}

const char *http_request_query(const struct http_request *request, const char *name)
{
	(void)request;
	(void)name;
	return NULL;
}

const char *http_request_body(const struct http_request *request, size_t *size_out)
{
	*size_out = strlen(request->body);
	return request->body;
}

void http_request_suspend(struct http_request *request)
{
	request->is_suspended = true;
}

void http_request_reply(struct http_request *request, struct http_response *response)
{
	request->replies++;
	request->response = response;
	loop_break(request->loop);
}

void problem_reply(struct http_request *request, enum status status, const char *detail)
{
	(void)detail;
	request->replies++;
	request->problem = status;
	if (request->is_suspended)
		loop_break(request->loop);
}

struct http_response *http_response_create_taking(int status, const char *content_type, char *body, size_t size)
{
	struct http_response *response = calloc(1, sizeof(*response));

	must(response != NULL && body[size] == '\0');
	response->status = status;
	response->type = content_type;
	response->body = body;
	response->size = size;
	return response;
}

struct http_response *http_response_create(int status, const char *content_type, const void *body, size_t size)
{
	char *copy = calloc(1, size + 1);

	must(copy != NULL);
	memcpy(copy, body, size);
	return http_response_create_taking(status, content_type, copy, size);
}

void http_response_header(struct http_response *response, const char *name, const char *value)
{
	assert_non_null(response);
	if (strcmp(name, "Retry-After") == 0) {
		assert_non_null(strstr(response->body, "overloaded"));
		return;
	}
	assert_string_equal(name, "Cache-Control");
	response->cache_control = value;
}

/* Ready for the next one. */
static void fake_http_forget(struct http_request *request)
{
	if (request->response != NULL)
		free(request->response->body);
	free(request->response);
	request->response = NULL;
	request->replies = 0;
	request->problem = STATUS_OK;
	request->is_suspended = false;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Problems: the one place where an outcome becomes an HTTP status, a stable code
 * and a title.  STATUS_NOT_AVAILABLE has one body for "unknown" and "denied", so
 * that neither can be told from the other; nothing here may depend on which it was.
 * Stateless; safe from any thread.
 */
#include "base/problem.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"

#define PROBLEM_TYPE_BASE "https://homeward.dev/problems/"

struct problem_kind {
	int http_status;
	int retry_after_s;
	const char *code;
	const char *title;
	const char *detail;
};

static const struct problem_kind kinds[STATUS_COUNT] = {
	[STATUS_OK] = { 500, 0, "internal", "Internal error", NULL },
	[STATUS_INVALID] = { 400, 0, "invalid", "The request is not valid", NULL },
	[STATUS_UNAUTHENTICATED] = { 401, 0, "unauthenticated", "A known credential is needed",
		"Send Authorization: Bearer with a caller's token." },
	[STATUS_FORBIDDEN] = { 403, 0, "forbidden", "This caller may not do this", NULL },
	[STATUS_NOT_AVAILABLE] = { 404, 0, "not-available", "Not available",
		"There is no such object, or it is not available for this purpose." },
	[STATUS_NOT_FOUND] = { 404, 0, "not-found", "There is no such endpoint", NULL },
	[STATUS_NOT_CACHED] = { 504, 0, "not-cached", "Not in the cache",
		"only-if-cached was asked and nothing fresh is held." },
	[STATUS_CONFLICT] = { 409, 0, "conflict", "It exists already", NULL },
	[STATUS_PRECONDITION_FAILED] = { 412, 0, "precondition-failed", "The version is another one",
		"Read the object again and send its ETag in If-Match." },
	[STATUS_PRECONDITION_REQUIRED] = { 428, 0, "precondition-required", "If-Match is needed",
		"Send the object's ETag in If-Match, or If-None-Match: * to make a new one." },
	[STATUS_MISDIRECTED] = { 421, 0, "misdirected", "The object's home is another region", NULL },
	[STATUS_TOO_LARGE] = { 413, 0, "too-large", "Too large", NULL },
	[STATUS_OVERLOADED] = { 503, 1, "overloaded", "Too busy", "Try again after the time in Retry-After." },
	[STATUS_DEADLINE] = { 504, 0, "deadline", "The time allowed ran out", NULL },
	[STATUS_UNREACHABLE] = { 503, 1, "home-unreachable", "The home region cannot be reached",
		"Nothing may be decided about this object until its home answers again." },
	[STATUS_BAD_PEER] = { 502, 0, "bad-peer", "The other side's answer made no sense", NULL },
	[STATUS_UNRECORDED] = { 503, 1, "access-log-unavailable", "The access log cannot be written",
		"Nothing personal may cross between regions until it can." },
	[STATUS_DRAINING] = { 503, 1, "draining", "This process is shutting down",
		"Use another address of the region." },
	[STATUS_NO_MEMORY] = { 503, 1, "overloaded", "Too busy", "Try again after the time in Retry-After." },
	[STATUS_IO] = { 500, 0, "internal", "Internal error", NULL },
	[STATUS_INTERNAL] = { 500, 0, "internal", "Internal error", NULL },
};

static const struct problem_kind *kind_of(enum status status)
{
	must((int)status >= 0 && status < STATUS_COUNT);
	return &kinds[status];
}

int problem_http_status(enum status status)
{
	return kind_of(status)->http_status;
}

const char *problem_code(enum status status)
{
	return kind_of(status)->code;
}

static void add_member(struct strbuf *text, const char *name, const char *value)
{
	if (value == NULL)
		return;
	strbuf_addf(text, ",\"%s\":", name);
	strbuf_add_json(text, value, strlen(value));
}

struct http_response *problem_response(const struct problem *problem)
{
	const struct problem_kind *kind = kind_of(problem->status);
	const char *code = problem->code == NULL ? kind->code : problem->code;
	int http_status = problem->http_status == 0 ? kind->http_status : problem->http_status;
	struct strbuf text = STRBUF_INIT;
	strbuf_addf(&text, "{\"type\":\"%s%s\",\"title\":\"%s\",\"status\":%d", PROBLEM_TYPE_BASE, code,
		problem->title == NULL ? kind->title : problem->title, http_status);
	add_member(&text, "detail", problem->detail == NULL ? kind->detail : problem->detail);
	add_member(&text, "code", code);
	add_member(&text, "trace_id", problem->trace_id);
	add_member(&text, "exchange", problem->exchange);
	strbuf_addc(&text, '}');
	size_t size = 0;
	char *body = strbuf_take(&text, &size);
	strbuf_release(&text);
	if (body == NULL)
		return NULL;
	struct http_response *response = http_response_create_taking(
		http_status, "application/problem+json", body, size);
	if (response == NULL)
		return NULL;
	http_response_header(response, "Cache-Control", "no-store");
	int retry_after_s = problem->retry_after_s > 0 ? problem->retry_after_s : kind->retry_after_s;
	if (retry_after_s > 0) {
		char number[16];
		snprintf(number, sizeof number, "%d", retry_after_s);
		http_response_header(response, "Retry-After", number);
	}
	if (problem->status == STATUS_UNAUTHENTICATED)
		http_response_header(response, "WWW-Authenticate", "Bearer");
	if (problem->proxy_status != NULL)
		http_response_header(response, "Proxy-Status", problem->proxy_status);
	return response;
}

void problem_reply(struct http_request *request, enum status status, const char *detail)
{
	http_request_reply(request, problem_response(&(struct problem){ .status = status, .detail = detail }));
}

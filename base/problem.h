/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Problems: RFC 9457 bodies, and the one table from enum status to HTTP status,
 * stable code and title.
 */
#ifndef BASE_PROBLEM_H
#define BASE_PROBLEM_H

#include "base/http_server.h"
#include "base/status.h"

struct problem {
	enum status status;
	const char *detail;       /* how to put it right; NULL: the table's */
	const char *code;         /* a finer code than the status's; NULL: the table's, e.g. "not-available" */
	const char *title;        /* with a code of one's own; NULL: the table's */
	int http_status;          /* with a code of one's own; 0: the table's */
	const char *trace_id;     /* 32 hex digits or NULL */
	const char *exchange;     /* exchange id text or NULL */
	int retry_after_s;        /* 0: none */
	const char *proxy_status; /* RFC 9209 header value, or NULL */
};

int problem_http_status(enum status status);
const char *problem_code(enum status status);
/* application/problem+json with Cache-Control: no-store.  NULL when out of memory. */
struct http_response *problem_response(const struct problem *problem);
/* The common case: replies with a problem of this status and detail (NULL: the table's). */
void problem_reply(struct http_request *request, enum status status, const char *detail);

#endif

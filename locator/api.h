/* SPDX-License-Identifier: Apache-2.0 */
/* What the client API's endpoints share: who asks, what exactly, and how answers and problems are put. */
#ifndef LOCATOR_API_H
#define LOCATOR_API_H

#include "base/http_server.h"
#include "base/problem.h"
#include "locator/engine.h"

/* One request, while it is on its HTTP thread. */
struct api_request {
	struct locator *locator;
	struct http_request *request;
	struct callers *callers;     /* keeps caller alive */
	const struct caller *caller; /* never NULL once api_begin said true */
};

/* False: it has been answered (401). */
bool api_begin(struct locator *locator, struct http_request *request, struct api_request *api);
void api_end(struct api_request *api);

/* As the client wrote it; NULL where it said nothing. */
struct api_ask {
	const char *type, *id, *purpose, *station, *station_type, *tap;
};
/*
 * Checks and canonicalises.  STATUS_INVALID or STATUS_FORBIDDEN with the parameter named in `why`.
 * Fills everything but exchange, deadline and traceparent.
 */
MUST_CHECK enum status api_question(const struct locator *locator, const struct caller *caller,
	const struct api_ask *ask, struct lookup_question *question, struct strbuf *why);
MUST_CHECK enum status api_object(const struct locator *locator, const char *type, const char *id,
	const char *type_name, const char *id_name, struct object_id *object, struct strbuf *why);
/* A new exchange id (also on failure), deadline from Homeward-Timeout-Ms, traceparent from the request or new;
 * STATUS_INVALID names the header. */
MUST_CHECK enum status api_terms(const struct api_request *api, struct lookup_question *question, struct strbuf *why);
struct exchange_id api_exchange(const struct locator *locator);
enum cache_mode api_cache_mode(const struct http_request *request);
/* 400 for the first query parameter that is not among the names; true when there is none. */
bool api_only_query(struct http_request *request, const char *const *names, size_t count);
/* The body as a JSON object; answers 400 or 413 itself and returns NULL. */
json_t *api_body(struct http_request *request, size_t bytes_max);

/* A valid version 00 (or later) traceparent header, else NULL. */
const char *api_traceparent(const struct http_request *request);

/* Replies with a problem that carries exchange and trace id.  detail NULL: the table's. */
void api_problem(
	struct http_request *request, const struct lookup_question *question, enum status status, const char *detail);
/* For what came back from a lookup: adds Retry-After or Proxy-Status where they help. */
void api_problem_of(const struct locator *locator, struct http_request *request, const struct lookup_question *question,
	const struct resolve_result *result);
/* 200 application/json from the text, which is emptied; NULL when out of memory. */
struct http_response *api_json(int status, struct strbuf *text);
void api_reply(struct http_request *request, struct http_response *response);

/* ---- a record as an answer (answer.c) ---- */

enum answer_kind { ANSWER_HIT, ANSWER_STORED, ANSWER_FORWARDED, ANSWER_COLLAPSED, ANSWER_BYPASSED, ANSWER_LOCAL };
enum answer_kind answer_kind_of(const struct resolve_result *result, enum cache_mode mode);
/* {"type":…,"id":…,"home":…,"version":…,"record":…} */
void answer_write(const struct cache_entry *entry, struct strbuf *text);
/* LOOKUP_… flags in words; "" for none. */
const char *answer_flags(unsigned int flags);
/* Replies with the record, or 304 when the request's If-None-Match names its version. */
void answer_reply(const struct locator *locator, struct http_request *request, const struct cache_entry *entry,
	enum answer_kind kind, unsigned int flags);
/* The same for a hit, from the response prebuilt in the permit if it can be used; builds it if there is none. */
void answer_reply_hit(const struct locator *locator, struct http_request *request, struct cache_entry *entry,
	struct cache_permit *permit);

/* ---- endpoints ---- */

void api_get_object(void *arg, struct http_request *request);
void api_put_object(void *arg, struct http_request *request);
void api_delete_object(void *arg, struct http_request *request);
void api_batch(void *arg, struct http_request *request);
void api_locate(void *arg, struct http_request *request);
void api_authorize(void *arg, struct http_request *request);

#endif

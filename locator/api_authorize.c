/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/authorize: may this token charge at this station?  A lookup like any
 * other, its record read by authorize_decide().  What cannot be looked up is not
 * allowed; what cannot be reached is a problem for the caller to decide about,
 * except that an expired record may still refuse.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "locator/api.h"
#include "locator/authorize.h"

#define AUTHORIZE_BYTES_MAX (16 * 1024)

struct authorize_call {
	struct lookup_call call;
	struct http_request *request;
};

static void reply_authorized(const struct locator *locator, struct http_request *request,
	enum authorization authorization, const char *source, const char *home, const struct exchange_id *exchange,
	const json_t *record, unsigned int flags)
{
	struct strbuf text = STRBUF_INIT;
	char exchange_text[EXCHANGE_ID_TEXT_SIZE];
	exchange_id_format(exchange, exchange_text);
	strbuf_addf(&text, "{\"status\":\"%s\",\"home\":", authorization_name(authorization));
	if (home && home[0])
		strbuf_add_json(&text, home, strlen(home));
	else
		strbuf_adds(&text, "null");
	strbuf_addf(&text, ",\"source\":\"%s\",\"exchange\":\"%s\"", source, exchange_text);
	const char *valid_until = json_get_string(record, "valid_until");
	if (valid_until) {
		strbuf_adds(&text, ",\"valid_until\":");
		strbuf_add_json(&text, valid_until, strlen(valid_until));
	}
	if (flags)
		strbuf_addf(&text, ",\"flags\":[\"%s\"]", answer_flags(flags));
	strbuf_addc(&text, '}');
	struct http_response *response = api_json(200, &text);
	strbuf_release(&text);
	const char *traceparent = api_traceparent(request);
	if (response) {
		http_response_header(response, "Cache-Control", "no-store");
		http_response_header(response, "Homeward-Exchange", exchange_text);
	}
	if (response && traceparent)
		http_response_header(response, "traceparent", traceparent);
	(void)locator;
	api_reply(request, response);
}

static void reply_from_entry(const struct locator *locator, struct http_request *request,
	const struct cache_entry *entry, const char *source, unsigned int flags)
{
	json_t *record = NULL;
	enum authorization authorization = AUTHORIZATION_NOT_ALLOWED;
	if (!json_parse(entry->record, entry->record_length, &record, NULL))
		authorization = authorize_decide(record, clock_wall_us(locator->settings.clock));
	reply_authorized(locator, request, authorization, source, entry->home, &entry->exchange, record, flags);
	json_decref(record);
}

/* Answers with an expired record only if it refuses. */
static bool refuse_from_stale(
	const struct locator *locator, struct http_request *request, const struct cache_entry *stale)
{
	json_t *record = NULL;
	bool refuses = !json_parse(stale->record, stale->record_length, &record, NULL) &&
		       authorize_decide(record, clock_wall_us(locator->settings.clock)) != AUTHORIZATION_ALLOWED;
	json_decref(record);
	if (refuses)
		reply_from_entry(locator, request, stale, "cache", 0);
	return refuses;
}

static void authorize_done(struct lookup_call *lookup, const struct resolve_result *result)
{
	static const char *const sources[] = {
		[SOURCE_NONE] = "none", [SOURCE_CACHE] = "cache", [SOURCE_LOCAL] = "local", [SOURCE_HOME] = "home"
	};
	struct authorize_call *call = (struct authorize_call *)((char *)lookup - offsetof(struct authorize_call, call));
	struct locator *locator = lookup->engine->locator;
	if (result->status == STATUS_OK)
		reply_from_entry(locator, call->request, result->entry, sources[result->source], result->flags);
	else if (result->status == STATUS_NOT_AVAILABLE)
		/* No home and no source: whether the token exists anywhere is not this caller's business. */
		reply_authorized(
			locator, call->request, AUTHORIZATION_NOT_ALLOWED, "none", NULL, &result->exchange, NULL, 0);
	else if (!result->stale || !refuse_from_stale(locator, call->request, result->stale))
		api_problem_of(locator, call->request, &lookup->waiter.question, result);
	free(call);
}

static enum status read_body(const json_t *body, struct api_ask *ask, struct strbuf *why)
{
	static const char *const names[] = { "id", "token", "type", "station", "station_type", "purpose", "tap" };
	const char *texts[7];
	size_t known = 0;
	for (size_t i = 0; i < 7; i++) {
		const json_t *value = json_object_get(body, names[i]);
		texts[i] = json_string_value(value);
		if (value && !texts[i]) {
			strbuf_addf(why, "%s: not a string", names[i]);
			return STATUS_INVALID;
		}
		known += value != NULL;
	}
	if (known != json_object_size(body)) {
		strbuf_adds(why, "a member is not one of token, id, type, station, station_type, purpose, tap");
		return STATUS_INVALID;
	}
	if (!texts[0] == !texts[1]) {
		strbuf_adds(why, "token: send exactly one of token and id");
		return STATUS_INVALID;
	}
	*ask = (struct api_ask){ .id = texts[0] ? texts[0] : texts[1],
		.type = texts[2] ? texts[2] : "token",
		.station = texts[3],
		.station_type = texts[4],
		.purpose = texts[5] ? texts[5] : "charge.authorize",
		.tap = texts[6] };
	return STATUS_OK;
}

static void start_authorize(const struct api_request *api, const struct lookup_question *question)
{
	struct authorize_call *call = calloc(1, sizeof(*call));
	if (!call) {
		api_problem(api->request, question, STATUS_NO_MEMORY, NULL);
		return;
	}
	call->request = api->request;
	call->call.done = authorize_done;
	call->call.waiter.question = *question;
	call->call.waiter.mode = api_cache_mode(api->request);
	call->call.waiter.wants_stale = true;
	http_request_suspend(api->request);
	enum status status = lookup_call_start(api->locator, &call->call);
	if (status) {
		api_problem(api->request, question, status, NULL);
		free(call);
	}
}

void api_authorize(void *arg, struct http_request *request)
{
	struct api_request api;
	struct lookup_question question = { 0 }, terms = { 0 };
	struct cache_permit *permit = NULL;
	struct cache_entry *entry = NULL;
	struct strbuf why = STRBUF_INIT;
	struct api_ask ask;
	if (!api_begin(arg, request, &api))
		return;
	json_t *body = api_only_query(request, NULL, 0) ? api_body(request, AUTHORIZE_BYTES_MAX) : NULL;
	if (!body)
		goto out;
	enum status status = read_body(body, &ask, &why);
	if (!status)
		status = api_question(api.locator, api.caller, &ask, &question, &why);
	if (!status && api_cache_mode(request) != CACHE_MODE_BYPASS)
		entry = locator_cached(api.locator, &question, &permit);
	if (entry) {
		locator_count(api.locator, question.object.type, OUTCOME_HIT);
		reply_from_entry(api.locator, request, entry, "cache", 0);
		goto out;
	}
	if (!status)
		status = api_terms(&api, &terms, &why);
	question.exchange = status ? api_exchange(api.locator) : terms.exchange;
	question.deadline_ms = terms.deadline_ms;
	memcpy(question.traceparent, terms.traceparent, sizeof(question.traceparent));
	if (status)
		api_problem(request, &question, status, why.data);
	else
		start_authorize(&api, &question);
out:
	cache_permit_release(permit);
	cache_entry_release(entry);
	json_decref(body);
	strbuf_release(&why);
	api_end(&api);
}

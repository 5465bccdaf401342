/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client API: the table of endpoints, and what they share.  The caller is
 * identified before anything else is read; every malformed input is refused with
 * the parameter named; a lookup that finds nothing and one that is denied give
 * the same bytes but for the ids every answer gets afresh.
 */
#include "locator/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/embedded.h"
#include "base/json.h"

#define TRACE_ID_SIZE 33

bool api_begin(struct locator *locator, struct http_request *request, struct api_request *api)
{
	*api = (struct api_request){ .locator = locator, .request = request };
	api->callers = caller_directory_current(locator->callers);
	api->caller = callers_identify(api->callers, http_request_header(request, "Authorization"));
	if (api->caller)
		return true;
	struct lookup_question question = { .exchange = api_exchange(locator) };
	api_problem(request, &question, STATUS_UNAUTHENTICATED, NULL);
	api_end(api);
	return false;
}

void api_end(struct api_request *api)
{
	callers_release(api->callers);
	api->callers = NULL;
}

/* ---- questions ---- */

enum status api_object(const struct locator *locator, const char *type, const char *id, const char *type_name,
	const char *id_name, struct object_id *object, struct strbuf *why)
{
	const struct settings_type *known = type ? settings_type(locator->settings.settings, type) : NULL;
	if (!known) {
		strbuf_addf(why, "%s: not a type configured in this region", type_name);
		return STATUS_INVALID;
	}
	struct strbuf rule = STRBUF_INIT;
	enum status status = STATUS_INVALID;
	if (!id || !id[0])
		strbuf_addf(why, "%s: missing", id_name);
	else
		status = object_id_make(known->name, id, strlen(id), known->id_format, object, &rule);
	if (status && id && id[0])
		strbuf_addf(why, "%s: %s", id_name, rule.data);
	strbuf_release(&rule);
	return status;
}

enum status api_question(const struct locator *locator, const struct caller *caller, const struct api_ask *ask,
	struct lookup_question *question, struct strbuf *why)
{
	memset(question, 0, sizeof(*question));
	enum status status = api_object(locator, ask->type, ask->id, "type", "id", &question->object, why);
	if (status)
		return status;
	if (!ask->purpose || !purpose_is_valid(ask->purpose)) {
		strbuf_addf(why, "purpose: %s", ask->purpose ? "not a purpose name" : "missing");
		return STATUS_INVALID;
	}
	if (!caller_may_name(caller, ask->purpose)) {
		strbuf_adds(why, "purpose: not among those this caller may name");
		return STATUS_FORBIDDEN;
	}
	memccpy(question->purpose, ask->purpose, '\0', sizeof(question->purpose));
	memccpy(question->caller, caller->name, '\0', sizeof(question->caller));
	if (ask->station) {
		status = api_object(locator, ask->station_type ? ask->station_type : "station", ask->station,
			"station_type", "station", &question->evidence.station, why);
		if (status)
			return status;
	} else if (ask->station_type) {
		strbuf_adds(why, "station_type: given without a station");
		return STATUS_INVALID;
	}
	if (ask->tap && clock_parse(ask->tap, &question->evidence.tap_wall_us)) {
		strbuf_adds(why, "tap: not an RFC 3339 time");
		return STATUS_INVALID;
	}
	return STATUS_OK;
}

struct exchange_id api_exchange(const struct locator *locator)
{
	return exchange_id_make(locator->settings.clock, locator->settings.random);
}

static bool is_hex(const char *text, size_t length)
{
	bool all_zero = true;
	for (size_t i = 0; i < length; i++) {
		if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'f'))
			return false;
		all_zero = all_zero && text[i] == '0';
	}
	return !all_zero;
}

const char *api_traceparent(const struct http_request *request)
{
	const char *text = http_request_header(request, "traceparent");
	if (!text || strlen(text) != TRACEPARENT_SIZE - 1 || strncmp(text, "00-", 3))
		return NULL;
	bool is_valid = is_hex(text + 3, 32) && text[35] == '-' && is_hex(text + 36, 16) && text[52] == '-' &&
			strspn(text + 53, "0123456789abcdef") == 2;
	return is_valid ? text : NULL;
}

static void new_traceparent(const struct random_source *random, char text[TRACEPARENT_SIZE])
{
	uint8_t trace[16], parent[8];
	/* In two pieces: a larger one would be a system call. */
	random_fill(random, trace, sizeof(trace));
	random_fill(random, parent, sizeof(parent));
	memcpy(text, "00-", 3);
	text = hex_format(trace, sizeof(trace), text + 3);
	*text++ = '-';
	text = hex_format(parent, sizeof(parent), text);
	memcpy(text, "-00", 4);
}

enum status api_terms(const struct api_request *api, struct lookup_question *question, struct strbuf *why)
{
	const struct locator *locator = api->locator;
	const struct settings *settings = locator->settings.settings;
	int64_t timeout_ms = settings->lookup.timeout_ms;
	question->exchange = api_exchange(locator);
	const char *text = http_request_header(api->request, "Homeward-Timeout-Ms");
	if (text) {
		char *end;
		timeout_ms = strtoll(text, &end, 10);
		if (text[0] < '0' || text[0] > '9' || *end || timeout_ms < 1) {
			strbuf_adds(why, "Homeward-Timeout-Ms: not a number of milliseconds from 1");
			return STATUS_INVALID;
		}
		if (timeout_ms > settings->lookup.timeout_ms_max)
			timeout_ms = settings->lookup.timeout_ms_max;
	}
	question->deadline_ms = locator_now_ms(locator) + timeout_ms;
	const char *traceparent = api_traceparent(api->request);
	if (traceparent) {
		memccpy(question->traceparent, traceparent, '\0', sizeof(question->traceparent));
		return STATUS_OK;
	}
	new_traceparent(locator->settings.random, question->traceparent);
	return STATUS_OK;
}

/* Whether a comma separated header has this directive. */
static bool has_directive(const char *header, const char *directive)
{
	size_t length = strlen(directive);
	while (header && *header) {
		header += strspn(header, " \t,");
		size_t end = strcspn(header, ",");
		size_t word = end;
		while (word && (header[word - 1] == ' ' || header[word - 1] == '\t'))
			word--;
		if (word == length && !strncasecmp(header, directive, length))
			return true;
		header += end;
	}
	return false;
}

enum cache_mode api_cache_mode(const struct http_request *request)
{
	const char *header = http_request_header(request, "Cache-Control");
	if (!header)
		return CACHE_MODE_NORMAL;
	if (has_directive(header, "only-if-cached"))
		return CACHE_MODE_ONLY;
	if (has_directive(header, "no-cache") || has_directive(header, "max-age=0"))
		return CACHE_MODE_BYPASS;
	return CACHE_MODE_NORMAL;
}

struct query_check {
	const char *const *names;
	size_t count;
	char unknown[64];
};

static bool check_query(void *arg, const char *name, const char *value)
{
	struct query_check *check = arg;
	(void)value;
	for (size_t i = 0; i < check->count; i++) {
		if (!strcmp(check->names[i], name))
			return true;
	}
	snprintf(check->unknown, sizeof(check->unknown), "%s", name);
	return false;
}

bool api_only_query(struct http_request *request, const char *const *names, size_t count)
{
	struct query_check check = { .names = names, .count = count };
	http_request_each_query(request, check_query, &check);
	if (!check.unknown[0])
		return true;
	char detail[128];
	snprintf(detail, sizeof(detail), "%s: not a parameter of this endpoint", check.unknown);
	problem_reply(request, STATUS_INVALID, detail);
	return false;
}

json_t *api_body(struct http_request *request, size_t bytes_max)
{
	size_t size = 0;
	const char *body = http_request_body(request, &size);
	struct strbuf why = STRBUF_INIT;
	json_t *value = NULL;
	if (size > bytes_max)
		problem_reply(request, STATUS_TOO_LARGE, NULL);
	else if (json_parse(body ? body : "", size, &value, &why))
		problem_reply(request, STATUS_INVALID, why.data);
	else if (!json_is_object(value))
		problem_reply(request, STATUS_INVALID, "the body is not a JSON object");
	else
		goto out;
	json_decref(value);
	value = NULL;
out:
	strbuf_release(&why);
	return value;
}

/* ---- answers ---- */

void api_reply(struct http_request *request, struct http_response *response)
{
	if (response)
		http_request_reply(request, response);
	else
		problem_reply(request, STATUS_NO_MEMORY, NULL);
}

struct http_response *api_json(int status, struct strbuf *text)
{
	size_t length = 0;
	char *body = strbuf_take(text, &length);
	return body ? http_response_create_taking(status, "application/json", body, length) : NULL;
}

static void reply_problem(struct http_request *request, const struct lookup_question *question, struct problem *problem)
{
	char exchange[EXCHANGE_ID_TEXT_SIZE], trace_id[TRACE_ID_SIZE] = "";
	exchange_id_format(&question->exchange, exchange);
	if (question->traceparent[0]) {
		memcpy(trace_id, question->traceparent + 3, TRACE_ID_SIZE - 1);
		problem->trace_id = trace_id;
	}
	problem->exchange = exchange;
	struct http_response *response = problem_response(problem);
	if (response && problem->status == STATUS_UNAUTHENTICATED)
		http_response_header(response, "WWW-Authenticate", "Bearer");
	if (response && api_traceparent(request))
		http_response_header(response, "traceparent", question->traceparent);
	api_reply(request, response);
}

void api_problem(
	struct http_request *request, const struct lookup_question *question, enum status status, const char *detail)
{
	struct problem problem = { .status = status, .detail = detail && detail[0] ? detail : NULL };
	if (status == STATUS_FORBIDDEN && detail && !strncmp(detail, "purpose:", 8))
		problem.code = "purpose-not-allowed";
	if (status == STATUS_OVERLOADED)
		problem.retry_after_s = 1;
	reply_problem(request, question, &problem);
}

void api_problem_of(const struct locator *locator, struct http_request *request, const struct lookup_question *question,
	const struct resolve_result *result)
{
	struct lookup_question told = *question;
	char proxy_status[128];
	struct problem problem = { .status = result->status };
	told.exchange = result->exchange;
	if (result->source == SOURCE_HOME && result->status != STATUS_NOT_AVAILABLE) {
		const char *error = result->failure                     ? http_client_error_name(result->failure)
				    : result->status == STATUS_BAD_PEER ? "http_protocol_error"
				    : result->status == STATUS_DEADLINE ? "http_response_timeout"
									: "destination_unavailable";
		snprintf(proxy_status, sizeof(proxy_status), "%s; next-hop=\"%s\"; error=%s", locator->name,
			result->peer, error);
		problem.proxy_status = proxy_status;
	}
	if (result->status == STATUS_UNREACHABLE && result->source != SOURCE_HOME) {
		problem.code = "store-unreachable";
		problem.detail = "This region's own database cannot be reached, so nothing was decided.";
	}
	if (result->status == STATUS_OVERLOADED || result->status == STATUS_UNREACHABLE)
		problem.retry_after_s = 1;
	reply_problem(request, &told, &problem);
}

static void get_openapi(void *arg, struct http_request *request)
{
	(void)arg;
	const struct embedded_file *file = &embedded_openapi[0];
	api_reply(request, http_response_create(200, "application/json", file->bytes, file->size));
}

static void post_event(void *arg, struct http_request *request)
{
	struct locator *locator = arg;
	struct api_request api;

	if (!api_begin(locator, request, &api))
		return;
	if (!locator->events.submit)
		problem_reply(request, STATUS_NOT_FOUND, "This region has no broker for events (events.broker).");
	else if (!api.caller->may_write)
		problem_reply(request, STATUS_FORBIDDEN, "This caller may not write, and so not submit events.");
	else
		locator->events.submit(locator->events.arg, request, api.caller->name);
	api_end(&api);
}

void locator_take_events(struct locator *locator, const struct locator_events *events)
{
	locator->events = *events;
}

const struct http_route *locator_routes(size_t *count_out)
{
	static const struct http_route routes[] = {
		{ "GET", "/v1/objects/{type}/{id}", api_get_object },
		{ "PUT", "/v1/objects/{type}/{id}", api_put_object },
		{ "DELETE", "/v1/objects/{type}/{id}", api_delete_object },
		{ "POST", "/v1/objects:batch", api_batch },
		{ "GET", "/v1/locate/{type}/{id}", api_locate },
		{ "POST", "/v1/authorize", api_authorize },
		{ "POST", "/v1/events", post_event },
		{ "GET", "/openapi.json", get_openapi },
	};
	*count_out = sizeof(routes) / sizeof(routes[0]);
	return routes;
}

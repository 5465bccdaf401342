/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answer: a record as an HTTP response.  Of a hit everything but Age and the
 * ttl in Cache-Status is constant, so the response is built once a second at
 * most and shared by all requests of that second; only a request that wants its
 * traceparent back gets one of its own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "locator/api.h"

enum answer_kind answer_kind_of(const struct resolve_result *result, enum cache_mode mode)
{
	if (result->source == SOURCE_CACHE)
		return ANSWER_HIT;
	if (result->source == SOURCE_LOCAL)
		return ANSWER_LOCAL;
	if (result->has_joined)
		return ANSWER_COLLAPSED;
	if (mode == CACHE_MODE_BYPASS)
		return ANSWER_BYPASSED;
	return result->is_stored ? ANSWER_STORED : ANSWER_FORWARDED;
}

void answer_write(const struct cache_entry *entry, struct strbuf *text)
{
	strbuf_adds(text, "{\"type\":");
	strbuf_add_json(text, entry->key.type, strlen(entry->key.type));
	strbuf_adds(text, ",\"id\":");
	strbuf_add_json(text, entry->key.id, strlen(entry->key.id));
	strbuf_adds(text, ",\"home\":");
	strbuf_add_json(text, entry->home, strlen(entry->home));
	strbuf_addf(text, ",\"version\":%" PRIu64 ",\"record\":", entry->version);
	strbuf_add(text, entry->record, entry->record_length);
	strbuf_addc(text, '}');
}

static void name_etag(const struct cache_entry *entry, char etag[32])
{
	snprintf(etag, 32, "\"%" PRIu64 "\"", entry->version);
}

/* RFC 9110 section 13.1.2, weak comparison: a list of tags, or "*". */
static bool names_version(const char *header, const struct cache_entry *entry)
{
	char etag[32];
	name_etag(entry, etag);
	size_t length = strlen(etag);
	while (header && *header) {
		header += strspn(header, " \t,");
		size_t word = strcspn(header, " \t,");
		const char *tag = header;
		header += word;
		if (word > 2 && !strncmp(tag, "W/", 2)) {
			tag += 2;
			word -= 2;
		}
		if ((word == 1 && *tag == '*') || (word == length && !strncmp(tag, etag, length)))
			return true;
	}
	return false;
}

static void add_headers(const struct locator *locator, struct http_response *response, const struct cache_entry *entry,
	enum answer_kind kind, const char *traceparent)
{
	static const char *const words[] = {
		[ANSWER_STORED] = "fwd=uri-miss; stored",
		[ANSWER_FORWARDED] = "fwd=uri-miss",
		[ANSWER_COLLAPSED] = "fwd=uri-miss; collapsed",
		[ANSWER_BYPASSED] = "fwd=request",
		[ANSWER_LOCAL] = "fwd=bypass",
	};
	char text[96], exchange[EXCHANGE_ID_TEXT_SIZE];
	int64_t age_s = (locator_now_ms(locator) - entry->stored_ms) / 1000, ttl_s = entry->ttl_ms / 1000;
	name_etag(entry, text);
	http_response_header(response, "ETag", text);
	if (ttl_s > 0) {
		snprintf(text, sizeof(text), "private, max-age=%" PRId64, ttl_s);
		http_response_header(response, "Cache-Control", text);
		if (kind == ANSWER_HIT) {
			snprintf(text, sizeof(text), "%" PRId64, age_s);
			http_response_header(response, "Age", text);
		}
	} else {
		http_response_header(response, "Cache-Control", "private, no-cache");
	}
	if (kind == ANSWER_HIT)
		snprintf(text, sizeof(text), "%s; hit; ttl=%" PRId64, locator->name, ttl_s - age_s);
	else
		snprintf(text, sizeof(text), "%s; %s", locator->name, words[kind]);
	http_response_header(response, "Cache-Status", text);
	http_response_header(response, "Homeward-Home", entry->home);
	exchange_id_format(&entry->exchange, exchange);
	http_response_header(response, "Homeward-Exchange", exchange);
	if (traceparent)
		http_response_header(response, "traceparent", traceparent);
}

static struct http_response *build(const struct locator *locator, const struct cache_entry *entry,
	enum answer_kind kind, bool is_unchanged, const char *traceparent)
{
	struct http_response *response;
	struct strbuf text = STRBUF_INIT;
	if (is_unchanged) {
		response = http_response_create(304, NULL, NULL, 0);
	} else {
		strbuf_reserve(&text, entry->record_length + 256);
		answer_write(entry, &text);
		response = api_json(200, &text);
	}
	strbuf_release(&text);
	if (response)
		add_headers(locator, response, entry, kind, traceparent);
	return response;
}

void answer_reply(const struct locator *locator, struct http_request *request, const struct cache_entry *entry,
	enum answer_kind kind)
{
	bool is_unchanged = names_version(http_request_header(request, "If-None-Match"), entry);
	api_reply(request, build(locator, entry, kind, is_unchanged, api_traceparent(request)));
}

void answer_reply_hit(const struct locator *locator, struct http_request *request, struct cache_entry *entry,
	struct cache_permit *permit)
{
	if (http_request_header(request, "If-None-Match") || http_request_header(request, "traceparent")) {
		answer_reply(locator, request, entry, ANSWER_HIT);
		return;
	}
	struct http_response *response = atomic_load_explicit(&permit->response, memory_order_acquire);
	if (!response) {
		struct http_response *none = NULL, *built = build(locator, entry, ANSWER_HIT, false, NULL);
		if (built && atomic_compare_exchange_strong(&permit->response, &none, built)) {
			response = built;
		} else {
			if (built)
				http_response_release(built);
			response = none;
		}
	}
	api_reply(request, response ? http_response_acquire(response) : NULL);
}

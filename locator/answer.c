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
	strbuf_adds(text, ",\"version\":");
	strbuf_add_unsigned(text, entry->version);
	strbuf_adds(text, ",\"record\":");
	strbuf_add(text, entry->record, entry->record_length);
	strbuf_addc(text, '}');
}

/* RFC 9110 section 13.1.2, weak comparison: a list of tags, or "*". */
static bool names_view(const char *header, const struct cache_entry *entry)
{
	size_t length = strlen(entry->etag);
	while (header && *header) {
		header += strspn(header, " \t,");
		size_t word = strcspn(header, " \t,");
		const char *tag = header;
		header += word;
		if (word > 2 && !strncmp(tag, "W/", 2)) {
			tag += 2;
			word -= 2;
		}
		if ((word == 1 && *tag == '*') || (word == length && !strncmp(tag, entry->etag, length)))
			return true;
	}
	return false;
}

static void add_headers(const struct locator *locator, struct http_response *response, const struct cache_entry *entry,
	enum answer_kind kind, const char *traceparent)
{
	static const char *const words[] = {
		[ANSWER_STORED] = "; fwd=uri-miss; stored",
		[ANSWER_FORWARDED] = "; fwd=uri-miss",
		[ANSWER_COLLAPSED] = "; fwd=uri-miss; collapsed",
		[ANSWER_BYPASSED] = "; fwd=request",
		[ANSWER_LOCAL] = "; fwd=bypass",
	};
	static const char max_age[] = "private, max-age=";
	char text[96], exchange[EXCHANGE_ID_TEXT_SIZE];
	int64_t age_s = (locator_now_ms(locator) - entry->stored_ms) / 1000, ttl_s = entry->ttl_ms / 1000;
	http_response_header(response, "ETag", entry->etag);
	if (ttl_s > 0) {
		memcpy(text, max_age, sizeof(max_age));
		unsigned_format((uint64_t)ttl_s, text + sizeof(max_age) - 1);
		http_response_header(response, "Cache-Control", text);
		if (kind == ANSWER_HIT) {
			snprintf(text, sizeof(text), "%" PRId64, age_s);
			http_response_header(response, "Age", text);
		}
	} else {
		http_response_header(response, "Cache-Control", "private, no-cache");
	}
	size_t name_length = strlen(locator->name);
	memcpy(text, locator->name, name_length);
	if (kind == ANSWER_HIT)
		snprintf(text + name_length, sizeof(text) - name_length, "; hit; ttl=%" PRId64, ttl_s - age_s);
	else
		memcpy(text + name_length, words[kind], strlen(words[kind]) + 1);
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
	enum answer_kind kind, unsigned int flags)
{
	bool is_unchanged = names_view(http_request_header(request, "If-None-Match"), entry);
	struct http_response *response = build(locator, entry, kind, is_unchanged, api_traceparent(request));
	if (response && flags)
		http_response_header(response, "Homeward-Flags", answer_flags(flags));
	api_reply(request, response);
}

const char *answer_flags(unsigned int flags)
{
	return flags & LOOKUP_IMPOSSIBLE_TRAVEL ? "impossible_travel" : "";
}

void answer_reply_hit(const struct locator *locator, struct http_request *request, struct cache_entry *entry,
	struct cache_permit *permit)
{
	if (http_request_header(request, "If-None-Match") || http_request_header(request, "traceparent")) {
		answer_reply(locator, request, entry, ANSWER_HIT, 0);
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

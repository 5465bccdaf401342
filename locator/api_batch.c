/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/objects:batch: up to a thousand lookups in one request, answered in
 * the order asked, each with its own outcome.  Items spread over the engines;
 * one counter, started at one more than the items so that it cannot reach zero
 * while they are still being handed out, says who was last and must answer.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "locator/api.h"

#include "base/json.h"
#include "base/must.h"

#define BATCH_MAX 1000
#define BATCH_BYTES_MAX (1024 * 1024)

struct batch_item {
	struct lookup_call call;
	struct batch *batch;
	enum status status;
	struct cache_entry *entry;
	struct exchange_id exchange;
	bool is_hit;
	char *detail;
};

struct batch {
	struct locator *locator;
	struct http_request *request;
	atomic_size_t left;
	size_t count;
	struct batch_item items[];
};

static void write_item(const struct batch_item *item, struct strbuf *text)
{
	char exchange[EXCHANGE_ID_TEXT_SIZE];
	exchange_id_format(&item->exchange, exchange);
	if (item->status == STATUS_OK) {
		strbuf_addf(text, "{\"status\":\"found\",\"cache\":\"%s\",\"exchange\":\"%s\",\"answer\":",
			item->is_hit ? "hit" : "miss", exchange);
		answer_write(item->entry, text);
		strbuf_addc(text, '}');
		return;
	}
	if (item->status == STATUS_NOT_AVAILABLE) {
		strbuf_addf(text, "{\"status\":\"not_available\",\"exchange\":\"%s\"}", exchange);
		return;
	}
	const char *code = item->status == STATUS_FORBIDDEN ? "purpose-not-allowed" : problem_code(item->status);
	strbuf_addf(text, "{\"status\":\"error\",\"code\":\"%s\",\"exchange\":\"%s\"", code, exchange);
	if (item->detail) {
		strbuf_adds(text, ",\"detail\":");
		strbuf_add_json(text, item->detail, strlen(item->detail));
	}
	strbuf_addc(text, '}');
}

static void batch_destroy(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		cache_entry_release(batch->items[i].entry);
		free(batch->items[i].detail);
	}
	free(batch);
}

static void leave_batch(struct batch *batch)
{
	if (atomic_fetch_sub_explicit(&batch->left, 1, memory_order_acq_rel) != 1)
		return;
	struct strbuf text = STRBUF_INIT;
	strbuf_adds(&text, "{\"answers\":[");
	for (size_t i = 0; i < batch->count; i++) {
		if (i)
			strbuf_addc(&text, ',');
		write_item(&batch->items[i], &text);
	}
	strbuf_adds(&text, "]}");
	struct http_response *response = api_json(200, &text);
	strbuf_release(&text);
	if (response)
		http_response_header(response, "Cache-Control", "no-store");
	api_reply(batch->request, response);
	batch_destroy(batch);
}

static void item_done(struct lookup_call *call, const struct resolve_result *result)
{
	struct batch_item *item = (struct batch_item *)((char *)call - offsetof(struct batch_item, call));
	item->status = result->status;
	item->exchange = result->exchange;
	item->is_hit = result->source == SOURCE_CACHE;
	if (result->entry) {
		item->entry = cache_entry_acquire(result->entry);
		item->exchange = item->entry->exchange;
	}
	leave_batch(item->batch);
}

/* A member that is there must be a string; NULL when absent. */
static bool get_text(const json_t *object, const char *name, const char **text_out, struct strbuf *why)
{
	const json_t *value = json_object_get(object, name);
	*text_out = json_string_value(value);
	if (value && !*text_out)
		strbuf_addf(why, "%s: not a string", name);
	return !value || *text_out;
}

static enum status read_ask(const json_t *value, struct api_ask *ask, struct strbuf *why)
{
	static const char *const names[] = { "type", "id", "purpose", "station", "station_type", "tap" };
	const char **const texts[] = { &ask->type, &ask->id, &ask->purpose, &ask->station, &ask->station_type,
		&ask->tap };
	size_t known = 0;
	if (!json_is_object(value)) {
		strbuf_adds(why, "not a JSON object");
		return STATUS_INVALID;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!get_text(value, names[i], texts[i], why))
			return STATUS_INVALID;
		known += *texts[i] != NULL;
	}
	if (known == json_object_size(value))
		return STATUS_OK;
	strbuf_adds(why, "a member is not one of type, id, purpose, station, station_type, tap");
	return STATUS_INVALID;
}

static void start_item(const struct api_request *api, const struct lookup_question *terms, const json_t *value,
	struct batch_item *item, enum cache_mode mode)
{
	struct lookup_question *question = &item->call.waiter.question;
	struct cache_permit *permit = NULL;
	struct strbuf why = STRBUF_INIT;
	struct api_ask ask = { 0 };
	enum status status = read_ask(value, &ask, &why);
	if (!status)
		status = api_question(api->locator, api->caller, &ask, question, &why);
	question->exchange = item->exchange = api_exchange(api->locator);
	if (status) {
		item->status = status;
		item->detail = strbuf_take(&why, NULL);
		goto out;
	}
	question->deadline_ms = terms->deadline_ms;
	memcpy(question->traceparent, terms->traceparent, sizeof(question->traceparent));
	item->entry = mode == CACHE_MODE_BYPASS ? NULL : locator_cached(api->locator, question, &permit);
	if (item->entry) {
		locator_count(api->locator, question->object.type, OUTCOME_HIT);
		cache_permit_release(permit);
		item->exchange = item->entry->exchange;
		item->is_hit = true;
		goto out;
	}
	item->call.done = item_done;
	item->call.waiter.mode = mode;
	/* Once it is started, the item belongs to its engine's thread. */
	status = lookup_call_start(api->locator, &item->call);
	if (!status) {
		strbuf_release(&why);
		return;
	}
	item->status = status;
out:
	strbuf_release(&why);
	leave_batch(item->batch);
}

static json_t *read_lookups(struct http_request *request, const struct lookup_question *terms)
{
	json_t *body = api_body(request, BATCH_BYTES_MAX);
	json_t *lookups = json_object_get(body, "lookups");
	if (!body)
		return NULL;
	if (!json_is_array(lookups) || json_object_size(body) != 1)
		api_problem(request, terms, STATUS_INVALID, "lookups: the body is {\"lookups\":[…]} and nothing else");
	else if (json_array_size(lookups) > BATCH_MAX)
		api_problem(request, terms, STATUS_TOO_LARGE, "lookups: at most 1000 in one request");
	else
		json_incref(lookups);
	bool is_good = json_is_array(lookups) && json_object_size(body) == 1 && json_array_size(lookups) <= BATCH_MAX;
	json_decref(body);
	return is_good ? lookups : NULL;
}

void api_batch(void *arg, struct http_request *request)
{
	struct api_request api;
	struct lookup_question terms = { 0 };
	struct strbuf why = STRBUF_INIT;
	struct batch *batch = NULL;
	json_t *lookups = NULL;
	if (!api_begin(arg, request, &api))
		return;
	if (!api_only_query(request, NULL, 0))
		goto out;
	if (api_terms(&api, &terms, &why)) {
		api_problem(request, &terms, STATUS_INVALID, why.data);
		goto out;
	}
	lookups = read_lookups(request, &terms);
	if (!lookups)
		goto out;
	size_t count = json_array_size(lookups);
	batch = calloc(1, sizeof(*batch) + count * sizeof(batch->items[0]));
	if (!batch) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		goto out;
	}
	batch->locator = api.locator;
	batch->request = request;
	batch->count = count;
	atomic_init(&batch->left, count + 1);
	enum cache_mode mode = api_cache_mode(request);
	http_request_suspend(request);
	for (size_t i = 0; i < count; i++) {
		batch->items[i].batch = batch;
		start_item(&api, &terms, json_array_get(lookups, i), &batch->items[i], mode);
	}
	leave_batch(batch);
out:
	json_decref(lookups);
	strbuf_release(&why);
	api_end(&api);
}

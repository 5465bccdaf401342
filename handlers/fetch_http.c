/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Http: one GET a fetch to a service of this region, the id percent-encoded into
 * the template.  200 with a JSON object is the record, 404 is "no such object",
 * anything else is the service's fault.
 *
 * A service that counts versions says so in an ETag that is a number, and that is
 * the record's version.  Most do not: then a version is made from the content, which
 * changes when the content does, as an ETag must, but does not rise.
 *
 * On the loop's thread.  At most HTTP_CALLS_MAX calls are under way for a type.
 */
#include "handlers/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/must.h"
#include "base/strbuf.h"

#define HTTP_CALLS_MAX 1000               /* past this a slow service would only collect waiters */
#define RECORD_BYTES_MAX (256 * 1024)     /* a record is an object's facts, not a document */
#define VERSION_BITS UINT64_C(0xffffffff) /* small enough for every JSON reader */
#define VERSION_MAX (UINT64_C(1) << 53)   /* the largest that every JSON reader keeps whole */
#define DEADLINE_DEFAULT_MS 5000

struct http_fetcher {
	struct loop *loop;
	struct http_client *client;
	const char *type;
	const char *before, *after; /* around {id} */
	size_t before_length;
	struct log_limit failed;
	bool is_closed;
	int under_way;
};

struct http_fetch {
	struct http_fetcher *fetcher;
	handlers_fetch_done *done;
	void *arg;
};

static void free_when_idle(struct http_fetcher *fetcher)
{
	if (fetcher->is_closed && fetcher->under_way == 0)
		free(fetcher);
}

static enum status status_of(const struct http_client_result *result)
{
	switch (result->error) {
	case HTTP_CLIENT_OK:
		break;
	case HTTP_CLIENT_CONNECTION_TIMEOUT:
	case HTTP_CLIENT_RESPONSE_TIMEOUT:
		return STATUS_DEADLINE;
	case HTTP_CLIENT_CANCELLED:
		return STATUS_DRAINING;
	case HTTP_CLIENT_RESPONSE_TOO_LARGE:
		return STATUS_BAD_PEER;
	default:
		return STATUS_UNREACHABLE;
	}
	if (result->status == 200)
		return STATUS_OK;
	if (result->status == 404 || result->status == 410)
		return STATUS_NOT_AVAILABLE;
	return result->status >= 500 ? STATUS_UNREACHABLE : STATUS_BAD_PEER;
}

/* "7" or W/"7" is version 7; 0 for any other ETag, or none. */
static uint64_t version_of_etag(const char *etag)
{
	uint64_t version = 0;

	if (etag == NULL)
		return 0;
	if (strncmp(etag, "W/", 2) == 0)
		etag += 2;
	if (*etag++ != '"')
		return 0;
	for (; *etag >= '0' && *etag <= '9'; etag++) {
		version = version * 10 + (uint64_t)(*etag - '0');
		if (version > VERSION_MAX)
			return 0;
	}
	return strcmp(etag, "\"") == 0 ? version : 0;
}

static uint64_t version_of(const struct http_client_result *result)
{
	uint64_t version = version_of_etag(result->header);

	return version != 0 ? version : (hash_key64(result->body, result->body_size, 0) & VERSION_BITS) + 1;
}

static void answer_came(void *arg, const struct http_client_result *result)
{
	struct http_fetch *fetch = arg;
	struct http_fetcher *fetcher = fetch->fetcher;
	enum status status = status_of(result);
	json_t *content = NULL;
	uint64_t version = 0;

	if (status == STATUS_OK) {
		if (json_parse(result->body, result->body_size, &content, NULL) != STATUS_OK ||
			!json_is_object(content))
			status = STATUS_BAD_PEER;
		else
			version = version_of(result);
	}
	if (status != STATUS_OK && status != STATUS_NOT_AVAILABLE)
		LOG_LIMITED(&fetcher->failed, LOG_LEVEL_WARN, "handler_http_failed", "type", fetcher->type, "status",
			log_number(result->status), "reason",
			result->error != HTTP_CLIENT_OK ? http_client_error_name(result->error) : status_name(status));

	fetch->done(fetch->arg, status, version, status == STATUS_OK ? content : NULL);
	json_decref(content);
	free(fetch);
	fetcher->under_way--;
	free_when_idle(fetcher);
}

void http_fetcher_get(
	struct http_fetcher *fetcher, const char *id, int64_t deadline_ms, handlers_fetch_done *done, void *arg)
{
	struct http_client_request request = { .method = "GET" };
	struct strbuf url = STRBUF_INIT;
	struct http_fetch *fetch = NULL;
	enum status status = STATUS_OVERLOADED;

	must(!fetcher->is_closed);
	if (fetcher->under_way >= HTTP_CALLS_MAX)
		goto out;

	status = STATUS_NO_MEMORY;
	strbuf_add(&url, fetcher->before, fetcher->before_length);
	strbuf_add_percent(&url, id, strlen(id));
	strbuf_adds(&url, fetcher->after);
	fetch = malloc(sizeof(*fetch));
	if (fetch == NULL || !strbuf_ok(&url))
		goto out;

	*fetch = (struct http_fetch){ .fetcher = fetcher, .done = done, .arg = arg };
	request.url = url.data;
	request.deadline_ms = deadline_ms > 0 ? deadline_ms : loop_now_ms(fetcher->loop) + DEADLINE_DEFAULT_MS;
	request.response_bytes_max = RECORD_BYTES_MAX;
	request.wanted_header = "ETag";
	status = http_client_send(fetcher->client, &request, answer_came, fetch, NULL);
	if (status == STATUS_OK) {
		fetcher->under_way++;
		fetch = NULL;
	}
out:
	if (status != STATUS_OK)
		fetch_end_later(fetcher->loop, status, done, arg);
	free(fetch);
	strbuf_release(&url);
}

enum status http_fetcher_create(struct loop *loop, struct http_client *client, const char *type, const char *template,
	struct http_fetcher **fetcher_out)
{
	const char *place = strstr(template, "{id}");
	struct http_fetcher *fetcher;

	*fetcher_out = NULL;
	if (place == NULL) {
		LOG_ERROR("handler_url_template", "type", type, "missing", "{id}");
		return STATUS_INVALID;
	}
	fetcher = calloc(1, sizeof(*fetcher));
	if (fetcher == NULL)
		return STATUS_NO_MEMORY;
	fetcher->loop = loop;
	fetcher->client = client;
	fetcher->type = type;
	fetcher->before = template;
	fetcher->before_length = (size_t)(place - template);
	fetcher->after = place + strlen("{id}");
	*fetcher_out = fetcher;
	return STATUS_OK;
}

void http_fetcher_close(struct http_fetcher *fetcher)
{
	if (fetcher == NULL)
		return;
	fetcher->is_closed = true;
	free_when_idle(fetcher);
}

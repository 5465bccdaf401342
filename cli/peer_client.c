/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's own HTTP client, with the region's certificate, on a loop that this
 * thread runs until each answer is there.  The connection stays warm between calls.
 */
#include "cli/peer_client.h"

#include <stdlib.h>
#include <string.h>

#include "base/http_client.h"
#include "base/json.h"
#include "base/loop.h"
#include "base/tls.h"

enum { CALL_MS = 15000, ANSWER_BYTES_MAX = 32 << 20, URL_SIZE = 1024 };

struct peer_client {
	const struct settings_peer *peer;
	size_t url; /* which of the peer's addresses */
	struct tls_store *tls;
	struct loop *loop;
	struct http_client *http;
	/* Of the call under way. */
	enum http_client_error error;
	int http_status;
	struct strbuf body, detail;
};

enum status peer_client_open(
	const struct settings *settings, const char *region, struct peer_client **client_out, struct strbuf *why)
{
	const struct tls_files files = { settings->tls.certificate, settings->tls.key, settings->tls.ca,
		settings->tls.crl[0] != '\0' ? settings->tls.crl : NULL };
	const struct settings_peer *peer = settings_peer(settings, region);
	struct http_client_settings http = { NULL, 1 };
	struct peer_client *client;
	enum status status;

	*client_out = NULL;
	if (peer == NULL) {
		strbuf_addf(why, "the settings have no peer \"%s\"", region);
		return STATUS_NOT_FOUND;
	}
	client = calloc(1, sizeof(*client));
	if (client == NULL)
		return STATUS_NO_MEMORY;
	client->peer = peer;
	strbuf_init(&client->body);
	strbuf_init(&client->detail);
	status = tls_store_create(&files, settings->trust_domain, settings->region, &client->tls, why);
	if (status == STATUS_OK)
		status = loop_create("peer", &client->loop);
	http.tls = client->tls;
	if (status == STATUS_OK)
		status = http_client_create(client->loop, &http, &client->http);
	if (status == STATUS_OK)
		*client_out = client;
	else
		peer_client_close(client);
	return status;
}

void peer_client_close(struct peer_client *client)
{
	if (client == NULL)
		return;
	http_client_destroy(client->http);
	loop_destroy(client->loop);
	tls_store_destroy(client->tls);
	strbuf_release(&client->body);
	strbuf_release(&client->detail);
	free(client);
}

static void call_done(void *arg, const struct http_client_result *result)
{
	struct peer_client *client = arg;

	client->error = result->error;
	client->http_status = result->status;
	strbuf_reset(&client->body);
	strbuf_reset(&client->detail);
	strbuf_adds(&client->detail, result->detail);
	if (result->body != NULL)
		strbuf_add(&client->body, result->body, result->body_size);
	loop_break(client->loop);
}

static enum status call(struct peer_client *client, const char *path)
{
	struct strbuf url = STRBUF_INIT;
	struct http_client_request request = {
		.method = "GET",
		.deadline_ms = clock_monotonic_ms(clock_system()) + CALL_MS,
		.response_bytes_max = ANSWER_BYTES_MAX,
		.peer_region = client->peer->region,
	};
	enum status status;

	strbuf_addf(&url, "%s%s", client->peer->urls[client->url], path);
	request.url = url.data;
	status = strbuf_ok(&url) ? http_client_send(client->http, &request, call_done, client, NULL) : STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		loop_run_here(client->loop);
	strbuf_release(&url);
	return status;
}

static enum status read_answer(struct peer_client *client, json_t **answer_out, struct strbuf *why)
{
	const char *detail;
	json_t *problem = NULL;
	enum status status;

	if (client->http_status == 200) {
		status = json_parse(client->body.data, client->body.length, answer_out, why);
		if (status == STATUS_OK && !json_is_object(*answer_out)) {
			json_decref(*answer_out);
			*answer_out = NULL;
			strbuf_addf(why, "%s answered with no JSON object", client->peer->region);
			status = STATUS_INVALID;
		}
		return status;
	}
	if (json_parse(client->body.data, client->body.length, &problem, NULL) != STATUS_OK)
		problem = NULL;
	detail = problem != NULL ? json_get_string(problem, "detail") : NULL;
	strbuf_addf(why, "%s answered %d%s%s", client->peer->region, client->http_status, detail != NULL ? ": " : "",
		detail != NULL ? detail : "");
	json_decref(problem);
	return client->http_status >= 500 ? STATUS_UNREACHABLE : STATUS_FORBIDDEN;
}

enum status peer_client_get(struct peer_client *client, const char *path, json_t **answer_out, struct strbuf *why)
{
	enum status status = STATUS_UNREACHABLE;

	*answer_out = NULL;
	for (size_t tries = 0; tries < client->peer->url_count; tries++) {
		status = call(client, path);
		if (status != STATUS_OK)
			break;
		if (client->error == HTTP_CLIENT_OK)
			return read_answer(client, answer_out, why);
		status = STATUS_UNREACHABLE;
		client->url = (client->url + 1) % client->peer->url_count;
	}
	strbuf_addf(why, "%s cannot be reached: %s", client->peer->region,
		client->detail.length > 0 ? client->detail.data : status_name(status));
	return status;
}

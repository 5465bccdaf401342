/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request to a peer: written, sent, perhaps sent once more, and its answers
 * dealt out.  Lookups whose deadline ended them have left the batch by then, and
 * answers to them are answers to what was not asked.
 *
 * What was answered is final.  Only a transport that failed, or a peer that says
 * it has no room for the request, is tried again: once, at another URL of the same
 * region, within the retry budget.
 */
#include "router/delegate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/peer_wire.h"

#define RESPONSE_BYTES_MAX ((size_t)16 << 20) /* a full batch of 16 KB records; the usual record is under 1 KB */
#define RETRY_TIME_LEFT_MS 20                 /* less is not enough for another way there and back */

static void destroy_batch(struct delegate_batch *batch)
{
	strbuf_release(&batch->body);
	free(batch->lookups);
	free(batch);
}

/* The batch is no longer under way. */
static void leave_lane(struct delegate_batch *batch)
{
	*batch->link = batch->next;
	if (batch->next != NULL)
		batch->next->link = batch->link;
	batch->lane->under_way--;
	delegate_lane_wake(batch->lane);
}

/* Ends what is left of the batch with one status, and the batch. */
static void fail_batch(struct delegate_batch *batch, enum status status, enum http_client_error failure)
{
	leave_lane(batch);
	for (size_t i = 0; i < batch->count; i++) {
		struct lookup_answer answer = { .status = status };

		if (batch->lookups[i] != NULL)
			delegated_end(batch->lookups[i], &answer, failure);
	}
	destroy_batch(batch);
}

static void on_result(void *arg, const struct http_client_result *result);

/* Writes the lookups still alive and hands the request to the transport. */
static enum status send_request(struct delegate_batch *batch)
{
	struct delegate *delegate = batch->lane->delegate;
	const struct lookup_question *questions[PEER_BATCH_MAX];
	int64_t now_ms = loop_now_ms(delegate->loop), deadline_ms = now_ms + 1;
	struct http_client_request request = { .method = "POST", .response_bytes_max = RESPONSE_BYTES_MAX };
	char url[PEER_URL_SIZE + 32], timeout[64];
	const char *headers[] = { "Content-Type: application/json", "User-Agent: homeward/" HOMEWARD_VERSION, timeout,
		NULL };
	size_t count = 0;

	for (size_t i = 0; i < batch->count; i++) {
		const struct delegated *lookup = batch->lookups[i];

		if (lookup == NULL)
			continue;
		/* Nothing leaves the region without a release that names this very crossing. */
		must(delegate->ports.covers(lookup->release, &lookup->question->object, batch->lane->region));
		questions[count++] = lookup->question;
		if (lookup->deadline_ms > deadline_ms)
			deadline_ms = lookup->deadline_ms;
	}
	strbuf_reset(&batch->body);
	peer_wire_write_questions(questions, count, now_ms, &batch->body);
	if (!strbuf_ok(&batch->body))
		return STATUS_NO_MEMORY;
	snprintf(url, sizeof(url), "%s/peer/v1/resolve", batch->url);
	snprintf(timeout, sizeof(timeout), "Homeward-Timeout-Ms: %lld", (long long)(deadline_ms - now_ms));
	request.url = url;
	request.headers = headers;
	request.body = batch->body.data;
	request.body_size = batch->body.length;
	request.deadline_ms = deadline_ms;
	request.peer_region = strncmp(batch->url, "https:", 6) == 0 ? batch->lane->region : NULL;
	batch->attempts++;
	metric_add(batch->lane->requests, 1);
	return delegate->ports.send(delegate->ports.arg, &request, on_result, batch, &batch->call);
}

/* An even share of what waits for each connection that is free, but never less than DELEGATE_GATHERED. */
static int64_t share_of(const struct delegate_lane *lane)
{
	const struct delegate_settings *settings = &lane->delegate->settings;
	int64_t free_connections = settings->connections_max - lane->under_way;
	int64_t share = (lane->waiting + free_connections - 1) / free_connections;

	if (share < DELEGATE_GATHERED)
		share = DELEGATE_GATHERED;
	if (share > settings->batch_max)
		share = settings->batch_max;
	return share < lane->waiting ? share : lane->waiting;
}

static struct delegate_batch *gather(struct delegate_lane *lane)
{
	int64_t wanted = share_of(lane);
	struct delegate_batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return NULL;
	batch->lookups = calloc((size_t)wanted, sizeof(struct delegated *));
	if (batch->lookups == NULL) {
		free(batch);
		return NULL;
	}
	strbuf_init(&batch->body);
	batch->lane = lane;
	for (int64_t i = 0; i < wanted; i++) {
		struct delegated *lookup = lane->first;

		lane->first = lookup->next;
		lookup->next = lookup->previous = NULL;
		lookup->batch = batch;
		lookup->batch_index = batch->count;
		batch->lookups[batch->count++] = lookup;
	}
	if (lane->first != NULL)
		lane->first->previous = NULL;
	else
		lane->last = NULL;
	lane->waiting -= wanted;
	batch->live = batch->count;
	batch->link = &lane->delegate->batches;
	batch->next = lane->delegate->batches;
	if (batch->next != NULL)
		batch->next->link = &batch->next;
	lane->delegate->batches = batch;
	lane->under_way++;
	return batch;
}

/* All that wait end: there is no way to this peer now, and waiting for one would only spend their time. */
static void fail_waiting(struct delegate_lane *lane, enum status status)
{
	for (int64_t left = lane->waiting; left > 0 && lane->first != NULL; left--) {
		struct lookup_answer answer = { .status = status };

		delegated_end(lane->first, &answer, HTTP_CLIENT_OK);
	}
}

void delegate_batch_send(struct delegate_lane *lane)
{
	char url[PEER_URL_SIZE];
	struct delegate_batch *batch;
	enum status status;

	if (peers_choose(lane->delegate->peers, lane->region, NULL, url) != STATUS_OK) {
		fail_waiting(lane, STATUS_UNREACHABLE);
		return;
	}
	batch = gather(lane);
	if (batch == NULL) {
		fail_waiting(lane, STATUS_NO_MEMORY);
		return;
	}
	memcpy(batch->url, url, sizeof(batch->url));
	metric_add(lane->lookups, batch->count);
	status = send_request(batch);
	if (status != STATUS_OK)
		fail_batch(batch, status, HTTP_CLIENT_OK);
}

/* ---- what comes back ---- */

static bool is_worth_another_url(const struct http_client_result *result)
{
	switch (result->error) {
	case HTTP_CLIENT_OK:
		/* The only answers that say the lookups were not looked at. */
		return result->status == 503 && result->body != NULL &&
		       (strstr(result->body, "\"overloaded\"") != NULL || strstr(result->body, "\"draining\"") != NULL);
	case HTTP_CLIENT_DNS_ERROR:
	case HTTP_CLIENT_CONNECTION_REFUSED:
	case HTTP_CLIENT_CONNECTION_TERMINATED:
	case HTTP_CLIENT_CONNECTION_TIMEOUT:
	case HTTP_CLIENT_TLS_PROTOCOL_ERROR:
		return true;
	default:
		return false;
	}
}

static bool has_time_left(const struct delegate_batch *batch)
{
	int64_t enough_ms = loop_now_ms(batch->lane->delegate->loop) + RETRY_TIME_LEFT_MS;

	for (size_t i = 0; i < batch->count; i++)
		if (batch->lookups[i] != NULL && batch->lookups[i]->deadline_ms >= enough_ms)
			return true;
	return false;
}

static bool try_again(struct delegate_batch *batch, const struct http_client_result *result)
{
	struct delegate_lane *lane = batch->lane;
	char url[PEER_URL_SIZE];

	if (batch->attempts > 1 || !is_worth_another_url(result) || !has_time_left(batch) ||
		peers_choose(lane->delegate->peers, lane->region, batch->url, url) != STATUS_OK ||
		!peers_may_retry(lane->delegate->peers, lane->region))
		return false;
	memcpy(batch->url, url, sizeof(batch->url));
	metric_add(lane->retries, 1);
	return send_request(batch) == STATUS_OK;
}

static enum status status_of(const struct http_client_result *result)
{
	switch (result->error) {
	case HTTP_CLIENT_OK:
		return result->status >= 500 ? STATUS_UNREACHABLE : STATUS_BAD_PEER;
	case HTTP_CLIENT_RESPONSE_TIMEOUT:
		return STATUS_DEADLINE;
	case HTTP_CLIENT_RESPONSE_TOO_LARGE:
	case HTTP_CLIENT_PROTOCOL_ERROR:
		return STATUS_BAD_PEER;
	case HTTP_CLIENT_CANCELLED:
		return STATUS_DRAINING;
	default:
		return STATUS_UNREACHABLE;
	}
}

static void deal_out(struct delegate_batch *batch, const struct http_client_result *result)
{
	const struct lookup_question *questions[PEER_BATCH_MAX];
	struct delegated *lookups[PEER_BATCH_MAX];
	struct lookup_answer *answers = calloc(batch->live > 0 ? batch->live : 1, sizeof(*answers));
	struct strbuf why = STRBUF_INIT;
	size_t count = 0;

	if (answers == NULL) {
		fail_batch(batch, STATUS_NO_MEMORY, HTTP_CLIENT_OK);
		return;
	}
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->lookups[i] == NULL)
			continue;
		lookups[count] = batch->lookups[i];
		questions[count++] = batch->lookups[i]->question;
	}
	if (peer_wire_read_answers(result->body, result->body_size, questions, count, answers, &why) != STATUS_OK)
		LOG_LIMITED(&batch->lane->answer_refused, LOG_LEVEL_WARN, "peer_answer_refused", "peer",
			batch->lane->region, "url", batch->url, "why", why.data);
	leave_lane(batch);
	for (size_t i = 0; i < count; i++) {
		delegated_end(lookups[i], &answers[i], HTTP_CLIENT_OK);
		lookup_answer_release(&answers[i]);
	}
	destroy_batch(batch);
	free(answers);
	strbuf_release(&why);
}

static void on_result(void *arg, const struct http_client_result *result)
{
	struct delegate_batch *batch = arg;
	struct delegate *delegate;

	if (batch->lane == NULL) {
		destroy_batch(batch);
		return;
	}
	delegate = batch->lane->delegate;
	batch->call = NULL;
	peers_report(delegate->peers, batch->lane->region, batch->url, result->error, result->duration_ms);
	if (result->error == HTTP_CLIENT_OK && result->status == 200) {
		deal_out(batch, result);
		return;
	}
	LOG_LIMITED(&batch->lane->request_failed, LOG_LEVEL_WARN, "peer_request_failed", "peer", batch->lane->region,
		"url", batch->url, "reason", http_client_error_name(result->error), "http", log_number(result->status),
		"lookups", log_number((int64_t)batch->live), "detail", result->detail);
	if (!try_again(batch, result))
		fail_batch(batch, status_of(result), result->error);
}

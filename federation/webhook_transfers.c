/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attempt has an easy handle of its own; connections, which cost far more, are
 * kept by the multi handle and matched by address and certificates.  On the
 * webhooks' thread.
 */
#include "federation/webhook_transfers.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"
#include "base/must.h"

#define CONNECT_MS_MAX 5000         /* an address that does not answer at all is found out sooner */
#define ANSWER_BYTES_MAX (64 << 10) /* a webhook has nothing to tell */
#define CONNECTION_LIFE_S 300L      /* certificates and names change: each connection begins anew after this */
#define CA_KEPT_S 60L
#define WAIT_MS_MAX 1000

struct transfer {
	struct transfer *next, **at;
	CURL *easy;
	struct curl_slist *headers;
	struct webhook_message message;
	void *arg;
	size_t answer_bytes;
	bool is_public; /* plain http was about to leave the region's own network */
	char quote[WEBHOOK_QUOTE_MAX + 1];
	char error[CURL_ERROR_SIZE];
};

struct webhook_transfers {
	CURLM *multi;
	struct transfer *active;
	size_t count;
};

enum status webhook_transfers_create(size_t connections_max, struct webhook_transfers **transfers_out)
{
	struct webhook_transfers *transfers = calloc(1, sizeof(*transfers));

	*transfers_out = transfers;
	if (transfers == NULL)
		return STATUS_NO_MEMORY;
	must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
	transfers->multi = curl_multi_init();
	if (transfers->multi == NULL) {
		free(transfers);
		*transfers_out = NULL;
		return STATUS_NO_MEMORY;
	}
	curl_multi_setopt(transfers->multi, CURLMOPT_MAXCONNECTS, (long)connections_max);
	curl_multi_setopt(transfers->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	return STATUS_OK;
}

static void transfer_destroy(struct webhook_transfers *transfers, struct transfer *transfer)
{
	if (transfer->at != NULL) {
		*transfer->at = transfer->next;
		if (transfer->next != NULL)
			transfer->next->at = transfer->at;
		curl_multi_remove_handle(transfers->multi, transfer->easy);
		transfers->count--;
	}
	curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	webhook_message_release(&transfer->message);
	free(transfer);
}

void webhook_transfers_destroy(struct webhook_transfers *transfers)
{
	if (transfers == NULL)
		return;
	while (transfers->active != NULL)
		transfer_destroy(transfers, transfers->active);
	curl_multi_cleanup(transfers->multi);
	free(transfers);
}

size_t webhook_transfers_count(const struct webhook_transfers *transfers)
{
	return transfers->count;
}

/* ---- starting ---- */

static curl_socket_t open_private(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct transfer *transfer = arg;

	(void)purpose;
	if (!address_is_private(&address->addr)) {
		transfer->is_public = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t take_answer(char *bytes, size_t size, size_t count, void *arg)
{
	struct transfer *transfer = arg;
	size_t length = strlen(transfer->quote);

	size *= count;
	for (size_t i = 0; i < size && length < WEBHOOK_QUOTE_MAX; i++)
		transfer->quote[length++] = bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : ' ';
	transfer->answer_bytes += size;
	return transfer->answer_bytes <= ANSWER_BYTES_MAX ? size : 0;
}

static bool set_headers(struct transfer *transfer)
{
	const struct strbuf *lines = &transfer->message.headers;

	transfer->headers = curl_slist_append(NULL, "Expect:"); /* no round trip before a body */
	for (const char *line = lines->data; transfer->headers != NULL && line < lines->data + lines->length;
		line += strlen(line) + 1) {
		struct curl_slist *longer = curl_slist_append(transfer->headers, line);

		if (longer == NULL)
			return false;
		transfer->headers = longer;
	}
	return transfer->headers != NULL &&
	       curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
}

static bool set_tls(CURL *easy, const struct settings_webhook *webhook)
{
	bool is_fine = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
		       curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_KEPT_S) == CURLE_OK;

	/* Without CAPATH off, every public authority would be trusted besides. */
	if (is_fine && webhook->ca_file != NULL)
		is_fine = curl_easy_setopt(easy, CURLOPT_CAINFO, webhook->ca_file) == CURLE_OK &&
			  curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
	if (is_fine && webhook->certificate_file != NULL)
		is_fine = curl_easy_setopt(easy, CURLOPT_SSLCERT, webhook->certificate_file) == CURLE_OK &&
			  curl_easy_setopt(easy, CURLOPT_SSLKEY, webhook->key_file) == CURLE_OK;
	return is_fine;
}

static bool configure(struct transfer *transfer, const struct settings_webhook *webhook)
{
	CURL *easy = transfer->easy;
	bool is_tls = strncmp(webhook->url, "https:", 6) == 0;
	int64_t connect_ms = webhook->timeout_ms < CONNECT_MS_MAX ? webhook->timeout_ms : CONNECT_MS_MAX;

	return curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, is_tls ? "https" : "http") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_URL, webhook->url) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)webhook->timeout_ms) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_USERAGENT, "homeward") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->message.body.length) ==
		       CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->message.body.data) == CURLE_OK &&
	       (is_tls ? set_tls(easy, webhook)
		       : curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_private) == CURLE_OK &&
				       curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer) == CURLE_OK);
}

enum status webhook_transfers_start(struct webhook_transfers *transfers, const struct settings_webhook *webhook,
	struct webhook_message *message, void *arg)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));

	if (transfer == NULL) {
		webhook_message_release(message);
		return STATUS_NO_MEMORY;
	}
	transfer->message = *message;
	webhook_message_init(message);
	transfer->arg = arg;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !configure(transfer, webhook) || !set_headers(transfer) ||
		curl_multi_add_handle(transfers->multi, transfer->easy) != CURLM_OK) {
		transfer_destroy(transfers, transfer);
		return STATUS_NO_MEMORY;
	}
	transfer->next = transfers->active;
	transfer->at = &transfers->active;
	if (transfer->next != NULL)
		transfer->next->at = &transfer->next;
	transfers->active = transfer;
	transfers->count++;
	return STATUS_OK;
}

/* ---- ending ---- */

void webhook_transfers_wait(struct webhook_transfers *transfers, int socket, int64_t timeout_ms)
{
	struct curl_waitfd other = { .fd = socket, .events = CURL_WAIT_POLLIN };
	int running;

	curl_multi_perform(transfers->multi, &running);
	/* One that is over already is taken first. */
	if ((size_t)running == transfers->count)
		curl_multi_poll(transfers->multi, &other, socket >= 0 ? 1 : 0,
			(int)(timeout_ms < WAIT_MS_MAX ? timeout_ms : WAIT_MS_MAX), NULL);
	curl_multi_perform(transfers->multi, &running);
}

static void fill_result(const struct transfer *transfer, CURLcode code, struct webhook_result *result)
{
	bool is_cut = code == CURLE_WRITE_ERROR && transfer->answer_bytes > ANSWER_BYTES_MAX;
	curl_off_t retry_after_s = 0, duration_us = 0;
	const char *why = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code);
	long status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &duration_us);
	if (code == CURLE_OK || is_cut) {
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
		why = transfer->quote;
	} else if (transfer->is_public) {
		why = "plain http goes to loopback and private addresses only";
	}
	*result = (struct webhook_result){ .arg = transfer->arg,
		.answer = { (int)status, retry_after_s > 0 ? (int64_t)retry_after_s : 0 },
		.duration_us = (int64_t)duration_us };
	memccpy(result->detail, why, '\0', sizeof(result->detail) - 1);
}

bool webhook_transfers_next(struct webhook_transfers *transfers, struct webhook_result *result_out)
{
	struct transfer *transfer = NULL;
	CURLMsg *message;
	CURLcode code;
	int left;

	do {
		message = curl_multi_info_read(transfers->multi, &left);
	} while (message != NULL && message->msg != CURLMSG_DONE);
	if (message == NULL)
		return false;
	code = message->data.result;
	curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
	fill_result(transfer, code, result_out);
	transfer_destroy(transfers, transfer);
	return true;
}

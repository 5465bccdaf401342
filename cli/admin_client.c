/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to the admin listener with libcurl's easy interface: no redirects, no
 * proxies, nothing from the environment, and a bound on time and on size.
 */
#include "cli/admin_client.h"

#include <curl/curl.h>
#include <string.h>

static size_t receive(char *bytes, size_t size, size_t count, void *arg)
{
	struct strbuf *body = arg;

	strbuf_add(body, bytes, size * count);
	return strbuf_ok(body) && body->length <= ADMIN_ANSWER_BYTES_MAX ? size * count : 0;
}

static CURLcode prepare(
	CURL *handle, const char *where, const char *method, const char *path, const char *body, struct strbuf *url)
{
	CURLcode code = CURLE_OK;
	const char *socket_path = NULL;

	if (strncmp(where, "unix:", 5) == 0)
		socket_path = where + 5;
	else if (where[0] == '/')
		socket_path = where;
	if (socket_path != NULL)
		code = curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, socket_path);
	size_t length = strlen(where);
	while (length > 0 && where[length - 1] == '/')
		length--;
	if (socket_path != NULL)
		strbuf_addf(url, "http://localhost%s", path);
	else
		strbuf_addf(url, "%s%.*s%s", strstr(where, "://") == NULL ? "http://" : "", (int)length, where, path);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_URL, url->data);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, method);
	if (code == CURLE_OK && strcmp(method, "POST") == 0)
		code = curl_easy_setopt(handle, CURLOPT_POSTFIELDS, body);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_PROXY, "");
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
	return code;
}

enum status admin_send(const char *where, const char *method, const char *path, const char *sent, int64_t timeout_ms,
	int *http_status_out, struct strbuf *body, struct strbuf *why)
{
	CURL *handle = curl_easy_init();
	struct strbuf url = STRBUF_INIT;
	enum status status = STATUS_OK;
	CURLcode code;
	long http_status = 0;

	*http_status_out = 0;
	if (handle == NULL)
		return STATUS_NO_MEMORY;
	code = prepare(handle, where, method, path, sent, &url);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, receive);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_WRITEDATA, body);
	if (code == CURLE_OK)
		code = curl_easy_perform(handle);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &http_status);
	if (code != CURLE_OK) {
		strbuf_addf(why, "%s does not answer: %s", where, curl_easy_strerror(code));
		status = code == CURLE_OPERATION_TIMEDOUT ? STATUS_DEADLINE : STATUS_UNREACHABLE;
	}
	*http_status_out = (int)http_status;
	curl_easy_cleanup(handle);
	strbuf_release(&url);
	return status;
}

enum status admin_call(const char *where, const char *method, const char *path, int64_t timeout_ms,
	int *http_status_out, struct strbuf *body, struct strbuf *why)
{
	return admin_send(where, method, path, "", timeout_ms, http_status_out, body, why);
}

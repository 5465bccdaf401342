/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The management API over libcurl's easy interface: one warm connection a region,
 * one thread, a deadline and a bound on the answer for every call.  The password
 * is read from its file once and goes nowhere but to that broker; certificates
 * are always verified, and nothing is taken from the environment.
 */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "federation/mesh_parts.h"

enum {
	CALL_TIMEOUT_MS = 15000, /* a broker that lists 10,000 objects takes a second or two */
	CONNECT_TIMEOUT_MS = 5000,
	ANSWER_BYTES_MAX = 64 << 20 /* a hub of 500: some 10,000 bindings */
};

struct mesh_client {
	const struct mesh *mesh;
	CURL **handles; /* one a region, made when first used */
	char **passwords;
};

enum status mesh_client_create(const struct mesh *mesh, struct mesh_client **client_out, struct strbuf *why)
{
	struct mesh_client *client = calloc(1, sizeof(*client));
	enum status status = STATUS_NO_MEMORY;

	*client_out = NULL;
	if (client == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		goto out;
	client->mesh = mesh;
	client->handles = calloc(mesh->region_count, sizeof(CURL *));
	client->passwords = calloc(mesh->region_count, sizeof(char *));
	if (client->handles == NULL || client->passwords == NULL)
		goto out;
	for (size_t i = 0; i < mesh->region_count; i++) {
		struct strbuf password = STRBUF_INIT;
		status = file_read_secret(mesh->regions[i].management.password_file, &password, why);
		if (status == STATUS_OK && (client->passwords[i] = strbuf_take(&password, NULL)) == NULL)
			status = STATUS_NO_MEMORY;
		strbuf_release(&password);
		if (status != STATUS_OK)
			goto out;
	}
	*client_out = client;
	client = NULL;
out:
	mesh_client_destroy(client);
	return status;
}

void mesh_client_destroy(struct mesh_client *client)
{
	if (client == NULL)
		return;
	for (size_t i = 0; client->mesh != NULL && i < client->mesh->region_count; i++) {
		if (client->handles != NULL)
			curl_easy_cleanup(client->handles[i]);
		if (client->passwords != NULL && client->passwords[i] != NULL) {
			explicit_bzero(client->passwords[i], strlen(client->passwords[i]));
			free(client->passwords[i]);
		}
	}
	free(client->handles);
	free(client->passwords);
	free(client);
}

static size_t receive(char *bytes, size_t size, size_t count, void *arg)
{
	struct strbuf *body = arg;

	strbuf_add(body, bytes, size * count);
	return strbuf_ok(body) ? size * count : 0;
}

static CURLcode prepare(struct mesh_client *client, size_t index)
{
	const struct mesh_region *region = &client->mesh->regions[index];
	CURL *handle = client->handles[index];
	CURLcode code = curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");

	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_PROXY, "");
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)CALL_TIMEOUT_MS);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_USERNAME, region->management.user);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_PASSWORD, client->passwords[index]);
	if (code == CURLE_OK && region->management.ca_file[0] != '\0') {
		code = curl_easy_setopt(handle, CURLOPT_CAINFO, region->management.ca_file);
		if (code == CURLE_OK) /* else every public authority would be trusted too */
			code = curl_easy_setopt(handle, CURLOPT_CAPATH, NULL);
	}
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, receive);
	return code;
}

static CURLcode perform(CURL *handle, const char *url, const char *method, const char *body, struct strbuf *answer,
	struct curl_slist *headers)
{
	CURLcode code = curl_easy_setopt(handle, CURLOPT_URL, url);

	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_HTTPGET, 1L);
	if (code == CURLE_OK && body != NULL)
		code = curl_easy_setopt(handle, CURLOPT_POSTFIELDS, body);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, method);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
	if (code == CURLE_OK)
		code = curl_easy_setopt(handle, CURLOPT_WRITEDATA, answer);
	return code == CURLE_OK ? curl_easy_perform(handle) : code;
}

static enum status client_call(void *arg, size_t index, const char *method, const char *path, const json_t *body,
	int *http_status_out, json_t **answer_out, struct strbuf *why)
{
	struct mesh_client *client = arg;
	const struct mesh_region *region = &client->mesh->regions[index];
	struct strbuf url = STRBUF_INIT, answer = { strbuf_empty, 0, 0, ANSWER_BYTES_MAX, false };
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
	CURLcode code = CURLE_OUT_OF_MEMORY;
	enum status status = STATUS_OK;
	long http_status = 0;

	*http_status_out = 0;
	*answer_out = NULL;
	strbuf_addf(&url, "%s%s", region->management.url, path);
	if (client->handles[index] == NULL && (client->handles[index] = curl_easy_init()) != NULL &&
		prepare(client, index) != CURLE_OK) {
		curl_easy_cleanup(client->handles[index]);
		client->handles[index] = NULL;
	}
	if (client->handles[index] != NULL && headers != NULL && (body == NULL || text != NULL) && strbuf_ok(&url))
		code = perform(client->handles[index], url.data, method, text, &answer, headers);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(client->handles[index], CURLINFO_RESPONSE_CODE, &http_status);
	if (code != CURLE_OK) {
		strbuf_addf(why, "%s: %s does not answer: %s", region->name, region->management.url,
			curl_easy_strerror(code));
		status = code == CURLE_OPERATION_TIMEDOUT ? STATUS_DEADLINE : STATUS_UNREACHABLE;
	} else if (answer.length > 0) {
		*answer_out = json_loadb(answer.data, answer.length, JSON_ALLOW_NUL, NULL);
	}
	*http_status_out = (int)http_status;
	curl_slist_free_all(headers);
	strbuf_release(&url);
	strbuf_release(&answer);
	free(text);
	return status;
}

struct mesh_api mesh_client_api(struct mesh_client *client)
{
	return (struct mesh_api){ client_call, client };
}

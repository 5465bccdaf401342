/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Responses: one libmicrohttpd response each, with its headers set once, so that
 * a prebuilt answer costs one MHD_queue_response however often it is sent.  The
 * structure and a copied body are one allocation, which libmicrohttpd's last
 * reference frees.  Since an answer may be shared, "Connection: close" is never
 * added to it: a closing twin is made over the same body instead, which happens
 * only while draining and at the end of a connection's life.
 */
#include <stdlib.h>
#include <string.h>

#include "base/http_server_internal.h"
#include "base/log.h"
#include "base/must.h"

struct http_response {
	atomic_int references;
	int status;
	struct MHD_Response *mhd;
	char *taken; /* a body on the heap, or NULL when it follows the structure */
	char *body;
	size_t size;
	char copied[];
};

static void on_last_reference(void *arg)
{
	struct http_response *response = arg;
	free(response->taken);
	free(response);
}

static struct http_response *finish_create(struct http_response *response, int status, const char *content_type)
{
	atomic_init(&response->references, 1);
	response->status = status;
	response->mhd = MHD_create_response_from_buffer_with_free_callback_cls(
		response->size, response->body, on_last_reference, response);
	if (response->mhd == NULL) {
		on_last_reference(response);
		return NULL;
	}
	if (content_type != NULL)
		http_response_header(response, "Content-Type", content_type);
	return response;
}

struct http_response *http_response_create(int status, const char *content_type, const void *body, size_t size)
{
	struct http_response *response = malloc(sizeof *response + size + 1);
	if (response == NULL)
		return NULL;
	if (size > 0)
		memcpy(response->copied, body, size);
	response->copied[size] = '\0';
	response->taken = NULL;
	response->body = response->copied;
	response->size = size;
	return finish_create(response, status, content_type);
}

struct http_response *http_response_create_taking(int status, const char *content_type, char *body, size_t size)
{
	struct http_response *response = malloc(sizeof *response + 1);
	if (response == NULL) {
		free(body);
		return NULL;
	}
	response->copied[0] = '\0';
	response->taken = body;
	response->body = body == NULL ? response->copied : body;
	response->size = body == NULL ? 0 : size;
	return finish_create(response, status, content_type);
}

struct http_response *http_response_acquire(struct http_response *response)
{
	atomic_fetch_add_explicit(&response->references, 1, memory_order_relaxed);
	return response;
}

void http_response_release(struct http_response *response)
{
	if (response == NULL)
		return;
	int before = atomic_fetch_sub_explicit(&response->references, 1, memory_order_acq_rel);
	must(before > 0);
	if (before == 1)
		MHD_destroy_response(response->mhd);
}

void http_response_header(struct http_response *response, const char *name, const char *value)
{
	must(atomic_load_explicit(&response->references, memory_order_relaxed) == 1);
	if (strpbrk(value, "\r\n") != NULL || MHD_add_response_header(response->mhd, name, value) != MHD_YES)
		LOG_WARN("http_header_dropped", "name", name);
}

int http_response_status(const struct http_response *response)
{
	return response->status;
}

static enum MHD_Result copy_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	return MHD_add_response_header(arg, name, value);
}

static void release_original(void *arg)
{
	http_response_release(arg);
}

static struct MHD_Response *closing_twin(struct http_response *response)
{
	struct MHD_Response *twin = MHD_create_response_from_buffer_with_free_callback_cls(
		response->size, response->body, release_original, http_response_acquire(response));
	if (twin == NULL) {
		http_response_release(response);
		return NULL;
	}
	MHD_get_response_headers(response->mhd, copy_header, twin);
	MHD_add_response_header(twin, "Connection", "close");
	return twin;
}

bool http_response_queue(struct http_response *response, struct MHD_Connection *mhd, bool closes)
{
	if (!closes)
		return MHD_queue_response(mhd, (unsigned)response->status, response->mhd) == MHD_YES;
	struct MHD_Response *twin = closing_twin(response);
	if (twin == NULL)
		return false;
	bool queued = MHD_queue_response(mhd, (unsigned)response->status, twin) == MHD_YES;
	MHD_destroy_response(twin);
	return queued;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other regions may see of this region's access log, checkpoint and hash
 * tiles, and where they ask for its cosignature.  Entries are not served: they
 * are about this region's people.
 *
 * HTTP threads do not wait for the disk, so each request goes to the control
 * loop, which also is what makes it the witness's one thread.  Waiting requests
 * are bounded by the listener's connections.
 */
#include "handlers/log_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/problem.h"

#define FOREVER "public, max-age=31536000, immutable" /* full tiles never change */

struct log_service {
	struct loop *loop;
	char *directory;
	struct witness *witness;
	const struct clock_source *clock;
	struct log_alarm_hook hook;
};

struct log_request {
	struct loop_task task;
	struct log_service *service;
	struct http_request *request;
	char region[REGION_SIZE];
	char path[TILE_PATH_SIZE]; /* within the directory */
	bool is_full;
};

enum status log_service_create(const struct log_service_settings *settings, struct log_service **service_out)
{
	struct log_service *service = calloc(1, sizeof(*service));

	*service_out = NULL;
	if (service == NULL)
		return STATUS_NO_MEMORY;
	service->loop = settings->loop;
	service->witness = settings->witness;
	service->clock = settings->clock;
	service->hook = settings->hook;
	service->directory = strdup(settings->directory);
	if (service->directory == NULL) {
		free(service);
		return STATUS_NO_MEMORY;
	}
	*service_out = service;
	return STATUS_OK;
}

void log_service_destroy(struct log_service *service)
{
	if (service == NULL)
		return;
	free(service->directory);
	free(service);
}

static void reply(struct http_request *request, int status, const char *type, const struct strbuf *body, bool is_full)
{
	struct http_response *response = strbuf_ok(body) ? http_response_create(status, type, body->data, body->length)
							 : NULL;

	if (response == NULL) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return;
	}
	http_response_header(response, "Cache-Control", is_full ? FOREVER : "no-store");
	http_request_reply(request, response);
}

/* ---- on the control loop ---- */

static void read_file(struct loop_task *task)
{
	struct log_request *log = (struct log_request *)task;
	struct strbuf path = STRBUF_INIT, bytes = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;
	bool is_tile = strcmp(log->path, LOG_CHECKPOINT) != 0;

	strbuf_addf(&path, "%s/%s", log->service->directory, log->path);
	if (strbuf_ok(&path))
		status = file_read(path.data, is_tile ? TILE_BYTES_MAX : NOTE_BYTES_MAX, &bytes, NULL);
	if (status == STATUS_OK)
		reply(log->request, 200, is_tile ? "application/octet-stream" : "text/plain; charset=utf-8", &bytes,
			log->is_full);
	else
		problem_reply(log->request, status, status == STATUS_NOT_FOUND ? "No such file of the log." : NULL);
	strbuf_release(&path);
	strbuf_release(&bytes);
	free(log);
}

static void add_checkpoint(struct loop_task *task)
{
	struct log_request *log = (struct log_request *)task;
	uint64_t now_s = (uint64_t)(clock_wall_us(log->service->clock) / 1000000);
	struct strbuf answer = STRBUF_INIT;
	const char *type = "text/plain; charset=utf-8";
	enum witness_result result;
	const char *body;
	size_t size = 0;

	body = http_request_body(log->request, &size);
	result = witness_add(log->service->witness, log->region, body, size, now_s, &answer);
	if ((result == WITNESS_ROLLBACK || result == WITNESS_FORK || result == WITNESS_INCONSISTENT) &&
		log->service->hook.alarmed != NULL)
		log->service->hook.alarmed(log->service->hook.arg, log->region, result);
	if (result == WITNESS_CONFLICT || result == WITNESS_ROLLBACK)
		type = "text/x.tlog.size";
	else if (result != WITNESS_COSIGNED && answer.length == 0)
		strbuf_addf(&answer, "%s\n", witness_result_name(result));
	reply(log->request, witness_result_status(result), type, &answer, false);
	strbuf_release(&answer);
	free(log);
}

/* ---- on an HTTP thread ---- */

static struct log_request *take_request(struct log_service *service, struct http_request *request)
{
	const char *region = http_request_peer(request);
	struct log_request *log;

	if (service == NULL) {
		problem_reply(request, STATUS_NOT_FOUND, "No such file of the log.");
		return NULL;
	}
	if (region == NULL) {
		problem_reply(request, STATUS_UNAUTHENTICATED, "Peers show their region's certificate.");
		return NULL;
	}
	log = calloc(1, sizeof(*log));
	if (log == NULL) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return NULL;
	}
	log->service = service;
	log->request = request;
	(void)snprintf(log->region, sizeof(log->region), "%s", region);
	return log;
}

static void hand_over(struct log_request *log, void (*run)(struct loop_task *task))
{
	log->task.run = run;
	http_request_suspend(log->request);
	loop_post(log->service->loop, &log->task);
}

void log_service_checkpoint(struct log_service *service, struct http_request *request)
{
	struct log_request *log = take_request(service, request);

	if (log == NULL)
		return;
	(void)snprintf(log->path, sizeof(log->path), "%s", LOG_CHECKPOINT);
	hand_over(log, read_file);
}

void log_service_tile(struct log_service *service, struct http_request *request)
{
	struct log_request *log = take_request(service, request);
	const char *rest = http_request_param(request, "path");
	struct tile tile;
	int length;

	if (log == NULL)
		return;
	length = snprintf(log->path, sizeof(log->path), "tile/%s", rest != NULL ? rest : "");
	if (length >= (int)sizeof(log->path) || tile_parse(log->path, &tile) != STATUS_OK || tile.is_entries) {
		free(log);
		problem_reply(request, STATUS_NOT_FOUND, "No such file of the log.");
		return;
	}
	log->is_full = tile.width == TILE_WIDTH;
	hand_over(log, read_file);
}

void log_service_add_checkpoint(struct log_service *service, struct http_request *request)
{
	struct log_request *log = take_request(service, request);

	if (log != NULL)
		hand_over(log, add_checkpoint);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling other regions to forget an erased subject, and forgetting when one tells us.
 *
 * What has not been acknowledged lies in homeward.erasures and is tried again, the
 * further apart the longer it lasts, for as long as it takes: a region that is away
 * for a week hears of it when it is back.  Forgetting twice is as good as once.
 *
 * A region may only have us forget what is at home there, by our own routes.  The
 * entries about the subject stay in our log, and are nobody's once its key is gone.
 *
 * All of it on the control loop.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/problem.h"
#include "service_subject.h"

#define DUE_MAX "8"      /* told at a time */
#define TELL_MS 5000     /* for one region's answer */
#define DATABASE_MS 5000 /* for one statement */
#define ADDRESSES_MAX 4  /* of one region, tried in turn */
#define FORGET_PATH "/peer/v1/forget"

/* ---- telling ---- */

static const char select_due[] =
	"SELECT erasure, region, type, encode(sealed, 'hex') FROM homeward.erasures "
	"WHERE state = 'pending' AND next_attempt_at <= now() ORDER BY next_attempt_at LIMIT " DUE_MAX;
static const char acknowledged[] =
	"UPDATE homeward.erasures SET state = 'acknowledged', sealed = NULL, acknowledged_at = now(), "
	"attempts = attempts + 1 WHERE erasure = $1::uuid AND region = $2";
/* 1 s, 2 s, 4 s … five minutes. */
static const char try_again[] =
	"UPDATE homeward.erasures SET attempts = attempts + 1, next_attempt_at = now() + "
	"least(300, pow(2, least(attempts, 9))) * interval '1 second' WHERE erasure = $1::uuid AND region = $2";

struct telling {
	struct service *service;
	char erasure[EXCHANGE_ID_TEXT_SIZE], region[REGION_SIZE];
	struct strbuf url, body;
};

static void one_less(struct service *service)
{
	service->telling--;
}

static void noted(void *arg, enum status status, const PGresult *result)
{
	(void)status; /* not noted: it is told again, which does no harm */
	(void)result;
	one_less(arg);
}

static void told(void *arg, const struct http_client_result *result)
{
	struct telling *telling = arg;
	struct service *service = telling->service;
	bool has_forgotten = result->error == HTTP_CLIENT_OK && result->status == 200;
	const struct database_parameter parameters[] = { { telling->erasure }, { telling->region } };

	if (has_forgotten)
		LOG_INFO("erasure_acknowledged", "erasure", telling->erasure, "region", telling->region);
	database_query(service->control_database, has_forgotten ? acknowledged : try_again, parameters, 2,
		loop_now_ms(service->control) + DATABASE_MS, noted, service);
	strbuf_release(&telling->url);
	strbuf_release(&telling->body);
	free(telling);
}

static bool write_telling(struct service *service, struct telling *telling, const char *type, const char *sealed_hex)
{
	uint8_t sealed[OBJECT_ID_SIZE + KEYRING_SEALED_EXTRA];
	char id[OBJECT_ID_SIZE] = "";
	size_t size = subject_unhex(sealed_hex, sealed, sizeof(sealed));

	if (size < KEYRING_SEALED_EXTRA ||
		!keyring_unseal(service->keyring, telling->erasure, sealed, size, (uint8_t *)id))
		return false;
	strbuf_adds(&telling->body, "{\"erasure\":\"");
	strbuf_adds(&telling->body, telling->erasure);
	strbuf_adds(&telling->body, "\",\"type\":");
	strbuf_add_json(&telling->body, type, strlen(type));
	strbuf_adds(&telling->body, ",\"id\":");
	strbuf_add_json(&telling->body, id, strlen(id));
	strbuf_addc(&telling->body, '}');
	explicit_bzero(id, sizeof(id));
	return strbuf_ok(&telling->body) && strbuf_ok(&telling->url);
}

static void tell(struct service *service, const PGresult *due, int row)
{
	char address[PEER_URL_SIZE];
	struct telling *telling = calloc(1, sizeof(*telling));
	const struct http_client_result failed = { .error = HTTP_CLIENT_PROTOCOL_ERROR };
	static const char *const headers[] = { "Content-Type: application/json", NULL };
	struct http_client_request request = {
		.method = "POST", .headers = headers, .deadline_ms = loop_now_ms(service->control) + TELL_MS
	};

	if (telling == NULL)
		return;
	service->telling++;
	telling->service = service;
	strbuf_init(&telling->url);
	strbuf_init(&telling->body);
	(void)snprintf(telling->erasure, sizeof(telling->erasure), "%s", PQgetvalue(due, row, 0));
	(void)snprintf(telling->region, sizeof(telling->region), "%s", PQgetvalue(due, row, 1));
	if (peers_choose(service->peers, telling->region, NULL, address) == STATUS_OK)
		strbuf_addf(&telling->url, "%s" FORGET_PATH, address);
	/* No address, or none that is up: later. */
	if (telling->url.length == 0) {
		told(telling, &failed);
		return;
	}
	if (!write_telling(service, telling, PQgetvalue(due, row, 2), PQgetvalue(due, row, 3))) {
		LOG_WARN("erasure_cannot_be_told", "erasure", telling->erasure, "region", telling->region);
		told(telling, &failed);
		return;
	}
	request.url = telling->url.data;
	request.body = telling->body.data;
	request.body_size = telling->body.length;
	request.peer_region = telling->region;
	if (http_client_send(service->control_client, &request, told, telling, NULL) != STATUS_OK)
		told(telling, &failed);
}

static void due_came(void *arg, enum status status, const PGresult *result)
{
	struct service *service = arg;

	for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++)
		tell(service, result, row);
	one_less(service);
}

void service_forget_tend(struct service *service)
{
	if (service->telling > 0 || !database_is_up(service->control_database))
		return;
	service->telling++;
	database_query(service->control_database, select_due, NULL, 0, loop_now_ms(service->control) + DATABASE_MS,
		due_came, service);
}

/* ---- being told ---- */

static const char forget_rows[] =
	"WITH route AS (DELETE FROM homeward.routes WHERE type = $2 AND kind = 'exact' AND key = $3) "
	"DELETE FROM homeward.subject_keys WHERE ref = $1 RETURNING encode(wrapped, 'hex')";

struct forgetting {
	struct loop_task task;
	struct service *service;
	struct http_request *request;
	struct object_id object;
	struct exchange_id erasure;
	char region[REGION_SIZE], ref[SUBJECT_HASH_SIZE];
};

static void answer_forgotten(struct forgetting *forgetting, enum status status)
{
	struct http_response *response = NULL;

	if (status == STATUS_OK)
		response = http_response_create(200, "application/json", "{\"forgotten\":true}\n", 19);
	if (response != NULL)
		http_request_reply(forgetting->request, response);
	else
		problem_reply(forgetting->request, status == STATUS_OK ? STATUS_NO_MEMORY : status, NULL);
	free(forgetting);
}

static void rows_forgotten(void *arg, enum status status, const PGresult *result)
{
	struct forgetting *forgetting = arg;
	struct service *service = forgetting->service;
	char subject[ENTRY_SUBJECT_SIZE] = "";
	const struct access_note note = { .kind = ENTRY_ERASE,
		.text = "asked by the home",
		.peer = forgetting->region,
		.type = forgetting->object.type,
		.subject = subject,
		.exchange = &forgetting->erasure,
		.count = -1 };

	if (status == STATUS_OK && PQntuples(result) == 1 &&
		subject_of_row(service, forgetting->ref, PQgetvalue(result, 0, 0), &forgetting->object, subject))
		keyring_subjects_changed(service->keyring);
	/* Again, for what came between the first time and now. */
	(void)locator_forget(service->locator, &forgetting->object);
	if (status == STATUS_OK && service_log_write(service, &note) != STATUS_OK)
		status = STATUS_UNRECORDED;
	answer_forgotten(forgetting, status);
}

static void forget(struct loop_task *task)
{
	struct forgetting *forgetting = (struct forgetting *)task;
	struct service *service = forgetting->service;
	const struct database_parameter parameters[] = { { forgetting->ref }, { forgetting->object.type },
		{ forgetting->object.id } };

	(void)locator_forget(service->locator, &forgetting->object);
	database_query(service->control_database, forget_rows, parameters, 3,
		loop_now_ms(service->control) + DATABASE_MS, rows_forgotten, forgetting);
}

static enum status read_forget(struct forgetting *forgetting, const char *body, size_t size, struct strbuf *why)
{
	const struct settings_type *type = NULL;
	const char *name, *id, *erasure;
	json_t *document = NULL;
	enum status status = json_parse(body, size, &document, why);

	if (status != STATUS_OK)
		return status;
	name = json_get_string(document, "type");
	id = json_get_string(document, "id");
	erasure = json_get_string(document, "erasure");
	if (name != NULL)
		type = settings_type(forgetting->service->settings, name);
	status = STATUS_INVALID;
	if (type == NULL || id == NULL || erasure == NULL)
		strbuf_adds(why, "erasure, type and id are needed");
	else if (exchange_id_parse(erasure, &forgetting->erasure) == STATUS_OK)
		status = object_id_make(name, id, strlen(id), type->id_format, &forgetting->object, why);
	json_decref(document);
	return status;
}

/* On an HTTP thread: suspends and hands over. */
void service_forget(void *arg, struct http_request *request, const char *region)
{
	struct service *service = arg;
	struct forgetting *forgetting = calloc(1, sizeof(*forgetting));
	struct strbuf why = STRBUF_INIT;
	struct route_answer route;
	enum status status = STATUS_NO_MEMORY;
	size_t size;
	const char *body = http_request_body(request, &size);

	if (forgetting == NULL)
		goto out;
	forgetting->task.run = forget;
	forgetting->service = service;
	forgetting->request = request;
	(void)snprintf(forgetting->region, sizeof(forgetting->region), "%s", region);
	status = read_forget(forgetting, body, size, &why);
	if (status != STATUS_OK)
		goto out;
	routes_find(service->routes, &forgetting->object, &route);
	status = STATUS_FORBIDDEN;
	if (route.found != ROUTE_FOUND_NONE && strcmp(route.region, region) != 0) {
		strbuf_adds(&why, "only the home may have an object forgotten");
		goto out;
	}
	status = subject_ref(service, &forgetting->object, forgetting->ref, &why);
	if (status != STATUS_OK)
		goto out;
	http_request_suspend(request);
	loop_post(service->control, &forgetting->task);
	forgetting = NULL;
out:
	if (status != STATUS_OK)
		problem_reply(request, status, why.length > 0 ? why.data : NULL);
	free(forgetting);
	strbuf_release(&why);
}

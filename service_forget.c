/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forgetting an erased subject when its home tells us, by an event or over the peer API; the
 * answer goes the way the word came.  Forgetting twice is as good as once.
 *
 * A region may only have us forget what is at home there, by our own routes.  The
 * entries about the subject stay in our log, and are nobody's once its key is gone.
 *
 * All of it on the control loop, but for reading what is asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/problem.h"
#include "service_subject.h"

#define DATABASE_MS 5000 /* for one statement */
#define EVENTS_MS 60000  /* for one that reads all events */

/*
 * Nothing where the record itself is here: what no route names is not known to be theirs.  What is noted is for events
 * that still come: see service_tell.c.
 */
static const char forget_rows[] =
	"WITH ours AS (SELECT FROM homeward.objects WHERE type = $2 AND id = $3), "
	"route AS (DELETE FROM homeward.routes WHERE type = $2 AND kind = 'exact' AND key = $3 "
	"AND NOT EXISTS (SELECT FROM ours)), "
	"noted AS (INSERT INTO homeward.erasures (erasure, region, type, subject, sealed, state, acknowledged_at) "
	"SELECT $4::uuid, $5, $2, '', decode($6, 'hex'), 'acknowledged', now() WHERE NOT EXISTS (SELECT FROM ours) "
	"ON CONFLICT DO NOTHING), "
	"key AS (DELETE FROM homeward.subject_keys WHERE ref = $1 AND NOT EXISTS (SELECT FROM ours) RETURNING wrapped) "
	"SELECT EXISTS (SELECT FROM ours), (SELECT encode(wrapped, 'hex') FROM key)";
static const char forget_events[] = "SELECT homeward.events_forget($1, $2)";
static const char say_forgotten[] =
	"INSERT INTO homeward.outbox (type, source, destination, payload) VALUES ('subject.erasure.acknowledged', "
	"'/homeward/erasures', $1, jsonb_build_object('request_id', $2::text, 'purged', $3::int, 'at', " DATABASE_NOW
	"))";

struct forgetting {
	struct loop_task task;
	struct service *service;
	struct http_request *request; /* NULL: it came as an event, and so does the answer */
	struct forget_request asked;
	size_t purged;
	char region[REGION_SIZE], ref[SUBJECT_HASH_SIZE];
};

static void forgetting_done(void *arg, enum status status, const PGresult *result)
{
	struct forgetting *forgetting = arg;

	(void)result;
	if (status != STATUS_OK)
		LOG_WARN("erasure_not_finished", "region", forgetting->region, "status", status_name(status));
	free(forgetting);
}

static void answer_event(struct forgetting *forgetting, enum status status)
{
	struct service *service = forgetting->service;
	char erasure[EXCHANGE_ID_TEXT_SIZE], purged[24];
	const struct database_parameter parameters[] = { { forgetting->region }, { erasure }, { purged } };

	if (status != STATUS_OK) {
		forgetting_done(forgetting, status, NULL);
		return;
	}
	exchange_id_format(&forgetting->asked.erasure, erasure);
	(void)snprintf(purged, sizeof(purged), "%zu", forgetting->purged);
	database_query(service->control_database, say_forgotten, parameters, 3,
		loop_now_ms(service->control) + DATABASE_MS, forgetting_done, forgetting);
}

static void answer_forgotten(struct forgetting *forgetting, enum status status)
{
	struct http_response *response = NULL;

	if (forgetting->request == NULL) {
		answer_event(forgetting, status);
		return;
	}
	if (status == STATUS_OK)
		response = http_response_create(200, "application/json", "{\"forgotten\":true}\n", 19);
	if (response != NULL)
		http_request_reply(forgetting->request, response);
	else
		problem_reply(forgetting->request, status == STATUS_OK ? STATUS_NO_MEMORY : status, NULL);
	free(forgetting);
}

static void events_forgotten(void *arg, enum status status, const PGresult *result)
{
	(void)result;
	answer_forgotten(arg, status);
}

static void rows_forgotten(void *arg, enum status status, const PGresult *result)
{
	struct forgetting *forgetting = arg;
	struct service *service = forgetting->service;
	char subject[ENTRY_SUBJECT_SIZE] = "";
	const struct database_parameter parameters[] = { { forgetting->asked.object.type },
		{ forgetting->asked.object.id } };
	const struct access_note note = { .kind = ENTRY_ERASE,
		.text = "asked by the home",
		.peer = forgetting->region,
		.type = forgetting->asked.object.type,
		.subject = subject,
		.exchange = &forgetting->asked.erasure,
		.count = -1 };

	if (status == STATUS_OK && PQgetvalue(result, 0, 0)[0] == 't') {
		LOG_WARN("erasure_refused", "region", forgetting->region, "reason", "the record is at home here");
		answer_forgotten(forgetting, STATUS_FORBIDDEN);
		return;
	}
	if (status == STATUS_OK && !PQgetisnull(result, 0, 1) &&
		subject_of_row(service, forgetting->ref, PQgetvalue(result, 0, 1), &forgetting->asked.object, subject))
		keyring_subjects_changed(service->keyring);
	/* Again, for what came between the first time and now. */
	forgetting->purged += locator_forget(service->locator, &forgetting->asked.object);
	if (status == STATUS_OK && service_log_write(service, &note) != STATUS_OK)
		status = STATUS_UNRECORDED;
	if (status == STATUS_OK)
		database_query(service->control_database, forget_events, parameters, 2,
			loop_now_ms(service->control) + EVENTS_MS, events_forgotten, forgetting);
	else
		answer_forgotten(forgetting, status);
}

static void forget(struct loop_task *task)
{
	struct forgetting *forgetting = (struct forgetting *)task;
	struct service *service = forgetting->service;
	uint8_t sealed[OBJECT_ID_SIZE + KEYRING_SEALED_EXTRA];
	char erasure[EXCHANGE_ID_TEXT_SIZE], hex[2 * sizeof(sealed) + 1];
	const struct database_parameter parameters[] = { { forgetting->ref }, { forgetting->asked.object.type },
		{ forgetting->asked.object.id }, { erasure }, { service->settings->region }, { hex } };
	size_t size = strlen(forgetting->asked.object.id);

	if (forgetting->asked.is_copies_only) {
		(void)locator_forget(service->locator, &forgetting->asked.object);
		answer_forgotten(forgetting, STATUS_OK);
		return;
	}
	exchange_id_format(&forgetting->asked.erasure, erasure);
	if (!keyring_seal(service->keyring, erasure, forgetting->asked.object.id, size, sealed)) {
		answer_forgotten(forgetting, STATUS_INTERNAL);
		return;
	}
	*hex_format(sealed, size + KEYRING_SEALED_EXTRA, hex) = '\0';
	forgetting->purged = locator_forget(service->locator, &forgetting->asked.object);
	database_query(service->control_database, forget_rows, parameters, 6,
		loop_now_ms(service->control) + DATABASE_MS, rows_forgotten, forgetting);
}

/* What is to be forgotten, and whether that region may say so. */
static enum status take_words(struct forgetting *forgetting, const struct forget_words *words, struct strbuf *why)
{
	struct service *service = forgetting->service;
	struct route_answer route;
	enum status status = forget_request_read(service->settings, words, &forgetting->asked, why);

	if (status != STATUS_OK)
		return status;
	routes_find(service->routes, &forgetting->asked.object, &route);
	status = forget_request_judge(route.found != ROUTE_FOUND_NONE ? route.region : NULL, forgetting->region, why);
	return status == STATUS_OK ? subject_ref(service, &forgetting->asked.object, forgetting->ref, why) : status;
}

static struct forgetting *begin(struct service *service, const char *region)
{
	struct forgetting *forgetting = calloc(1, sizeof(*forgetting));

	if (forgetting == NULL)
		return NULL;
	forgetting->task.run = forget;
	forgetting->service = service;
	(void)snprintf(forgetting->region, sizeof(forgetting->region), "%s", region);
	return forgetting;
}

void service_forget_told(void *arg, const char *region, const char *erasure, const char *type, const char *id)
{
	struct service *service = arg;
	struct forgetting *forgetting = begin(service, region);
	const struct forget_words words = { erasure, type, id, NULL };
	struct strbuf why = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;

	if (forgetting != NULL)
		status = take_words(forgetting, &words, &why);
	if (status == STATUS_OK) {
		loop_post(service->control, &forgetting->task);
	} else {
		LOG_WARN(
			"erasure_refused", "region", region, "reason", why.length > 0 ? why.data : status_name(status));
		free(forgetting);
	}
	strbuf_release(&why);
}

/* On an HTTP thread: suspends and hands over. */
void service_forget(void *arg, struct http_request *request, const char *region)
{
	struct forgetting *forgetting = begin(arg, region);
	struct strbuf why = STRBUF_INIT;
	struct forget_words words;
	json_t *document = NULL;
	enum status status = STATUS_NO_MEMORY;
	size_t size;
	const char *body = http_request_body(request, &size);

	if (forgetting != NULL)
		status = json_parse(body, size, &document, &why);
	if (status == STATUS_OK)
		words = (struct forget_words){ json_get_string(document, "erasure"), json_get_string(document, "type"),
			json_get_string(document, "id"), json_get_string(document, "only") };
	if (status == STATUS_OK)
		status = take_words(forgetting, &words, &why);
	if (status == STATUS_OK) {
		forgetting->request = request;
		http_request_suspend(request);
		loop_post(forgetting->service->control, &forgetting->task);
	} else {
		problem_reply(request, status, why.length > 0 ? why.data : NULL);
		free(forgetting);
	}
	json_decref(document);
	strbuf_release(&why);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling other regions to forget an erased subject.
 *
 * What has not been acknowledged lies in homeward.erasures and is tried again, the
 * further apart the longer it lasts, for as long as it takes: a region that is away
 * for a week hears of it when it is back.  Where there is a broker the first attempt
 * is the event that erasing put into the outbox, and this one waits for its answer.
 *
 * The object's name is kept, sealed, until everybody has acknowledged, no event that waits in the
 * outbox speaks of it, and some seconds have passed for those that were on their way here; then nobody
 * can name it any more.  That is so where it is home, and where it was only forgotten: there the
 * row has this region's own name.
 *
 * All of it on the control loop.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "service_subject.h"

#define DUE_MAX "8"      /* told at a time */
#define TELL_MS 5000     /* for one region's answer */
#define DATABASE_MS 5000 /* for one statement */
#define EVENTS_MS 60000  /* for one that reads all events */
#define FORGET_PATH "/peer/v1/forget"

static const char select_due[] =
	"SELECT erasure, region, type, encode(sealed, 'hex'), what FROM homeward.erasures "
	"WHERE state = 'pending' AND next_attempt_at <= now() ORDER BY next_attempt_at LIMIT " DUE_MAX;
static const char acknowledged[] =
	"WITH event AS (UPDATE homeward.outbox SET receipted_at = coalesce(receipted_at, now()), "
	"sent_at = coalesce(sent_at, now()), receipt = 'applied' WHERE type = 'subject.erased' AND destination = $2 "
	"AND payload->>'request_id' = $1 AND refused_at IS NULL) "
	"UPDATE homeward.erasures SET state = 'acknowledged', sealed = CASE what WHEN 'erase' THEN sealed END, "
	"acknowledged_at = now(), next_attempt_at = now(), "
	"attempts = attempts + 1 WHERE erasure = $1::uuid AND region = $2 AND state = 'pending'";
/* 1 s, 2 s, 4 s … five minutes. */
static const char try_again[] =
	"UPDATE homeward.erasures SET attempts = attempts + 1, next_attempt_at = now() + "
	"least(300, pow(2, least(attempts, 9))) * interval '1 second' WHERE erasure = $1::uuid AND region = $2";

/* The object is needed until no event speaks of it; then nobody can name it any more. */
static const char select_left[] = "SELECT DISTINCT ON (erasure) erasure, type, encode(sealed, 'hex') FROM "
				  "homeward.erasures WHERE state = 'acknowledged' AND sealed IS NOT NULL AND "
				  "next_attempt_at <= now() LIMIT " DUE_MAX;
static const char empty_events[] = "WITH left_over AS (SELECT homeward.events_forget($2, $3) AS n) "
				   "UPDATE homeward.erasures SET sealed = CASE WHEN n = 0 AND acknowledged_at < now() "
				   "- interval '10 seconds' THEN "
				   "NULL ELSE sealed END, "
				   "next_attempt_at = now() + interval '5 seconds' FROM left_over "
				   "WHERE erasure = $1::uuid AND state = 'acknowledged'";

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

static bool unseal_id(struct service *service, const char *erasure, const char *sealed_hex, char id[OBJECT_ID_SIZE])
{
	uint8_t sealed[OBJECT_ID_SIZE + KEYRING_SEALED_EXTRA];
	size_t size = subject_unhex(sealed_hex, sealed, sizeof(sealed));

	memset(id, 0, OBJECT_ID_SIZE);
	return size >= KEYRING_SEALED_EXTRA && keyring_unseal(service->keyring, erasure, sealed, size, (uint8_t *)id);
}

static bool write_telling(struct service *service, struct telling *telling, const PGresult *due, int row)
{
	const char *type = PQgetvalue(due, row, 2), *sealed_hex = PQgetvalue(due, row, 3);
	char id[OBJECT_ID_SIZE];

	if (!unseal_id(service, telling->erasure, sealed_hex, id))
		return false;
	strbuf_adds(&telling->body, "{\"erasure\":\"");
	strbuf_adds(&telling->body, telling->erasure);
	strbuf_adds(&telling->body, "\",\"type\":");
	strbuf_add_json(&telling->body, type, strlen(type));
	strbuf_adds(&telling->body, ",\"id\":");
	strbuf_add_json(&telling->body, id, strlen(id));
	strbuf_adds(&telling->body, strcmp(PQgetvalue(due, row, 4), "forget") == 0 ? ",\"only\":\"copies\"}" : "}");
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
	if (!write_telling(service, telling, due, row)) {
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

static void left_came(void *arg, enum status status, const PGresult *result)
{
	struct service *service = arg;

	for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++) {
		char id[OBJECT_ID_SIZE];
		const struct database_parameter parameters[] = { { PQgetvalue(result, row, 0) },
			{ PQgetvalue(result, row, 1) }, { id } };

		if (!unseal_id(service, parameters[0].text, PQgetvalue(result, row, 2), id))
			continue;
		service->telling++;
		database_query(service->control_database, empty_events, parameters, 3,
			loop_now_ms(service->control) + EVENTS_MS, noted, service);
		explicit_bzero(id, sizeof(id));
	}
	one_less(service);
}

void service_forget_tend(struct service *service)
{
	int64_t deadline_ms = loop_now_ms(service->control) + DATABASE_MS;

	if (service->telling > 0 || !database_is_up(service->control_database))
		return;
	service->telling += 2;
	database_query(service->control_database, select_due, NULL, 0, deadline_ms, due_came, service);
	database_query(service->control_database, select_left, NULL, 0, deadline_ms, left_came, service);
}

struct acknowledging {
	struct loop_task task;
	struct service *service;
	char erasure[EXCHANGE_ID_TEXT_SIZE], region[REGION_SIZE];
};

static void acknowledge(struct loop_task *task)
{
	struct acknowledging *acknowledging = (struct acknowledging *)task;
	struct service *service = acknowledging->service;
	const struct database_parameter parameters[] = { { acknowledging->erasure }, { acknowledging->region } };

	LOG_INFO("erasure_acknowledged", "erasure", acknowledging->erasure, "region", acknowledging->region);
	service->telling++;
	database_query(service->control_database, acknowledged, parameters, 2,
		loop_now_ms(service->control) + DATABASE_MS, noted, service);
	free(acknowledging);
}

void service_forget_acknowledged(void *arg, const char *region, const char *erasure)
{
	struct service *service = arg;
	struct acknowledging *acknowledging = calloc(1, sizeof(*acknowledging));
	struct exchange_id id;

	if (acknowledging == NULL || exchange_id_parse(erasure, &id) != STATUS_OK) {
		free(acknowledging);
		return;
	}
	acknowledging->task.run = acknowledge;
	acknowledging->service = service;
	(void)snprintf(acknowledging->region, sizeof(acknowledging->region), "%s", region);
	exchange_id_format(&id, acknowledging->erasure);
	loop_post(service->control, &acknowledging->task);
}

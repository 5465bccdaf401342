/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Erasing a subject at its home: its key, its record, its flags, its exact route and
 * its grants go in one statement, together with the list of the regions that were ever
 * sent something about it; then the caches, and an `erase` entry under the pseudonym
 * that nothing leads to any more.
 *
 * Which regions those are is what the log's `serve` and `send` entries say.  While the
 * search index cannot tell for the whole log, every peer is on the list: telling one
 * too many does no harm.
 *
 * Where there is a broker they are told by an event, subject.erased, that goes into the outbox in
 * the same statement; the peer API is for those that do not acknowledge it in time
 * (service_tell.c).  What events said of the subject before is emptied too.
 *
 * Runs on an HTTP thread of the admin listener and may block on the database there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/problem.h"
#include "service_subject.h"

#define DATABASE_MS 5000
#define EVENTS_MS 30000 /* a year's inbox is read */

struct erasure {
	struct subject subject;
	int64_t records, region_count;
};

static const char erase_all[] =
	"WITH key AS (DELETE FROM homeward.subject_keys WHERE ref = $1), "
	"flags AS (DELETE FROM homeward.subject_flags WHERE ref = $1), "
	"record AS (DELETE FROM homeward.objects WHERE type = $2 AND id = $3 RETURNING 1), "
	"route AS (DELETE FROM homeward.routes WHERE type = $2 AND kind = 'exact' AND key = $3), "
	"visits AS (DELETE FROM homeward.grants WHERE subject = ANY($4::text[])), "
	"told AS (INSERT INTO homeward.erasures (erasure, region, type, subject, sealed, next_attempt_at) "
	"SELECT $5::uuid, region, $2, ($4::text[])[1], decode($6, 'hex'), now() + $8::bigint * interval '1 second' "
	"FROM unnest($7::text[]) AS region RETURNING region), "
	"event AS (INSERT INTO homeward.outbox (type, source, destination, payload) "
	"SELECT 'subject.erased', '/homeward/erasures', region, jsonb_build_object('request_id', $5::text, "
	"'object_type', $2::text, 'object_id', $3::text, 'erased_at', " DATABASE_NOW
	") FROM told WHERE $8::bigint > 0) "
	"SELECT (SELECT count(*) FROM record), (SELECT count(*) FROM told)";

static const char forget_events[] = "SELECT homeward.events_forget($1, $2)";

/* ---- erasing ---- */

static enum status erase_rows(struct erasure *erasure, struct strbuf *why)
{
	struct subject *subject = &erasure->subject;
	const struct settings *settings = subject->service->settings;
	struct strbuf sealed = STRBUF_INIT;
	char wait[24];
	const char *parameters[] = { subject->ref, subject->object.type, subject->object.id, subject->names.data,
		subject->id_text, NULL, subject->regions.data, wait };
	PGresult *result = NULL;
	enum status status = STATUS_INTERNAL;

	if (!subject_seal(subject, &sealed))
		return status;
	parameters[5] = sealed.data;
	/* 0: there are no events, so the peer API is told at once. */
	(void)snprintf(wait, sizeof(wait), "%" PRId64,
		settings->events.broker[0] != '\0' ? settings->events.erasure_wait_s : 0);
	status = database_session_query(subject->session, erase_all, parameters, 8, DATABASE_MS, &result, why);
	if (status == STATUS_OK) {
		erasure->records = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		erasure->region_count = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	}
	PQclear(result);
	strbuf_release(&sealed);
	return status;
}

/* The control loop goes on with what is not over yet, as long as a region has to be told. */
static void empty_events(struct subject *subject)
{
	const char *parameters[] = { subject->object.type, subject->object.id };
	struct strbuf why = STRBUF_INIT;
	enum status status = database_session_query(
		subject->session, forget_events, parameters, 2, EVENTS_MS, NULL, &why);

	if (status != STATUS_OK)
		LOG_WARN("erasure_left_events", "erasure", subject->id_text, "reason", why.data);
	strbuf_release(&why);
}

static enum status run(struct erasure *erasure, struct strbuf *why)
{
	struct subject *subject = &erasure->subject;
	struct service *service = subject->service;
	struct access_note note = { .kind = ENTRY_ERASE,
		.text = "subject",
		.type = subject->object.type,
		.subject = subject->pseudonyms[0],
		.exchange = &subject->id };
	enum status status = subject_find(subject, why);

	if (status == STATUS_OK)
		status = erase_rows(erasure, why);
	if (status != STATUS_OK)
		return status;
	keyring_subjects_changed(service->keyring);
	(void)locator_forget(service->locator, &subject->object);
	empty_events(subject);
	note.count = erasure->region_count;
	return service_log_write(service, &note);
}

void service_erase(void *arg, struct http_request *request)
{
	struct erasure erasure = { .records = 0 };
	struct subject *subject = &erasure.subject;
	struct strbuf why = STRBUF_INIT, text = STRBUF_INIT;
	json_t *asked = NULL;
	enum status status = subject_begin(subject, arg, request, &asked, &why);

	if (status == STATUS_OK)
		status = run(&erasure, &why);
	if (status == STATUS_OK) {
		LOG_INFO("subject_erased", "erasure", subject->id_text, "regions", log_number(erasure.region_count));
		strbuf_addf(&text,
			"{\"erasure\":\"%s\",\"subject\":\"%s\",\"records\":%" PRId64 ",\"regions\":%" PRId64 "}\n",
			subject->id_text, subject->pseudonyms[0], erasure.records, erasure.region_count);
	}
	subject_reply(request, status, &text, &why);
	subject_end(subject);
	json_decref(asked);
	strbuf_release(&why);
	strbuf_release(&text);
}

/* ---- how far they are ---- */

void service_erasures(void *arg, struct http_request *request)
{
	static const char sql[] =
		"SELECT coalesce(json_agg(e ORDER BY e.requested_at, e.region), '[]') FROM (SELECT erasure, region, "
		"what, "
		"type, subject, state, requested_at, acknowledged_at, attempts FROM homeward.erasures WHERE region <> "
		"$1) AS e";
	struct service *service = arg;
	const char *parameters[] = { service->settings->region }; /* its row here: it was told by another */
	struct database_session *session = NULL;
	struct strbuf why = STRBUF_INIT;
	struct http_response *response = NULL;
	PGresult *result = NULL;
	enum status status = database_session_open(service->dsn.data, DATABASE_MS, &session, &why);

	if (status == STATUS_OK)
		status = database_session_query(session, sql, parameters, 1, DATABASE_MS, &result, &why);
	if (status == STATUS_OK)
		response = http_response_create(
			200, "application/json", PQgetvalue(result, 0, 0), strlen(PQgetvalue(result, 0, 0)));
	if (response != NULL)
		http_request_reply(request, response);
	else
		problem_reply(request, status == STATUS_OK ? STATUS_NO_MEMORY : status, why.data);
	PQclear(result);
	database_session_close(session);
	strbuf_release(&why);
}

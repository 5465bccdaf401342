/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Erasing a subject at its home: its key, its record, its exact route and its
 * grants go in one statement, together with the list of the regions that were ever
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
#define INDEX_WAIT_MS 3000
#define EVENTS_MS 30000 /* a year's inbox is read */
#define SUBJECTS_MAX (KEYRING_EPOCHS_MAX + 1)

struct erasure {
	struct service *service;
	struct database_session *session;
	struct object_id object;
	char ref[SUBJECT_HASH_SIZE];
	char subjects[SUBJECTS_MAX][ENTRY_SUBJECT_SIZE]; /* its own first, when it has one; then the epochs' */
	size_t subject_count;
	struct exchange_id id;
	char id_text[EXCHANGE_ID_TEXT_SIZE];
	struct strbuf subject_array, regions; /* array literals */
	int64_t records, region_count;
	char last_peer[REGION_SIZE];
};

static const char select_key[] = "SELECT encode(wrapped, 'hex') FROM homeward.subject_keys WHERE ref = $1";
static const char select_position[] = "SELECT next_index FROM homeward.log_positions WHERE origin = $1";
static const char select_served[] = "SELECT DISTINCT peer FROM homeward.exchanges WHERE subject = ANY($1::text[]) "
				    "AND kind IN ('serve', 'send') AND peer <> ''";
static const char erase_all[] =
	"WITH key AS (DELETE FROM homeward.subject_keys WHERE ref = $1), "
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

bool subject_of_row(struct service *service, const char *ref, const char *wrapped_hex, const struct object_id *object,
	char subject[ENTRY_SUBJECT_SIZE])
{
	uint8_t wrapped[KEYRING_WRAPPED_SIZE], key[KEYRING_KEY_SIZE];
	size_t size = subject_unhex(wrapped_hex, wrapped, sizeof(wrapped));

	if (!keyring_unwrap(service->keyring, ref, wrapped, size, key))
		return false;
	pseudonym_write(key, object, subject);
	explicit_bzero(key, sizeof(key));
	return true;
}

size_t subject_unhex(const char *hex, uint8_t *bytes, size_t size_max)
{
	size_t size = strlen(hex) / 2;

	for (size_t i = 0; i < size && i < size_max; i++)
		bytes[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
	return size <= size_max ? size : 0;
}

enum status subject_ref(
	struct service *service, const struct object_id *object, char ref[SUBJECT_HASH_SIZE], struct strbuf *why)
{
	uint8_t key[32];
	enum status status = access_key_load(service->settings->access_log.key_file, key, why);

	if (status == STATUS_OK)
		access_log_subject(key, object, ref);
	explicit_bzero(key, sizeof(key));
	return status;
}

/* ---- what it was called ---- */

static enum status find_subjects(struct erasure *erasure, struct strbuf *why)
{
	const char *parameters[] = { erasure->ref };
	PGresult *result = NULL;
	uint8_t key[KEYRING_KEY_SIZE];
	uint32_t epoch;
	enum status status;

	status = database_session_query(erasure->session, select_key, parameters, 1, DATABASE_MS, &result, why);
	if (status != STATUS_OK)
		return status;
	if (PQntuples(result) == 1 && subject_of_row(erasure->service, erasure->ref, PQgetvalue(result, 0, 0),
					      &erasure->object, erasure->subjects[0]))
		erasure->subject_count = 1;
	PQclear(result);
	for (size_t n = 0; keyring_epoch_at(erasure->service->keyring, n, &epoch, key); n++)
		pseudonym_write_epoch(key, epoch, &erasure->object, erasure->subjects[erasure->subject_count++]);
	explicit_bzero(key, sizeof(key));
	strbuf_addc(&erasure->subject_array, '{');
	for (size_t i = 0; i < erasure->subject_count; i++)
		database_array_add(&erasure->subject_array, erasure->subjects[i], strlen(erasure->subjects[i]), i == 0);
	strbuf_addc(&erasure->subject_array, '}');
	return STATUS_OK;
}

/* ---- who was told about it ---- */

static bool index_is_whole(struct erasure *erasure)
{
	const char *parameters[] = { log_writer_origin(erasure->service->log_writer) };
	uint64_t durable = log_writer_durable(erasure->service->log_writer);
	int64_t end_ms = clock_monotonic_ms(clock_system()) + INDEX_WAIT_MS;
	struct timespec step = { 0, 50000000 };
	bool is_whole = false;

	while (!is_whole && clock_monotonic_ms(clock_system()) < end_ms) {
		struct strbuf why = STRBUF_INIT;
		PGresult *result = NULL;

		if (database_session_query(
			    erasure->session, select_position, parameters, 1, DATABASE_MS, &result, &why) == STATUS_OK)
			is_whole = PQntuples(result) == 1 && strtoull(PQgetvalue(result, 0, 0), NULL, 10) >= durable;
		PQclear(result);
		strbuf_release(&why);
		if (!is_whole)
			nanosleep(&step, NULL);
	}
	return is_whole;
}

static void add_region(struct erasure *erasure, const char *region)
{
	database_array_add(&erasure->regions, region, strlen(region), erasure->region_count++ == 0);
}

/* A region has a row for each of its addresses, one after the other. */
static void add_peer(void *arg, const struct peer_row *row)
{
	struct erasure *erasure = arg;

	if (strcmp(erasure->last_peer, row->region) != 0)
		add_region(erasure, row->region);
	(void)snprintf(erasure->last_peer, sizeof(erasure->last_peer), "%s", row->region);
}

static enum status find_regions(struct erasure *erasure, struct strbuf *why)
{
	const char *parameters[] = { erasure->subject_array.data };
	PGresult *result = NULL;
	enum status status = STATUS_OK;

	strbuf_addc(&erasure->regions, '{');
	if (index_is_whole(erasure)) {
		status = database_session_query(
			erasure->session, select_served, parameters, 1, DATABASE_MS, &result, why);
		for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++)
			add_region(erasure, PQgetvalue(result, row, 0));
		PQclear(result);
	} else {
		peers_each(erasure->service->peers, add_peer, erasure);
	}
	strbuf_addc(&erasure->regions, '}');
	return status;
}

/* ---- erasing ---- */

static enum status erase_rows(struct erasure *erasure, struct strbuf *why)
{
	const struct settings *settings = erasure->service->settings;
	uint8_t sealed[OBJECT_TYPE_SIZE + OBJECT_ID_SIZE + KEYRING_SEALED_EXTRA];
	char wait[24];
	struct strbuf hex = STRBUF_INIT;
	const char *parameters[] = { erasure->ref, erasure->object.type, erasure->object.id,
		erasure->subject_array.data, erasure->id_text, NULL, erasure->regions.data, wait };
	size_t size = strlen(erasure->object.id);
	PGresult *result = NULL;
	enum status status = STATUS_INTERNAL;

	if (!keyring_seal(erasure->service->keyring, erasure->id_text, erasure->object.id, size, sealed))
		return status;
	strbuf_add_hex(&hex, sealed, size + KEYRING_SEALED_EXTRA);
	parameters[5] = hex.data;
	/* 0: there are no events, so the peer API is told at once. */
	(void)snprintf(wait, sizeof(wait), "%" PRId64,
		settings->events.broker[0] != '\0' ? settings->events.erasure_wait_s : 0);
	status = database_session_query(erasure->session, erase_all, parameters, 8, DATABASE_MS, &result, why);
	if (status == STATUS_OK) {
		erasure->records = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		erasure->region_count = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	}
	PQclear(result);
	strbuf_release(&hex);
	return status;
}

/* The control loop goes on with what is not over yet, as long as a region has to be told. */
static void empty_events(struct erasure *erasure)
{
	const char *parameters[] = { erasure->object.type, erasure->object.id };
	struct strbuf why = STRBUF_INIT;
	enum status status = database_session_query(
		erasure->session, forget_events, parameters, 2, EVENTS_MS, NULL, &why);

	if (status != STATUS_OK)
		LOG_WARN("erasure_left_events", "erasure", erasure->id_text, "reason", why.data);
	strbuf_release(&why);
}

static enum status run(struct erasure *erasure, struct strbuf *why)
{
	struct service *service = erasure->service;
	struct access_note note = { .kind = ENTRY_ERASE,
		.text = "subject",
		.type = erasure->object.type,
		.subject = erasure->subjects[0],
		.exchange = &erasure->id };
	enum status status;

	erasure->id = exchange_id_make(clock_system(), random_system());
	exchange_id_format(&erasure->id, erasure->id_text);
	status = subject_ref(service, &erasure->object, erasure->ref, why);
	if (status == STATUS_OK)
		status = database_session_open(service->dsn.data, DATABASE_MS, &erasure->session, why);
	if (status == STATUS_OK)
		status = find_subjects(erasure, why);
	if (status == STATUS_OK)
		status = find_regions(erasure, why);
	if (status == STATUS_OK)
		status = erase_rows(erasure, why);
	if (status != STATUS_OK)
		return status;
	keyring_subjects_changed(service->keyring);
	(void)locator_forget(service->locator, &erasure->object);
	empty_events(erasure);
	note.count = erasure->region_count;
	return service_log_write(service, &note);
}

static enum status read_object(
	struct service *service, const char *body, size_t size, struct object_id *object, struct strbuf *why)
{
	const struct settings_type *type = NULL;
	json_t *document = NULL;
	const char *name, *id;
	enum status status = json_parse(body, size, &document, why);

	if (status != STATUS_OK)
		return status;
	name = json_get_string(document, "type");
	id = json_get_string(document, "id");
	if (name != NULL)
		type = settings_type(service->settings, name);
	status = STATUS_INVALID;
	if (type == NULL || id == NULL)
		strbuf_adds(why, "type (one of this region's) and id are needed");
	else
		status = object_id_make(name, id, strlen(id), type->id_format, object, why);
	json_decref(document);
	return status;
}

void service_erase(void *arg, struct http_request *request)
{
	struct erasure erasure = { .service = arg, .subject_array = STRBUF_INIT, .regions = STRBUF_INIT };
	struct strbuf why = STRBUF_INIT, text = STRBUF_INIT;
	struct http_response *response = NULL;
	size_t size;
	const char *body = http_request_body(request, &size);
	enum status status = read_object(erasure.service, body, size, &erasure.object, &why);

	if (status == STATUS_OK)
		status = run(&erasure, &why);
	if (status == STATUS_OK) {
		LOG_INFO("subject_erased", "erasure", erasure.id_text, "regions", log_number(erasure.region_count));
		strbuf_addf(&text,
			"{\"erasure\":\"%s\",\"subject\":\"%s\",\"records\":%" PRId64 ",\"regions\":%" PRId64 "}\n",
			erasure.id_text, erasure.subjects[0], erasure.records, erasure.region_count);
		response = http_response_create(200, "application/json", text.data, text.length);
	}
	if (response != NULL)
		http_request_reply(request, response);
	else
		problem_reply(request, status == STATUS_OK ? STATUS_NO_MEMORY : status, why.data);
	database_session_close(erasure.session);
	strbuf_release(&erasure.subject_array);
	strbuf_release(&erasure.regions);
	strbuf_release(&why);
	strbuf_release(&text);
}

/* ---- how far they are ---- */

void service_erasures(void *arg, struct http_request *request)
{
	static const char sql[] =
		"SELECT coalesce(json_agg(e ORDER BY e.requested_at, e.region), '[]') FROM (SELECT erasure, region, "
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

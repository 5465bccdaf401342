/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What erasing a subject, and restricting one, begin with: what was asked, what the
 * subject is called in the access log, and which regions were ever sent something about it.
 *
 * Which regions those are is what the log's `serve` and `send` entries say.  While the
 * search index cannot tell for the whole log, every peer is on the list: telling one
 * too many does no harm.
 *
 * Runs on HTTP threads of the admin listener and may block on the database there.
 */
#include "service_subject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/problem.h"

#define DATABASE_MS 5000
#define INDEX_WAIT_MS 3000

static const char select_key[] = "SELECT encode(wrapped, 'hex') FROM homeward.subject_keys WHERE ref = $1";
static const char select_position[] = "SELECT next_index FROM homeward.log_positions WHERE origin = $1";
static const char select_served[] = "SELECT DISTINCT peer FROM homeward.exchanges WHERE subject = ANY($1::text[]) "
				    "AND kind IN ('serve', 'send') AND peer <> ''";
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

static enum status find_subjects(struct subject *subject, struct strbuf *why)
{
	const char *parameters[] = { subject->ref };
	PGresult *result = NULL;
	uint8_t key[KEYRING_KEY_SIZE];
	uint32_t epoch;
	enum status status;

	status = database_session_query(subject->session, select_key, parameters, 1, DATABASE_MS, &result, why);
	if (status != STATUS_OK)
		return status;
	if (PQntuples(result) == 1 && subject_of_row(subject->service, subject->ref, PQgetvalue(result, 0, 0),
					      &subject->object, subject->pseudonyms[0]))
		subject->pseudonym_count = 1;
	PQclear(result);
	for (size_t n = 0; keyring_epoch_at(subject->service->keyring, n, &epoch, key); n++)
		pseudonym_write_epoch(key, epoch, &subject->object, subject->pseudonyms[subject->pseudonym_count++]);
	explicit_bzero(key, sizeof(key));
	strbuf_addc(&subject->names, '{');
	for (size_t i = 0; i < subject->pseudonym_count; i++)
		database_array_add(&subject->names, subject->pseudonyms[i], strlen(subject->pseudonyms[i]), i == 0);
	strbuf_addc(&subject->names, '}');
	return STATUS_OK;
}

/* ---- who was told about it ---- */

static bool index_is_whole(struct subject *subject)
{
	const char *parameters[] = { log_writer_origin(subject->service->log_writer) };
	uint64_t durable = log_writer_durable(subject->service->log_writer);
	int64_t end_ms = clock_monotonic_ms(clock_system()) + INDEX_WAIT_MS;
	struct timespec step = { 0, 50000000 };
	bool is_whole = false;

	while (!is_whole && clock_monotonic_ms(clock_system()) < end_ms) {
		struct strbuf why = STRBUF_INIT;
		PGresult *result = NULL;

		if (database_session_query(
			    subject->session, select_position, parameters, 1, DATABASE_MS, &result, &why) == STATUS_OK)
			is_whole = PQntuples(result) == 1 && strtoull(PQgetvalue(result, 0, 0), NULL, 10) >= durable;
		PQclear(result);
		strbuf_release(&why);
		if (!is_whole)
			nanosleep(&step, NULL);
	}
	return is_whole;
}

static void add_region(struct subject *subject, const char *region)
{
	database_array_add(&subject->regions, region, strlen(region), subject->region_count++ == 0);
}

/* A region has a row for each of its addresses, one after the other. */
static void add_peer(void *arg, const struct peer_row *row)
{
	struct subject *subject = arg;

	if (strcmp(subject->last_peer, row->region) != 0)
		add_region(subject, row->region);
	(void)snprintf(subject->last_peer, sizeof(subject->last_peer), "%s", row->region);
}

static enum status find_regions(struct subject *subject, struct strbuf *why)
{
	const char *parameters[] = { subject->names.data };
	PGresult *result = NULL;
	enum status status = STATUS_OK;

	strbuf_addc(&subject->regions, '{');
	if (index_is_whole(subject)) {
		status = database_session_query(
			subject->session, select_served, parameters, 1, DATABASE_MS, &result, why);
		for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++)
			add_region(subject, PQgetvalue(result, row, 0));
		PQclear(result);
	} else {
		peers_each(subject->service->peers, add_peer, subject);
	}
	strbuf_addc(&subject->regions, '}');
	return status;
}

/* ---- what was asked ---- */

static enum status read_object(
	struct service *service, const json_t *asked, struct object_id *object, struct strbuf *why)
{
	const char *name = json_get_string(asked, "type"), *id = json_get_string(asked, "id");
	const struct settings_type *type = NULL;
	enum status status;

	if (name != NULL)
		type = settings_type(service->settings, name);
	status = STATUS_INVALID;
	if (type == NULL || id == NULL)
		strbuf_adds(why, "type (one of this region's) and id are needed");
	else
		status = object_id_make(name, id, strlen(id), type->id_format, object, why);
	return status;
}

enum status subject_begin(struct subject *subject, struct service *service, struct http_request *request,
	json_t **asked_out, struct strbuf *why)
{
	size_t size;
	const char *body = http_request_body(request, &size);
	enum status status;

	memset(subject, 0, sizeof(*subject));
	subject->service = service;
	strbuf_init(&subject->names);
	strbuf_init(&subject->regions);
	status = json_parse(body, size, asked_out, why);
	if (status == STATUS_OK)
		status = read_object(service, *asked_out, &subject->object, why);
	return status;
}

void subject_end(struct subject *subject)
{
	database_session_close(subject->session);
	strbuf_release(&subject->names);
	strbuf_release(&subject->regions);
}

enum status subject_find(struct subject *subject, struct strbuf *why)
{
	struct service *service = subject->service;
	enum status status = subject_ref(service, &subject->object, subject->ref, why);

	subject->id = exchange_id_make(clock_system(), random_system());
	exchange_id_format(&subject->id, subject->id_text);
	if (status == STATUS_OK)
		status = database_session_open(service->dsn.data, DATABASE_MS, &subject->session, why);
	if (status == STATUS_OK)
		status = find_subjects(subject, why);
	return status == STATUS_OK ? find_regions(subject, why) : status;
}

bool subject_seal(struct subject *subject, struct strbuf *hex)
{
	uint8_t sealed[OBJECT_ID_SIZE + KEYRING_SEALED_EXTRA];
	size_t size = strlen(subject->object.id);

	if (!keyring_seal(subject->service->keyring, subject->id_text, subject->object.id, size, sealed))
		return false;
	strbuf_add_hex(hex, sealed, size + KEYRING_SEALED_EXTRA);
	return strbuf_ok(hex);
}

void subject_reply(
	struct http_request *request, enum status status, const struct strbuf *text, const struct strbuf *why)
{
	struct http_response *response = NULL;

	if (status == STATUS_OK)
		response = http_response_create(200, "application/json", text->data, text->length);
	if (response != NULL)
		http_request_reply(request, response);
	else
		problem_reply(
			request, status == STATUS_OK ? STATUS_NO_MEMORY : status, why->length > 0 ? why->data : NULL);
}

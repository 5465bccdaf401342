/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing the master key.  The keyring's file gets a new one, which wraps from then
 * on; what the earlier one wrapped is wrapped anew, a batch at a time; and when a whole
 * pass has found nothing more, the earlier one is destroyed.  Subjects keep their own
 * keys and so their pseudonyms.
 *
 * The file alone says that a change is under way (it has two master keys), so it goes on
 * after a crash, from the first row: rows that are done are passed over.  A row is
 * replaced only if it still is what was read, so that an erased one stays away.
 *
 * All but the HTTP handlers on the control loop.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "service_subject.h"

#define BATCH_ROWS 200
#define BATCH_ROWS_TEXT "200"
#define DATABASE_MS 5000
/* Longer than anybody may take to store what was wrapped by the earlier key (PSEUDONYM_WAIT_MS, DATABASE_MS). */
#define SETTLE_MS 10000

/*
 * Columns: the row's name and what was sealed under it.  $1: after which name; $2: the number of the key in force, as hex.
 * And what replaces them: $1 names, $2 what was read, $3 what it becomes.
 */
static const struct store {
	const char *select, *update;
} stores[] = {
	{ "SELECT ref, encode(wrapped, 'hex') FROM homeward.subject_keys WHERE ref > $1 "
	  "AND substr(wrapped, 2, 4) <> decode($2, 'hex') ORDER BY ref LIMIT " BATCH_ROWS_TEXT,
		"UPDATE homeward.subject_keys k SET wrapped = decode(q.new, 'hex') "
		"FROM unnest($1::text[], $2::text[], $3::text[]) AS q(name, old, new) "
		"WHERE k.ref = q.name AND k.wrapped = decode(q.old, 'hex')" },
	{ "SELECT DISTINCT ON (erasure) erasure::text, encode(sealed, 'hex') FROM homeward.erasures "
	  "WHERE erasure > coalesce(nullif($1::text, ''), '00000000-0000-0000-0000-000000000000')::uuid "
	  "AND sealed IS NOT NULL AND substr(sealed, 2, 4) <> decode($2, 'hex') "
	  "ORDER BY erasure LIMIT " BATCH_ROWS_TEXT,
		"UPDATE homeward.erasures e SET sealed = decode(q.new, 'hex') "
		"FROM unnest($1::text[], $2::text[], $3::text[]) AS q(name, old, new) "
		"WHERE e.erasure = q.name::uuid AND e.sealed = decode(q.old, 'hex')" },
};
enum { STORE_COUNT = sizeof(stores) / sizeof(stores[0]) };

struct batch {
	struct service *service;
	char last[REKEYING_NAME_SIZE];
	struct strbuf names, olds, news;
	size_t count;
};

static void begin_pass(struct service *service)
{
	service->rekeying.store = 0;
	service->rekeying.after[0] = '\0';
	service->rekeying.found = service->rekeying.unreadable = 0;
	service->rekeying.pass_ms = loop_now_ms(service->control);
}

static void free_batch(struct batch *batch)
{
	strbuf_release(&batch->names);
	strbuf_release(&batch->olds);
	strbuf_release(&batch->news);
	free(batch);
}

/* What cannot be opened was under no key that is still here: it is left, and lost already. */
static void add_row(struct batch *batch, const char *name, const char *old)
{
	uint8_t sealed[OBJECT_ID_SIZE + KEYRING_SEALED_EXTRA], text[OBJECT_ID_SIZE];
	size_t size = subject_unhex(old, sealed, sizeof(sealed));
	struct keyring *keyring = batch->service->keyring;
	struct strbuf hex = STRBUF_INIT;

	if (size >= KEYRING_SEALED_EXTRA && keyring_unseal(keyring, name, sealed, size, text) &&
		keyring_seal(keyring, name, text, size - KEYRING_SEALED_EXTRA, sealed)) {
		strbuf_add_hex(&hex, sealed, size);
		database_array_add(&batch->names, name, strlen(name), batch->count == 0);
		database_array_add(&batch->olds, old, strlen(old), batch->count == 0);
		database_array_add(&batch->news, hex.data, hex.length, batch->count == 0);
		batch->count++;
	} else {
		batch->service->rekeying.unreadable++;
	}
	explicit_bzero(text, sizeof(text));
	strbuf_release(&hex);
}

static void next_batch(struct service *service);

static void replaced(void *arg, enum status status, const PGresult *result)
{
	struct batch *batch = arg;
	struct service *service = batch->service;

	(void)result;
	service->rekeying.is_busy = false;
	if (status == STATUS_OK) {
		atomic_fetch_add(&service->rekeying.rewrapped, batch->count);
		service->rekeying.found += batch->count;
		memcpy(service->rekeying.after, batch->last, sizeof(batch->last));
		next_batch(service);
	}
	free_batch(batch);
}

static void end_pass(struct service *service)
{
	struct strbuf why = STRBUF_INIT;
	char text[64];
	uint32_t master;
	bool is_over = service->rekeying.found == 0 &&
		       service->rekeying.pass_ms - service->rekeying.began_ms >= SETTLE_MS;

	service->rekeying.store = STORE_COUNT;
	if (!is_over)
		return;
	if (service->rekeying.unreadable > 0)
		LOG_WARN("subject_keys_unreadable", "rows", log_number((int64_t)service->rekeying.unreadable));
	if (keyring_drop_masters(service->keyring, &why) == STATUS_OK) {
		(void)keyring_masters(service->keyring, &master);
		(void)snprintf(text, sizeof(text), "master key %" PRIu32 " alone; the earlier destroyed", master);
		LOG_INFO("master_key_changed", "master", log_number(master), "rewrapped",
			log_number((int64_t)atomic_load(&service->rekeying.rewrapped)));
		service_log_note(service, ENTRY_ADMIN, NULL, text);
	} else {
		LOG_ERROR("master_key_not_destroyed", "reason", why.data);
	}
	strbuf_release(&why);
}

static void selected(void *arg, enum status status, const PGresult *result)
{
	struct service *service = arg;
	struct batch *batch;
	int rows = status == STATUS_OK ? PQntuples(result) : 0;

	service->rekeying.is_busy = false;
	if (status != STATUS_OK)
		return; /* again in a second */
	if (rows == 0) {
		service->rekeying.store++;
		service->rekeying.after[0] = '\0';
		next_batch(service);
		return;
	}
	batch = calloc(1, sizeof(*batch));
	if (batch == NULL)
		return;
	batch->service = service;
	strbuf_adds(&batch->names, "{");
	strbuf_adds(&batch->olds, "{");
	strbuf_adds(&batch->news, "{");
	for (int row = 0; row < rows; row++)
		add_row(batch, PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
	(void)snprintf(batch->last, sizeof(batch->last), "%s", PQgetvalue(result, rows - 1, 0));
	strbuf_adds(&batch->names, "}");
	strbuf_adds(&batch->olds, "}");
	strbuf_adds(&batch->news, "}");
	const struct database_parameter parameters[] = { { batch->names.data }, { batch->olds.data },
		{ batch->news.data } };
	if (!strbuf_ok(&batch->names) || !strbuf_ok(&batch->olds) || !strbuf_ok(&batch->news)) {
		free_batch(batch);
		return;
	}
	service->rekeying.is_busy = true;
	database_query(service->control_database, stores[service->rekeying.store].update, parameters, 3,
		loop_now_ms(service->control) + DATABASE_MS, replaced, batch);
}

static void next_batch(struct service *service)
{
	char master_hex[9];
	uint32_t master;
	const struct database_parameter parameters[] = { { service->rekeying.after }, { master_hex } };

	if (service->rekeying.store >= STORE_COUNT) {
		end_pass(service);
		return;
	}
	(void)keyring_masters(service->keyring, &master);
	(void)snprintf(master_hex, sizeof(master_hex), "%08" PRIx32, master);
	service->rekeying.is_busy = true;
	database_query(service->control_database, stores[service->rekeying.store].select, parameters, 2,
		loop_now_ms(service->control) + DATABASE_MS, selected, service);
}

void service_keys_tend(struct service *service)
{
	uint32_t master;

	if (keyring_masters(service->keyring, &master) < 2) {
		service->rekeying.began_ms = 0;
		return;
	}
	if (service->rekeying.is_busy || !service->is_migrated || !database_is_up(service->control_database))
		return;
	if (service->rekeying.began_ms == 0) {
		service->rekeying.began_ms = loop_now_ms(service->control);
		service->rekeying.store = STORE_COUNT;
	}
	if (service->rekeying.store >= STORE_COUNT)
		begin_pass(service);
	next_batch(service);
}

/* ---- the admin listener ---- */

void service_master_key(void *arg, struct http_request *request)
{
	struct service *service = arg;
	struct strbuf text = STRBUF_INIT, why = STRBUF_INIT;
	uint32_t master;
	size_t count = keyring_masters(service->keyring, &master);

	strbuf_addf(&text, "{\"master\":%" PRIu32 ",\"is_changing\":%s,\"rewrapped\":%" PRIuFAST64 "}\n", master,
		count > 1 ? "true" : "false", atomic_load(&service->rekeying.rewrapped));
	subject_reply(request, strbuf_ok(&text) ? STATUS_OK : STATUS_NO_MEMORY, &text, &why);
	strbuf_release(&text);
	strbuf_release(&why);
}

void service_change_master_key(void *arg, struct http_request *request)
{
	struct service *service = arg;
	struct strbuf why = STRBUF_INIT;
	char text[64];
	uint32_t master;
	enum status status = keyring_add_master(service->keyring, &why);

	if (status != STATUS_OK) {
		subject_reply(request, status, NULL, &why);
	} else {
		(void)keyring_masters(service->keyring, &master);
		atomic_store(&service->rekeying.rewrapped, 0);
		(void)snprintf(text, sizeof(text), "master key %" PRIu32 " begun", master);
		LOG_INFO("master_key_begun", "master", log_number(master));
		service_log_note(service, ENTRY_ADMIN, NULL, text);
		service_master_key(arg, request);
	}
	strbuf_release(&why);
}

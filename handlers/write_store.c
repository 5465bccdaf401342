/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every statement returns the same three columns: the version there is now (NULL
 * when nothing was changed), whether the row is new, and whether an object was
 * there before.  From these the outcome is told without a second round trip.
 *
 * A sub-select in a data-modifying statement sees the table as it was before it,
 * which is what "was there before" needs.
 */
#include "handlers/write_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/must.h"
#include "base/strbuf.h"

#define VERSION_TEXT_SIZE 24
/* A query past its deadline costs the connection and everyone's queries on it, so no caller may choose less. */
#define QUERY_MIN_MS 1000

static const char put_if_absent[] =
	"WITH done AS (INSERT INTO homeward.objects (type, id, record) VALUES ($1, $2, $3::jsonb) "
	"ON CONFLICT (type, id) DO NOTHING RETURNING version) "
	"SELECT (SELECT version FROM done), true, true";

static const char put_if_version[] =
	"WITH done AS (UPDATE homeward.objects SET version = version + 1, record = $3::jsonb, updated_at = now() "
	"WHERE type = $1 AND id = $2 AND version = $4::bigint RETURNING version) "
	"SELECT (SELECT version FROM done), false, true";

/* xmax is 0 only in a row that was inserted and not updated. */
static const char put_always[] =
	"WITH done AS (INSERT INTO homeward.objects AS o (type, id, record) VALUES ($1, $2, $3::jsonb) "
	"ON CONFLICT (type, id) DO UPDATE SET version = o.version + 1, record = excluded.record, updated_at = now() "
	"RETURNING version, (xmax = 0) AS is_new) "
	"SELECT version, is_new, true FROM done";

static const char delete_if_version[] =
	"WITH done AS (DELETE FROM homeward.objects WHERE type = $1 AND id = $2 AND version = $3::bigint "
	"RETURNING version) "
	"SELECT (SELECT version FROM done), false, "
	"EXISTS (SELECT 1 FROM homeward.objects WHERE type = $1 AND id = $2)";

static const char delete_always[] =
	"WITH done AS (DELETE FROM homeward.objects WHERE type = $1 AND id = $2 RETURNING version) "
	"SELECT (SELECT version FROM done), false, false";

struct pending_write {
	struct loop_task task; /* only for ends without a query */
	handlers_write_done *done;
	void *arg;
	enum status status;
};

static struct pending_write *pending_create(handlers_write_done *done, void *arg)
{
	struct pending_write *pending = calloc(1, sizeof(*pending));

	/* Without these few bytes the promise to end every write cannot be kept. */
	must(pending != NULL);
	pending->done = done;
	pending->arg = arg;
	return pending;
}

static void end_now(struct loop_task *task)
{
	struct pending_write *pending = (struct pending_write *)task;

	pending->done(pending->arg, pending->status, 0, false);
	free(pending);
}

void store_write_end_later(struct loop *loop, enum status status, handlers_write_done *done, void *arg)
{
	struct pending_write *pending = pending_create(done, arg);

	pending->task.run = end_now;
	pending->status = status;
	loop_defer(loop, &pending->task);
}

static bool is_true(const PGresult *result, int column)
{
	return PQgetvalue(result, 0, column)[0] == 't';
}

static void written(void *arg, enum status status, const PGresult *result)
{
	struct pending_write *pending = arg;
	uint64_t version = 0;
	bool was_created = false;

	if (status == STATUS_OK) {
		must(PQntuples(result) == 1 && PQnfields(result) == 3);
		if (!PQgetisnull(result, 0, 0)) {
			version = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
			was_created = is_true(result, 1);
		} else {
			status = is_true(result, 2) ? STATUS_PRECONDITION_FAILED : STATUS_NOT_AVAILABLE;
		}
	}
	pending->done(pending->arg, status, version, was_created);
	free(pending);
}

static const char *statement_of(const struct store_write *write)
{
	if (write->content == NULL)
		return write->condition == WRITE_IF_VERSION ? delete_if_version : delete_always;
	switch (write->condition) {
	case WRITE_IF_ABSENT:
		return put_if_absent;
	case WRITE_IF_VERSION:
		return put_if_version;
	case WRITE_ALWAYS:
		break;
	}
	return put_always;
}

void store_write_start(struct loop *loop, struct database *database, const struct store_write *write)
{
	struct database_parameter parameters[4] = { { write->object->type }, { write->object->id } };
	struct strbuf record = STRBUF_INIT;
	int64_t deadline_ms = loop_now_ms(loop) + QUERY_MIN_MS;
	char version[VERSION_TEXT_SIZE];
	int count = 2;

	if (write->content == NULL && write->condition == WRITE_IF_ABSENT) {
		store_write_end_later(loop, STATUS_INVALID, write->done, write->arg);
		return;
	}
	if (write->version > INT64_MAX) {
		store_write_end_later(loop, STATUS_PRECONDITION_FAILED, write->done, write->arg);
		return;
	}
	if (write->content != NULL) {
		if (json_write(write->content, &record) != STATUS_OK) {
			strbuf_release(&record);
			store_write_end_later(loop, STATUS_NO_MEMORY, write->done, write->arg);
			return;
		}
		parameters[count++].text = record.data;
	}
	if (write->condition == WRITE_IF_VERSION) {
		(void)snprintf(version, sizeof(version), "%" PRIu64, write->version);
		parameters[count++].text = version;
	}
	if (write->deadline_ms == 0 || write->deadline_ms > deadline_ms)
		deadline_ms = write->deadline_ms;
	database_query(database, statement_of(write), parameters, count, deadline_ms, written,
		pending_create(write->done, write->arg));
	strbuf_release(&record);
}

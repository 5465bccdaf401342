/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows: fetches made in one round of the loop are joined into one query with an
 * array of ids, because a query's fixed cost (parse the message, plan lookup,
 * sync, one packet each way) is many times a row's.  A batch holds at most
 * FETCH_BATCH_MAX waiters; past that the round needs several queries.
 *
 * Equal ids of a batch share one parameter, one row and one parsed record.
 * A waiter's deadline is kept by the batch's timer and not by the query: a
 * query that times out costs the connection, and with it everybody else's
 * queries, so a hurried peer must not be able to choose that time.
 *
 * Invariant: a batch is either on the `pending` list (its head still filling), or
 * under way in the database, or the one spare.  All on the loop's thread.
 */
#include "handlers/fetch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/must.h"
#include "base/strbuf.h"

/* More gains nothing: at 500 the fixed cost is already under 1 % of the query's. */
#define FETCH_BATCH_MAX 500
#define SLOT_COUNT 1024 /* a power of two, at most half full */
#define WAITERS_FIRST 16
#define NOBODY (-1)
#define DEADLINE_DEFAULT_MS 5000

struct waiter {
	handlers_fetch_done *done;
	void *arg;
	int64_t deadline_ms;
	int next; /* with the same id, or NOBODY */
	bool is_head;
	bool is_done;
	char id[OBJECT_ID_SIZE];
};

struct fetch_batch {
	struct row_fetcher *fetcher;
	struct fetch_batch *next; /* on the pending list */
	struct loop_timer timer;
	struct waiter *waiters;
	int count, capacity;
	int16_t slots[SLOT_COUNT]; /* the first waiter of each id, or NOBODY */
};

struct row_fetcher {
	struct row_fetcher_settings settings;
	struct loop_task send;
	struct fetch_batch *pending, *spare;
	struct log_limit unreadable;
	bool send_is_due;
	bool is_closed;
	int under_way;
};

static void batch_destroy(struct fetch_batch *batch)
{
	if (batch == NULL)
		return;
	loop_timer_release(&batch->timer);
	free(batch->waiters);
	free(batch);
}

static void complete(struct waiter *waiter, enum status status, uint64_t version, json_t *content)
{
	if (waiter->is_done)
		return;
	waiter->is_done = true;
	waiter->done(waiter->arg, status, version, content);
}

static void complete_all(struct fetch_batch *batch, enum status status)
{
	for (int i = 0; i < batch->count; i++)
		complete(&batch->waiters[i], status, 0, NULL);
}

static void batch_arm(struct fetch_batch *batch)
{
	int64_t soonest_ms = INT64_MAX;
	int64_t now_ms = loop_now_ms(batch->fetcher->settings.loop);

	for (int i = 0; i < batch->count; i++) {
		if (!batch->waiters[i].is_done && batch->waiters[i].deadline_ms < soonest_ms)
			soonest_ms = batch->waiters[i].deadline_ms;
	}
	if (soonest_ms != INT64_MAX)
		loop_timer_start(&batch->timer, soonest_ms > now_ms ? soonest_ms - now_ms : 0);
}

static void batch_deadline(void *arg)
{
	struct fetch_batch *batch = arg;
	int64_t now_ms = loop_now_ms(batch->fetcher->settings.loop);

	for (int i = 0; i < batch->count; i++) {
		if (batch->waiters[i].deadline_ms <= now_ms)
			complete(&batch->waiters[i], STATUS_DEADLINE, 0, NULL);
	}
	batch_arm(batch);
}

static struct fetch_batch *batch_take(struct row_fetcher *fetcher)
{
	struct fetch_batch *batch = fetcher->spare;

	if (batch != NULL) {
		fetcher->spare = NULL;
	} else {
		batch = calloc(1, sizeof(*batch));
		if (batch == NULL)
			return NULL;
		batch->fetcher = fetcher;
		batch->waiters = malloc(WAITERS_FIRST * sizeof(*batch->waiters));
		batch->capacity = WAITERS_FIRST;
		if (batch->waiters == NULL ||
			loop_timer_init(fetcher->settings.loop, &batch->timer, batch_deadline, batch) != STATUS_OK) {
			batch_destroy(batch);
			return NULL;
		}
	}
	batch->count = 0;
	for (int i = 0; i < SLOT_COUNT; i++)
		batch->slots[i] = NOBODY;
	return batch;
}

static void free_when_idle(struct row_fetcher *fetcher)
{
	if (fetcher->is_closed && fetcher->under_way == 0 && !fetcher->send_is_due)
		free(fetcher);
}

static void batch_put_back(struct fetch_batch *batch)
{
	struct row_fetcher *fetcher = batch->fetcher;

	loop_timer_stop(&batch->timer);
	if (fetcher->spare == NULL && !fetcher->is_closed)
		fetcher->spare = batch;
	else
		batch_destroy(batch);
	fetcher->under_way--;
	free_when_idle(fetcher);
}

/* The slot of this id: where its first waiter is, or the empty one where it would be. */
static int16_t *find_slot(struct fetch_batch *batch, const char *id, size_t length)
{
	uint64_t at = hash_key64(id, length, 0);

	for (;; at++) {
		int16_t *slot = &batch->slots[at & (SLOT_COUNT - 1)];

		if (*slot == NOBODY)
			return slot;
		if (strncmp(batch->waiters[*slot].id, id, length) == 0 && batch->waiters[*slot].id[length] == '\0')
			return slot;
	}
}

/* One row may have been asked for many times; the record is parsed once. */
static void complete_row(
	struct fetch_batch *batch, int first, const char *version_text, const char *record, size_t size)
{
	uint64_t version = strtoull(version_text, NULL, 10);
	enum status status = STATUS_OK;
	json_t *content = NULL;

	if (json_parse(record, size, &content, NULL) != STATUS_OK || !json_is_object(content)) {
		LOG_LIMITED(&batch->fetcher->unreadable, LOG_LEVEL_ERROR, "handler_record_unreadable", "type",
			batch->fetcher->settings.type, "expected", "a JSON object in column record");
		json_decref(content);
		content = NULL;
		status = STATUS_INTERNAL;
	}
	for (int i = first; i != NOBODY; i = batch->waiters[i].next)
		complete(&batch->waiters[i], status, status == STATUS_OK ? version : 0, content);
	json_decref(content);
}

static enum status complete_rows(struct fetch_batch *batch, const PGresult *result)
{
	int id_column = PQfnumber(result, "id");
	int version_column = PQfnumber(result, "version");
	int record_column = PQfnumber(result, "record");

	if (id_column < 0 || record_column < 0) {
		LOG_LIMITED(&batch->fetcher->unreadable, LOG_LEVEL_ERROR, "handler_query_columns", "type",
			batch->fetcher->settings.type, "missing", id_column < 0 ? "id" : "record", "expected",
			"columns named id, version and record");
		return STATUS_INTERNAL;
	}
	for (int row = 0; row < PQntuples(result); row++) {
		size_t id_length = (size_t)PQgetlength(result, row, id_column);
		int16_t *slot;

		if (id_length >= OBJECT_ID_SIZE || PQgetisnull(result, row, record_column))
			continue;
		slot = find_slot(batch, PQgetvalue(result, row, id_column), id_length);
		if (*slot == NOBODY)
			continue;
		complete_row(batch, *slot, version_column < 0 ? "1" : PQgetvalue(result, row, version_column),
			PQgetvalue(result, row, record_column), (size_t)PQgetlength(result, row, record_column));
	}
	return STATUS_NOT_AVAILABLE;
}

static void rows_came(void *arg, enum status status, const PGresult *result)
{
	struct fetch_batch *batch = arg;

	if (status == STATUS_OK)
		status = complete_rows(batch, result);
	complete_all(batch, status);
	batch_put_back(batch);
}

static void batch_send(struct fetch_batch *batch)
{
	struct row_fetcher *fetcher = batch->fetcher;
	struct database_parameter parameters[2];
	struct strbuf ids = STRBUF_INIT;
	int count = 0;
	bool is_first = true;

	strbuf_addc(&ids, '{');
	for (int i = 0; i < batch->count; i++) {
		if (!batch->waiters[i].is_head)
			continue;
		database_array_add(&ids, batch->waiters[i].id, strlen(batch->waiters[i].id), is_first);
		is_first = false;
	}
	strbuf_addc(&ids, '}');

	fetcher->under_way++;
	if (!strbuf_ok(&ids)) {
		complete_all(batch, STATUS_NO_MEMORY);
		batch_put_back(batch);
	} else {
		if (fetcher->settings.takes_type)
			parameters[count++].text = fetcher->settings.type;
		parameters[count++].text = ids.data;
		batch_arm(batch);
		database_query(fetcher->settings.database, fetcher->settings.statement, parameters, count, 0, rows_came,
			batch);
	}
	strbuf_release(&ids);
}

static void send_soon(struct row_fetcher *fetcher);

static void send_pending(struct loop_task *task)
{
	struct row_fetcher *fetcher = (struct row_fetcher *)((char *)task - offsetof(struct row_fetcher, send));
	struct fetch_batch *batch = fetcher->pending;

	fetcher->pending = NULL;
	while (batch != NULL) {
		struct fetch_batch *next = batch->next;

		batch_send(batch);
		batch = next;
	}
	/* Last, so that nothing above frees the fetcher; fetches made by completions in between wait for a round. */
	fetcher->send_is_due = false;
	if (fetcher->pending != NULL)
		send_soon(fetcher);
	free_when_idle(fetcher);
}

static void send_soon(struct row_fetcher *fetcher)
{
	if (fetcher->send_is_due)
		return;
	fetcher->send_is_due = true;
	loop_defer(fetcher->settings.loop, &fetcher->send);
}

static struct waiter *add_waiter(struct row_fetcher *fetcher)
{
	struct fetch_batch *batch = fetcher->pending;

	if (batch == NULL || batch->count == FETCH_BATCH_MAX) {
		batch = batch_take(fetcher);
		if (batch == NULL)
			return NULL;
		batch->next = fetcher->pending;
		fetcher->pending = batch;
	}
	if (batch->count == batch->capacity) {
		size_t capacity = (size_t)batch->capacity * 2;
		struct waiter *waiters = realloc(batch->waiters, capacity * sizeof(*waiters));

		if (waiters == NULL)
			return NULL;
		batch->waiters = waiters;
		batch->capacity = (int)capacity;
	}
	return &batch->waiters[batch->count++];
}

void row_fetcher_get(
	struct row_fetcher *fetcher, const char *id, int64_t deadline_ms, handlers_fetch_done *done, void *arg)
{
	size_t length = strlen(id);
	struct fetch_batch *batch;
	struct waiter *waiter;
	int16_t *slot;

	must(length < OBJECT_ID_SIZE && !fetcher->is_closed);
	waiter = add_waiter(fetcher);
	if (waiter == NULL) {
		fetch_end_later(fetcher->settings.loop, STATUS_NO_MEMORY, done, arg);
		return;
	}
	batch = fetcher->pending;
	waiter->done = done;
	waiter->arg = arg;
	waiter->deadline_ms = deadline_ms > 0 ? deadline_ms : loop_now_ms(fetcher->settings.loop) + DEADLINE_DEFAULT_MS;
	waiter->is_done = false;
	memcpy(waiter->id, id, length + 1);

	slot = find_slot(batch, id, length);
	waiter->is_head = *slot == NOBODY;
	waiter->next = NOBODY;
	if (waiter->is_head) {
		*slot = (int16_t)(batch->count - 1);
	} else {
		waiter->next = batch->waiters[*slot].next;
		batch->waiters[*slot].next = batch->count - 1;
	}

	send_soon(fetcher);
}

enum status row_fetcher_create(const struct row_fetcher_settings *settings, struct row_fetcher **fetcher_out)
{
	struct row_fetcher *fetcher = calloc(1, sizeof(*fetcher));

	*fetcher_out = fetcher;
	if (fetcher == NULL)
		return STATUS_NO_MEMORY;
	fetcher->settings = *settings;
	fetcher->send.run = send_pending;
	return STATUS_OK;
}

void row_fetcher_close(struct row_fetcher *fetcher)
{
	if (fetcher == NULL)
		return;
	fetcher->is_closed = true;
	while (fetcher->pending != NULL) {
		struct fetch_batch *batch = fetcher->pending;

		fetcher->pending = batch->next;
		complete_all(batch, STATUS_DRAINING);
		batch_destroy(batch);
	}
	batch_destroy(fetcher->spare);
	fetcher->spare = NULL;
	loop_defer_cancel(fetcher->settings.loop, &fetcher->send);
	fetcher->send_is_due = false;
	free_when_idle(fetcher);
}

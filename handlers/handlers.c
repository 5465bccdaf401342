/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers: from an object's type to the fetcher that can build its record.  One
 * set an engine, so nothing here is shared between threads.
 */
#include "handlers/copies.h"
#include "handlers/handlers.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "handlers/fetch.h"
#include "handlers/flags.h"
#include "handlers/write_store.h"

static const char store_statement[] =
	"SELECT o.id, o.version, o.record FROM unnest((SELECT $2::text[])) AS q(id), LATERAL (SELECT id, version, "
	"record FROM homeward.objects WHERE type = $1 AND id = q.id LIMIT 1) AS o";

struct object_handler {
	const struct settings_type *type;
	struct row_fetcher *rows; /* store and sql */
	struct http_fetcher *http;
};

struct handlers {
	struct loop *loop;
	struct database *database;
	struct object_handler *by_type;
	size_t count;
	struct flags *flags;   /* NULL without a gate */
	struct copies *copies; /* NULL where there are no events to tell of a change */
};

struct late_end {
	struct loop_task task;
	handlers_fetch_done *done;
	void *arg;
	enum status status;
};

static void end_now(struct loop_task *task)
{
	struct late_end *end = (struct late_end *)task;

	end->done(end->arg, end->status, 0, NULL);
	free(end);
}

void fetch_end_later(struct loop *loop, enum status status, handlers_fetch_done *done, void *arg)
{
	struct late_end *end = malloc(sizeof(*end));

	/* Without these few bytes the promise to end every fetch cannot be kept. */
	must(end != NULL);
	*end = (struct late_end){ .task = { .run = end_now }, .done = done, .arg = arg, .status = status };
	loop_defer(loop, &end->task);
}

static enum status handler_open(struct object_handler *handler, const struct settings_type *type, struct loop *loop,
	struct database *database, struct http_client *client)
{
	struct row_fetcher_settings rows = { .loop = loop, .database = database, .type = type->name };

	handler->type = type;
	switch (type->handler) {
	case HANDLER_STORE:
		rows.statement = store_statement;
		rows.takes_type = true;
		return row_fetcher_create(&rows, &handler->rows);
	case HANDLER_SQL:
		rows.statement = type->query;
		return row_fetcher_create(&rows, &handler->rows);
	case HANDLER_HTTP:
		return http_fetcher_create(loop, client, type->name, type->url, &handler->http);
	}
	return STATUS_INVALID;
}

enum status handlers_create(struct loop *loop, struct database *database, struct http_client *client,
	const struct settings *settings, struct gate *gate, struct handlers **handlers_out)
{
	enum status status = STATUS_NO_MEMORY;
	struct handlers *handlers;

	*handlers_out = NULL;
	handlers = calloc(1, sizeof(*handlers));
	if (handlers == NULL)
		return STATUS_NO_MEMORY;
	handlers->loop = loop;
	handlers->database = database;
	handlers->by_type = calloc(settings->type_count + 1, sizeof(*handlers->by_type));
	if (handlers->by_type == NULL)
		goto out;

	for (size_t i = 0; i < settings->type_count; i++) {
		status = handler_open(&handlers->by_type[i], &settings->types[i], loop, database, client);
		if (status != STATUS_OK)
			goto out;
		handlers->count++;
	}
	status = STATUS_OK;
	if (gate != NULL)
		status = flags_create(loop, database, gate, settings->access_log.key_file, &handlers->flags);
	if (status == STATUS_OK && settings->events.broker != NULL && settings->events.broker[0] != '\0')
		status = copies_create(loop, database, &handlers->copies);
	if (status != STATUS_OK)
		goto out;
	*handlers_out = handlers;
	handlers = NULL;
out:
	handlers_destroy(handlers);
	return status;
}

void handlers_destroy(struct handlers *handlers)
{
	if (handlers == NULL)
		return;
	for (size_t i = 0; i < handlers->count; i++) {
		row_fetcher_close(handlers->by_type[i].rows);
		http_fetcher_close(handlers->by_type[i].http);
	}
	copies_destroy(handlers->copies);
	flags_destroy(handlers->flags);
	free(handlers->by_type);
	free(handlers);
}

/* Types are few, so a walk beats a table. */
static struct object_handler *find(struct handlers *handlers, const char *type)
{
	for (size_t i = 0; i < handlers->count; i++) {
		if (strcmp(handlers->by_type[i].type->name, type) == 0)
			return &handlers->by_type[i];
	}
	return NULL;
}

bool handlers_note_copy(struct handlers *handlers, struct copy *copy, copies_done *done, void *arg)
{
	const struct object_handler *handler = find(handlers, copy->object->type);

	copy->is_stored = handler != NULL && handler->type->handler == HANDLER_STORE;
	if (handlers->copies == NULL || copies_has(handlers->copies, copy))
		return false;
	copies_note(handlers->copies, copy, done, arg);
	return true;
}

void handlers_fetch(struct handlers *handlers, const struct object_id *object, int64_t deadline_ms,
	handlers_fetch_done *done, void *arg)
{
	struct object_handler *handler = find(handlers, object->type);
	struct flagged *flagged = NULL;

	if (handler == NULL) {
		fetch_end_later(handlers->loop, STATUS_NOT_AVAILABLE, done, arg);
		return;
	}
	if (handler->type->handler != HANDLER_STORE && handlers->flags != NULL)
		flagged = flags_begin(handlers->flags, object, deadline_ms, done, arg);
	if (flagged != NULL) {
		done = flags_record_came;
		arg = flagged;
	}
	if (handler->http != NULL)
		http_fetcher_get(handler->http, object->id, deadline_ms, done, arg);
	else
		row_fetcher_get(handler->rows, object->id, deadline_ms, done, arg);
}

void handlers_write(struct handlers *handlers, const struct object_id *object, const json_t *content,
	enum write_condition condition, uint64_t version, int64_t deadline_ms, handlers_write_done *done, void *arg)
{
	struct object_handler *handler = find(handlers, object->type);
	struct store_write write = {
		.object = object,
		.content = content,
		.condition = condition,
		.version = version,
		.deadline_ms = deadline_ms,
		.done = done,
		.arg = arg,
	};

	if (handler == NULL || handler->type->handler != HANDLER_STORE)
		store_write_end_later(handlers->loop, STATUS_FORBIDDEN, done, arg);
	else
		store_write_start(handlers->loop, handlers->database, &write);
}

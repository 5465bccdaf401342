/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Caller directory: follows homeward.callers by NOTIFY on the control loop and
 * swaps the snapshot whole.  The database answers in the very JSON that is kept
 * on disk, so that one parser serves both and a start without a database still
 * knows its callers.
 *
 * The mutex guards the current pointer only.  A failed read keeps the old
 * snapshot and is tried again after a second.
 */
#include "locator/callers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/must.h"

#define RETRY_MS 1000
#define FILE_BYTES_MAX (16 * 1024 * 1024)

struct caller_directory {
	pthread_mutex_t lock;
	struct callers *current;
	char *path;
	uint64_t seed;
	struct database *database;
	struct loop_timer retry;
	bool is_reading, must_read_again, is_following;
};

static const char read_statement[] =
	"SELECT coalesce(json_agg(json_build_object('name', name, 'token_hash', encode(token_hash, 'hex'), "
	"'purposes', to_json(purposes), 'may_write', may_write) ORDER BY name), '[]')::text FROM homeward.callers";

struct callers *caller_directory_current(struct caller_directory *directory)
{
	pthread_mutex_lock(&directory->lock);
	struct callers *callers = directory->current ? callers_acquire(directory->current) : NULL;
	pthread_mutex_unlock(&directory->lock);
	return callers;
}

void caller_directory_swap(struct caller_directory *directory, struct callers *callers)
{
	pthread_mutex_lock(&directory->lock);
	struct callers *before = directory->current;
	directory->current = callers;
	pthread_mutex_unlock(&directory->lock);
	callers_release(before);
}

static bool take(struct caller_directory *directory, const char *text, size_t size)
{
	struct callers *callers = NULL;
	struct strbuf why = STRBUF_INIT;
	enum status status = callers_parse(text, size, directory->seed, &callers, &why);
	if (status)
		LOG_ERROR("callers_refused", "status", status_name(status), "reason", why.data);
	else
		caller_directory_swap(directory, callers);
	strbuf_release(&why);
	return status == STATUS_OK;
}

static void read_table(void *arg);

static void table_read(void *arg, enum status status, const PGresult *result)
{
	struct caller_directory *directory = arg;
	if (status == STATUS_DRAINING)
		return; /* the process is going down, and the directory may have gone already */
	directory->is_reading = false;
	if (status == STATUS_OK && PQntuples(result) == 1) {
		const char *text = PQgetvalue(result, 0, 0);
		size_t size = (size_t)PQgetlength(result, 0, 0);
		struct strbuf why = STRBUF_INIT;
		if (take(directory, text, size) && file_replace(directory->path, text, size, 0600, &why))
			LOG_WARN("callers_not_saved", "reason", why.data);
		strbuf_release(&why);
	} else {
		loop_timer_start(&directory->retry, RETRY_MS);
	}
	if (directory->must_read_again)
		read_table(directory);
}

static void read_table(void *arg)
{
	struct caller_directory *directory = arg;
	directory->must_read_again = directory->is_reading;
	if (directory->is_reading)
		return;
	directory->is_reading = true;
	database_query(directory->database, read_statement, NULL, 0, 0, table_read, directory);
}

static void table_changed(void *arg, const char *channel)
{
	(void)channel;
	read_table(arg);
}

enum status caller_directory_follow(struct caller_directory *directory, struct loop *loop, struct database *database)
{
	must(!directory->is_following);
	directory->database = database;
	enum status status = loop_timer_init(loop, &directory->retry, read_table, directory);
	if (status)
		return status;
	directory->is_following = true;
	return database_listen(database, "homeward_callers", table_changed, directory);
}

enum status caller_directory_create(const char *path, uint64_t seed, struct caller_directory **directory_out)
{
	*directory_out = NULL;
	struct caller_directory *directory = calloc(1, sizeof(*directory));
	if (!directory)
		return STATUS_NO_MEMORY;
	directory->path = strdup(path);
	if (!directory->path) {
		free(directory);
		return STATUS_NO_MEMORY;
	}
	directory->seed = seed;
	must(!pthread_mutex_init(&directory->lock, NULL));
	struct strbuf text = STRBUF_INIT, why = STRBUF_INIT;
	enum status status = file_read(path, FILE_BYTES_MAX, &text, &why);
	if (status == STATUS_OK)
		take(directory, text.data, text.length);
	else if (status != STATUS_NOT_FOUND)
		LOG_WARN("callers_not_loaded", "reason", why.data);
	strbuf_release(&text);
	strbuf_release(&why);
	*directory_out = directory;
	return STATUS_OK;
}

void caller_directory_destroy(struct caller_directory *directory)
{
	if (!directory)
		return;
	if (directory->is_following)
		loop_timer_release(&directory->retry);
	callers_release(directory->current);
	pthread_mutex_destroy(&directory->lock);
	free(directory->path);
	free(directory);
}

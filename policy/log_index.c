/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following the log: read the checkpoint, copy what it covers and the index has not,
 * look again soon.  Reading goes by the signed checkpoint only, so the index never
 * has an entry that an auditor could not find in the log.
 *
 * PostgreSQL may be away: the thread waits with growing, jittered pauses and goes on
 * where the position says.  The thread's own state is only what it can ask for again.
 */
#include "policy/log_index.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/database.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/must.h"
#include "base/random.h"
#include "policy/log_index_rows.h"
#include "policy/log_reader.h"

#define LOOK_MS 100      /* between looks at the checkpoint, a file of a few hundred bytes */
#define PAUSE_MS_MIN 100 /* before trying again */
#define PAUSE_MS_MAX 5000
#define BUSY_ENTRIES_PER_S 1000 /* the log grows by more: lookups come first */
#define BUSY_SHARE 10           /* then the index takes one part of so many of its pace */
#define BEHIND_S_MAX 60         /* but not when it is as many seconds of that behind */
#define GROWTH_MS 1000          /* over which growth is measured */
#define OPEN_MS 5000
#define STATEMENT_MS 20000
#define EMPTYING_MS 3600000 /* rows of years */

struct log_index {
	char *directory, *dsn;
	int64_t entries_per_s, grant_ttl_s;
	pthread_t thread;
	pthread_mutex_t mutex; /* guards is_stopping */
	pthread_cond_t stop;
	bool is_stopping, has_thread;

	/* The thread's. */
	struct log_reader *reader;
	struct database_session *session;
	struct log_index_rows rows;
	uint64_t next; /* position, while there is a session */
	struct {
		uint64_t size; /* of the log, when it was last measured */
		int64_t at_ms, per_s;
	} growth;
	struct metric_series *position, *lag, *failures;
	struct log_limit failed;
};

/* False when it is time to stop. */
static bool pause_ms(struct log_index *index, int64_t wait_ms)
{
	int64_t until_ms = clock_monotonic_ms(clock_system()) + wait_ms;
	struct timespec until = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };
	bool is_stopping;

	pthread_mutex_lock(&index->mutex);
	while (!index->is_stopping && clock_monotonic_ms(clock_system()) < until_ms)
		(void)pthread_cond_timedwait(&index->stop, &index->mutex, &until);
	is_stopping = index->is_stopping;
	pthread_mutex_unlock(&index->mutex);
	return !is_stopping;
}

static const char *origin_of(const struct log_index *index)
{
	return log_reader_checkpoint(index->reader)->origin;
}

static enum status read_position(struct log_index *index, struct strbuf *why)
{
	const char *origin = origin_of(index);
	PGresult *result = NULL;
	enum status status;

	status = database_session_query(index->session,
		"INSERT INTO homeward.log_positions (origin) VALUES ($1) ON CONFLICT (origin) DO NOTHING", &origin, 1,
		STATEMENT_MS, NULL, why);
	if (status == STATUS_OK)
		status = database_session_query(index->session,
			"SELECT next_index FROM homeward.log_positions WHERE origin = $1", &origin, 1, STATEMENT_MS,
			&result, why);
	if (status != STATUS_OK)
		return status;
	index->next = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	/* Another one that follows may have seen a newer checkpoint. */
	if (index->next > log_reader_checkpoint(index->reader)->size)
		status = log_reader_refresh(index->reader, why);
	if (status != STATUS_OK || index->next <= log_reader_checkpoint(index->reader)->size)
		return status;
	strbuf_addf(why, "the index has %llu entries and the log in %s has %llu: is it another log's database?",
		(unsigned long long)index->next, index->directory,
		(unsigned long long)log_reader_checkpoint(index->reader)->size);
	return STATUS_INVALID;
}

static enum status connect(struct log_index *index, struct strbuf *why)
{
	enum status status = database_session_open(index->dsn, OPEN_MS, &index->session, why);

	/* The log is what is durable; what a crash takes from the index is copied again. */
	if (status == STATUS_OK)
		status = database_session_script(index->session, "SET synchronous_commit = off", STATEMENT_MS, why);
	return status == STATUS_OK ? read_position(index, why) : status;
}

static void disconnect(struct log_index *index)
{
	database_session_close(index->session);
	index->session = NULL;
	log_index_rows_forget(&index->rows);
}

static bool add_row(void *arg, uint64_t number, const char *entry, size_t size)
{
	(void)number;
	log_index_rows_add(arg, entry, size);
	return true;
}

/* Entries under the checkpoint that are not in the index. */
static uint64_t entries_behind(const struct log_index *index)
{
	uint64_t size = log_reader_checkpoint(index->reader)->size;

	return index->next < size ? size - index->next : 0;
}

/* One batch, of half a second at this pace at most (0: no bound); *count_out: how many entries it had. */
static enum status copy_batch(struct log_index *index, int64_t pace, uint64_t *count_out, struct strbuf *why)
{
	uint64_t behind = entries_behind(index);
	uint64_t most = pace > 0 && pace < 2 * INDEX_BATCH_ENTRIES ? (uint64_t)(pace + 1) / 2 : INDEX_BATCH_ENTRIES;
	uint64_t end = index->next + (behind < most ? behind : most);
	enum status status;

	*count_out = 0;
	log_index_rows_begin(&index->rows, index->next);
	status = log_reader_each(index->reader, index->next, end, add_row, &index->rows, why);
	if (status == STATUS_OK)
		status = log_index_rows_write(&index->rows, index->session, origin_of(index), index->grant_ttl_s, why);
	if (status == STATUS_CONFLICT)
		return read_position(index, why); /* another one follows too */
	if (status == STATUS_OK) {
		*count_out = end - index->next;
		index->next = end;
	}
	return status;
}

static enum status prepare(struct log_index *index, struct strbuf *why)
{
	enum status status = index->reader == NULL ? log_reader_open(index->directory, NULL, &index->reader, why)
						   : log_reader_refresh(index->reader, why);

	return status == STATUS_OK && index->session == NULL ? connect(index, why) : status;
}

int64_t log_index_pace(int64_t entries_per_s, int64_t growth_per_s, uint64_t behind)
{
	if (entries_per_s < BUSY_SHARE || growth_per_s <= BUSY_ENTRIES_PER_S)
		return entries_per_s;
	return behind > (uint64_t)growth_per_s * BEHIND_S_MAX ? entries_per_s : entries_per_s / BUSY_SHARE;
}

static void measure_growth(struct log_index *index, uint64_t size)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());

	if (now_ms - index->growth.at_ms < GROWTH_MS)
		return;
	if (index->growth.at_ms != 0)
		index->growth.per_s = (int64_t)(size - index->growth.size) * 1000 / (now_ms - index->growth.at_ms);
	index->growth.size = size;
	index->growth.at_ms = now_ms;
}

/* Copies what there is; *wait_ms_out: before the next time. */
static enum status follow(struct log_index *index, int64_t *wait_ms_out, struct strbuf *why)
{
	uint64_t count = 0;
	int64_t pace;
	enum status status = prepare(index, why);

	if (status != STATUS_OK)
		return status;
	measure_growth(index, log_reader_checkpoint(index->reader)->size);
	pace = log_index_pace(index->entries_per_s, index->growth.per_s, entries_behind(index));
	if (entries_behind(index) > 0)
		status = copy_batch(index, pace, &count, why);
	metric_set(index->position, (double)index->next);
	metric_set(index->lag, (double)entries_behind(index));
	*wait_ms_out = entries_behind(index) > 0 ? 0 : LOOK_MS;
	if (pace > 0 && (int64_t)count * 1000 / pace > *wait_ms_out)
		*wait_ms_out = (int64_t)count * 1000 / pace;
	return status;
}

static void *run(void *arg)
{
	struct log_index *index = arg;
	struct strbuf why = STRBUF_INIT;
	int64_t pause = PAUSE_MS_MIN, wait_ms = 0;

	pthread_setname_np(pthread_self(), "log-index");
	while (pause_ms(index, wait_ms)) {
		enum status status;

		strbuf_reset(&why);
		status = follow(index, &wait_ms, &why);
		if (status == STATUS_OK) {
			pause = PAUSE_MS_MIN;
			continue;
		}
		metric_add(index->failures, 1);
		LOG_LIMITED(&index->failed, LOG_LEVEL_WARN, "access_index_waits", "status", status_name(status),
			"reason", why.data);
		disconnect(index);
		wait_ms = pause / 2 + (int64_t)random_below(random_system(), (uint64_t)pause);
		pause = pause * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX : pause * 2;
	}
	strbuf_release(&why);
	return NULL;
}

/* ---- life ---- */

static void release(struct log_index *index)
{
	disconnect(index);
	log_reader_close(index->reader);
	log_index_rows_release(&index->rows);
	pthread_cond_destroy(&index->stop);
	pthread_mutex_destroy(&index->mutex);
	free(index->directory);
	free(index->dsn);
	free(index);
}

static enum status create(const struct log_index_settings *settings, struct log_index **index_out)
{
	struct log_index *index = calloc(1, sizeof(*index));
	pthread_condattr_t attributes;

	*index_out = NULL;
	if (index == NULL)
		return STATUS_NO_MEMORY;
	must(pthread_mutex_init(&index->mutex, NULL) == 0);
	must(pthread_condattr_init(&attributes) == 0);
	must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
	must(pthread_cond_init(&index->stop, &attributes) == 0);
	pthread_condattr_destroy(&attributes);
	index->directory = strdup(settings->directory);
	index->dsn = strdup(settings->dsn);
	index->entries_per_s = settings->entries_per_s;
	index->grant_ttl_s = settings->grant_ttl_s;
	log_index_rows_init(&index->rows);
	if (index->directory == NULL || index->dsn == NULL) {
		release(index);
		return STATUS_NO_MEMORY;
	}
	index->position = metric_single(
		METRIC_GAUGE, "homeward_access_index_position", "Entries of the access log that the search index has.");
	index->lag = metric_single(METRIC_GAUGE, "homeward_access_index_lag_entries",
		"Entries under the checkpoint that the search index has not.");
	index->failures = metric_single(METRIC_COUNTER, "homeward_access_index_failures_total",
		"Times the search index could not be written or the log not read.");
	*index_out = index;
	return STATUS_OK;
}

enum status log_index_start(const struct log_index_settings *settings, struct log_index **index_out)
{
	enum status status = create(settings, index_out);

	if (status != STATUS_OK)
		return status;
	if (pthread_create(&(*index_out)->thread, NULL, run, *index_out) != 0) {
		release(*index_out);
		*index_out = NULL;
		return STATUS_NO_MEMORY;
	}
	(*index_out)->has_thread = true;
	return STATUS_OK;
}

void log_index_stop(struct log_index *index)
{
	if (index == NULL)
		return;
	pthread_mutex_lock(&index->mutex);
	index->is_stopping = true;
	pthread_cond_signal(&index->stop);
	pthread_mutex_unlock(&index->mutex);
	if (index->has_thread)
		pthread_join(index->thread, NULL);
	release(index);
}

/* ---- again from the beginning ---- */

/* The position's row is locked first, and a second statement sees what who held it before has written. */
static enum status empty_index(struct log_index *index, struct strbuf *why)
{
	const char *origin = origin_of(index);
	enum status status;

	log_index_rows_forget(&index->rows);
	index->next = 0;
	status = database_session_script(index->session, "BEGIN", STATEMENT_MS, why);
	if (status == STATUS_OK)
		status = database_session_query(index->session,
			"UPDATE homeward.log_positions SET next_index = 0 WHERE origin = $1", &origin, 1, STATEMENT_MS,
			NULL, why);
	if (status == STATUS_OK)
		status = database_session_query(index->session,
			"DELETE FROM homeward.log_entries e USING homeward.log_positions p "
			"WHERE p.origin = $1 AND e.log = p.id",
			&origin, 1, EMPTYING_MS, NULL, why);
	return status == STATUS_OK ? database_session_script(index->session, "COMMIT", STATEMENT_MS, why) : status;
}

enum status log_index_rebuild(
	const struct log_index_settings *settings, log_index_progress *progress, void *arg, struct strbuf *why)
{
	struct log_index *index;
	enum status status = create(settings, &index);
	uint64_t size, count;

	if (status != STATUS_OK)
		return status;
	status = prepare(index, why);
	if (status == STATUS_INVALID && index->session != NULL)
		strbuf_reset(why); /* the index is ahead of the log: just what this is for */
	else if (status != STATUS_OK)
		goto out;
	status = empty_index(index, why);
	size = log_reader_checkpoint(index->reader)->size;
	while (status == STATUS_OK && index->next < size) {
		status = copy_batch(index, 0, &count, why);
		if (status == STATUS_OK && progress != NULL)
			progress(arg, index->next, size);
	}
out:
	release(index);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a log: the key, the lock, the checkpoint with the tree's right edge, the
 * write-ahead files on top of it, then everything into tiles before the first new entry.
 * So a start that succeeds leaves nothing of the past to go wrong, and one that meets
 * something that does not fit signs nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/must.h"
#include "policy/log_writer_internal.h"
#include "policy/tile.h"
#include "policy/witness.h"

#define QUEUE_BYTES (64 << 20)
#define INTERVAL_MS 1000
#define SEGMENT_BYTES (16 << 20)
#define SEGMENT_BYTES_MIN (256 << 10) /* three of the largest entries */
#define RESERVE_BYTES (16 << 20)

/* ---- replaying ---- */

struct replay {
	struct log_writer *writer;
	struct log_batch batch;
	struct log_fault *fault;
};

static enum status refuse(struct replay *replay, const char *path, const char *what, uint64_t index)
{
	replay->fault->error = 0;
	snprintf(replay->fault->text, sizeof(replay->fault->text), "%s is damaged: %s %llu", path, what,
		(unsigned long long)index);
	return STATUS_INVALID;
}

/* The first checkpoint, of the empty log, comes before the first entry: without one there is nothing else. */
static enum status refuse_new(struct replay *replay)
{
	replay->fault->error = 0;
	snprintf(replay->fault->text, sizeof(replay->fault->text),
		"%.900s/checkpoint is missing, and there are entries", replay->writer->directory);
	return STATUS_INVALID;
}

static enum status add_entries(struct replay *replay, const char *path, const struct log_wal_record *record)
{
	struct bundle_reader reader;
	const char *entry;
	size_t size;
	uint32_t count = 0;
	enum status status;

	bundle_reader_init(&reader, record->bytes, record->size);
	while ((status = bundle_next(&reader, &entry, &size)) == STATUS_OK) {
		if (!log_batch_add(&replay->batch, entry, size))
			return STATUS_NO_MEMORY;
		merkle_range_append(&replay->writer->range, &replay->batch.leaves[replay->batch.count - 1]);
		count++;
	}
	if (status != STATUS_NOT_FOUND || count != record->count)
		return refuse(replay, path, "it has no whole entries at index", record->first);
	return STATUS_OK;
}

static enum status replay_record(void *arg, const char *path, const struct log_wal_record *record)
{
	struct replay *replay = arg;
	struct merkle_hash root;
	uint64_t size = replay->writer->range.size;
	enum status status;

	if (!log_tiles_has_checkpoint(replay->writer->tiles))
		return refuse_new(replay);
	if (record->first + record->count <= size)
		return STATUS_OK; /* it is in tiles */
	if (record->first != size)
		return refuse(replay, path,
			record->first > size ? "entries are missing in front of index"
					     : "the checkpoint ends within the group at index",
			record->first);
	status = add_entries(replay, path, record);
	if (status != STATUS_OK)
		return status;
	merkle_range_root(&replay->writer->range, &root);
	if (!merkle_equal(&root, &record->root))
		return refuse(replay, path, "the root does not fit the entries from index", record->first);
	return STATUS_OK;
}

static enum status start_new(struct log_writer *writer, struct replay *replay, struct log_fault *fault)
{
	char path[LOG_PATH_SIZE];
	enum status status;

	snprintf(path, sizeof(path), "%.900s/tile", writer->directory);
	if (access(path, F_OK) == 0)
		return refuse_new(replay);
	/* In this order: from the first checkpoint on, a write-ahead file that is missing is damage. */
	status = log_wal_start(writer->wal, writer->segment_bytes, fault);
	if (status == STATUS_OK)
		status = log_tiles_publish(writer->tiles, &replay->batch, false, fault);
	return status;
}

static enum status recover(struct log_writer *writer, struct log_fault *fault)
{
	struct replay replay = { .writer = writer, .fault = fault };
	enum status status = log_tiles_open(
		writer->io, writer->directory, writer->origin, writer->signer, &writer->tiles, fault);
	bool is_new;

	if (status != STATUS_OK)
		return status;
	is_new = !log_tiles_has_checkpoint(writer->tiles);
	log_tiles_range(writer->tiles, &writer->range);
	replay.batch.first = writer->range.size;
	status = log_wal_open(writer->io, writer->directory, !is_new, replay_record, &replay, &writer->wal, fault);
	if (status == STATUS_OK && is_new) {
		status = start_new(writer, &replay, fault);
	} else if (status == STATUS_OK) {
		if (replay.batch.count > 0)
			status = log_tiles_publish(writer->tiles, &replay.batch, true, fault);
		if (status == STATUS_OK)
			status = log_wal_start(writer->wal, writer->segment_bytes, fault);
	}
	if (status == STATUS_OK)
		LOG_INFO("access_log_open", "directory", writer->directory, "entries",
			log_number((int64_t)writer->range.size), "replayed", log_number((int64_t)replay.batch.count));
	log_batch_release(&replay.batch);
	return status;
}

/* ---- life ---- */

void log_writer_register(struct log_writer *writer)
{
	writer->durable_gauge = metric_single(
		METRIC_GAUGE, "homeward_access_log_durable_entries", "Entries that are durable.");
	writer->published_gauge = metric_single(
		METRIC_GAUGE, "homeward_access_log_checkpoint_entries", "Entries that the signed checkpoint covers.");
	writer->age = metric_single(METRIC_GAUGE, "homeward_access_log_checkpoint_age_seconds",
		"How long the oldest entry that no checkpoint covers has waited.");
	writer->failed = metric_single(
		METRIC_GAUGE, "homeward_access_log_failed", "1 while nothing can be made durable.");
	writer->queue = metric_single(
		METRIC_GAUGE, "homeward_access_log_queue_bytes", "Entries waiting to be durable.");
	writer->syncs = metric_single(
		METRIC_HISTOGRAM, "homeward_access_log_sync_seconds", "Making one group of entries durable.");
	writer->groups = metric_single(
		METRIC_COUNTER, "homeward_access_log_groups_total", "Groups of entries made durable.");
	writer->size_ratio = metric_single(
		METRIC_GAUGE, "homeward_access_log_volume_used_ratio", "How full the volume of the log is.");
	/* There is no code that could count here; the test that reads it is the promise. */
	(void)metric_single(METRIC_COUNTER, "homeward_access_log_dropped_total", "Entries dropped: always 0.");
	metric_set(writer->durable_gauge, (double)log_writer_durable(writer));
	metric_set(writer->published_gauge, (double)log_writer_published(writer));
	metric_set(writer->failed, 0);
}

static enum status take_lock(struct log_writer *writer, struct strbuf *why)
{
	char path[LOG_PATH_SIZE];

	snprintf(path, sizeof(path), "%.900s/lock", writer->directory);
	writer->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (writer->lock_fd < 0) {
		strbuf_addf(why, "cannot open %s: %s", path, strerror(errno));
		return STATUS_IO;
	}
	if (flock(writer->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return STATUS_OK;
	strbuf_addf(why, "%s: another process writes this log", path);
	return STATUS_CONFLICT;
}

static enum status start_threads(struct log_writer *writer)
{
	if (pthread_create(&writer->writing, NULL, log_writer_run, writer) != 0)
		return STATUS_NO_MEMORY;
	writer->is_writing = true;
	if (pthread_create(&writer->publishing, NULL, log_publisher_run, writer) != 0)
		return STATUS_NO_MEMORY;
	writer->is_publishing = true;
	return STATUS_OK;
}

static enum status open_log(struct log_writer *writer, const char *key_file, struct strbuf *why)
{
	struct log_fault fault = { .error = 0 };
	enum status status = file_make_folder(writer->directory, 0755, why);

	if (status != STATUS_OK)
		return status;
	status = take_lock(writer, why);
	if (status == STATUS_OK)
		status = note_signer_load(key_file, writer->origin, true, &writer->signer, why);
	/* Peers cosign what was published, so the files must still be at least that before anything is signed. */
	if (status == STATUS_OK)
		status = log_cosigned_check(writer->directory, note_signer_verifier(writer->signer), why);
	if (status != STATUS_OK)
		return status;
	status = recover(writer, &fault);
	if (status == STATUS_OK)
		status = log_writer_make_reserve(writer, &fault);
	if (status != STATUS_OK) {
		strbuf_adds(why, fault.text[0] != '\0' ? fault.text : status_name(status));
		return status;
	}
	writer->has_reserve = true;
	atomic_init(&writer->durable, writer->range.size);
	atomic_init(&writer->published, writer->range.size);
	writer->current = log_wal_segment(writer->wal);
	log_writer_register(writer);
	return start_threads(writer);
}

static void init_sync(struct log_writer *writer)
{
	pthread_condattr_t attributes;

	must(pthread_mutex_init(&writer->mutex, NULL) == 0);
	must(pthread_condattr_init(&attributes) == 0);
	must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
	must(pthread_cond_init(&writer->work, &attributes) == 0);
	must(pthread_cond_init(&writer->batch, &attributes) == 0);
	must(pthread_cond_init(&writer->ended, &attributes) == 0);
	pthread_condattr_destroy(&attributes);
}

static int64_t or_default(int64_t value, int64_t otherwise)
{
	return value > 0 ? value : otherwise;
}

enum status log_writer_open(const struct log_writer_settings *settings, const struct clock_source *clock,
	struct log_writer **writer_out, struct strbuf *why)
{
	struct log_writer *writer;
	enum status status;

	*writer_out = NULL;
	if (strlen(settings->directory) > LOG_PATH_SIZE - 125) {
		strbuf_addf(why, "the path %s is too long", settings->directory);
		return STATUS_INVALID;
	}
	writer = calloc(1, sizeof(*writer));
	if (writer == NULL)
		return STATUS_NO_MEMORY;
	writer->io = settings->io != NULL ? settings->io : log_io_system();
	writer->clock = clock;
	writer->lock_fd = -1;
	writer->handed_over = -1;
	snprintf(writer->directory, sizeof(writer->directory), "%s", settings->directory);
	snprintf(writer->reserve_path, sizeof(writer->reserve_path), "%.900s/reserve", settings->directory);
	snprintf(writer->origin, sizeof(writer->origin), "%s", settings->origin);
	writer->queue_bytes_max = or_default(settings->queue_bytes_max, QUEUE_BYTES);
	writer->checkpoint_interval_ms = or_default(settings->checkpoint_interval_ms, INTERVAL_MS);
	writer->segment_bytes = or_default(settings->segment_bytes, SEGMENT_BYTES);
	if (writer->segment_bytes < SEGMENT_BYTES_MIN)
		writer->segment_bytes = SEGMENT_BYTES_MIN;
	writer->reserve_bytes = or_default(settings->reserve_bytes, RESERVE_BYTES);
	log_items_init(&writer->submitted);
	log_port_init(&writer->waiters, writer, NULL);
	init_sync(writer);
	status = open_log(writer, settings->key_file, why);
	if (status == STATUS_OK)
		*writer_out = writer;
	else
		log_writer_close(writer);
	return status;
}

static void stop_threads(struct log_writer *writer)
{
	pthread_mutex_lock(&writer->mutex);
	writer->is_stopping = true;
	pthread_cond_signal(&writer->work);
	pthread_mutex_unlock(&writer->mutex);
	if (writer->is_writing)
		pthread_join(writer->writing, NULL);
	if (writer->is_publishing)
		pthread_join(writer->publishing, NULL);
}

void log_writer_close(struct log_writer *writer)
{
	struct log_item *item;

	if (writer == NULL)
		return;
	stop_threads(writer);
	log_ports_free(writer);
	while ((item = log_items_take(&writer->waiters.ended)) != NULL)
		free(item); /* the first member of what it is in */
	for (int i = 0; i < LOG_WAL_SEGMENTS; i++)
		log_batch_release(&writer->batches[i]);
	log_wal_close(writer->wal);
	log_tiles_close(writer->tiles);
	note_signer_destroy(writer->signer);
	if (writer->lock_fd >= 0)
		close(writer->lock_fd);
	pthread_cond_destroy(&writer->work);
	pthread_cond_destroy(&writer->batch);
	pthread_cond_destroy(&writer->ended);
	pthread_mutex_destroy(&writer->mutex);
	free(writer);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The publishing thread: batches into tiles and a signed checkpoint, behind the
 * write-ahead file; and, each second, the look after the volume.
 *
 * What can go wrong is of two kinds.  No space: the batch stays in memory and in
 * its write-ahead file, and is tried again each second; the reserve is given up at once,
 * so that what is durable already can go into tiles, and the log is whole again when the
 * reserve can be made anew.  Anything else: what the disk holds is not known and trying
 * again could hide that, so nothing is tried before a restart, which reads it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "policy/log_writer_internal.h"

#define TICK_MS 1000
static const int watermarks[] = { 80, 90 }; /* percent of the volume */

enum status log_writer_make_reserve(struct log_writer *writer, struct log_fault *fault)
{
	const struct log_io *io = writer->io;
	enum status status = STATUS_OK;
	int fd = io->open(io->arg, writer->reserve_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return log_fault_set(fault, "make", writer->reserve_path);
	if (io->allocate(io->arg, fd, (off_t)writer->reserve_bytes) != 0 ||
		io->ftruncate(io->arg, fd, (off_t)writer->reserve_bytes) != 0) {
		status = log_fault_set(fault, "reserve space in", writer->reserve_path);
		/* A part of it must not take what others could use. */
		(void)io->unlink(io->arg, writer->reserve_path);
	}
	close(fd);
	return status;
}

void log_writer_fail(struct log_writer *writer, const struct log_fault *fault)
{
	bool is_full = log_fault_is_space(fault) && !fault->is_sync;
	bool is_news, give_up_reserve;
	int state;

	pthread_mutex_lock(&writer->mutex);
	state = log_writer_state(writer);
	is_news = state == LOG_WRITER_OK || (state == LOG_WRITER_FULL && !is_full);
	if (state == LOG_WRITER_OK)
		atomic_store_explicit(&writer->failed_since_ms, log_writer_now_ms(), memory_order_relaxed);
	if (is_news) {
		atomic_store_explicit(
			&writer->state, is_full ? LOG_WRITER_FULL : LOG_WRITER_BROKEN, memory_order_release);
		writer->fault = *fault;
	}
	give_up_reserve = is_full && writer->has_reserve;
	if (give_up_reserve)
		writer->has_reserve = false;
	/* Who sleeps has to hear of it. */
	pthread_cond_broadcast(&writer->batch);
	pthread_cond_signal(&writer->work);
	pthread_mutex_unlock(&writer->mutex);
	if (give_up_reserve)
		(void)writer->io->unlink(writer->io->arg, writer->reserve_path);
	if (!is_news)
		return;
	metric_set(writer->failed, 1);
	LOG_ERROR("access_log_failed", "reason", fault->text, "next",
		is_full ? "tries again each second" : "stays so until a restart");
}

/* Space may be back: it is when the reserve can be made. */
static void try_recover(struct log_writer *writer)
{
	struct log_fault fault;

	if (log_writer_state(writer) != LOG_WRITER_FULL)
		return;
	if (log_writer_make_reserve(writer, &fault) != STATUS_OK) {
		if (!log_fault_is_space(&fault))
			log_writer_fail(writer, &fault);
		return;
	}
	pthread_mutex_lock(&writer->mutex);
	writer->has_reserve = true;
	if (log_writer_state(writer) == LOG_WRITER_FULL)
		atomic_store_explicit(&writer->state, LOG_WRITER_OK, memory_order_release);
	pthread_cond_signal(&writer->work);
	pthread_mutex_unlock(&writer->mutex);
	metric_set(writer->failed, 0);
	LOG_INFO("access_log_recovered", "directory", writer->directory);
}

/* ---- the look after the volume ---- */

static void warn_at_watermark(struct log_writer *writer, int used)
{
	int reached = 0;

	for (size_t i = 0; i < sizeof(watermarks) / sizeof(watermarks[0]); i++)
		reached = used >= watermarks[i] ? watermarks[i] : reached;
	if (reached > writer->watermark)
		LOG_WARN("access_log_volume_fills", "directory", writer->directory, "used_percent", log_number(used));
	writer->watermark = reached;
}

static void measure(struct log_writer *writer, int64_t oldest_ms)
{
	struct statvfs volume;

	metric_set(writer->published_gauge, (double)log_writer_published(writer));
	metric_set(writer->age, oldest_ms == 0 ? 0 : (double)(log_writer_now_ms() - oldest_ms) / 1000.0);
	metric_set(writer->queue, (double)atomic_load_explicit(&writer->queue_bytes, memory_order_relaxed));
	if (statvfs(writer->directory, &volume) != 0 || volume.f_blocks == 0)
		return;
	/* As df counts it: of what is not root's alone. */
	uint64_t used = (uint64_t)(volume.f_blocks - volume.f_bfree);
	uint64_t usable = used + (uint64_t)volume.f_bavail;

	if (usable == 0)
		return;
	metric_set(writer->size_ratio, (double)used / (double)usable);
	warn_at_watermark(writer, (int)(used * 100 / usable));
}

/* ---- publishing ---- */

static bool publish(struct log_writer *writer, struct log_batch *batch)
{
	struct log_fault fault = { .error = 0 };
	enum status status = log_tiles_publish(writer->tiles, batch, false, &fault);

	if (status == STATUS_NO_MEMORY)
		return false; /* tried again: memory comes back */
	if (status != STATUS_OK) {
		log_writer_fail(writer, &fault);
		return false;
	}
	atomic_store_explicit(&writer->published, log_tiles_size(writer->tiles), memory_order_release);
	/* What one busy moment needed is not kept for ever. */
	if (batch->capacity > 4 * (batch->size + 65536))
		log_batch_release(batch);
	batch->size = 0;
	batch->count = 0;
	return true;
}

/* Under the mutex.  Whether there is a batch that may be tried now. */
static bool may_try(const struct log_writer *writer)
{
	if (writer->handed_over < 0 || log_writer_state(writer) == LOG_WRITER_BROKEN)
		return false;
	return writer->tried_ms == 0 || log_writer_now_ms() - writer->tried_ms >= TICK_MS;
}

/* Under the mutex, which is let go of meanwhile. */
static bool publish_one(struct log_writer *writer)
{
	struct log_batch *batch = &writer->batches[writer->handed_over];
	bool had_reserve = writer->has_reserve;
	bool is_done;

	pthread_mutex_unlock(&writer->mutex);
	is_done = publish(writer, batch);
	pthread_mutex_lock(&writer->mutex);
	if (is_done) {
		writer->handed_over = -1;
		writer->tried_ms = 0;
		pthread_cond_broadcast(&writer->batch);
		pthread_cond_signal(&writer->work);
	} else {
		/* At once when that gave the reserve up: it is for this batch. */
		writer->tried_ms = had_reserve && !writer->has_reserve ? 0 : log_writer_now_ms();
	}
	return is_done;
}

void *log_publisher_run(void *arg)
{
	struct log_writer *writer = arg;
	int64_t looked_ms = 0;

	pthread_setname_np(pthread_self(), "log-publisher");
	pthread_mutex_lock(&writer->mutex);
	for (;;) {
		int64_t oldest_ms = 0;

		if (may_try(writer)) {
			(void)publish_one(writer);
			continue;
		}
		if (writer->is_written && (writer->handed_over < 0 || log_writer_is_failed(writer)))
			break;
		if (log_writer_now_ms() - looked_ms >= TICK_MS) {
			looked_ms = log_writer_now_ms();
			if (writer->handed_over >= 0)
				oldest_ms = writer->oldest_ms;
			pthread_mutex_unlock(&writer->mutex);
			try_recover(writer);
			measure(writer, oldest_ms);
			pthread_mutex_lock(&writer->mutex);
			continue;
		}
		log_writer_wait(writer, &writer->batch, TICK_MS);
	}
	pthread_mutex_unlock(&writer->mutex);
	return NULL;
}

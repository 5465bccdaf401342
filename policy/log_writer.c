/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing thread.  While one group is written the next gathers; and when entries
 * come together, also after that, until there are sixteen or the last group began four
 * milliseconds ago: a write costs as much processor time as the lookup it is of.  The
 * busier the log, the larger its groups, and who comes alone waits for nobody.
 *
 * The two write-ahead files take turns with two batches in memory: what is in a file
 * is in its batch.  When the batch is due and the other is free, it goes to the
 * publishing thread and writing goes on in the other file; a file is begun anew
 * only when all that was in it is in tiles under a signed checkpoint.
 *
 * A group that fails is taken out of batch and tree again, and its place in the file goes
 * to the next one; so it is in no tile, unless the process ends before that: the log
 * may then say more than was answered, never less.
 */
#include "policy/log_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/must.h"
#include "policy/log_writer_internal.h"

#define GROUP_BYTES_MAX (1 << 20) /* one write; more would keep the first of it waiting */
#define TURN_WAIT_MS 900          /* for the other file: who waits for an entry hears within a second */
#define GROUP_ENTRIES 16          /* are worth a write at once */
#define GROUP_EVERY_NS 4000000

int64_t log_writer_now_ms(void)
{
	return clock_monotonic_ms(clock_system());
}

void log_writer_wait(struct log_writer *writer, pthread_cond_t *condition, int64_t wait_ms)
{
	int64_t until_ms = log_writer_now_ms() + (wait_ms > 0 ? wait_ms : 0);
	struct timespec until = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };

	if (wait_ms > 0)
		(void)pthread_cond_timedwait(condition, &writer->mutex, &until);
}

enum log_writer_state log_writer_state(const struct log_writer *writer)
{
	return (enum log_writer_state)atomic_load_explicit(&writer->state, memory_order_acquire);
}

bool log_writer_is_failed(const struct log_writer *writer)
{
	return log_writer_state(writer) != LOG_WRITER_OK;
}

int64_t log_writer_failed_ms(const struct log_writer *writer)
{
	switch (log_writer_state(writer)) {
	case LOG_WRITER_OK:
		return 0;
	case LOG_WRITER_FULL:
		return log_writer_now_ms() - atomic_load_explicit(&writer->failed_since_ms, memory_order_relaxed);
	default:
		return INT64_MAX;
	}
}

uint64_t log_writer_durable(const struct log_writer *writer)
{
	return atomic_load_explicit(&writer->durable, memory_order_acquire);
}

uint64_t log_writer_published(const struct log_writer *writer)
{
	return atomic_load_explicit(&writer->published, memory_order_acquire);
}

const char *log_writer_directory(const struct log_writer *writer)
{
	return writer->directory;
}

const char *log_writer_origin(const struct log_writer *writer)
{
	return writer->origin;
}

/* ---- handing a batch to the publishing thread ---- */

/* Under the mutex: when there is something and the other file is free. */
static bool hand_over(struct log_writer *writer)
{
	if (writer->handed_over >= 0 || writer->batches[writer->current].count == 0)
		return false;
	writer->handed_over = (int)writer->current;
	writer->oldest_ms = writer->current_since_ms;
	log_wal_turn(writer->wal);
	writer->current = log_wal_segment(writer->wal);
	must(writer->batches[writer->current].count == 0);
	pthread_cond_broadcast(&writer->batch);
	return true;
}

/* Room in the file for this many bytes, after waiting for the other if need be. */
static bool make_room(struct log_writer *writer, size_t size)
{
	int64_t until_ms = log_writer_now_ms() + TURN_WAIT_MS;
	bool has_room = log_wal_room(writer->wal) >= size;

	if (has_room)
		return true;
	pthread_mutex_lock(&writer->mutex);
	while (!has_room && log_writer_state(writer) != LOG_WRITER_BROKEN && log_writer_now_ms() < until_ms) {
		if (hand_over(writer))
			has_room = log_wal_room(writer->wal) >= size;
		else
			log_writer_wait(writer, &writer->batch, until_ms - log_writer_now_ms());
	}
	pthread_mutex_unlock(&writer->mutex);
	return has_room;
}

/* ---- one group ---- */

static void end_all(struct log_writer *writer, struct log_items *items, enum status status)
{
	struct log_item *item;

	pthread_mutex_lock(&writer->mutex);
	while ((item = log_items_take(items)) != NULL)
		log_port_end(item, status);
	pthread_cond_broadcast(&writer->ended);
	pthread_mutex_unlock(&writer->mutex);
}

/* Moves from `items` what makes one record. */
static size_t cut_group(struct log_items *items, struct log_items *group, size_t bytes_max)
{
	size_t size = 0;

	log_items_init(group);
	while (items->first != NULL && (group->first == NULL || size + items->first->size + 2 <= bytes_max)) {
		size += items->first->size + 2;
		log_items_add(group, log_items_take(items));
	}
	return size;
}

/* Puts the group into batch and tree, writes it, and takes it out again when that fails. */
static enum status write_group(struct log_writer *writer, struct log_items *group, struct log_fault *fault)
{
	struct log_batch *batch = &writer->batches[writer->current];
	struct merkle_range before = writer->range;
	size_t old_size = batch->size, old_count = batch->count;
	struct log_wal_record record = { .first = before.size };
	int64_t sync_us = 0;
	enum status status = STATUS_OK;

	if (old_count == 0) {
		batch->first = before.size;
		writer->current_since_ms = log_writer_now_ms();
	}
	for (struct log_item *item = group->first; item != NULL && status == STATUS_OK; item = item->next) {
		item->index = writer->range.size;
		if (log_batch_add(batch, item->entry, item->size))
			merkle_range_append(&writer->range, &batch->leaves[batch->count - 1]);
		else
			status = STATUS_NO_MEMORY;
	}
	if (status == STATUS_OK) {
		record.count = (uint32_t)(batch->count - old_count);
		record.bytes = batch->bytes + old_size;
		record.size = batch->size - old_size;
		merkle_range_root(&writer->range, &record.root);
		status = log_wal_append(writer->wal, &record, &sync_us, fault);
	}
	if (status != STATUS_OK) {
		writer->range = before;
		batch->size = old_size;
		batch->count = old_count;
		return status;
	}
	atomic_store_explicit(&writer->durable, writer->range.size, memory_order_release);
	metric_observe_us(writer->syncs, sync_us);
	metric_add(writer->groups, 1);
	metric_set(writer->durable_gauge, (double)writer->range.size);
	return STATUS_OK;
}

static void write_all(struct log_writer *writer, struct log_items *items)
{
	size_t bytes_max = (size_t)writer->segment_bytes / 4;

	if (bytes_max > GROUP_BYTES_MAX)
		bytes_max = GROUP_BYTES_MAX;
	while (items->first != NULL) {
		struct log_fault fault = { .error = 0 };
		struct log_items group;
		enum status status = STATUS_IO;
		size_t size = cut_group(items, &group, bytes_max);

		if (log_writer_state(writer) == LOG_WRITER_BROKEN)
			status = STATUS_IO;
		else if (!make_room(writer, size))
			status = log_writer_is_failed(writer) ? STATUS_IO : STATUS_OVERLOADED;
		else
			status = write_group(writer, &group, &fault);
		if (status == STATUS_IO && fault.error != 0)
			log_writer_fail(writer, &fault);
		end_all(writer, &group, status);
	}
}

/* Under the mutex: when the last ones had company, until a write is worth it. */
static void wait_for_company(struct log_writer *writer)
{
	struct timespec *next = &writer->next_write;
	int ended = writer->last_count > 1 ? 0 : ETIMEDOUT;

	writer->wake_at = GROUP_ENTRIES;
	while (writer->submitted.count < GROUP_ENTRIES && !writer->is_stopping && ended == 0)
		ended = pthread_cond_timedwait(&writer->work, &writer->mutex, next);
	writer->wake_at = 0;
	must(clock_gettime(CLOCK_MONOTONIC, next) == 0);
	next->tv_nsec += GROUP_EVERY_NS;
	next->tv_sec += next->tv_nsec / 1000000000;
	next->tv_nsec %= 1000000000;
	writer->last_count = writer->submitted.count;
}

/* Under the mutex.  While the disk is full only the log's own entries are tried. */
static void take_submitted(struct log_writer *writer, struct log_items *items)
{
	bool is_full = log_writer_is_failed(writer);
	struct log_item *item;

	log_items_init(items);
	if (!is_full) {
		log_items_join(items, &writer->submitted);
		return;
	}
	while ((item = log_items_take(&writer->submitted)) != NULL) {
		if (item->port == &writer->waiters)
			log_items_add(items, item);
		else
			log_port_end(item, STATUS_IO);
	}
	pthread_cond_broadcast(&writer->ended);
}

/* Under the mutex: until there is something to do. */
static void wait_for_work(struct log_writer *writer)
{
	while (writer->submitted.first == NULL && !writer->is_stopping) {
		int64_t wait_ms = 60000; /* any: what matters wakes it */

		if (writer->batches[writer->current].count > 0)
			wait_ms = writer->current_since_ms + writer->checkpoint_interval_ms - log_writer_now_ms();
		if (wait_ms <= 0) {
			if (hand_over(writer))
				continue;
			wait_ms = writer->checkpoint_interval_ms; /* the other ends meanwhile, or fails */
		}
		writer->wake_at = 1;
		log_writer_wait(writer, &writer->work, wait_ms);
		writer->wake_at = 0;
	}
}

static void hand_over_if_due(struct log_writer *writer)
{
	if (log_writer_now_ms() >= writer->current_since_ms + writer->checkpoint_interval_ms)
		(void)hand_over(writer);
}

void *log_writer_run(void *arg)
{
	struct log_writer *writer = arg;
	struct log_items items;

	pthread_setname_np(pthread_self(), "log-writer");
	pthread_mutex_lock(&writer->mutex);
	for (;;) {
		wait_for_work(writer);
		wait_for_company(writer);
		take_submitted(writer, &items);
		if (items.first == NULL && writer->is_stopping)
			break;
		if (items.first != NULL) {
			pthread_mutex_unlock(&writer->mutex);
			write_all(writer, &items);
			pthread_mutex_lock(&writer->mutex);
		}
		hand_over_if_due(writer);
	}
	/* The last batch; if the one before cannot be published, the write-ahead files keep both. */
	while (writer->batches[writer->current].count > 0 && !hand_over(writer) && !log_writer_is_failed(writer))
		log_writer_wait(writer, &writer->batch, TURN_WAIT_MS);
	writer->is_written = true;
	pthread_cond_broadcast(&writer->batch);
	pthread_mutex_unlock(&writer->mutex);
	return NULL;
}

/* ---- those who wait ---- */

struct waiter {
	struct log_item item;
	char text[];
};

/* Under the mutex: of those that ended, this one; and frees those whose owner went away. */
static struct waiter *find_ended(struct log_writer *writer, struct waiter *wanted)
{
	struct log_items others;
	struct log_item *item;
	struct waiter *found = NULL;

	log_items_init(&others);
	while ((item = log_items_take(&writer->waiters.ended)) != NULL) {
		struct waiter *waiter = (struct waiter *)item;

		if (waiter == wanted)
			found = waiter;
		else if (item->done == NULL)
			log_items_add(&others, item);
		else
			free(waiter);
	}
	log_items_join(&writer->waiters.ended, &others);
	return found;
}

static void nobody_waits(struct log_item *item, enum status status)
{
	(void)item;
	(void)status;
}

enum status log_writer_append_wait(
	struct log_writer *writer, const char *entry, size_t size, int64_t deadline_ms, uint64_t *index_out)
{
	struct waiter *waiter;
	enum status status = STATUS_DEADLINE;

	*index_out = 0;
	if (size == 0 || size > LOG_ITEM_BYTES_MAX)
		return STATUS_TOO_LARGE;
	if (log_writer_state(writer) == LOG_WRITER_BROKEN)
		return STATUS_IO;
	waiter = calloc(1, sizeof(*waiter) + size);
	if (waiter == NULL)
		return STATUS_NO_MEMORY;
	memcpy(waiter->text, entry, size);
	waiter->item = (struct log_item){ .entry = waiter->text, .size = (uint32_t)size, .port = &writer->waiters };
	pthread_mutex_lock(&writer->mutex);
	atomic_fetch_add_explicit(&writer->queue_bytes, (int64_t)size, memory_order_relaxed);
	writer->waiters.in_flight++;
	log_items_add(&writer->submitted, &waiter->item);
	pthread_cond_signal(&writer->work);
	for (;;) {
		int64_t wait_ms = deadline_ms - log_writer_now_ms();

		if (find_ended(writer, waiter) != NULL) {
			status = waiter->item.status;
			*index_out = waiter->item.index;
			free(waiter);
			break;
		}
		if (wait_ms <= 0) {
			waiter->item.done = nobody_waits; /* whoever looks next frees it */
			break;
		}
		log_writer_wait(writer, &writer->ended, wait_ms);
	}
	pthread_mutex_unlock(&writer->mutex);
	return status;
}

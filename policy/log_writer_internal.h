/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the writer: what its two threads and its ports share.
 *
 * One mutex guards what is marked so; it is never held across I/O or a callback.
 * The rest belongs to one thread: `wal`, `range` and the batch being filled to the
 * writing thread, `tiles` and the batch handed over to the publishing one.
 */
#ifndef POLICY_LOG_WRITER_INTERNAL_H
#define POLICY_LOG_WRITER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/metrics.h"
#include "policy/log_io.h"
#include "policy/log_tiles.h"
#include "policy/log_wal.h"
#include "policy/log_writer.h"

struct log_items {
	struct log_item *first, **last;
	size_t count;
};

struct log_port {
	struct log_writer *writer;
	struct loop *loop; /* NULL: the writer's own, for those who wait */
	struct log_port *next;

	/* The loop's. */
	struct log_items gathered, refused;
	bool will_flush;
	struct loop_task flush;

	/* Under the writer's mutex. */
	struct log_items ended;
	size_t in_flight; /* with the writing thread */
	bool will_deliver, is_destroyed;
	struct loop_task deliver;
};

struct log_writer {
	const struct log_io *io;
	const struct clock_source *clock;
	char directory[LOG_PATH_SIZE], reserve_path[LOG_PATH_SIZE];
	char origin[NOTE_NAME_SIZE];
	int64_t queue_bytes_max, checkpoint_interval_ms, segment_bytes, reserve_bytes;
	int lock_fd;
	struct note_signer *signer;
	pthread_t writing, publishing;
	bool is_writing, is_publishing;

	/* Any thread. */
	atomic_int state;
	_Atomic int64_t queue_bytes, failed_since_ms;
	_Atomic uint64_t durable, published;

	pthread_mutex_t mutex;
	pthread_cond_t work;  /* something for the writing thread */
	pthread_cond_t batch; /* a batch was handed over, or ended */
	pthread_cond_t ended; /* for ports and those who wait */
	/* Under the mutex. */
	struct log_port *ports;
	struct log_items submitted;
	struct log_port waiters;
	size_t wake_at;               /* the writing thread sleeps until so many are submitted; 0: it does not */
	bool is_stopping, is_written; /* written: the writing thread has ended */
	int handed_over;              /* the batch with the publishing thread, or -1 */
	struct log_fault fault;       /* why the state is not OK */
	int64_t oldest_ms;            /* when the oldest entry came that is in no tile; 0: none */
	bool has_reserve;

	/* The writing thread's. */
	struct log_wal *wal;
	struct merkle_range range;
	struct log_batch batches[LOG_WAL_SEGMENTS]; /* one for each file of the wal */
	unsigned int current;
	int64_t current_since_ms;   /* when its first entry came */
	size_t last_count;          /* entries written together last */
	struct timespec next_write; /* not before, if they had company (monotonic) */

	/* The publishing thread's. */
	struct log_tiles *tiles;
	int64_t tried_ms; /* 0: not tried, or to be tried at once */
	int watermark;    /* the last one that was warned of */

	struct metric_series *durable_gauge, *published_gauge, *age, *failed, *queue, *syncs, *groups, *size_ratio;
};

void log_items_init(struct log_items *items);
void log_items_add(struct log_items *items, struct log_item *item);
void log_items_join(struct log_items *items, struct log_items *more); /* more is empty after */
struct log_item *log_items_take(struct log_items *items);

/* Under the mutex: gives an item back to its port. */
void log_port_end(struct log_item *item, enum status status);
void log_port_init(struct log_port *port, struct log_writer *writer, struct loop *loop);
void log_ports_free(struct log_writer *writer);

/* The threads' functions. */
void *log_writer_run(void *arg);
void *log_publisher_run(void *arg);
/* Not under the mutex: something failed; says so, gives up the reserve when that helps. */
void log_writer_fail(struct log_writer *writer, const struct log_fault *fault);
enum status log_writer_make_reserve(struct log_writer *writer, struct log_fault *fault);
/* Under the mutex. */
void log_writer_wait(struct log_writer *writer, pthread_cond_t *condition, int64_t wait_ms);
int64_t log_writer_now_ms(void);
void log_writer_register(struct log_writer *writer);

#endif

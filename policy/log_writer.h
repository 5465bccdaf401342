/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of the access log: entries become durable in groups, in one order,
 * and then files that anyone can verify (docs/AUDIT.md has the format).
 *
 * An entry is durable when it is in the write-ahead file and fdatasync returned;
 * only then is anyone told OK.  Tiles, bundles and the signed checkpoint follow
 * within checkpoint_interval_ms, on another thread, so that signing and many small
 * files never hold up an entry.  Nothing is ever dropped: an entry is durable or
 * its owner is told that it is not.
 *
 * A log is one directory, of one region, held by one process (flock).
 */
#ifndef POLICY_LOG_WRITER_H
#define POLICY_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/status.h"
#include "base/strbuf.h"

struct log_io;
struct log_port;
struct log_writer;

struct log_writer_settings {
	const char *directory;          /* made when missing */
	const char *origin;             /* "eu.<trust domain>/access-log"; never used again after a loss of data */
	const char *key_file;           /* Ed25519 seed; made, mode 0600, when missing */
	int64_t queue_bytes_max;        /* entries waiting, all together; 0: 64 MiB */
	int64_t checkpoint_interval_ms; /* 0: 1,000 */
	int64_t segment_bytes;          /* each of the two write-ahead files; 0: 16 MiB */
	int64_t reserve_bytes;          /* kept back, given up when the disk is full; 0: 16 MiB */
	const struct log_io *io;        /* NULL: the system's */
};

/* ---- any thread ---- */

/*
 * Recovers: replays the write-ahead files, recomputes the root, brings tiles and checkpoint up to date, and
 * refuses (STATUS_INVALID, the file named in why) what does not fit together.  STATUS_CONFLICT: another process
 * holds the log.  STATUS_IO: it cannot be written.
 */
MUST_CHECK enum status log_writer_open(const struct log_writer_settings *settings, const struct clock_source *clock,
	struct log_writer **writer_out, struct strbuf *why);
/* Writes what waits, the tiles and a last checkpoint.  Its ports are destroyed before.  Accepts NULL. */
void log_writer_close(struct log_writer *writer);

/* OK: writing.  FULL: no space; tried again each second and comes back by itself.  BROKEN: the disk failed; what is
 * on it is not known, so nothing is tried on it again before a restart. */
enum log_writer_state { LOG_WRITER_OK, LOG_WRITER_FULL, LOG_WRITER_BROKEN };
enum log_writer_state log_writer_state(const struct log_writer *writer);
/* Nothing of a lookup can be made durable now: personal data must not leave. */
bool log_writer_is_failed(const struct log_writer *writer);
/* For how long that has been so, in milliseconds; INT64_MAX when the log is broken. */
int64_t log_writer_failed_ms(const struct log_writer *writer);
/* Entries durable so far, and how many of them the signed checkpoint covers. */
uint64_t log_writer_durable(const struct log_writer *writer);
uint64_t log_writer_published(const struct log_writer *writer);
const char *log_writer_directory(const struct log_writer *writer);
const char *log_writer_origin(const struct log_writer *writer);

/*
 * Waits until the entry is durable; not for loops.  The entry is copied.  Tried also while the disk is full, since
 * the log's own words (a stop, a gap) fit in what is already there.  STATUS_DEADLINE: it may yet become durable.
 */
MUST_CHECK enum status log_writer_append_wait(
	struct log_writer *writer, const char *entry, size_t size, int64_t deadline_ms, uint64_t *index_out);

/* ---- one port for each loop that appends; all of it on that loop's thread ---- */

#define LOG_ITEM_BYTES_MAX 65535

/* Embedded in the caller's struct; it and the text stay until `done`. */
struct log_item {
	const char *entry;
	uint32_t size; /* 1 … LOG_ITEM_BYTES_MAX */
	/* On the loop, once, never from inside log_port_append().  STATUS_OK: durable.  STATUS_IO: the log cannot be
	 * written.  STATUS_OVERLOADED: too much waits.  STATUS_DRAINING: the port ended.  STATUS_TOO_LARGE. */
	void (*done)(struct log_item *item, enum status status);
	uint64_t index; /* its place in the log, when OK */

	/* The writer's own. */
	struct log_item *next;
	struct log_port *port;
	enum status status;
};

MUST_CHECK enum status log_port_create(struct log_writer *writer, struct loop *loop, struct log_port **port_out);
/* On the loop's thread or after it stopped.  What has not ended ends here with STATUS_DRAINING (and may be durable
 * all the same).  Waits for a group that is being written.  Accepts NULL. */
void log_port_destroy(struct log_port *port);
/* What one round of the loop appends goes to the writer together. */
void log_port_append(struct log_port *port, struct log_item *item);

#endif

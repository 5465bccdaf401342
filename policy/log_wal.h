/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The write-ahead files of the access log: wal/0 and wal/1, written full of zeros
 * once and then overwritten in place, so that making a group durable is one pwrite
 * and one fdatasync that changes no metadata.  They take turns: one is filled
 * while what the other holds goes into tiles.
 *
 * Writing belongs to the writer's thread; reading happens before it starts.
 */
#ifndef POLICY_LOG_WAL_H
#define POLICY_LOG_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/log_io.h"
#include "policy/merkle.h"

#define LOG_WAL_SEGMENTS 2

struct log_wal;

/* One group: its entries, each with its length before it as in a bundle. */
struct log_wal_record {
	uint64_t first; /* index of its first entry */
	uint32_t count;
	const uint8_t *bytes;
	size_t size;
	struct merkle_hash root; /* of the log with these entries */
};

/* Records of both files, oldest first.  Anything but STATUS_OK ends the reading and is returned. */
typedef enum status log_wal_visit(void *arg, const char *path, const struct log_wal_record *record);

/*
 * Reads what is there.  A write cut short at the end is told from damage: what no one was told to be durable is
 * left out, damage is STATUS_INVALID with the file named.  must_exist: files that are missing are damage too.
 */
MUST_CHECK enum status log_wal_open(const struct log_io *io, const char *directory, bool must_exist,
	log_wal_visit *visit, void *arg, struct log_wal **wal_out, struct log_fault *fault);
/* Once all that was read is in tiles: makes the files of this size ready to be written from their beginning. */
MUST_CHECK enum status log_wal_start(struct log_wal *wal, int64_t segment_bytes, struct log_fault *fault);
void log_wal_close(struct log_wal *wal);

/* The file now written, and how many bytes of entries a record in it could still have. */
unsigned int log_wal_segment(const struct log_wal *wal);
size_t log_wal_room(const struct log_wal *wal);
/* Goes on at the beginning of the other file, whose entries are in tiles. */
void log_wal_turn(struct log_wal *wal);
/* Durable when STATUS_OK; otherwise the next append takes its place. */
MUST_CHECK enum status log_wal_append(
	struct log_wal *wal, const struct log_wal_record *record, int64_t *sync_us_out, struct log_fault *fault);

#endif

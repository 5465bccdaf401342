/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the write-ahead files, big end first.
 *
 *	sector  checksum 8 · lap 8 · sequence 8 · part 4 · parts 4 · data 480
 *	record  "hwl1" · size 4 · first index 8 · count 4 · 0 4 · root 32 · entries
 *
 * The checksum is XXH3-64 of the rest of the sector: it is against decay, not against
 * people, who are stopped by the tree's root, the signature and the peers.
 */
#ifndef POLICY_LOG_WAL_FORMAT_H
#define POLICY_LOG_WAL_FORMAT_H

#include <errno.h>

#include "base/hash.h"
#include "policy/log_wal.h"

#define WAL_SECTOR_BYTES 512
#define WAL_SECTOR_HEAD 32
#define WAL_DATA_BYTES (WAL_SECTOR_BYTES - WAL_SECTOR_HEAD)
#define WAL_HEADER_BYTES 56
#define WAL_MAGIC 0x68776c31u

struct wal_segment {
	char path[LOG_PATH_SIZE];
	int fd; /* -1: not there */
	size_t size;
	size_t end; /* where the next record goes */
};

struct log_wal {
	const struct log_io *io;
	char folder[LOG_PATH_SIZE];
	struct wal_segment segments[LOG_WAL_SEGMENTS];
	unsigned int current;
	uint64_t lap, sequence;
	uint8_t *buffer;
	size_t buffer_size;
};

static inline uint64_t wal_checksum(const uint8_t sector[WAL_SECTOR_BYTES])
{
	return hash_key64(sector + 8, WAL_SECTOR_BYTES - 8, WAL_MAGIC);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the write-ahead files.  A record is cut into sectors of 512 bytes, the unit
 * that a disk writes whole, and each sector carries a checksum and says which
 * record it is of and which part of it.  So a reader can tell a sector that was never
 * written (an older record's, or zeros) from one that was damaged.  The record's
 * content is held together by the root of the log's tree after it.
 *
 * `lap` is the sequence number at which the file was last begun anew: sectors of an
 * older lap are left-overs.  A record that failed gives its place to the next, which
 * has a higher sequence number, so that parts of two can never pass for one.
 */
#include "policy/log_wal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"
#include "policy/log_wal_format.h"

static void put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put64(uint8_t *at, uint64_t value)
{
	put32(at, (uint32_t)(value >> 32));
	put32(at + 4, (uint32_t)value);
}

static bool reserve(struct log_wal *wal, size_t size)
{
	uint8_t *grown;

	if (size <= wal->buffer_size)
		return true;
	grown = realloc(wal->buffer, size);
	if (grown == NULL)
		return false;
	wal->buffer = grown;
	wal->buffer_size = size;
	return true;
}

static size_t sectors_of(size_t bytes)
{
	return (bytes + WAL_HEADER_BYTES + WAL_DATA_BYTES - 1) / WAL_DATA_BYTES;
}

/* Copies the next bytes of the stream header ‖ entries into a sector's data. */
static void fill_data(
	uint8_t *data, size_t from, const uint8_t header[WAL_HEADER_BYTES], const struct log_wal_record *record)
{
	size_t size = WAL_DATA_BYTES, left;

	if (from < WAL_HEADER_BYTES) {
		memcpy(data, header, WAL_HEADER_BYTES); /* it fits in the first sector */
		data += WAL_HEADER_BYTES;
		size -= WAL_HEADER_BYTES;
		from = 0;
	} else {
		from -= WAL_HEADER_BYTES;
	}
	left = record->size - from;
	if (left >= size) {
		memcpy(data, record->bytes + from, size);
		return;
	}
	memcpy(data, record->bytes + from, left);
	memset(data + left, 0, size - left);
}

static void encode(struct log_wal *wal, const struct log_wal_record *record, size_t sectors)
{
	uint8_t header[WAL_HEADER_BYTES];

	put32(header, WAL_MAGIC);
	put32(header + 4, (uint32_t)record->size);
	put64(header + 8, record->first);
	put32(header + 16, record->count);
	put32(header + 20, 0);
	memcpy(header + 24, record->root.bytes, SHA256_SIZE);
	for (size_t part = 0; part < sectors; part++) {
		uint8_t *sector = wal->buffer + part * WAL_SECTOR_BYTES;

		put64(sector + 8, wal->lap);
		put64(sector + 16, wal->sequence);
		put32(sector + 24, (uint32_t)part);
		put32(sector + 28, (uint32_t)sectors);
		fill_data(sector + WAL_SECTOR_HEAD, part * WAL_DATA_BYTES, header, record);
		put64(sector, wal_checksum(sector));
	}
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

enum status log_wal_append(
	struct log_wal *wal, const struct log_wal_record *record, int64_t *sync_us_out, struct log_fault *fault)
{
	struct wal_segment *segment = &wal->segments[wal->current];
	size_t sectors = sectors_of(record->size);
	size_t bytes = sectors * WAL_SECTOR_BYTES;
	int64_t start_us;
	enum status status;

	*sync_us_out = 0;
	must(record->size > 0 && record->size <= log_wal_room(wal));
	if (!reserve(wal, bytes)) {
		errno = ENOMEM;
		(void)log_fault_set(fault, "write", segment->path);
		return STATUS_NO_MEMORY;
	}
	wal->sequence++;
	encode(wal, record, sectors);
	start_us = now_us();
	status = log_io_write(wal->io, segment->fd, segment->path, wal->buffer, bytes, (off_t)segment->end, fault);
	if (status != STATUS_OK)
		return status;
	if (wal->io->fdatasync(wal->io->arg, segment->fd) != 0) {
		status = log_fault_set(fault, "sync", segment->path);
		fault->is_sync = true;
		return status;
	}
	*sync_us_out = now_us() - start_us;
	segment->end += bytes;
	return STATUS_OK;
}

unsigned int log_wal_segment(const struct log_wal *wal)
{
	return wal->current;
}

size_t log_wal_room(const struct log_wal *wal)
{
	const struct wal_segment *segment = &wal->segments[wal->current];
	size_t sectors = (segment->size - segment->end) / WAL_SECTOR_BYTES;

	return sectors == 0 ? 0 : sectors * WAL_DATA_BYTES - WAL_HEADER_BYTES;
}

void log_wal_turn(struct log_wal *wal)
{
	wal->current = (wal->current + 1) % LOG_WAL_SEGMENTS;
	wal->segments[wal->current].end = 0;
	wal->lap = ++wal->sequence;
}

/* ---- life ---- */

/*
 * Zeros are written, not only allocated: the first write into an allocated extent would change metadata.  A page at
 * a time, since the kernel keeps what one write brought as one piece, and passes over all of it for each write into it.
 */
static enum status fill_with_zeros(struct log_wal *wal, int fd, const char *path, size_t size, struct log_fault *fault)
{
	const size_t step = 4096;
	enum status status = STATUS_OK;

	if (!reserve(wal, step)) {
		errno = ENOMEM;
		return log_fault_set(fault, "make", path);
	}
	memset(wal->buffer, 0, step);
	for (size_t at = 0; at < size && status == STATUS_OK; at += step)
		status = log_io_write(
			wal->io, fd, path, wal->buffer, size - at < step ? size - at : step, (off_t)at, fault);
	if (status == STATUS_OK && wal->io->fsync(wal->io->arg, fd) != 0) {
		status = log_fault_set(fault, "sync", path);
		fault->is_sync = true;
	}
	return status;
}

static enum status make_segment(struct log_wal *wal, struct wal_segment *segment, size_t size, struct log_fault *fault)
{
	char temporary[LOG_PATH_SIZE + 8];
	enum status status;
	int fd;

	snprintf(temporary, sizeof(temporary), "%s.new", segment->path);
	fd = wal->io->open(wal->io->arg, temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return log_fault_set(fault, "make", temporary);
	status = fill_with_zeros(wal, fd, temporary, size, fault);
	if (status == STATUS_OK && wal->io->rename(wal->io->arg, temporary, segment->path) != 0)
		status = log_fault_set(fault, "rename a new file to", segment->path);
	if (status != STATUS_OK) {
		close(fd);
		(void)wal->io->unlink(wal->io->arg, temporary);
		return status;
	}
	if (segment->fd >= 0)
		close(segment->fd);
	segment->fd = fd;
	segment->size = size;
	return STATUS_OK;
}

enum status log_wal_start(struct log_wal *wal, int64_t segment_bytes, struct log_fault *fault)
{
	size_t size = (size_t)segment_bytes / WAL_SECTOR_BYTES * WAL_SECTOR_BYTES;
	bool is_new = false;

	for (int i = 0; i < LOG_WAL_SEGMENTS; i++) {
		enum status status;

		if (wal->segments[i].fd >= 0 && wal->segments[i].size == size)
			continue;
		status = make_segment(wal, &wal->segments[i], size, fault);
		if (status != STATUS_OK)
			return status;
		is_new = true;
	}
	log_wal_turn(wal);
	return is_new ? log_io_sync_folder(wal->io, wal->folder, fault) : STATUS_OK;
}

void log_wal_close(struct log_wal *wal)
{
	if (wal == NULL)
		return;
	for (int i = 0; i < LOG_WAL_SEGMENTS; i++) {
		if (wal->segments[i].fd >= 0)
			close(wal->segments[i].fd);
	}
	free(wal->buffer);
	free(wal);
}

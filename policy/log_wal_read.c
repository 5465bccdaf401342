/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the write-ahead files, before the writer starts.
 *
 * A file has one current lap, the highest in it.  Its records lie one after the
 * other from the beginning.  Where the next one is not whole, the log ends: it was
 * being written when the process or the machine stopped, nobody was told it is
 * durable, and each of its sectors is either its own or a left-over.  Three things are
 * not explained by a stop and refused: a sector that is neither (its checksum is
 * wrong), a sector of a later record further on, and a record whose root is not that of
 * the tree (which the caller finds).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/must.h"
#include "policy/log_wal_format.h"

struct sector {
	bool is_zero, is_sound;
	uint64_t lap, sequence;
	uint32_t part, parts;
};

struct scan {
	const char *path;
	const uint8_t *bytes;
	size_t sectors;
	uint64_t lap, sequence; /* the current lap; the highest number seen */
	struct log_fault *fault;
};

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t get64(const uint8_t *at)
{
	return (uint64_t)get32(at) << 32 | get32(at + 4);
}

static struct sector read_sector(const struct scan *scan, size_t number)
{
	static const uint8_t zeros[WAL_SECTOR_BYTES];
	const uint8_t *bytes = scan->bytes + number * WAL_SECTOR_BYTES;
	struct sector sector = { .lap = get64(bytes + 8),
		.sequence = get64(bytes + 16),
		.part = get32(bytes + 24),
		.parts = get32(bytes + 28) };

	sector.is_zero = memcmp(bytes, zeros, WAL_SECTOR_BYTES) == 0;
	sector.is_sound = sector.is_zero || (get64(bytes) == wal_checksum(bytes) && sector.part < sector.parts &&
						    sector.lap < sector.sequence);
	return sector;
}

static enum status refuse(struct scan *scan, const char *what, size_t sector)
{
	scan->fault->error = 0;
	scan->fault->is_sync = false;
	snprintf(scan->fault->text, sizeof(scan->fault->text), "%s is damaged: %s at byte %zu", scan->path, what,
		sector * WAL_SECTOR_BYTES);
	return STATUS_INVALID;
}

static enum status find_lap(struct scan *scan)
{
	for (size_t i = 0; i < scan->sectors; i++) {
		struct sector sector = read_sector(scan, i);

		if (!sector.is_sound)
			return refuse(scan, "a wrong checksum", i);
		if (sector.is_zero)
			continue;
		if (sector.lap > scan->lap)
			scan->lap = sector.lap;
		if (sector.sequence > scan->sequence)
			scan->sequence = sector.sequence;
	}
	return STATUS_OK;
}

/* How many sectors the whole record that begins here has; 0 when there is none. */
static size_t record_at(const struct scan *scan, size_t start, uint64_t after, uint64_t *sequence_out)
{
	struct sector first;

	if (start >= scan->sectors)
		return 0;
	first = read_sector(scan, start);
	if (first.is_zero || first.lap != scan->lap || first.sequence <= after || first.part != 0 ||
		first.parts > scan->sectors - start)
		return 0;
	for (uint32_t part = 1; part < first.parts; part++) {
		struct sector sector = read_sector(scan, start + part);

		if (sector.is_zero || sector.lap != first.lap || sector.sequence != first.sequence ||
			sector.part != part || sector.parts != first.parts)
			return 0;
	}
	*sequence_out = first.sequence;
	return first.parts;
}

/* Puts the record's data together in `data`, which has room for the file. */
static enum status take_record(
	struct scan *scan, size_t start, size_t parts, uint8_t *data, struct log_wal_record *record)
{
	for (size_t i = 0; i < parts; i++)
		memcpy(data + i * WAL_DATA_BYTES, scan->bytes + (start + i) * WAL_SECTOR_BYTES + WAL_SECTOR_HEAD,
			WAL_DATA_BYTES);
	record->size = get32(data + 4);
	record->first = get64(data + 8);
	record->count = get32(data + 16);
	memcpy(record->root.bytes, data + 24, SHA256_SIZE);
	record->bytes = data + WAL_HEADER_BYTES;
	if (get32(data) != WAL_MAGIC || record->count == 0 || record->size > parts * WAL_DATA_BYTES - WAL_HEADER_BYTES)
		return refuse(scan, "no record", start);
	return STATUS_OK;
}

/* After the last whole record, which ends at `end`: only attempts at the next record, which begin there. */
static enum status check_rest(struct scan *scan, size_t end, uint64_t after)
{
	for (size_t i = end; i < scan->sectors; i++) {
		struct sector sector = read_sector(scan, i);

		if (sector.is_zero || sector.lap != scan->lap || sector.sequence <= after)
			continue;
		if (i - sector.part != end)
			return refuse(scan, "a record is missing", end);
	}
	return STATUS_OK;
}

static enum status visit_records(struct scan *scan, log_wal_visit *visit, void *arg)
{
	uint8_t *data = malloc(scan->sectors * WAL_DATA_BYTES);
	size_t at = 0, parts;
	uint64_t sequence = 0;
	enum status status = STATUS_OK;

	if (data == NULL)
		return STATUS_NO_MEMORY;
	while (status == STATUS_OK && (parts = record_at(scan, at, sequence, &sequence)) != 0) {
		struct log_wal_record record;

		status = take_record(scan, at, parts, data, &record);
		if (status == STATUS_OK)
			status = visit(arg, scan->path, &record);
		at += parts;
	}
	if (status == STATUS_OK)
		status = check_rest(scan, at, sequence);
	free(data);
	return status;
}

static enum status open_segment(struct log_wal *wal, int number, bool must_exist, struct scan *scan,
	struct strbuf *content, struct log_fault *fault)
{
	struct wal_segment *segment = &wal->segments[number];
	struct stat info;
	enum status status;

	*scan = (struct scan){ .path = segment->path, .fault = fault };
	segment->fd = wal->io->open(wal->io->arg, segment->path, O_RDWR | O_CLOEXEC, 0);
	if (segment->fd < 0 && errno == ENOENT && !must_exist)
		return STATUS_OK;
	if (segment->fd < 0 && errno == ENOENT) {
		(void)log_fault_set(fault, "find", segment->path);
		return STATUS_INVALID;
	}
	if (segment->fd < 0 || fstat(segment->fd, &info) != 0)
		return log_fault_set(fault, "open", segment->path);
	segment->size = (size_t)info.st_size;
	if (segment->size % WAL_SECTOR_BYTES != 0)
		return refuse(scan, "its size is not one of whole sectors", segment->size / WAL_SECTOR_BYTES);
	status = file_read(segment->path, segment->size, content, NULL);
	if (status != STATUS_OK)
		return status == STATUS_NO_MEMORY ? status : log_fault_set(fault, "read", segment->path);
	scan->bytes = (const uint8_t *)content->data;
	scan->sectors = content->length / WAL_SECTOR_BYTES;
	return find_lap(scan);
}

static enum status read_segments(
	struct log_wal *wal, bool must_exist, log_wal_visit *visit, void *arg, struct log_fault *fault)
{
	struct strbuf contents[LOG_WAL_SEGMENTS] = { STRBUF_INIT, STRBUF_INIT };
	struct scan scans[LOG_WAL_SEGMENTS];
	enum status status = STATUS_OK;
	int older;

	for (int i = 0; i < LOG_WAL_SEGMENTS && status == STATUS_OK; i++)
		status = open_segment(wal, i, must_exist, &scans[i], &contents[i], fault);
	if (status != STATUS_OK)
		goto out;
	older = scans[1].lap < scans[0].lap;
	for (int i = 0; i < LOG_WAL_SEGMENTS && status == STATUS_OK; i++) {
		struct scan *scan = &scans[i == 0 ? older : 1 - older];

		if (scan->sequence > wal->sequence)
			wal->sequence = scan->sequence;
		if (scan->sectors > 0)
			status = visit_records(scan, visit, arg);
	}
out:
	for (int i = 0; i < LOG_WAL_SEGMENTS; i++)
		strbuf_release(&contents[i]);
	return status;
}

enum status log_wal_open(const struct log_io *io, const char *directory, bool must_exist, log_wal_visit *visit,
	void *arg, struct log_wal **wal_out, struct log_fault *fault)
{
	struct log_wal *wal = calloc(1, sizeof(*wal));
	enum status status;

	*wal_out = NULL;
	if (wal == NULL)
		return STATUS_NO_MEMORY;
	wal->io = io;
	must(strlen(directory) < LOG_PATH_SIZE - 100);
	snprintf(wal->folder, sizeof(wal->folder), "%.900s/wal", directory);
	for (int i = 0; i < LOG_WAL_SEGMENTS; i++) {
		snprintf(wal->segments[i].path, LOG_PATH_SIZE, "%.900s/wal/%d", directory, i);
		wal->segments[i].fd = -1;
	}
	if (io->mkdir(io->arg, wal->folder, 0700) == 0)
		status = log_io_sync_folder(io, directory, fault);
	else
		status = errno == EEXIST ? STATUS_OK : log_fault_set(fault, "make", wal->folder);
	if (status == STATUS_OK)
		status = read_segments(wal, must_exist, visit, arg, fault);
	if (status == STATUS_OK)
		*wal_out = wal;
	else
		log_wal_close(wal);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that fails at the n-th write, for the access log's writer: once, for good, with a
 * write cut short, or as a machine that stops there.  After a stop, what was not
 * synced is there or not, sector by sector and name by name, as a seed decides.
 *
 * It works on real files and remembers how to take back what no sync has made sure.
 */
#ifndef SUPPORT_FAULTY_DISK_H
#define SUPPORT_FAULTY_DISK_H

#include <stdatomic.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "policy/log_io.h"

#define DISK_SECTOR 512
#define DISK_FDS 1024

enum disk_fault { DISK_GOOD, DISK_FAILS_ONCE, DISK_SHORT_THEN_FULL, DISK_STOPS };

/* How to take back one thing. */
struct disk_undo {
	struct disk_undo *next;
	bool is_rename, had_old;
	char path[LOG_PATH_SIZE];
	off_t offset;
	size_t size;
	char *old;
};

static struct faulty_disk {
	struct log_io io;
	pthread_mutex_t mutex;
	enum disk_fault fault;
	int error; /* what DISK_FAILS_ONCE says */
	long calls, fails_at;
	bool is_stopped, does_forget;
	atomic_bool is_full; /* tests fill and empty the disk while the writer runs */
	char paths[DISK_FDS][LOG_PATH_SIZE];
	struct disk_undo *undo;
} disk;

/* Whether this call goes wrong; errno is set. */
static bool disk_fails(void)
{
	long call = ++disk.calls;

	if (disk.is_stopped || (disk.fault == DISK_STOPS && call == disk.fails_at)) {
		disk.is_stopped = true;
		errno = EIO;
		return true;
	}
	if (disk.is_full || (disk.fault == DISK_FAILS_ONCE && call == disk.fails_at)) {
		errno = disk.is_full ? ENOSPC : disk.error;
		return true;
	}
	return false;
}

static bool disk_is_in_folder(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	return strncmp(path, folder, length) == 0 && path[length] == '/' && strchr(path + length + 1, '/') == NULL;
}

/* What a sync of this path makes sure needs no undoing. */
static void disk_forget_undo(const char *path)
{
	struct disk_undo **at = &disk.undo;

	while (*at != NULL) {
		struct disk_undo *one = *at;

		if (one->is_rename ? disk_is_in_folder(one->path, path) : strcmp(one->path, path) == 0) {
			*at = one->next;
			free(one->old);
			free(one);
		} else {
			at = &one->next;
		}
	}
}

static struct disk_undo *disk_remember(const char *path)
{
	struct disk_undo *one = calloc(1, sizeof(*one));

	snprintf(one->path, sizeof(one->path), "%s", path);
	one->next = disk.undo;
	disk.undo = one;
	return one;
}

static int disk_open(void *arg, const char *path, int flags, mode_t mode)
{
	int fd = -1;

	(void)arg;
	pthread_mutex_lock(&disk.mutex);
	if (!disk_fails())
		fd = open(path, flags, mode);
	if (fd >= 0 && fd < DISK_FDS)
		snprintf(disk.paths[fd], LOG_PATH_SIZE, "%s", path);
	pthread_mutex_unlock(&disk.mutex);
	return fd;
}

static ssize_t disk_pwrite(void *arg, int fd, const void *bytes, size_t size, off_t offset)
{
	ssize_t written = -1;

	(void)arg;
	pthread_mutex_lock(&disk.mutex);
	if (disk_fails()) {
		/* A machine that stops here may have written a part. */
		if (!disk.is_stopped || disk.calls != disk.fails_at)
			goto out;
	} else if (disk.fault == DISK_SHORT_THEN_FULL && disk.calls == disk.fails_at) {
		disk.is_full = true;
		size = size / 2 / DISK_SECTOR * DISK_SECTOR;
		if (size == 0) {
			errno = ENOSPC;
			goto out;
		}
	}
	{
		struct disk_undo *one = disk_remember(disk.paths[fd]);
		int reading = open(disk.paths[fd], O_RDONLY | O_CLOEXEC);
		ssize_t got;

		one->offset = offset;
		one->size = size;
		one->old = calloc(1, size);
		got = pread(reading, one->old, size, offset);
		(void)got; /* what lies behind the end of the file is zeros */
		close(reading);
	}
	written = pwrite(fd, bytes, size, offset);
	if (disk.is_stopped) {
		errno = EIO;
		written = -1;
	}
out:
	pthread_mutex_unlock(&disk.mutex);
	return written;
}

static int disk_sync(void *arg, int fd)
{
	int result = -1;

	(void)arg;
	pthread_mutex_lock(&disk.mutex);
	if (!disk_fails()) {
		disk_forget_undo(disk.paths[fd]);
		result = 0;
	}
	pthread_mutex_unlock(&disk.mutex);
	return result;
}

static int disk_allocate(void *arg, int fd, off_t size)
{
	int result = -1;

	(void)arg;
	pthread_mutex_lock(&disk.mutex);
	if (!disk_fails())
		result = posix_fallocate(fd, 0, size);
	pthread_mutex_unlock(&disk.mutex);
	return result;
}

static int disk_ftruncate(void *arg, int fd, off_t size)
{
	int result = -1;

	(void)arg;
	pthread_mutex_lock(&disk.mutex);
	if (!disk_fails())
		result = ftruncate(fd, size);
	pthread_mutex_unlock(&disk.mutex);
	return result;
}

static int disk_rename(void *arg, const char *from, const char *to)
{
	int result = -1;

	(void)arg;
	pthread_mutex_lock(&disk.mutex);
	if (!disk_fails()) {
		struct disk_undo *one = disk_remember(to);
		struct strbuf old = STRBUF_INIT;

		one->is_rename = true;
		one->had_old = file_read(to, 1 << 24, &old, NULL) == STATUS_OK;
		one->size = old.length;
		one->old = strbuf_take(&old, NULL);
		result = rename(from, to);
	}
	pthread_mutex_unlock(&disk.mutex);
	return result;
}

static int disk_unlink(void *arg, const char *path)
{
	int result = -1;

	(void)arg;
	pthread_mutex_lock(&disk.mutex);
	if (!disk_fails())
		result = unlink(path);
	pthread_mutex_unlock(&disk.mutex);
	return result;
}

static int disk_mkdir(void *arg, const char *path, mode_t mode)
{
	int result = -1;

	(void)arg;
	pthread_mutex_lock(&disk.mutex);
	if (!disk_fails())
		result = mkdir(path, mode);
	pthread_mutex_unlock(&disk.mutex);
	return result;
}

static const struct log_io *disk_start(enum disk_fault fault, long fails_at, int error)
{
	disk.io = (struct log_io){ .open = disk_open,
		.pwrite = disk_pwrite,
		.fdatasync = disk_sync,
		.fsync = disk_sync,
		.allocate = disk_allocate,
		.ftruncate = disk_ftruncate,
		.rename = disk_rename,
		.unlink = disk_unlink,
		.mkdir = disk_mkdir };
	disk.fault = fault;
	disk.fails_at = fails_at;
	disk.error = error;
	disk.calls = 0;
	disk.is_stopped = false;
	disk.is_full = false;
	return &disk.io;
}

static void disk_take_back(const struct disk_undo *one, const struct random_source *random)
{
	int fd;

	if (one->is_rename) {
		if (random_below(random, 2) == 0)
			return;
		if (!one->had_old) {
			(void)unlink(one->path);
			return;
		}
		fd = open(one->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		(void)!pwrite(fd, one->old, one->size, 0);
		close(fd);
		return;
	}
	fd = open(one->path, O_WRONLY | O_CLOEXEC);
	for (size_t at = 0; fd >= 0 && at < one->size; at += DISK_SECTOR) {
		size_t size = one->size - at < DISK_SECTOR ? one->size - at : DISK_SECTOR;

		if (random_below(random, 2) == 0)
			(void)!pwrite(fd, one->old + at, size, one->offset + (off_t)at);
	}
	if (fd >= 0)
		close(fd);
}

/* Ends the run; loses_unsynced: as after a loss of power. */
static void disk_end(bool loses_unsynced, uint64_t seed)
{
	struct random_seeded random;

	random_seeded_init(&random, seed);
	while (disk.undo != NULL) {
		struct disk_undo *one = disk.undo;

		disk.undo = one->next;
		if (loses_unsynced)
			disk_take_back(one, &random.source);
		free(one->old);
		free(one);
	}
}

#endif

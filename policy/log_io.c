/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access log's writes.  A file is written under another name, made durable and
 * renamed, so that no reader and no crash ever meets a part of one.  Any thread.
 */
#include "policy/log_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY_SIZE (LOG_PATH_SIZE + 8)

static int system_open(void *arg, const char *path, int flags, mode_t mode)
{
	(void)arg;
	return open(path, flags, mode);
}

static ssize_t system_pwrite(void *arg, int fd, const void *bytes, size_t size, off_t offset)
{
	(void)arg;
	return pwrite(fd, bytes, size, offset);
}

static int system_fdatasync(void *arg, int fd)
{
	(void)arg;
	return fdatasync(fd);
}

static int system_fsync(void *arg, int fd)
{
	(void)arg;
	return fsync(fd);
}

static int system_allocate(void *arg, int fd, off_t size)
{
	(void)arg;
	errno = posix_fallocate(fd, 0, size);
	return errno == 0 ? 0 : -1;
}

static int system_ftruncate(void *arg, int fd, off_t size)
{
	(void)arg;
	return ftruncate(fd, size);
}

static int system_rename(void *arg, const char *from, const char *to)
{
	(void)arg;
	return rename(from, to);
}

static int system_unlink(void *arg, const char *path)
{
	(void)arg;
	return unlink(path);
}

static int system_mkdir(void *arg, const char *path, mode_t mode)
{
	(void)arg;
	return mkdir(path, mode);
}

const struct log_io *log_io_system(void)
{
	static const struct log_io io = {
		.open = system_open,
		.pwrite = system_pwrite,
		.fdatasync = system_fdatasync,
		.fsync = system_fsync,
		.allocate = system_allocate,
		.ftruncate = system_ftruncate,
		.rename = system_rename,
		.unlink = system_unlink,
		.mkdir = system_mkdir,
	};

	return &io;
}

enum status log_fault_set(struct log_fault *fault, const char *what, const char *path)
{
	fault->error = errno;
	fault->is_sync = false;
	snprintf(fault->text, sizeof(fault->text), "cannot %s %s: %s", what, path, strerror(errno));
	return STATUS_IO;
}

bool log_fault_is_space(const struct log_fault *fault)
{
	return fault->error == ENOSPC || fault->error == EDQUOT;
}

enum status log_io_write(const struct log_io *io, int fd, const char *path, const void *bytes, size_t size,
	off_t offset, struct log_fault *fault)
{
	const char *at = bytes;

	while (size > 0) {
		ssize_t written = io->pwrite(io->arg, fd, at, size, offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written == 0)
			errno = ENOSPC; /* a disk that takes nothing and gives no reason */
		if (written <= 0)
			return log_fault_set(fault, "write", path);
		at += written;
		offset += written;
		size -= (size_t)written;
	}
	return STATUS_OK;
}

static enum status sync_file(const struct log_io *io, int fd, const char *path, struct log_fault *fault)
{
	enum status status;

	if (io->fsync(io->arg, fd) == 0)
		return STATUS_OK;
	status = log_fault_set(fault, "sync", path);
	fault->is_sync = true;
	return status;
}

static void temporary_name(const char *path, char temporary[TEMPORARY_SIZE])
{
	snprintf(temporary, TEMPORARY_SIZE, "%s.new", path);
}

enum status log_io_begin(const struct log_io *io, const char *path, const void *bytes, size_t size, mode_t mode,
	int *fd_out, struct log_fault *fault)
{
	char temporary[TEMPORARY_SIZE];
	enum status status;

	temporary_name(path, temporary);
	*fd_out = io->open(io->arg, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (*fd_out < 0)
		return log_fault_set(fault, "make", temporary);
	status = log_io_write(io, *fd_out, temporary, bytes, size, 0, fault);
	if (status != STATUS_OK) {
		log_io_abandon(io, *fd_out, path);
		*fd_out = -1;
		return status;
	}
	/* A hint, so its outcome is nothing: what counts is the fsync. */
	(void)sync_file_range(*fd_out, 0, 0, SYNC_FILE_RANGE_WRITE);
	return STATUS_OK;
}

enum status log_io_finish(const struct log_io *io, int fd, const char *path, struct log_fault *fault)
{
	char temporary[TEMPORARY_SIZE];
	enum status status;

	temporary_name(path, temporary);
	status = sync_file(io, fd, temporary, fault);
	close(fd);
	if (status == STATUS_OK && io->rename(io->arg, temporary, path) != 0)
		status = log_fault_set(fault, "rename a new file to", path);
	if (status != STATUS_OK)
		(void)io->unlink(io->arg, temporary);
	return status;
}

void log_io_abandon(const struct log_io *io, int fd, const char *path)
{
	char temporary[TEMPORARY_SIZE];

	temporary_name(path, temporary);
	close(fd);
	(void)io->unlink(io->arg, temporary);
}

enum status log_io_replace(
	const struct log_io *io, const char *path, const void *bytes, size_t size, mode_t mode, struct log_fault *fault)
{
	int fd;
	enum status status = log_io_begin(io, path, bytes, size, mode, &fd, fault);

	return status == STATUS_OK ? log_io_finish(io, fd, path, fault) : status;
}

enum status log_io_sync_folder(const struct log_io *io, const char *folder, struct log_fault *fault)
{
	int fd = io->open(io->arg, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	enum status status;

	if (fd < 0)
		return log_fault_set(fault, "open", folder);
	status = sync_file(io, fd, folder, fault);
	close(fd);
	return status;
}

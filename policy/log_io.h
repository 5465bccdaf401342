/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writes of the access log's files, as a struct of functions: tests put
 * failures, short writes and crashes in their place.  Each returns what the system
 * call of its name does, with errno.  Reading goes straight to the files.
 *
 * What went wrong is a struct log_fault: the errno decides whether the fault can
 * pass (no space) or not, the text names the path.
 */
#ifndef POLICY_LOG_IO_H
#define POLICY_LOG_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/status.h"

#define LOG_PATH_SIZE 1024

struct log_io {
	int (*open)(void *arg, const char *path, int flags, mode_t mode);
	ssize_t (*pwrite)(void *arg, int fd, const void *bytes, size_t size, off_t offset);
	int (*fdatasync)(void *arg, int fd);
	int (*fsync)(void *arg, int fd);
	int (*allocate)(void *arg, int fd, off_t size); /* posix_fallocate from 0, but with errno */
	int (*ftruncate)(void *arg, int fd, off_t size);
	int (*rename)(void *arg, const char *from, const char *to);
	int (*unlink)(void *arg, const char *path);
	int (*mkdir)(void *arg, const char *path, mode_t mode);
	void *arg;
};

const struct log_io *log_io_system(void);

struct log_fault {
	int error;
	bool is_sync; /* said by fsync or fdatasync: what is on the disk is not known */
	char text[LOG_PATH_SIZE + 128];
};

/* Fills the fault from errno; returns STATUS_IO. */
enum status log_fault_set(struct log_fault *fault, const char *what, const char *path);
/* Whether it passes when space is made. */
bool log_fault_is_space(const struct log_fault *fault);

/* All of it, however many writes that takes. */
MUST_CHECK enum status log_io_write(const struct log_io *io, int fd, const char *path, const void *bytes, size_t size,
	off_t offset, struct log_fault *fault);
/*
 * A file under a temporary name beside `path`, written and on its way to the disk; *fd_out is the caller's for one of
 * the two below.  Several begun before the first is made durable share one commit of the file system's journal.
 */
MUST_CHECK enum status log_io_begin(const struct log_io *io, const char *path, const void *bytes, size_t size,
	mode_t mode, int *fd_out, struct log_fault *fault);
/* fsync and close, then rename; the folder is the caller's to sync.  Nothing is left where it fails. */
MUST_CHECK enum status log_io_finish(const struct log_io *io, int fd, const char *path, struct log_fault *fault);
void log_io_abandon(const struct log_io *io, int fd, const char *path);
/* Both in turn. */
MUST_CHECK enum status log_io_replace(const struct log_io *io, const char *path, const void *bytes, size_t size,
	mode_t mode, struct log_fault *fault);
MUST_CHECK enum status log_io_sync_folder(const struct log_io *io, const char *folder, struct log_fault *fault);

#endif

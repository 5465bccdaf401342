/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files.  Reading goes by what read(2) returns, not by what fstat(2)
 * promised, so a file that grows meanwhile is still held to its bound, and pipes
 * and /proc work.  Replacing writes a temporary file beside the target, so that
 * a reader or a crash sees the old content or the new, never a part.
 * Safe from any thread; blocks on the disk, so not for loops on a hot path.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP_BYTES 16384  /* one disk read; small files need one */
#define SECRET_BYTES_MAX 16384 /* a password, key or token; anything more is the wrong file */

static enum status fail(struct strbuf *why, const char *what, const char *path, int error)
{
	if (why != NULL)
		strbuf_addf(why, "%s %s: %s", what, path, strerror(error));
	if (error == ENOENT || error == ENOTDIR)
		return STATUS_NOT_FOUND;
	return error == ENOMEM ? STATUS_NO_MEMORY : STATUS_IO;
}

static enum status read_all(int fd, const char *path, size_t size_max, struct strbuf *content, struct strbuf *why)
{
	size_t total = 0;

	for (;;) {
		ssize_t size;

		if (!strbuf_reserve(content, READ_STEP_BYTES))
			return fail(why, "cannot read", path, ENOMEM);
		size = read(fd, content->data + content->length, READ_STEP_BYTES);
		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0)
			return fail(why, "cannot read", path, errno);
		if (size == 0)
			return STATUS_OK;
		content->length += (size_t)size;
		content->data[content->length] = '\0';
		total += (size_t)size;
		if (total > size_max) {
			if (why != NULL)
				strbuf_addf(why, "%s is larger than %zu bytes", path, size_max);
			return STATUS_TOO_LARGE;
		}
	}
}

static enum status open_for_reading(const char *path, int *fd_out, struct strbuf *why)
{
	*fd_out = open(path, O_RDONLY | O_CLOEXEC);
	return *fd_out < 0 ? fail(why, "cannot open", path, errno) : STATUS_OK;
}

enum status file_read(const char *path, size_t size_max, struct strbuf *content, struct strbuf *why)
{
	enum status status;
	int fd;

	strbuf_reset(content);
	status = open_for_reading(path, &fd, why);
	if (status != STATUS_OK)
		return status;
	status = read_all(fd, path, size_max, content, why);
	close(fd);
	if (status != STATUS_OK)
		strbuf_reset(content);
	return status;
}

static bool is_private(const struct stat *info)
{
	if ((info->st_mode & 077) == 0)
		return true;
	/* The usual form of a service's secret: root's, readable by the service's group. */
	return info->st_uid == 0 && (info->st_mode & 077) == 040;
}

enum status file_read_secret(const char *path, struct strbuf *content, struct strbuf *why)
{
	struct stat info;
	enum status status;
	int fd;

	strbuf_reset(content);
	status = open_for_reading(path, &fd, why);
	if (status != STATUS_OK)
		return status;
	/* Of the file opened, so that it cannot be another one than the file read. */
	if (fstat(fd, &info) != 0) {
		status = fail(why, "cannot inspect", path, errno);
	} else if (!is_private(&info)) {
		if (why != NULL)
			strbuf_addf(why, "%s holds a secret but its mode is %03o: make it 600 (chmod 600)", path,
				(unsigned int)(info.st_mode & 0777));
		status = STATUS_IO;
	} else {
		status = read_all(fd, path, SECRET_BYTES_MAX, content, why);
	}
	close(fd);
	if (status != STATUS_OK) {
		strbuf_reset(content);
		return status;
	}
	strbuf_trim_end(content, " \t\r\n");
	return STATUS_OK;
}

static bool write_all(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t written = write(fd, bytes, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return false;
		bytes += written;
		size -= (size_t)written;
	}
	return true;
}

/* The rename itself is only durable once its folder is. */
static bool sync_folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
	bool is_synced;
	int fd;

	if (folder == NULL)
		return false;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	if (fd < 0)
		return false;
	is_synced = fsync(fd) == 0;
	close(fd);
	return is_synced;
}

enum status file_replace(const char *path, const void *bytes, size_t size, mode_t mode, struct strbuf *why)
{
	struct strbuf temporary = STRBUF_INIT;
	enum status status = STATUS_OK;
	int fd = -1;

	strbuf_addf(&temporary, "%s.XXXXXX", path);
	if (!strbuf_ok(&temporary)) {
		strbuf_release(&temporary);
		return fail(why, "cannot write", path, ENOMEM);
	}
	fd = mkostemp(temporary.data, O_CLOEXEC);
	if (fd < 0) {
		status = fail(why, "cannot write beside", path, errno);
		goto out;
	}
	if (fchmod(fd, mode) != 0 || !write_all(fd, bytes, size) || fsync(fd) != 0 ||
		rename(temporary.data, path) != 0) {
		status = fail(why, "cannot write", path, errno);
		unlink(temporary.data);
	} else if (!sync_folder_of(path)) {
		status = fail(why, "cannot sync the folder of", path, errno);
	}
	close(fd);
out:
	strbuf_release(&temporary);
	return status;
}

static bool make_one(const char *path, mode_t mode)
{
	struct stat info;

	if (mkdir(path, mode) == 0)
		return true;
	if (errno != EEXIST)
		return false;
	if (stat(path, &info) != 0)
		return false;
	errno = ENOTDIR;
	return S_ISDIR(info.st_mode);
}

enum status file_make_folder(const char *path, mode_t mode, struct strbuf *why)
{
	char *partial = strdup(path);
	enum status status = STATUS_OK;

	if (partial == NULL)
		return fail(why, "cannot make", path, ENOMEM);
	for (char *at = partial; status == STATUS_OK && *at != '\0'; at++) {
		if (at == partial || *at != '/')
			continue;
		*at = '\0';
		if (!make_one(partial, mode))
			status = fail(why, "cannot make", partial, errno);
		*at = '/';
	}
	if (status == STATUS_OK && !make_one(partial, mode))
		status = fail(why, "cannot make", path, errno);
	free(partial);
	return status;
}

struct file_stamp file_stamp(const char *path)
{
	struct stat found;

	if (stat(path, &found) != 0)
		return (struct file_stamp){ .size = 0 };
	return (struct file_stamp){ (int64_t)found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec,
		(int64_t)found.st_size, (uint64_t)found.st_ino };
}

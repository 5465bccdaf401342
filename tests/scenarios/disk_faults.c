/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preloaded library (LD_PRELOAD) that makes the disk of one folder fail, for scenario
 * tests of the access log: DISK_FAULTS_FOLDER names the folder, DISK_FAULTS_MODE a file
 * that says what happens now: nothing (absent or empty), "eio", "full" or "short"
 * (each write is cut at half its sectors, and the rest finds no space).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512

enum mode { MODE_GOOD, MODE_EIO, MODE_FULL, MODE_SHORT };

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset);

static enum mode mode_of(int fd)
{
	const char *folder = getenv("DISK_FAULTS_FOLDER"), *file = getenv("DISK_FAULTS_MODE");
	char link[64], path[4096], word[16] = "";
	ssize_t length;
	FILE *stream;

	if (folder == NULL || file == NULL)
		return MODE_GOOD;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return MODE_GOOD;
	path[length] = '\0';
	if (strncmp(path, folder, strlen(folder)) != 0 || (stream = fopen(file, "re")) == NULL)
		return MODE_GOOD;
	if (fscanf(stream, "%15s", word) != 1)
		word[0] = '\0';
	fclose(stream);
	if (strcmp(word, "eio") == 0)
		return MODE_EIO;
	if (strcmp(word, "full") == 0)
		return MODE_FULL;
	return strcmp(word, "short") == 0 ? MODE_SHORT : MODE_GOOD;
}

/* Whether the call goes wrong, with errno. */
static int fails(int fd)
{
	enum mode mode = mode_of(fd);

	errno = mode == MODE_EIO ? EIO : ENOSPC;
	return mode != MODE_GOOD;
}

static ssize_t write_at(int fd, const void *bytes, size_t size, off64_t offset)
{
	static ssize_t (*next)(int, const void *, size_t, off64_t);
	enum mode mode = mode_of(fd);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "pwrite64");
	if (mode == MODE_SHORT && size / 2 / SECTOR > 0)
		return next(fd, bytes, size / 2 / SECTOR * SECTOR, offset);
	if (mode != MODE_GOOD) {
		errno = mode == MODE_EIO ? EIO : ENOSPC;
		return -1;
	}
	return next(fd, bytes, size, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return write_at(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
	return write_at(fd, bytes, size, offset);
}

int fdatasync(int fd)
{
	static int (*next)(int);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
	return mode_of(fd) == MODE_EIO && fails(fd) ? -1 : next(fd);
}

int fsync(int fd)
{
	static int (*next)(int);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "fsync");
	return mode_of(fd) == MODE_EIO && fails(fd) ? -1 : next(fd);
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
	static int (*next)(int, off_t, off_t);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "posix_fallocate");
	return fails(fd) ? errno : next(fd, offset, size);
}

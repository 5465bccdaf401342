/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files: read within a bound, replaced atomically (temporary file in the
 * same folder, fsync, rename, fsync of the folder).
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"
#include "base/strbuf.h"

/* STATUS_NOT_FOUND, STATUS_TOO_LARGE or STATUS_IO with the reason, path included, in `why` (may be NULL). */
MUST_CHECK enum status file_read(const char *path, size_t size_max, struct strbuf *content, struct strbuf *why);
MUST_CHECK enum status file_replace(const char *path, const void *bytes, size_t size, mode_t mode, struct strbuf *why);
/* As file_read, less trailing white space; refuses a secret that others can read (mode & 077)
 * unless root owns it and it is group readable only. */
MUST_CHECK enum status file_read_secret(const char *path, struct strbuf *content, struct strbuf *why);
/* What a file that was replaced or written to differs in; no padding, so that memcmp() compares.  All 0: none there. */
struct file_stamp {
	int64_t changed_ns, size;
	uint64_t inode;
};
struct file_stamp file_stamp(const char *path);
/* mkdir -p. */
MUST_CHECK enum status file_make_folder(const char *path, mode_t mode, struct strbuf *why);

#endif

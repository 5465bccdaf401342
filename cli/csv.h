/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSV (RFC 4180) read one record at a time: quoted fields may hold commas, line
 * breaks and doubled quotes; lines end in LF or CRLF; a byte order mark is
 * skipped; blank lines are no records.  Memory is bounded by CSV_RECORD_MAX.
 */
#ifndef CLI_CSV_H
#define CLI_CSV_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "base/strbuf.h"

#define CSV_RECORD_MAX (1024 * 1024) /* bytes; a lost quote must not swallow the file */
#define CSV_FIELDS_MAX 1024

struct csv_reader {
	FILE *file;
	int64_t line; /* of the last byte read, from 1 */
	struct strbuf text;
	size_t starts[CSV_FIELDS_MAX];
	size_t count;
};

/* The file is borrowed. */
void csv_init(struct csv_reader *reader, FILE *file);
void csv_release(struct csv_reader *reader);
/*
 * STATUS_OK: a record is held until the next call.  STATUS_NOT_FOUND: the end.  STATUS_INVALID: this record breaks
 * the rules, `why` says how, and reading may go on.  STATUS_IO: the file failed.
 */
MUST_CHECK enum status csv_next(struct csv_reader *reader, struct strbuf *why);
size_t csv_count(const struct csv_reader *reader);
/* NUL terminated; a field never holds NUL. */
const char *csv_field(const struct csv_reader *reader, size_t index);

#endif

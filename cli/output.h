/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output of commands: one model of columns and rows, shown as a table for people
 * (libsmartcols), as a JSON array of objects, or as CSV (RFC 4180) with a header.
 * JSON and CSV rows are written as they come, so a million rows need no memory.
 *
 *	static const struct output_column columns[] = { { "type", OUTPUT_TEXT }, { "count", OUTPUT_NUMBER } };
 *	struct output *output = output_create(stdout, line.format, columns, 2);
 *	output_row(output, (const char *const[]){ "token", "12" });
 *	return output_finish(output);
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stddef.h>
#include <stdio.h>

#include "base/status.h"

enum output_format { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_CSV };

enum output_kind {
	OUTPUT_TEXT,
	OUTPUT_NUMBER, /* right-aligned; bare in JSON when it looks like a number, else a string */
	OUTPUT_BOOLEAN /* give "true" or "false"; "yes" or "" in tables */
};

struct output_column {
	const char *name; /* lower case, words joined by "_"; upper case with spaces in tables */
	enum output_kind kind;
};

struct output;

/* The columns are borrowed and must outlive it.  Never NULL: aborts when out of memory. */
struct output *output_create(
	FILE *stream, enum output_format format, const struct output_column *columns, size_t column_count);
/* One cell a column, copied; NULL is null in JSON and empty elsewhere. */
void output_row(struct output *output, const char *const *cells);
/* Writes what is left and frees it.  Returns an exit code: EXIT_CODE_FAILED when the stream failed. */
int output_finish(struct output *output);

MUST_CHECK enum status output_format_parse(const char *name, enum output_format *format_out);

#endif

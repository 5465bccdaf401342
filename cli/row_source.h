/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of a file as JSON objects, whatever it holds: a JSON array of objects, one
 * object a line (NDJSON), or CSV with a header line (values are strings).  Which
 * one is told from the first byte that is not white space.
 */
#ifndef CLI_ROW_SOURCE_H
#define CLI_ROW_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"

struct row_source;

/* "-" is standard input. */
MUST_CHECK enum status row_source_open(const char *path, struct row_source **source_out, struct strbuf *why);
void row_source_close(struct row_source *source);
/*
 * STATUS_OK: *row_out is an object, json_decref() it; *number_out counts rows from 1, bad ones too.  STATUS_NOT_FOUND:
 * the end.  STATUS_INVALID: this row is bad, `why` says how, the next may be good.  Anything else ends the reading.
 */
MUST_CHECK enum status row_source_next(
	struct row_source *source, json_t **row_out, int64_t *number_out, struct strbuf *why);

/* The member of that name or, when there is none, the one at that dotted path ("address.region"); NULL when neither. */
const json_t *row_get(const json_t *row, const char *path);
/* Text of a string or an integer, or of a boolean; false for anything else and for an empty string. */
bool row_text(const json_t *value, struct strbuf *text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSV and NDJSON are read a row at a time; a JSON array is read whole, since
 * jansson cannot stop inside one, and so is bounded by ARRAY_BYTES_MAX.
 */
#include "cli/row_source.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/must.h"
#include "cli/csv.h"

#define ARRAY_BYTES_MAX ((size_t)256 * 1024 * 1024)
#define LINE_BYTES_MAX (4 * 1024 * 1024)

enum row_kind { ROWS_ARRAY, ROWS_LINES, ROWS_CSV };

struct row_source {
	FILE *file;
	enum row_kind kind;
	int64_t number;
	json_t *array;
	char *line; /* of getline(3) */
	size_t line_size;
	struct csv_reader csv;
	char **names;
	size_t name_count;
};

/* ---- opening ---- */

static enum status read_array(struct row_source *source, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	char block[65536];
	enum status status;
	size_t size;

	text.max = ARRAY_BYTES_MAX;
	while ((size = fread(block, 1, sizeof(block), source->file)) > 0)
		strbuf_add(&text, block, size);
	if (ferror(source->file)) {
		status = STATUS_IO;
	} else if (!strbuf_ok(&text)) {
		strbuf_addf(why, "a JSON array of more than %zu MiB; give one object a line instead",
			ARRAY_BYTES_MAX >> 20);
		status = STATUS_TOO_LARGE;
	} else {
		status = json_parse(text.data, text.length, &source->array, why);
	}
	strbuf_release(&text);
	return status;
}

static enum status read_header(struct row_source *source, struct strbuf *why)
{
	enum status status = csv_next(&source->csv, why);

	if (status == STATUS_NOT_FOUND)
		return STATUS_OK; /* an empty file has no rows */
	if (status != STATUS_OK)
		return status;
	source->names = calloc(csv_count(&source->csv), sizeof(*source->names));
	if (source->names == NULL)
		return STATUS_NO_MEMORY;
	for (size_t i = 0; i < csv_count(&source->csv); i++) {
		const char *name = csv_field(&source->csv, i);

		for (size_t other = 0; other < i; other++) {
			if (strcmp(source->names[other], name) == 0) {
				strbuf_addf(why, "column name \"%s\" stands twice in the header", name);
				return STATUS_INVALID;
			}
		}
		source->names[i] = strdup(name);
		if (source->names[i] == NULL)
			return STATUS_NO_MEMORY;
		source->name_count++;
	}
	return STATUS_OK;
}

static enum status open_kind(struct row_source *source, struct strbuf *why)
{
	int c;

	do
		c = getc(source->file);
	while (c != EOF && isspace(c));
	(void)ungetc(c, source->file);

	source->kind = c == '[' ? ROWS_ARRAY : c == '{' ? ROWS_LINES : ROWS_CSV;
	if (source->kind == ROWS_ARRAY)
		return read_array(source, why);
	if (source->kind == ROWS_LINES)
		return STATUS_OK;
	csv_init(&source->csv, source->file);
	return read_header(source, why);
}

enum status row_source_open(const char *path, struct row_source **source_out, struct strbuf *why)
{
	struct row_source *source = calloc(1, sizeof(*source));
	enum status status;

	*source_out = NULL;
	if (source == NULL)
		return STATUS_NO_MEMORY;
	source->file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	if (source->file == NULL) {
		strbuf_addf(why, "%s: %s", path, strerror(errno));
		free(source);
		return STATUS_NOT_FOUND;
	}
	strbuf_addf(why, "%s: ", path);
	status = open_kind(source, why);
	if (status != STATUS_OK) {
		row_source_close(source);
		return status;
	}
	strbuf_reset(why);
	*source_out = source;
	return STATUS_OK;
}

void row_source_close(struct row_source *source)
{
	if (source == NULL)
		return;
	for (size_t i = 0; i < source->name_count; i++)
		free(source->names[i]);
	free(source->names);
	if (source->kind == ROWS_CSV)
		csv_release(&source->csv);
	json_decref(source->array);
	free(source->line);
	if (source->file != stdin)
		(void)fclose(source->file);
	free(source);
}

/* ---- rows ---- */

static enum status next_of_array(struct row_source *source, json_t **row_out, struct strbuf *why)
{
	json_t *row = json_array_get(source->array, (size_t)source->number);

	if (row == NULL)
		return STATUS_NOT_FOUND;
	source->number++;
	if (!json_is_object(row)) {
		strbuf_adds(why, "not a JSON object");
		return STATUS_INVALID;
	}
	*row_out = json_incref(row);
	return STATUS_OK;
}

static enum status next_line(struct row_source *source, json_t **row_out, struct strbuf *why)
{
	ssize_t length;

	do {
		errno = 0;
		length = getline(&source->line, &source->line_size, source->file);
		if (length < 0)
			return ferror(source->file) || errno == ENOMEM ? STATUS_IO : STATUS_NOT_FOUND;
	} while (strspn(source->line, " \t\r\n") == (size_t)length);

	source->number++;
	if (length > LINE_BYTES_MAX) {
		strbuf_adds(why, "a line of more than 4 MiB");
		return STATUS_INVALID;
	}
	if (json_parse(source->line, (size_t)length, row_out, why) != STATUS_OK)
		return STATUS_INVALID;
	if (!json_is_object(*row_out)) {
		json_decref(*row_out);
		*row_out = NULL;
		strbuf_adds(why, "not a JSON object");
		return STATUS_INVALID;
	}
	return STATUS_OK;
}

static enum status next_of_csv(struct row_source *source, json_t **row_out, struct strbuf *why)
{
	size_t count;
	enum status status = csv_next(&source->csv, why);
	json_t *row;

	if (status == STATUS_NOT_FOUND || status == STATUS_IO)
		return status;
	source->number++;
	if (status != STATUS_OK)
		return status;
	count = csv_count(&source->csv);
	if (count != source->name_count) {
		strbuf_addf(why, "%zu fields, the header has %zu", count, source->name_count);
		return STATUS_INVALID;
	}
	row = json_object();
	if (row == NULL)
		return STATUS_NO_MEMORY;
	for (size_t i = 0; i < count; i++) {
		/* json_string() is NULL for what is not UTF-8. */
		if (json_object_set_new(row, source->names[i], json_string(csv_field(&source->csv, i))) != 0) {
			strbuf_addf(why, "column %zu is not UTF-8", i + 1);
			json_decref(row);
			return STATUS_INVALID;
		}
	}
	*row_out = row;
	return STATUS_OK;
}

enum status row_source_next(struct row_source *source, json_t **row_out, int64_t *number_out, struct strbuf *why)
{
	enum status status = STATUS_INTERNAL;

	*row_out = NULL;
	switch (source->kind) {
	case ROWS_ARRAY:
		status = next_of_array(source, row_out, why);
		break;
	case ROWS_LINES:
		status = next_line(source, row_out, why);
		break;
	case ROWS_CSV:
		status = next_of_csv(source, row_out, why);
		break;
	}
	*number_out = source->number;
	return status;
}

const json_t *row_get(const json_t *row, const char *path)
{
	const json_t *value = json_object_get(row, path);
	const char *dot;

	if (value != NULL)
		return value;
	for (value = row; (dot = strchr(path, '.')) != NULL; path = dot + 1)
		value = json_object_getn(value, path, (size_t)(dot - path));
	return json_object_get(value, path);
}

bool row_text(const json_t *value, struct strbuf *text)
{
	if (json_is_integer(value))
		strbuf_addf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_boolean(value))
		strbuf_adds(text, json_is_true(value) ? "true" : "false");
	else if (json_is_string(value) && json_string_length(value) > 0)
		strbuf_add(text, json_string_value(value), json_string_length(value));
	else
		return false;
	return true;
}

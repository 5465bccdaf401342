/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output: tables wait for the last row, because a column is as wide as its widest
 * cell; JSON and CSV are written row by row.  A failing stream (a closed pipe, a
 * full disk) is noticed at the end, in output_finish.
 */
#include "cli/output.h"

#include <ctype.h>
#include <libsmartcols.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/strbuf.h"
#include "cli/cli.h"

struct output {
	FILE *stream;
	enum output_format format;
	const struct output_column *columns;
	size_t column_count;
	size_t row_count;
	struct libscols_table *table;
};

enum status output_format_parse(const char *name, enum output_format *format_out)
{
	static const char *const names[] = { "table", "json", "csv" };

	*format_out = OUTPUT_TABLE;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0) {
			*format_out = (enum output_format)i;
			return STATUS_OK;
		}
	return STATUS_INVALID;
}

static void csv_cell(FILE *stream, const char *cell)
{
	if (strpbrk(cell, ",\"\r\n") == NULL) {
		fputs(cell, stream);
		return;
	}
	fputc('"', stream);
	for (; *cell != '\0'; cell++) {
		if (*cell == '"')
			fputc('"', stream);
		fputc(*cell, stream);
	}
	fputc('"', stream);
}

static void table_begin(struct output *output)
{
	struct strbuf heading = STRBUF_INIT;

	output->table = scols_new_table();
	must(output->table != NULL);
	for (size_t i = 0; i < output->column_count; i++) {
		strbuf_reset(&heading);
		for (const char *at = output->columns[i].name; *at != '\0'; at++)
			strbuf_addc(&heading, *at == '_' ? ' ' : (char)toupper((unsigned char)*at));
		int flags = output->columns[i].kind == OUTPUT_NUMBER ? SCOLS_FL_RIGHT : 0;
		must(scols_table_new_column(output->table, heading.data, 0, flags) != NULL);
	}
	strbuf_release(&heading);
}

struct output *output_create(
	FILE *stream, enum output_format format, const struct output_column *columns, size_t column_count)
{
	struct output *output = calloc(1, sizeof(*output));

	must(output != NULL && column_count > 0);
	output->stream = stream;
	output->format = format;
	output->columns = columns;
	output->column_count = column_count;
	if (format == OUTPUT_TABLE) {
		table_begin(output);
	} else if (format == OUTPUT_JSON) {
		fputc('[', stream);
	} else {
		for (size_t i = 0; i < column_count; i++)
			fprintf(stream, "%s%s", i > 0 ? "," : "", columns[i].name);
		fputs("\r\n", stream);
	}
	return output;
}

/* The grammar of RFC 8259 without exponents, so that "007" or "1e9" stay strings. */
static bool is_json_number(const char *text)
{
	const char *at = text + (*text == '-');
	size_t digits = strspn(at, "0123456789");

	if (digits == 0 || (digits > 1 && *at == '0'))
		return false;
	at += digits;
	if (*at == '.') {
		digits = strspn(at + 1, "0123456789");
		if (digits == 0)
			return false;
		at += 1 + digits;
	}
	return *at == '\0';
}

static void json_row(struct output *output, const char *const *cells)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_adds(&text, output->row_count > 0 ? ",\n {" : "\n {");
	for (size_t i = 0; i < output->column_count; i++) {
		enum output_kind kind = output->columns[i].kind;
		const char *cell = cells[i];

		strbuf_addf(&text, "%s\"%s\":", i > 0 ? "," : "", output->columns[i].name);
		if (cell == NULL)
			strbuf_adds(&text, "null");
		else if (kind == OUTPUT_BOOLEAN)
			strbuf_adds(&text, strcmp(cell, "true") == 0 ? "true" : "false");
		else if (kind == OUTPUT_NUMBER && is_json_number(cell))
			strbuf_adds(&text, cell);
		else
			strbuf_add_json(&text, cell, strlen(cell));
	}
	strbuf_addc(&text, '}');
	must(strbuf_ok(&text));
	fwrite(text.data, 1, text.length, output->stream);
	strbuf_release(&text);
}

static void table_row(struct output *output, const char *const *cells)
{
	struct libscols_line *line = scols_table_new_line(output->table, NULL);

	must(line != NULL);
	for (size_t i = 0; i < output->column_count; i++) {
		const char *cell = cells[i] != NULL ? cells[i] : "";

		if (output->columns[i].kind == OUTPUT_BOOLEAN)
			cell = strcmp(cell, "true") == 0 ? "yes" : "";
		must(scols_line_set_data(line, i, cell) == 0);
	}
}

void output_row(struct output *output, const char *const *cells)
{
	if (output->format == OUTPUT_TABLE) {
		table_row(output, cells);
	} else if (output->format == OUTPUT_JSON) {
		json_row(output, cells);
	} else {
		for (size_t i = 0; i < output->column_count; i++) {
			if (i > 0)
				fputc(',', output->stream);
			if (cells[i] != NULL)
				csv_cell(output->stream, cells[i]);
		}
		fputs("\r\n", output->stream);
	}
	output->row_count++;
}

int output_finish(struct output *output)
{
	if (output->format == OUTPUT_JSON)
		fputs(output->row_count > 0 ? "\n]\n" : "]\n", output->stream);
	if (output->table != NULL) {
		scols_table_set_stream(output->table, output->stream);
		/* An empty table shows its headings, so that nobody takes it for a failure. */
		if (output->row_count == 0) {
			for (size_t i = 0; i < output->column_count; i++) {
				struct libscols_column *column = scols_table_get_column(output->table, i);
				fprintf(output->stream, "%s%s", i > 0 ? " " : "",
					scols_cell_get_data(scols_column_get_header(column)));
			}
			fputc('\n', output->stream);
		} else {
			must(scols_print_table(output->table) == 0);
		}
		scols_unref_table(output->table);
	}
	bool has_failed = fflush(output->stream) != 0 || ferror(output->stream);
	free(output);
	return has_failed ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

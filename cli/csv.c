/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields of a record lie one behind the other in one buffer, NUL terminated,
 * so that a record costs no allocation once the buffer has grown.
 *
 * After a broken record reading goes on at the next line: losing one line is
 * better than taking everything to the next quote for one field.
 */
#include "cli/csv.h"

#include <stdbool.h>

#include "base/must.h"

enum csv_state { FIELD_START, IN_PLAIN, IN_QUOTED, AFTER_QUOTED };

void csv_init(struct csv_reader *reader, FILE *file)
{
	reader->file = file;
	reader->line = 1;
	reader->count = 0;
	strbuf_init(&reader->text);
	reader->text.max = CSV_RECORD_MAX;

	int first = getc(file);
	if (first != 0xef) {
		(void)ungetc(first, file);
		return;
	}
	(void)getc(file);
	(void)getc(file);
}

void csv_release(struct csv_reader *reader)
{
	strbuf_release(&reader->text);
}

size_t csv_count(const struct csv_reader *reader)
{
	return reader->count;
}

const char *csv_field(const struct csv_reader *reader, size_t index)
{
	must(index < reader->count);
	return reader->text.data + reader->starts[index];
}

static enum status wrong(struct csv_reader *reader, struct strbuf *why, const char *what, bool skip_line)
{
	strbuf_addf(why, "line %lld: %s", (long long)reader->line, what);
	for (int c = 0; skip_line && c != '\n' && c != EOF;)
		c = getc(reader->file);
	if (skip_line)
		reader->line++;
	return STATUS_INVALID;
}

static bool field_begin(struct csv_reader *reader)
{
	if (reader->count == CSV_FIELDS_MAX)
		return false;
	reader->starts[reader->count++] = reader->text.length;
	return true;
}

/* CR counts only in front of LF. */
static int next_byte(FILE *file)
{
	int c = getc(file);

	if (c == '\r') {
		int after = getc(file);

		if (after == '\n')
			return '\n';
		(void)ungetc(after, file);
	}
	return c;
}

static enum csv_state step(struct csv_reader *reader, enum csv_state state, int c, const char **problem)
{
	switch (state) {
	case FIELD_START:
	case IN_PLAIN:
		if (c == '"' && state == FIELD_START)
			return IN_QUOTED;
		if (c == '"')
			*problem = "a quote inside a field that does not start with one";
		strbuf_addc(&reader->text, (char)c);
		return IN_PLAIN;
	case IN_QUOTED:
		if (c == '"')
			return AFTER_QUOTED;
		strbuf_addc(&reader->text, (char)c);
		return IN_QUOTED;
	case AFTER_QUOTED:
		if (c != '"')
			*problem = "text after a closing quote";
		strbuf_addc(&reader->text, '"');
		return IN_QUOTED;
	}
	return state;
}

static enum status read_record(struct csv_reader *reader, struct strbuf *why)
{
	enum csv_state state = FIELD_START;
	const char *problem = NULL;

	(void)field_begin(reader);
	for (;;) {
		int c = next_byte(reader->file);
		bool is_end = c == EOF || (c == '\n' && state != IN_QUOTED);

		if (c == '\n')
			reader->line++;
		if (c == EOF && ferror(reader->file))
			return STATUS_IO;
		if (c == EOF && state == IN_QUOTED)
			return wrong(reader, why, "the file ends inside a quoted field", false);
		if (is_end) {
			strbuf_addc(&reader->text, '\0');
			break;
		}
		if (c == ',' && state != IN_QUOTED) {
			strbuf_addc(&reader->text, '\0');
			if (!field_begin(reader))
				return wrong(reader, why, "too many fields", true);
			state = FIELD_START;
			continue;
		}
		if (c == '\0')
			return wrong(reader, why, "a NUL byte", true);
		state = step(reader, state, c, &problem);
		if (problem != NULL)
			return wrong(reader, why, problem, true);
		if (!strbuf_ok(&reader->text))
			return wrong(reader, why, "a record of more than 1 MiB", true);
	}
	return strbuf_ok(&reader->text) ? STATUS_OK : wrong(reader, why, "a record of more than 1 MiB", false);
}

enum status csv_next(struct csv_reader *reader, struct strbuf *why)
{
	enum status status;
	int c;

	do {
		strbuf_reset(&reader->text);
		reader->count = 0;
		c = getc(reader->file);
		if (c == EOF)
			return ferror(reader->file) ? STATUS_IO : STATUS_NOT_FOUND;
		(void)ungetc(c, reader->file);
		status = read_record(reader, why);
	} while (status == STATUS_OK && reader->count == 1 && csv_field(reader, 0)[0] == '\0');
	if (status != STATUS_OK)
		reader->count = 0;
	return status;
}

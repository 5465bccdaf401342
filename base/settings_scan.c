/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two passes over settings text.  The first makes JSON of it without moving a
 * byte.  The second walks the JSON that the library has already accepted, so it
 * need not judge it, only keep count; every step is still bounded by `size`.
 */
#include "base/settings_scan.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

#define DEPTH_MAX 8 /* settings nest four deep */

static size_t string_end(const char *text, size_t size, size_t at)
{
	for (at++; at < size && text[at] != '"' && text[at] != '\n'; at++)
		if (text[at] == '\\' && at + 1 < size)
			at++;
	return at < size ? at + 1 : size;
}

static void blank(char *text, size_t from, size_t to)
{
	for (; from < to; from++)
		if (text[from] != '\n')
			text[from] = ' ';
}

/* The end of the comment that starts here; `at` when none does; SIZE_MAX when it is not closed. */
static size_t comment_end(const char *text, size_t size, size_t at)
{
	const char *end;

	if (text[at] == '#' || (text[at] == '/' && at + 1 < size && text[at + 1] == '/')) {
		end = memchr(text + at, '\n', size - at);
		return end != NULL ? (size_t)(end - text) : size;
	}
	if (text[at] == '/' && at + 1 < size && text[at + 1] == '*') {
		end = memmem(text + at + 2, size - at - 2, "*/", 2);
		return end != NULL ? (size_t)(end - text) + 2 : SIZE_MAX;
	}
	return at;
}

enum status settings_blank(char *text, size_t size, size_t *offset_out)
{
	size_t comma = 0, at = 0;
	bool has_comma = false; /* a comma after a value, with nothing but space since */
	char before = '\0';     /* the last character that was neither space nor comment */

	*offset_out = 0;
	if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
		blank(text, 0, 3);
	while (at < size) {
		size_t end = comment_end(text, size, at);
		char c = text[at];
		if (end == SIZE_MAX) {
			*offset_out = at;
			return STATUS_INVALID;
		}
		if (end > at) {
			blank(text, at, end);
			at = end;
			continue;
		}
		at = c == '"' ? string_end(text, size, at) : at + 1;
		if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
			continue;
		if (has_comma && (c == '}' || c == ']'))
			text[comma] = ' ';
		has_comma = c == ',' && before != ',' && before != '[' && before != '{' && before != ':';
		comma = at - 1;
		before = c;
	}
	return STATUS_OK;
}

struct scanner {
	const char *text;
	size_t size, at;
	struct strbuf pointer;
	struct settings_places *places;
	bool has_failed;
};

static void skip_space(struct scanner *scanner)
{
	while (scanner->at < scanner->size && strchr(" \t\r\n,:", scanner->text[scanner->at]) != NULL &&
		scanner->text[scanner->at] != '\0')
		scanner->at++;
}

static char current(const struct scanner *scanner)
{
	return scanner->at < scanner->size ? scanner->text[scanner->at] : '\0';
}

static void add_place(struct scanner *scanner, size_t key_offset)
{
	struct settings_places *places = scanner->places;
	char *pointer = strbuf_ok(&scanner->pointer) ? strdup(scanner->pointer.data) : NULL;

	if (pointer != NULL && places->count == places->capacity) {
		size_t capacity = places->capacity > 0 ? places->capacity * 2 : 64;
		struct settings_place *grown = realloc(places->at, capacity * sizeof(*grown));
		if (grown != NULL) {
			places->at = grown;
			places->capacity = capacity;
		}
	}
	if (pointer == NULL || places->count == places->capacity) {
		free(pointer);
		scanner->has_failed = true;
		return;
	}
	places->at[places->count] = (struct settings_place){ pointer, key_offset, scanner->at, places->count };
	places->count++;
}

/* Keys may be spelled with escapes, so the JSON library decodes them. */
static void push_key(struct scanner *scanner, size_t from, size_t to)
{
	json_t *key = json_loadb(scanner->text + from, to - from, JSON_DECODE_ANY, NULL);
	const char *name = json_string_value(key);

	strbuf_addc(&scanner->pointer, '/');
	for (const char *c = name != NULL ? name : ""; *c != '\0'; c++) {
		if (*c == '~' || *c == '/')
			strbuf_adds(&scanner->pointer, *c == '~' ? "~0" : "~1");
		else
			strbuf_addc(&scanner->pointer, *c);
	}
	json_decref(key);
}

static void skip_value(struct scanner *scanner)
{
	int depth = 0;

	do {
		char c = current(scanner);
		if (c == '"') {
			scanner->at = string_end(scanner->text, scanner->size, scanner->at);
		} else {
			depth += (c == '{' || c == '[') - (c == '}' || c == ']');
			scanner->at++;
		}
		if (depth == 0 && (scanner->at >= scanner->size || strchr(" \t\r\n,:]}", current(scanner)) != NULL))
			break;
	} while (scanner->at < scanner->size);
}

/* Recursion is bounded by DEPTH_MAX. */
static void scan_value(struct scanner *scanner, size_t key_offset, int depth)
{
	char open = current(scanner);
	size_t length = scanner->pointer.length;

	add_place(scanner, key_offset);
	if (depth >= DEPTH_MAX || (open != '{' && open != '[')) {
		skip_value(scanner);
		return;
	}
	scanner->at++;
	for (size_t i = 0; !scanner->has_failed; i++) {
		size_t start;
		skip_space(scanner);
		start = scanner->at;
		if (scanner->at >= scanner->size || current(scanner) == '}' || current(scanner) == ']')
			break;
		if (open == '{') {
			scanner->at = string_end(scanner->text, scanner->size, start);
			push_key(scanner, start, scanner->at);
			skip_space(scanner);
		} else {
			strbuf_addf(&scanner->pointer, "/%zu", i);
		}
		scan_value(scanner, start, depth + 1);
		strbuf_truncate(&scanner->pointer, length);
	}
	scanner->at++;
}

static int compare_places(const void *a, const void *b)
{
	const struct settings_place *left = a, *right = b;
	int order = strcmp(left->pointer, right->pointer);

	return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

enum status settings_places_find(const char *text, size_t size, struct settings_places *places_out)
{
	struct scanner scanner = { text, size, 0, STRBUF_INIT, places_out, false };

	memset(places_out, 0, sizeof(*places_out));
	skip_space(&scanner);
	scan_value(&scanner, scanner.at, 0);
	if (!strbuf_ok(&scanner.pointer))
		scanner.has_failed = true;
	strbuf_release(&scanner.pointer);
	if (scanner.has_failed) {
		settings_places_release(places_out);
		return STATUS_NO_MEMORY;
	}
	qsort(places_out->at, places_out->count, sizeof(*places_out->at), compare_places);
	return STATUS_OK;
}

void settings_places_release(struct settings_places *places)
{
	for (size_t i = 0; i < places->count; i++)
		free(places->at[i].pointer);
	free(places->at);
	memset(places, 0, sizeof(*places));
}

const struct settings_place *settings_places_get(const struct settings_places *places, const char *pointer)
{
	size_t low = 0, high = places->count;

	while (low < high) { /* the first that sorts after `pointer` */
		size_t middle = (low + high) / 2;
		if (strcmp(places->at[middle].pointer, pointer) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && strcmp(places->at[low - 1].pointer, pointer) == 0 ? &places->at[low - 1] : NULL;
}

void settings_line_column(const char *text, size_t offset, int *line_out, int *column_out)
{
	*line_out = 1;
	*column_out = 1;
	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			(*line_out)++;
			*column_out = 1;
		} else if (((unsigned char)text[i] & 0xC0) != 0x80) {
			(*column_out)++;
		}
	}
}

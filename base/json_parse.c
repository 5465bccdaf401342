/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jansson's values, built by our own scanner in a third of the time: a home reads
 * a record for every lookup.  What the builder does not do (numbers with a fraction,
 * escapes, long keys, deep nesting) and whatever it finds wrong is read again by
 * jansson, whose verdict and words count.  JSON_ALLOW_NUL stays off there: a string
 * with U+0000 would be cut short by every C function after it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"

#define DEPTH_MAX 16         /* records are flat; it bounds the recursion */
#define INTEGER_BYTES_MAX 18 /* always fits 64 bits */

static json_t *build(struct json_scan *scan, int depth);

static json_t *build_object(struct json_scan *scan, int depth)
{
	char key[JSON_SCAN_KEY_SIZE];
	json_t *object = json_object();

	json_scan_object(scan);
	while (object != NULL && json_scan_member(scan, key)) {
		size_t before = json_object_size(object);

		/* Setting a key again does not make the object larger. */
		if (key[0] == '\0' || json_object_set_new_nocheck(object, key, build(scan, depth)) != 0 ||
			json_object_size(object) == before) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *build_array(struct json_scan *scan, int depth)
{
	json_t *array = json_array();

	json_scan_array(scan);
	while (array != NULL && json_scan_element(scan)) {
		if (json_array_append_new(array, build(scan, depth)) != 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *build_integer(const char *text, size_t size)
{
	char digits[INTEGER_BYTES_MAX + 1];

	if (size > INTEGER_BYTES_MAX || memchr(text, '.', size) != NULL || memchr(text, 'e', size) != NULL ||
		memchr(text, 'E', size) != NULL)
		return NULL;
	memcpy(digits, text, size);
	digits[size] = '\0';
	return json_integer(strtoll(digits, NULL, 10));
}

/* NULL: not for this builder. */
static json_t *build(struct json_scan *scan, int depth)
{
	const char *text;
	size_t size;
	bool is_compact;

	while (scan->at < scan->end &&
		(*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
		scan->at++;
	if (scan->at == scan->end || depth == DEPTH_MAX)
		return NULL;
	if (*scan->at == '{')
		return build_object(scan, depth + 1);
	if (*scan->at == '[')
		return build_array(scan, depth + 1);
	if (!json_scan_value(scan, &text, &size, &is_compact))
		return NULL;
	switch (text[0]) {
	case '"':
		return memchr(text, '\\', size) == NULL ? json_stringn_nocheck(text + 1, size - 2) : NULL;
	case 't':
		return json_true();
	case 'f':
		return json_false();
	case 'n':
		return json_null();
	default:
		return build_integer(text, size);
	}
}

static json_t *build_document(const char *text, size_t size)
{
	struct json_scan scan;
	json_t *value;

	json_scan_init(&scan, text, size);
	value = build(&scan, 0);
	if (value != NULL && json_scan_end(&scan) && !json_scan_failed(&scan) &&
		(json_is_object(value) || json_is_array(value)))
		return value;
	json_decref(value);
	return NULL;
}

enum status json_parse(const char *text, size_t size, json_t **value_out, struct strbuf *why)
{
	json_error_t error;

	*value_out = build_document(text, size);
	if (*value_out == NULL)
		*value_out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	if (*value_out != NULL)
		return STATUS_OK;
	if (json_error_code(&error) == json_error_out_of_memory)
		return STATUS_NO_MEMORY;
	if (why != NULL)
		strbuf_addf(why, "line %d column %d: %s", error.line, error.column, error.text);
	return STATUS_INVALID;
}

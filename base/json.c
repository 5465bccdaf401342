/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values written, and looked into (json_parse.c reads them).
 *
 * Writing is our own for the sake of numbers: jansson writes 0.1 as
 * 0.10000000000000001, and a price that changes its spelling each time it crosses
 * a border has been changed.  Here a real is the shortest text that reads back as
 * the same number.  The recursion is as deep as jansson lets a text nest.
 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REAL_TEXT_SIZE 40
#define REAL_DIGITS_MIN 15                /* every decimal of this many digits survives a double */
#define REAL_DIGITS_MAX 17                /* and this many tell any two doubles apart */
#define INTEGER_END 9223372036854775808.0 /* 2^63 */

/* ---- writing ---- */

static void write_value(const json_t *value, struct strbuf *text);

static void write_real(double real, struct strbuf *text)
{
	char digits[REAL_TEXT_SIZE];

	for (int precision = REAL_DIGITS_MIN; precision <= REAL_DIGITS_MAX; precision++) {
		snprintf(digits, sizeof(digits), "%.*g", precision, real);
		if (strtod(digits, NULL) == real)
			break;
	}
	strbuf_adds(text, digits);
	/* So that it reads back as a real and not as an integer. */
	if (digits[strcspn(digits, ".e")] == '\0')
		strbuf_add(text, ".0", 2);
}

static void write_object(const json_t *object, struct strbuf *text)
{
	bool is_first = true;
	const char *key;
	json_t *value;

	strbuf_addc(text, '{');
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		if (!is_first)
			strbuf_addc(text, ',');
		is_first = false;
		strbuf_add_json(text, key, strlen(key));
		strbuf_addc(text, ':');
		write_value(value, text);
	}
	strbuf_addc(text, '}');
}

static void write_array(const json_t *array, struct strbuf *text)
{
	strbuf_addc(text, '[');
	for (size_t i = 0; i < json_array_size(array); i++) {
		if (i > 0)
			strbuf_addc(text, ',');
		write_value(json_array_get(array, i), text);
	}
	strbuf_addc(text, ']');
}

static void write_value(const json_t *value, struct strbuf *text)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		write_object(value, text);
		break;
	case JSON_ARRAY:
		write_array(value, text);
		break;
	case JSON_STRING:
		strbuf_add_json(text, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		strbuf_addf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_REAL:
		write_real(json_real_value(value), text);
		break;
	case JSON_TRUE:
		strbuf_add(text, "true", 4);
		break;
	case JSON_FALSE:
		strbuf_add(text, "false", 5);
		break;
	case JSON_NULL:
		strbuf_add(text, "null", 4);
		break;
	}
}

enum status json_write(const json_t *value, struct strbuf *text)
{
	write_value(value, text);
	return strbuf_ok(text) ? STATUS_OK : STATUS_NO_MEMORY;
}

bool json_numbers_fit(const json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;

	if (json_is_real(value))
		return fabs(json_real_value(value)) < INTEGER_END;
	if (json_is_array(value)) {
		json_array_foreach(value, i, member)
		{
			if (!json_numbers_fit(member))
				return false;
		}
	}
	json_object_foreach((json_t *)(uintptr_t)value, key, member)
	{
		if (!json_numbers_fit(member))
			return false;
	}
	return true;
}

/* ---- members ---- */

const char *json_get_string(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

bool json_get_integer(const json_t *object, const char *key, int64_t *value_out)
{
	const json_t *value = json_object_get(object, key);

	*value_out = json_integer_value(value);
	return json_is_integer(value);
}

bool json_get_boolean(const json_t *object, const char *key, bool *value_out)
{
	const json_t *value = json_object_get(object, key);

	*value_out = json_is_true(value);
	return json_is_boolean(value);
}

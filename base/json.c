/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jansson behind fixed flags.  JSON_ALLOW_NUL stays off: a string with U+0000
 * would be cut short by every C function after it.
 */
#include "base/json.h"

static int append(const char *bytes, size_t size, void *text)
{
	strbuf_add(text, bytes, size);
	return strbuf_ok(text) ? 0 : -1;
}

enum status json_parse(const char *text, size_t size, json_t **value_out, struct strbuf *why)
{
	json_error_t error;

	*value_out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	if (*value_out != NULL)
		return STATUS_OK;
	if (json_error_code(&error) == json_error_out_of_memory)
		return STATUS_NO_MEMORY;
	if (why != NULL)
		strbuf_addf(why, "line %d column %d: %s", error.line, error.column, error.text);
	return STATUS_INVALID;
}

enum status json_write(const json_t *value, struct strbuf *text)
{
	return json_dump_callback(value, append, text, JSON_COMPACT) == 0 ? STATUS_OK : STATUS_NO_MEMORY;
}

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

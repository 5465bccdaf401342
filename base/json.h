/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: jansson with the flags that matter fixed in one place (duplicate keys
 * are refused, no trailing bytes, no bare scalars at the top), and typed getters.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"

/* An object or array.  STATUS_INVALID with "line L column C: what" in `why` (may be NULL). */
MUST_CHECK enum status json_parse(const char *text, size_t size, json_t **value_out, struct strbuf *why);
/* Compact, keys in insertion order, reals in their shortest spelling, appended to `text`. */
MUST_CHECK enum status json_write(const json_t *value, struct strbuf *text);
/*
 * Whether every number can be kept in jsonb and read again.  jsonb spells a real out in full, and one of 2^63 or
 * more comes back as an integer that json_parse refuses.
 */
bool json_numbers_fit(const json_t *value);

/* NULL / false when the member is missing or of another type.  Strings are borrowed. */
const char *json_get_string(const json_t *object, const char *key);
bool json_get_integer(const json_t *object, const char *key, int64_t *value_out);
bool json_get_boolean(const json_t *object, const char *key, bool *value_out);

#endif

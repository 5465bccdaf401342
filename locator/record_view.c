/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The usual answer of a home has just the fields that this region permits too, so
 * that dropping the others changes nothing.  Seeing that takes one pass over the
 * text; a tree and a second text would cost more than the rest of the lookup.
 * Nested values go the long way, since duplicate members may hide in them, and so
 * do numbers that a reader behind us could choke on.
 */
#include "locator/record_view.h"

#include <string.h>

#include "base/json_scan.h"

#define FIELDS_LOGGED_MAX 1024 /* of the names a peer sent, which are its own choice */
#define INTEGER_BYTES_MAX 15   /* read the same by everyone */

static bool lists(const char *names, const char *name)
{
	size_t length = strlen(name);
	if (strchr(name, ','))
		return false;
	for (const char *at = names; length && at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, name, length) && (at[length] == ',' || !at[length]))
			return true;
	}
	return false;
}

static bool is_simple(const char *value, size_t size)
{
	if (*value == '"' || *value == 't' || *value == 'f' || *value == 'n')
		return true;
	return *value != '{' && *value != '[' && size <= INTEGER_BYTES_MAX && !memchr(value, '.', size) &&
	       !memchr(value, 'e', size) && !memchr(value, 'E', size);
}

bool record_is_its_view(const char *text, size_t size, const char *permitted, struct strbuf *names)
{
	char key[JSON_SCAN_KEY_SIZE];
	struct json_scan scan;
	const char *value;
	size_t value_size;
	bool is_compact, is_view = true;
	json_scan_init(&scan, text, size);
	json_scan_object(&scan);
	while (is_view && json_scan_member(&scan, key)) {
		is_view = json_scan_value(&scan, &value, &value_size, &is_compact) && is_compact &&
			  is_simple(value, value_size) && lists(permitted, key) &&
			  !(names->length && lists(names->data, key));
		if (names->length)
			strbuf_addc(names, ',');
		strbuf_adds(names, key);
	}
	is_view = is_view && json_scan_end(&scan) && !json_scan_failed(&scan) && strbuf_ok(names) &&
		  names->length <= FIELDS_LOGGED_MAX;
	if (!is_view)
		strbuf_reset(names);
	return is_view;
}

void record_name_fields(const json_t *record, struct strbuf *names)
{
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)record, key, value)
	{
		if (names->length + strlen(key) > FIELDS_LOGGED_MAX) {
			strbuf_adds(names, ",...");
			return;
		}
		if (names->length)
			strbuf_addc(names, ',');
		strbuf_adds(names, key);
	}
}

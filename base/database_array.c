/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL array literals.  Every element is quoted, so that "null", empty text,
 * commas and braces are what they are; inside quotes only " and \ are special.
 */
#include "base/database.h"

void database_array_add(struct strbuf *array, const char *text, size_t length, bool is_first)
{
	size_t start = 0;

	if (!strbuf_reserve(array, length + 3))
		return;
	strbuf_adds(array, is_first ? "\"" : ",\"");
	for (size_t i = 0; i < length; i++) {
		if (text[i] != '"' && text[i] != '\\')
			continue;
		strbuf_add(array, text + start, i - start);
		strbuf_addc(array, '\\');
		start = i;
	}
	strbuf_add(array, text + start, length - start);
	strbuf_addc(array, '"');
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing strings: capacity doubles, failure sticks.  Not shared between threads.
 *
 * Invariant: data[length] == '\0', and capacity == 0 exactly when data is the
 * shared empty string, which is never written to.
 */
#include "base/strbuf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

char strbuf_empty[1] = "";

void strbuf_init(struct strbuf *text)
{
	*text = (struct strbuf)STRBUF_INIT;
}

void strbuf_release(struct strbuf *text)
{
	if (text->capacity > 0)
		free(text->data);
	strbuf_init(text);
}

void strbuf_wipe(struct strbuf *text)
{
	/* All of the capacity: what it held before a reset lies behind its length. */
	explicit_bzero(text->data, text->capacity);
	strbuf_release(text);
}

void strbuf_reset(struct strbuf *text)
{
	text->length = 0;
	text->failed = false;
	if (text->capacity > 0)
		text->data[0] = '\0';
}

void strbuf_truncate(struct strbuf *text, size_t length)
{
	if (length >= text->length)
		return;
	text->length = length;
	text->data[length] = '\0';
}

void strbuf_trim_end(struct strbuf *text, const char *characters)
{
	size_t length = text->length;

	while (length > 0 && strchr(characters, text->data[length - 1]) != NULL)
		length--;
	strbuf_truncate(text, length);
}

bool strbuf_ok(const struct strbuf *text)
{
	return !text->failed;
}

char *strbuf_take(struct strbuf *text, size_t *length_out)
{
	char *taken = NULL;

	if (length_out != NULL)
		*length_out = 0;
	if (!text->failed && (text->capacity > 0 || strbuf_reserve(text, 0))) {
		taken = text->data;
		if (length_out != NULL)
			*length_out = text->length;
		strbuf_init(text);
	}
	strbuf_release(text);
	return taken;
}

bool strbuf_reserve(struct strbuf *text, size_t extra)
{
	size_t wanted, capacity;
	char *grown;

	if (text->failed)
		return false;
	if (extra > SIZE_MAX / 4 || (text->max > 0 && text->length + extra > text->max)) {
		text->failed = true;
		return false;
	}
	wanted = text->length + extra + 1;
	if (wanted <= text->capacity)
		return true;
	capacity = text->capacity > 0 ? text->capacity : 64;
	while (capacity < wanted)
		capacity *= 2;
	grown = realloc(text->capacity > 0 ? text->data : NULL, capacity);
	if (grown == NULL) {
		text->failed = true;
		return false;
	}
	grown[text->length] = '\0';
	text->data = grown;
	text->capacity = capacity;
	return true;
}

void strbuf_add(struct strbuf *text, const void *bytes, size_t size)
{
	if (size == 0 || !strbuf_reserve(text, size))
		return;
	memcpy(text->data + text->length, bytes, size);
	text->length += size;
	text->data[text->length] = '\0';
}

void strbuf_adds(struct strbuf *text, const char *string)
{
	strbuf_add(text, string, strlen(string));
}

void strbuf_addc(struct strbuf *text, char c)
{
	strbuf_add(text, &c, 1);
}

size_t unsigned_format(uint64_t number, char text[UNSIGNED_TEXT_SIZE])
{
	char digits[UNSIGNED_TEXT_SIZE];
	size_t at = sizeof(digits), length;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	length = sizeof(digits) - at;
	memcpy(text, digits + at, length);
	text[length] = '\0';
	return length;
}

void strbuf_add_unsigned(struct strbuf *text, uint64_t number)
{
	char digits[UNSIGNED_TEXT_SIZE];
	size_t length = unsigned_format(number, digits);

	strbuf_add(text, digits, length);
}

void strbuf_vaddf(struct strbuf *text, const char *format, va_list args)
{
	va_list again;
	int size;

	va_copy(again, args);
	size = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (size < 0 || !strbuf_reserve(text, (size_t)size)) {
		text->failed = true;
		return;
	}
	vsnprintf(text->data + text->length, (size_t)size + 1, format, args);
	text->length += (size_t)size;
}

void strbuf_addf(struct strbuf *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	strbuf_vaddf(text, format, args);
	va_end(args);
}

static void add_json_escape(struct strbuf *text, unsigned char c)
{
	switch (c) {
	case '"':
		strbuf_add(text, "\\\"", 2);
		break;
	case '\\':
		strbuf_add(text, "\\\\", 2);
		break;
	case '\n':
		strbuf_add(text, "\\n", 2);
		break;
	case '\t':
		strbuf_add(text, "\\t", 2);
		break;
	case '\r':
		strbuf_add(text, "\\r", 2);
		break;
	default:
		strbuf_addf(text, "\\u%04x", c);
	}
}

void strbuf_add_json(struct strbuf *text, const char *string, size_t size)
{
	const unsigned char *bytes = (const unsigned char *)string;
	size_t start = 0, i = 0;

	strbuf_addc(text, '"');
	while (i < size) {
		size_t sequence;
		if (bytes[i] >= 0x20 && bytes[i] < 0x80 && bytes[i] != '"' && bytes[i] != '\\') {
			i++;
			continue;
		}
		sequence = utf8_sequence(string + i, size - i);
		if (sequence > 0 && bytes[i] >= 0x20 && bytes[i] != '"' && bytes[i] != '\\') {
			i += sequence;
			continue;
		}
		strbuf_add(text, string + start, i - start);
		if (sequence > 0)
			add_json_escape(text, bytes[i]);
		else
			strbuf_adds(text, "\\ufffd");
		start = ++i;
	}
	strbuf_add(text, string + start, size - start);
	strbuf_addc(text, '"');
}

char *hex_format(const void *bytes, size_t size, char *text)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *from = bytes;

	for (size_t i = 0; i < size; i++) {
		*text++ = digits[from[i] >> 4];
		*text++ = digits[from[i] & 15];
	}
	return text;
}

void strbuf_add_hex(struct strbuf *text, const void *bytes, size_t size)
{
	if (size == 0 || !strbuf_reserve(text, size * 2))
		return;
	*hex_format(bytes, size, text->data + text->length) = '\0';
	text->length += size * 2;
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void strbuf_add_percent(struct strbuf *text, const char *string, size_t size)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

	for (size_t i = 0; i < size; i++) {
		if (string[i] != '\0' && strchr(unreserved, string[i]) != NULL)
			strbuf_addc(text, string[i]);
		else
			strbuf_addf(text, "%%%02X", (unsigned char)string[i]);
	}
}

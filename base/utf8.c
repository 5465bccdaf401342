/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 checks for input that will be a key: bytes that different readers could
 * take for different text never get that far.  Pure; any thread.
 */
#include "base/utf8.h"

size_t utf8_sequence(const char *at, size_t left)
{
	const unsigned char *bytes = (const unsigned char *)at;
	unsigned char first;
	size_t size;

	if (left == 0)
		return 0;
	first = bytes[0];
	if (first < 0x80)
		return 1;
	size = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
	if (size == 0 || size > left)
		return 0;
	for (size_t i = 1; i < size; i++)
		if ((bytes[i] & 0xC0) != 0x80)
			return 0;
	if ((first == 0xE0 && bytes[1] < 0xA0) || (first == 0xED && bytes[1] > 0x9F) ||
		(first == 0xF0 && bytes[1] < 0x90) || (first == 0xF4 && bytes[1] > 0x8F))
		return 0;
	return size;
}

bool utf8_is_printable(const char *text, size_t length)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t i = 0;

	while (i < length) {
		size_t size;

		if (bytes[i] < 0x20 || bytes[i] == 0x7F)
			return false;
		size = utf8_sequence(text + i, length - i);
		if (size == 0 || (size == 2 && bytes[i] == 0xC2 && bytes[i + 1] < 0xA0))
			return false;
		i += size;
	}
	return true;
}

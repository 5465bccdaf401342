/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table for each direction.  OpenSSL's decoder takes white space and forgives
 * padding, which would give one signature many spellings; so this is our own.
 * Pure; any thread.
 */
#include "base/base64.h"

#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *bytes, size_t size, struct strbuf *text)
{
	const uint8_t *at = bytes;

	if (!strbuf_reserve(text, BASE64_SIZE(size)))
		return;
	for (; size >= 3; at += 3, size -= 3) {
		char group[4] = { alphabet[at[0] >> 2], alphabet[(at[0] & 3) << 4 | at[1] >> 4],
			alphabet[(at[1] & 15) << 2 | at[2] >> 6], alphabet[at[2] & 63] };

		strbuf_add(text, group, sizeof(group));
	}
	if (size == 1) {
		char group[4] = { alphabet[at[0] >> 2], alphabet[(at[0] & 3) << 4], '=', '=' };

		strbuf_add(text, group, sizeof(group));
	} else if (size == 2) {
		char group[4] = { alphabet[at[0] >> 2], alphabet[(at[0] & 3) << 4 | at[1] >> 4],
			alphabet[(at[1] & 15) << 2], '=' };

		strbuf_add(text, group, sizeof(group));
	}
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

enum status base64_decode(const char *text, size_t length, void *bytes, size_t size_max, size_t *size_out)
{
	uint8_t *to = bytes;
	size_t padding = 0, size;

	*size_out = 0;
	if (length % 4 != 0)
		return STATUS_INVALID;
	while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
		padding++;
	size = length / 4 * 3 - padding;
	if (size > size_max)
		return STATUS_TOO_LARGE;
	for (size_t i = 0; i < length; i += 4) {
		size_t digits = i + 4 == length ? 4 - padding : 4;
		uint32_t group = 0;

		for (size_t k = 0; k < 4; k++) {
			int value = k < digits ? value_of(text[i + k]) : 0;

			if (value < 0)
				return STATUS_INVALID;
			group = group << 6 | (uint32_t)value;
		}
		/* The bits that padding leaves over are zero in the one canonical text. */
		if ((digits == 3 && (group & 0xff) != 0) || (digits == 2 && (group & 0xffff) != 0))
			return STATUS_INVALID;
		for (size_t k = 0; to != NULL && k < digits - 1; k++)
			*to++ = (uint8_t)(group >> (16 - 8 * k));
	}
	*size_out = size;
	return STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers' names, purposes and tokens.  The token's prefix lets secret scanners find one that
 * was left in a file; the rest is base64url without padding, safe in any header.
 */
#include "cli/callers.h"

#include <string.h>

#include "base/lookup.h"
#include "base/object_id.h"
#include "base/random.h"

enum status caller_check(const struct caller *caller, struct strbuf *why)
{
	size_t length = strlen(caller->name);
	const char *at = caller->purposes;

	if (length == 0 || length >= CALLER_SIZE ||
		strspn(caller->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != length) {
		strbuf_addf(why, "\"%s\" is not a caller's name: letters, digits, '.', '_' and '-', fewer than %d",
			caller->name, CALLER_SIZE);
		return STATUS_INVALID;
	}
	if (strncmp(caller->name, "amqp.", 5) == 0 || strncmp(caller->name, "mqtt.", 5) == 0) {
		strbuf_addf(why, "\"%s\" is not a caller's name: local applications of the broker are called so",
			caller->name);
		return STATUS_INVALID;
	}
	for (int count = 0;; count++) {
		size_t size = strcspn(at, ",");
		char purpose[PURPOSE_SIZE] = "";

		if (size < sizeof(purpose))
			memcpy(purpose, at, size);
		if (count == CALLER_PURPOSES_MAX || (strcmp(purpose, "*") != 0 && !purpose_is_valid(purpose))) {
			strbuf_addf(why, "\"%.*s\" is not a purpose, as in \"charge.authorize\"", (int)size, at);
			return STATUS_INVALID;
		}
		if (at[size] == '\0')
			return STATUS_OK;
		at += size + 1;
	}
}

void caller_token_make(char token_out[CALLER_TOKEN_SIZE])
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint8_t bytes[CALLER_TOKEN_BYTES];
	size_t at = sizeof(CALLER_TOKEN_PREFIX) - 1;
	uint32_t bits = 0;
	int held = 0;

	random_fill(random_system(), bytes, sizeof(bytes));
	memcpy(token_out, CALLER_TOKEN_PREFIX, at);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bits = bits << 8 | bytes[i];
		held += 8;
		while (held >= 6) {
			held -= 6;
			token_out[at++] = alphabet[bits >> held & 63];
		}
	}
	token_out[at++] = alphabet[bits << (6 - held) & 63];
	token_out[at] = '\0';
	explicit_bzero(bytes, sizeof(bytes));
}

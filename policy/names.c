/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names as small numbers: a table of at most 62 texts found by hash.  It is
 * filled while a policy is read and never changes after, so that any thread may
 * look up without a lock.  256 slots for 62 names keep a search at one or two
 * probes; this is on the path of every decision.
 */
#include "policy/names.h"

#include <string.h>

#include "base/hash.h"

static size_t slot_of(const struct names *names, const char *text)
{
	size_t slot = hash_key64(text, strlen(text), 0) % sizeof(names->slots);

	while (names->slots[slot] != 0 && strcmp(names->text[names->slots[slot]], text) != 0)
		slot = (slot + 1) % sizeof(names->slots);
	return slot;
}

int names_add(struct names *names, const char *text)
{
	size_t slot = slot_of(names, text);

	if (names->slots[slot] == 0) {
		if (names->count == NAMES_MAX)
			return NAME_OTHER;
		names->text[++names->count] = text;
		names->slots[slot] = (uint8_t)names->count;
	}
	return names->slots[slot];
}

int names_find(const struct names *names, const char *text)
{
	if (text == NULL || text[0] == '\0')
		return NAME_UNKNOWN;
	return names->slots[slot_of(names, text)];
}

bool name_is_valid(const char *text, size_t size)
{
	size_t length = strlen(text);

	if (length == 0 || length >= size || text[0] < 'a' || text[0] > 'z')
		return false;
	return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings text before and beside the JSON parser: comments and trailing commas
 * are blanked in place, so every byte keeps its offset; and the offsets of keys
 * and values are found, which the JSON library does not tell.
 */
#ifndef BASE_SETTINGS_SCAN_H
#define BASE_SETTINGS_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/*
 * Overwrites comments, trailing commas and a byte order mark with spaces.  STATUS_INVALID when a comment is
 * not closed; *offset_out is then where it starts.
 */
MUST_CHECK enum status settings_blank(char *text, size_t size, size_t *offset_out);

struct settings_place {
	char *pointer;     /* RFC 6901: "/peers/na/urls/0"; "" is the whole text */
	size_t key_offset; /* of the key's quote; of the value for array elements and the whole */
	size_t value_offset;
	size_t order; /* in the text */
};

struct settings_places {
	struct settings_place *at; /* sorted by pointer, then by order */
	size_t count, capacity;
};

/* `text` is blanked and known to be valid JSON.  Values deeper than any setting are left out. */
MUST_CHECK enum status settings_places_find(const char *text, size_t size, struct settings_places *places_out);
void settings_places_release(struct settings_places *places);
/* The last of that pointer, the one a JSON parser keeps; NULL when there is none. */
const struct settings_place *settings_places_get(const struct settings_places *places, const char *pointer);

/* Both from 1; columns count characters, not bytes. */
void settings_line_column(const char *text, size_t offset, int *line_out, int *column_out);

#endif

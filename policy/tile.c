/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tile names and the arithmetic of which tiles a tree has.  An index is written
 * in groups of three digits, all but the last with an x in front, so that no
 * folder has more than about a thousand names; a path is read back only in that
 * spelling, which is what keeps a peer's request inside the log's folder.
 */
#include "policy/tile.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"

void tile_path(const struct tile *tile, char path[TILE_PATH_SIZE])
{
	unsigned int groups[8];
	uint64_t rest = tile->index;
	int count = 0, used;

	must(tile->level < TILE_LEVELS && tile->width >= 1 && tile->width <= TILE_WIDTH);
	do {
		groups[count++] = (unsigned int)(rest % 1000);
		rest /= 1000;
	} while (rest != 0 && count < 8);
	if (tile->is_entries)
		used = snprintf(path, TILE_PATH_SIZE, "tile/entries/");
	else
		used = snprintf(path, TILE_PATH_SIZE, "tile/%u/", tile->level);
	while (--count > 0)
		used += snprintf(path + used, TILE_PATH_SIZE - (size_t)used, "x%03u/", groups[count]);
	used += snprintf(path + used, TILE_PATH_SIZE - (size_t)used, "%03u", groups[0]);
	if (tile->width < TILE_WIDTH)
		used += snprintf(path + used, TILE_PATH_SIZE - (size_t)used, ".p/%u", tile->width);
	must(used < TILE_PATH_SIZE);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Three digits; false when they are not. */
static bool read_group(const char *text, uint64_t *value)
{
	if (!is_digit(text[0]) || !is_digit(text[1]) || !is_digit(text[2]))
		return false;
	*value = (uint64_t)((text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0'));
	return true;
}

enum status tile_parse(const char *path, struct tile *tile_out)
{
	struct tile tile = { .width = TILE_WIDTH };
	char canonical[TILE_PATH_SIZE];
	const char *at = path;
	uint64_t group;

	memset(tile_out, 0, sizeof(*tile_out));
	if (strlen(path) >= TILE_PATH_SIZE || strncmp(at, "tile/", 5) != 0)
		return STATUS_INVALID;
	at += 5;
	if (strncmp(at, "entries/", 8) == 0) {
		tile.is_entries = true;
		at += 8;
	} else if (at[0] >= '0' && at[0] < '0' + TILE_LEVELS && at[1] == '/') {
		tile.level = (unsigned int)(at[0] - '0');
		at += 2;
	} else {
		return STATUS_INVALID;
	}
	for (; *at == 'x' && read_group(at + 1, &group) && at[4] == '/'; at += 5) {
		if (tile.index > MERKLE_SIZE_MAX / 1000)
			return STATUS_INVALID;
		tile.index = (tile.index + group) * 1000;
	}
	if (!read_group(at, &group))
		return STATUS_INVALID;
	tile.index += group;
	at += 3;
	if (strncmp(at, ".p/", 3) == 0) {
		tile.width = 0;
		for (at += 3; is_digit(*at) && tile.width < TILE_WIDTH; at++)
			tile.width = tile.width * 10 + (unsigned int)(*at - '0');
		if (tile.width < 1 || tile.width >= TILE_WIDTH)
			return STATUS_INVALID;
	}
	/* What is left over, leading zeros and empty groups all come out as another text. */
	tile_path(&tile, canonical);
	if (strcmp(canonical, path) != 0)
		return STATUS_INVALID;
	*tile_out = tile;
	return STATUS_OK;
}

uint64_t tile_hashes(uint64_t size, unsigned int level)
{
	return level < TILE_LEVELS ? size >> (TILE_HEIGHT * level) : 0;
}

unsigned int tile_width(uint64_t size, unsigned int level, uint64_t index)
{
	uint64_t hashes = tile_hashes(size, level);

	if (index >= hashes / TILE_WIDTH + (hashes % TILE_WIDTH != 0))
		return 0;
	return index < hashes / TILE_WIDTH ? TILE_WIDTH : (unsigned int)(hashes % TILE_WIDTH);
}

struct tile tile_of_node(uint64_t size, unsigned int level, uint64_t index, unsigned int *first, unsigned int *count)
{
	unsigned int height = level % TILE_HEIGHT;
	struct tile tile = { .level = level / TILE_HEIGHT };
	uint64_t hash = index << height;

	must(level < MERKLE_LEVELS && index < size >> level);
	tile.index = hash / TILE_WIDTH;
	tile.width = tile_width(size, tile.level, tile.index);
	*first = (unsigned int)(hash % TILE_WIDTH);
	*count = 1U << height;
	must(*first + *count <= tile.width);
	return tile;
}

void bundle_reader_init(struct bundle_reader *reader, const void *bytes, size_t size)
{
	reader->at = bytes;
	reader->left = size;
}

enum status bundle_next(struct bundle_reader *reader, const char **entry_out, size_t *size_out)
{
	size_t size;

	*entry_out = NULL;
	*size_out = 0;
	if (reader->left == 0)
		return STATUS_NOT_FOUND;
	if (reader->left < 2)
		return STATUS_INVALID;
	size = (size_t)reader->at[0] << 8 | reader->at[1];
	if (reader->left - 2 < size)
		return STATUS_INVALID;
	*entry_out = (const char *)reader->at + 2;
	*size_out = size;
	reader->at += 2 + size;
	reader->left -= 2 + size;
	return STATUS_OK;
}

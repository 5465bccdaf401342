/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles: how a log lies in files (C2SP tlog-tiles).  A hash tile at level L,
 * index N holds up to 256 nodes of the tree's level 8 L, 32 bytes each; an entry
 * bundle holds up to 256 entries, each with its length before it as 16 bits, big
 * end first.  A tile with fewer than 256 is partial and has its width in its
 * path.  Pure; any thread.
 */
#ifndef POLICY_TILE_H
#define POLICY_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "policy/merkle.h"

#define TILE_HEIGHT 8
#define TILE_WIDTH 256 /* hashes or entries in a full tile */
#define TILE_LEVELS 8  /* 256^8 leaves is past MERKLE_SIZE_MAX */
#define TILE_BYTES_MAX (TILE_WIDTH * SHA256_SIZE)
#define ENTRY_BYTES_MAX 65535
#define BUNDLE_BYTES_MAX (TILE_WIDTH * (2 + ENTRY_BYTES_MAX))
#define TILE_PATH_SIZE 64

struct tile {
	bool is_entries; /* a bundle: level is 0 */
	unsigned int level;
	uint64_t index;
	unsigned int width; /* 1..256 */
};

/* "tile/0/x001/x234/067", "tile/entries/000.p/44". */
void tile_path(const struct tile *tile, char path[TILE_PATH_SIZE]);
/* The one spelling only; STATUS_INVALID otherwise. */
MUST_CHECK enum status tile_parse(const char *path, struct tile *tile_out);

/* How many hashes lie at tile level `level` of a tree of `size` leaves. */
uint64_t tile_hashes(uint64_t size, unsigned int level);
/* The width that tile has in a tree of `size` leaves; 0 when it is not in it. */
unsigned int tile_width(uint64_t size, unsigned int level, uint64_t index);
/* Which tile of a tree of `size` leaves gives the node, and the node's first hash in it and how many it spans. */
struct tile tile_of_node(uint64_t size, unsigned int level, uint64_t index, unsigned int *first, unsigned int *count);

/* ---- bundles ---- */

struct bundle_reader {
	const uint8_t *at;
	size_t left;
};

void bundle_reader_init(struct bundle_reader *reader, const void *bytes, size_t size);
/* STATUS_NOT_FOUND: that was all; STATUS_INVALID: it ends within an entry. */
MUST_CHECK enum status bundle_next(struct bundle_reader *reader, const char **entry_out, size_t *size_out);

#endif

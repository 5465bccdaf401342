/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the tiles' write side: shared by writing (log_tiles.c) and opening
 * (log_tiles_open.c).
 */
#ifndef POLICY_LOG_TILES_INTERNAL_H
#define POLICY_LOG_TILES_INTERNAL_H

#include "base/strbuf.h"
#include "policy/log_tiles.h"
#include "policy/tile.h"

#define FOLDERS_MAX 32 /* with new names, waiting for their sync */
#define FILES_MAX 64   /* written, waiting for theirs */
#define KEPT_SIZES 4   /* checkpoints whose partial tiles are still there */

/* The right edge of the tree of `size` entries. */
struct edge {
	uint64_t size;
	unsigned int widths[TILE_LEVELS]; /* of the last tile, 0 … 255 */
	struct merkle_hash hashes[TILE_LEVELS][TILE_WIDTH];
	struct strbuf bundle;
};

struct log_tiles {
	const struct log_io *io;
	const struct note_signer *signer;
	char directory[LOG_PATH_SIZE];
	char origin[NOTE_NAME_SIZE];
	bool has_checkpoint, is_replay;
	struct edge now, next;
	uint64_t kept[KEPT_SIZES];
	size_t kept_next;
	struct {
		int fd;
		char path[LOG_PATH_SIZE];
	} files[FILES_MAX];
	size_t file_count;
	char folders[FOLDERS_MAX][LOG_PATH_SIZE];
	size_t folder_count;
};

void log_tiles_path(const struct log_tiles *tiles, const struct tile *tile, char path[LOG_PATH_SIZE]);
void log_edge_range(const struct edge *edge, struct merkle_range *range_out);

#endif

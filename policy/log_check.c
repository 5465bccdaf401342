/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole log once, from left to right: every entry is hashed, every tile made
 * again and compared, and the root at the end compared with the checkpoint's.
 * Memory is one bundle and one tile a level, whatever the log's size.
 *
 * When a bundle and its tile disagree, the hash above them says which of the two
 * was altered: for a full tile the one in the level-1 tile, for the last one the
 * signed root.  The work goes on with what is right, so that each damaged file is
 * named and no sound one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/log_reader_internal.h"

struct check {
	struct log_reader *reader;
	log_reader_fault *fault;
	void *arg;
	unsigned int faults;
	enum status status; /* what ended it early: not damage but the disk or memory */
	struct strbuf bytes, why;
	/* What was made again of each level's last tile. */
	struct {
		unsigned int count;
		uint64_t index;
		struct merkle_hash hashes[TILE_WIDTH];
	} levels[TILE_LEVELS];
};

static void tell(struct check *check, const char *path, const char *what)
{
	if (check->faults++ < LOG_FAULTS_MAX)
		check->fault(check->arg, path, what);
}

/* Reads a file of the log; a missing or torn one is told.  False: go on without it. */
static bool read_tile(struct check *check, const struct tile *tile)
{
	char path[TILE_PATH_SIZE];
	enum status status;

	strbuf_reset(&check->why);
	status = log_reader_read_tile(check->reader, tile, &check->bytes, &check->why);
	if (status == STATUS_OK)
		return true;
	tile_path(tile, path);
	if (status == STATUS_NOT_FOUND)
		tell(check, path, "is missing");
	else if (status == STATUS_INVALID)
		tell(check, path, "is torn: too short, or too long, for what it should hold");
	else
		tell(check, path, check->why.data);
	if (status == STATUS_NO_MEMORY || status == STATUS_IO)
		check->status = status;
	return false;
}

static enum status read_made_node(void *arg, unsigned int level, uint64_t index, struct merkle_hash *hash_out)
{
	struct check *check = arg;
	unsigned int first, count;
	struct tile tile = tile_of_node(check->reader->checkpoint.size, level, index, &first, &count);

	/* Only nodes at the right edge are asked for, and those lie in each level's last, unfinished tile. */
	if (tile.index != check->levels[tile.level].index || first + count > check->levels[tile.level].count)
		return STATUS_INTERNAL;
	merkle_root_of(&check->levels[tile.level].hashes[first], count, hash_out);
	return STATUS_OK;
}

static bool made_root_is_signed(struct check *check)
{
	struct merkle_reader reader = { read_made_node, check };
	struct merkle_hash root;

	return merkle_root_read(&reader, check->reader->checkpoint.size, &root) == STATUS_OK &&
	       merkle_equal(&root, &check->reader->checkpoint.root);
}

/* What the tree above has for this full tile of level 0; false when its file cannot be read. */
static bool read_above(struct check *check, uint64_t index, struct merkle_hash *hash_out)
{
	struct tile above = { .level = 1, .index = index / TILE_WIDTH };
	struct strbuf bytes = STRBUF_INIT;
	bool is_read;

	above.width = tile_width(check->reader->checkpoint.size, 1, above.index);
	strbuf_reset(&check->why);
	is_read = log_reader_read_tile(check->reader, &above, &bytes, &check->why) == STATUS_OK;
	if (is_read)
		memcpy(hash_out, bytes.data + index % TILE_WIDTH * SHA256_SIZE, SHA256_SIZE);
	strbuf_release(&bytes);
	return is_read;
}

/* Whether the tree above agrees with level 0's hashes as they are in memory. */
static bool above_agrees(struct check *check, uint64_t index)
{
	struct merkle_hash above, made;

	if (check->levels[0].count < TILE_WIDTH)
		return made_root_is_signed(check);
	merkle_root_of(check->levels[0].hashes, TILE_WIDTH, &made);
	return read_above(check, index, &above) && merkle_equal(&above, &made);
}

/* Level 0 differs from its tile file, whose hashes are in check->bytes: says which is wrong and keeps the right one. */
static void judge(struct check *check, uint64_t index, unsigned int width)
{
	struct tile entries = { .is_entries = true, .index = index, .width = width };
	struct tile hashes = { .index = index, .width = width };
	char entries_path[TILE_PATH_SIZE], hashes_path[TILE_PATH_SIZE], what[128];
	struct merkle_hash made[TILE_WIDTH];
	unsigned int first = 0;

	while (memcmp(&check->levels[0].hashes[first], check->bytes.data + (size_t)first * SHA256_SIZE, SHA256_SIZE) ==
		0)
		first++;
	snprintf(what, sizeof(what), "entry %" PRIu64 " is not the one that was logged", index * TILE_WIDTH + first);
	tile_path(&entries, entries_path);
	tile_path(&hashes, hashes_path);
	if (above_agrees(check, index)) {
		tell(check, hashes_path, "has a hash that is not that of its entry");
		return;
	}
	memcpy(made, check->levels[0].hashes, sizeof(made));
	memcpy(check->levels[0].hashes, check->bytes.data, check->bytes.length);
	tell(check, entries_path, what);
	if (!above_agrees(check, index)) {
		memcpy(check->levels[0].hashes, made, sizeof(made));
		tell(check, hashes_path, "does not agree with its entries, nor either with the tree above");
	}
}

/* Compares what was made of this level with its file, and starts the level's next tile. */
static void finish_tile(struct check *check, unsigned int level)
{
	struct tile tile = { .level = level, .index = check->levels[level].index, .width = check->levels[level].count };
	char path[TILE_PATH_SIZE];

	if (!read_tile(check, &tile))
		return;
	if (memcmp(check->bytes.data, check->levels[level].hashes, check->bytes.length) == 0)
		return;
	if (level == 0) {
		judge(check, tile.index, tile.width);
		return;
	}
	tile_path(&tile, path);
	tell(check, path, "has a hash that is not that of the tiles below");
}

static void add_hash(struct check *check, unsigned int level, const struct merkle_hash *hash)
{
	struct merkle_hash next = *hash;

	for (; level < TILE_LEVELS; level++) {
		check->levels[level].hashes[check->levels[level].count++] = next;
		if (check->levels[level].count < TILE_WIDTH)
			return;
		finish_tile(check, level);
		merkle_root_of(check->levels[level].hashes, TILE_WIDTH, &next);
		check->levels[level].count = 0;
		check->levels[level].index++;
	}
}

/* The bundle's leaf hashes; without a bundle, those of the tile, so that the rest can be checked. */
static bool add_bundle(struct check *check, uint64_t index)
{
	uint64_t size = check->reader->checkpoint.size;
	struct tile tile = { .is_entries = true, .index = index, .width = tile_width(size, 0, index) };
	struct bundle_reader bundle;
	struct merkle_hash leaf;
	const char *entry;
	size_t length;

	if (read_tile(check, &tile)) {
		/* Kept apart: finishing a tile reads another file into check->bytes. */
		struct strbuf bytes = check->bytes;

		strbuf_init(&check->bytes);
		bundle_reader_init(&bundle, bytes.data, bytes.length);
		while (bundle_next(&bundle, &entry, &length) == STATUS_OK) {
			merkle_leaf(entry, length, &leaf);
			add_hash(check, 0, &leaf);
		}
		strbuf_release(&bytes);
		return true;
	}
	tile.is_entries = false;
	if (check->status != STATUS_OK || !read_tile(check, &tile))
		return false;
	for (unsigned int i = 0; i < tile.width; i++) {
		memcpy(&leaf, check->bytes.data + (size_t)i * SHA256_SIZE, sizeof(leaf));
		check->levels[0].hashes[check->levels[0].count++] = leaf;
	}
	if (tile.width == TILE_WIDTH) {
		merkle_root_of(check->levels[0].hashes, TILE_WIDTH, &leaf);
		check->levels[0].count = 0;
		check->levels[0].index++;
		add_hash(check, 1, &leaf);
	}
	return true;
}

enum status log_reader_check(struct log_reader *reader, log_reader_fault *fault, void *arg)
{
	struct check *check = calloc(1, sizeof(*check));
	uint64_t size = reader->checkpoint.size;
	enum status status = STATUS_NO_MEMORY;
	bool is_whole = true;

	if (check == NULL)
		return STATUS_NO_MEMORY;
	check->reader = reader;
	check->fault = fault;
	check->arg = arg;
	strbuf_init(&check->bytes);
	strbuf_init(&check->why);
	for (uint64_t index = 0; is_whole && check->status == STATUS_OK && tile_width(size, 0, index) != 0; index++)
		is_whole = check->faults < LOG_FAULTS_MAX && add_bundle(check, index);
	for (unsigned int level = 0; is_whole && level < TILE_LEVELS; level++) {
		if (check->levels[level].count != 0)
			finish_tile(check, level);
	}
	if (is_whole && !made_root_is_signed(check) && check->faults == 0)
		tell(check, LOG_CHECKPOINT, "its root is not that of the entries and tiles");
	status = check->status;
	if (status == STATUS_OK && check->faults != 0)
		status = STATUS_INVALID;
	strbuf_release(&check->bytes);
	strbuf_release(&check->why);
	free(check);
	return status;
}

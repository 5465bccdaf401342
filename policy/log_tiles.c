/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing tiles.  Of the tree only its right edge is in memory: for each level the
 * hashes of its last, partial tile, and the entries of the last, partial bundle.
 * A batch is worked into a copy of the edge, which takes the old one's place when
 * the checkpoint is written; so a failure needs no undoing.
 *
 * The order on the disk: files (each synced before its rename), their folders, the
 * checkpoint, its folder.  Files are written some dozens at a time before the first of
 * them is synced: with one at a time the file system's journal would be what a busy
 * log costs.
 */
#include "policy/log_tiles.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/must.h"
#include "policy/log_tiles_internal.h"

/* ---- batches ---- */

static bool grow(struct log_batch *batch, size_t size)
{
	if (batch->size + size > batch->capacity) {
		size_t capacity = (batch->capacity + size) * 2;
		uint8_t *bytes = realloc(batch->bytes, capacity);

		if (bytes == NULL)
			return false;
		batch->bytes = bytes;
		batch->capacity = capacity;
	}
	if (batch->count == batch->leaves_capacity) {
		size_t capacity = batch->leaves_capacity * 2 + TILE_WIDTH;
		struct merkle_hash *leaves = realloc(batch->leaves, capacity * sizeof(*leaves));

		if (leaves == NULL)
			return false;
		batch->leaves = leaves;
		batch->leaves_capacity = capacity;
	}
	return true;
}

bool log_batch_add(struct log_batch *batch, const void *entry, size_t size)
{
	uint8_t *at;

	must(size <= ENTRY_BYTES_MAX);
	if (!grow(batch, size + 2))
		return false;
	at = batch->bytes + batch->size;
	at[0] = (uint8_t)(size >> 8);
	at[1] = (uint8_t)size;
	memcpy(at + 2, entry, size);
	merkle_leaf(entry, size, &batch->leaves[batch->count]);
	batch->size += size + 2;
	batch->count++;
	return true;
}

void log_batch_release(struct log_batch *batch)
{
	free(batch->bytes);
	free(batch->leaves);
	memset(batch, 0, sizeof(*batch));
}

/* ---- folders that have new names in them ---- */

static enum status sync_folders(struct log_tiles *tiles, struct log_fault *fault)
{
	for (; tiles->folder_count > 0; tiles->folder_count--) {
		enum status status = log_io_sync_folder(tiles->io, tiles->folders[tiles->folder_count - 1], fault);

		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

static enum status note_folder(struct log_tiles *tiles, const char *folder, struct log_fault *fault)
{
	for (size_t i = tiles->folder_count; i > 0; i--) {
		if (strcmp(tiles->folders[i - 1], folder) == 0)
			return STATUS_OK;
	}
	if (tiles->folder_count == FOLDERS_MAX) {
		enum status status = sync_folders(tiles, fault);

		if (status != STATUS_OK)
			return status;
	}
	snprintf(tiles->folders[tiles->folder_count++], LOG_PATH_SIZE, "%s", folder);
	return STATUS_OK;
}

static void cut_name(char *path)
{
	char *slash = strrchr(path, '/');

	must(slash != NULL && slash != path);
	*slash = '\0';
}

/* mkdir -p of what lies below the log's directory. */
static enum status make_folder(struct log_tiles *tiles, const char *folder, struct log_fault *fault)
{
	char path[LOG_PATH_SIZE], parent[LOG_PATH_SIZE];
	size_t base = strlen(tiles->directory);

	for (size_t end = base + 1; end <= strlen(folder); end++) {
		if (folder[end] != '/' && folder[end] != '\0')
			continue;
		snprintf(path, sizeof(path), "%.*s", (int)end, folder);
		if (tiles->io->mkdir(tiles->io->arg, path, 0755) == 0) {
			enum status status;

			snprintf(parent, sizeof(parent), "%s", path);
			cut_name(parent);
			status = note_folder(tiles, parent, fault);
			if (status != STATUS_OK)
				return status;
		} else if (errno != EEXIST) {
			return log_fault_set(fault, "make", path);
		}
	}
	return STATUS_OK;
}

/* ---- files ---- */

void log_tiles_path(const struct log_tiles *tiles, const struct tile *tile, char path[LOG_PATH_SIZE])
{
	char name[TILE_PATH_SIZE];

	tile_path(tile, name);
	snprintf(path, LOG_PATH_SIZE, "%.900s/%s", tiles->directory, name);
}

static enum status check_same(const char *path, const void *bytes, size_t size, bool *is_there, struct log_fault *fault)
{
	struct strbuf content = STRBUF_INIT;
	enum status status = file_read(path, BUNDLE_BYTES_MAX, &content, NULL);

	*is_there = status == STATUS_OK;
	if (status == STATUS_NOT_FOUND) {
		status = STATUS_OK;
	} else if (status != STATUS_OK || content.length != size || memcmp(content.data, bytes, size) != 0) {
		fault->error = 0;
		snprintf(fault->text, sizeof(fault->text), "%s is damaged: it has not the entries of the log", path);
		status = STATUS_INVALID;
	}
	strbuf_release(&content);
	return status;
}

/* Makes durable and names what was begun; after the first failure the rest is given up. */
static enum status finish_files(struct log_tiles *tiles, struct log_fault *fault)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < tiles->file_count; i++) {
		if (status == STATUS_OK)
			status = log_io_finish(tiles->io, tiles->files[i].fd, tiles->files[i].path, fault);
		else
			log_io_abandon(tiles->io, tiles->files[i].fd, tiles->files[i].path);
	}
	for (size_t i = 0; i < tiles->file_count && status == STATUS_OK; i++) {
		cut_name(tiles->files[i].path);
		status = note_folder(tiles, tiles->files[i].path, fault);
	}
	tiles->file_count = 0;
	return status;
}

static void abandon_files(struct log_tiles *tiles)
{
	for (size_t i = 0; i < tiles->file_count; i++)
		log_io_abandon(tiles->io, tiles->files[i].fd, tiles->files[i].path);
	tiles->file_count = 0;
}

static enum status begin_file(struct log_tiles *tiles, const char *path, const char *folder, const void *bytes,
	size_t size, struct log_fault *fault)
{
	enum status status = tiles->file_count == FILES_MAX ? finish_files(tiles, fault) : STATUS_OK;
	int fd;

	if (status == STATUS_OK)
		status = log_io_begin(tiles->io, path, bytes, size, 0644, &fd, fault);
	if (status != STATUS_OK && fault->error == ENOENT) {
		status = make_folder(tiles, folder, fault);
		if (status == STATUS_OK)
			status = log_io_begin(tiles->io, path, bytes, size, 0644, &fd, fault);
	}
	if (status != STATUS_OK)
		return status;
	tiles->files[tiles->file_count].fd = fd;
	snprintf(tiles->files[tiles->file_count++].path, LOG_PATH_SIZE, "%s", path);
	return STATUS_OK;
}

static enum status write_tile(
	struct log_tiles *tiles, const struct tile *tile, const void *bytes, size_t size, struct log_fault *fault)
{
	char path[LOG_PATH_SIZE], folder[LOG_PATH_SIZE];
	bool is_there = false;
	enum status status = STATUS_OK;

	log_tiles_path(tiles, tile, path);
	snprintf(folder, sizeof(folder), "%s", path);
	cut_name(folder);
	if (tiles->is_replay && tile->width == TILE_WIDTH)
		status = check_same(path, bytes, size, &is_there, fault);
	if (status == STATUS_OK && !is_there)
		status = begin_file(tiles, path, folder, bytes, size, fault);
	/* One that is there may not be durable: it may be of a try that failed before its folder was synced. */
	return status == STATUS_OK && is_there ? note_folder(tiles, folder, fault) : status;
}

/* ---- the edge ---- */

static enum status write_full_bundle(struct log_tiles *tiles, struct edge *edge, struct log_fault *fault)
{
	struct tile tile = { .is_entries = true, .index = (edge->size - 1) / TILE_WIDTH, .width = TILE_WIDTH };

	if (!strbuf_ok(&edge->bundle))
		return STATUS_NO_MEMORY;
	return write_tile(tiles, &tile, edge->bundle.data, edge->bundle.length, fault);
}

/* The tile at this level became full: it is written, and its root is the next level's new hash. */
static enum status carry(struct log_tiles *tiles, struct edge *edge, struct log_fault *fault)
{
	for (unsigned int level = 0; edge->widths[level] == TILE_WIDTH; level++) {
		struct tile tile = {
			.level = level, .index = (edge->size >> (TILE_HEIGHT * (level + 1))) - 1, .width = TILE_WIDTH
		};
		enum status status = write_tile(tiles, &tile, edge->hashes[level], TILE_BYTES_MAX, fault);

		if (status != STATUS_OK)
			return status;
		must(level + 1 < TILE_LEVELS);
		merkle_root_of(edge->hashes[level], TILE_WIDTH, &edge->hashes[level + 1][edge->widths[level + 1]++]);
		edge->widths[level] = 0;
	}
	return STATUS_OK;
}

static enum status add_entries(
	struct log_tiles *tiles, struct edge *edge, const struct log_batch *batch, struct log_fault *fault)
{
	const uint8_t *at = batch->bytes;

	for (size_t i = 0; i < batch->count; i++) {
		size_t size = 2 + ((size_t)at[0] << 8 | at[1]);
		enum status status;

		strbuf_add(&edge->bundle, at, size);
		at += size;
		edge->hashes[0][edge->widths[0]++] = batch->leaves[i];
		edge->size++;
		if (edge->widths[0] < TILE_WIDTH)
			continue;
		status = write_full_bundle(tiles, edge, fault);
		if (status == STATUS_OK)
			status = carry(tiles, edge, fault);
		if (status != STATUS_OK)
			return status;
		strbuf_reset(&edge->bundle);
	}
	return strbuf_ok(&edge->bundle) ? STATUS_OK : STATUS_NO_MEMORY;
}

/* The partial tiles that are not on the disk already. */
static enum status write_partials(struct log_tiles *tiles, struct edge *edge, struct log_fault *fault)
{
	for (unsigned int level = 0; level < TILE_LEVELS; level++) {
		struct tile tile = { .level = level, .width = edge->widths[level] };
		enum status status;

		/* At the highest level there never is one, and its shift would be as wide as the number. */
		if (tile.width == 0)
			continue;
		tile.index = edge->size >> (TILE_HEIGHT * (level + 1));
		if (tile_width(tiles->now.size, level, tile.index) == tile.width)
			continue;
		status = write_tile(tiles, &tile, edge->hashes[level], tile.width * SHA256_SIZE, fault);
		if (status == STATUS_OK && level == 0) {
			tile.is_entries = true;
			status = write_tile(tiles, &tile, edge->bundle.data, edge->bundle.length, fault);
		}
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

void log_edge_range(const struct edge *edge, struct merkle_range *range_out)
{
	merkle_range_init(range_out);
	range_out->size = edge->size;
	for (unsigned int level = 0; level < MERKLE_LEVELS; level++) {
		unsigned int first, count;
		struct tile tile;

		if ((edge->size >> level & 1) == 0)
			continue;
		tile = tile_of_node(edge->size, level, (edge->size >> level) - 1, &first, &count);
		merkle_root_of(&edge->hashes[tile.level][first], count, &range_out->nodes[level]);
	}
}

static enum status write_checkpoint(struct log_tiles *tiles, const struct edge *edge, struct log_fault *fault)
{
	struct checkpoint checkpoint = { .size = edge->size };
	struct strbuf note = STRBUF_INIT;
	struct merkle_range range;
	char path[LOG_PATH_SIZE];
	enum status status;

	snprintf(checkpoint.origin, sizeof(checkpoint.origin), "%s", tiles->origin);
	log_edge_range(edge, &range);
	merkle_range_root(&range, &checkpoint.root);
	status = checkpoint_sign(&checkpoint, tiles->signer, &note);
	snprintf(path, sizeof(path), "%.900s/checkpoint", tiles->directory);
	if (status == STATUS_OK)
		status = log_io_replace(tiles->io, path, note.data, note.length, 0644, fault);
	if (status == STATUS_OK)
		status = log_io_sync_folder(tiles->io, tiles->directory, fault);
	strbuf_release(&note);
	return status;
}

/* ---- partial tiles whose time is over ---- */

static void remove_partial(struct log_tiles *tiles, const struct tile *tile)
{
	char path[LOG_PATH_SIZE];

	log_tiles_path(tiles, tile, path);
	(void)tiles->io->unlink(tiles->io->arg, path);
	cut_name(path);
	(void)rmdir(path); /* not while a wider one is in it */
}

static bool is_kept(const struct log_tiles *tiles, const struct tile *tile)
{
	for (size_t i = 0; i < KEPT_SIZES; i++) {
		if (tile_width(tiles->kept[i], tile->level, tile->index) == tile->width)
			return true;
	}
	return false;
}

/* Left over files do no harm: they are what the tree was; so a failure here is not one of the log. */
static void keep_size(struct log_tiles *tiles, uint64_t size)
{
	uint64_t old = tiles->kept[tiles->kept_next];

	tiles->kept[tiles->kept_next] = size;
	tiles->kept_next = (tiles->kept_next + 1) % KEPT_SIZES;
	for (unsigned int level = 0; level < TILE_LEVELS; level++) {
		struct tile tile = { .level = level, .index = tile_hashes(old, level) / TILE_WIDTH };

		tile.width = (unsigned int)(tile_hashes(old, level) % TILE_WIDTH);
		if (tile.width == 0 || is_kept(tiles, &tile))
			continue;
		remove_partial(tiles, &tile);
		tile.is_entries = level == 0;
		if (tile.is_entries)
			remove_partial(tiles, &tile);
	}
}

static enum status copy_edge(struct edge *to, const struct edge *from)
{
	strbuf_reset(&to->bundle);
	strbuf_add(&to->bundle, from->bundle.data, from->bundle.length);
	to->size = from->size;
	memcpy(to->widths, from->widths, sizeof(to->widths));
	for (unsigned int level = 0; level < TILE_LEVELS; level++)
		memcpy(to->hashes[level], from->hashes[level], from->widths[level] * sizeof(struct merkle_hash));
	return strbuf_ok(&to->bundle) ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status log_tiles_publish(
	struct log_tiles *tiles, const struct log_batch *batch, bool is_replay, struct log_fault *fault)
{
	struct edge *next = &tiles->next;
	enum status status = copy_edge(next, &tiles->now);
	struct edge old;

	must(batch->count == 0 || batch->first == tiles->now.size);
	tiles->is_replay = is_replay;
	if (status == STATUS_OK)
		status = add_entries(tiles, next, batch, fault);
	if (status == STATUS_OK)
		status = write_partials(tiles, next, fault);
	if (status == STATUS_OK)
		status = finish_files(tiles, fault);
	if (status == STATUS_OK)
		status = sync_folders(tiles, fault);
	if (status == STATUS_OK)
		status = write_checkpoint(tiles, next, fault);
	if (status != STATUS_OK) {
		abandon_files(tiles);
		if (status == STATUS_NO_MEMORY) {
			errno = ENOMEM;
			(void)log_fault_set(fault, "write tiles in", tiles->directory);
		}
		return status;
	}
	old = tiles->now;
	tiles->now = *next;
	tiles->next = old;
	tiles->has_checkpoint = true;
	keep_size(tiles, tiles->now.size);
	return STATUS_OK;
}

bool log_tiles_has_checkpoint(const struct log_tiles *tiles)
{
	return tiles->has_checkpoint;
}

uint64_t log_tiles_size(const struct log_tiles *tiles)
{
	return tiles->now.size;
}

void log_tiles_range(const struct log_tiles *tiles, struct merkle_range *range_out)
{
	log_edge_range(&tiles->now, range_out);
}

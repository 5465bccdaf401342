/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a log to write on: the signed checkpoint, the partial tiles of every
 * level, and the entries of the last bundle have to fit together before anything
 * is signed again.  What lies further left is for `homeward audit verify`: reading
 * all of a large log would keep a region from starting.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/must.h"
#include "policy/log_tiles_internal.h"

static enum status refuse(struct log_fault *fault, const char *path, const char *what)
{
	fault->error = 0;
	fault->is_sync = false;
	snprintf(fault->text, sizeof(fault->text), "%s is damaged: %s", path, what);
	return STATUS_INVALID;
}

static enum status read_tile(
	struct log_tiles *tiles, const struct tile *tile, struct strbuf *content, struct log_fault *fault)
{
	char path[LOG_PATH_SIZE];
	struct strbuf why = STRBUF_INIT;
	enum status status;

	log_tiles_path(tiles, tile, path);
	status = file_read(path, BUNDLE_BYTES_MAX, content, &why);
	if (status == STATUS_NOT_FOUND) {
		status = refuse(fault, path, "it is missing, and the checkpoint covers it");
	} else if (status != STATUS_OK) {
		fault->error = 0;
		snprintf(fault->text, sizeof(fault->text), "%s", why.data);
	}
	strbuf_release(&why);
	return status;
}

static enum status read_hashes(struct log_tiles *tiles, struct log_fault *fault)
{
	struct edge *edge = &tiles->now;
	struct strbuf content = STRBUF_INIT;
	enum status status = STATUS_OK;

	for (unsigned int level = 0; level < TILE_LEVELS && status == STATUS_OK; level++) {
		struct tile tile = { .level = level, .index = tile_hashes(edge->size, level) / TILE_WIDTH };
		char path[LOG_PATH_SIZE];

		tile.width = (unsigned int)(tile_hashes(edge->size, level) % TILE_WIDTH);
		edge->widths[level] = tile.width;
		if (tile.width == 0)
			continue;
		status = read_tile(tiles, &tile, &content, fault);
		if (status != STATUS_OK)
			break;
		log_tiles_path(tiles, &tile, path);
		if (content.length != tile.width * SHA256_SIZE)
			status = refuse(fault, path, "it has the wrong size");
		else
			memcpy(edge->hashes[level], content.data, content.length);
	}
	strbuf_release(&content);
	return status;
}

/* is_sound: the hashes are those of the checkpoint, so that it is the bundle that is wrong when they differ. */
static enum status read_bundle(struct log_tiles *tiles, bool is_sound, struct log_fault *fault)
{
	struct edge *edge = &tiles->now;
	struct tile tile = { .is_entries = true, .index = edge->size / TILE_WIDTH, .width = edge->widths[0] };
	struct bundle_reader reader;
	char path[LOG_PATH_SIZE];
	const char *entry;
	size_t size;
	enum status status;

	if (tile.width == 0)
		return STATUS_OK;
	status = read_tile(tiles, &tile, &edge->bundle, fault);
	if (status != STATUS_OK)
		return status;
	log_tiles_path(tiles, &tile, path);
	bundle_reader_init(&reader, edge->bundle.data, edge->bundle.length);
	for (unsigned int i = 0; i < tile.width; i++) {
		struct merkle_hash leaf;

		if (bundle_next(&reader, &entry, &size) != STATUS_OK)
			return refuse(fault, path, "it ends within its entries");
		merkle_leaf(entry, size, &leaf);
		if (merkle_equal(&leaf, &edge->hashes[0][i]))
			continue;
		if (is_sound)
			return refuse(fault, path, "an entry has not the hash it was logged with");
		tile.is_entries = false;
		log_tiles_path(tiles, &tile, path);
		return refuse(fault, path, "a hash is not that of its entry");
	}
	return reader.left == 0 ? STATUS_OK : refuse(fault, path, "it has more than its entries");
}

static enum status read_checkpoint(struct log_tiles *tiles, struct checkpoint *checkpoint, struct log_fault *fault)
{
	struct strbuf content = STRBUF_INIT, why = STRBUF_INIT;
	char path[LOG_PATH_SIZE];
	struct note note;
	enum status status;

	snprintf(path, sizeof(path), "%.900s/checkpoint", tiles->directory);
	status = file_read(path, NOTE_BYTES_MAX, &content, &why);
	if (status == STATUS_NOT_FOUND)
		goto out;
	tiles->has_checkpoint = true;
	if (status == STATUS_OK) {
		status = checkpoint_open(
			content.data, content.length, note_signer_verifier(tiles->signer), &note, checkpoint, &why);
		if (status != STATUS_OK)
			status = refuse(fault, path, strbuf_ok(&why) ? why.data : "out of memory");
	} else {
		fault->error = 0;
		snprintf(fault->text, sizeof(fault->text), "%s", why.data);
	}
out:
	strbuf_release(&content);
	strbuf_release(&why);
	return status;
}

static enum status read_all(struct log_tiles *tiles, struct log_fault *fault)
{
	struct checkpoint checkpoint;
	struct merkle_range range;
	struct merkle_hash root;
	char path[LOG_PATH_SIZE];
	enum status status = read_checkpoint(tiles, &checkpoint, fault);

	if (status == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (status != STATUS_OK)
		return status;
	tiles->now.size = checkpoint.size;
	status = read_hashes(tiles, fault);
	if (status != STATUS_OK)
		return status;
	log_tiles_range(tiles, &range);
	merkle_range_root(&range, &root);
	status = read_bundle(tiles, merkle_equal(&root, &checkpoint.root), fault);
	if (status != STATUS_OK)
		return status;
	snprintf(path, sizeof(path), "%.900s/checkpoint", tiles->directory);
	if (!merkle_equal(&root, &checkpoint.root))
		return refuse(fault, path, "its root is not that of the tiles");
	tiles->kept[KEPT_SIZES - 1] = checkpoint.size;
	return STATUS_OK;
}

enum status log_tiles_open(const struct log_io *io, const char *directory, const char *origin,
	const struct note_signer *signer, struct log_tiles **tiles_out, struct log_fault *fault)
{
	struct log_tiles *tiles = calloc(1, sizeof(*tiles));
	enum status status;

	*tiles_out = NULL;
	if (tiles == NULL)
		return STATUS_NO_MEMORY;
	tiles->io = io;
	tiles->signer = signer;
	snprintf(tiles->directory, sizeof(tiles->directory), "%s", directory);
	snprintf(tiles->origin, sizeof(tiles->origin), "%s", origin);
	strbuf_init(&tiles->now.bundle);
	strbuf_init(&tiles->next.bundle);
	status = read_all(tiles, fault);
	if (status == STATUS_OK)
		*tiles_out = tiles;
	else
		log_tiles_close(tiles);
	return status;
}

void log_tiles_close(struct log_tiles *tiles)
{
	if (tiles == NULL)
		return;
	strbuf_release(&tiles->now.bundle);
	strbuf_release(&tiles->next.bundle);
	free(tiles);
}

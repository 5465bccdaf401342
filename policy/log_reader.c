/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the log, by one checkpoint.  A partial tile that was asked for may
 * have been replaced by a wider one since the checkpoint was read: then its
 * beginning is taken from that, for tiles only ever grow.  A file that ends
 * early is damage and is told, never read as fewer entries.
 */
#include "policy/log_reader.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "policy/decimal.h"
#include "policy/log_proof.h"
#include "policy/log_reader_internal.h"

enum status log_reader_open(
	const char *directory, const struct note_verifier *verifier, struct log_reader **reader_out, struct strbuf *why)
{
	struct log_reader *reader = calloc(1, sizeof(*reader));
	enum status status = STATUS_NO_MEMORY;

	*reader_out = NULL;
	if (reader == NULL)
		return STATUS_NO_MEMORY;
	strbuf_init(&reader->note);
	strbuf_init(&reader->why);
	strbuf_init(&reader->bundle.bytes);
	reader->directory = strdup(directory);
	if (reader->directory == NULL)
		goto out;
	if (verifier != NULL) {
		reader->has_verifier = true;
		reader->verifier = *verifier;
	}
	status = log_reader_refresh(reader, why);
out:
	if (status != STATUS_OK) {
		log_reader_close(reader);
		return status;
	}
	*reader_out = reader;
	return STATUS_OK;
}

void log_reader_close(struct log_reader *reader)
{
	if (reader == NULL)
		return;
	strbuf_release(&reader->note);
	strbuf_release(&reader->why);
	strbuf_release(&reader->bundle.bytes);
	free(reader->directory);
	free(reader);
}

const struct checkpoint *log_reader_checkpoint(const struct log_reader *reader)
{
	return &reader->checkpoint;
}

const struct strbuf *log_reader_note(const struct log_reader *reader)
{
	return &reader->note;
}

static enum status open_note(
	const struct log_reader *reader, const struct strbuf *bytes, struct checkpoint *checkpoint, struct strbuf *why)
{
	enum status status;
	struct note note;

	if (reader->has_verifier)
		return checkpoint_open(bytes->data, bytes->length, &reader->verifier, &note, checkpoint, why);
	status = note_parse(bytes->data, bytes->length, &note, why);
	return status == STATUS_OK ? checkpoint_parse(note.text, note.text_size, checkpoint, why) : status;
}

enum status log_reader_refresh(struct log_reader *reader, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, bytes = STRBUF_INIT, reason = STRBUF_INIT;
	struct checkpoint checkpoint;
	enum status status = STATUS_NO_MEMORY;

	strbuf_addf(&path, "%s/" LOG_CHECKPOINT, reader->directory);
	if (!strbuf_ok(&path))
		goto out;
	status = file_read(path.data, NOTE_BYTES_MAX, &bytes, why);
	if (status != STATUS_OK)
		goto out;
	status = open_note(reader, &bytes, &checkpoint, &reason);
	if (status != STATUS_OK) {
		strbuf_addf(why, "%s: %s", path.data, reason.data);
		goto out;
	}
	if (checkpoint.size < reader->checkpoint.size) {
		strbuf_addf(why, "%s: its size is %" PRIu64 ", and was %" PRIu64 " before", path.data, checkpoint.size,
			reader->checkpoint.size);
		status = STATUS_INVALID;
		goto out;
	}
	strbuf_release(&reader->note);
	reader->note = bytes;
	strbuf_init(&bytes);
	reader->checkpoint = checkpoint;
out:
	strbuf_release(&path);
	strbuf_release(&bytes);
	strbuf_release(&reason);
	return status;
}

/* ---- tiles and bundles ---- */

/* Cuts a bundle to its first `width` entries; false when it has fewer or is torn. */
static bool cut_bundle(struct strbuf *bytes, unsigned int width, bool is_exact)
{
	struct bundle_reader reader;
	const char *entry;
	size_t size;

	bundle_reader_init(&reader, bytes->data, bytes->length);
	for (unsigned int i = 0; i < width; i++) {
		if (bundle_next(&reader, &entry, &size) != STATUS_OK)
			return false;
	}
	if (is_exact && reader.left != 0)
		return false;
	bytes->length -= reader.left;
	return true;
}

static bool cut_tile(struct strbuf *bytes, unsigned int width, bool is_exact)
{
	size_t size = (size_t)width * SHA256_SIZE;

	if (bytes->length < size || (is_exact && bytes->length != size))
		return false;
	bytes->length = size;
	return true;
}

static enum status read_file(struct log_reader *reader, const struct tile *file, unsigned int width,
	struct strbuf *bytes, struct strbuf *why)
{
	char name[TILE_PATH_SIZE];
	struct strbuf path = STRBUF_INIT;
	bool is_exact = file->width == width;
	enum status status;

	tile_path(file, name);
	strbuf_addf(&path, "%s/%s", reader->directory, name);
	if (!strbuf_ok(&path))
		return STATUS_NO_MEMORY;
	status = file_read(path.data, file->is_entries ? BUNDLE_BYTES_MAX : TILE_BYTES_MAX, bytes, why);
	if (status == STATUS_TOO_LARGE)
		status = STATUS_INVALID;
	if (status == STATUS_OK &&
		!(file->is_entries ? cut_bundle(bytes, width, is_exact) : cut_tile(bytes, width, is_exact))) {
		strbuf_addf(why, "%s is torn: it does not hold the %u %s of its name", path.data, file->width,
			file->is_entries ? "entries" : "hashes");
		status = STATUS_INVALID;
	}
	strbuf_release(&path);
	return status;
}

/* The narrowest partial file of the tile that is wider than it; 0 when there is none. */
static unsigned int find_wider(struct log_reader *reader, const struct tile *tile)
{
	struct tile partial = *tile;
	struct strbuf path = STRBUF_INIT;
	char name[TILE_PATH_SIZE];
	unsigned int found = 0;
	struct dirent *item;
	DIR *folder;

	partial.width = 1;
	tile_path(&partial, name);
	*strrchr(name, '/') = '\0';
	strbuf_addf(&path, "%s/%s", reader->directory, name);
	folder = strbuf_ok(&path) ? opendir(path.data) : NULL;
	strbuf_release(&path);
	if (folder == NULL)
		return 0;
	while ((item = readdir(folder)) != NULL) {
		uint64_t width;

		if (decimal_parse(item->d_name, strlen(item->d_name), &width) && width > tile->width &&
			width < TILE_WIDTH && (found == 0 || width < found))
			found = (unsigned int)width;
	}
	closedir(folder);
	return found;
}

enum status log_reader_read_tile(
	struct log_reader *reader, const struct tile *tile, struct strbuf *bytes, struct strbuf *why)
{
	struct strbuf ignored = STRBUF_INIT;
	struct tile file = *tile;
	enum status status;

	status = read_file(reader, &file, tile->width, bytes, why);
	if (status != STATUS_NOT_FOUND || tile->width == TILE_WIDTH)
		return status;
	file.width = TILE_WIDTH;
	status = read_file(reader, &file, tile->width, bytes, &ignored);
	if (status == STATUS_NOT_FOUND) {
		file.width = find_wider(reader, tile);
		if (file.width != 0)
			status = read_file(reader, &file, tile->width, bytes, &ignored);
	}
	/* What is told of a missing tile is the file it should have been. */
	if (status == STATUS_OK)
		strbuf_reset(why);
	else if (status != STATUS_NOT_FOUND) {
		strbuf_reset(why);
		strbuf_add(why, ignored.data, ignored.length);
	}
	strbuf_release(&ignored);
	return status;
}

static enum status read_node(void *arg, unsigned int level, uint64_t index, struct merkle_hash *hash_out)
{
	struct log_reader *reader = arg;
	unsigned int first, count;
	struct tile tile = tile_of_node(reader->checkpoint.size, level, index, &first, &count);
	struct strbuf bytes = STRBUF_INIT;
	enum status status = STATUS_OK;

	if (!reader->tiles[tile.level].is_there || reader->tiles[tile.level].index != tile.index ||
		reader->tiles[tile.level].width < tile.width) {
		reader->tiles[tile.level].is_there = false;
		strbuf_reset(&reader->why);
		status = log_reader_read_tile(reader, &tile, &bytes, &reader->why);
		if (status == STATUS_OK) {
			memcpy(reader->tiles[tile.level].hashes, bytes.data, bytes.length);
			reader->tiles[tile.level].is_there = true;
			reader->tiles[tile.level].index = tile.index;
			reader->tiles[tile.level].width = tile.width;
		}
		strbuf_release(&bytes);
	}
	if (status == STATUS_OK)
		merkle_root_of(&reader->tiles[tile.level].hashes[first], count, hash_out);
	/* A tile of the checkpoint's tree that is not there is damage, not an answer. */
	return status == STATUS_NOT_FOUND ? STATUS_INVALID : status;
}

struct merkle_reader log_reader_hashes(struct log_reader *reader)
{
	struct merkle_reader hashes = { read_node, reader };

	return hashes;
}

const char *log_reader_why(const struct log_reader *reader)
{
	return reader->why.data;
}

/* ---- entries ---- */

static enum status load_bundle(struct log_reader *reader, uint64_t index, struct strbuf *why)
{
	struct tile tile = { .is_entries = true, .index = index / TILE_WIDTH };
	enum status status;

	tile.width = tile_width(reader->checkpoint.size, 0, tile.index);
	if (reader->bundle.is_there && reader->bundle.index == tile.index && reader->bundle.width >= tile.width)
		return STATUS_OK;
	reader->bundle.is_there = false;
	status = log_reader_read_tile(reader, &tile, &reader->bundle.bytes, why);
	if (status != STATUS_OK)
		return status == STATUS_NOT_FOUND ? STATUS_INVALID : status;
	reader->bundle.is_there = true;
	reader->bundle.index = tile.index;
	reader->bundle.width = tile.width;
	return STATUS_OK;
}

enum status log_reader_each(struct log_reader *reader, uint64_t start, uint64_t end, log_reader_each_entry *each,
	void *arg, struct strbuf *why)
{
	uint64_t at = start;

	if (start > end || end > reader->checkpoint.size) {
		strbuf_addf(why, "the log has %" PRIu64 " entries", reader->checkpoint.size);
		return STATUS_NOT_FOUND;
	}
	while (at < end) {
		uint64_t index = at - at % TILE_WIDTH;
		struct bundle_reader bundle;
		const char *entry;
		size_t size;
		enum status status = load_bundle(reader, at, why);

		if (status != STATUS_OK)
			return status;
		bundle_reader_init(&bundle, reader->bundle.bytes.data, reader->bundle.bytes.length);
		for (; index < end && bundle_next(&bundle, &entry, &size) == STATUS_OK; index++) {
			if (index >= at && !each(arg, index, entry, size))
				return STATUS_OK;
		}
		at = index;
	}
	return STATUS_OK;
}

static bool keep_entry(void *arg, uint64_t index, const char *entry, size_t size)
{
	(void)index;
	strbuf_add(arg, entry, size);
	return true;
}

enum status log_reader_entry(struct log_reader *reader, uint64_t index, struct strbuf *entry, struct strbuf *why)
{
	enum status status;

	strbuf_reset(entry);
	if (index >= reader->checkpoint.size) {
		strbuf_addf(why, "the log has %" PRIu64 " entries, and the first is 0", reader->checkpoint.size);
		return STATUS_NOT_FOUND;
	}
	status = log_reader_each(reader, index, index + 1, keep_entry, entry, why);
	return status == STATUS_OK && !strbuf_ok(entry) ? STATUS_NO_MEMORY : status;
}

enum status log_reader_receipt(struct log_reader *reader, uint64_t index, struct strbuf *receipt, struct strbuf *why)
{
	struct merkle_reader hashes = log_reader_hashes(reader);
	struct strbuf entry = STRBUF_INIT;
	struct merkle_proof proof;
	struct merkle_hash leaf;
	enum status status;

	status = log_reader_entry(reader, index, &entry, why);
	if (status != STATUS_OK)
		goto out;
	status = merkle_prove_inclusion(&hashes, index, reader->checkpoint.size, &proof);
	if (status != STATUS_OK) {
		strbuf_adds(why, log_reader_why(reader));
		goto out;
	}
	/* A receipt that would not verify is not handed out. */
	merkle_leaf(entry.data, entry.length, &leaf);
	if (!merkle_inclusion_holds(
		    &leaf, index, reader->checkpoint.size, &reader->checkpoint.root, proof.hashes, proof.count)) {
		strbuf_addf(why, "%s: the entry, its tiles and the checkpoint do not agree", reader->directory);
		status = STATUS_INVALID;
		goto out;
	}
	log_proof_write(index, &proof, entry.data, entry.length, reader->note.data, reader->note.length, receipt);
	status = strbuf_ok(receipt) ? STATUS_OK : STATUS_NO_MEMORY;
out:
	strbuf_release(&entry);
	return status;
}

enum status log_reader_continues(
	struct log_reader *reader, const struct checkpoint *older, const char *name, struct strbuf *why)
{
	struct merkle_reader hashes = log_reader_hashes(reader);
	struct merkle_hash root;
	enum status status;

	if (strcmp(older->origin, reader->checkpoint.origin) != 0) {
		strbuf_addf(why, "%s is of another log, %s", name, older->origin);
		return STATUS_INVALID;
	}
	if (older->size > reader->checkpoint.size) {
		strbuf_addf(why, "%s has %" PRIu64 " entries, but the log in %s only %" PRIu64 ": its end was cut off",
			name, older->size, reader->directory, reader->checkpoint.size);
		return STATUS_INVALID;
	}
	status = merkle_root_read(&hashes, older->size, &root);
	if (status != STATUS_OK) {
		strbuf_adds(why, log_reader_why(reader));
		return status;
	}
	if (merkle_equal(&root, &older->root))
		return STATUS_OK;
	strbuf_addf(why, "%s is not the beginning of the log in %s: its first %" PRIu64 " entries were others", name,
		reader->directory, older->size);
	return STATUS_INVALID;
}

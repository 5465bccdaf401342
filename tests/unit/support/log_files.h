/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small log written straight to files, all partial tiles included, so that the
 * read side is tested against something other than our writer.  Everything is kept
 * in memory: logs here have some hundred entries.  All in this header, for not
 * every test may link policy.
 */
#ifndef SUPPORT_LOG_FILES_H
#define SUPPORT_LOG_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/must.h"
#include "policy/note.h"
#include "policy/tile.h"

#define LOG_FILES_ORIGIN "eu.test.example/access-log"

/* The key of every log made here; of its owner. */
static struct note_signer *log_files_signer(void)
{
	uint8_t seed[NOTE_SEED_SIZE];
	struct note_signer *signer;

	memset(seed, 7, sizeof(seed));
	must(note_signer_create(LOG_FILES_ORIGIN, seed, &signer) == STATUS_OK);
	return signer;
}

/* Entry `index` of every log made here; returns its size. */
static int log_files_entry(uint64_t index, char text[64])
{
	return snprintf(text, 64, "{\"v\":1,\"n\":%llu}", (unsigned long long)index);
}

static void put(const char *folder, const char *name, const void *bytes, size_t size)
{
	struct strbuf path = STRBUF_INIT, why = STRBUF_INIT;
	char *slash;

	strbuf_addf(&path, "%s/%s", folder, name);
	slash = strrchr(path.data, '/');
	*slash = '\0';
	must(file_make_folder(path.data, 0700, &why) == STATUS_OK);
	*slash = '/';
	must(file_replace(path.data, bytes, size, 0600, &why) == STATUS_OK);
	strbuf_release(&path);
	strbuf_release(&why);
}

static void put_bundles(const char *folder, uint64_t size)
{
	struct strbuf bytes = STRBUF_INIT;

	for (uint64_t index = 0; tile_width(size, 0, index) != 0; index++) {
		struct tile tile = { .is_entries = true, .index = index, .width = tile_width(size, 0, index) };
		char path[TILE_PATH_SIZE], entry[64];

		strbuf_reset(&bytes);
		for (unsigned int i = 0; i < tile.width; i++) {
			int length = log_files_entry(index * TILE_WIDTH + i, entry);

			strbuf_addc(&bytes, 0);
			strbuf_addc(&bytes, (char)length);
			strbuf_add(&bytes, entry, (size_t)length);
		}
		tile_path(&tile, path);
		put(folder, path, bytes.data, bytes.length);
	}
	strbuf_release(&bytes);
}

/* Writes all tiles and the checkpoint of a log of `size` entries into the folder. */
static void log_files_write(const char *folder, uint64_t size)
{
	struct merkle_hash *hashes = calloc(size + 1, sizeof(*hashes));
	struct checkpoint checkpoint = { .origin = LOG_FILES_ORIGIN, .size = size };
	struct note_signer *signer = log_files_signer();
	struct strbuf note = STRBUF_INIT;

	must(hashes != NULL);
	put_bundles(folder, size);
	for (uint64_t i = 0; i < size; i++) {
		char entry[64];
		int length = log_files_entry(i, entry);

		merkle_leaf(entry, (size_t)length, &hashes[i]);
	}
	merkle_root_of(hashes, size, &checkpoint.root);
	for (unsigned int level = 0; tile_hashes(size, level) != 0; level++) {
		for (uint64_t index = 0; tile_width(size, level, index) != 0; index++) {
			struct tile tile = { .level = level, .index = index, .width = tile_width(size, level, index) };
			char path[TILE_PATH_SIZE];

			tile_path(&tile, path);
			put(folder, path, hashes + index * TILE_WIDTH, (size_t)tile.width * SHA256_SIZE);
		}
		for (uint64_t i = 0; i < tile_hashes(size, level + 1); i++)
			merkle_root_of(hashes + i * TILE_WIDTH, TILE_WIDTH, &hashes[i]);
	}
	must(checkpoint_sign(&checkpoint, signer, &note) == STATUS_OK);
	put(folder, "checkpoint", note.data, note.length);
	strbuf_release(&note);
	note_signer_destroy(signer);
	free(hashes);
}

#endif

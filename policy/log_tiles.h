/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The write side of the access log's tiles, entry bundles and checkpoint.
 * Belongs to one thread: whoever opens the log, then the publisher.
 *
 * A checkpoint covers only what is in tiles on the disk; a full tile is written
 * once; a partial one lives until a few checkpoints later, so that who reads by an
 * older checkpoint still finds what it says.
 */
#ifndef POLICY_LOG_TILES_H
#define POLICY_LOG_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/log_io.h"
#include "policy/merkle.h"
#include "policy/note.h"

struct log_tiles;

/* Entries in order, as a bundle has them, and the hash of each. */
struct log_batch {
	uint64_t first; /* index of the first */
	size_t count;
	uint8_t *bytes;
	size_t size, capacity;
	struct merkle_hash *leaves;
	size_t leaves_capacity;
};

MUST_CHECK bool log_batch_add(struct log_batch *batch, const void *entry, size_t size);
void log_batch_release(struct log_batch *batch);

/*
 * Reads the checkpoint and the right edge of the tree, and refuses what does not fit together (STATUS_INVALID).
 * Without a checkpoint: an empty log, whose checkpoint the first log_tiles_publish() writes.
 */
MUST_CHECK enum status log_tiles_open(const struct log_io *io, const char *directory, const char *origin,
	const struct note_signer *signer, struct log_tiles **tiles_out, struct log_fault *fault);
void log_tiles_close(struct log_tiles *tiles);

bool log_tiles_has_checkpoint(const struct log_tiles *tiles);
uint64_t log_tiles_size(const struct log_tiles *tiles);
void log_tiles_range(const struct log_tiles *tiles, struct merkle_range *range_out);

/*
 * Writes the batch, which goes on where the tiles end, makes it durable and then signs the new checkpoint.  On a
 * failure nothing has changed but that some files are there already; the same batch may be tried again.
 * is_replay: full tiles that are there must have just this content.
 */
MUST_CHECK enum status log_tiles_publish(
	struct log_tiles *tiles, const struct log_batch *batch, bool is_replay, struct log_fault *fault);

#endif

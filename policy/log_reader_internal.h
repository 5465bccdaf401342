/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the reader share: reading files here, checking all of them in log_check.c. */
#ifndef POLICY_LOG_READER_INTERNAL_H
#define POLICY_LOG_READER_INTERNAL_H

#include "policy/log_reader.h"

struct log_reader {
	char *directory;
	bool has_verifier;
	struct note_verifier verifier;
	struct strbuf note;
	struct checkpoint checkpoint;
	struct strbuf why; /* of log_reader_hashes */
	/* The tile of each level that was read last: a walk from left to right reads each once. */
	struct {
		bool is_there;
		uint64_t index;
		unsigned int width;
		struct merkle_hash hashes[TILE_WIDTH];
	} tiles[TILE_LEVELS];
	struct {
		bool is_there;
		uint64_t index;
		unsigned int width;
		struct strbuf bytes;
	} bundle;
};

/* The tile's bytes into `bytes`, from the file of its width or from a wider one; exactly its width of them. */
MUST_CHECK enum status log_reader_read_tile(
	struct log_reader *reader, const struct tile *tile, struct strbuf *bytes, struct strbuf *why);

#endif

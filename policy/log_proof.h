/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A receipt: one entry's place in the log as a text that is checked offline
 * (c2sp.org/tlog-proof@v1).  The entry itself travels in the `extra` line, so a
 * receipt says by itself what was on record.  Pure; any thread.
 */
#ifndef POLICY_LOG_PROOF_H
#define POLICY_LOG_PROOF_H

#include "base/base64.h"
#include "policy/merkle.h"
#include "policy/note.h"
#include "policy/tile.h"

struct log_proof {
	uint64_t index;
	struct merkle_proof hashes;
	struct strbuf entry;    /* of the extra line; empty when there was none: its owner frees it */
	const char *checkpoint; /* the signed note, in the text that was read */
	size_t checkpoint_size;
};

#define LOG_PROOF_BYTES_MAX (NOTE_BYTES_MAX + BASE64_SIZE(ENTRY_BYTES_MAX) + 8192)

void log_proof_release(struct log_proof *proof);
/* entry_size 0: no extra line. */
void log_proof_write(uint64_t index, const struct merkle_proof *hashes, const char *entry, size_t entry_size,
	const char *checkpoint, size_t checkpoint_size, struct strbuf *text);
/* Takes it apart and believes nothing; release it whatever comes back. */
MUST_CHECK enum status log_proof_parse(const char *bytes, size_t size, struct log_proof *proof_out, struct strbuf *why);
/* Whether `entry` (NULL: that of the extra line) is at the proof's place in the tree of the checkpoint, and the
 * verifier signed that.  STATUS_INVALID with the reason. */
MUST_CHECK enum status log_proof_check(const struct log_proof *proof, const char *entry, size_t entry_size,
	const struct note_verifier *verifier, struct checkpoint *checkpoint_out, struct strbuf *why);

/* ---- the request with which a log asks a peer for its cosignature (C2SP tlog-witness) ---- */

struct add_checkpoint {
	uint64_t old_size;
	struct merkle_proof proof;
	const char *checkpoint; /* borrowed from the text */
	size_t checkpoint_size;
};

#define ADD_CHECKPOINT_BYTES_MAX (NOTE_BYTES_MAX + 8192)

void add_checkpoint_write(uint64_t old_size, const struct merkle_proof *proof, const char *checkpoint,
	size_t checkpoint_size, struct strbuf *text);
MUST_CHECK enum status add_checkpoint_parse(
	const char *bytes, size_t size, struct add_checkpoint *request_out, struct strbuf *why);

#endif

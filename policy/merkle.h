/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Merkle tree of RFC 6962 §2.1 over SHA-256: hashes, the compact range a
 * writer appends to, and proofs, made and checked.  Pure; any thread.
 *
 * A node is named by (level, index): the root of the perfect subtree over the
 * leaves [index << level, (index + 1) << level).  A tree of `size` leaves has
 * just the nodes that lie wholly inside it.  Sizes are below 2^63.
 */
#ifndef POLICY_MERKLE_H
#define POLICY_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

struct merkle_hash {
	uint8_t bytes[SHA256_SIZE];
};

#define MERKLE_LEVELS 63                    /* of nodes in any tree */
#define MERKLE_SIZE_MAX (UINT64_C(1) << 62) /* leaves; no log gets near it */
#define MERKLE_PROOF_MAX 64                 /* hashes in any proof */

void merkle_empty(struct merkle_hash *hash_out);
void merkle_leaf(const void *entry, size_t size, struct merkle_hash *hash_out);
void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right, struct merkle_hash *hash_out);
/* The root over these leaf or node hashes, as RFC 6962's MTH; merkle_empty() for none. */
void merkle_root_of(const struct merkle_hash *hashes, size_t count, struct merkle_hash *root_out);
bool merkle_equal(const struct merkle_hash *a, const struct merkle_hash *b);

/* ---- the compact range: all that is needed of a tree to append to it ---- */

struct merkle_range {
	uint64_t size;
	struct merkle_hash nodes[MERKLE_LEVELS]; /* nodes[l] counts when bit l of size is set */
};

void merkle_range_init(struct merkle_range *range);
/* size stays below MERKLE_SIZE_MAX: must(). */
void merkle_range_append(struct merkle_range *range, const struct merkle_hash *leaf);
void merkle_range_root(const struct merkle_range *range, struct merkle_hash *root_out);

/* ---- proofs ---- */

/* Reads one node of the tree; what it returns but STATUS_OK ends the work and is returned. */
struct merkle_reader {
	enum status (*read)(void *arg, unsigned int level, uint64_t index, struct merkle_hash *hash_out);
	void *arg;
};

struct merkle_proof {
	size_t count;
	struct merkle_hash hashes[MERKLE_PROOF_MAX];
};

/* The compact range of the tree's first `size` leaves, to go on appending to. */
MUST_CHECK enum status merkle_range_read(
	const struct merkle_reader *reader, uint64_t size, struct merkle_range *range_out);
MUST_CHECK enum status merkle_root_read(
	const struct merkle_reader *reader, uint64_t size, struct merkle_hash *root_out);
/* STATUS_INVALID: index is not below size. */
MUST_CHECK enum status merkle_prove_inclusion(
	const struct merkle_reader *reader, uint64_t index, uint64_t size, struct merkle_proof *proof_out);
/* STATUS_INVALID: not 0 < old_size <= new_size.  Nothing can be proved about the empty tree. */
MUST_CHECK enum status merkle_prove_consistency(
	const struct merkle_reader *reader, uint64_t old_size, uint64_t new_size, struct merkle_proof *proof_out);

/* Whether the proof shows that this leaf is at `index` in the tree of this size and root. */
bool merkle_inclusion_holds(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
	const struct merkle_hash *root, const struct merkle_hash *proof, size_t proof_count);
/* Whether it shows that the tree of old_size and old_root begins the one of new_size and new_root.  Never from size 0. */
bool merkle_consistency_holds(uint64_t old_size, const struct merkle_hash *old_root, uint64_t new_size,
	const struct merkle_hash *new_root, const struct merkle_hash *proof, size_t proof_count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 6962 §2.1: leaf = SHA-256(0x00 ‖ entry), node = SHA-256(0x01 ‖ left ‖
 * right), empty tree = SHA-256(""), and a tree splits at the largest power of two
 * below its size.  One leaf is hashed for every entry on the writer's thread, so
 * nothing here allocates: OpenSSL's plain SHA256 calls are used for that.
 *
 * Proofs are made from nodes of perfect subtrees only: a part of the tree that is
 * not perfect is folded from them here, so a reader can be a lookup in tiles.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_CTX: see above */
#include "policy/merkle.h"

#include <openssl/sha.h>
#include <string.h>

#include "base/must.h"

void merkle_empty(struct merkle_hash *hash_out)
{
	hash_sha256("", 0, hash_out->bytes);
}

void merkle_leaf(const void *entry, size_t size, struct merkle_hash *hash_out)
{
	SHA256_CTX state;

	must(SHA256_Init(&state) == 1);
	must(SHA256_Update(&state, "\0", 1) == 1);
	must(SHA256_Update(&state, entry, size) == 1);
	must(SHA256_Final(hash_out->bytes, &state) == 1);
}

void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right, struct merkle_hash *hash_out)
{
	SHA256_CTX state;

	must(SHA256_Init(&state) == 1);
	must(SHA256_Update(&state, "\1", 1) == 1);
	must(SHA256_Update(&state, left->bytes, SHA256_SIZE) == 1);
	must(SHA256_Update(&state, right->bytes, SHA256_SIZE) == 1);
	must(SHA256_Final(hash_out->bytes, &state) == 1);
}

bool merkle_equal(const struct merkle_hash *a, const struct merkle_hash *b)
{
	return memcmp(a->bytes, b->bytes, SHA256_SIZE) == 0;
}

void merkle_root_of(const struct merkle_hash *hashes, size_t count, struct merkle_hash *root_out)
{
	struct merkle_range range;

	merkle_range_init(&range);
	for (size_t i = 0; i < count; i++)
		merkle_range_append(&range, &hashes[i]);
	merkle_range_root(&range, root_out);
}

void merkle_range_init(struct merkle_range *range)
{
	memset(range, 0, sizeof(*range));
}

void merkle_range_append(struct merkle_range *range, const struct merkle_hash *leaf)
{
	struct merkle_hash hash = *leaf;
	unsigned int level = 0;

	must(range->size < MERKLE_SIZE_MAX);
	for (; (range->size >> level & 1) != 0; level++)
		merkle_node(&range->nodes[level], &hash, &hash);
	range->nodes[level] = hash;
	range->size++;
}

void merkle_range_root(const struct merkle_range *range, struct merkle_hash *root_out)
{
	bool has_any = false;

	if (range->size == 0) {
		merkle_empty(root_out);
		return;
	}
	for (unsigned int level = 0; level < MERKLE_LEVELS; level++) {
		if ((range->size >> level & 1) == 0)
			continue;
		if (has_any)
			merkle_node(&range->nodes[level], root_out, root_out);
		else
			*root_out = range->nodes[level];
		has_any = true;
	}
}

/* ---- making proofs ---- */

/* The hash of the leaves [start, end); start is a multiple of the largest power of two that is at most end - start. */
static enum status read_span(
	const struct merkle_reader *reader, uint64_t start, uint64_t end, struct merkle_hash *hash_out)
{
	uint64_t size = end - start;
	bool has_any = false;

	/* From the right: the smallest subtree is the last. */
	for (unsigned int level = 0; level < MERKLE_LEVELS; level++) {
		struct merkle_hash node;
		enum status status;

		if ((size >> level & 1) == 0)
			continue;
		end -= UINT64_C(1) << level;
		status = reader->read(reader->arg, level, end >> level, &node);
		if (status != STATUS_OK)
			return status;
		if (has_any)
			merkle_node(&node, hash_out, hash_out);
		else
			*hash_out = node;
		has_any = true;
	}
	return STATUS_OK;
}

enum status merkle_range_read(const struct merkle_reader *reader, uint64_t size, struct merkle_range *range_out)
{
	merkle_range_init(range_out);
	if (size > MERKLE_SIZE_MAX)
		return STATUS_INVALID;
	for (unsigned int level = 0; level < MERKLE_LEVELS; level++) {
		enum status status;

		if ((size >> level & 1) == 0)
			continue;
		status = reader->read(reader->arg, level, (size >> level) - 1, &range_out->nodes[level]);
		if (status != STATUS_OK)
			return status;
	}
	range_out->size = size;
	return STATUS_OK;
}

enum status merkle_root_read(const struct merkle_reader *reader, uint64_t size, struct merkle_hash *root_out)
{
	struct merkle_range range;
	enum status status = merkle_range_read(reader, size, &range);

	memset(root_out, 0, sizeof(*root_out));
	if (status == STATUS_OK)
		merkle_range_root(&range, root_out);
	return status;
}

/* Where a tree of `size` leaves splits: the largest power of two below it; size > 1. */
static uint64_t split_of(uint64_t size)
{
	return UINT64_C(1) << (63 - __builtin_clzll(size - 1));
}

static void reverse(struct merkle_proof *proof)
{
	for (size_t i = 0, k = proof->count; i + 1 < k; i++) {
		struct merkle_hash kept = proof->hashes[i];

		k--;
		proof->hashes[i] = proof->hashes[k];
		proof->hashes[k] = kept;
	}
}

static enum status add_span(
	const struct merkle_reader *reader, uint64_t start, uint64_t end, struct merkle_proof *proof)
{
	must(proof->count < MERKLE_PROOF_MAX);
	return read_span(reader, start, end, &proof->hashes[proof->count++]);
}

enum status merkle_prove_inclusion(
	const struct merkle_reader *reader, uint64_t index, uint64_t size, struct merkle_proof *proof_out)
{
	uint64_t start = 0, end = size;

	proof_out->count = 0;
	if (index >= size || size > MERKLE_SIZE_MAX)
		return STATUS_INVALID;
	while (end - start > 1) {
		uint64_t middle = start + split_of(end - start);
		enum status status;

		if (index < middle) {
			status = add_span(reader, middle, end, proof_out);
			end = middle;
		} else {
			status = add_span(reader, start, middle, proof_out);
			start = middle;
		}
		if (status != STATUS_OK)
			return status;
	}
	reverse(proof_out);
	return STATUS_OK;
}

enum status merkle_prove_consistency(
	const struct merkle_reader *reader, uint64_t old_size, uint64_t new_size, struct merkle_proof *proof_out)
{
	uint64_t start = 0, end = new_size;
	enum status status;

	proof_out->count = 0;
	if (old_size == 0 || old_size > new_size || new_size > MERKLE_SIZE_MAX)
		return STATUS_INVALID;
	while (end != old_size) {
		uint64_t middle = start + split_of(end - start);

		if (old_size <= middle) {
			status = add_span(reader, middle, end, proof_out);
			end = middle;
		} else {
			status = add_span(reader, start, middle, proof_out);
			start = middle;
		}
		if (status != STATUS_OK)
			return status;
	}
	/* What is left is a subtree of both; the verifier knows it when it is the whole old tree. */
	if (start != 0) {
		status = add_span(reader, start, end, proof_out);
		if (status != STATUS_OK)
			return status;
	}
	reverse(proof_out);
	return STATUS_OK;
}

/* ---- checking proofs: RFC 9162 §2.1.3.2 and §2.1.4.2 ---- */

bool merkle_inclusion_holds(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
	const struct merkle_hash *root, const struct merkle_hash *proof, size_t proof_count)
{
	struct merkle_hash hash = *leaf;
	uint64_t node = index, last = size - 1;

	if (index >= size)
		return false;
	for (size_t i = 0; i < proof_count; i++) {
		if (last == 0)
			return false;
		if ((node & 1) != 0 || node == last) {
			merkle_node(&proof[i], &hash, &hash);
			while ((node & 1) == 0 && node != 0) {
				node >>= 1;
				last >>= 1;
			}
		} else {
			merkle_node(&hash, &proof[i], &hash);
		}
		node >>= 1;
		last >>= 1;
	}
	return last == 0 && merkle_equal(&hash, root);
}

bool merkle_consistency_holds(uint64_t old_size, const struct merkle_hash *old_root, uint64_t new_size,
	const struct merkle_hash *new_root, const struct merkle_hash *proof, size_t proof_count)
{
	bool is_perfect = (old_size & (old_size - 1)) == 0; /* then its root is a node, and is not in the proof */
	struct merkle_hash old_hash, new_hash;
	uint64_t node = old_size - 1, last = new_size - 1;
	size_t next = is_perfect ? 0 : 1;

	if (old_size == 0 || old_size > new_size)
		return false;
	if (old_size == new_size)
		return proof_count == 0 && merkle_equal(old_root, new_root);
	if (proof_count == 0)
		return false;
	old_hash = is_perfect ? *old_root : proof[0];
	new_hash = old_hash;
	while ((node & 1) != 0) {
		node >>= 1;
		last >>= 1;
	}
	for (; next < proof_count; next++) {
		if (last == 0)
			return false;
		if ((node & 1) != 0 || node == last) {
			merkle_node(&proof[next], &old_hash, &old_hash);
			merkle_node(&proof[next], &new_hash, &new_hash);
			while ((node & 1) == 0 && node != 0) {
				node >>= 1;
				last >>= 1;
			}
		} else {
			merkle_node(&new_hash, &proof[next], &new_hash);
		}
		node >>= 1;
		last >>= 1;
	}
	return last == 0 && merkle_equal(&old_hash, old_root) && merkle_equal(&new_hash, new_root);
}

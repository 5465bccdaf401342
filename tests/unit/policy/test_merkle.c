/* SPDX-License-Identifier: Apache-2.0 */
/* The tree is RFC 6962's: known hashes and roots, the public proof vectors, and all proofs of small trees. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <jansson.h>

#include "base/base64.h"
#include "base/strbuf.h"
#include "policy/merkle.h"

static void assert_hex(const struct merkle_hash *hash, const char *expected)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_add_hex(&text, hash->bytes, sizeof(hash->bytes));
	assert_string_equal(text.data, expected);
	strbuf_release(&text);
}

static void the_hashes_are_those_of_the_rfc(void **state)
{
	struct merkle_hash hash;

	(void)state;
	merkle_empty(&hash);
	assert_hex(&hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	merkle_leaf("", 0, &hash);
	assert_hex(&hash, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
	merkle_leaf("L123456", 7, &hash);
	assert_hex(&hash, "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56");
}

/* The tree of eight leaves that implementations compare with each other. */
static const struct {
	const char *bytes;
	size_t size;
	const char *root; /* with this leaf the last */
} leaves[] = {
	{ "", 0, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" },
	{ "\x00", 1, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125" },
	{ "\x10", 1, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77" },
	{ "\x20\x21", 2, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7" },
	{ "\x30\x31", 2, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4" },
	{ "\x40\x41\x42\x43", 4, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef" },
	{ "\x50\x51\x52\x53\x54\x55\x56\x57", 8, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c" },
	{ "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16,
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328" },
};

static void the_known_tree_has_the_known_roots(void **state)
{
	struct merkle_hash hashes[8], root;
	struct merkle_range range;

	(void)state;
	merkle_range_init(&range);
	merkle_range_root(&range, &root);
	assert_hex(&root, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	for (size_t i = 0; i < 8; i++) {
		merkle_leaf(leaves[i].bytes, leaves[i].size, &hashes[i]);
		merkle_range_append(&range, &hashes[i]);
		merkle_range_root(&range, &root);
		assert_hex(&root, leaves[i].root);
		merkle_root_of(hashes, i + 1, &root);
		assert_hex(&root, leaves[i].root);
	}
}

/* ---- all proofs of trees of up to LEAVES leaves, against a root written as the RFC defines it ---- */

#define LEAVES 70

static struct merkle_hash all[LEAVES];

static void define_root(size_t start, size_t end, struct merkle_hash *out)
{
	struct merkle_hash left, right;
	size_t split = 1;

	if (end - start == 1) {
		*out = all[start];
		return;
	}
	while (split * 2 < end - start)
		split *= 2;
	define_root(start, start + split, &left);
	define_root(start + split, end, &right);
	merkle_node(&left, &right, out);
}

static enum status read_node(void *arg, unsigned int level, uint64_t index, struct merkle_hash *out)
{
	uint64_t size = *(const uint64_t *)arg;

	/* A proof may only ask for what lies wholly inside its tree. */
	assert_true(index + 1 <= size >> level);
	define_root((size_t)(index << level), (size_t)((index + 1) << level), out);
	return STATUS_OK;
}

static int set_up_leaves(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEAVES; i++) {
		char text[16];
		int size = snprintf(text, sizeof(text), "leaf %zu", i);

		merkle_leaf(text, (size_t)size, &all[i]);
	}
	return 0;
}

static void every_inclusion_proof_holds_and_no_altered_one(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= LEAVES; size++) {
		struct merkle_reader reader = { read_node, &size };
		struct merkle_hash root, read_root;
		struct merkle_proof proof;

		define_root(0, (size_t)size, &root);
		assert_int_equal(merkle_root_read(&reader, size, &read_root), STATUS_OK);
		assert_true(merkle_equal(&root, &read_root));
		for (uint64_t index = 0; index < size; index++) {
			assert_int_equal(merkle_prove_inclusion(&reader, index, size, &proof), STATUS_OK);
			assert_true(merkle_inclusion_holds(&all[index], index, size, &root, proof.hashes, proof.count));
			assert_false(
				merkle_inclusion_holds(&all[index], index + 1, size, &root, proof.hashes, proof.count));
			for (size_t i = 0; i < proof.count; i++) {
				proof.hashes[i].bytes[i % SHA256_SIZE] ^= 1;
				assert_false(merkle_inclusion_holds(
					&all[index], index, size, &root, proof.hashes, proof.count));
				proof.hashes[i].bytes[i % SHA256_SIZE] ^= 1;
				assert_false(merkle_inclusion_holds(&all[index], index, size, &root, proof.hashes, i));
			}
		}
		assert_int_equal(merkle_prove_inclusion(&reader, size, size, &proof), STATUS_INVALID);
	}
}

static void every_consistency_proof_holds_and_no_altered_one(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= LEAVES; size++) {
		struct merkle_reader reader = { read_node, &size };
		struct merkle_hash old_root, root;
		struct merkle_proof proof;

		define_root(0, (size_t)size, &root);
		for (uint64_t old = 1; old <= size; old++) {
			define_root(0, (size_t)old, &old_root);
			assert_int_equal(merkle_prove_consistency(&reader, old, size, &proof), STATUS_OK);
			assert_true(merkle_consistency_holds(old, &old_root, size, &root, proof.hashes, proof.count));
			for (size_t i = 0; i < proof.count; i++) {
				proof.hashes[i].bytes[i % SHA256_SIZE] ^= 0x80;
				assert_false(merkle_consistency_holds(
					old, &old_root, size, &root, proof.hashes, proof.count));
				proof.hashes[i].bytes[i % SHA256_SIZE] ^= 0x80;
			}
			old_root.bytes[3] ^= 4;
			assert_false(merkle_consistency_holds(old, &old_root, size, &root, proof.hashes, proof.count));
		}
		assert_int_equal(merkle_prove_consistency(&reader, 0, size, &proof), STATUS_INVALID);
		assert_int_equal(merkle_prove_consistency(&reader, size + 1, size, &proof), STATUS_INVALID);
	}
}

static void a_range_read_back_goes_on_as_if_never_interrupted(void **state)
{
	uint64_t size = LEAVES;
	struct merkle_reader reader = { read_node, &size };

	(void)state;
	for (uint64_t start = 0; start <= LEAVES; start++) {
		struct merkle_range range;
		struct merkle_hash root, expected;

		assert_int_equal(merkle_range_read(&reader, start, &range), STATUS_OK);
		for (uint64_t i = start; i < LEAVES; i++)
			merkle_range_append(&range, &all[i]);
		merkle_range_root(&range, &root);
		define_root(0, LEAVES, &expected);
		assert_true(merkle_equal(&root, &expected));
	}
}

/* ---- the public vectors ---- */

static unsigned int held, refused, wrong;

/* A hash of a wrong length is one of the ways a proof is wrong, and cannot be given to us at all.  Some roots are a
 * short text instead, which only has to differ from the others. */
static bool read_hash(const json_t *text, bool is_root, struct merkle_hash *out)
{
	size_t size = 0;
	const char *base64 = json_string_value(text);

	memset(out, 0, sizeof(*out));
	return base64 != NULL &&
	       base64_decode(base64, strlen(base64), out->bytes, sizeof(out->bytes), &size) == STATUS_OK &&
	       (size == sizeof(out->bytes) || (is_root && size > 0));
}

static uint64_t read_number(const json_t *vector, const char *name)
{
	const json_t *number = json_object_get(vector, name);

	assert_non_null(number);
	/* 2^64 - 1 is past the library's integers; no other number is. */
	return json_is_real(number) ? UINT64_MAX : (uint64_t)json_integer_value(number);
}

static bool holds(const json_t *vector)
{
	const json_t *proof = json_object_get(vector, "proof");
	struct merkle_hash hashes[MERKLE_PROOF_MAX], leaf, root, old_root;
	size_t count = json_array_size(proof);

	assert_true(count <= MERKLE_PROOF_MAX);
	for (size_t i = 0; i < count; i++) {
		if (!read_hash(json_array_get(proof, i), false, &hashes[i]))
			return false;
	}
	if (json_object_get(vector, "leafIdx") != NULL)
		return read_hash(json_object_get(vector, "leafHash"), false, &leaf) &&
		       read_hash(json_object_get(vector, "root"), true, &root) &&
		       merkle_inclusion_holds(&leaf, read_number(vector, "leafIdx"), read_number(vector, "treeSize"),
			       &root, hashes, count);
	return read_hash(json_object_get(vector, "root1"), true, &old_root) &&
	       read_hash(json_object_get(vector, "root2"), true, &root) &&
	       merkle_consistency_holds(
		       read_number(vector, "size1"), &old_root, read_number(vector, "size2"), &root, hashes, count);
}

static int check_vector(const char *path, const struct stat *facts, int kind, struct FTW *place)
{
	json_t *vector;
	bool expected;

	(void)facts;
	(void)place;
	if (kind != FTW_F || strstr(path, ".json") == NULL)
		return 0;
	vector = json_load_file(path, 0, NULL);
	if (vector == NULL)
		vector = json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL);
	assert_non_null(vector);
	expected = !json_is_true(json_object_get(vector, "wantErr"));
	if (holds(vector) != expected) {
		wrong++;
		print_error("%s: %s\n", path, json_string_value(json_object_get(vector, "desc")));
	} else if (expected) {
		held++;
	} else {
		refused++;
	}
	json_decref(vector);
	return 0;
}

static void the_public_vectors_give_the_result_they_state(void **state)
{
	const char *data = getenv("DATA");
	char folder[4096];

	(void)state;
	snprintf(folder, sizeof(folder), "%s/merkle-vectors", data != NULL ? data : "../shared/data");
	if (access(folder, R_OK) != 0) {
		print_message("skipped: no %s (set DATA to the folder with merkle-vectors)\n", folder);
		skip();
	}
	assert_int_equal(nftw(folder, check_vector, 16, FTW_PHYS), 0);
	assert_int_equal(wrong, 0);
	assert_int_equal(held, 12);
	assert_int_equal(refused, 184);
}

static void nothing_is_consistent_with_the_empty_tree(void **state)
{
	struct merkle_hash empty, root;

	(void)state;
	merkle_empty(&empty);
	merkle_leaf("", 0, &root);
	assert_false(merkle_consistency_holds(0, &empty, 0, &empty, NULL, 0));
	assert_false(merkle_consistency_holds(0, &empty, 1, &root, NULL, 0));
	assert_false(merkle_consistency_holds(0, &empty, 1, &root, &root, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hashes_are_those_of_the_rfc),
		cmocka_unit_test(the_known_tree_has_the_known_roots),
		cmocka_unit_test(every_inclusion_proof_holds_and_no_altered_one),
		cmocka_unit_test(every_consistency_proof_holds_and_no_altered_one),
		cmocka_unit_test(a_range_read_back_goes_on_as_if_never_interrupted),
		cmocka_unit_test(the_public_vectors_give_the_result_they_state),
		cmocka_unit_test(nothing_is_consistent_with_the_empty_tree),
	};

	return cmocka_run_group_tests(tests, set_up_leaves, NULL);
}

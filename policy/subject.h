/* SPDX-License-Identifier: Apache-2.0 */
/* Subjects: keyed hashes that stand for object ids in the access log and in the names of rows. */
#ifndef POLICY_SUBJECT_H
#define POLICY_SUBJECT_H

#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_CTX: see subject.c */
#include <openssl/sha.h>

#include "policy/entry.h"
#include "policy/policy.h"
#include "policy/pseudonym_text.h"

#define SUBJECT_DIGEST_SIZE 16

struct subject_key {
	SHA256_CTX inner, outer;
};

void subject_key_init(struct subject_key *subject, const uint8_t key[32]);
/* The first half of HMAC-SHA-256(key, prefix "<type>\n<id>"). */
void subject_key_digest(const struct subject_key *subject, const char *prefix, const struct object_id *object,
	uint8_t digest_out[SUBJECT_DIGEST_SIZE]);
/* prefix and the digest in hex; 2 * SUBJECT_DIGEST_SIZE + 1 bytes more than the prefix. */
void subject_digest_text(const char *prefix, const uint8_t digest[SUBJECT_DIGEST_SIZE], char *text);
void subject_key_hash(const struct subject_key *subject, const struct object_id *object, char text[SUBJECT_HASH_SIZE]);
void subject_key_release(struct subject_key *subject);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Subjects: keyed hashes that stand for object ids in the access log. */
#ifndef POLICY_SUBJECT_H
#define POLICY_SUBJECT_H

#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_CTX: see subject.c */
#include <openssl/sha.h>

#include "policy/policy.h"

struct subject_key {
	SHA256_CTX inner, outer;
};

void subject_key_init(struct subject_key *subject, const uint8_t key[32]);
void subject_key_hash(const struct subject_key *subject, const struct object_id *object, char text[SUBJECT_HASH_SIZE]);
void subject_key_release(struct subject_key *subject);

#endif

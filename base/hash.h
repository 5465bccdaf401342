/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes.  hash_key64 (XXH3) is for tables and shards only; everything that
 * protects something is OpenSSL's SHA-256 or HMAC-SHA-256.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define SHA256_SIZE 32

uint64_t hash_key64(const void *bytes, size_t size, uint64_t seed);
void hash_sha256(const void *bytes, size_t size, uint8_t digest[SHA256_SIZE]);
void hash_hmac_sha256(const void *key, size_t key_size, const void *bytes, size_t size, uint8_t digest[SHA256_SIZE]);
/* Compares in constant time. */
bool hash_equal(const void *a, const void *b, size_t size);

#endif

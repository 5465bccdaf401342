/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thin adapters over xxHash and OpenSSL.  A failure inside OpenSSL here means a
 * broken installation, so it is a must().
 */
#include "base/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <xxhash.h>

#include "base/must.h"

uint64_t hash_key64(const void *bytes, size_t size, uint64_t seed)
{
	return XXH3_64bits_withSeed(bytes, size, seed);
}

void hash_sha256(const void *bytes, size_t size, uint8_t digest[SHA256_SIZE])
{
	must(SHA256(bytes, size, digest) != NULL);
}

void hash_hmac_sha256(const void *key, size_t key_size, const void *bytes, size_t size, uint8_t digest[SHA256_SIZE])
{
	unsigned int length = 0;

	must(HMAC(EVP_sha256(), key, (int)key_size, bytes, size, digest, &length) != NULL);
	must(length == SHA256_SIZE);
}

bool hash_equal(const void *a, const void *b, size_t size)
{
	return CRYPTO_memcmp(a, b, size) == 0;
}

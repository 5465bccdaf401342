/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC-SHA-256 (RFC 2104) with the two padded key blocks hashed once, so that a
 * subject costs two or three compressions and no allocation; it is made for
 * every crossing.  OpenSSL calls the plain SHA256 functions deprecated, but its
 * replacement allocates and locks for every copy of a state.  The test compares
 * with OpenSSL's own HMAC.
 */
#include "policy/subject.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/must.h"
#include "base/random.h"

#define BLOCK_SIZE 64
#define KEY_SIZE 32

static void start(SHA256_CTX *state, const uint8_t key[KEY_SIZE], uint8_t pad)
{
	uint8_t block[BLOCK_SIZE];

	memset(block, pad, sizeof(block));
	for (size_t i = 0; i < KEY_SIZE; i++)
		block[i] ^= key[i];
	must(SHA256_Init(state) == 1);
	must(SHA256_Update(state, block, sizeof(block)) == 1);
	OPENSSL_cleanse(block, sizeof(block));
}

void subject_key_init(struct subject_key *subject, const uint8_t key[KEY_SIZE])
{
	start(&subject->inner, key, 0x36);
	start(&subject->outer, key, 0x5c);
}

void subject_key_release(struct subject_key *subject)
{
	OPENSSL_cleanse(subject, sizeof(*subject));
}

void subject_key_digest(const struct subject_key *subject, const char *prefix, const struct object_id *object,
	uint8_t digest_out[SUBJECT_DIGEST_SIZE])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA256_CTX state = subject->inner;

	must(SHA256_Update(&state, prefix, strlen(prefix)) == 1);
	must(SHA256_Update(&state, object->type, strlen(object->type)) == 1);
	must(SHA256_Update(&state, "\n", 1) == 1);
	must(SHA256_Update(&state, object->id, strlen(object->id)) == 1);
	must(SHA256_Final(digest, &state) == 1);
	state = subject->outer;
	must(SHA256_Update(&state, digest, sizeof(digest)) == 1);
	must(SHA256_Final(digest, &state) == 1);
	memcpy(digest_out, digest, SUBJECT_DIGEST_SIZE);
}

void subject_digest_text(const char *prefix, const uint8_t digest[SUBJECT_DIGEST_SIZE], char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t at = strlen(prefix);

	memcpy(text, prefix, at);
	for (size_t i = 0; i < SUBJECT_DIGEST_SIZE; i++) {
		text[at++] = digits[digest[i] >> 4];
		text[at++] = digits[digest[i] & 15];
	}
	text[at] = '\0';
}

void subject_key_hash(const struct subject_key *subject, const struct object_id *object, char text[SUBJECT_HASH_SIZE])
{
	uint8_t digest[SUBJECT_DIGEST_SIZE];

	subject_key_digest(subject, "", object, digest);
	subject_digest_text("k1.", digest, text);
}

void pseudonym_write(const uint8_t key[KEY_SIZE], const struct object_id *object, char subject[ENTRY_SUBJECT_SIZE])
{
	uint8_t digest[SUBJECT_DIGEST_SIZE];
	struct subject_key state;

	subject_key_init(&state, key);
	subject_key_digest(&state, "p1\n", object, digest);
	subject_digest_text("p1.", digest, subject);
	subject_key_release(&state);
}

void pseudonym_write_epoch(
	const uint8_t key[KEY_SIZE], uint32_t epoch, const struct object_id *object, char subject[ENTRY_SUBJECT_SIZE])
{
	uint8_t digest[SUBJECT_DIGEST_SIZE];
	struct subject_key state;
	char prefix[16];

	subject_key_init(&state, key);
	subject_key_digest(&state, "u1\n", object, digest);
	snprintf(prefix, sizeof(prefix), "u1.%u.", epoch);
	subject_digest_text(prefix, digest, subject);
	subject_key_release(&state);
}

void access_log_subject(const uint8_t key[KEY_SIZE], const struct object_id *object, char text[SUBJECT_HASH_SIZE])
{
	struct subject_key subject;

	subject_key_init(&subject, key);
	subject_key_hash(&subject, object, text);
	subject_key_release(&subject);
}

enum status access_key_load(const char *path, uint8_t key[KEY_SIZE], struct strbuf *why)
{
	struct strbuf content = STRBUF_INIT;
	enum status status;

	memset(key, 0, KEY_SIZE);
	status = file_read(path, KEY_SIZE + 1, &content, why);
	if (status == STATUS_NOT_FOUND) {
		strbuf_reset(why);
		random_fill(random_system(), key, KEY_SIZE);
		status = file_replace(path, key, KEY_SIZE, 0600, why);
	} else if (status == STATUS_OK && content.length == KEY_SIZE) {
		memcpy(key, content.data, KEY_SIZE);
	} else if (status == STATUS_OK || status == STATUS_TOO_LARGE) {
		strbuf_reset(why);
		strbuf_addf(why, "%s: an access key is %d bytes", path, KEY_SIZE);
		status = STATUS_INVALID;
	}
	strbuf_wipe(&content);
	return status;
}

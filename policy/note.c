/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and signed notes.  A note is split at its last empty line; every line
 * after it must be a signature line, and lines by keys nobody asked about are
 * passed over, so that a new kind of signature can be added beside an old one.
 * Base 64 is decoded strictly, so a signature has one spelling.
 */
#include "policy/note.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/must.h"
#include "base/random.h"
#include "base/utf8.h"

#define ID_SIZE 4
#define ED25519_SIZE 64
#define TIME_SIZE 8
#define DASH "\xe2\x80\x94 " /* em dash and a space */

struct note_signer {
	EVP_PKEY *key;
	struct note_verifier verifier;
};

static enum status complain(struct strbuf *why, const char *what)
{
	if (why != NULL)
		strbuf_adds(why, what);
	return STATUS_INVALID;
}

/* ---- keys ---- */

/* Only printable ASCII but the plus: narrower than the standard, which nobody's region name needs. */
static bool is_name(const char *name, size_t size)
{
	if (size == 0 || size >= NOTE_NAME_SIZE)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (name[i] <= ' ' || name[i] == '+' || name[i] == 0x7f)
			return false;
	}
	return true;
}

bool note_name_is_valid(const char *name)
{
	return is_name(name, strlen(name));
}

static void set_id(struct note_verifier *verifier)
{
	uint8_t digest[SHA256_SIZE];
	uint8_t bytes[NOTE_NAME_SIZE + 2 + sizeof(verifier->public_key)];
	size_t size = strlen(verifier->name);

	memcpy(bytes, verifier->name, size);
	bytes[size++] = '\n';
	bytes[size++] = (uint8_t)verifier->type;
	memcpy(bytes + size, verifier->public_key, sizeof(verifier->public_key));
	hash_sha256(bytes, size + sizeof(verifier->public_key), digest);
	memcpy(verifier->id, digest, ID_SIZE);
}

void note_verifier_as(const struct note_verifier *verifier, enum note_type type, struct note_verifier *verifier_out)
{
	*verifier_out = *verifier;
	verifier_out->type = type;
	set_id(verifier_out);
}

void note_verifier_write(const struct note_verifier *verifier, struct strbuf *text)
{
	uint8_t bytes[1 + sizeof(verifier->public_key)];

	bytes[0] = (uint8_t)verifier->type;
	memcpy(bytes + 1, verifier->public_key, sizeof(verifier->public_key));
	strbuf_addf(text, "%s+", verifier->name);
	strbuf_add_hex(text, verifier->id, ID_SIZE);
	strbuf_addc(text, '+');
	base64_encode(bytes, sizeof(bytes), text);
}

enum status note_verifier_parse(const char *vkey, struct note_verifier *verifier_out, struct strbuf *why)
{
	const char *id = strchr(vkey, '+');
	const char *key = id == NULL ? NULL : strchr(id + 1, '+');
	uint8_t bytes[1 + sizeof(verifier_out->public_key)];
	struct note_verifier verifier = { .type = NOTE_ED25519 };
	uint8_t given[ID_SIZE];
	size_t size;

	memset(verifier_out, 0, sizeof(*verifier_out));
	if (key == NULL || key - id != 1 + 2 * ID_SIZE)
		return complain(why, "a verifier key is written name+key id+base64");
	if (!is_name(vkey, (size_t)(id - vkey)))
		return complain(why, "the verifier key's name is empty, too long or not printable ASCII");
	for (size_t i = 0; i < ID_SIZE; i++) {
		int high = hex_digit(id[1 + 2 * i]), low = hex_digit(id[2 + 2 * i]);

		if (high < 0 || low < 0)
			return complain(why, "the verifier key's id is not 8 hex digits");
		given[i] = (uint8_t)(high << 4 | low);
	}
	if (base64_decode(key + 1, strlen(key + 1), bytes, sizeof(bytes), &size) != STATUS_OK || size != sizeof(bytes))
		return complain(why, "the verifier key is not base64 of 33 bytes");
	if (bytes[0] != NOTE_ED25519 && bytes[0] != NOTE_COSIGNATURE_V1)
		return complain(why, "the verifier key is neither Ed25519 nor an Ed25519 cosigner's");
	memcpy(verifier.name, vkey, (size_t)(id - vkey));
	verifier.type = (enum note_type)bytes[0];
	memcpy(verifier.public_key, bytes + 1, sizeof(verifier.public_key));
	set_id(&verifier);
	if (memcmp(verifier.id, given, ID_SIZE) != 0)
		return complain(why, "the verifier key's id is not that of its name and key: one of them was altered");
	*verifier_out = verifier;
	return STATUS_OK;
}

enum status note_signer_create(const char *name, const uint8_t seed[NOTE_SEED_SIZE], struct note_signer **signer_out)
{
	struct note_signer *signer = calloc(1, sizeof(*signer));
	size_t size = sizeof(signer->verifier.public_key);

	*signer_out = NULL;
	if (signer == NULL)
		return STATUS_NO_MEMORY;
	if (!note_name_is_valid(name)) {
		free(signer);
		return STATUS_INVALID;
	}
	signer->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, NOTE_SEED_SIZE);
	if (signer->key == NULL || EVP_PKEY_get_raw_public_key(signer->key, signer->verifier.public_key, &size) != 1) {
		note_signer_destroy(signer);
		return STATUS_NO_MEMORY;
	}
	memcpy(signer->verifier.name, name, strlen(name) + 1);
	signer->verifier.type = NOTE_ED25519;
	set_id(&signer->verifier);
	*signer_out = signer;
	return STATUS_OK;
}

enum status note_signer_load(
	const char *path, const char *name, bool may_make, struct note_signer **signer_out, struct strbuf *why)
{
	struct strbuf content = STRBUF_INIT;
	uint8_t seed[NOTE_SEED_SIZE];
	enum status status;

	*signer_out = NULL;
	status = file_read(path, NOTE_SEED_SIZE + 1, &content, why);
	if (status == STATUS_NOT_FOUND && may_make) {
		strbuf_reset(why);
		random_fill(random_system(), seed, sizeof(seed));
		status = file_replace(path, seed, sizeof(seed), 0600, why);
	} else if (status == STATUS_OK && content.length == sizeof(seed)) {
		memcpy(seed, content.data, sizeof(seed));
	} else if (status == STATUS_OK || status == STATUS_TOO_LARGE) {
		strbuf_reset(why);
		strbuf_addf(why, "%s: a signing key is %d bytes", path, NOTE_SEED_SIZE);
		status = STATUS_INVALID;
	}
	if (status == STATUS_OK) {
		status = note_signer_create(name, seed, signer_out);
		if (status != STATUS_OK)
			strbuf_addf(why, "%s: cannot make a key named %s", path, name);
	}
	OPENSSL_cleanse(seed, sizeof(seed));
	strbuf_wipe(&content);
	return status;
}

void note_signer_destroy(struct note_signer *signer)
{
	if (signer == NULL)
		return;
	EVP_PKEY_free(signer->key);
	free(signer);
}

const struct note_verifier *note_signer_verifier(const struct note_signer *signer)
{
	return &signer->verifier;
}

/* ---- signing ---- */

static enum status ed25519_sign(EVP_PKEY *key, const char *text, size_t size, uint8_t signature[ED25519_SIZE])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t length = ED25519_SIZE;
	bool is_signed = context != NULL && EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
			 EVP_DigestSign(context, signature, &length, (const unsigned char *)text, size) == 1 &&
			 length == ED25519_SIZE;

	EVP_MD_CTX_free(context);
	return is_signed ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status add_line(
	const struct note_verifier *verifier, const uint8_t *signature, size_t size, struct strbuf *line)
{
	uint8_t bytes[ID_SIZE + TIME_SIZE + ED25519_SIZE];

	memcpy(bytes, verifier->id, ID_SIZE);
	memcpy(bytes + ID_SIZE, signature, size);
	strbuf_addf(line, DASH "%s ", verifier->name);
	base64_encode(bytes, ID_SIZE + size, line);
	strbuf_addc(line, '\n');
	return strbuf_ok(line) ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status note_sign(const struct note_signer *signer, const char *text, size_t size, struct strbuf *line)
{
	uint8_t signature[ED25519_SIZE];
	enum status status = ed25519_sign(signer->key, text, size, signature);

	return status == STATUS_OK ? add_line(&signer->verifier, signature, sizeof(signature), line) : status;
}

static void cosigned_text(uint64_t time_s, const char *text, size_t size, struct strbuf *message)
{
	strbuf_addf(message, "cosignature/v1\ntime %llu\n", (unsigned long long)time_s);
	strbuf_add(message, text, size);
}

enum status note_cosign(
	const struct note_signer *signer, const char *text, size_t size, uint64_t time_s, struct strbuf *line)
{
	uint8_t signature[TIME_SIZE + ED25519_SIZE];
	struct strbuf message = STRBUF_INIT;
	struct note_verifier cosigner;
	enum status status = STATUS_NO_MEMORY;

	cosigned_text(time_s, text, size, &message);
	if (!strbuf_ok(&message))
		goto out;
	for (int i = 0; i < TIME_SIZE; i++)
		signature[i] = (uint8_t)(time_s >> (56 - 8 * i));
	status = ed25519_sign(signer->key, message.data, message.length, signature + TIME_SIZE);
	if (status != STATUS_OK)
		goto out;
	note_verifier_as(&signer->verifier, NOTE_COSIGNATURE_V1, &cosigner);
	status = add_line(&cosigner, signature, sizeof(signature), line);
out:
	strbuf_release(&message);
	return status;
}

/* ---- reading ---- */

/* UTF-8 without control characters but the newline. */
static bool is_text(const char *bytes, size_t size)
{
	for (size_t i = 0; i < size;) {
		size_t length = utf8_sequence(bytes + i, size - i);

		if (length == 0 || ((unsigned char)bytes[i] < ' ' && bytes[i] != '\n'))
			return false;
		i += length;
	}
	return true;
}

/* The last empty line: where the signatures start; 0 when there is none after some text. */
static size_t find_signatures(const char *bytes, size_t size)
{
	for (size_t i = size; i >= 2; i--) {
		if (bytes[i - 1] == '\n' && bytes[i - 2] == '\n')
			return i;
	}
	return 0;
}

static bool read_signature(const char *line, size_t size, struct note_signature *signature)
{
	const size_t dash = strlen(DASH);
	const char *space;
	size_t decoded;

	if (size <= dash || memcmp(line, DASH, dash) != 0)
		return false;
	signature->name = line + dash;
	space = memchr(signature->name, ' ', size - dash);
	if (space == NULL || space == signature->name)
		return false;
	signature->name_size = (size_t)(space - signature->name);
	if (memchr(signature->name, '+', signature->name_size) != NULL)
		return false;
	signature->base64 = space + 1;
	signature->base64_size = size - dash - signature->name_size - 1;
	return base64_decode(signature->base64, signature->base64_size, NULL, NOTE_BYTES_MAX, &decoded) == STATUS_OK &&
	       decoded > ID_SIZE;
}

enum status note_parse(const char *bytes, size_t size, struct note *note_out, struct strbuf *why)
{
	size_t at;

	note_out->text = bytes;
	note_out->text_size = 0;
	note_out->signature_count = 0;
	if (size > NOTE_BYTES_MAX)
		return complain(why, "the note is too large");
	if (size == 0 || bytes[size - 1] != '\n')
		return complain(why, "the note does not end in a newline");
	if (!is_text(bytes, size))
		return complain(why, "the note is not UTF-8 text");
	at = find_signatures(bytes, size);
	if (at < 3 || at == size)
		return complain(why, "the note has no signatures");
	while (at < size) {
		const char *end = memchr(bytes + at, '\n', size - at);
		size_t length = (size_t)(end - (bytes + at));

		if (note_out->signature_count == NOTE_SIGNATURES_MAX) {
			note_out->signature_count = 0;
			return complain(why, "the note has too many signatures");
		}
		if (!read_signature(bytes + at, length, &note_out->signatures[note_out->signature_count])) {
			note_out->signature_count = 0;
			return complain(why, "a line after the note's text is not a signature");
		}
		note_out->signature_count++;
		at += length + 1;
	}
	note_out->text_size = find_signatures(bytes, size) - 1;
	return STATUS_OK;
}

static bool ed25519_holds(const struct note_verifier *verifier, const char *text, size_t size, const uint8_t *signature)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key(
		EVP_PKEY_ED25519, NULL, verifier->public_key, sizeof(verifier->public_key));
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool holds = key != NULL && context != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
		     EVP_DigestVerify(context, signature, ED25519_SIZE, (const unsigned char *)text, size) == 1;

	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	return holds;
}

static bool cosignature_holds(
	const struct note *note, const struct note_verifier *verifier, const uint8_t *signature, uint64_t *time_s)
{
	struct strbuf message = STRBUF_INIT;
	bool holds;

	*time_s = 0;
	for (int i = 0; i < TIME_SIZE; i++)
		*time_s = *time_s << 8 | signature[i];
	cosigned_text(*time_s, note->text, note->text_size, &message);
	holds = strbuf_ok(&message) && *time_s <= INT64_MAX &&
		ed25519_holds(verifier, message.data, message.length, signature + TIME_SIZE);
	strbuf_release(&message);
	return holds;
}

/* The first group of a line's base 64 holds the key id. */
static bool is_by(const struct note_signature *line, const struct note_verifier *verifier)
{
	uint8_t start[6];
	size_t size;

	return line->name_size == strlen(verifier->name) && memcmp(line->name, verifier->name, line->name_size) == 0 &&
	       line->base64_size >= 8 && base64_decode(line->base64, 8, start, sizeof(start), &size) == STATUS_OK &&
	       memcmp(start, verifier->id, ID_SIZE) == 0;
}

enum status note_verify(const struct note *note, const struct note_verifier *verifier, uint64_t *time_s_out)
{
	bool is_cosigner = verifier->type == NOTE_COSIGNATURE_V1;
	size_t expected = ID_SIZE + ED25519_SIZE + (is_cosigner ? TIME_SIZE : 0);
	enum status status = STATUS_NOT_FOUND;

	if (time_s_out != NULL)
		*time_s_out = 0;
	for (size_t i = 0; i < note->signature_count; i++) {
		const struct note_signature *line = &note->signatures[i];
		uint8_t bytes[ID_SIZE + TIME_SIZE + ED25519_SIZE];
		uint64_t time_s = 0;
		size_t size;

		if (!is_by(line, verifier))
			continue;
		if (base64_decode(line->base64, line->base64_size, bytes, sizeof(bytes), &size) != STATUS_OK ||
			size != expected)
			return STATUS_INVALID;
		if (is_cosigner ? !cosignature_holds(note, verifier, bytes + ID_SIZE, &time_s)
				: !ed25519_holds(verifier, note->text, note->text_size, bytes + ID_SIZE))
			return STATUS_INVALID;
		/* Of several cosignatures by one peer the latest counts. */
		if (time_s_out != NULL && time_s > *time_s_out)
			*time_s_out = time_s;
		status = STATUS_OK;
	}
	return status;
}

void note_add_lines(const struct note *note, const struct note_verifier *verifier, struct strbuf *lines)
{
	for (size_t i = 0; i < note->signature_count; i++) {
		const struct note_signature *line = &note->signatures[i];

		if (!is_by(line, verifier))
			continue;
		strbuf_adds(lines, DASH);
		strbuf_add(lines, line->name, line->name_size);
		strbuf_addc(lines, ' ');
		strbuf_add(lines, line->base64, line->base64_size);
		strbuf_addc(lines, '\n');
	}
}

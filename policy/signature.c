/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed policy files.  The signature is a file of its own, so that the policy
 * stays plain JSON to every editor and every diff; it is a C2SP signed note, so
 * that other tools can check it.  Reading policy and signature is not one step:
 * a pair that is being replaced does not fit together, is refused, and the old
 * policy stays until the next reload.
 *
 * The memory of what was accepted is a file in state_dir and not a row in the
 * database: a region starts without its database.
 *
 * Runs on the thread that starts or reloads; and in commands.
 */
#include "policy/signature.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "policy/note.h"
#include "policy/reading.h"

#define SIGNATURE_HEAD "homeward-policy-signature/1"
#define ACCEPTED_HEAD "homeward-policy-accepted/1"
#define VKEY_SIZE_MAX 512

static void statement_of(const struct policy *policy, const char *hash, struct strbuf *text)
{
	strbuf_addf(text, SIGNATURE_HEAD "\n%s\n%" PRId64 "\n%s\n", policy->home, policy->number, hash);
}

static enum status read_whole(
	const char *path, struct policy **policy_out, struct policy_load *load, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT, hex = STRBUF_INIT;
	uint8_t digest[SHA256_SIZE];
	enum status status;

	*policy_out = NULL;
	status = file_read(path, POLICY_FILE_SIZE_MAX, &text, why);
	if (status == STATUS_OK) {
		hash_sha256(text.data, text.length, digest);
		strbuf_add_hex(&hex, digest, sizeof(digest));
		(void)snprintf(load->hash, sizeof(load->hash), "%s", hex.data);
		status = policy_parse(path, text.data, text.length, policy_out, why);
	}
	if (status == STATUS_OK)
		load->version = (*policy_out)->number;
	strbuf_release(&hex);
	strbuf_release(&text);
	return status;
}

/* ---- who signed it ---- */

static enum status try_key(
	const struct note *note, const char *vkey, struct policy_load *load, bool *is_bad, struct strbuf *why)
{
	struct note_verifier verifier;
	struct strbuf detail = STRBUF_INIT;
	enum status status = note_verifier_parse(vkey, &verifier, &detail);

	if (status != STATUS_OK) {
		strbuf_addf(why, "policy.keys: \"%s\" is no key: %s", vkey, detail.data);
	} else {
		enum status found = note_verify(note, &verifier, NULL);

		*is_bad = *is_bad || found == STATUS_INVALID;
		if (found == STATUS_OK && load->signer[0] == '\0')
			(void)snprintf(load->signer, sizeof(load->signer), "%s", verifier.name);
	}
	strbuf_release(&detail);
	return status;
}

/* Every key of the list is read, so that a broken one is told of even behind a good one. */
static enum status try_keys(
	const struct note *note, const char *keys, const char *path, struct policy_load *load, struct strbuf *why)
{
	bool is_bad = false;

	while (*(keys += strspn(keys, " \t\n")) != '\0') {
		size_t length = strcspn(keys, " \t\n");
		char vkey[VKEY_SIZE_MAX];

		if (length >= sizeof(vkey)) {
			strbuf_adds(why, "policy.keys: a key is longer than any key");
			return STATUS_INVALID;
		}
		memcpy(vkey, keys, length);
		vkey[length] = '\0';
		keys += length;
		if (try_key(note, vkey, load, &is_bad, why) != STATUS_OK)
			return STATUS_INVALID;
	}
	if (load->signer[0] != '\0' && !is_bad)
		return STATUS_OK;
	load->signer[0] = '\0';
	strbuf_addf(why, "%s.sig: %s", path,
		is_bad ? "a signature does not verify" : "not signed by any key of policy.keys");
	return STATUS_FORBIDDEN;
}

static enum status check_signature(
	const char *path, const struct policy *policy, const char *keys, struct policy_load *load, struct strbuf *why)
{
	struct strbuf file = STRBUF_INIT, content = STRBUF_INIT, statement = STRBUF_INIT, detail = STRBUF_INIT;
	struct note note;
	enum status status;

	strbuf_addf(&file, "%s.sig", path);
	statement_of(policy, load->hash, &statement);
	status = file_read(file.data, NOTE_BYTES_MAX, &content, &detail);
	if (status != STATUS_OK) {
		strbuf_addf(why, "the policy is not signed: %s", detail.data);
		status = STATUS_FORBIDDEN;
		goto out;
	}
	if (note_parse(content.data, content.length, &note, &detail) != STATUS_OK) {
		strbuf_addf(why, "%s: %s", file.data, detail.data);
		status = STATUS_FORBIDDEN;
		goto out;
	}
	if (note.text_size != statement.length || memcmp(note.text, statement.data, statement.length) != 0) {
		strbuf_addf(why, "%s: signs something else than this file (version %" PRId64 ", SHA-256 %s)", file.data,
			load->version, load->hash);
		status = STATUS_FORBIDDEN;
		goto out;
	}
	status = try_keys(&note, keys, path, load, why);
out:
	strbuf_release(&file);
	strbuf_release(&content);
	strbuf_release(&statement);
	strbuf_release(&detail);
	return status;
}

/* ---- versions rise ---- */

static enum status read_accepted(const char *path, struct policy_load *accepted, struct strbuf *why)
{
	struct strbuf content = STRBUF_INIT, detail = STRBUF_INIT;
	enum status status = file_read(path, 256, &content, &detail);

	if (status == STATUS_OK && (sscanf(content.data, ACCEPTED_HEAD "\n%" SCNd64 "\n%64[0-9a-f]\n",
					    &accepted->version, accepted->hash) != 2 ||
					   accepted->version < 1 || strlen(accepted->hash) != POLICY_HASH_SIZE - 1)) {
		strbuf_addf(why, "%s: does not say which policy was accepted last", path);
		status = STATUS_INVALID;
	} else if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
		strbuf_adds(why, detail.data);
	}
	strbuf_release(&content);
	strbuf_release(&detail);
	return status;
}

static enum status check_rises(
	const char *path, const char *accepted_path, const struct policy_load *load, struct strbuf *why)
{
	struct policy_load accepted = { 0 };
	enum status status = read_accepted(accepted_path, &accepted, why);

	if (status == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (status != STATUS_OK)
		return status;
	if (load->version < accepted.version) {
		strbuf_addf(why, "%s: version %" PRId64 " is older than %" PRId64 ", which was accepted before", path,
			load->version, accepted.version);
		return STATUS_CONFLICT;
	}
	if (load->version == accepted.version && strcmp(load->hash, accepted.hash) != 0) {
		strbuf_addf(why, "%s: another content was accepted as version %" PRId64 " before; raise the version",
			path, load->version);
		return STATUS_CONFLICT;
	}
	return STATUS_OK;
}

enum status policy_load(const char *path, const char *keys, const char *accepted_path, struct policy **policy_out,
	struct policy_load *load_out, struct strbuf *why)
{
	enum status status;

	memset(load_out, 0, sizeof(*load_out));
	status = read_whole(path, policy_out, load_out, why);
	if (status == STATUS_OK && keys[0] != '\0')
		status = check_signature(path, *policy_out, keys, load_out, why);
	if (status == STATUS_OK && keys[0] != '\0')
		status = check_rises(path, accepted_path, load_out, why);
	if (status != STATUS_OK) {
		policy_release_reference(*policy_out);
		*policy_out = NULL;
	}
	return status;
}

enum status policy_accept(const char *accepted_path, const struct policy_load *load, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	enum status status;

	strbuf_addf(&text, ACCEPTED_HEAD "\n%" PRId64 "\n%s\n", load->version, load->hash);
	status = strbuf_ok(&text) ? file_replace(accepted_path, text.data, text.length, 0600, why) : STATUS_NO_MEMORY;
	strbuf_release(&text);
	return status;
}

/* ---- keys and signing ---- */

enum status policy_key_make(const char *path, const char *name, struct strbuf *vkey_out, struct strbuf *why)
{
	struct note_signer *signer = NULL;
	struct strbuf public_path = STRBUF_INIT;
	struct stat there;
	enum status status;

	if (!note_name_is_valid(name) || strpbrk(name, "/\\") != NULL) {
		strbuf_addf(why, "\"%s\" is no name for a key: no spaces, no '+'", name);
		return STATUS_INVALID;
	}
	if (stat(path, &there) == 0) {
		strbuf_addf(why, "%s is there already", path);
		return STATUS_CONFLICT;
	}
	strbuf_addf(&public_path, "%s.pub", path);
	status = note_signer_load(path, name, true, &signer, why);
	if (status == STATUS_OK) {
		note_verifier_write(note_signer_verifier(signer), vkey_out);
		strbuf_addc(vkey_out, '\n');
		status = file_replace(public_path.data, vkey_out->data, vkey_out->length, 0644, why);
	}
	note_signer_destroy(signer);
	strbuf_release(&public_path);
	return status;
}

/* The name is in the public half, and the two must belong together. */
static enum status load_signer(const char *key_path, struct note_signer **signer_out, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, content = STRBUF_INIT;
	struct note_verifier verifier;
	enum status status;

	*signer_out = NULL;
	strbuf_addf(&path, "%s.pub", key_path);
	status = file_read(path.data, VKEY_SIZE_MAX, &content, why);
	if (status == STATUS_OK) {
		strbuf_trim_end(&content, "\n");
		status = note_verifier_parse(content.data, &verifier, why);
	}
	if (status == STATUS_OK)
		status = note_signer_load(key_path, verifier.name, false, signer_out, why);
	if (status == STATUS_OK && memcmp(note_signer_verifier(*signer_out)->public_key, verifier.public_key,
					   sizeof(verifier.public_key)) != 0) {
		strbuf_addf(why, "%s does not belong to %s", path.data, key_path);
		note_signer_destroy(*signer_out);
		*signer_out = NULL;
		status = STATUS_INVALID;
	}
	strbuf_release(&path);
	strbuf_release(&content);
	return status;
}

/* Signature lines of other keys over the same statement, so that two keys can sign while one replaces the other. */
static void keep_others(const char *path, const struct strbuf *statement, const char *name, struct strbuf *lines)
{
	struct strbuf content = STRBUF_INIT, detail = STRBUF_INIT;
	struct note note;

	if (file_read(path, NOTE_BYTES_MAX, &content, &detail) == STATUS_OK &&
		note_parse(content.data, content.length, &note, &detail) == STATUS_OK &&
		note.text_size == statement->length && memcmp(note.text, statement->data, statement->length) == 0) {
		for (size_t i = 0; i < note.signature_count; i++) {
			const struct note_signature *signature = &note.signatures[i];

			if (signature->name_size != strlen(name) ||
				memcmp(signature->name, name, signature->name_size) != 0)
				strbuf_addf(lines, "\xe2\x80\x94 %.*s %.*s\n", (int)signature->name_size,
					signature->name, (int)signature->base64_size, signature->base64);
		}
	}
	strbuf_release(&content);
	strbuf_release(&detail);
}

enum status policy_sign(const char *path, const char *key_path, struct policy_load *load_out, struct strbuf *why)
{
	struct strbuf file = STRBUF_INIT, statement = STRBUF_INIT, lines = STRBUF_INIT, text = STRBUF_INIT;
	struct note_signer *signer = NULL;
	struct policy *policy = NULL;
	enum status status;

	memset(load_out, 0, sizeof(*load_out));
	status = read_whole(path, &policy, load_out, why);
	if (status == STATUS_OK)
		status = load_signer(key_path, &signer, why);
	if (status != STATUS_OK)
		goto out;
	(void)snprintf(load_out->signer, sizeof(load_out->signer), "%s", note_signer_verifier(signer)->name);
	strbuf_addf(&file, "%s.sig", path);
	statement_of(policy, load_out->hash, &statement);
	keep_others(file.data, &statement, load_out->signer, &lines);
	status = note_sign(signer, statement.data, statement.length, &lines);
	if (status == STATUS_OK) {
		strbuf_addf(&text, "%s\n%s", statement.data, lines.data);
		status = strbuf_ok(&text) ? file_replace(file.data, text.data, text.length, 0644, why)
					  : STATUS_NO_MEMORY;
	}
out:
	note_signer_destroy(signer);
	policy_release_reference(policy);
	strbuf_release(&file);
	strbuf_release(&statement);
	strbuf_release(&lines);
	strbuf_release(&text);
	return status;
}

enum status policy_verify(const char *path, const char *keys, struct policy_load *load_out, struct strbuf *why)
{
	struct policy *policy = NULL;
	enum status status;

	memset(load_out, 0, sizeof(*load_out));
	status = read_whole(path, &policy, load_out, why);
	if (status == STATUS_OK)
		status = check_signature(path, policy, keys, load_out, why);
	policy_release_reference(policy);
	return status;
}

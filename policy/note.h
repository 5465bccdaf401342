/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed notes (C2SP signed-note), and the two kinds of text the access log signs
 * with them: checkpoints (tlog-checkpoint) and timestamped cosignatures of a
 * peer's checkpoint (cosignature/v1).  Keys are Ed25519.
 *
 * One key of a region does both.  What is signed cannot be mistaken: a
 * cosignature starts with a line of its own, and the two have different key ids.
 *
 * A verifier's text (vkey) is name+id+base64(type ‖ public key), as in
 * "eu.homeward.example/access-log+f58761ef+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4".
 * Parsing and checking are pure; any thread.
 */
#ifndef POLICY_NOTE_H
#define POLICY_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"
#include "policy/merkle.h"

#define NOTE_NAME_SIZE 256
#define NOTE_SEED_SIZE 32
#define NOTE_BYTES_MAX 65536 /* of a note with its signatures */
#define NOTE_SIGNATURES_MAX 64

enum note_type { NOTE_ED25519 = 1, NOTE_COSIGNATURE_V1 = 4 };

/* ---- who is believed ---- */

struct note_verifier {
	char name[NOTE_NAME_SIZE];
	uint8_t id[4];
	enum note_type type;
	uint8_t public_key[32];
};

/* STATUS_INVALID with the reason in why (may be NULL). */
MUST_CHECK enum status note_verifier_parse(const char *vkey, struct note_verifier *verifier_out, struct strbuf *why);
void note_verifier_write(const struct note_verifier *verifier, struct strbuf *text);
/* The same key, as what signs the other type. */
void note_verifier_as(const struct note_verifier *verifier, enum note_type type, struct note_verifier *verifier_out);
bool note_name_is_valid(const char *name);

/* ---- who signs ---- */

struct note_signer;

MUST_CHECK enum status note_signer_create(
	const char *name, const uint8_t seed[NOTE_SEED_SIZE], struct note_signer **signer_out);
/* Reads the 32-byte seed, or makes it (mode 0600) when the file is not there and may_make. */
MUST_CHECK enum status note_signer_load(
	const char *path, const char *name, bool may_make, struct note_signer **signer_out, struct strbuf *why);
void note_signer_destroy(struct note_signer *signer);
/* As a signer of notes; see note_verifier_as for its cosignatures. */
const struct note_verifier *note_signer_verifier(const struct note_signer *signer);
/* Adds the signature line for `text`, which ends in a newline. */
MUST_CHECK enum status note_sign(const struct note_signer *signer, const char *text, size_t size, struct strbuf *line);
/* Adds the line of a cosignature/v1 for a checkpoint's text. */
MUST_CHECK enum status note_cosign(
	const struct note_signer *signer, const char *text, size_t size, uint64_t time_s, struct strbuf *line);

/* ---- a note that was read: borrows its text ---- */

struct note_signature {
	const char *name, *base64;
	size_t name_size, base64_size;
};

struct note {
	const char *text; /* what is signed: its last newline included, not the empty line */
	size_t text_size;
	size_t signature_count;
	struct note_signature signatures[NOTE_SIGNATURES_MAX];
};

/* Takes it apart and believes nothing. */
MUST_CHECK enum status note_parse(const char *bytes, size_t size, struct note *note_out, struct strbuf *why);
/* STATUS_OK: signed by the verifier (time_s_out, may be NULL: when it cosigned; 0 for a plain signature).
 * STATUS_NOT_FOUND: not by that key.  STATUS_INVALID: a line with its name and key id does not verify. */
MUST_CHECK enum status note_verify(const struct note *note, const struct note_verifier *verifier, uint64_t *time_s_out);

/* Adds the signature lines with this verifier's name and key id, as they stand in the note. */
void note_add_lines(const struct note *note, const struct note_verifier *verifier, struct strbuf *lines);

/* ---- checkpoints ---- */

struct checkpoint {
	char origin[NOTE_NAME_SIZE];
	uint64_t size;
	struct merkle_hash root;
};

/* The three lines that are signed. */
void checkpoint_write(const struct checkpoint *checkpoint, struct strbuf *text);
/* STATUS_INVALID: not exactly the three lines (no extension lines). */
MUST_CHECK enum status checkpoint_parse(
	const char *text, size_t size, struct checkpoint *checkpoint_out, struct strbuf *why);
/* The whole note: text, empty line and the signer's line. */
MUST_CHECK enum status checkpoint_sign(
	const struct checkpoint *checkpoint, const struct note_signer *signer, struct strbuf *note);
/* note_parse, the verifier's signature, whose name is the origin, and checkpoint_parse in one. */
MUST_CHECK enum status checkpoint_open(const char *bytes, size_t size, const struct note_verifier *verifier,
	struct note *note_out, struct checkpoint *checkpoint_out, struct strbuf *why);

#endif

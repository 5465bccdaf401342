/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which policy files are believed: part of the front door policy.h.  A signature
 * is a signed note beside the file (FILE.sig) over four lines: the schema, the
 * home, the version and the file's SHA-256.  When keys are trusted, versions only
 * rise, and the last one accepted is remembered on disk.
 */
#ifndef POLICY_SIGNATURE_H
#define POLICY_SIGNATURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"

struct policy;

#define POLICY_HASH_SIZE 65 /* SHA-256 in hex, and the NUL */
#define POLICY_SIGNER_SIZE 256

/* What is known of a file, for the log and the access log: as far as it was read. */
struct policy_load {
	int64_t version;                 /* 0: not read so far */
	char hash[POLICY_HASH_SIZE];     /* of the whole file; "" when there was none */
	char signer[POLICY_SIGNER_SIZE]; /* the key that is believed; "" when no keys are trusted */
};

/*
 * policy_read(), and, when `keys` (vkeys with spaces between) is not "", the signature and the version: STATUS_FORBIDDEN
 * when it is not signed by one of them, STATUS_CONFLICT when accepted_path tells of a later version or of the same one
 * with another content.  load_out is filled in any case.
 */
MUST_CHECK enum status policy_load(const char *path, const char *keys, const char *accepted_path,
	struct policy **policy_out, struct policy_load *load_out, struct strbuf *why);
/* Remembers that it was accepted.  To be called before it comes into force, and only with keys. */
MUST_CHECK enum status policy_accept(const char *accepted_path, const struct policy_load *load, struct strbuf *why);

/* Makes a signing key: `path` (mode 0600) and `path`.pub with its vkey, which is added to vkey_out.  STATUS_CONFLICT:
 * there is one already. */
MUST_CHECK enum status policy_key_make(const char *path, const char *name, struct strbuf *vkey_out, struct strbuf *why);
/* Checks the policy and writes FILE.sig with the key made so; other keys' signatures of the same content stay. */
MUST_CHECK enum status policy_sign(
	const char *path, const char *key_path, struct policy_load *load_out, struct strbuf *why);
/* Only the signature. */
MUST_CHECK enum status policy_verify(
	const char *path, const char *keys, struct policy_load *load_out, struct strbuf *why);

#endif

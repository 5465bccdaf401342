/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys behind the subjects of a region's access log, in one file that only
 * its owner may read:
 *
 *   master keys, which wrap each subject's own key in the database (the first
 *   wraps; the others are earlier ones and only unwrap);
 *   epoch keys, for ids that have no key of their own: used for a while, kept for
 *   a while longer, then destroyed, and with them what their subjects stood for.
 *
 * One for the process; any thread.
 */
#ifndef POLICY_KEYRING_H
#define POLICY_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/strbuf.h"

#define KEYRING_KEY_SIZE 32
#define KEYRING_WRAPPED_SIZE 65 /* version 1, master 4, nonce 12, key 32, tag 16 */
#define KEYRING_EPOCHS_MAX 64
#define KEYRING_MASTERS_MAX 8

struct keyring_settings {
	const char *path; /* copied; made, mode 0600, when it is not there */
	int64_t epoch_s;  /* how long an epoch key is used */
	int64_t keep_s;   /* and kept after that */
};

struct keyring;

MUST_CHECK enum status keyring_open(const struct keyring_settings *settings, const struct clock_source *clock,
	struct keyring **keyring_out, struct strbuf *why);
/* For commands: reads the file, changes nothing; STATUS_NOT_FOUND when it is not there. */
MUST_CHECK enum status keyring_read(const char *path, struct keyring **keyring_out, struct strbuf *why);
void keyring_destroy(struct keyring *keyring);

/* Begins a new epoch and destroys old ones when it is time; the file is written first.  Call it now and then. */
MUST_CHECK enum status keyring_tend(struct keyring *keyring, struct strbuf *why);

/* Rises when epochs change or subjects were erased: what was derived earlier is to be dropped. */
uint64_t keyring_generation(const struct keyring *keyring);
void keyring_subjects_changed(struct keyring *keyring);

/* The epoch in use. */
void keyring_epoch(struct keyring *keyring, uint32_t *epoch_out, uint8_t key_out[KEYRING_KEY_SIZE]);
/* The n-th epoch kept, newest first; false past the last. */
bool keyring_epoch_at(struct keyring *keyring, size_t n, uint32_t *epoch_out, uint8_t key_out[KEYRING_KEY_SIZE]);

/* How many master keys there are, and the number of the one that wraps.  More than one: what the others wrapped is still
 * to be wrapped anew. */
size_t keyring_masters(struct keyring *keyring, uint32_t *first_out);
/* A new one, which wraps from now on; the file is written first.  STATUS_CONFLICT while there is an earlier one. */
MUST_CHECK enum status keyring_add_master(struct keyring *keyring, struct strbuf *why);
/* Destroys all but the one that wraps: what they wrapped can never be opened again. */
MUST_CHECK enum status keyring_drop_masters(struct keyring *keyring, struct strbuf *why);

#define KEYRING_SEALED_EXTRA 33 /* what sealing adds */
#define KEYRING_MASTER_AT 1     /* where the sealed text has its master's number, 4 bytes, highest first */

/* Any text, sealed for the row named `ref`; size + KEYRING_SEALED_EXTRA bytes come out.  False only when OpenSSL
 * fails. */
MUST_CHECK bool keyring_seal(
	struct keyring *keyring, const char *ref, const void *text, size_t size, uint8_t *sealed_out);
/* size is what was sealed takes; text_out has room for size - KEYRING_SEALED_EXTRA bytes. */
MUST_CHECK bool keyring_unseal(
	struct keyring *keyring, const char *ref, const uint8_t *sealed, size_t size, uint8_t *text_out);
/* A subject's key, sealed for the row named `ref`.  False only when OpenSSL fails. */
MUST_CHECK bool keyring_wrap(struct keyring *keyring, const char *ref, const uint8_t key[KEYRING_KEY_SIZE],
	uint8_t wrapped_out[KEYRING_WRAPPED_SIZE]);
/* False when it was not sealed by one of our masters for this row. */
MUST_CHECK bool keyring_unwrap(struct keyring *keyring, const char *ref, const uint8_t *wrapped, size_t size,
	uint8_t key_out[KEYRING_KEY_SIZE]);

#endif

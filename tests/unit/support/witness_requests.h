/* SPDX-License-Identifier: Apache-2.0 */
/* What the log of region eu (log_files.h) sends to be cosigned, and what a forger with its key would. */
#ifndef SUPPORT_WITNESS_REQUESTS_H
#define SUPPORT_WITNESS_REQUESTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "policy/log_proof.h"
#include "policy/log_reader.h"
#include "tests/unit/support/log_files.h"

/* The request of a log of `size` entries, whose peer remembers `old`. */
static void witness_request_write(const char *folder, uint64_t old, uint64_t size, struct strbuf *request)
{
	struct merkle_proof proof = { .count = 0 };
	struct merkle_reader hashes;
	struct log_reader *reader;
	struct strbuf why = STRBUF_INIT;
	char path[128];

	snprintf(path, sizeof(path), "%s/log-%llu", folder, (unsigned long long)size);
	log_files_write(path, size);
	assert_int_equal(log_reader_open(path, NULL, &reader, &why), STATUS_OK);
	hashes = log_reader_hashes(reader);
	if (old != 0 && old <= size)
		assert_int_equal(merkle_prove_consistency(&hashes, old, size, &proof), STATUS_OK);
	strbuf_reset(request);
	add_checkpoint_write(old, &proof, log_reader_note(reader)->data, log_reader_note(reader)->length, request);
	log_reader_close(reader);
	strbuf_release(&why);
}

/* Another log of the same length, signed by the same key. */
static void witness_request_fork(uint64_t old, uint64_t size, struct strbuf *request)
{
	struct checkpoint checkpoint = { .origin = LOG_FILES_ORIGIN, .size = size };
	struct note_signer *signer = log_files_signer();
	struct merkle_proof proof = { .count = 3 };
	struct strbuf note = STRBUF_INIT;

	memset(checkpoint.root.bytes, 1, sizeof(checkpoint.root.bytes));
	memset(proof.hashes, 2, sizeof(proof.hashes));
	assert_int_equal(checkpoint_sign(&checkpoint, signer, &note), STATUS_OK);
	strbuf_reset(request);
	add_checkpoint_write(old, &proof, note.data, note.length, request);
	note_signer_destroy(signer);
	strbuf_release(&note);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a log, a peer or an auditor's file may say: notes, checkpoints, receipts,
 * cosigning requests, verifier keys, tile paths and entry bundles.  The first byte chooses the
 * parser.  Besides not crashing: what is accepted has one spelling, so written
 * again it is the same text; and nothing is ever believed, for nobody here has the key.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "policy/policy.h"
#include "policy/tile.h"

#define KEY "eu.locator.example/access-log+f58761ef+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_same(const struct strbuf *again, const char *text, size_t size)
{
	must(strbuf_ok(again) && again->length == size && memcmp(again->data, text, size) == 0);
}

static void try_note(const char *text, size_t size)
{
	struct note_verifier verifier;
	struct checkpoint checkpoint;
	struct note note;

	must(note_verifier_parse(KEY, &verifier, NULL) == STATUS_OK);
	if (note_parse(text, size, &note, NULL) != STATUS_OK)
		return;
	must(note.signature_count > 0 && note.text_size > 0 && note.text_size < size);
	(void)note_verify(&note, &verifier, NULL);
	note_verifier_as(&verifier, NOTE_COSIGNATURE_V1, &verifier);
	(void)note_verify(&note, &verifier, NULL);
	(void)checkpoint_open(text, size, &verifier, &note, &checkpoint, NULL);
}

static void try_checkpoint(const char *text, size_t size)
{
	struct strbuf again = STRBUF_INIT;
	struct checkpoint checkpoint;

	if (checkpoint_parse(text, size, &checkpoint, NULL) == STATUS_OK) {
		checkpoint_write(&checkpoint, &again);
		must_be_same(&again, text, size);
	}
	strbuf_release(&again);
}

static void try_receipt(const char *text, size_t size)
{
	struct strbuf again = STRBUF_INIT;
	struct checkpoint checkpoint;
	struct note_verifier verifier;
	struct log_proof proof;

	must(note_verifier_parse(KEY, &verifier, NULL) == STATUS_OK);
	if (log_proof_parse(text, size, &proof, NULL) == STATUS_OK) {
		log_proof_write(proof.index, &proof.hashes, proof.entry.data, proof.entry.length, proof.checkpoint,
			proof.checkpoint_size, &again);
		/* An extra line of nothing is the one thing that is not written again. */
		if (proof.entry.length > 0 || strncmp(text + sizeof("c2sp.org/tlog-proof@v1"), "index ", 6) == 0)
			must_be_same(&again, text, size);
		(void)log_proof_check(&proof, NULL, 0, &verifier, &checkpoint, NULL);
	}
	log_proof_release(&proof);
	strbuf_release(&again);
}

static void try_request(const char *text, size_t size)
{
	struct strbuf again = STRBUF_INIT;
	struct add_checkpoint request;

	if (add_checkpoint_parse(text, size, &request, NULL) == STATUS_OK) {
		add_checkpoint_write(
			request.old_size, &request.proof, request.checkpoint, request.checkpoint_size, &again);
		must_be_same(&again, text, size);
	}
	strbuf_release(&again);
}

static void try_bundle(const char *text, size_t size)
{
	struct bundle_reader reader;
	size_t length, total = 0;
	const char *entry;
	enum status status;

	bundle_reader_init(&reader, text, size);
	while ((status = bundle_next(&reader, &entry, &length)) == STATUS_OK) {
		must(entry >= text && entry + length <= text + size);
		total += 2 + length;
	}
	must(status == STATUS_NOT_FOUND ? total == size : total < size);
}

static void try_names(const char *text)
{
	struct strbuf again = STRBUF_INIT;
	struct note_verifier verifier;
	char path[TILE_PATH_SIZE];
	struct tile tile;

	if (tile_parse(text, &tile) == STATUS_OK) {
		tile_path(&tile, path);
		must(strcmp(path, text) == 0 && strstr(path, "..") == NULL);
	}
	if (note_verifier_parse(text, &verifier, NULL) == STATUS_OK) {
		note_verifier_write(&verifier, &again);
		must(strcasecmp(again.data, text) == 0);
	}
	strbuf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf text = STRBUF_INIT;

	if (size == 0)
		return 0;
	strbuf_add(&text, data + 1, size - 1);
	must(strbuf_ok(&text));
	switch (data[0]) {
	case 'n':
		try_note(text.data, text.length);
		break;
	case 'c':
		try_checkpoint(text.data, text.length);
		break;
	case 'r':
		try_receipt(text.data, text.length);
		break;
	case 'q':
		try_request(text.data, text.length);
		break;
	case 'b':
		try_bundle(text.data, text.length);
		break;
	default:
		try_names(text.data);
		break;
	}
	strbuf_release(&text);
	return 0;
}

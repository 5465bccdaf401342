/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts and cosigning requests: both are a head line, hashes one a line, an
 * empty line and a checkpoint.  Every line has one spelling.
 */
#include "policy/log_proof.h"

#include <inttypes.h>
#include <string.h>

#include "policy/decimal.h"

#define PROOF_HEAD "c2sp.org/tlog-proof@v1"
#define WITNESS_PROOF_MAX 63 /* lines, as tlog-witness says */

static enum status complain(struct strbuf *why, const char *what)
{
	if (why != NULL)
		strbuf_adds(why, what);
	return STATUS_INVALID;
}

/* ---- lines ---- */

struct lines {
	const char *at;
	size_t left;
};

/* The next line without its newline; false when there is no whole one. */
static bool next_line(struct lines *lines, const char **line, size_t *size)
{
	const char *newline = lines->left == 0 ? NULL : memchr(lines->at, '\n', lines->left);

	if (newline == NULL)
		return false;
	*line = lines->at;
	*size = (size_t)(newline - lines->at);
	lines->left -= *size + 1;
	lines->at = newline + 1;
	return true;
}

/* What follows `word` and one space on this line; false when the line starts otherwise. */
static bool after_word(const char *word, const char **line, size_t *size)
{
	size_t length = strlen(word);

	if (*size < length + 1 || memcmp(*line, word, length) != 0 || (*line)[length] != ' ')
		return false;
	*line += length + 1;
	*size -= length + 1;
	return true;
}

static void write_hashes(const struct merkle_proof *hashes, struct strbuf *text)
{
	for (size_t i = 0; i < hashes->count; i++) {
		base64_encode(hashes->hashes[i].bytes, sizeof(hashes->hashes[i].bytes), text);
		strbuf_addc(text, '\n');
	}
	strbuf_addc(text, '\n');
}

/* Up to and with the empty line. */
static enum status read_hashes(struct lines *lines, size_t count_max, struct merkle_proof *hashes, struct strbuf *why)
{
	const char *line;
	size_t size, decoded;

	hashes->count = 0;
	for (;;) {
		struct merkle_hash *hash = &hashes->hashes[hashes->count];

		if (!next_line(lines, &line, &size))
			return complain(why, "it ends before the empty line that follows the proof");
		if (size == 0)
			return STATUS_OK;
		if (hashes->count == count_max)
			return complain(why, "the proof has too many hashes");
		if (base64_decode(line, size, hash->bytes, sizeof(hash->bytes), &decoded) != STATUS_OK ||
			decoded != sizeof(hash->bytes))
			return complain(why, "a line of the proof is not base64 of 32 bytes");
		hashes->count++;
	}
}

/* ---- receipts ---- */

void log_proof_release(struct log_proof *proof)
{
	strbuf_release(&proof->entry);
}

void log_proof_write(uint64_t index, const struct merkle_proof *hashes, const char *entry, size_t entry_size,
	const char *checkpoint, size_t checkpoint_size, struct strbuf *text)
{
	strbuf_adds(text, PROOF_HEAD "\n");
	if (entry_size > 0) {
		strbuf_adds(text, "extra ");
		base64_encode(entry, entry_size, text);
		strbuf_addc(text, '\n');
	}
	strbuf_addf(text, "index %" PRIu64 "\n", index);
	write_hashes(hashes, text);
	strbuf_add(text, checkpoint, checkpoint_size);
}

static enum status read_extra(const char *line, size_t size, struct strbuf *entry, struct strbuf *why)
{
	size_t decoded;

	if (!strbuf_reserve(entry, ENTRY_BYTES_MAX))
		return STATUS_NO_MEMORY;
	if (base64_decode(line, size, entry->data, ENTRY_BYTES_MAX, &decoded) != STATUS_OK)
		return complain(why, "the receipt's extra line is not base64 of an entry");
	entry->length = decoded;
	entry->data[decoded] = '\0';
	return STATUS_OK;
}

enum status log_proof_parse(const char *bytes, size_t size, struct log_proof *proof_out, struct strbuf *why)
{
	struct lines lines = { bytes, size };
	const char *line;
	enum status status;
	size_t length;

	memset(proof_out, 0, sizeof(*proof_out));
	strbuf_init(&proof_out->entry);
	if (!next_line(&lines, &line, &length) || length != strlen(PROOF_HEAD) || memcmp(line, PROOF_HEAD, length) != 0)
		return complain(why, "a receipt's first line is " PROOF_HEAD);
	if (!next_line(&lines, &line, &length))
		return complain(why, "the receipt ends after its first line");
	if (after_word("extra", &line, &length)) {
		status = read_extra(line, length, &proof_out->entry, why);
		if (status != STATUS_OK)
			return status;
		if (!next_line(&lines, &line, &length))
			return complain(why, "the receipt ends before its index line");
	}
	if (!after_word("index", &line, &length) || !decimal_parse(line, length, &proof_out->index))
		return complain(why, "the receipt has no index line");
	status = read_hashes(&lines, MERKLE_PROOF_MAX, &proof_out->hashes, why);
	if (status != STATUS_OK)
		return status;
	proof_out->checkpoint = lines.at;
	proof_out->checkpoint_size = lines.left;
	return STATUS_OK;
}

enum status log_proof_check(const struct log_proof *proof, const char *entry, size_t entry_size,
	const struct note_verifier *verifier, struct checkpoint *checkpoint_out, struct strbuf *why)
{
	struct merkle_hash leaf;
	struct note note;
	enum status status;

	status = checkpoint_open(proof->checkpoint, proof->checkpoint_size, verifier, &note, checkpoint_out, why);
	if (status != STATUS_OK)
		return status;
	if (entry == NULL && proof->entry.length == 0)
		return complain(why, "the receipt does not carry its entry, and none was given");
	if (entry == NULL)
		merkle_leaf(proof->entry.data, proof->entry.length, &leaf);
	else
		merkle_leaf(entry, entry_size, &leaf);
	if (!merkle_inclusion_holds(&leaf, proof->index, checkpoint_out->size, &checkpoint_out->root,
		    proof->hashes.hashes, proof->hashes.count))
		return complain(why, "the proof does not lead from the entry to the checkpoint's root");
	return STATUS_OK;
}

/* ---- cosigning requests ---- */

void add_checkpoint_write(uint64_t old_size, const struct merkle_proof *proof, const char *checkpoint,
	size_t checkpoint_size, struct strbuf *text)
{
	strbuf_addf(text, "old %" PRIu64 "\n", old_size);
	write_hashes(proof, text);
	strbuf_add(text, checkpoint, checkpoint_size);
}

enum status add_checkpoint_parse(const char *bytes, size_t size, struct add_checkpoint *request_out, struct strbuf *why)
{
	struct lines lines = { bytes, size };
	const char *line;
	enum status status;
	size_t length;

	memset(request_out, 0, sizeof(*request_out));
	if (!next_line(&lines, &line, &length) || !after_word("old", &line, &length) ||
		!decimal_parse(line, length, &request_out->old_size) || request_out->old_size > MERKLE_SIZE_MAX)
		return complain(why, "the first line is the word old and a size");
	status = read_hashes(&lines, WITNESS_PROOF_MAX, &request_out->proof, why);
	if (status != STATUS_OK)
		return status;
	request_out->checkpoint = lines.at;
	request_out->checkpoint_size = lines.left;
	return STATUS_OK;
}

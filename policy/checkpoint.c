/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints: the log's origin, its size and its root, one a line, as a signed
 * note.  Extension lines are refused: nobody could audit what they say.
 * Pure; any thread.
 */
#include <inttypes.h>
#include <string.h>

#include "base/base64.h"
#include "policy/decimal.h"
#include "policy/note.h"

static enum status complain(struct strbuf *why, const char *what)
{
	if (why != NULL)
		strbuf_adds(why, what);
	return STATUS_INVALID;
}

void checkpoint_write(const struct checkpoint *checkpoint, struct strbuf *text)
{
	strbuf_addf(text, "%s\n%" PRIu64 "\n", checkpoint->origin, checkpoint->size);
	base64_encode(checkpoint->root.bytes, sizeof(checkpoint->root.bytes), text);
	strbuf_addc(text, '\n');
}

enum status checkpoint_parse(const char *text, size_t size, struct checkpoint *checkpoint_out, struct strbuf *why)
{
	const char *line = text, *end = text + size;
	struct checkpoint checkpoint;
	size_t lengths[3], decoded;
	const char *lines[3];

	memset(checkpoint_out, 0, sizeof(*checkpoint_out));
	memset(&checkpoint, 0, sizeof(checkpoint));
	for (int i = 0; i < 3; i++) {
		const char *newline = line == end ? NULL : memchr(line, '\n', (size_t)(end - line));

		if (newline == NULL)
			return complain(why, "a checkpoint has three lines: origin, size and root");
		lines[i] = line;
		lengths[i] = (size_t)(newline - line);
		line = newline + 1;
	}
	if (line != end)
		return complain(why, "a checkpoint has three lines, and this one more");
	if (lengths[0] == 0 || lengths[0] >= sizeof(checkpoint.origin) || memchr(lines[0], '\0', lengths[0]) != NULL)
		return complain(why, "the checkpoint's origin is empty or too long");
	memcpy(checkpoint.origin, lines[0], lengths[0]);
	if (!decimal_parse(lines[1], lengths[1], &checkpoint.size) || checkpoint.size > MERKLE_SIZE_MAX)
		return complain(why, "the checkpoint's size is not a number");
	if (base64_decode(lines[2], lengths[2], checkpoint.root.bytes, sizeof(checkpoint.root.bytes), &decoded) !=
			STATUS_OK ||
		decoded != sizeof(checkpoint.root.bytes))
		return complain(why, "the checkpoint's root is not base64 of 32 bytes");
	*checkpoint_out = checkpoint;
	return STATUS_OK;
}

enum status checkpoint_sign(const struct checkpoint *checkpoint, const struct note_signer *signer, struct strbuf *note)
{
	struct strbuf text = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;

	checkpoint_write(checkpoint, &text);
	strbuf_add(note, text.data, text.length);
	strbuf_addc(note, '\n');
	if (strbuf_ok(&text) && strbuf_ok(note))
		status = note_sign(signer, text.data, text.length, note);
	strbuf_release(&text);
	return status;
}

enum status checkpoint_open(const char *bytes, size_t size, const struct note_verifier *verifier, struct note *note_out,
	struct checkpoint *checkpoint_out, struct strbuf *why)
{
	enum status status;

	memset(checkpoint_out, 0, sizeof(*checkpoint_out));
	status = note_parse(bytes, size, note_out, why);
	if (status != STATUS_OK)
		return status;
	status = note_verify(note_out, verifier, NULL);
	if (status == STATUS_NOT_FOUND)
		return complain(why, "the checkpoint is not signed by the key given");
	if (status != STATUS_OK)
		return complain(why, "the checkpoint's signature does not hold");
	status = checkpoint_parse(note_out->text, note_out->text_size, checkpoint_out, why);
	if (status != STATUS_OK)
		return status;
	if (verifier->type == NOTE_ED25519 && strcmp(checkpoint_out->origin, verifier->name) != 0) {
		memset(checkpoint_out, 0, sizeof(*checkpoint_out));
		return complain(why, "the checkpoint is of another log than the key's");
	}
	return STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward audit verify`: whether a log is what it says.  The signature and the
 * hashes show that nothing was altered; they cannot show that the end was not cut
 * off and an older checkpoint put back.  For that there is what somebody else
 * remembers: a checkpoint kept from before, a peer's cosignature, or a size.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/audit.h"

enum {
	OPTION_DIR = COMMAND_ID_FIRST,
	OPTION_KEY,
	OPTION_FROM_CHECKPOINT,
	OPTION_PEER_COSIGNER,
	OPTION_COSIGNED_WITHIN,
	OPTION_MINIMUM_SIZE,
	OPTION_RECEIPT,
	OPTION_ENTRY
};

#define COSIGNERS_MAX 32 /* a mesh has no more regions */

struct verify {
	const char *directory, *key_text, *from_checkpoint, *receipt, *entry;
	const char *cosigners[COSIGNERS_MAX];
	size_t cosigner_count;
	int64_t cosigned_within_s, minimum_size;
	struct note_verifier key;
};

static const struct command_option options[] = { COMMAND_OPTION_CONFIG,
	{ OPTION_DIR, "dir", "DIR", "the log's directory (default: that of the settings)" },
	{ OPTION_KEY, "key", "KEY", "the region's verifier key, or a file with it" },
	{ OPTION_FROM_CHECKPOINT, "from-checkpoint", "FILE",
		"a checkpoint kept from before, which this log must go on from" },
	{ OPTION_PEER_COSIGNER, "peer-cosigner", "KEY", "a peer that must have cosigned this log; may be repeated" },
	{ OPTION_COSIGNED_WITHIN, "cosigned-within", "SECONDS", "how old a peer's cosignature may be" },
	{ OPTION_MINIMUM_SIZE, "minimum-size", "N", "fail when the log has fewer entries" },
	{ OPTION_RECEIPT, "receipt", "FILE", "check this receipt instead of a directory" },
	{ OPTION_ENTRY, "entry", "FILE", "the entry of the receipt, when it does not carry it" }, COMMAND_OPTION_END };

static const struct command_usage usage = { "homeward audit verify",
	"[-c FILE | --dir DIR] --key KEY [--from-checkpoint FILE] [--peer-cosigner KEY]… [--minimum-size N]",
	"Hashes every entry again and compares all tiles, the root and the checkpoint's signature; names each file\n"
	"that is wrong.  With --receipt FILE: checks one receipt, without the log.\n"
	"Exit code 0: it holds; 1: it does not.",
	options,
	"homeward audit verify --dir /var/lib/homeward/log --key log.pub --peer-cosigner na.pub\n"
	"homeward audit verify --receipt 1041.tlog-proof --key log.pub\n" };

/* ---- one receipt ---- */

static int verify_receipt(const struct verify *verify)
{
	struct strbuf text = STRBUF_INIT, entry = STRBUF_INIT, why = STRBUF_INIT;
	struct log_proof proof = { .entry = STRBUF_INIT };
	struct checkpoint checkpoint;
	enum status status;
	int exit_code = EXIT_CODE_OK;

	status = file_read(verify->receipt, LOG_PROOF_BYTES_MAX, &text, &why);
	if (status == STATUS_OK && verify->entry != NULL)
		status = file_read(verify->entry, ENTRY_BYTES_MAX + 1, &entry, &why);
	if (status != STATUS_OK) {
		exit_code = command_fail(command_exit_code(status), "%s", why.data);
		goto out;
	}
	/* A file with an entry usually ends its line, which an entry does not. */
	if (entry.length > 0 && entry.data[entry.length - 1] == '\n')
		entry.length--;
	status = log_proof_parse(text.data, text.length, &proof, &why);
	if (status == STATUS_OK)
		status = log_proof_check(&proof, verify->entry == NULL ? NULL : entry.data, entry.length, &verify->key,
			&checkpoint, &why);
	if (status != STATUS_OK) {
		exit_code = command_fail(EXIT_CODE_FAILED, "%s: %s", verify->receipt, why.data);
		goto out;
	}
	printf("good: entry %" PRIu64 " of %s, in its log of %" PRIu64 " entries\n", proof.index, checkpoint.origin,
		checkpoint.size);
	if (verify->entry == NULL)
		printf("%s\n", proof.entry.data);
out:
	log_proof_release(&proof);
	strbuf_release(&text);
	strbuf_release(&entry);
	strbuf_release(&why);
	return exit_code;
}

/* ---- a directory ---- */

static void print_fault(void *arg, const char *path, const char *what)
{
	const struct verify *verify = arg;

	fprintf(stderr, "homeward: %s/%s %s\n", verify->directory, path, what);
}

static int check_continues(struct log_reader *reader, const struct checkpoint *older, const char *name)
{
	struct strbuf why = STRBUF_INIT;
	int exit_code = EXIT_CODE_OK;

	if (log_reader_continues(reader, older, name, &why) != STATUS_OK)
		exit_code = command_fail(EXIT_CODE_FAILED, "%s", why.data);
	strbuf_release(&why);
	return exit_code;
}

/* A checkpoint in a file, by the log's key; STATUS_NOT_FOUND when there is no file. */
static enum status read_checkpoint(const struct verify *verify, const char *path, struct strbuf *bytes,
	struct note *note, struct checkpoint *checkpoint, struct strbuf *why)
{
	struct strbuf reason = STRBUF_INIT;
	enum status status = file_read(path, NOTE_BYTES_MAX, bytes, why);

	if (status != STATUS_OK)
		return status;
	status = checkpoint_open(bytes->data, bytes->length, &verify->key, note, checkpoint, &reason);
	if (status != STATUS_OK)
		strbuf_addf(why, "%s: %s", path, reason.data);
	strbuf_release(&reason);
	return status;
}

static int check_cosigner(const struct verify *verify, const struct note *note, const char *text, const char *path)
{
	int64_t now_s = clock_wall_us(clock_system()) / 1000000;
	struct note_verifier key, cosigner;
	char at[CLOCK_TEXT_SIZE];
	enum status status;
	uint64_t time_s;
	int exit_code;

	exit_code = audit_key(text, &key);
	if (exit_code != EXIT_CODE_OK)
		return exit_code;
	/* A region's key is published once, as what signs its own log. */
	note_verifier_as(&key, NOTE_COSIGNATURE_V1, &cosigner);
	status = note_verify(note, &cosigner, &time_s);
	if (status == STATUS_NOT_FOUND)
		return command_fail(EXIT_CODE_FAILED, "%s is not cosigned by %s", path, cosigner.name);
	if (status != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "%s: the cosignature of %s does not hold", path, cosigner.name);
	clock_format((int64_t)time_s * 1000000, at);
	if (verify->cosigned_within_s >= 0 && (int64_t)time_s < now_s - verify->cosigned_within_s)
		return command_fail(EXIT_CODE_FAILED, "%s: %s cosigned it last at %s", path, cosigner.name, at);
	printf("cosigned by %s at %s\n", cosigner.name, at);
	return EXIT_CODE_OK;
}

static int check_cosigned(const struct verify *verify, struct log_reader *reader)
{
	struct strbuf path = STRBUF_INIT, bytes = STRBUF_INIT, why = STRBUF_INIT;
	struct checkpoint checkpoint;
	int exit_code = EXIT_CODE_OK;
	enum status status;
	struct note note;

	strbuf_addf(&path, "%s/" LOG_CHECKPOINT_COSIGNED, verify->directory);
	status = read_checkpoint(verify, path.data, &bytes, &note, &checkpoint, &why);
	if (status == STATUS_NOT_FOUND && verify->cosigner_count == 0)
		goto out;
	if (status != STATUS_OK) {
		exit_code = command_fail(EXIT_CODE_FAILED, "%s", why.data);
		goto out;
	}
	exit_code = check_continues(reader, &checkpoint, path.data);
	for (size_t i = 0; exit_code == EXIT_CODE_OK && i < verify->cosigner_count; i++)
		exit_code = check_cosigner(verify, &note, verify->cosigners[i], path.data);
out:
	strbuf_release(&path);
	strbuf_release(&bytes);
	strbuf_release(&why);
	return exit_code;
}

static int check_older(const struct verify *verify, struct log_reader *reader)
{
	struct strbuf bytes = STRBUF_INIT, why = STRBUF_INIT;
	struct checkpoint checkpoint;
	int exit_code = EXIT_CODE_OK;
	struct note note;

	if (verify->from_checkpoint == NULL)
		return EXIT_CODE_OK;
	if (read_checkpoint(verify, verify->from_checkpoint, &bytes, &note, &checkpoint, &why) != STATUS_OK)
		exit_code = command_fail(EXIT_CODE_FAILED, "%s", why.data);
	else
		exit_code = check_continues(reader, &checkpoint, verify->from_checkpoint);
	if (exit_code == EXIT_CODE_OK)
		printf("goes on from %s of %" PRIu64 " entries\n", verify->from_checkpoint, checkpoint.size);
	strbuf_release(&bytes);
	strbuf_release(&why);
	return exit_code;
}

static int verify_directory(struct verify *verify)
{
	const struct checkpoint *checkpoint;
	struct strbuf root = STRBUF_INIT;
	struct log_reader *reader;
	int exit_code = audit_open(verify->directory, &verify->key, &reader);
	enum status status;

	if (exit_code != EXIT_CODE_OK)
		return exit_code;
	checkpoint = log_reader_checkpoint(reader);
	status = log_reader_check(reader, print_fault, verify);
	if (status != STATUS_OK)
		exit_code = command_fail(EXIT_CODE_FAILED, "%s is not sound: %s", verify->directory,
			status == STATUS_INVALID ? "it is not what was logged" : status_name(status));
	else if (checkpoint->size < (uint64_t)verify->minimum_size)
		exit_code = command_fail(EXIT_CODE_FAILED,
			"%s has %" PRIu64 " entries, at least %" PRId64 " are expected: its end was cut off",
			verify->directory, checkpoint->size, verify->minimum_size);
	if (exit_code == EXIT_CODE_OK)
		exit_code = check_older(verify, reader);
	if (exit_code == EXIT_CODE_OK)
		exit_code = check_cosigned(verify, reader);
	if (exit_code == EXIT_CODE_OK) {
		base64_encode(checkpoint->root.bytes, sizeof(checkpoint->root.bytes), &root);
		printf("good: %s, %" PRIu64 " entries, root %s\n", checkpoint->origin, checkpoint->size, root.data);
	}
	strbuf_release(&root);
	log_reader_close(reader);
	return exit_code;
}

static void take_option(struct command_line *line, struct verify *verify, int id)
{
	switch (id) {
	case OPTION_DIR:
		verify->directory = line->value;
		break;
	case OPTION_KEY:
		verify->key_text = line->value;
		break;
	case OPTION_FROM_CHECKPOINT:
		verify->from_checkpoint = line->value;
		break;
	case OPTION_PEER_COSIGNER:
		if (verify->cosigner_count < COSIGNERS_MAX)
			verify->cosigners[verify->cosigner_count++] = line->value;
		else
			line->exit_code = command_line_wrong(line, "at most %d cosigners", COSIGNERS_MAX);
		break;
	case OPTION_COSIGNED_WITHIN:
		(void)command_line_number(line, 0, INT32_MAX, &verify->cosigned_within_s);
		break;
	case OPTION_MINIMUM_SIZE:
		(void)command_line_number(line, 0, INT64_MAX, &verify->minimum_size);
		break;
	case OPTION_RECEIPT:
		verify->receipt = line->value;
		break;
	case OPTION_ENTRY:
		verify->entry = line->value;
		break;
	}
}

int audit_verify(int argc, char **argv)
{
	struct verify verify = { .cosigned_within_s = -1 };
	struct strbuf directory = STRBUF_INIT;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;)
		take_option(&line, &verify, id);
	if (line.is_over || !command_line_expect(&line, 0, 0))
		return line.exit_code;
	if (verify.key_text == NULL)
		return command_line_wrong(&line, "--key is needed: a log must not say itself who signed it");
	if (verify.directory != NULL && verify.receipt != NULL)
		return command_line_wrong(&line, "either --dir or --receipt, not both");
	exit_code = audit_key(verify.key_text, &verify.key);
	if (exit_code == EXIT_CODE_OK && verify.receipt != NULL) {
		exit_code = verify_receipt(&verify);
	} else if (exit_code == EXIT_CODE_OK) {
		exit_code = audit_directory(line.config, verify.directory, &directory);
		verify.directory = directory.data;
		if (exit_code == EXIT_CODE_OK)
			exit_code = verify_directory(&verify);
	}
	strbuf_release(&directory);
	return exit_code;
}

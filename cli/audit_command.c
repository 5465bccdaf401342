/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward audit`: what auditors and operators do with the access log.  Here is
 * the table of its commands, and the small ones that read the log's files and
 * need no running daemon.
 */
#include "cli/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

enum { OPTION_DIR = COMMAND_ID_FIRST, OPTION_KEY };

#define KEY_BYTES_MAX 1024 /* a name, an id and a key */

int audit_key(const char *text, struct note_verifier *verifier_out)
{
	struct strbuf content = STRBUF_INIT, why = STRBUF_INIT;
	int exit_code = EXIT_CODE_OK;

	memset(verifier_out, 0, sizeof(*verifier_out));
	if (strchr(text, '+') != NULL) {
		strbuf_adds(&content, text);
	} else if (file_read(text, KEY_BYTES_MAX, &content, &why) != STATUS_OK) {
		exit_code = command_fail(EXIT_CODE_DATA, "%s", why.data);
		goto out;
	}
	strbuf_trim_end(&content, "\n");
	if (note_verifier_parse(content.data, verifier_out, &why) != STATUS_OK)
		exit_code = command_fail(EXIT_CODE_DATA, "%s: %s", text, why.data);
out:
	strbuf_release(&content);
	strbuf_release(&why);
	return exit_code;
}

int audit_directory(const char *config, const char *given, struct strbuf *directory_out)
{
	struct settings *settings = NULL;
	int exit_code = EXIT_CODE_OK;

	if (given != NULL) {
		strbuf_adds(directory_out, given);
	} else {
		exit_code = command_settings(config, &settings);
		if (exit_code == EXIT_CODE_OK)
			strbuf_adds(directory_out, settings->access_log.directory);
	}
	if (exit_code == EXIT_CODE_OK && !strbuf_ok(directory_out))
		exit_code = command_fail(EXIT_CODE_FAILED, "%s", status_name(STATUS_NO_MEMORY));
	settings_destroy(settings);
	return exit_code;
}

int audit_open(const char *directory, const struct note_verifier *key, struct log_reader **reader_out)
{
	struct strbuf why = STRBUF_INIT;
	enum status status = log_reader_open(directory, key, reader_out, &why);
	int exit_code = EXIT_CODE_OK;

	if (status != STATUS_OK)
		exit_code = command_fail(EXIT_CODE_FAILED, "%s", why.length > 0 ? why.data : status_name(status));
	strbuf_release(&why);
	return exit_code;
}

bool audit_index(struct command_line *line, const char *text, uint64_t *index_out)
{
	const char *digit = text;
	uint64_t index = 0;

	for (; *digit >= '0' && *digit <= '9' && index < MERKLE_SIZE_MAX; digit++)
		index = index * 10 + (uint64_t)(*digit - '0');
	*index_out = index;
	if (digit != text && *digit == '\0' && index < MERKLE_SIZE_MAX)
		return true;
	line->exit_code = command_line_wrong(line, "`%s` is not the number of an entry", text);
	return false;
}

/* What show and receipt have in common: INDEX [--dir DIR] [--key KEY], and one text on stdout. */
static int print_one(const struct command_usage *usage, int argc, char **argv,
	enum status (*read)(struct log_reader *reader, uint64_t index, struct strbuf *text, struct strbuf *why))
{
	struct strbuf text = STRBUF_INIT, why = STRBUF_INIT, directory = STRBUF_INIT;
	const char *given = NULL, *key_text = NULL;
	struct log_reader *reader = NULL;
	struct note_verifier key;
	struct command_line line;
	uint64_t index;
	int exit_code;

	command_line_begin(&line, usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_DIR)
			given = line.value;
		else if (id == OPTION_KEY)
			key_text = line.value;
	}
	if (line.is_over || !command_line_expect(&line, 1, 1) || !audit_index(&line, line.arguments[0], &index))
		return line.exit_code;
	exit_code = key_text == NULL ? EXIT_CODE_OK : audit_key(key_text, &key);
	if (exit_code == EXIT_CODE_OK)
		exit_code = audit_directory(line.config, given, &directory);
	if (exit_code == EXIT_CODE_OK)
		exit_code = audit_open(directory.data, key_text == NULL ? NULL : &key, &reader);
	if (exit_code == EXIT_CODE_OK) {
		enum status status = read(reader, index, &text, &why);

		if (status != STATUS_OK)
			exit_code = command_fail(
				EXIT_CODE_FAILED, "%s", why.length > 0 ? why.data : status_name(status));
		else if (fwrite(text.data, 1, text.length, stdout) != text.length || fflush(stdout) != 0)
			exit_code = command_fail(EXIT_CODE_FAILED, "cannot write");
	}
	log_reader_close(reader);
	strbuf_release(&directory);
	strbuf_release(&text);
	strbuf_release(&why);
	return exit_code;
}

static const struct command_option one_options[] = { COMMAND_OPTION_CONFIG,
	{ OPTION_DIR, "dir", "DIR", "the log's directory (default: that of the settings)" },
	{ OPTION_KEY, "key", "KEY", "whose signature the checkpoint must have: a verifier key, or a file with it" },
	COMMAND_OPTION_END };

static enum status read_line(struct log_reader *reader, uint64_t index, struct strbuf *text, struct strbuf *why)
{
	enum status status = log_reader_entry(reader, index, text, why);

	strbuf_addc(text, '\n');
	return status;
}

int audit_show(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward audit show", "INDEX [-c FILE | --dir DIR] [--key KEY]",
		"Prints one entry of the log as it was written; the first is number 0.", one_options,
		"homeward audit show 1041 --dir /var/lib/homeward/log\n" };

	return print_one(&usage, argc, argv, read_line);
}

int audit_receipt(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward audit receipt", "INDEX [-c FILE | --dir DIR] [--key KEY]",
		"Prints a receipt for one entry: the entry, its way to the root and the signed checkpoint, in one "
		"file\n"
		"(c2sp.org/tlog-proof@v1) that `homeward audit verify --receipt` and other verifiers check offline.",
		one_options, "homeward audit receipt 1041 --dir /var/lib/homeward/log > 1041.tlog-proof\n" };

	return print_one(&usage, argc, argv, log_reader_receipt);
}

static int audit_key_show(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward audit key", "",
		"Prints the verifier key of this region's access log: what auditors check it with, and what the other\n"
		"regions set as peers.REGION.log_key.  The daemon makes the key when it first starts.",
		options, "homeward audit key > eu.pub\n" };
	struct strbuf text = STRBUF_INIT, why = STRBUF_INIT;
	struct note_signer *signer = NULL;
	struct settings *settings = NULL;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	(void)command_line_next(&line);
	if (line.is_over || !command_line_expect(&line, 0, 0))
		return line.exit_code;
	exit_code = command_settings(line.config, &settings);
	if (exit_code == EXIT_CODE_OK && note_signer_load(settings->access_log.signing_key_file,
						 settings->access_log.origin, false, &signer, &why) != STATUS_OK)
		exit_code = command_fail(EXIT_CODE_FAILED, "%s", why.data);
	if (exit_code == EXIT_CODE_OK) {
		note_verifier_write(note_signer_verifier(signer), &text);
		printf("%s\n", text.data);
	}
	note_signer_destroy(signer);
	settings_destroy(settings);
	strbuf_release(&text);
	strbuf_release(&why);
	return exit_code;
}

static const struct command_entry commands[] = {
	{ "verify", audit_verify, "check the whole log, or one receipt, against a key" },
	{ "search", audit_search, "list entries by time, subject, peer, purpose, rule ..." },
	{ "export", audit_export, "the entries of a time as they were logged, with a manifest" },
	{ "hash", audit_hash, "what stands for an object in the log" },
	{ "reconcile", audit_reconcile, "pair this region's entries with a peer's" },
	{ "show", audit_show, "print one entry" },
	{ "report", audit_report, "reports made of the log: counts, the record of processing activities" },
	{ "receipt", audit_receipt, "an offline proof that one entry is in the log" },
	{ "reindex", audit_reindex, "make the search index in PostgreSQL again" },
	{ "key", audit_key_show, "print this region's verifier key" },
	{ NULL, NULL, NULL },
};

static const struct command_group group = {
	"homeward audit",
	"Reads and checks the tamper-evident access log (docs/AUDIT.md).",
	commands,
	"homeward audit verify --dir /var/lib/homeward/log --key log.pub\n"
	"homeward audit receipt 1041 --dir /var/lib/homeward/log > 1041.tlog-proof\n",
};

int command_audit(int argc, char **argv)
{
	return command_group_run(&group, argc, argv);
}

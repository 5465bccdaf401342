/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The read side of a log's directory, also while a writer is at work in it: what
 * a checkpoint covers is in files that are complete before the checkpoint is
 * renamed into place, so a reader that goes by one checkpoint sees one log.
 *
 * One thread a reader; it blocks on the disk.  Errors name the file.
 */
#ifndef POLICY_LOG_READER_H
#define POLICY_LOG_READER_H

#include "policy/merkle.h"
#include "policy/note.h"
#include "policy/tile.h"

#define LOG_CHECKPOINT "checkpoint"                   /* in the log's directory */
#define LOG_CHECKPOINT_COSIGNED "checkpoint.cosigned" /* the last one that peers cosigned, with their lines */

struct log_reader;

/* Reads the checkpoint.  verifier: whose signature it must have; NULL: it is believed as it lies there. */
MUST_CHECK enum status log_reader_open(const char *directory, const struct note_verifier *verifier,
	struct log_reader **reader_out, struct strbuf *why);
void log_reader_close(struct log_reader *reader);
/* Takes the checkpoint there is now; the old one stays on failure. */
MUST_CHECK enum status log_reader_refresh(struct log_reader *reader, struct strbuf *why);

const struct checkpoint *log_reader_checkpoint(const struct log_reader *reader);
/* The signed note as it was read; the reader's. */
const struct strbuf *log_reader_note(const struct log_reader *reader);

/* Nodes of the checkpoint's tree, from tiles.  After a failure log_reader_why() says which file. */
struct merkle_reader log_reader_hashes(struct log_reader *reader);
const char *log_reader_why(const struct log_reader *reader);

/* STATUS_NOT_FOUND: not below the checkpoint's size. */
MUST_CHECK enum status log_reader_entry(
	struct log_reader *reader, uint64_t index, struct strbuf *entry, struct strbuf *why);
/* Entries start..end-1 in order, one bundle in memory at a time; stops when `each` returns false (STATUS_OK). */
typedef bool log_reader_each_entry(void *arg, uint64_t index, const char *entry, size_t size);
MUST_CHECK enum status log_reader_each(struct log_reader *reader, uint64_t start, uint64_t end,
	log_reader_each_entry *each, void *arg, struct strbuf *why);

/* That this log begins with the older checkpoint's tree; `name` is what to call that.  STATUS_INVALID: it does not. */
MUST_CHECK enum status log_reader_continues(
	struct log_reader *reader, const struct checkpoint *older, const char *name, struct strbuf *why);

/* A receipt for the entry, as text. */
MUST_CHECK enum status log_reader_receipt(
	struct log_reader *reader, uint64_t index, struct strbuf *receipt, struct strbuf *why);

/*
 * Hashes every entry again, compares every tile and the root of the checkpoint.  Tells each file that is wrong,
 * at most LOG_FAULTS_MAX of them; STATUS_INVALID when there was any.
 */
#define LOG_FAULTS_MAX 32
typedef void log_reader_fault(void *arg, const char *path, const char *what);
MUST_CHECK enum status log_reader_check(struct log_reader *reader, log_reader_fault *fault, void *arg);

#endif

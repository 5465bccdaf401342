/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside an engine's end of the access log: an entry gets its subject, goes to the
 * writer, and ends once.  All of it belongs to the log's loop.
 */
#ifndef POLICY_ACCESS_LOG_H
#define POLICY_ACCESS_LOG_H

#include <stdatomic.h>

#include "base/log.h"
#include "base/metrics.h"
#include "policy/entry.h"
#include "policy/log_writer.h"
#include "policy/policy.h"
#include "policy/pseudonym.h"

#define ACCESS_FORM_SLOTS 1024 /* forms remembered between entries */

/* What thousands of entries share, written once. */
struct access_form {
	int references;
	uint64_t hash;
	struct metric_series *decisions; /* found at the first decision with this form */
	struct entry_form *form;
	size_t length;
	char key[]; /* what it was made from, each with its NUL */
};

struct access_entry {
	struct log_item item;               /* first */
	struct pseudonym_question question; /* while its subject is asked for */
	struct access_log *log;
	struct access_form *form;
	struct object_id object;
	struct exchange_id exchange;
	int64_t deadline_ms;
	bool is_personal, opens_grant, has_record_hash;
	bool is_unrecorded; /* let through without being durable */
	char grant_region[REGION_SIZE];
	uint8_t record_hash[ENTRY_HASH_SIZE];
	char subject[ENTRY_SUBJECT_SIZE];
	char *text;
	struct access_entry *next; /* among those refused */
	enum status failure;
	/* Once, and then the entry is the caller's to free. */
	void (*done)(struct access_entry *entry, enum status status);
};

struct grants;

struct access_log {
	struct loop *loop;
	struct database *database;
	const struct clock_source *clock;
	struct log_writer *writer;
	struct log_port *port;
	struct pseudonyms *pseudonyms;
	struct grants *grants;
	char region[REGION_SIZE];
	bool is_off;
	int64_t grace_ms;
	bool is_destroyed;
	atomic_uint_fast64_t *unrecorded;
	struct denials *denials;

	struct access_entry *refused;
	struct loop_task refuse;
	bool will_refuse;

	struct access_form *forms[ACCESS_FORM_SLOTS];
	struct strbuf scratch, list;

	struct metric *decisions;
	struct metric_series *kinds[ENTRY_KIND_COUNT], *failures, *gaps, *waiting, *commits;
	struct log_limit write_failed;
};

/* Fills form, object, exchange and deadline; false when it cannot be written.  The rest is the caller's to set. */
bool access_entry_fill(struct access_log *log, const struct entry_terms *terms, const struct lookup_question *question,
	struct access_entry *entry);
/* Finds the subject, then appends.  An entry about nobody is let through when the log has failed, and counted. */
void access_entry_append(struct access_entry *entry, enum pseudonym_wish wish);
/* Ends it soon with this status, unwritten. */
void access_entry_refuse(struct access_entry *entry, enum status status);
/* What it owns, less itself. */
void access_entry_release(struct access_entry *entry);
/* Frees a destroyed log that nothing under way points to any more. */
void access_log_free_if_idle(struct access_log *log);

/* ---- grants.c ---- */

MUST_CHECK enum status grants_create(struct access_log *log, int64_t ttl_s, struct grants **grants_out);
/* Soon, beside the entry; nothing waits for it. */
void grant_open(struct grants *grants, const char *subject, const char *region);
/* Ends what waits. */
void grants_stop(struct grants *grants);
bool grants_are_idle(const struct grants *grants);
void grants_free(struct grants *grants);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry of the access log: ASCII JSON on one line, its members always in the
 * same order, absent ones left out (docs/AUDIT.md has the table).  There is one
 * way to write an entry and only that is read, so the text and struct entry stand
 * for each other.
 *
 * Most of an entry is the same for thousands of lookups.  That part is written
 * once, as a form; encoding fills in when, which exchange, which subject and the
 * random bytes.
 */
#ifndef POLICY_ENTRY_H
#define POLICY_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/exchange_id.h"
#include "base/lookup.h"
#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"

#define ENTRY_SIZE_MAX 65535 /* what an entry bundle can hold */
#define ENTRY_OPERATION_SIZE 16
#define ENTRY_DECISION_SIZE 8
#define ENTRY_OUTCOME_SIZE 32
#define ENTRY_RULES_SIZE 4096
#define ENTRY_FIELDS_SIZE 8192
#define ENTRY_MESSAGE_SIZE 512
#define ENTRY_HASH_SIZE 32
#define ENTRY_SALT_SIZE 16
#define ENTRY_SUBJECT_SIZE 48 /* "p1." and 32 hex digits, or "u1.<epoch>." and 32 */

enum entry_kind {
	ENTRY_ASK,
	ENTRY_SERVE,
	ENTRY_GOT,
	ENTRY_CACHEHIT,
	ENTRY_DENY,
	ENTRY_SEND,
	ENTRY_RECEIVE,
	ENTRY_ERASE,
	ENTRY_POLICY,
	ENTRY_ADMIN,
	ENTRY_BOOT,
	ENTRY_GAP,
	ENTRY_KIND_COUNT
};

/* "ask", "serve" … */
const char *entry_kind_name(enum entry_kind kind);

/* A text that is "" and a number that is negative are absent. */
struct entry {
	int64_t at_us; /* UTC */
	enum entry_kind kind;
	bool has_exchange, has_record_hash;
	struct exchange_id exchange;
	char me[REGION_SIZE], peer[REGION_SIZE];
	char type[OBJECT_TYPE_SIZE];
	char subject[ENTRY_SUBJECT_SIZE];
	char operation[ENTRY_OPERATION_SIZE]; /* ask, serve, local, send, receive */
	char purpose[PURPOSE_SIZE];
	char caller[CALLER_SIZE];
	char decision[ENTRY_DECISION_SIZE]; /* permit, deny */
	char rules[ENTRY_RULES_SIZE];       /* comma separated, as fields */
	char policy[POLICY_VERSION_SIZE];
	char fields[ENTRY_FIELDS_SIZE];
	int64_t ttl_s;
	char outcome[ENTRY_OUTCOME_SIZE];
	uint8_t record_hash[ENTRY_HASH_SIZE]; /* SHA-256(nonce || record text) */
	char message[ENTRY_MESSAGE_SIZE];
	int64_t count;
	uint8_t salt[ENTRY_SALT_SIZE];
};

/* The only form: STATUS_INVALID for anything that entry_write() would not have written; `what_out` (may be NULL) says
 * what is wrong, static. */
MUST_CHECK enum status entry_read(const char *text, size_t size, struct entry *entry_out, const char **what_out);
/* Appends the entry's text. */
MUST_CHECK enum status entry_write(const struct entry *entry, struct strbuf *text);

/* ---- the fast way to write many that differ in a few members ---- */

/* What a form holds; NULL or "" is absent, and so is a negative number. */
struct entry_terms {
	enum entry_kind kind;
	const char *me, *peer, *type, *operation, *purpose, *caller, *decision, *rules, *policy, *fields, *outcome,
		*message;
	int64_t ttl_s, count;
};

#define ENTRY_FORM_PARTS 4

struct entry_form {
	uint16_t end[ENTRY_FORM_PARTS]; /* where each part of the text ends */
	uint32_t size_max;              /* of an entry of this form */
	char text[];
};

struct entry_moment {
	int64_t at_us;
	const struct exchange_id *exchange; /* NULL: none */
	const char *subject;                /* NULL or "": none */
	const uint8_t *record_hash;         /* ENTRY_HASH_SIZE bytes, or NULL */
	const uint8_t *salt;                /* ENTRY_SALT_SIZE bytes */
};

/* STATUS_TOO_LARGE when an entry of it would not fit its bounds.  free() it. */
MUST_CHECK enum status entry_form_create(const struct entry_terms *terms, struct entry_form **form_out);
/* Writes at most form->size_max bytes, no NUL; returns how many. */
size_t entry_encode(const struct entry_form *form, const struct entry_moment *moment, char *text);

#endif

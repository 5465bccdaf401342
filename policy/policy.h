/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy: front door.  The gate decides whether anything may cross a border, and
 * the access log makes each crossing a durable entry before it happens.
 *
 * The two meet in one function, policy_release_request(): it decides, writes the
 * entry, and only when that entry is durable hands out a struct policy_release.
 * Nothing else can make one, and nothing may be sent to another region without
 * one (router and handlers ask for it by type).
 *
 * Five operations: `local` (this region reads its own object: no crossing, no
 * entry, but the purpose still limits the fields), `ask` (an id is about to leave
 * for its home), `serve` (fields are about to leave for the requester), `send` (an
 * event is about to leave) and `receive` (one has come).
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/database.h"
#include "base/lookup.h"
#include "base/loop.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "policy/budget.h"
#include "policy/denials.h"
#include "policy/shadow.h"
#include "policy/signature.h"
#include "policy/entry.h"
#include "policy/keyring.h"
#include "policy/pseudonym_text.h"
#include "policy/log_writer.h"
#include "policy/tools.h"
#include "policy/travel.h"
#include "policy/log_index.h"
#include "policy/log_proof.h"
#include "policy/reconcile.h"
#include "policy/log_reader.h"
#include "policy/witness.h"

/* ---- the policy: an immutable snapshot, counted references ---- */

struct policy;

/* Reads, checks the closed schema, runs the embedded tests and invariants; any failure refuses the file.
 * `why` lists every problem, one a line, with the JSON pointer. */
MUST_CHECK enum status policy_parse(
	const char *name, const char *text, size_t size, struct policy **policy_out, struct strbuf *why);
MUST_CHECK enum status policy_read(const char *path, struct policy **policy_out, struct strbuf *why);
struct policy *policy_acquire(struct policy *policy);
void policy_release_reference(struct policy *policy);
const char *policy_version(const struct policy *policy);  /* "42:9f86d081884c7d65" */
const char *policy_home(const struct policy *policy);     /* the region it speaks for */
int64_t policy_not_after_us(const struct policy *policy); /* from when on personal types are denied */
int policy_test_count(const struct policy *policy);
/* A policy or type that is not there counts as personal. */
bool policy_is_personal(const struct policy *policy, const char *type);

/* ---- the gate: the current policy, swapped whole; any thread ---- */

struct gate;

/* The policy may be NULL: then everything is denied.  Takes the reference. */
struct gate *gate_create(struct policy *policy, const struct clock_source *clock);
void gate_destroy(struct gate *gate);
void gate_swap(struct gate *gate, struct policy *policy);
struct policy *gate_acquire(struct gate *gate);    /* policy_release_reference when done; may be NULL */
uint64_t gate_generation(const struct gate *gate); /* rises with every swap */

enum gate_operation { GATE_LOCAL, GATE_ASK, GATE_SERVE, GATE_SEND, GATE_RECEIVE };
#define GATE_OPERATIONS 5
enum roaming { ROAMING_UNKNOWN, ROAMING_ACTIVE, ROAMING_NONE };

#define GATE_FIELDS_MAX 64
#define GATE_FIELD_SIZE 64 /* of a name, with its NUL */
#define GATE_RULES_MAX 16
#define GATE_BUDGET "budget" /* likewise: the asking region is past its budget (budget.h) */
#define GATE_ABSENT "absent" /* stands on record where a rule's id would; no rule may be called so */

struct gate_request {
	enum gate_operation operation;
	const char *requester; /* region that asks: from the certificate, or this region; that sends an event */
	const char *to; /* region that would receive: the home for ask, the requester for serve, an event's destination,
			 * this one for local and receive */
	const char *type, *purpose, *caller;
	const char *station_region; /* where this region's router places evidence.station; NULL: unknown */
	enum roaming roaming;
	const json_t *record; /* for its consent and restriction flags; NULL: all unknown.  Of an event: its data */
	const char *classification; /* of an event's data, by its schema; NULL: there is no schema */
	bool is_absent; /* there is no such object: denied by the rule word GATE_ABSENT, whatever the policy says */
	bool is_over_budget; /* denied by the rule word GATE_BUDGET, whatever is asked for */
	int64_t now_wall_us; /* an expired policy denies */
};

struct gate_decision {
	bool permitted;
	uint64_t fields;   /* bits over the policy's field list for the type */
	int64_t ttl_max_s; /* -1: no rule caps it */
	bool onward;
	const char *rules
		[GATE_RULES_MAX]; /* ids that decided: forbids if any fired, else permits; borrowed from the policy */
	size_t rule_count;
};

/* Pure.  docs/POLICY.md numbers its steps as decide.c does. */
void policy_decide(const struct policy *policy, const struct gate_request *request, struct gate_decision *decision);
/* The class the policy vouches for where data of this type may be anything, without a schema; else NULL. */
const char *policy_type_classification(const struct policy *policy, const char *type);
/* Why an event was denied, for whoever sent it: no rule, or which of its fields no rule lets cross. */
void policy_event_refusal(const struct policy *policy, const struct gate_request *request, struct strbuf *text);
/* As policy_decide, and writes for people which rules matched or which condition failed first. */
void policy_explain(const struct policy *policy, const struct gate_request *request, struct strbuf *text);
/* Whether any rule for this reads subject.roaming, so that the grant need not be fetched for nothing. */
bool policy_reads_roaming(
	const struct policy *policy, enum gate_operation operation, const char *type, const char *purpose);
/* Which member of a type's records says a flag ("subject.restricted"); false when the policy has none for it. */
bool policy_flag_field(const struct policy *policy, const char *type, const char *flag, char field[GATE_FIELD_SIZE]);
/* Whether its records may have any. */
bool policy_has_flags(const struct policy *policy, const char *type);
/* A new object with only the fields decided; NULL when out of memory. */
json_t *policy_view(
	const struct policy *policy, const char *type, const struct gate_decision *decision, const json_t *record);
/* The names of the fields, comma separated, in the policy's order. */
void policy_field_names(const struct policy *policy, const char *type, uint64_t fields, struct strbuf *names);

/* ---- the access log: one end of it an engine, one writer a process ---- */

struct access_log;

struct access_log_settings {
	const char *region;  /* copied */
	const uint8_t *key;  /* 32 bytes, for the names of subjects' rows; copied */
	int64_t grant_ttl_s; /* how long a permitted charge.authorize keeps its grant open */
	struct log_writer *writer;
	struct keyring *keyring;
	atomic_uint_fast64_t *unrecorded; /* crossings let through while the log had failed; the owner writes a `gap` */
	int64_t grace_s;         /* personal data goes on for so long while the log cannot be written; 0: not at all */
	bool is_off;             /* nothing is recorded: for measuring only */
	struct denials *denials; /* what the gate denies is counted there; NULL: nowhere */
};

/* The database keeps subjects' keys and grants; entries do not wait for it longer than half a second. */
MUST_CHECK enum status access_log_create(struct loop *loop, struct database *database,
	const struct access_log_settings *settings, const struct clock_source *clock, struct access_log **log_out);
/* What has not ended ends with STATUS_DRAINING.  The database is destroyed after it or before it, but is destroyed:
 * what it still holds is freed then.  The writer is closed after it. */
void access_log_destroy(struct access_log *log);
/* Looks for the subject's key now, so that no entry has to wait for it later. */
void access_log_prepare(struct access_log *log, const struct policy *policy, const struct object_id *object);

/* An entry that is about no lookup (boot, policy, admin, gap), from any thread but a loop's: waits until it is
 * durable.  text is machine-written and never has an id; count < 0: none. */
struct access_note {
	enum entry_kind kind;
	const char *policy_version, *text; /* NULL: none */
	int64_t count;
	const char *peer, *type, *subject;  /* of an `erase`; NULL: none */
	const struct exchange_id *exchange; /* NULL: none */
};
MUST_CHECK enum status access_log_note(
	struct log_writer *writer, const char *region, const struct access_note *note, int64_t deadline_ms);

/* What an entry calls an object: "p1." under the subject's own key, "u1.<epoch>." under an epoch's. */
void pseudonym_write(const uint8_t key[32], const struct object_id *object, char subject[ENTRY_SUBJECT_SIZE]);
void pseudonym_write_epoch(
	const uint8_t key[32], uint32_t epoch, const struct object_id *object, char subject[ENTRY_SUBJECT_SIZE]);

/* The name of a subject's row: HMAC-SHA-256 of "<type>\n<id>" under the region's key, the first 16 bytes in hex, "k1." in
 * front.  Entries have a pseudonym instead (policy/pseudonym.h). */
#define SUBJECT_HASH_SIZE 40
void access_log_subject(const uint8_t key[32], const struct object_id *object, char text[SUBJECT_HASH_SIZE]);
/* Reads the 32-byte key file, or makes it (mode 0600) when it is not there. */
MUST_CHECK enum status access_key_load(const char *path, uint8_t key[32], struct strbuf *why);

/* ---- release: proof that this crossing was permitted and is on record ---- */

struct policy_release;

/* STATUS_OK: release is owned by the callee.  STATUS_NOT_AVAILABLE: denied, and the denial is on record.
 * Anything else: the entry could not be made durable, so nothing may be sent. */
typedef void policy_release_done(void *arg, enum status status, struct policy_release *release);

/*
 * On the log's loop.  `peer` is the other region of this crossing.  policy may be NULL (deny).  The question
 * and request are copied; request->record only has to live until this returns (flags and view are taken at once).
 * A permitted `serve` of purpose charge.authorize also opens the subject's grant.
 * Past the question's deadline there is no release (STATUS_DEADLINE).  STATUS_UNRECORDED: the log has failed and the
 * type is personal.
 *
 * Of an event (`send`, `receive`) the question's object is what the event is about; its type is request->type, and
 * request->record is read before this returns.
 */
void policy_release_request(struct access_log *log, struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, const char *peer, policy_release_done *done, void *arg);

void policy_release_destroy(struct policy_release *release);
/* For asserting, at the point of sending, that it names this crossing. */
bool policy_release_covers(const struct policy_release *release, const struct object_id *object, const char *peer);
const struct gate_decision *policy_release_decision(const struct policy_release *release);
const char *policy_release_version(const struct policy_release *release);
/* Of a permitted `serve`, once: the view's text, free() it, and the nonce that goes with it. */
char *policy_release_take_record(
	struct policy_release *release, size_t *length_out, uint8_t nonce_out[LOOKUP_NONCE_SIZE]);

/* The requester's second entry, `got`: what came back.  fields: names received, comma separated. */
typedef void access_log_done(void *arg, enum status status);
struct access_got {
	const struct lookup_question *question;
	const char *peer;
	enum status answer; /* STATUS_OK or STATUS_NOT_AVAILABLE, or why there was none */
	const char *fields;
	int64_t ttl_s;
	const char *peer_policy_version;
	const struct policy *policy; /* ours, by which it was asked; NULL: as for personal types */
	const char *record;          /* the text as it came, when nonce is not NULL */
	size_t record_length;
	const uint8_t *nonce;
};
void access_log_got(struct access_log *log, const struct access_got *got, access_log_done *done, void *arg);

/* Open grants of the subjects here, for subject.roaming: one array query for all asked in this round. */
typedef void grant_done(void *arg, enum status status, bool is_open);
void grant_check(struct access_log *log, const struct object_id *object, const char *region, int64_t deadline_ms,
	grant_done *done, void *arg);

#endif

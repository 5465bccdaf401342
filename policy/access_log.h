/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the access log: entries wait in one queue, go out in batches, and end
 * exactly once.  All of it belongs to the log's loop.
 */
#ifndef POLICY_ACCESS_LOG_H
#define POLICY_ACCESS_LOG_H

#include "base/log.h"
#include "base/metrics.h"
#include "policy/policy.h"
#include "policy/subject.h"

/* Two statements a connection keep PostgreSQL busy while the answer to the first is on its way. */
#define ACCESS_IN_FLIGHT_MAX 2
/* 10,000 lookups in flight make an `ask` and a `got` each. */
#define ACCESS_WAITING_MAX 20000
/* Different contexts in one batch: what keeps the join in the statement small. */
#define ACCESS_CONTEXTS_MAX 64
#define ACCESS_CONTEXT_SLOTS 1024 /* contexts remembered between entries */
#define ACCESS_CONTEXT_COLUMNS 11 /* kind peer type operation purpose caller decision rules policy fields ttl_s */

/* All of an entry but who and when: the same for thousands of entries, so it is written once a batch. */
struct access_context {
	int references;
	uint64_t hash;
	uint64_t batch; /* the batch it was last given an index in */
	int batch_index;
	bool opens_grant;
	struct metric_series *decisions; /* found at the first decision with this context */
	size_t length;
	char text[]; /* the columns, each with its NUL */
};

struct access_entry {
	struct access_entry *next;
	struct access_context *context;
	int64_t at_us;
	int64_t deadline_ms;
	struct exchange_id exchange;
	char subject[SUBJECT_HASH_SIZE];
	enum status failure; /* for those that never came into the queue */
	bool is_over;        /* done was called; still here because its batch is in flight */
	/* Called once.  `dispose` follows when nothing refers to the entry any more. */
	void (*done)(struct access_entry *entry, enum status status);
	void (*dispose)(struct access_entry *entry);
};

struct entry_list {
	struct access_entry *first, **last;
	size_t count;
};

struct access_batch {
	struct access_log *log;
	struct entry_list entries;
	bool is_in_flight;
	int64_t sent_us;
};

enum access_kind { ACCESS_ASK, ACCESS_SERVE, ACCESS_GOT, ACCESS_DENY, ACCESS_SEND, ACCESS_RECEIVE };
#define ACCESS_KINDS 6

struct grant_question;
struct grant_round;

struct access_log {
	struct loop *loop;
	struct database *database;
	const struct clock_source *clock;
	char region[REGION_SIZE];
	char grant_ttl_text[24];
	struct subject_key subject;
	size_t batch_max;

	struct entry_list waiting, failed;
	struct access_batch batches[ACCESS_IN_FLIGHT_MAX];
	int in_flight;
	uint64_t batch_number;
	struct loop_task flush, fail;
	bool will_flush, will_fail;
	bool is_destroyed;
	struct loop_timer timer;
	int64_t timer_at_ms; /* 0: not running */

	struct access_context *contexts[ACCESS_CONTEXT_SLOTS];
	struct strbuf scratch;
	struct strbuf arrays[4 + ACCESS_CONTEXT_COLUMNS];

	struct grant_question *grants_waiting;
	struct grant_round *grant_rounds; /* in flight */
	size_t grants_count;
	struct loop_task grants_flush;
	bool will_flush_grants;

	struct metric *decisions;
	struct metric_series *kinds[ACCESS_KINDS], *failures, *queue, *commits;
	struct log_limit write_failed;
};

struct access_columns {
	enum access_kind kind;
	const char *peer, *type, *operation, *purpose, *caller, *decision, *policy, *fields;
	const char *const *rules;
	size_t rule_count;
	int64_t ttl_s;
	bool opens_grant;
};

void entry_list_init(struct entry_list *list);
void entry_list_add(struct entry_list *list, struct access_entry *entry);

/* Fills the entry; false when out of memory.  done and dispose are the caller's to set. */
bool access_entry_fill(struct access_log *log, const struct access_columns *columns,
	const struct lookup_question *question, struct access_entry *entry);
/* Takes the entry. */
void access_log_append(struct access_log *log, struct access_entry *entry);
/* Ends it soon with this status, unwritten.  Takes the entry. */
void access_log_refuse(struct access_log *log, struct access_entry *entry, enum status status);
/* Frees a destroyed log that nothing under way points to any more. */
void access_log_free_if_idle(struct access_log *log);
/* Has the timer fire at the latest then. */
void access_log_watch(struct access_log *log, int64_t deadline_ms);

void access_context_put(struct access_context *context);
/* Moves entries from `waiting` into the batch and sends it. */
void access_batch_send(struct access_log *log, struct access_batch *batch, database_done *done);

void grants_flush(struct loop_task *task);
/* Gives up questions past their deadline; returns the next deadline or INT64_MAX. */
int64_t grants_expire(struct access_log *log, int64_t now_ms);
void grants_destroy(struct access_log *log);

#endif

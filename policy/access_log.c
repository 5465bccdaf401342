/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access log's queue.  Entries of one round of the loop are sent together,
 * and those that come while a batch is under way wait for it and go as the next:
 * the busier it is, the larger the groups, and nothing waits on an idle log.
 *
 * An entry ends once: written and committed, failed, or at its deadline.  One
 * that is given up after it was sent may still be written.  So the log can say
 * more than happened, never less: nobody is told OK without a commit.
 *
 * A queue is on one loop and needs no lock.
 */
#include "policy/access_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"

static const char *const kind_names[] = { "ask", "serve", "got", "deny", "send", "receive" };

void entry_list_init(struct entry_list *list)
{
	list->first = NULL;
	list->last = &list->first;
	list->count = 0;
}

void entry_list_add(struct entry_list *list, struct access_entry *entry)
{
	entry->next = NULL;
	*list->last = entry;
	list->last = &entry->next;
	list->count++;
}

/* ---- contexts ---- */

static void add_column(struct strbuf *text, const char *column)
{
	strbuf_add(text, column, strlen(column) + 1);
}

static void write_context(struct strbuf *text, const struct access_columns *columns)
{
	strbuf_reset(text);
	add_column(text, kind_names[columns->kind]);
	add_column(text, columns->peer);
	add_column(text, columns->type);
	add_column(text, columns->operation);
	add_column(text, columns->purpose);
	add_column(text, columns->caller);
	add_column(text, columns->decision);
	for (size_t i = 0; i < columns->rule_count; i++) {
		if (i > 0)
			strbuf_addc(text, ',');
		strbuf_adds(text, columns->rules[i]);
	}
	strbuf_addc(text, '\0');
	add_column(text, columns->policy);
	add_column(text, columns->fields);
	strbuf_addf(text, "%lld", (long long)columns->ttl_s);
	strbuf_addc(text, '\0');
}

static struct access_context *context_get(struct access_log *log, const struct access_columns *columns)
{
	struct strbuf *text = &log->scratch;
	struct access_context **slot, *context;
	uint64_t hash;

	write_context(text, columns);
	if (!strbuf_ok(text))
		return NULL;
	hash = hash_key64(text->data, text->length, 0);
	slot = &log->contexts[hash % ACCESS_CONTEXT_SLOTS];
	context = *slot;
	if (context == NULL || context->hash != hash || context->length != text->length ||
		memcmp(context->text, text->data, text->length) != 0) {
		context = calloc(1, sizeof(*context) + text->length);
		if (context == NULL)
			return NULL;
		context->references = 1; /* the slot's */
		context->hash = hash;
		context->opens_grant = columns->opens_grant;
		context->length = text->length;
		memcpy(context->text, text->data, text->length);
		access_context_put(*slot);
		*slot = context;
	}
	context->references++;
	return context;
}

bool access_entry_fill(struct access_log *log, const struct access_columns *columns,
	const struct lookup_question *question, struct access_entry *entry)
{
	entry->context = context_get(log, columns);
	entry->at_us = clock_wall_us(log->clock);
	entry->deadline_ms = question->deadline_ms;
	entry->exchange = question->exchange;
	subject_key_hash(&log->subject, &question->object, entry->subject);
	metric_add(log->kinds[columns->kind], 1);
	return entry->context != NULL;
}

/* ---- ends ---- */

static void finish(struct access_entry *entry, enum status status)
{
	if (!entry->is_over) {
		entry->is_over = true;
		entry->done(entry, status);
	}
}

static void dispose(struct access_entry *entry)
{
	access_context_put(entry->context);
	entry->context = NULL;
	entry->dispose(entry);
}

static void finish_all(struct access_log *log, struct entry_list *list, enum status status)
{
	struct access_entry *entry = list->first;

	metric_move(log->queue, -(int64_t)list->count);
	entry_list_init(list);
	while (entry != NULL) {
		struct access_entry *next = entry->next;

		finish(entry, status);
		dispose(entry);
		entry = next;
	}
}

static void run_fail(struct loop_task *task)
{
	struct access_log *log = (struct access_log *)((char *)task - offsetof(struct access_log, fail));
	struct access_entry *entry = log->failed.first;

	log->will_fail = false;
	entry_list_init(&log->failed);
	while (entry != NULL) {
		struct access_entry *next = entry->next;

		finish(entry, entry->failure);
		dispose(entry);
		entry = next;
	}
}

void access_log_refuse(struct access_log *log, struct access_entry *entry, enum status status)
{
	entry->failure = status;
	entry_list_add(&log->failed, entry);
	if (!log->will_fail) {
		log->will_fail = true;
		loop_defer(log->loop, &log->fail);
	}
}

/* ---- sending ---- */

static void flush_soon(struct access_log *log)
{
	if (!log->will_flush && log->waiting.first != NULL) {
		log->will_flush = true;
		loop_defer(log->loop, &log->flush);
	}
}

static void batch_done(void *arg, enum status status, const PGresult *result)
{
	struct access_batch *batch = arg;
	struct access_log *log = batch->log;
	struct entry_list entries = batch->entries;

	(void)result;
	if (status == STATUS_OK) {
		metric_observe_us(log->commits, clock_wall_us(log->clock) - batch->sent_us);
	} else {
		metric_add(log->failures, 1);
		LOG_LIMITED(&log->write_failed, LOG_LEVEL_WARN, "access_write_failed", "status", status_name(status),
			"entries", log_number((int64_t)entries.count));
	}
	/* The batch is free before anyone is told: they may append at once. */
	entry_list_init(&batch->entries);
	batch->is_in_flight = false;
	log->in_flight--;
	flush_soon(log);
	finish_all(log, &entries, status);
	access_log_free_if_idle(log);
}

static struct access_batch *free_batch(struct access_log *log)
{
	/* A second batch goes out beside the first only when it is large: small groups waste commits. */
	if (log->in_flight > 0 && log->waiting.count < log->batch_max / 4)
		return NULL;
	for (int i = 0; i < ACCESS_IN_FLIGHT_MAX; i++) {
		if (!log->batches[i].is_in_flight)
			return &log->batches[i];
	}
	return NULL;
}

static void run_flush(struct loop_task *task)
{
	struct access_log *log = (struct access_log *)((char *)task - offsetof(struct access_log, flush));
	struct access_batch *batch;

	log->will_flush = false;
	while (log->waiting.first != NULL && (batch = free_batch(log)) != NULL)
		access_batch_send(log, batch, batch_done);
}

void access_log_append(struct access_log *log, struct access_entry *entry)
{
	if (entry->deadline_ms <= loop_now_ms(log->loop)) {
		access_log_refuse(log, entry, STATUS_DEADLINE);
		return;
	}
	if (log->waiting.count >= ACCESS_WAITING_MAX) {
		access_log_refuse(log, entry, STATUS_OVERLOADED);
		return;
	}
	entry_list_add(&log->waiting, entry);
	metric_move(log->queue, 1);
	access_log_watch(log, entry->deadline_ms);
	flush_soon(log);
}

/* ---- deadlines ---- */

void access_log_watch(struct access_log *log, int64_t deadline_ms)
{
	int64_t now_ms = loop_now_ms(log->loop);

	if (log->timer_at_ms != 0 && log->timer_at_ms <= deadline_ms)
		return;
	log->timer_at_ms = deadline_ms;
	loop_timer_start(&log->timer, deadline_ms > now_ms ? deadline_ms - now_ms : 0);
}

static int64_t expire_waiting(struct access_log *log, int64_t now_ms)
{
	struct access_entry *entry = log->waiting.first;
	struct entry_list late;
	int64_t next_ms = INT64_MAX;

	entry_list_init(&late);
	entry_list_init(&log->waiting);
	while (entry != NULL) {
		struct access_entry *next = entry->next;

		if (entry->deadline_ms <= now_ms) {
			entry_list_add(&late, entry);
		} else {
			entry_list_add(&log->waiting, entry);
			next_ms = entry->deadline_ms < next_ms ? entry->deadline_ms : next_ms;
		}
		entry = next;
	}
	finish_all(log, &late, STATUS_DEADLINE);
	return next_ms;
}

static int64_t expire_batch(struct access_batch *batch, int64_t now_ms)
{
	int64_t next_ms = INT64_MAX;

	for (struct access_entry *entry = batch->entries.first; entry != NULL; entry = entry->next) {
		if (entry->deadline_ms <= now_ms)
			finish(entry, STATUS_DEADLINE);
		else if (entry->deadline_ms < next_ms)
			next_ms = entry->deadline_ms;
	}
	return next_ms;
}

static void expire(void *arg)
{
	struct access_log *log = arg;
	int64_t now_ms = loop_now_ms(log->loop);
	int64_t next_ms, one_ms;

	log->timer_at_ms = 0;
	next_ms = expire_waiting(log, now_ms);
	for (int i = 0; i < ACCESS_IN_FLIGHT_MAX; i++) {
		one_ms = expire_batch(&log->batches[i], now_ms);
		next_ms = one_ms < next_ms ? one_ms : next_ms;
	}
	one_ms = grants_expire(log, now_ms);
	next_ms = one_ms < next_ms ? one_ms : next_ms;
	if (next_ms != INT64_MAX)
		access_log_watch(log, next_ms);
}

/* ---- life ---- */

static void register_metrics(struct access_log *log)
{
	struct metric *kinds = metric_register(
		METRIC_COUNTER, "homeward_access_entries_total", "Access log entries made, by kind.", "kind");

	for (int i = 0; i < ACCESS_KINDS; i++)
		log->kinds[i] = metric_series(kinds, kind_names[i], (char *)NULL);
	log->decisions = metric_register(METRIC_COUNTER, "homeward_policy_decisions_total",
		"Decisions about crossings; rule is the first that decided.", "operation,decision,rule");
	log->failures = metric_series(metric_register(METRIC_COUNTER, "homeward_access_write_failures_total",
					      "Batches of entries that were not committed.", NULL),
		(char *)NULL);
	log->queue = metric_series(metric_register(METRIC_GAUGE, "homeward_access_queue_entries",
					   "Entries waiting for their commit.", NULL),
		(char *)NULL);
	log->commits = metric_series(metric_register(METRIC_HISTOGRAM, "homeward_access_commit_seconds",
					     "From sending a batch of entries to its commit.", NULL),
		(char *)NULL);
}

enum status access_log_create(struct loop *loop, struct database *database, const struct access_log_settings *settings,
	const struct clock_source *clock, struct access_log **log_out)
{
	struct access_log *log = calloc(1, sizeof(*log));
	enum status status;

	*log_out = NULL;
	if (log == NULL)
		return STATUS_NO_MEMORY;
	must(settings->batch_max > 0 && settings->grant_ttl_s >= 0);
	log->loop = loop;
	log->database = database;
	log->clock = clock;
	log->batch_max = (size_t)settings->batch_max;
	snprintf(log->region, sizeof(log->region), "%s", settings->region);
	snprintf(log->grant_ttl_text, sizeof(log->grant_ttl_text), "%lld", (long long)settings->grant_ttl_s);
	subject_key_init(&log->subject, settings->key);
	entry_list_init(&log->waiting);
	entry_list_init(&log->failed);
	for (int i = 0; i < ACCESS_IN_FLIGHT_MAX; i++) {
		log->batches[i].log = log;
		entry_list_init(&log->batches[i].entries);
	}
	log->flush.run = run_flush;
	log->fail.run = run_fail;
	log->grants_flush.run = grants_flush;
	strbuf_init(&log->scratch);
	for (int i = 0; i < 4 + ACCESS_CONTEXT_COLUMNS; i++)
		strbuf_init(&log->arrays[i]);
	register_metrics(log);
	status = loop_timer_init(loop, &log->timer, expire, log);
	if (status == STATUS_OK)
		*log_out = log;
	else
		access_log_destroy(log);
	return status;
}

void access_log_free_if_idle(struct access_log *log)
{
	if (!log->is_destroyed || log->in_flight > 0 || log->grant_rounds != NULL)
		return;
	for (int i = 0; i < ACCESS_CONTEXT_SLOTS; i++)
		access_context_put(log->contexts[i]);
	for (int i = 0; i < 4 + ACCESS_CONTEXT_COLUMNS; i++)
		strbuf_release(&log->arrays[i]);
	strbuf_release(&log->scratch);
	subject_key_release(&log->subject);
	free(log);
}

void access_log_destroy(struct access_log *log)
{
	if (log == NULL)
		return;
	finish_all(log, &log->waiting, STATUS_DRAINING);
	run_fail(&log->fail);
	for (int i = 0; i < ACCESS_IN_FLIGHT_MAX; i++) {
		for (struct access_entry *entry = log->batches[i].entries.first; entry != NULL; entry = entry->next)
			finish(entry, STATUS_DRAINING);
	}
	grants_destroy(log);
	loop_timer_release(&log->timer);
	/* What is with the database still points here: the last of it to come back frees the log. */
	log->is_destroyed = true;
	access_log_free_if_idle(log);
}

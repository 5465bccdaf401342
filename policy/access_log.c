/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's end of the access log.  An entry's way: its form is found (or made),
 * its subject is found (or asked for, when the database has to say), it is encoded,
 * and goes to the writer with the others of this round of the loop.  It ends when
 * the writer has it on disk.
 *
 * An entry ends once and is never taken back: one that comes through after its
 * lookup's deadline ends with STATUS_DEADLINE though it is written.  So the log can
 * say more than happened, never less.
 *
 * On one loop; needs no lock.
 */
#include "policy/access_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/random.h"

#define SUBJECTS_AT_HAND 65536 /* 2.6 MB an engine */

/* ---- forms ---- */

static void form_put(struct access_form *form)
{
	if (form == NULL || --form->references > 0)
		return;
	free(form->form);
	free(form);
}

static void add_part(struct strbuf *key, const char *part)
{
	if (part != NULL)
		strbuf_add(key, part, strlen(part));
	strbuf_addc(key, '\0');
}

static void write_key(struct strbuf *key, const struct entry_terms *terms)
{
	strbuf_reset(key);
	strbuf_addc(key, (char)terms->kind);
	strbuf_add(key, &terms->ttl_s, sizeof(terms->ttl_s));
	add_part(key, terms->peer);
	add_part(key, terms->type);
	add_part(key, terms->operation);
	add_part(key, terms->purpose);
	add_part(key, terms->caller);
	add_part(key, terms->decision);
	add_part(key, terms->rules);
	add_part(key, terms->policy);
	add_part(key, terms->fields);
	add_part(key, terms->outcome);
}

static struct access_form *form_create(const struct entry_terms *terms, const struct strbuf *key, uint64_t hash)
{
	struct access_form *form = calloc(1, sizeof(*form) + key->length);

	if (form == NULL)
		return NULL;
	if (entry_form_create(terms, &form->form) != STATUS_OK) {
		free(form);
		return NULL;
	}
	form->references = 1; /* the slot's */
	form->hash = hash;
	form->length = key->length;
	memcpy(form->key, key->data, key->length);
	return form;
}

static struct access_form *form_get(struct access_log *log, const struct entry_terms *terms)
{
	struct strbuf *key = &log->scratch;
	struct access_form **slot, *form;
	uint64_t hash;

	write_key(key, terms);
	if (!strbuf_ok(key))
		return NULL;
	hash = hash_key64(key->data, key->length, 0);
	slot = &log->forms[hash % ACCESS_FORM_SLOTS];
	form = *slot;
	if (form == NULL || form->hash != hash || form->length != key->length ||
		memcmp(form->key, key->data, key->length) != 0) {
		form = form_create(terms, key, hash);
		if (form == NULL)
			return NULL;
		form_put(*slot);
		*slot = form;
	}
	form->references++;
	return form;
}

/* ---- entries ---- */

bool access_entry_fill(struct access_log *log, const struct entry_terms *terms, const struct lookup_question *question,
	struct access_entry *entry)
{
	entry->log = log;
	entry->object = question->object;
	entry->exchange = question->exchange;
	entry->deadline_ms = question->deadline_ms;
	entry->form = form_get(log, terms);
	metric_add(log->kinds[terms->kind], 1);
	return entry->form != NULL;
}

void access_entry_release(struct access_entry *entry)
{
	form_put(entry->form);
	entry->form = NULL;
	free(entry->text);
	entry->text = NULL;
}

static void run_refuse(struct loop_task *task)
{
	struct access_log *log = (struct access_log *)((char *)task - offsetof(struct access_log, refuse));
	struct access_entry *entry = log->refused;

	log->will_refuse = false;
	log->refused = NULL;
	while (entry != NULL) {
		struct access_entry *next = entry->next;

		entry->done(entry, entry->failure);
		entry = next;
	}
}

void access_entry_refuse(struct access_entry *entry, enum status status)
{
	struct access_log *log = entry->log;

	entry->failure = status;
	entry->next = log->refused;
	log->refused = entry;
	if (!log->will_refuse) {
		log->will_refuse = true;
		loop_defer(log->loop, &log->refuse);
	}
}

/* Stations and the like go on while the log has failed, personal data only within the grace an operator allowed; how
 * many did is written once the log is back. */
static bool goes_unrecorded(struct access_entry *entry)
{
	if (entry->is_personal && log_writer_failed_ms(entry->log->writer) >= entry->log->grace_ms)
		return false;
	entry->is_unrecorded = true;
	atomic_fetch_add_explicit(entry->log->unrecorded, 1, memory_order_relaxed);
	metric_add(entry->log->gaps, 1);
	return true;
}

static void appended(struct log_item *item, enum status status)
{
	struct access_entry *entry = (struct access_entry *)item;
	struct access_log *log = entry->log;

	metric_move(log->waiting, -1);
	if (status != STATUS_OK && status != STATUS_DRAINING) {
		metric_add(log->failures, 1);
		LOG_LIMITED(&log->write_failed, LOG_LEVEL_WARN, "access_write_failed", "status", status_name(status));
		if (status == STATUS_IO)
			status = goes_unrecorded(entry) ? STATUS_OK : STATUS_UNRECORDED;
	}
	if (status == STATUS_OK && entry->deadline_ms <= loop_now_ms(log->loop))
		status = STATUS_DEADLINE;
	entry->done(entry, status);
}

static void append(struct access_entry *entry)
{
	struct access_log *log = entry->log;
	uint8_t salt[ENTRY_SALT_SIZE];
	const struct entry_moment moment = { .at_us = clock_wall_us(log->clock),
		.exchange = &entry->exchange,
		.subject = entry->subject,
		.record_hash = entry->has_record_hash ? entry->record_hash : NULL,
		.salt = salt };

	entry->text = malloc(entry->form->form->size_max);
	if (entry->text == NULL) {
		access_entry_refuse(entry, STATUS_NO_MEMORY);
		return;
	}
	random_fill(random_system(), salt, sizeof(salt));
	entry->item.entry = entry->text;
	entry->item.size = (uint32_t)entry_encode(entry->form->form, &moment, entry->text);
	entry->item.done = appended;
	if (entry->opens_grant)
		grant_open(log->grants, entry->subject, entry->grant_region);
	metric_move(log->waiting, 1);
	log_port_append(log->port, &entry->item);
}

static void subject_came(struct pseudonym_question *question, enum status status, const char *subject)
{
	struct access_entry *entry = (struct access_entry *)((char *)question -
							     offsetof(struct access_entry, question));

	if (status != STATUS_OK) {
		entry->done(entry, status);
		return;
	}
	snprintf(entry->subject, sizeof(entry->subject), "%s", subject);
	append(entry);
}

void access_entry_append(struct access_entry *entry, enum pseudonym_wish wish)
{
	struct access_log *log = entry->log;

	if (entry->deadline_ms <= loop_now_ms(log->loop)) {
		access_entry_refuse(entry, STATUS_DEADLINE);
		return;
	}
	if (log->is_off) {
		access_entry_refuse(entry, STATUS_OK);
		return;
	}
	if (log_writer_is_failed(log->writer)) {
		access_entry_refuse(entry, goes_unrecorded(entry) ? STATUS_OK : STATUS_UNRECORDED);
		return;
	}
	if (!entry->is_personal) {
		pseudonym_of_epoch(log->pseudonyms, &entry->object, entry->subject);
		append(entry);
	} else if (pseudonym_find(log->pseudonyms, &entry->object, wish, entry->subject)) {
		append(entry);
	} else {
		entry->question.done = subject_came;
		pseudonym_ask(log->pseudonyms, &entry->object, wish, &entry->question);
	}
}

void access_log_prepare(struct access_log *log, const struct policy *policy, const struct object_id *object)
{
	if (policy_is_personal(policy, object->type))
		pseudonym_prepare(log->pseudonyms, object, PSEUDONYM_AS_IS);
}

/* ---- life ---- */

static void register_metrics(struct access_log *log)
{
	struct metric *kinds = metric_register(
		METRIC_COUNTER, "homeward_access_entries_total", "Access log entries made, by kind.", "kind");

	for (int i = 0; i < ENTRY_KIND_COUNT; i++)
		log->kinds[i] = metric_series(kinds, entry_kind_name((enum entry_kind)i), (char *)NULL);
	log->decisions = metric_register(METRIC_COUNTER, "homeward_policy_decisions_total",
		"Decisions about crossings; rule is the first that decided.", "operation,decision,rule");
	log->failures = metric_single(METRIC_COUNTER, "homeward_access_write_failures_total",
		"Entries that could not be written; nothing personal was sent for them.");
	log->gaps = metric_single(METRIC_COUNTER, "homeward_access_unrecorded_total",
		"Crossings let through while the log had failed: not personal, or within the grace.");
	log->waiting = metric_single(METRIC_GAUGE, "homeward_access_queue_entries", "Entries waiting to be on disk.");
}

static void on_idle(void *arg)
{
	access_log_free_if_idle(arg);
}

enum status access_log_create(struct loop *loop, struct database *database, const struct access_log_settings *settings,
	const struct clock_source *clock, struct access_log **log_out)
{
	struct access_log *log = calloc(1, sizeof(*log));
	const struct pseudonyms_settings pseudonyms = { .loop = loop,
		.database = database,
		.keyring = settings->keyring,
		.key = settings->key,
		.remembered = SUBJECTS_AT_HAND,
		.idle = on_idle,
		.owner = log };
	enum status status;

	*log_out = NULL;
	if (log == NULL)
		return STATUS_NO_MEMORY;
	log->loop = loop;
	log->database = database;
	log->clock = clock;
	log->writer = settings->writer;
	log->is_off = settings->is_off;
	log->grace_ms = settings->grace_s * 1000;
	log->unrecorded = settings->unrecorded;
	log->denials = settings->denials;
	snprintf(log->region, sizeof(log->region), "%s", settings->region);
	log->refuse.run = run_refuse;
	strbuf_init(&log->scratch);
	strbuf_init(&log->list);
	register_metrics(log);
	status = pseudonyms_create(&pseudonyms, &log->pseudonyms);
	if (status == STATUS_OK)
		status = grants_create(log, settings->grant_ttl_s, &log->grants);
	if (status == STATUS_OK)
		status = log_port_create(settings->writer, loop, &log->port);
	if (status == STATUS_OK)
		*log_out = log;
	else
		access_log_destroy(log);
	return status;
}

void access_log_free_if_idle(struct access_log *log)
{
	if (!log->is_destroyed || (log->pseudonyms != NULL && !pseudonyms_are_idle(log->pseudonyms)) ||
		(log->grants != NULL && !grants_are_idle(log->grants)))
		return;
	for (int i = 0; i < ACCESS_FORM_SLOTS; i++)
		form_put(log->forms[i]);
	strbuf_release(&log->scratch);
	strbuf_release(&log->list);
	pseudonyms_free(log->pseudonyms);
	grants_free(log->grants);
	free(log);
}

void access_log_destroy(struct access_log *log)
{
	if (log == NULL)
		return;
	/* Subjects first: what waits for one ends here and asks the port for nothing. */
	if (log->pseudonyms != NULL)
		pseudonyms_stop(log->pseudonyms);
	log_port_destroy(log->port);
	if (log->grants != NULL)
		grants_stop(log->grants);
	if (log->will_refuse) {
		loop_defer_cancel(log->loop, &log->refuse);
		run_refuse(&log->refuse);
	}
	/* What is with the database still points here: the last of it to come back frees the log. */
	log->is_destroyed = true;
	access_log_free_if_idle(log);
}

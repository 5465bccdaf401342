/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restricting a subject (article 18 of the GDPR) and noting consent: one flag of the record, under
 * the name the policy gives its field, so that the gate decides by it from the next lookup
 * on.  Copies elsewhere are forgotten: every region that was ever sent something is told over the
 * peer API until it acknowledges, beside the event that any change of a record makes.
 *
 * A record in homeward's own store is changed.  For one that is read from another system the flag is
 * kept beside it, under the name of the subject's row, and handlers put it in: see handlers/flags.c.
 *
 * Runs on an HTTP thread of the admin listener and may block on the database there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "service_subject.h"

#define DATABASE_MS 5000

/* $1 type, $5 what this is called, $6 the pseudonyms, $7 the sealed object, $8 regions. */
#define TELL                                                                                                           \
	"told AS (INSERT INTO homeward.erasures (erasure, region, type, subject, sealed, what) "                       \
	"SELECT $5::uuid, region, $1, ($6::text[])[1], decode($7, 'hex'), 'forget' FROM unnest($8::text[]) AS region"

/* $3 the member. */
static const char set_flag[] =
	"WITH changed AS (UPDATE homeward.objects SET record = record || jsonb_build_object($3::text, $4::text), "
	"version = version + 1, updated_at = now() WHERE type = $1 AND id = $2 RETURNING version), " TELL
	", changed RETURNING 1) "
	"SELECT (SELECT version FROM changed), (SELECT count(*) FROM told)";
/* $3 the flag, $9 the subject's row.  No version: the record is as it was. */
static const char keep_flag[] =
	"WITH kept AS (INSERT INTO homeward.subject_flags (ref, flag, value) VALUES ($9, $3::text, $4) "
	"ON CONFLICT (ref, flag) DO UPDATE SET value = excluded.value, changed_at = now()), " TELL " RETURNING 1) "
	"SELECT 0, (SELECT count(*) FROM told), homeward.object_changed($1, $2)";

struct flag {
	struct subject subject;
	struct flag_request asked; /* borrowed */
	char field[GATE_FIELD_SIZE];
	bool is_kept; /* beside the record, which another system has */
	int64_t version, regions;
};

/* Which member of the record it is. */
static enum status find_field(struct flag *flag, struct strbuf *why)
{
	const struct subject *subject = &flag->subject;
	const struct settings_type *type = settings_type(subject->service->settings, subject->object.type);
	struct policy *policy = gate_acquire(subject->service->gate);
	bool is_there = policy != NULL && policy_flag_field(policy, type->name, flag->asked.name, flag->field);

	if (policy != NULL)
		policy_release_reference(policy);
	if (!is_there) {
		strbuf_addf(why, "the policy has no flag %s for %s", flag->asked.name, type->name);
		return STATUS_INVALID;
	}
	flag->is_kept = type->handler != HANDLER_STORE;
	return STATUS_OK;
}

static enum status say_absent(const struct flag *flag, struct strbuf *why)
{
	strbuf_addf(why, "this region has no such %s", flag->subject.object.type);
	return STATUS_NOT_FOUND;
}

/* ---- is it there? ---- */

struct search {
	struct loop_task task;
	struct engine *engine;
	const struct object_id *object;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool is_over;
	enum status status;
};

static void searched(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct search *search = arg;

	(void)version;
	(void)content;
	pthread_mutex_lock(&search->lock);
	search->status = status;
	search->is_over = true;
	pthread_cond_signal(&search->ended);
	pthread_mutex_unlock(&search->lock);
}

static void search_there(struct loop_task *task)
{
	struct search *search = (struct search *)task;

	handlers_fetch(search->engine->handlers, search->object, loop_now_ms(search->engine->loop) + DATABASE_MS,
		searched, search);
}

/*
 * Asks the other system, so that a wrong id is said and not kept.  One that does not answer must
 * not keep anybody from being restricted.  A fetch ends at its deadline, and so does the wait for it.
 */
static enum status look_for(const struct flag *flag, struct strbuf *why)
{
	struct search search = { .task = { .run = search_there },
		.engine = &flag->subject.service->engines[0],
		.object = &flag->subject.object };

	pthread_mutex_init(&search.lock, NULL);
	pthread_cond_init(&search.ended, NULL);
	loop_post(search.engine->loop, &search.task);
	pthread_mutex_lock(&search.lock);
	while (!search.is_over)
		pthread_cond_wait(&search.ended, &search.lock);
	pthread_mutex_unlock(&search.lock);
	pthread_cond_destroy(&search.ended);
	pthread_mutex_destroy(&search.lock);
	if (search.status == STATUS_NOT_AVAILABLE)
		return say_absent(flag, why);
	if (search.status != STATUS_OK)
		LOG_WARN("subject_flag_unseen", "type", search.object->type, "status", status_name(search.status));
	return STATUS_OK;
}

/* ---- setting it ---- */

static enum status change(struct flag *flag, struct strbuf *why)
{
	struct subject *subject = &flag->subject;
	struct strbuf sealed = STRBUF_INIT;
	const char *parameters[] = { subject->object.type, subject->object.id,
		flag->is_kept ? flag->asked.name : flag->field, flag->asked.value, subject->id_text,
		subject->names.data, NULL, subject->regions.data, subject->ref };
	PGresult *result = NULL;
	enum status status = STATUS_INTERNAL;

	if (!subject_seal(subject, &sealed))
		return status;
	parameters[6] = sealed.data;
	status = database_session_query(subject->session, flag->is_kept ? keep_flag : set_flag, parameters,
		flag->is_kept ? 9 : 8, DATABASE_MS, &result, why);
	if (status == STATUS_OK && PQgetisnull(result, 0, 0))
		status = say_absent(flag, why);
	if (status == STATUS_OK) {
		flag->version = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		flag->regions = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	}
	PQclear(result);
	strbuf_release(&sealed);
	return status;
}

static enum status run(struct flag *flag, struct strbuf *why)
{
	struct subject *subject = &flag->subject;
	struct strbuf text = STRBUF_INIT;
	struct access_note note = { .kind = ENTRY_ADMIN,
		.type = subject->object.type,
		.subject = subject->pseudonyms[0],
		.exchange = &subject->id };
	enum status status = flag->is_kept ? look_for(flag, why) : STATUS_OK;

	if (status == STATUS_OK)
		status = subject_find(subject, why);
	if (status == STATUS_OK)
		status = change(flag, why);
	if (status != STATUS_OK)
		return status;
	(void)locator_forget(subject->service->locator, &subject->object);
	strbuf_addf(&text, "%s = %s%s%s", flag->asked.name, flag->asked.value,
		flag->asked.reason[0] != '\0' ? ": " : "", flag->asked.reason);
	note.text = text.data;
	note.count = flag->regions;
	status = service_log_write(subject->service, &note);
	strbuf_release(&text);
	return status;
}

void service_flag(void *arg, struct http_request *request)
{
	struct flag flag = { .version = 0 };
	struct strbuf why = STRBUF_INIT, text = STRBUF_INIT;
	json_t *asked = NULL;
	enum status status = subject_begin(&flag.subject, arg, request, &asked, &why);

	if (status == STATUS_OK)
		status = flag_request_read(asked, &flag.asked, &why);
	if (status == STATUS_OK)
		status = find_field(&flag, &why);
	if (status == STATUS_OK)
		status = run(&flag, &why);
	if (status == STATUS_OK) {
		LOG_INFO("subject_flag_set", "flag", flag.asked.name, "value", flag.asked.value, "regions",
			log_number(flag.regions));
		strbuf_addf(&text, "{\"request\":\"%s\",", flag.subject.id_text);
		if (!flag.is_kept)
			strbuf_addf(&text, "\"version\":%" PRId64 ",", flag.version);
		strbuf_addf(&text, "\"regions\":%" PRId64 "}\n", flag.regions);
	}
	subject_reply(request, status, &text, &why);
	subject_end(&flag.subject);
	json_decref(asked);
	strbuf_release(&why);
	strbuf_release(&text);
}

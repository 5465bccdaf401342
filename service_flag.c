/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restricting a subject (article 18 of the GDPR) and noting consent: one flag of the record, under
 * the name the policy gives its field, so that the gate decides by it from the next lookup
 * on.  Copies elsewhere are forgotten: every region that was ever sent something is told over the
 * peer API until it acknowledges, beside the event that any change of a record makes.
 *
 * Only records in homeward's own store can be changed here; a type that is read from another
 * system has its flags there.
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
#define REASON_MAX 256 /* bytes of the entry's text */

static const char set_flag[] =
	"WITH changed AS (UPDATE homeward.objects SET record = record || jsonb_build_object($3::text, $4::text), "
	"version = version + 1, updated_at = now() WHERE type = $1 AND id = $2 RETURNING version), "
	"told AS (INSERT INTO homeward.erasures (erasure, region, type, subject, sealed, what) "
	"SELECT $5::uuid, region, $1, ($6::text[])[1], decode($7, 'hex'), 'forget' FROM unnest($8::text[]) AS region, "
	"changed RETURNING 1) "
	"SELECT (SELECT version FROM changed), (SELECT count(*) FROM told)";

struct flag {
	struct subject subject;
	const char *name, *value, *reason; /* borrowed from what was asked */
	char field[GATE_FIELD_SIZE];
	int64_t version, regions;
};

/* Which member of the record it is. */
static enum status find_field(struct flag *flag, struct strbuf *why)
{
	const struct subject *subject = &flag->subject;
	const struct settings_type *type = settings_type(subject->service->settings, subject->object.type);
	struct policy *policy = gate_acquire(subject->service->gate);
	bool is_there = policy != NULL && policy_flag_field(policy, type->name, flag->name, flag->field);

	if (policy != NULL)
		policy_release_reference(policy);
	if (!is_there) {
		strbuf_addf(why, "the policy has no flag %s for %s", flag->name, type->name);
		return STATUS_INVALID;
	}
	if (type->handler != HANDLER_STORE) {
		strbuf_addf(why, "%s records are read from another system: set their member \"%s\" to \"%s\" there",
			type->name, flag->field, flag->value);
		return STATUS_INVALID;
	}
	return STATUS_OK;
}

static bool is_word(const char *text)
{
	return text != NULL && text[0] != '\0' && strlen(text) < 64 &&
	       text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0';
}

static enum status read_flag(struct flag *flag, const json_t *asked, struct strbuf *why)
{
	flag->name = json_get_string(asked, "flag");
	flag->value = json_get_string(asked, "value");
	flag->reason = json_get_string(asked, "reason");
	if (flag->reason == NULL)
		flag->reason = "";
	if (!is_word(flag->name) || !is_word(flag->value) || strlen(flag->reason) > REASON_MAX) {
		strbuf_addf(
			why, "flag and value are words of the policy, and the reason has at most %d bytes", REASON_MAX);
		return STATUS_INVALID;
	}
	return find_field(flag, why);
}

static enum status change(struct flag *flag, struct strbuf *why)
{
	struct subject *subject = &flag->subject;
	struct strbuf sealed = STRBUF_INIT;
	const char *parameters[] = { subject->object.type, subject->object.id, flag->field, flag->value,
		subject->id_text, subject->names.data, NULL, subject->regions.data };
	PGresult *result = NULL;
	enum status status = STATUS_INTERNAL;

	if (!subject_seal(subject, &sealed))
		return status;
	parameters[6] = sealed.data;
	status = database_session_query(subject->session, set_flag, parameters, 8, DATABASE_MS, &result, why);
	if (status == STATUS_OK && PQgetisnull(result, 0, 0)) {
		strbuf_addf(why, "this region has no such %s", subject->object.type);
		status = STATUS_NOT_FOUND;
	}
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
	enum status status = subject_find(subject, why);

	if (status == STATUS_OK)
		status = change(flag, why);
	if (status != STATUS_OK)
		return status;
	(void)locator_forget(subject->service->locator, &subject->object);
	strbuf_addf(&text, "%s = %s%s%s", flag->name, flag->value, flag->reason[0] != '\0' ? ": " : "", flag->reason);
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
		status = read_flag(&flag, asked, &why);
	if (status == STATUS_OK)
		status = run(&flag, &why);
	if (status == STATUS_OK) {
		LOG_INFO("subject_flag_set", "flag", flag.name, "value", flag.value, "regions",
			log_number(flag.regions));
		strbuf_addf(&text, "{\"request\":\"%s\",\"version\":%" PRId64 ",\"regions\":%" PRId64 "}\n",
			flag.subject.id_text, flag.version, flag.regions);
	}
	subject_reply(request, status, &text, &why);
	subject_end(&flag.subject);
	json_decref(asked);
	strbuf_release(&why);
	strbuf_release(&text);
}

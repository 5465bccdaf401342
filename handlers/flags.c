/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flags kept here for records that are read from another system, which homeward cannot change.
 * They are asked for beside the record, those of one round in one query, and a record whose
 * flags could not be read is not answered at all: a restriction must not be lost with a query.
 *
 * Where both say something and not the same, neither is believed: unknown is stricter than
 * either, under any policy, and no list of values is needed for that.
 *
 * On the loop's thread.  What is under way when this is destroyed ends with its database.
 */
#include "handlers/flags.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "handlers/fetch.h"

static const char select_flags[] =
	"SELECT q.ref AS id, 1 AS version, f.record FROM unnest((SELECT $1::text[])) AS q(ref), LATERAL (SELECT "
	"jsonb_object_agg(flag, value) AS record FROM homeward.subject_flags WHERE ref = q.ref) AS f "
	"WHERE f.record IS NOT NULL";

struct flags {
	struct gate *gate;
	struct row_fetcher *rows;
	uint8_t key[32];
};

struct flagged {
	struct policy *policy; /* says which member each flag is */
	char type[OBJECT_TYPE_SIZE];
	handlers_fetch_done *done;
	void *arg;
	enum status status, kept_status;
	uint64_t version;
	json_t *record, *kept;
	int waiting;
};

enum status flags_create(
	struct loop *loop, struct database *database, struct gate *gate, const char *key_file, struct flags **flags_out)
{
	const struct row_fetcher_settings rows = {
		.loop = loop, .database = database, .type = "flags of subjects", .statement = select_flags
	};
	struct flags *flags = calloc(1, sizeof(*flags));
	struct strbuf why = STRBUF_INIT;
	enum status status;

	*flags_out = NULL;
	if (flags == NULL)
		return STATUS_NO_MEMORY;
	flags->gate = gate;
	status = access_key_load(key_file, flags->key, &why);
	if (status != STATUS_OK)
		LOG_ERROR("flags_key_unreadable", "reason", why.data);
	strbuf_release(&why);
	if (status == STATUS_OK)
		status = row_fetcher_create(&rows, &flags->rows);
	if (status != STATUS_OK) {
		flags_destroy(flags);
		return status;
	}
	*flags_out = flags;
	return STATUS_OK;
}

void flags_destroy(struct flags *flags)
{
	if (flags == NULL)
		return;
	row_fetcher_close(flags->rows);
	explicit_bzero(flags->key, sizeof(flags->key));
	free(flags);
}

/* ---- putting them in ---- */

/* As the gate reads it: true and false are yes and no. */
static bool says(const json_t *member, const char *value)
{
	if (json_is_boolean(member))
		return strcmp(json_is_true(member) ? "yes" : "no", value) == 0;
	return json_is_string(member) && strcmp(json_string_value(member), value) == 0;
}

static bool put_in(json_t *record, const char *field, const json_t *kept)
{
	const json_t *member = json_object_get(record, field);

	if (member == NULL && json_is_string(kept))
		return json_object_set_new(record, field, json_string(json_string_value(kept))) == 0;
	if (member != NULL && json_is_string(kept) && says(member, json_string_value(kept)))
		return true;
	return json_object_set_new(record, field, json_null()) == 0;
}

json_t *flags_merge(const struct policy *policy, const char *type, json_t *record, json_t *kept)
{
	/* Shared with everybody who asked for it, so what is changed is a copy. */
	json_t *merged = json_object_size(kept) > 0 ? json_copy(record) : json_incref(record);
	void *at = json_object_iter(kept);
	char field[GATE_FIELD_SIZE];

	for (; merged != NULL && at != NULL; at = json_object_iter_next(kept, at)) {
		if (!policy_flag_field(policy, type, json_object_iter_key(at), field))
			continue;
		if (!put_in(merged, field, json_object_iter_value(at))) {
			json_decref(merged);
			merged = NULL;
		}
	}
	return merged;
}

/* ---- one fetch ---- */

static void one_came(struct flagged *flagged)
{
	json_t *merged = NULL;

	if (--flagged->waiting > 0)
		return;
	if (flagged->status == STATUS_OK && flagged->kept_status != STATUS_NOT_AVAILABLE)
		flagged->status = flagged->kept_status;
	if (flagged->status == STATUS_OK) {
		merged = flags_merge(flagged->policy, flagged->type, flagged->record, flagged->kept);
		if (merged == NULL)
			flagged->status = STATUS_NO_MEMORY;
	}
	flagged->done(flagged->arg, flagged->status, flagged->status == STATUS_OK ? flagged->version : 0, merged);
	json_decref(merged);
	json_decref(flagged->record);
	json_decref(flagged->kept);
	policy_release_reference(flagged->policy);
	free(flagged);
}

static void kept_came(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct flagged *flagged = arg;

	(void)version;
	flagged->kept_status = status;
	flagged->kept = json_incref(content);
	one_came(flagged);
}

void flags_record_came(void *arg, enum status status, uint64_t version, json_t *content)
{
	struct flagged *flagged = arg;

	flagged->status = status;
	flagged->version = version;
	flagged->record = json_incref(content);
	one_came(flagged);
}

struct flagged *flags_begin(
	struct flags *flags, const struct object_id *object, int64_t deadline_ms, handlers_fetch_done *done, void *arg)
{
	struct policy *policy = gate_acquire(flags->gate);
	struct flagged *flagged;
	char ref[SUBJECT_HASH_SIZE];

	if (policy == NULL || !policy_has_flags(policy, object->type)) {
		if (policy != NULL)
			policy_release_reference(policy);
		return NULL;
	}
	flagged = calloc(1, sizeof(*flagged));
	/* Without these few bytes the promise to end every fetch cannot be kept. */
	must(flagged != NULL);
	flagged->policy = policy;
	memcpy(flagged->type, object->type, sizeof(flagged->type));
	flagged->done = done;
	flagged->arg = arg;
	flagged->waiting = 2;
	access_log_subject(flags->key, object, ref);
	row_fetcher_get(flags->rows, ref, deadline_ms, kept_came, flagged);
	return flagged;
}

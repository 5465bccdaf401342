/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The release: the only place that makes one.  Decide, append, and only when the
 * entry is durable hand the release out.  The release begins its life inside the
 * entry it depends on, so there is none before there is an entry, and the
 * completion gets it or it is destroyed, never both.
 *
 * The text a `serve` will send is made here, before the entry: the entry holds its
 * hash under a nonce that travels with it, so that both regions log the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/must.h"
#include "base/random.h"
#include "policy/access_log.h"
#include "policy/rules.h"

#define NONCE_SIZE LOOKUP_NONCE_SIZE
#define VIEW_BYTES_TYPICAL 512 /* a handful of fields; larger ones grow */

struct policy_release {
	struct access_entry entry; /* first: the entry is the release */
	char peer[REGION_SIZE];
	struct policy *policy; /* NULL only when denied */
	struct gate_decision decision;
	char *record; /* of a permitted `serve`: the view's text, as its entry vouches for it */
	size_t record_length;
	uint8_t nonce[NONCE_SIZE];
	policy_release_done *done;
	void *arg;
};

struct got_entry {
	struct access_entry entry;
	bool makes_key;
	access_log_done *done;
	void *arg;
};

void policy_release_destroy(struct policy_release *release)
{
	if (release == NULL)
		return;
	access_entry_release(&release->entry);
	policy_release_reference(release->policy);
	free(release->record);
	free(release);
}

static void release_done(struct access_entry *entry, enum status status)
{
	struct policy_release *release = (struct policy_release *)entry;
	policy_release_done *done = release->done;
	void *arg = release->arg;

	/* What no entry vouches for is not kept by anyone. */
	if (release->entry.is_unrecorded && release->entry.is_personal)
		release->decision.ttl_max_s = 0;
	if (status == STATUS_OK && release->decision.permitted) {
		done(arg, STATUS_OK, release);
		return;
	}
	policy_release_destroy(release);
	done(arg, status == STATUS_OK ? STATUS_NOT_AVAILABLE : status, NULL);
}

/* The series is found once for each form: finding it takes a lock. */
static void count_decision(struct access_log *log, enum gate_operation operation, const struct policy_release *release)
{
	const struct gate_decision *decision = &release->decision;
	struct access_form *form = release->entry.form;

	if (form->decisions == NULL)
		form->decisions = metric_series(log->decisions, operation_name(operation),
			decision->permitted ? "permit" : "deny",
			decision->rule_count > 0 ? decision->rules[0] : "default", (char *)NULL);
	metric_add(form->decisions, 1);
}

/* Of another region's question, all its callers together: their names are its own affair. */
static void count_denial(struct access_log *log, const struct gate_request *request,
	const struct lookup_question *question, const struct policy_release *release)
{
	bool is_theirs = request->operation == GATE_SERVE || request->operation == GATE_RECEIVE;

	if (!release->decision.permitted)
		denials_count(log->denials, is_theirs ? release->peer : "", is_theirs ? "" : question->caller);
}

static void hash_record(
	const uint8_t nonce[NONCE_SIZE], const char *record, size_t length, uint8_t digest[SHA256_DIGEST_LENGTH])
{
	SHA256_CTX state;

	must(SHA256_Init(&state) == 1);
	must(SHA256_Update(&state, nonce, NONCE_SIZE) == 1);
	must(SHA256_Update(&state, record, length) == 1);
	must(SHA256_Final(digest, &state) == 1);
}

/* What would be sent, before it is on record that it is. */
static enum status make_view(const struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, struct policy_release *release)
{
	json_t *view = policy_view(policy, question->object.type, &release->decision, request->record);
	struct strbuf text = STRBUF_INIT;

	if (view != NULL && strbuf_reserve(&text, VIEW_BYTES_TYPICAL) && json_write(view, &text) == STATUS_OK)
		release->record = strbuf_take(&text, &release->record_length);
	json_decref(view);
	strbuf_release(&text);
	if (release->record == NULL)
		return STATUS_NO_MEMORY;
	random_fill(random_system(), release->nonce, sizeof(release->nonce));
	hash_record(release->nonce, release->record, release->record_length, release->entry.record_hash);
	release->entry.has_record_hash = true;
	return STATUS_OK;
}

static enum status fill_entry(struct access_log *log, const struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, struct policy_release *release)
{
	const struct gate_decision *decision = &release->decision;
	static const enum entry_kind permitted_kinds[] = { [GATE_ASK] = ENTRY_ASK,
		[GATE_SERVE] = ENTRY_SERVE,
		[GATE_SEND] = ENTRY_SEND,
		[GATE_RECEIVE] = ENTRY_RECEIVE };
	struct strbuf fields = STRBUF_INIT, *rules = &log->list;
	struct entry_terms terms = {
		.kind = decision->permitted ? permitted_kinds[request->operation] : ENTRY_DENY,
		.me = log->region,
		.peer = release->peer,
		.type = request->type,
		.operation = operation_name(request->operation),
		.purpose = question->purpose,
		.caller = question->caller,
		.decision = decision->permitted ? "permit" : "deny",
		.policy = policy != NULL ? policy->version : "none",
		.ttl_s = decision->ttl_max_s,
		.count = -1,
	};
	enum status status = STATUS_NO_MEMORY;

	strbuf_reset(rules);
	for (size_t i = 0; i < decision->rule_count; i++) {
		if (i > 0)
			strbuf_addc(rules, ',');
		strbuf_adds(rules, decision->rules[i]);
	}
	if (policy != NULL)
		policy_field_names(policy, request->type, decision->fields, &fields);
	terms.rules = rules->data;
	terms.fields = fields.data;
	if (strbuf_ok(&fields) && strbuf_ok(rules) && access_entry_fill(log, &terms, question, &release->entry))
		status = STATUS_OK;
	if (status == STATUS_OK && terms.kind == ENTRY_SERVE)
		status = make_view(policy, request, question, release);
	strbuf_release(&fields);
	return status;
}

void policy_release_request(struct access_log *log, struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, const char *peer, policy_release_done *done, void *arg)
{
	struct policy_release *release = calloc(1, sizeof(*release));
	bool is_served;
	enum status status;

	must(release != NULL);
	must(request->operation != GATE_LOCAL);
	release->entry.log = log;
	release->entry.done = release_done;
	snprintf(release->peer, sizeof(release->peer), "%s", peer);
	release->policy = policy_acquire(policy);
	release->done = done;
	release->arg = arg;
	policy_decide(policy, request, &release->decision);
	policy_shadow_observe(policy, request, &release->decision);
	is_served = release->decision.permitted && request->operation == GATE_SERVE;
	status = fill_entry(log, policy, request, question, release);
	if (status != STATUS_OK) {
		access_entry_refuse(&release->entry, status);
		return;
	}
	count_decision(log, request->operation, release);
	count_denial(log, request, question, release);
	release->entry.is_personal = policy_is_personal(policy, request->type);
	release->entry.opens_grant = is_served && strcmp(question->purpose, "charge.authorize") == 0;
	snprintf(release->entry.grant_region, REGION_SIZE, "%s", peer);
	/* A key of its own only for what exists and is sent: a denial must take as long for an id nobody has. */
	access_entry_append(&release->entry, is_served ? PSEUDONYM_CREATE : PSEUDONYM_AS_IS);
}

bool policy_release_covers(const struct policy_release *release, const struct object_id *object, const char *peer)
{
	return release != NULL && object_id_equal(&release->entry.object, object) && strcmp(release->peer, peer) == 0;
}

const struct gate_decision *policy_release_decision(const struct policy_release *release)
{
	return &release->decision;
}

const char *policy_release_version(const struct policy_release *release)
{
	return release->policy->version;
}

char *policy_release_take_record(struct policy_release *release, size_t *length_out, uint8_t nonce_out[NONCE_SIZE])
{
	char *record = release->record;

	must(record != NULL);
	release->record = NULL;
	*length_out = release->record_length;
	memcpy(nonce_out, release->nonce, NONCE_SIZE);
	return record;
}

/* ---- got ---- */

static void got_done(struct access_entry *entry, enum status status)
{
	struct got_entry *got = (struct got_entry *)entry;
	access_log_done *done = got->done;
	void *arg = got->arg;

	/* From the next crossing on, this subject has a key: nobody needs to wait for it to be made. */
	if (got->makes_key && status == STATUS_OK)
		pseudonym_prepare(entry->log->pseudonyms, &entry->object, PSEUDONYM_CREATE);
	access_entry_release(entry);
	free(got);
	done(arg, status);
}

void access_log_got(struct access_log *log, const struct access_got *got, access_log_done *done, void *arg)
{
	struct got_entry *entry = calloc(1, sizeof(*entry));
	const struct entry_terms terms = {
		.kind = ENTRY_GOT,
		.me = log->region,
		.peer = got->peer,
		.type = got->question->object.type,
		.operation = operation_name(GATE_ASK),
		.purpose = got->question->purpose,
		.caller = got->question->caller,
		.policy = got->peer_policy_version,
		.fields = got->fields,
		.ttl_s = got->ttl_s,
		.outcome = status_name(got->answer),
		.count = -1,
	};

	must(entry != NULL);
	entry->entry.log = log;
	entry->entry.done = got_done;
	entry->done = done;
	entry->arg = arg;
	if (!access_entry_fill(log, &terms, got->question, &entry->entry)) {
		access_entry_refuse(&entry->entry, STATUS_NO_MEMORY);
		return;
	}
	entry->entry.is_personal = policy_is_personal(got->policy, got->question->object.type);
	entry->makes_key = entry->entry.is_personal && got->answer == STATUS_OK;
	if (got->answer == STATUS_OK && got->nonce != NULL) {
		hash_record(got->nonce, got->record, got->record_length, entry->entry.record_hash);
		entry->entry.has_record_hash = true;
	}
	/* On record even after the deadline: it came, after all. */
	entry->entry.deadline_ms = INT64_MAX;
	access_entry_append(&entry->entry, PSEUDONYM_AS_IS);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The release: the only place that makes one.  Decide, append, and only when the
 * entry is committed hand the release out.  The release begins its life inside
 * the entry it depends on, so there is none before there is an entry, and the
 * completion gets it or it is destroyed, never both.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "policy/access_log.h"
#include "policy/rules.h"

struct policy_release {
	struct access_entry entry; /* first: the entry is the release */
	struct object_id object;
	char peer[REGION_SIZE];
	struct policy *policy; /* NULL only when denied */
	struct gate_decision decision;
	policy_release_done *done;
	void *arg;
	int references; /* the entry's, and the callee's when it is handed out */
};

struct got_entry {
	struct access_entry entry;
	access_log_done *done;
	void *arg;
};

static void release_done(struct access_entry *entry, enum status status)
{
	struct policy_release *release = (struct policy_release *)entry;

	if (status == STATUS_OK && release->decision.permitted) {
		release->references++;
		release->done(release->arg, STATUS_OK, release);
		return;
	}
	release->done(release->arg, status == STATUS_OK ? STATUS_NOT_AVAILABLE : status, NULL);
}

static void release_put(struct policy_release *release)
{
	if (--release->references > 0)
		return;
	policy_release_reference(release->policy);
	free(release);
}

/* The series is found once for each context: finding it takes a lock. */
static void count_decision(struct access_log *log, enum gate_operation operation, const struct policy_release *release)
{
	const struct gate_decision *decision = &release->decision;
	struct access_context *context = release->entry.context;

	if (context->decisions == NULL)
		context->decisions = metric_series(log->decisions, operation_name(operation),
			decision->permitted ? "permit" : "deny",
			decision->rule_count > 0 ? decision->rules[0] : "default", (char *)NULL);
	metric_add(context->decisions, 1);
}

static bool fill_entry(struct access_log *log, const struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, struct policy_release *release)
{
	const struct gate_decision *decision = &release->decision;
	struct strbuf fields = STRBUF_INIT;
	static const enum access_kind permitted_kinds[] = { [GATE_ASK] = ACCESS_ASK,
		[GATE_SERVE] = ACCESS_SERVE,
		[GATE_SEND] = ACCESS_SEND,
		[GATE_RECEIVE] = ACCESS_RECEIVE };
	struct access_columns columns = {
		.kind = !decision->permitted ? ACCESS_DENY : permitted_kinds[request->operation],
		.peer = release->peer,
		.type = request->type,
		.operation = operation_name(request->operation),
		.purpose = question->purpose,
		.caller = question->caller,
		.decision = decision->permitted ? "permit" : "deny",
		.policy = policy != NULL ? policy->version : "none",
		.rules = decision->rules,
		.rule_count = decision->rule_count,
		.ttl_s = decision->ttl_max_s,
	};
	bool is_filled;

	columns.opens_grant = columns.kind == ACCESS_SERVE && strcmp(question->purpose, "charge.authorize") == 0;
	if (policy != NULL)
		policy_field_names(policy, request->type, decision->fields, &fields);
	columns.fields = fields.data;
	is_filled = strbuf_ok(&fields) && access_entry_fill(log, &columns, question, &release->entry);
	strbuf_release(&fields);
	return is_filled;
}

static void release_dispose(struct access_entry *entry)
{
	release_put((struct policy_release *)entry);
}

void policy_release_request(struct access_log *log, struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, const char *peer, policy_release_done *done, void *arg)
{
	struct policy_release *release = calloc(1, sizeof(*release));

	must(release != NULL);
	must(request->operation != GATE_LOCAL);
	release->references = 1;
	release->entry.done = release_done;
	release->entry.dispose = release_dispose;
	release->object = question->object;
	snprintf(release->peer, sizeof(release->peer), "%s", peer);
	release->policy = policy_acquire(policy);
	release->done = done;
	release->arg = arg;
	policy_decide(policy, request, &release->decision);
	policy_shadow_observe(policy, request, &release->decision);
	if (fill_entry(log, policy, request, question, release)) {
		count_decision(log, request->operation, release);
		access_log_append(log, &release->entry);
	} else {
		access_log_refuse(log, &release->entry, STATUS_NO_MEMORY);
	}
}

void policy_release_destroy(struct policy_release *release)
{
	if (release != NULL)
		release_put(release);
}

bool policy_release_covers(const struct policy_release *release, const struct object_id *object, const char *peer)
{
	return release != NULL && object_id_equal(&release->object, object) && strcmp(release->peer, peer) == 0;
}

const struct gate_decision *policy_release_decision(const struct policy_release *release)
{
	return &release->decision;
}

const char *policy_release_version(const struct policy_release *release)
{
	return release->policy->version;
}

json_t *policy_release_view(const struct policy_release *release, const json_t *record)
{
	return policy_view(release->policy, release->object.type, &release->decision, record);
}

/* ---- got ---- */

static void got_done(struct access_entry *entry, enum status status)
{
	struct got_entry *got = (struct got_entry *)entry;

	got->done(got->arg, status);
}

static void got_dispose(struct access_entry *entry)
{
	free(entry);
}

void access_log_got(struct access_log *log, const struct access_got *got, access_log_done *done, void *arg)
{
	struct got_entry *entry = calloc(1, sizeof(*entry));
	const struct access_columns columns = {
		.kind = ACCESS_GOT,
		.peer = got->peer,
		.type = got->question->object.type,
		.operation = operation_name(GATE_ASK),
		.purpose = got->question->purpose,
		.caller = got->question->caller,
		.decision = status_name(got->answer),
		.policy = got->peer_policy_version != NULL ? got->peer_policy_version : "",
		.fields = got->fields != NULL ? got->fields : "",
		.ttl_s = got->ttl_s,
	};

	must(entry != NULL);
	entry->entry.done = got_done;
	entry->entry.dispose = got_dispose;
	entry->done = done;
	entry->arg = arg;
	if (access_entry_fill(log, &columns, got->question, &entry->entry))
		access_log_append(log, &entry->entry);
	else
		access_log_refuse(log, &entry->entry, STATUS_NO_MEMORY);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A turn: look at the database for what may be sent, send it, wait for answers, and
 * record in one statement what follows from all that came.  What is in memory may be
 * lost at any time: what was not recorded is sent again.
 *
 * Bounds: of each webhook in_flight_max attempts are under way, and as many events
 * again are read ahead.  A webhook that does not answer, or is too busy, waits as a
 * whole and is then tried with one event; anything else holds up its own subject.
 *
 * An advisory lock makes one process of a region the one that delivers.  When the
 * session is lost so is the lock, and what is under way is given up.
 */
#include "federation/webhooks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "federation/webhook_decision.h"
#include "federation/webhook_message.h"
#include "federation/webhook_queue.h"
#include "federation/webhook_store.h"
#include "federation/webhook_transfers.h"

#define LOOK_EVERY_MS 500 /* for what is due again; what is new is announced */
#define LOOK_SHARE 10     /* a look that takes long is taken less often: at most a tenth of the time */
#define UPKEEP_EVERY_MS 1000
#define COUNT_EVERY_MS 5000 /* pending ones, for metrics */
#define SECRETS_EVERY_MS 5000
#define DRAIN_MS 2500 /* for answers under way when stopping */

struct webhooks {
	struct system_events *system;
	struct webhook_transfers *transfers; /* while connected */
	struct webhook *hooks;
	size_t hook_count;
	struct webhook_delivery *all; /* ready or under way */
	json_t *results;
	int64_t upkeep_ms, count_ms;
};

static int64_t now_ms(void)
{
	return clock_monotonic_ms(clock_system());
}

/* ---- life ---- */

enum status webhooks_create(
	const struct settings *settings, struct system_events *system, struct webhooks **webhooks_out)
{
	struct webhooks *webhooks = calloc(1, sizeof(*webhooks));

	*webhooks_out = NULL;
	if (webhooks == NULL)
		return STATUS_NO_MEMORY;
	webhooks->hooks = calloc(settings->webhook_count + 1, sizeof(*webhooks->hooks));
	if (webhooks->hooks == NULL) {
		free(webhooks);
		return STATUS_NO_MEMORY;
	}
	webhooks->system = system;
	webhooks->hook_count = settings->webhook_count;
	for (size_t i = 0; i < webhooks->hook_count; i++)
		webhook_init(&webhooks->hooks[i], &settings->webhooks[i]);
	*webhooks_out = webhooks;
	return STATUS_OK;
}

/* What the database has is all there is. */
static void forget_all(struct webhooks *webhooks)
{
	webhook_transfers_destroy(webhooks->transfers);
	webhooks->transfers = NULL;
	while (webhooks->all != NULL)
		webhook_delivery_destroy(webhooks->all);
	json_decref(webhooks->results);
	webhooks->results = NULL;
	for (size_t i = 0; i < webhooks->hook_count; i++) {
		struct webhook *hook = &webhooks->hooks[i];

		hook->ready = NULL;
		hook->ready_end = &hook->ready;
		hook->ready_count = hook->in_flight = 0;
		memset(&hook->total, 0, sizeof(hook->total));
		metric_set(hook->under_way, 0);
	}
}

void webhooks_destroy(struct webhooks *webhooks)
{
	if (webhooks == NULL)
		return;
	forget_all(webhooks);
	for (size_t i = 0; i < webhooks->hook_count; i++)
		webhook_secrets_release(&webhooks->hooks[i].secrets);
	free(webhooks->hooks);
	free(webhooks);
}

static struct webhook *find_hook(struct webhooks *webhooks, const char *name)
{
	for (size_t i = 0; i < webhooks->hook_count; i++)
		if (strcmp(webhooks->hooks[i].settings->name, name) == 0)
			return &webhooks->hooks[i];
	return NULL;
}

static enum status look(struct worker *worker, struct webhook *hook, struct strbuf *why)
{
	size_t has = hook->ready_count + hook->in_flight, wants = 2 * webhook_in_flight_max(hook);
	struct strbuf known = STRBUF_INIT, stuck = STRBUF_INIT;
	int64_t began_ms = now_ms(), took_ms;
	PGresult *rows = NULL;
	enum status status = STATUS_NO_MEMORY;
	char limit[24];

	/* Rather some at a time than one by one. */
	if (hook->is_paused || began_ms < hook->wait_until_ms || has >= wants || hook->ready_count > wants / 4 ||
		(!hook->is_hungry && began_ms < hook->look_ms))
		return STATUS_OK;
	(void)snprintf(limit, sizeof(limit), "%zu", wants - has);
	if (webhook_list_known(worker->webhooks->all, hook, &known) && webhook_list_stuck(hook, began_ms, &stuck))
		status = webhook_store_read(
			worker->session, hook->settings->name, limit, known.data, stuck.data, &rows, why);
	for (int row = 0; status == STATUS_OK && row < PQntuples(rows); row++)
		if (!webhook_add_ready(&worker->webhooks->all, hook, rows, row))
			status = STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		hook->is_hungry = (size_t)PQntuples(rows) == wants - has;
	took_ms = now_ms() - began_ms;
	hook->look_ms = now_ms() + (took_ms * LOOK_SHARE > LOOK_EVERY_MS ? took_ms * LOOK_SHARE : LOOK_EVERY_MS);
	PQclear(rows);
	strbuf_release(&known);
	strbuf_release(&stuck);
	return status;
}

/* ---- what became of an attempt ---- */

static void add_result(struct webhooks *webhooks, const struct webhook_delivery *delivery,
	const struct webhook_decision *decision, const char *last, const char *detail)
{
	if (webhooks->results == NULL)
		webhooks->results = json_array();
	/* What cannot be added is not recorded, and sent again. */
	(void)json_array_append_new(
		webhooks->results, json_pack("{s:I,s:s,s:I,s:i,s:s,s:s}", "place", (json_int_t)delivery->place, "step",
					   webhook_step_name(decision->step), "wait_ms", (json_int_t)decision->wait_ms,
					   "refusals", (int)decision->is_refusal, "last", last, "detail", detail));
}

static void count_result(struct webhooks *webhooks, struct webhook *hook, enum webhook_step step, const char *last)
{
	metric_add(hook->attempts[step], 1);
	hook->total.delivered += step == WEBHOOK_DONE;
	hook->total.failures += step != WEBHOOK_DONE;
	hook->total.dead += step == WEBHOOK_DEAD;
	(void)snprintf(hook->total.last, sizeof(hook->total.last), "%s", last);
	if (step == WEBHOOK_DEAD)
		metric_add(hook->dead, 1);
	if (step != WEBHOOK_PAUSE || hook->is_paused)
		return;
	hook->total.is_gone = hook->is_paused = true;
	metric_set(hook->paused, 1);
	webhook_drop_ready(hook);
	LOG_WARN("webhook_paused", "webhook", hook->settings->name, "reason", "gone");
	system_say_webhook_paused(webhooks->system, hook->settings->name, "gone");
}

/* One round of failures counts once, however many attempts there were in it. */
static void hold_webhook(struct webhook *hook, const struct webhook_decision *decision, const char *last)
{
	int64_t now = now_ms(), wait_ms;

	if (now < hook->wait_until_ms)
		return;
	hook->failures++;
	wait_ms = webhook_backoff_ms(hook->failures, &hook->terms, random_system());
	hook->wait_until_ms = now + (decision->asked_ms > wait_ms ? decision->asked_ms : wait_ms);
	webhook_drop_ready(hook);
	LOG_LIMITED(&hook->limit, LOG_LEVEL_WARN, "webhook_waits", "webhook", hook->settings->name, "reason", last,
		"wait_ms", log_number(hook->wait_until_ms - now));
}

static void settle(struct webhooks *webhooks, const struct webhook_result *result)
{
	struct webhook_delivery *delivery = result->arg;
	struct webhook *hook = delivery->hook;
	const struct webhook_history history = { delivery->attempts, delivery->refusals,
		delivery->expires_us / 1000 - clock_wall_us(clock_system()) / 1000 };
	struct webhook_decision decision = webhook_decide(&result->answer, &history, &hook->terms, random_system());
	char last[WEBHOOK_LAST_SIZE], detail[2 * WEBHOOK_LAST_SIZE + 64];

	if (result->answer.status > 0)
		(void)snprintf(last, sizeof(last), "%d", result->answer.status);
	else
		(void)snprintf(last, sizeof(last), "no answer: %s", result->detail);
	/* Only where it is kept with the event: an answer may quote it. */
	(void)snprintf(detail, sizeof(detail), "%s after %" PRId64 " attempts: %s", last, delivery->attempts + 1,
		result->answer.status > 0 ? result->detail : "");
	hook->in_flight--;
	metric_set(hook->under_way, (double)hook->in_flight);
	metric_observe_us(hook->took, result->duration_us);
	add_result(webhooks, delivery, &decision, last, detail);
	count_result(webhooks, hook, decision.step, last);
	if (decision.step == WEBHOOK_RETRY)
		webhook_add_stuck(hook, delivery->stream, now_ms() + decision.wait_ms, now_ms());
	if (decision.holds_webhook) {
		hold_webhook(hook, &decision, last);
	} else {
		hook->failures = 0;
		hook->is_hungry = true;
	}
	webhook_delivery_destroy(delivery);
}

static json_t *make_totals(struct webhooks *webhooks)
{
	json_t *totals = json_array();

	for (size_t i = 0; i < webhooks->hook_count; i++) {
		struct webhook *hook = &webhooks->hooks[i];

		if (hook->total.last[0] == '\0')
			continue;
		(void)json_array_append_new(
			totals, json_pack("{s:s,s:I,s:I,s:I,s:s,s:b}", "name", hook->settings->name, "delivered",
					(json_int_t)hook->total.delivered, "failures", (json_int_t)hook->total.failures,
					"dead", (json_int_t)hook->total.dead, "last", hook->total.last, "is_gone",
					(int)hook->total.is_gone));
		memset(&hook->total, 0, sizeof(hook->total));
	}
	return totals;
}

static enum status record(struct worker *worker, struct strbuf *why)
{
	struct webhooks *webhooks = worker->webhooks;
	enum status status = STATUS_NO_MEMORY;
	char *results, *totals;
	json_t *all;

	if (webhooks->results == NULL)
		return STATUS_OK;
	all = make_totals(webhooks);
	results = json_dumps(webhooks->results, JSON_COMPACT);
	totals = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	json_decref(webhooks->results);
	webhooks->results = NULL;
	if (results != NULL && totals != NULL)
		status = webhook_store_record(worker->session, results, totals, why);
	free(results);
	free(totals);
	return status;
}

/* ---- sending ---- */

/* Files may have been replaced; what was read last holds while they cannot be read. */
static bool load_secrets(struct webhook *hook)
{
	struct strbuf why = STRBUF_INIT;
	int64_t now = now_ms();

	if (hook->has_secrets && now - hook->secrets_ms < SECRETS_EVERY_MS)
		return true;
	hook->secrets_ms = now;
	if (webhook_secrets_load(hook->settings, &hook->secrets, &why) == STATUS_OK) {
		hook->has_secrets = true;
	} else {
		LOG_ERROR("webhook_secrets_not_read", "webhook", hook->settings->name, "reason", why.data);
		if (!hook->has_secrets)
			hook->wait_until_ms = now + SECRETS_EVERY_MS;
	}
	strbuf_release(&why);
	return hook->has_secrets;
}

/* It is on its way, or its end is among the results.  Otherwise there is no memory. */
static enum status send_one(struct webhooks *webhooks, struct webhook_delivery *delivery)
{
	static const struct webhook_decision dead = { .step = WEBHOOK_DEAD };
	struct webhook *hook = delivery->hook;
	int64_t wall_us = clock_wall_us(clock_system());
	const struct webhook_event event = { delivery->event.data, delivery->event.length, delivery->origin,
		delivery->source, delivery->id, delivery->attempts + 1, wall_us / 1000000 };
	struct webhook_message message;
	enum status status;

	if (delivery->expires_us <= wall_us) {
		webhook_delivery_destroy(delivery); /* upkeep makes a dead letter of it */
		return STATUS_OK;
	}
	webhook_message_init(&message);
	status = webhook_message_make(hook->settings, &hook->secrets, &event, &message);
	if (status == STATUS_OK)
		status = webhook_transfers_start(webhooks->transfers, hook->settings, &message, delivery);
	webhook_message_release(&message);
	if (status == STATUS_OK) {
		hook->in_flight++;
		metric_set(hook->under_way, (double)hook->in_flight);
		return STATUS_OK;
	}
	if (status == STATUS_INVALID) {
		add_result(webhooks, delivery, &dead, "", "its event is not in the inbox any more");
		count_result(webhooks, hook, WEBHOOK_DEAD, "no event");
		status = STATUS_OK;
	}
	webhook_delivery_destroy(delivery);
	return status;
}

static enum status send_ready(struct webhooks *webhooks, struct webhook *hook)
{
	enum status status = STATUS_OK;

	if (hook->ready == NULL || hook->is_paused || now_ms() < hook->wait_until_ms || !load_secrets(hook))
		return STATUS_OK;
	while (status == STATUS_OK && hook->ready != NULL && hook->in_flight < webhook_in_flight_max(hook))
		status = send_one(webhooks, webhook_take_ready(hook));
	return status;
}

/* ---- upkeep ---- */

/* What waited is due. */
static void resume(struct webhook *hook)
{
	hook->wait_until_ms = hook->failures = 0;
	webhook_forget_stuck(hook);
}

static enum status read_states(struct worker *worker, struct strbuf *why)
{
	PGresult *rows = NULL;
	enum status status = webhook_store_states(worker->session, &rows, why);

	for (int row = 0; status == STATUS_OK && row < PQntuples(rows); row++) {
		struct webhook *hook = find_hook(worker->webhooks, PQgetvalue(rows, row, STATE_NAME));
		const char *resumed_at = PQgetvalue(rows, row, STATE_RESUMED_AT);
		bool is_paused = PQgetvalue(rows, row, STATE_IS_PAUSED)[0] == 't';

		if (hook == NULL)
			continue;
		if (is_paused != hook->is_paused)
			LOG_INFO(is_paused ? "webhook_paused" : "webhook_resumed", "webhook", hook->settings->name);
		if (is_paused)
			webhook_drop_ready(hook);
		else if (strcmp(hook->resumed_at, resumed_at) != 0)
			resume(hook);
		(void)snprintf(hook->resumed_at, sizeof(hook->resumed_at), "%s", resumed_at);
		hook->is_paused = is_paused;
		hook->is_hungry = true;
		metric_set(hook->paused, is_paused);
	}
	PQclear(rows);
	return status;
}

static enum status read_counts(struct worker *worker, struct strbuf *why)
{
	PGresult *rows = NULL;
	enum status status = webhook_store_counts(worker->session, &rows, why);

	for (int row = 0; status == STATUS_OK && row < PQntuples(rows); row++) {
		struct webhook *hook = find_hook(worker->webhooks, PQgetvalue(rows, row, COUNT_NAME));

		if (hook == NULL)
			continue;
		metric_set(hook->pending, strtod(PQgetvalue(rows, row, COUNT_PENDING), NULL));
		metric_set(hook->oldest_s, strtod(PQgetvalue(rows, row, COUNT_OLDEST_S), NULL));
	}
	PQclear(rows);
	return status;
}

static enum status expire(struct worker *worker, struct strbuf *why)
{
	struct strbuf known = STRBUF_INIT;
	PGresult *rows = NULL;
	enum status status = STATUS_NO_MEMORY;

	if (webhook_list_known(worker->webhooks->all, NULL, &known))
		status = webhook_store_expire(worker->session, true, known.data, &rows, why);
	for (int row = 0; status == STATUS_OK && row < PQntuples(rows); row++) {
		struct webhook *hook = find_hook(worker->webhooks, PQgetvalue(rows, row, 0));
		uint64_t count = strtoull(PQgetvalue(rows, row, 1), NULL, 10);

		LOG_WARN("webhook_expired", "webhook", PQgetvalue(rows, row, 0), "events", log_number((int64_t)count));
		if (hook == NULL)
			continue;
		metric_add(hook->dead, count);
		hook->is_hungry = true; /* others of their subjects may go now */
		webhook_forget_stuck(hook);
	}
	PQclear(rows);
	strbuf_release(&known);
	return status;
}

static enum status keep_up(struct worker *worker, bool is_notified, struct strbuf *why)
{
	struct webhooks *webhooks = worker->webhooks;
	int64_t now = now_ms();
	bool is_due = now - webhooks->upkeep_ms >= UPKEEP_EVERY_MS;
	enum status status = STATUS_OK;

	if (is_due)
		webhooks->upkeep_ms = now;
	if (is_notified || is_due)
		status = read_states(worker, why);
	if (status == STATUS_OK && is_due)
		status = expire(worker, why);
	if (status == STATUS_OK && now - webhooks->count_ms >= COUNT_EVERY_MS) {
		webhooks->count_ms = now;
		status = read_counts(worker, why);
	}
	return status;
}

/* ---- turns ---- */

static enum status prepare(struct worker *worker, struct strbuf *why)
{
	enum status status = webhook_store_register(worker->session, worker->settings, why);

	/* A record that a crash of the database takes back only means another attempt: it need not wait for the disk. */
	if (status == STATUS_OK)
		status = database_session_script(worker->session,
			"SET synchronous_commit = off; LISTEN homeward_webhooks", WORKER_QUERY_MS, why);
	return status == STATUS_OK ? worker_take_lock(worker, WORKER_LOCK_WEBHOOKS, why) : status;
}

static void collect(struct webhooks *webhooks)
{
	struct webhook_result result;

	while (webhook_transfers_next(webhooks->transfers, &result))
		settle(webhooks, &result);
}

static enum status turn(struct worker *worker, struct strbuf *why)
{
	struct webhooks *webhooks = worker->webhooks;
	bool is_notified = false;
	enum status status = database_session_wait(worker->session, 0, &is_notified, why);

	if (status == STATUS_OK)
		status = keep_up(worker, is_notified, why);
	for (size_t i = 0; i < webhooks->hook_count && status == STATUS_OK; i++) {
		status = look(worker, &webhooks->hooks[i], why);
		if (status == STATUS_OK)
			status = send_ready(webhooks, &webhooks->hooks[i]);
	}
	if (status != STATUS_OK)
		return status;
	webhook_transfers_wait(webhooks->transfers, database_session_socket(worker->session), WORKER_TURN_MS);
	collect(webhooks);
	return record(worker, why);
}

/* Nothing new is sent; what is answered in time is recorded. */
static enum status drain(struct worker *worker, struct strbuf *why)
{
	struct webhooks *webhooks = worker->webhooks;
	int64_t end_ms = now_ms() + DRAIN_MS;
	enum status status = STATUS_OK;

	while (status == STATUS_OK && webhook_transfers_count(webhooks->transfers) > 0 && now_ms() < end_ms) {
		webhook_transfers_wait(webhooks->transfers, -1, WORKER_TURN_MS);
		collect(webhooks);
		status = record(worker, why);
	}
	return status;
}

static size_t connections_max(const struct webhooks *webhooks)
{
	size_t count = 0;

	for (size_t i = 0; i < webhooks->hook_count; i++)
		count += (size_t)webhooks->hooks[i].settings->in_flight_max;
	return count;
}

void webhooks_work(struct worker *worker)
{
	struct webhooks *webhooks = worker->webhooks;
	struct strbuf why = STRBUF_INIT;
	enum status status;

	if (!worker_connect(worker, prepare))
		return;
	status = webhook_transfers_create(connections_max(webhooks), &webhooks->transfers);
	webhooks->upkeep_ms = webhooks->count_ms = INT64_MIN / 2;
	while (status == STATUS_OK && !atomic_load(&worker->is_stopping)) {
		status = turn(worker, &why);
		if (status == STATUS_OK)
			worker_succeed(worker);
	}
	if (status == STATUS_OK)
		status = drain(worker, &why);
	forget_all(webhooks);
	if (status != STATUS_OK) {
		worker_lose_session(worker, why.length > 0 ? why.data : status_name(status));
		worker_wait(worker);
	}
	strbuf_release(&why);
}

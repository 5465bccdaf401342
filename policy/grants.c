/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open grants: is this subject known to be roaming there?  The questions of one
 * round of the loop go to PostgreSQL as one array query, and the answer names
 * the numbers of those that have a grant.
 *
 * A question that is given up at its deadline stays in its round's list, marked,
 * until the round has come back.
 *
 * Grants are opened beside the entry that is their reason, and nothing waits for
 * them: one that is lost is made good from the entry, so they need no sync either.
 * Those opened lately are remembered, since most drivers are looked up several
 * times a visit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"
#include "policy/access_log.h"

#define GRANTS_MAX 10000  /* outstanding: as many as lookups can be in flight */
#define ROUND_MAX 1000    /* questions in one query */
#define OPENED_SETS 16384 /* remembered as open, each set of so many: 1 MiB */
#define OPENED_WAYS 4
#define RENEW_PERCENT 5 /* of its time; a grant that has more left is not touched */

struct grant_question {
	struct grant_question *next;
	struct pseudonym_question subject_question;
	struct grants *grants;
	int64_t deadline_ms;
	grant_done *done;
	void *arg;
	bool is_open, is_over;
	enum status refusal; /* never sent, for this reason */
	char subject[ENTRY_SUBJECT_SIZE];
	char region[REGION_SIZE];
};

struct grant_round {
	struct grant_round *next;
	struct grants *grants;
	size_t count;
	struct grant_question *questions[ROUND_MAX];
};

struct opened {
	uint64_t hash;
	int64_t renew_ms;
};

struct grants {
	struct access_log *log;
	struct loop_task flush;
	bool will_flush;
	struct loop_timer timer;
	int64_t timer_at_ms; /* 0: not running */

	struct grant_question *waiting;
	struct grant_round *rounds; /* in flight */
	size_t count;

	int64_t ttl_s;
	char ttl_text[24];
	struct opened opened[OPENED_SETS][OPENED_WAYS];
	struct strbuf subjects, regions; /* to be opened */
	size_t opening;
	int statements; /* opening, in flight */
	struct metric_series *failures;
	struct log_limit open_failed;
};

static const char select_grants[] =
	"SELECT q.n FROM unnest((SELECT $1::text[]), (SELECT $2::text[])) WITH ORDINALITY AS q(subject, region, n), "
	"LATERAL (SELECT FROM homeward.grants WHERE subject = q.subject AND region = q.region AND expires_at > now() "
	"LIMIT 1) AS open";

/* Sorted, so that two writers lock rows in the same order. */
static const char open_grants[] =
	"INSERT INTO homeward.grants (subject, region, opened_at, expires_at) "
	"SELECT DISTINCT ON (e.subject, e.region) e.subject, e.region, now(), now() + $3::bigint * interval '1 second' "
	"FROM (SELECT set_config('synchronous_commit', 'off', true)) AS without_sync, "
	"unnest($1::text[], $2::text[]) AS e(subject, region) ORDER BY e.subject, e.region "
	"ON CONFLICT (subject, region) DO UPDATE SET expires_at = excluded.expires_at, opened_at = CASE WHEN "
	"grants.expires_at < now() THEN excluded.opened_at ELSE grants.opened_at END "
	"WHERE grants.expires_at < excluded.expires_at - $3::bigint * interval '0.05 second'"; /* RENEW_PERCENT */

static void watch(struct grants *grants, int64_t deadline_ms);

static void finish(struct grant_question *question, enum status status)
{
	if (!question->is_over) {
		question->is_over = true;
		question->done(question->arg, status, status == STATUS_OK && question->is_open);
	}
}

static void unlink_round(struct grants *grants, const struct grant_round *round)
{
	struct grant_round **at = &grants->rounds;

	while (*at != round)
		at = &(*at)->next;
	*at = round->next;
}

static void mark_open(const struct grant_round *round, const PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++) {
		unsigned long number = strtoul(PQgetvalue(result, row, 0), NULL, 10);

		if (number >= 1 && number <= round->count)
			round->questions[number - 1]->is_open = true;
	}
}

static void round_done(void *arg, enum status status, const PGresult *result)
{
	struct grant_round *round = arg;
	struct grants *grants = round->grants;

	if (status == STATUS_OK)
		mark_open(round, result);
	/* Off the list first: a completion may ask again. */
	unlink_round(grants, round);
	grants->count -= round->count;
	for (size_t i = 0; i < round->count; i++) {
		finish(round->questions[i], status);
		free(round->questions[i]);
	}
	free(round);
	access_log_free_if_idle(grants->log);
}

static void send_round(struct grants *grants, struct grant_round *round)
{
	struct strbuf subjects = STRBUF_INIT;
	struct strbuf regions = STRBUF_INIT;
	struct database_parameter parameters[2];
	int64_t deadline_ms = 0;

	round->grants = grants;
	round->next = grants->rounds;
	grants->rounds = round;
	strbuf_addc(&subjects, '{');
	strbuf_addc(&regions, '{');
	while (grants->waiting != NULL && round->count < ROUND_MAX) {
		struct grant_question *question = grants->waiting;

		grants->waiting = question->next;
		database_array_add(&subjects, question->subject, strlen(question->subject), round->count == 0);
		database_array_add(&regions, question->region, strlen(question->region), round->count == 0);
		deadline_ms = question->deadline_ms > deadline_ms ? question->deadline_ms : deadline_ms;
		round->questions[round->count++] = question;
	}
	strbuf_addc(&subjects, '}');
	strbuf_addc(&regions, '}');
	parameters[0].text = subjects.data;
	parameters[1].text = regions.data;
	if (strbuf_ok(&subjects) && strbuf_ok(&regions))
		database_query(grants->log->database, select_grants, parameters, 2, deadline_ms, round_done, round);
	else
		round_done(round, STATUS_NO_MEMORY, NULL);
	strbuf_release(&subjects);
	strbuf_release(&regions);
}

/* ---- opening ---- */

static void opened_done(void *arg, enum status status, const PGresult *result)
{
	struct grants *grants = arg;

	(void)result;
	grants->statements--;
	if (status != STATUS_OK && status != STATUS_DRAINING) {
		metric_add(grants->failures, 1);
		/* Which they were is not known here, so none counts as open. */
		memset(grants->opened, 0, sizeof(grants->opened));
		LOG_LIMITED(&grants->open_failed, LOG_LEVEL_WARN, "grants_not_opened", "status", status_name(status));
	}
	access_log_free_if_idle(grants->log);
}

static void send_opening(struct grants *grants)
{
	struct database_parameter parameters[3];

	strbuf_addc(&grants->subjects, '}');
	strbuf_addc(&grants->regions, '}');
	parameters[0].text = grants->subjects.data;
	parameters[1].text = grants->regions.data;
	parameters[2].text = grants->ttl_text;
	grants->statements++;
	if (strbuf_ok(&grants->subjects) && strbuf_ok(&grants->regions))
		database_query(grants->log->database, open_grants, parameters, 3, 0, opened_done, grants);
	else
		opened_done(grants, STATUS_NO_MEMORY, NULL);
	strbuf_reset(&grants->subjects);
	strbuf_reset(&grants->regions);
	grants->opening = 0;
}

static void flush_soon(struct grants *grants)
{
	if (!grants->will_flush) {
		grants->will_flush = true;
		loop_defer(grants->log->loop, &grants->flush);
	}
}

/* False when it was opened lately.  What has to make room is what will be due first. */
static bool note_opened(struct opened set[OPENED_WAYS], uint64_t hash, int64_t now_ms, int64_t renew_ms)
{
	struct opened *place = &set[0];

	for (size_t i = 0; i < OPENED_WAYS; i++) {
		if (set[i].hash == hash) {
			if (now_ms < set[i].renew_ms)
				return false;
			place = &set[i];
			break;
		}
		if (set[i].renew_ms < place->renew_ms)
			place = &set[i];
	}
	place->hash = hash;
	place->renew_ms = renew_ms;
	return true;
}

void grant_open(struct grants *grants, const char *subject, const char *region)
{
	int64_t now_ms = loop_now_ms(grants->log->loop);
	uint64_t hash = hash_key64(subject, strlen(subject), hash_key64(region, strlen(region), 0));

	if (!note_opened(grants->opened[hash % OPENED_SETS], hash, now_ms, now_ms + grants->ttl_s * 10 * RENEW_PERCENT))
		return;
	if (grants->opening == 0) {
		strbuf_addc(&grants->subjects, '{');
		strbuf_addc(&grants->regions, '{');
	}
	database_array_add(&grants->subjects, subject, strlen(subject), grants->opening == 0);
	database_array_add(&grants->regions, region, strlen(region), grants->opening == 0);
	grants->opening++;
	flush_soon(grants);
}

/* ---- asking ---- */

static void refuse_waiting(struct grants *grants, enum status status)
{
	struct grant_question *question = grants->waiting;

	grants->waiting = NULL;
	while (question != NULL) {
		struct grant_question *next = question->next;

		grants->count--;
		finish(question, status);
		free(question);
		question = next;
	}
}

static void refuse_some(struct grants *grants)
{
	struct grant_question **at = &grants->waiting;
	struct grant_question *refused = NULL;

	while (*at != NULL) {
		struct grant_question *question = *at;

		if (question->refusal == STATUS_OK) {
			at = &question->next;
			continue;
		}
		*at = question->next;
		question->next = refused;
		refused = question;
	}
	while (refused != NULL) {
		struct grant_question *next = refused->next;

		grants->count--;
		finish(refused, refused->refusal);
		free(refused);
		refused = next;
	}
}

/* A deferred task, so completions may be called from here. */
static void flush(struct loop_task *task)
{
	struct grants *grants = (struct grants *)((char *)task - offsetof(struct grants, flush));

	grants->will_flush = false;
	refuse_some(grants);
	while (grants->waiting != NULL) {
		struct grant_round *round = calloc(1, sizeof(*round));

		if (round == NULL) {
			refuse_waiting(grants, STATUS_NO_MEMORY);
			break;
		}
		send_round(grants, round);
	}
	if (grants->opening > 0)
		send_opening(grants);
}

static void expire(void *arg)
{
	struct grants *grants = arg;
	int64_t now_ms = loop_now_ms(grants->log->loop), next_ms = INT64_MAX;

	grants->timer_at_ms = 0;
	for (struct grant_round *round = grants->rounds; round != NULL; round = round->next) {
		for (size_t i = 0; i < round->count; i++) {
			struct grant_question *question = round->questions[i];

			if (question->is_over)
				continue;
			if (question->deadline_ms <= now_ms)
				finish(question, STATUS_DEADLINE);
			else if (question->deadline_ms < next_ms)
				next_ms = question->deadline_ms;
		}
	}
	if (next_ms != INT64_MAX)
		watch(grants, next_ms);
}

static void watch(struct grants *grants, int64_t deadline_ms)
{
	int64_t now_ms = loop_now_ms(grants->log->loop);

	if (grants->timer_at_ms != 0 && grants->timer_at_ms <= deadline_ms)
		return;
	grants->timer_at_ms = deadline_ms;
	loop_timer_start(&grants->timer, deadline_ms > now_ms ? deadline_ms - now_ms : 0);
}

static void wait_for_round(struct grant_question *question)
{
	struct grants *grants = question->grants;

	if (question->refusal == STATUS_OK && question->deadline_ms <= loop_now_ms(grants->log->loop))
		question->refusal = STATUS_DEADLINE;
	question->next = grants->waiting;
	grants->waiting = question;
	if (question->refusal == STATUS_OK)
		watch(grants, question->deadline_ms);
	flush_soon(grants);
}

static void subject_came(struct pseudonym_question *asked, enum status status, const char *subject)
{
	struct grant_question *question = (struct grant_question *)((char *)asked -
								    offsetof(struct grant_question, subject_question));

	if (status != STATUS_OK) {
		question->grants->count--;
		finish(question, status);
		free(question);
		return;
	}
	snprintf(question->subject, sizeof(question->subject), "%s", subject);
	wait_for_round(question);
}

void grant_check(struct access_log *log, const struct object_id *object, const char *region, int64_t deadline_ms,
	grant_done *done, void *arg)
{
	struct grant_question *question = calloc(1, sizeof(*question));
	struct grants *grants = log->grants;

	must(question != NULL);
	question->grants = grants;
	question->deadline_ms = deadline_ms;
	question->done = done;
	question->arg = arg;
	question->subject_question.done = subject_came;
	snprintf(question->region, sizeof(question->region), "%s", region);
	if (grants->count++ >= GRANTS_MAX)
		question->refusal = STATUS_OVERLOADED;
	if (question->refusal != STATUS_OK ||
		pseudonym_find(log->pseudonyms, object, PSEUDONYM_AS_IS, question->subject))
		wait_for_round(question);
	else
		pseudonym_ask(log->pseudonyms, object, PSEUDONYM_AS_IS, &question->subject_question);
}

/* ---- life ---- */

enum status grants_create(struct access_log *log, int64_t ttl_s, struct grants **grants_out)
{
	struct grants *grants = calloc(1, sizeof(*grants));

	*grants_out = NULL;
	if (grants == NULL)
		return STATUS_NO_MEMORY;
	must(ttl_s >= 0);
	grants->log = log;
	grants->ttl_s = ttl_s;
	snprintf(grants->ttl_text, sizeof(grants->ttl_text), "%lld", (long long)ttl_s);
	grants->flush.run = flush;
	strbuf_init(&grants->subjects);
	strbuf_init(&grants->regions);
	grants->failures = metric_single(METRIC_COUNTER, "homeward_grant_write_failures_total",
		"Statements opening grants that failed; made good from the log.");
	*grants_out = grants;
	return loop_timer_init(log->loop, &grants->timer, expire, grants);
}

void grants_stop(struct grants *grants)
{
	if (grants->will_flush)
		loop_defer_cancel(grants->log->loop, &grants->flush);
	refuse_waiting(grants, STATUS_DRAINING);
	for (struct grant_round *round = grants->rounds; round != NULL; round = round->next) {
		for (size_t i = 0; i < round->count; i++)
			finish(round->questions[i], STATUS_DRAINING);
	}
	loop_timer_release(&grants->timer);
}

bool grants_are_idle(const struct grants *grants)
{
	return grants->rounds == NULL && grants->statements == 0;
}

void grants_free(struct grants *grants)
{
	if (grants == NULL)
		return;
	strbuf_release(&grants->subjects);
	strbuf_release(&grants->regions);
	free(grants);
}

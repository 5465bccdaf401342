/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open grants: is this subject known to be roaming there?  The questions of one
 * round of the loop go to PostgreSQL as one array query, and the answer names
 * the numbers of those that have a grant.
 *
 * A question that is given up at its deadline stays in its round's list, marked,
 * until the round has come back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "policy/access_log.h"

#define GRANTS_MAX 10000 /* outstanding: as many as lookups can be in flight */
#define ROUND_MAX 1000   /* questions in one query */

struct grant_question {
	struct grant_question *next;
	int64_t deadline_ms;
	grant_done *done;
	void *arg;
	bool is_open, is_over;
	enum status refusal; /* never sent, for this reason */
	char subject[SUBJECT_HASH_SIZE];
	char region[REGION_SIZE];
};

struct grant_round {
	struct grant_round *next;
	struct access_log *log;
	size_t count;
	struct grant_question *questions[ROUND_MAX];
};

static const char select_grants[] =
	"SELECT q.n FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS q(subject, region, n) WHERE EXISTS (SELECT "
	"FROM homeward.grants g WHERE g.subject = q.subject AND g.region = q.region AND g.expires_at > now())";

static void finish(struct grant_question *question, enum status status)
{
	if (!question->is_over) {
		question->is_over = true;
		question->done(question->arg, status, status == STATUS_OK && question->is_open);
	}
}

static void unlink_round(struct access_log *log, const struct grant_round *round)
{
	struct grant_round **at = &log->grant_rounds;

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
	struct access_log *log = round->log;

	if (status == STATUS_OK)
		mark_open(round, result);
	/* Off the list first: a completion may ask again. */
	unlink_round(log, round);
	log->grants_count -= round->count;
	for (size_t i = 0; i < round->count; i++) {
		finish(round->questions[i], status);
		free(round->questions[i]);
	}
	free(round);
	access_log_free_if_idle(log);
}

static void send_round(struct access_log *log, struct grant_round *round)
{
	struct strbuf subjects = STRBUF_INIT;
	struct strbuf regions = STRBUF_INIT;
	struct database_parameter parameters[2];
	int64_t deadline_ms = 0;

	round->log = log;
	round->next = log->grant_rounds;
	log->grant_rounds = round;
	strbuf_addc(&subjects, '{');
	strbuf_addc(&regions, '{');
	while (log->grants_waiting != NULL && round->count < ROUND_MAX) {
		struct grant_question *question = log->grants_waiting;

		log->grants_waiting = question->next;
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
		database_query(log->database, select_grants, parameters, 2, deadline_ms, round_done, round);
	else
		round_done(round, STATUS_NO_MEMORY, NULL);
	strbuf_release(&subjects);
	strbuf_release(&regions);
}

static void refuse_waiting(struct access_log *log, enum status status)
{
	struct grant_question *question = log->grants_waiting;

	log->grants_waiting = NULL;
	while (question != NULL) {
		struct grant_question *next = question->next;

		log->grants_count--;
		finish(question, status);
		free(question);
		question = next;
	}
}

/* A deferred task, so completions may be called from here. */
void grants_flush(struct loop_task *task)
{
	struct access_log *log = (struct access_log *)((char *)task - offsetof(struct access_log, grants_flush));
	struct grant_question **at = &log->grants_waiting;
	struct grant_question *refused = NULL;

	log->will_flush_grants = false;
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
	while (log->grants_waiting != NULL) {
		struct grant_round *round = calloc(1, sizeof(*round));

		if (round == NULL) {
			refuse_waiting(log, STATUS_NO_MEMORY);
			break;
		}
		send_round(log, round);
	}
	while (refused != NULL) {
		struct grant_question *next = refused->next;

		log->grants_count--;
		finish(refused, refused->refusal);
		free(refused);
		refused = next;
	}
}

int64_t grants_expire(struct access_log *log, int64_t now_ms)
{
	int64_t next_ms = INT64_MAX;

	for (struct grant_round *round = log->grant_rounds; round != NULL; round = round->next) {
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
	return next_ms;
}

void grants_destroy(struct access_log *log)
{
	refuse_waiting(log, STATUS_DRAINING);
	for (struct grant_round *round = log->grant_rounds; round != NULL; round = round->next) {
		for (size_t i = 0; i < round->count; i++)
			finish(round->questions[i], STATUS_DRAINING);
	}
}

void grant_check(struct access_log *log, const struct object_id *object, const char *region, int64_t deadline_ms,
	grant_done *done, void *arg)
{
	struct grant_question *question = calloc(1, sizeof(*question));

	must(question != NULL);
	question->deadline_ms = deadline_ms;
	question->done = done;
	question->arg = arg;
	if (log->grants_count >= GRANTS_MAX)
		question->refusal = STATUS_OVERLOADED;
	else if (deadline_ms <= loop_now_ms(log->loop))
		question->refusal = STATUS_DEADLINE;
	subject_key_hash(&log->subject, object, question->subject);
	snprintf(question->region, sizeof(question->region), "%s", region);
	question->next = log->grants_waiting;
	log->grants_waiting = question;
	log->grants_count++;
	if (question->refusal == STATUS_OK)
		access_log_watch(log, deadline_ms);
	if (!log->will_flush_grants) {
		log->will_flush_grants = true;
		loop_defer(log->loop, &log->grants_flush);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from an answer to a webhook's attempt.  Pure.
 */
#ifndef FEDERATION_WEBHOOK_DECISION_H
#define FEDERATION_WEBHOOK_DECISION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"

#define WEBHOOK_RETRY_AFTER_S_MAX 86400 /* whoever asks for more is asked again after a day */

struct webhook_answer {
	int status;            /* of HTTP; 0: there was no answer */
	int64_t retry_after_s; /* 0: it asks for nothing */
};

/* What is known of an event's delivery before this attempt. */
struct webhook_history {
	int64_t attempts; /* without this one */
	int64_t refusals; /* of those */
	int64_t left_ms;  /* until the event is worth nothing any more; > 0 */
};

struct webhook_terms {
	int64_t retry_min_ms, retry_max_ms, refusals_max;
};

enum webhook_step {
	WEBHOOK_DONE,
	WEBHOOK_RETRY, /* after wait_ms */
	WEBHOOK_DEAD,
	WEBHOOK_PAUSE /* nothing is sent there until somebody says so; the event waits */
};

struct webhook_decision {
	enum webhook_step step;
	int64_t wait_ms;
	bool is_refusal;    /* it was understood and not wanted: counted towards refusals_max */
	bool holds_webhook; /* the cause is not this event: nothing else is sent for a while either, */
	int64_t asked_ms;   /* and at least for this long */
};

struct webhook_decision webhook_decide(const struct webhook_answer *answer, const struct webhook_history *history,
	const struct webhook_terms *terms, const struct random_source *random);

/* Before the next attempt, after so many that failed (at least 1): min doubled each time up to max, half of it random. */
int64_t webhook_backoff_ms(int64_t failures, const struct webhook_terms *terms, const struct random_source *random);

/* "done", "retry", "dead", "pause" */
const char *webhook_step_name(enum webhook_step step);

#endif

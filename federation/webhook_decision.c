/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three kinds of failure.  Nobody there, or too busy (no answer, 429, 503): that is
 * no event's fault, and the webhook waits as a whole.  Something broke over this
 * event (408, 425, another 5xx): it is tried again by itself.  It was understood and
 * refused (another 4xx, a redirection): after some tries it is a dead letter.
 */
#include "federation/webhook_decision.h"

#include "base/must.h"

enum { REQUEST_TIMEOUT = 408, GONE = 410, TOO_EARLY = 425, TOO_MANY = 429, UNAVAILABLE = 503 };

const char *webhook_step_name(enum webhook_step step)
{
	static const char *const names[] = { "done", "retry", "dead", "pause" };

	must(step >= WEBHOOK_DONE && step <= WEBHOOK_PAUSE);
	return names[step];
}

int64_t webhook_backoff_ms(int64_t failures, const struct webhook_terms *terms, const struct random_source *random)
{
	int64_t full_ms = terms->retry_min_ms, half_ms;

	for (int64_t i = 1; i < failures && full_ms < terms->retry_max_ms; i++)
		full_ms *= 2;
	if (full_ms > terms->retry_max_ms)
		full_ms = terms->retry_max_ms;
	half_ms = full_ms / 2;
	return half_ms + (int64_t)random_below(random, (uint64_t)(full_ms - half_ms) + 1);
}

static bool is_again(int status)
{
	return status == 0 || status == REQUEST_TIMEOUT || status == TOO_EARLY || status == TOO_MANY ||
	       (status >= 500 && status <= 599);
}

struct webhook_decision webhook_decide(const struct webhook_answer *answer, const struct webhook_history *history,
	const struct webhook_terms *terms, const struct random_source *random)
{
	struct webhook_decision decision = { .step = WEBHOOK_RETRY };
	bool is_asked = answer->status == TOO_MANY || answer->status == UNAVAILABLE;
	int64_t asked_s = answer->retry_after_s < WEBHOOK_RETRY_AFTER_S_MAX ? answer->retry_after_s
									    : WEBHOOK_RETRY_AFTER_S_MAX;

	if (answer->status >= 200 && answer->status <= 299) {
		decision.step = WEBHOOK_DONE;
		return decision;
	}
	if (answer->status == GONE) {
		decision.step = WEBHOOK_PAUSE;
		return decision;
	}
	decision.holds_webhook = answer->status == 0 || is_asked;
	decision.is_refusal = !is_again(answer->status);
	if (decision.is_refusal && history->refusals + 1 >= terms->refusals_max) {
		decision.step = WEBHOOK_DEAD;
		return decision;
	}
	decision.wait_ms = webhook_backoff_ms(history->attempts + 1, terms, random);
	if (is_asked)
		decision.asked_ms = asked_s * 1000;
	if (decision.asked_ms > decision.wait_ms)
		decision.wait_ms = decision.asked_ms;
	/* Longer than it is worth anything would only hide when it became worthless. */
	if (decision.wait_ms > history->left_ms)
		decision.wait_ms = history->left_ms;
	return decision;
}

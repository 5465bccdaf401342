/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peer state: see the header for the rules.
 *
 * Requests that fail together on open connections are one incident: a failure whose
 * request began before the last one was heard of is not counted again, or a pause of
 * a second with many requests under way would look like an outage.
 *
 * Hysteresis: suspect is left by any answer, down only by `up_after` good answers
 * in a row, and one failure on the way starts the count again.
 */
#include "router/peer_state.h"

const char *peer_state_name(enum peer_state state)
{
	return state == PEER_UP ? "up" : state == PEER_SUSPECT ? "suspect" : "down";
}

void peer_health_init(struct peer_health *health, int64_t now_ms)
{
	*health = (struct peer_health){
		.since_ms = now_ms, .last_success_ms = -1, .last_heard_ms = now_ms, .round_trip_us = -1
	};
}

static bool move_to(struct peer_health *health, enum peer_state state, int64_t now_ms)
{
	if (health->state == state)
		return false;
	health->state = state;
	health->since_ms = now_ms;
	health->successes = 0;
	return true;
}

/* Up to a fifth less, so that many processes do not probe in step; never more, the bounds are promises. */
static int64_t jitter(int64_t delay_ms, const struct random_source *random)
{
	return delay_ms - (int64_t)random_below(random, (uint64_t)delay_ms / 5 + 1);
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void plan_probe(struct peer_health *health, const struct peers_settings *settings, bool is_certificate,
	int64_t now_ms, const struct random_source *random)
{
	int64_t first_ms = is_certificate ? PEER_CERTIFICATE_DELAY_MS : settings->probe_interval_ms;
	int64_t max_ms = is_certificate ? PEER_CERTIFICATE_DELAY_MAX_MS
					: smaller(settings->probe_interval_ms * 16, PEER_PROBE_DELAY_MAX_MS);
	int64_t delay_ms = health->probe_delay_ms * 2;

	if (delay_ms < first_ms)
		delay_ms = first_ms;
	health->probe_delay_ms = smaller(delay_ms, max_ms);
	health->next_probe_ms = now_ms + jitter(health->probe_delay_ms, random);
}

static bool succeed(struct peer_health *health, const struct peers_settings *settings, int64_t duration_ms,
	int64_t now_ms, const struct random_source *random)
{
	health->last_success_ms = now_ms;
	health->round_trip_us = health->round_trip_us < 0
					? duration_ms * 1000
					: health->round_trip_us + (duration_ms * 1000 - health->round_trip_us) / 8;
	health->failures = 0;
	health->probe_delay_ms = 0;
	if (health->state == PEER_DOWN && ++health->successes < settings->up_after) {
		health->next_probe_ms =
			now_ms + jitter(smaller(settings->probe_interval_ms, PEER_RECOVERY_DELAY_MAX_MS), random);
		return false;
	}
	return move_to(health, PEER_UP, now_ms);
}

static bool is_soft(enum http_client_error error)
{
	return error == HTTP_CLIENT_RESPONSE_TIMEOUT || error == HTTP_CLIENT_RESPONSE_TOO_LARGE ||
	       error == HTTP_CLIENT_PROTOCOL_ERROR;
}

/* There is no connection to share with other requests, so each failure is news. */
static bool is_connecting(enum http_client_error error)
{
	return error != HTTP_CLIENT_CONNECTION_TERMINATED;
}

static bool fail(struct peer_health *health, const struct peers_settings *settings, bool is_probe,
	enum http_client_error error, int64_t heard_before_ms, int64_t duration_ms, int64_t now_ms,
	const struct random_source *random)
{
	bool is_certificate = error == HTTP_CLIENT_TLS_CERTIFICATE_ERROR;
	bool is_same_incident = health->failures > 0 && now_ms - duration_ms < heard_before_ms;
	bool has_changed = false;

	health->reason = error;
	health->successes = 0;
	if (is_probe || !is_soft(error))
		health->failures += is_probe || !is_same_incident || is_connecting(error) ? 1 : 0;
	else if (!is_same_incident && health->failures < settings->down_after - 1)
		health->failures++;
	if (is_certificate || health->failures >= settings->down_after) {
		has_changed = move_to(health, PEER_DOWN, now_ms);
	} else if (health->state == PEER_UP && health->failures >= settings->suspect_after) {
		has_changed = move_to(health, PEER_SUSPECT, now_ms);
		health->next_probe_ms = now_ms;
	}
	/* Only probes and the first news of trouble move the next probe: traffic must not put it off for ever. */
	if (is_probe || (has_changed && health->state == PEER_DOWN))
		plan_probe(health, settings, is_certificate, now_ms, random);
	return has_changed;
}

bool peer_health_report(struct peer_health *health, const struct peers_settings *settings, bool is_probe,
	enum http_client_error error, int64_t duration_ms, int64_t now_ms, const struct random_source *random)
{
	int64_t heard_before_ms = health->last_heard_ms;

	if (error == HTTP_CLIENT_CANCELLED)
		return false;
	health->last_heard_ms = now_ms;
	if (error == HTTP_CLIENT_OK)
		return succeed(health, settings, duration_ms, now_ms, random);
	return fail(health, settings, is_probe, error, heard_before_ms, duration_ms, now_ms, random);
}

bool peer_health_wants_probe(const struct peer_health *health, int64_t now_ms)
{
	if (health->state != PEER_UP)
		return now_ms >= health->next_probe_ms;
	return health->last_success_ms >= 0 && now_ms - health->last_heard_ms >= PEER_IDLE_PROBE_MS;
}

void retry_budget_init(struct retry_budget *budget, int64_t now_ms)
{
	*budget = (struct retry_budget){ .tokens_milli = RETRY_TRICKLE_PER_S * 1000, .refilled_ms = now_ms };
}

void retry_budget_sent(struct retry_budget *budget, int64_t retry_percent)
{
	budget->tokens_milli = smaller(budget->tokens_milli + retry_percent * 10, RETRY_TOKENS_MAX * 1000);
}

bool retry_budget_take(struct retry_budget *budget, int64_t now_ms)
{
	int64_t trickle_max = RETRY_TRICKLE_PER_S * 1000;

	if (budget->tokens_milli < trickle_max)
		budget->tokens_milli = smaller(
			budget->tokens_milli + (now_ms - budget->refilled_ms) * RETRY_TRICKLE_PER_S, trickle_max);
	budget->refilled_ms = now_ms;
	if (budget->tokens_milli < 1000)
		return false;
	budget->tokens_milli -= 1000;
	return true;
}

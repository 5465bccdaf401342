/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State of one peer URL: up, suspect, down, and the way back.  Pure: time and
 * randomness are arguments.  Private to router.
 *
 * Two kinds of failure.  A soft one (the peer took the request and gave no proper
 * answer: timeout, nonsense, too large) only makes it suspect, since the peer may
 * be slow for one question.  A hard one (no connection) counts towards down, and
 * so does any failure of a probe, which asks for nothing that takes time.  A
 * certificate that is refused means down at once and slower probes: only a person
 * can put that right.
 */
#ifndef ROUTER_PEER_STATE_H
#define ROUTER_PEER_STATE_H

#include "router/router.h"

#define PEER_PROBE_DELAY_MAX_MS 2000   /* so that a peer is in use again within 3 s of its return */
#define PEER_RECOVERY_DELAY_MAX_MS 250 /* between the good probes on the way back */
#define PEER_CERTIFICATE_DELAY_MS 5000 /* first probe after a certificate failure; doubles */
#define PEER_CERTIFICATE_DELAY_MAX_MS 60000
#define PEER_IDLE_PROBE_MS 10000 /* an up URL that was used before and is not now */

struct peer_health {
	enum peer_state state;
	enum http_client_error reason; /* of the last failure; HTTP_CLIENT_OK when there was none */
	int64_t failures;              /* in a row, those that count */
	int64_t successes;             /* in a row, while down */
	int64_t since_ms;              /* when it came into this state */
	int64_t last_success_ms;       /* -1: never */
	int64_t last_heard_ms;         /* of any outcome */
	int64_t round_trip_us;         /* smoothed; -1 unknown */
	int64_t next_probe_ms;
	int64_t probe_delay_ms; /* the last one; 0: none since it was well */
};

void peer_health_init(struct peer_health *health, int64_t now_ms);
/* What came of a request or a probe.  Returns whether the state changed. */
bool peer_health_report(struct peer_health *health, const struct peers_settings *settings, bool is_probe,
	enum http_client_error error, int64_t duration_ms, int64_t now_ms, const struct random_source *random);
bool peer_health_wants_probe(const struct peer_health *health, int64_t now_ms);

/* Retries: a share of the requests sent, and a trickle for when there are few. */
struct retry_budget {
	int64_t tokens_milli;
	int64_t refilled_ms;
};
#define RETRY_TRICKLE_PER_S 3
#define RETRY_TOKENS_MAX 100 /* saved up in good times; a burst of retries is never longer */

void retry_budget_init(struct retry_budget *budget, int64_t now_ms);
void retry_budget_sent(struct retry_budget *budget, int64_t retry_percent);
bool retry_budget_take(struct retry_budget *budget, int64_t now_ms);

#endif

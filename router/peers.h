/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the peer table, shared with its prober.  Private to router.
 */
#ifndef ROUTER_PEERS_H
#define ROUTER_PEERS_H

#include "router/peer_state.h"

struct peer_probe_target {
	char region[REGION_SIZE];
	char url[PEER_URL_SIZE];
};

/* Up to `max` URLs whose probe is due; each counts as under way until reported. */
size_t peers_take_due(struct peers *peers, struct peer_probe_target *targets, size_t max);
void peers_report_probe(
	struct peers *peers, const struct peer_probe_target *target, enum http_client_error error, int64_t duration_ms);

struct peers_prober;
struct peers_prober **peers_prober_slot(struct peers *peers);

#endif

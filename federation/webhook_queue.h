/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A webhook while it is delivered to, and the few deliveries that were read ahead or
 * are under way; all others are in the database only.
 */
#ifndef FEDERATION_WEBHOOK_QUEUE_H
#define FEDERATION_WEBHOOK_QUEUE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/settings.h"
#include "base/strbuf.h"
#include "federation/webhook_decision.h"
#include "federation/webhook_message.h"

#define WEBHOOK_LAST_SIZE 256
#define WEBHOOK_STUCK_MAX 256 /* streams; with more of them looking only takes longer */

struct webhook {
	const struct settings_webhook *settings;
	struct webhook_terms terms;
	struct webhook_secrets secrets;
	bool has_secrets, is_paused, is_hungry; /* hungry: there may be something to send */
	int64_t secrets_ms, look_ms, wait_until_ms;
	int64_t failures; /* times in a row that it waited as a whole */
	struct webhook_delivery *ready, **ready_end;
	size_t ready_count, in_flight;
	struct {
		int64_t stream, until_ms;
	} stuck[WEBHOOK_STUCK_MAX]; /* their first event waits until then; 0: none */
	char resumed_at[64];
	struct {
		int64_t delivered, failures, dead;
		bool is_gone;
		char last[WEBHOOK_LAST_SIZE]; /* "": nothing to record */
	} total;
	struct log_limit limit;
	struct metric_series *attempts[WEBHOOK_PAUSE + 1], *pending, *oldest_s, *paused, *under_way, *took, *dead;
};

struct webhook_delivery {
	struct webhook_delivery *next, **at; /* in all of them */
	struct webhook_delivery *next_ready;
	struct webhook *hook;
	int64_t place, stream, attempts, refusals, expires_us;
	char *origin, *source, *id;
	struct strbuf event;
};

void webhook_init(struct webhook *hook, const struct settings_webhook *settings);
/* One at a time after failures: whether it is back is asked with one event. */
size_t webhook_in_flight_max(const struct webhook *hook);

/* A row of webhook_store_read(), into `all` and behind what is ready.  False: no memory. */
bool webhook_add_ready(struct webhook_delivery **all, struct webhook *hook, const PGresult *rows, int row);
/* The first; there must be one. */
struct webhook_delivery *webhook_take_ready(struct webhook *hook);
/* All: they are read again. */
void webhook_drop_ready(struct webhook *hook);
void webhook_delivery_destroy(struct webhook_delivery *delivery);
/* The places of a webhook's deliveries, or of every one's (NULL), as an array for the database.  False: no memory. */
bool webhook_list_known(const struct webhook_delivery *all, const struct webhook *hook, struct strbuf *array);

/* Its first event waits until then, and so do the others. */
void webhook_add_stuck(struct webhook *hook, int64_t stream, int64_t until_ms, int64_t now_ms);
void webhook_forget_stuck(struct webhook *hook);
/* Those that wait still, as an array for the database.  False: no memory. */
bool webhook_list_stuck(const struct webhook *hook, int64_t now_ms, struct strbuf *array);

#endif

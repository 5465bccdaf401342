/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attempts under way: libcurl's multi interface on one thread, each attempt with a
 * deadline.  No redirections, no proxies, nothing from the environment; https is
 * verified, http goes to loopback and private addresses only.  Answers' bodies are
 * read no further than a person would.
 */
#ifndef FEDERATION_WEBHOOK_TRANSFERS_H
#define FEDERATION_WEBHOOK_TRANSFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/settings.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "federation/webhook_decision.h"
#include "federation/webhook_message.h"

#define WEBHOOK_QUOTE_MAX 200 /* bytes of an answer that are kept, for people */

struct webhook_transfers;

/* connections_max: idle ones that are kept. */
MUST_CHECK enum status webhook_transfers_create(size_t connections_max, struct webhook_transfers **transfers_out);
/* Ends what is under way.  Accepts NULL. */
void webhook_transfers_destroy(struct webhook_transfers *transfers);

/* Takes the message; webhook and arg are borrowed until it is over. */
MUST_CHECK enum status webhook_transfers_start(struct webhook_transfers *transfers,
	const struct settings_webhook *webhook, struct webhook_message *message, void *arg);
size_t webhook_transfers_count(const struct webhook_transfers *transfers);
/* Until something happens to one of them or to the socket (< 0: none), timeout_ms at most. */
void webhook_transfers_wait(struct webhook_transfers *transfers, int socket, int64_t timeout_ms);

struct webhook_result {
	void *arg;
	struct webhook_answer answer;
	int64_t duration_us;
	char detail[WEBHOOK_QUOTE_MAX + 1]; /* how the answer's text begins, or why there is none; printable */
};
/* One that is over; false when there is none. */
bool webhook_transfers_next(struct webhook_transfers *transfers, struct webhook_result *result_out);

#endif

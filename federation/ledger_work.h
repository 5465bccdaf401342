/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ledgers, exchanged: a thread of its own, since counting an hour of a busy region
 * takes seconds.  The consumer leaves in a table what other regions say.
 */
#ifndef FEDERATION_LEDGER_WORK_H
#define FEDERATION_LEDGER_WORK_H

#include "federation/event.h"
#include "federation/worker.h"

void ledger_work(struct worker *worker);

/* On the consumer's session, in a batch's transaction: one of the three messages came, its data checked. */
bool ledger_is_message(const struct event *event);
MUST_CHECK enum status ledger_keep(struct worker *worker, const struct event *event, struct strbuf *why);

#endif

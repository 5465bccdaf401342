/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Webhooks: events that the inbox took, posted to the addresses of the settings
 * (events.webhooks), on a thread of their own.
 *
 * Promises: at least once, with the same id; events of one origin, source and
 * subject in the order in which the inbox took them, each after the one before was
 * delivered or became a dead letter.
 */
#ifndef FEDERATION_WEBHOOKS_H
#define FEDERATION_WEBHOOKS_H

#include "base/settings.h"
#include "base/status.h"
#include "federation/system_events.h"
#include "federation/worker.h"

struct webhooks;

/* settings and system are borrowed. */
MUST_CHECK enum status webhooks_create(
	const struct settings *settings, struct system_events *system, struct webhooks **webhooks_out);
/* After its worker has stopped.  Accepts NULL. */
void webhooks_destroy(struct webhooks *webhooks);
/* worker->webhooks; needs no broker. */
void webhooks_work(struct worker *worker);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the system publisher's thread does: publishes system events to homeward.system. */
#ifndef FEDERATION_SYSTEM_PUBLISHER_H
#define FEDERATION_SYSTEM_PUBLISHER_H

#include "federation/worker.h"

#define SYSTEM_BATCH_MAX 100 /* without a confirmation yet */

/* struct worker's work; the worker needs no database. */
void system_publisher_work(struct worker *worker);

#endif

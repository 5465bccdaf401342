/* SPDX-License-Identifier: Apache-2.0 */
/* What the submitter's thread does: takes the queue homeward.submit into the outbox. */
#ifndef FEDERATION_SUBMITTER_H
#define FEDERATION_SUBMITTER_H

#include "federation/worker.h"

#define SUBMITTER_PREFETCH 500 /* and so the most in one transaction */

void submitter_work(struct worker *worker);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the gate's denials for each region that asks and each caller of this one,
 * and tells when there are more in a minute than there should be: part of the
 * front door policy.h.
 */
#ifndef POLICY_DENIALS_H
#define POLICY_DENIALS_H

#include <stdint.h>

#include "base/clock.h"

#define DENIALS_WINDOW_S 60

struct denials;

/* region "": a caller of this region.  Under no lock; any thread. */
typedef void denials_alarmed(void *arg, const char *region, const char *caller, int64_t denied);

/* limit: a minute's denials that are told of; 0: none ever.  NULL when out of memory. */
struct denials *denials_create(int64_t limit, const struct clock_source *clock, denials_alarmed *alarmed, void *arg);
void denials_destroy(struct denials *denials);
/* Any thread; denials may be NULL. */
void denials_count(struct denials *denials, const char *region, const char *caller);

#endif

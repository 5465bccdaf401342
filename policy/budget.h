/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one region's caller may ask of this home before it looks like scanning:
 * part of the front door policy.h.  A lookup past a budget is denied whatever it
 * asks for, so that it teaches nothing.
 */
#ifndef POLICY_BUDGET_H
#define POLICY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/object_id.h"

/* 0 switches a limit off. */
struct budget_limits {
	int64_t lookups_per_s;     /* lasting; twice as many may come at once */
	int64_t subjects_per_hour; /* different objects asked for in an hour's window */
	int64_t misses_percent;    /* of a minute's lookups that may be denied or unknown … */
	int64_t misses_min;        /* … when there were at least so many */
	int64_t slow_per_s;        /* what a caller over its misses still gets … */
	int64_t slow_s;            /* … for so long */
};

enum budget_verdict { BUDGET_WITHIN, BUDGET_LOOKUPS, BUDGET_SUBJECTS, BUDGET_MISSES, BUDGET_VERDICTS };
const char *budget_verdict_name(enum budget_verdict verdict);

struct budget_alarm {
	const char *region, *caller; /* caller "_other": one of those past the bound */
	enum budget_verdict verdict;
	int64_t lookups, misses; /* of the minute */
	int64_t subjects;        /* of the hour */
};
/* When a budget is exceeded for the first time in a minute.  Under no lock; any thread. */
typedef void budget_alarmed(void *arg, const struct budget_alarm *alarm);

struct budgets;

/* NULL when out of memory. */
struct budgets *budgets_create(
	const struct budget_limits *limits, const struct clock_source *clock, budget_alarmed *alarmed, void *arg);
void budgets_destroy(struct budgets *budgets);
/* Counts a lookup and says whether it is within the budgets.  Any thread. */
enum budget_verdict budgets_take(
	struct budgets *budgets, const char *region, const char *caller, const struct object_id *object);
/* That lookup was denied or unknown.  Not for those past a budget. */
void budgets_missed(struct budgets *budgets, const char *region, const char *caller);

#endif

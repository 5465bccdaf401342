/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kind of request a policy, or two of them side by side, can tell apart.
 * One operation and one type at a time; the points are walked by stepping.
 */
#ifndef POLICY_ENUMERATE_H
#define POLICY_ENUMERATE_H

#include "policy/rules.h"

#define ENUMERATED_POLICIES_MAX 2
/* Names of both policies, some other, a second other region, unknown, and a region given by hand. */
#define AXIS_VALUES_MAX (ENUMERATED_POLICIES_MAX * NAMES_MAX + 4)
#define AXES_MAX (1 + ATTRIBUTE_FLAGS - ATTRIBUTE_STATION_REGION + ENUMERATED_POLICIES_MAX * POLICY_FLAGS_MAX)
#define AXIS_OTHER_REGION (-1) /* the region on the other side of the border: no attribute of its own */
#define AXIS_ABSENT (-2)       /* this policy has no such flag for this type */

#define VALUE_OTHER "~other" /* no name can begin so */
#define VALUE_OTHER_2 "~other-2"

struct axis_value {
	const char *text; /* NULL: unknown */
	uint8_t id[ENUMERATED_POLICIES_MAX];
};

struct axis {
	const char *name;
	int attribute[ENUMERATED_POLICIES_MAX];
	int count, at;
	struct axis_value values[AXIS_VALUES_MAX];
};

struct enumeration {
	const struct policy *policies[ENUMERATED_POLICIES_MAX];
	int policy_count;
	enum gate_operation operation;
	const char *type;
	struct axis axes[AXES_MAX];
	int axis_count;
	struct facts facts[ENUMERATED_POLICIES_MAX]; /* of the point it stands at, one for each policy */
};

/*
 * Stands at the first point of this operation and type.  `region`: the only region on the other side, or NULL
 * for every one.  The policies speak for the same home.  Returns how many points there are; a number past
 * 10^15 is not exact, only too many.
 */
uint64_t enumeration_begin(struct enumeration *enumeration, const struct policy *const *policies, int policy_count,
	enum gate_operation operation, const char *type, const char *region);
/* False when it stood at the last point; it then stands at the first again. */
bool enumeration_step(struct enumeration *enumeration);
/*
 * How many points there are over all operations and the types of each policy.  Past POLICY_POINTS_MAX `why` says
 * so; it is then STATUS_TOO_LARGE to walk them.  UINT64_MAX: out of memory, and `why` says that.
 */
uint64_t enumeration_count(
	const struct policy *const *policies, int policy_count, const char *region, struct strbuf *why);
/* "serve token, requester na, to na, purpose charge.bill, …": what is unknown is left out. */
void enumeration_describe(const struct enumeration *enumeration, struct strbuf *text);

#define INVARIANT_POINTS_MAX 2000000 /* about a second's work */
/* Tries every point; broken[i], one for each invariant, says which point breaks it and stays empty when none does.
 * STATUS_TOO_LARGE: there are more points than that. */
MUST_CHECK enum status invariants_try(const struct policy *policy, struct strbuf *broken);

#endif

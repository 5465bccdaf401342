/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of statuses.  They are metric labels and log values, so they never
 * change once published.
 */
#include "base/status.h"

static const char *const names[STATUS_COUNT] = {
	[STATUS_OK] = "ok",
	[STATUS_INVALID] = "invalid",
	[STATUS_UNAUTHENTICATED] = "unauthenticated",
	[STATUS_FORBIDDEN] = "forbidden",
	[STATUS_NOT_AVAILABLE] = "not_available",
	[STATUS_NOT_FOUND] = "not_found",
	[STATUS_NOT_CACHED] = "not_cached",
	[STATUS_CONFLICT] = "conflict",
	[STATUS_PRECONDITION_FAILED] = "precondition_failed",
	[STATUS_PRECONDITION_REQUIRED] = "precondition_required",
	[STATUS_MISDIRECTED] = "misdirected",
	[STATUS_TOO_LARGE] = "too_large",
	[STATUS_OVERLOADED] = "overloaded",
	[STATUS_DEADLINE] = "deadline",
	[STATUS_UNREACHABLE] = "unreachable",
	[STATUS_BAD_PEER] = "bad_peer",
	[STATUS_UNRECORDED] = "unrecorded",
	[STATUS_DRAINING] = "draining",
	[STATUS_NO_MEMORY] = "no_memory",
	[STATUS_IO] = "io",
	[STATUS_INTERNAL] = "internal",
};

const char *status_name(enum status status)
{
	if ((int)status < 0 || status >= STATUS_COUNT)
		return "internal";
	return names[status];
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authorize: reads the members `valid`, `valid_until` and `credit` of a token's
 * record.  Written so that each doubt refuses: a record of an unknown shape must
 * never make power flow.  Numbers and strings are not booleans here.
 */
#include "locator/authorize.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/must.h"

const char *authorization_name(enum authorization authorization)
{
	static const char *const names[] = {
		[AUTHORIZATION_ALLOWED] = "ALLOWED",
		[AUTHORIZATION_BLOCKED] = "BLOCKED",
		[AUTHORIZATION_EXPIRED] = "EXPIRED",
		[AUTHORIZATION_NO_CREDIT] = "NO_CREDIT",
		[AUTHORIZATION_NOT_ALLOWED] = "NOT_ALLOWED",
	};
	must(authorization < sizeof(names) / sizeof(names[0]));
	return names[authorization];
}

enum authorization authorize_decide(const json_t *record, int64_t now_wall_us)
{
	bool is_valid;
	if (!json_get_boolean(record, "valid", &is_valid))
		return AUTHORIZATION_NOT_ALLOWED;
	if (!is_valid)
		return AUTHORIZATION_BLOCKED;
	const json_t *until = json_object_get(record, "valid_until");
	if (until && !json_is_null(until)) {
		int64_t until_us;
		if (!json_is_string(until) || clock_parse(json_string_value(until), &until_us))
			return AUTHORIZATION_NOT_ALLOWED;
		if (until_us <= now_wall_us)
			return AUTHORIZATION_EXPIRED;
	}
	const char *credit = json_get_string(record, "credit");
	return credit && !strcmp(credit, "none") ? AUTHORIZATION_NO_CREDIT : AUTHORIZATION_ALLOWED;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The charge decision: from a token's record to one word.  Pure. */
#ifndef LOCATOR_AUTHORIZE_H
#define LOCATOR_AUTHORIZE_H

#include <jansson.h>
#include <stdint.h>

enum authorization {
	AUTHORIZATION_ALLOWED,
	AUTHORIZATION_BLOCKED,
	AUTHORIZATION_EXPIRED,
	AUTHORIZATION_NO_CREDIT,
	AUTHORIZATION_NOT_ALLOWED
};

const char *authorization_name(enum authorization authorization);
/* Only `"valid": true` allows; what is missing or malformed never does.  NULL: NOT_ALLOWED. */
enum authorization authorize_decide(const json_t *record, int64_t now_wall_us);

#endif

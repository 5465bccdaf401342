/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers, private to cli: shared by `homeward callers` and the development mesh.
 */
#ifndef CLI_CALLERS_H
#define CLI_CALLERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/database.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strbuf.h"

#define CALLER_TOKEN_PREFIX "hw_"
enum { CALLER_TOKEN_BYTES = 32, CALLER_TOKEN_SIZE = 3 + 43 + 1, CALLER_PURPOSES_MAX = 64 };

struct caller {
	const char *name;
	const char *purposes; /* comma separated */
	bool may_write;
};

/* STATUS_INVALID with the rule broken in `why`. */
MUST_CHECK enum status caller_check(const struct caller *caller, struct strbuf *why);
/* "hw_" and 256 random bits in base64url. */
void caller_token_make(char token_out[CALLER_TOKEN_SIZE]);
/* Makes a token, stores its hash, hands the token over.  STATUS_CONFLICT: there is one of that name. */
MUST_CHECK enum status caller_add(struct database_session *session, const struct caller *caller,
	char token_out[CALLER_TOKEN_SIZE], struct strbuf *why);

#endif

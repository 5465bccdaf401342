/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One blocking call to a daemon's admin listener, over TCP or its unix socket;
 * private to cli.  (base/http_client.h is for loops; a command has none.)
 */
#ifndef CLI_ADMIN_CLIENT_H
#define CLI_ADMIN_CLIENT_H

#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"
#include "cli/command.h"

enum { ADMIN_CALL_MS = 10000, ADMIN_ANSWER_BYTES_MAX = 4 << 20 };

/* where: "http://host:port", "unix:/path" or "/path".  STATUS_OK: an answer came, whatever it says; its HTTP
 * status is in *http_status_out and its body is added to `body`.  Else the reason is in `why`. */
MUST_CHECK enum status admin_call(const char *where, const char *method, const char *path, int64_t timeout_ms,
	int *http_status_out, struct strbuf *body, struct strbuf *why);
/* As admin_call, with this body for a POST. */
MUST_CHECK enum status admin_send(const char *where, const char *method, const char *path, const char *sent,
	int64_t timeout_ms, int *http_status_out, struct strbuf *body, struct strbuf *why);

/* The option --admin, under the id a command gives it. */
#define ADMIN_OPTION_ROW(id)                                                                                           \
	{                                                                                                              \
		id, "admin", "WHERE", "http://host:port or unix:/path (default: from the settings)"                    \
	}

/* Where the daemon of these settings has its admin listener; STATUS_INVALID when only --admin can tell. */
MUST_CHECK enum status admin_where(const char *config, struct strbuf *where);

/* The same of settings that were read: false when none has a fixed place. */
bool admin_where_of(const struct settings *settings, struct strbuf *where);

/* A whole command: --admin is the only option of its own.  Returns the exit code; show() makes it of the answer. */
int admin_command(const struct command_usage *usage, int argc, char **argv, const char *method, const char *path,
	int (*show)(int http_status, const struct strbuf *body, enum output_format format));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of `homeward routes` share.  Private to cli.
 */
#ifndef CLI_ROUTES_H
#define CLI_ROUTES_H

#include "base/settings.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "router/router.h"

/*
 * Checks a row and spells its key as ids of that type are spelled: for an exact row the canonical id, for a
 * prefix the canonical start.  STATUS_INVALID with the rule broken in `why`.
 */
MUST_CHECK enum status routes_check_row(const struct settings *settings, const char *type, const char *kind,
	const char *key, const char *region, struct route *route_out, struct strbuf *why);

int routes_run_import(int argc, char **argv);
int routes_run_export(int argc, char **argv);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking calls to one peer's listener, as this region, over mutual TLS; private to cli. */
#ifndef CLI_PEER_CLIENT_H
#define CLI_PEER_CLIENT_H

#include <jansson.h>

#include "base/settings.h"
#include "base/status.h"
#include "base/strbuf.h"

struct peer_client;

/* The settings are borrowed.  STATUS_NOT_FOUND: they name no such peer. */
MUST_CHECK enum status peer_client_open(
	const struct settings *settings, const char *region, struct peer_client **client_out, struct strbuf *why);
void peer_client_close(struct peer_client *client);
/* STATUS_OK: the answer was 200 and JSON.  Addresses are tried in their order; the one that answered is kept. */
MUST_CHECK enum status peer_client_get(
	struct peer_client *client, const char *path, json_t **answer_out, struct strbuf *why);

#endif

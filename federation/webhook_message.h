/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request that carries an event to a webhook: its headers and body in either
 * content mode of CloudEvents over HTTP, its name, and its signature, as Standard
 * Webhooks has them.  Pure.
 */
#ifndef FEDERATION_WEBHOOK_MESSAGE_H
#define FEDERATION_WEBHOOK_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/settings.h"
#include "base/status.h"
#include "base/strbuf.h"

#define WEBHOOK_KEYS_MAX 4 /* the old and the new one while both are in use, and some to spare */
#define WEBHOOK_KEY_BYTES_MIN 24
#define WEBHOOK_KEY_BYTES_MAX 64
#define WEBHOOK_ID_SIZE 37 /* "evt_", 32 digits, NUL */

struct webhook_secrets {
	struct strbuf authorization; /* a whole header; empty: none */
	struct webhook_key {
		unsigned char bytes[WEBHOOK_KEY_BYTES_MAX];
		size_t size;
	} keys[WEBHOOK_KEYS_MAX];
	size_t key_count;
};

void webhook_secrets_init(struct webhook_secrets *secrets);
void webhook_secrets_release(struct webhook_secrets *secrets); /* and wipes them */
/* Reads the files.  `why` names the file and never quotes it. */
MUST_CHECK enum status webhook_secrets_load(
	const struct settings_webhook *webhook, struct webhook_secrets *secrets, struct strbuf *why);
/* Lines of "whsec_" and base 64. */
MUST_CHECK enum status webhook_secrets_parse(const char *text, struct webhook_secrets *secrets, struct strbuf *why);
MUST_CHECK enum status webhook_token_parse(const char *text, struct webhook_secrets *secrets, struct strbuf *why);

/* The same for each attempt and each webhook: made of what makes an event unique. */
void webhook_id(const char *origin, const char *source, const char *id, char text[WEBHOOK_ID_SIZE]);

struct webhook_event {
	const char *text; /* the envelope */
	size_t size;
	const char *origin, *source, *id;
	int64_t attempt;     /* from 1 */
	int64_t timestamp_s; /* of the attempt, since 1970 */
};

struct webhook_message {
	struct strbuf headers; /* "Name: value", each ended by a NUL */
	struct strbuf body;
};

void webhook_message_init(struct webhook_message *message);
void webhook_message_release(struct webhook_message *message);
/* STATUS_INVALID: it is no event; STATUS_NO_MEMORY. */
MUST_CHECK enum status webhook_message_make(const struct settings_webhook *webhook,
	const struct webhook_secrets *secrets, const struct webhook_event *event, struct webhook_message *message_out);

#endif

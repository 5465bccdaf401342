/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content modes of CloudEvents: structured (the envelope is the body), batch
 * (an array of envelopes is), and binary (attributes are headers, the data is the
 * body), as the HTTP and AMQP bindings have them.  Pure.
 */
#ifndef FEDERATION_EVENT_MODES_H
#define FEDERATION_EVENT_MODES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/strbuf.h"

enum event_mode {
	EVENT_STRUCTURED, /* also where nothing says otherwise */
	EVENT_BATCH,
	EVENT_BINARY
};

/* content_type may be NULL; the headers of a binary event count only where it does not name another mode. */
enum event_mode event_mode_find(const char *content_type, bool has_attributes);
/* application/json, text/json, or anything +json. */
bool event_mode_is_json(const char *content_type);

/*
 * One header of a binary event into the envelope: name without its prefix, in any case.  STATUS_INVALID names it.
 * The HTTP binding's values are percent-encoded, and may be quoted.
 */
MUST_CHECK enum status event_binary_attribute(
	json_t *envelope, const char *name, const char *value, bool is_encoded, struct strbuf *why);
/*
 * Its body: as JSON where content_type (may be NULL) is JSON or absent; a text as a text; else data_base64.  Nothing of
 * an empty one.
 */
MUST_CHECK enum status event_binary_data(
	json_t *envelope, const char *content_type, const char *body, size_t size, struct strbuf *why);

#endif

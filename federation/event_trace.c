/* SPDX-License-Identifier: Apache-2.0 */
/* Pure but for the log.  A context is never altered: homeward adds no span of its own. */
#include "federation/event_trace.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "federation/event.h"

#define TRACE_ID_LENGTH 32
#define PARENT_AT 36
#define FLAGS_AT 53
#define ATTRIBUTE "traceparent"

static bool is_hex(const char *text, size_t length)
{
	return strspn(text, "0123456789abcdef") >= length;
}

static bool is_zero(const char *text, size_t length)
{
	return strspn(text, "0") >= length;
}

bool event_trace_is_valid(const char *traceparent)
{
	return traceparent != NULL && strlen(traceparent) == TRACEPARENT_LENGTH && memcmp(traceparent, "00-", 3) == 0 &&
	       is_hex(traceparent + 3, TRACE_ID_LENGTH) && !is_zero(traceparent + 3, TRACE_ID_LENGTH) &&
	       traceparent[PARENT_AT - 1] == '-' && is_hex(traceparent + PARENT_AT, 16) &&
	       !is_zero(traceparent + PARENT_AT, 16) && traceparent[FLAGS_AT - 1] == '-' &&
	       is_hex(traceparent + FLAGS_AT, 2);
}

bool event_trace_is_probe(const char *type, const json_t *envelope)
{
	return strcmp(type, EVENT_OWN_PREFIX "canary") == 0 &&
	       event_trace_is_valid(json_get_string(envelope, ATTRIBUTE));
}

enum status event_trace_take(json_t *envelope, const char *traceparent)
{
	if (!event_trace_is_valid(traceparent) || json_object_get(envelope, ATTRIBUTE) != NULL)
		return STATUS_OK;
	return json_object_set_new(envelope, ATTRIBUTE, json_string(traceparent)) == 0 ? STATUS_OK : STATUS_NO_MEMORY;
}

void event_trace_log(const json_t *envelope, const char *step, const char *type, const char *outcome)
{
	const char *traceparent = json_get_string(envelope, ATTRIBUTE), *flags;
	char trace[TRACE_ID_LENGTH + 1];

	if (!event_trace_is_valid(traceparent))
		return;
	flags = traceparent + FLAGS_AT;
	/* The last bit of the second digit: sampled. */
	if (strchr("13579bdf", flags[1]) == NULL)
		return;
	(void)snprintf(trace, sizeof(trace), "%.*s", TRACE_ID_LENGTH, traceparent + 3);
	LOG_INFO("event_trace", "trace_id", trace, "step", step, "type", type, "outcome",
		outcome != NULL ? outcome : "");
}

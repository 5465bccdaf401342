/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch is taken apart by its brackets and quotes alone, and each text is parsed
 * as if it had come by itself: that costs one parse an event, and what is wrong with
 * one text is that one's own fault.
 *
 * Any thread; no state.
 */
#include "federation/event_batch.h"

#include <string.h>

/* ---- writing ---- */

void event_batch_add(struct strbuf *body, const struct strbuf *envelope)
{
	strbuf_addc(body, body->length == 0 ? '[' : ',');
	strbuf_add(body, envelope->data, envelope->length);
}

void event_batch_end(struct strbuf *body)
{
	strbuf_addc(body, ']');
}

/* ---- reading ---- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_spaces(const char *at, const char *end)
{
	while (at < end && is_space(*at))
		at++;
	return at;
}

/* After the quote that ends a text, or the end. */
static const char *skip_text(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		if (*at == '\\' && at + 1 < end)
			at++;
	return at < end ? at + 1 : end;
}

/* Where the value that begins at `at` is over: at the ',' or ']' after it; NULL when neither comes. */
static const char *find_end(const char *at, const char *end)
{
	size_t depth = 0;

	while (at < end) {
		if (*at == '"') {
			at = skip_text(at, end);
			continue;
		}
		if (depth == 0 && (*at == ',' || *at == ']'))
			return at;
		if (*at == '{' || *at == '[')
			depth++;
		else if ((*at == '}' || *at == ']') && depth > 0)
			depth--;
		at++;
	}
	return NULL;
}

struct event_batch event_batch_begin(const char *body, size_t size)
{
	const char *end = body + size, *at = skip_spaces(body, end);

	return (struct event_batch){ at < end && *at == '[' ? at + 1 : end, end };
}

bool event_batch_next(struct event_batch *batch, const char **text_out, size_t *length_out)
{
	const char *at = skip_spaces(batch->at, batch->end), *end = find_end(at, batch->end), *last = end;

	if (end == NULL)
		return false;
	while (last > at && is_space(last[-1]))
		last--;
	*text_out = at;
	*length_out = (size_t)(last - at);
	batch->at = *end == ',' ? end + 1 : batch->end;
	return true;
}

size_t event_batch_count(const char *body, size_t size)
{
	struct event_batch batch = event_batch_begin(body, size);
	const char *text, *last = NULL;
	size_t count = 0, length;

	while (event_batch_next(&batch, &text, &length)) {
		if (length == 0 || ++count > EVENT_BATCH_EVENTS_MAX)
			return 0;
		last = text + length;
	}
	if (count == 0)
		return 0;
	/* The array's own bracket, and nothing after it. */
	last = skip_spaces(last, batch.end);
	return last < batch.end && *last == ']' && skip_spaces(last + 1, batch.end) == batch.end ? count : 0;
}

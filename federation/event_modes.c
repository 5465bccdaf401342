/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A binary event becomes the envelope that its structured form would have been, so
 * that everything after this knows one form only.  Headers are taken as texts; what
 * an attribute must be is checked with the envelope.
 *
 * Any thread; no state.
 */
#include "federation/event_modes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/json.h"
#include "federation/event.h"

#define NAME_SIZE 64 /* longer than any name an envelope may have */
#define STRUCTURED_TYPE "application/cloudevents"
#define BATCH_TYPE "application/cloudevents-batch"

static enum status refuse(struct strbuf *why, const char *what, const char *rule)
{
	strbuf_addf(why, "%s: %s", what, rule);
	return STATUS_INVALID;
}

/* The length of the media type itself, without its parameters. */
static size_t media_length(const char *content_type)
{
	return strcspn(content_type, "; \t");
}

static bool begins(const char *text, const char *prefix)
{
	return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

enum event_mode event_mode_find(const char *content_type, bool has_attributes)
{
	if (content_type != NULL && begins(content_type, BATCH_TYPE))
		return EVENT_BATCH;
	if (content_type != NULL && begins(content_type, STRUCTURED_TYPE))
		return EVENT_STRUCTURED;
	return has_attributes ? EVENT_BINARY : EVENT_STRUCTURED;
}

bool event_mode_is_json(const char *content_type)
{
	size_t length = media_length(content_type);

	return (length == strlen("application/json") && begins(content_type, "application/json")) ||
	       (length == strlen("text/json") && begins(content_type, "text/json")) ||
	       (length > strlen("+json") && begins(content_type + length - strlen("+json"), "+json"));
}

/* A text whose bytes are the characters' UTF-8. */
static bool is_text(const char *content_type)
{
	const char *charset = strcasestr(content_type, "charset=");

	return begins(content_type, "text/") &&
	       (charset == NULL || begins(charset, "charset=utf-8") || begins(charset, "charset=\"utf-8\""));
}

/* Of the binding's encoding: quotes around the value and what is escaped in them, then %XX; no '+' for a space. */
static enum status decode(const char *value, struct strbuf *text)
{
	bool is_quoted = value[0] == '"';

	for (const char *at = value + is_quoted; *at != '\0'; at++) {
		if (is_quoted && *at == '"')
			return at[1] == '\0' ? STATUS_OK : STATUS_INVALID;
		if (is_quoted && *at == '\\' && at[1] != '\0') {
			strbuf_addc(text, *++at);
		} else if (*at == '%') {
			int high = hex_digit(at[1]), low = high < 0 ? -1 : hex_digit(at[2]);

			if (low < 0 || high + low == 0)
				return STATUS_INVALID;
			strbuf_addc(text, (char)(high * 16 + low));
			at += 2;
		} else {
			strbuf_addc(text, *at);
		}
	}
	return is_quoted ? STATUS_INVALID : STATUS_OK;
}

static enum status set_text(json_t *envelope, const char *name, const char *text, struct strbuf *why)
{
	json_t *value = json_string(text);

	if (value == NULL)
		return refuse(why, name, "not UTF-8");
	return json_object_set_new(envelope, name, value) == 0 ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status event_binary_attribute(
	json_t *envelope, const char *name, const char *value, bool is_encoded, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	enum status status = STATUS_OK;
	char lower[NAME_SIZE];
	size_t length = strlen(name);

	if (length >= sizeof(lower))
		return refuse(why, "attribute name", "not 1 to 20 of a-z 0-9");
	for (size_t i = 0; i <= length; i++)
		lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
	if (strcmp(lower, "data") == 0 || strcmp(lower, "data_base64") == 0)
		return refuse(why, lower, "is the body of a binary event");
	if (strcmp(lower, "datacontenttype") == 0)
		return refuse(why, lower, "is the content type of a binary event");
	if (json_object_get(envelope, lower) != NULL)
		return refuse(why, lower, "given twice");
	if (!is_encoded)
		strbuf_adds(&text, value);
	else if (decode(value, &text) != STATUS_OK)
		status = refuse(why, lower, "not percent-encoded as the HTTP binding has it");
	if (status == STATUS_OK)
		status = strbuf_ok(&text) ? set_text(envelope, lower, text.data, why) : STATUS_NO_MEMORY;
	strbuf_release(&text);
	return status;
}

/* json_parse takes objects and arrays; data may be any value, and as the one member of an array it is one. */
static enum status set_json(json_t *envelope, const char *body, size_t size, struct strbuf *why)
{
	struct strbuf wrapped = STRBUF_INIT;
	json_t *array = NULL;
	enum status status = STATUS_NO_MEMORY;

	strbuf_addc(&wrapped, '[');
	strbuf_add(&wrapped, body, size);
	strbuf_addc(&wrapped, ']');
	if (strbuf_ok(&wrapped))
		status = json_parse(wrapped.data, wrapped.length, &array, NULL);
	strbuf_release(&wrapped);
	if (status == STATUS_INVALID || (status == STATUS_OK && json_array_size(array) != 1))
		status = refuse(why, "data", "not JSON, which its content type says");
	else if (status == STATUS_OK && json_object_set(envelope, "data", json_array_get(array, 0)) != 0)
		status = STATUS_NO_MEMORY;
	json_decref(array);
	return status;
}

static enum status set_base64(json_t *envelope, const char *body, size_t size, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;

	base64_encode(body, size, &text);
	if (strbuf_ok(&text))
		status = set_text(envelope, "data_base64", text.data, why);
	strbuf_release(&text);
	return status;
}

enum status event_binary_data(
	json_t *envelope, const char *content_type, const char *body, size_t size, struct strbuf *why)
{
	json_t *text = NULL;

	if (size > EVENT_BYTES_MAX) {
		strbuf_adds(why, "data: over 1,048,576 bytes");
		return STATUS_TOO_LARGE;
	}
	if (content_type != NULL && set_text(envelope, "datacontenttype", content_type, why) != STATUS_OK)
		return STATUS_INVALID;
	if (size == 0)
		return STATUS_OK;
	if (content_type == NULL || event_mode_is_json(content_type))
		return set_json(envelope, body, size, why);
	if (is_text(content_type) && memchr(body, '\0', size) == NULL)
		text = json_stringn(body, size); /* NULL also where it is not UTF-8 */
	if (text == NULL)
		return set_base64(envelope, body, size, why);
	return json_object_set_new(envelope, "data", text) == 0 ? STATUS_OK : STATUS_NO_MEMORY;
}

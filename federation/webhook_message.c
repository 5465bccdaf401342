/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header values are made so that nothing an event holds can end one: attributes are
 * percent-encoded as the HTTP binding says, which leaves printable ASCII.
 *
 * The signature covers the id, the time of the attempt, and the body's bytes.  The
 * id is a hash, as an event's own may hold anything.
 */
#include "federation/webhook_message.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "federation/event_modes.h"
#include "federation/event_trace.h"

#define SECRET_PREFIX "whsec_"
#define TOKEN_BYTES_MAX 8192 /* a JWT with many claims */

/* ---- secrets ---- */

void webhook_secrets_init(struct webhook_secrets *secrets)
{
	memset(secrets, 0, sizeof(*secrets));
	strbuf_init(&secrets->authorization);
}

void webhook_secrets_release(struct webhook_secrets *secrets)
{
	strbuf_wipe(&secrets->authorization);
	explicit_bzero(secrets->keys, sizeof(secrets->keys));
	secrets->key_count = 0;
}

enum status webhook_token_parse(const char *text, struct webhook_secrets *secrets, struct strbuf *why)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i++) {
		if (text[i] <= ' ' || text[i] > '~') {
			strbuf_adds(why, "not one token of printable characters");
			return STATUS_INVALID;
		}
	}
	if (length == 0 || length > TOKEN_BYTES_MAX) {
		strbuf_adds(why, "a token has 1 to 8,192 characters");
		return STATUS_INVALID;
	}
	strbuf_addf(&secrets->authorization, "Authorization: Bearer %s", text);
	return strbuf_ok(&secrets->authorization) ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status webhook_secrets_parse(const char *text, struct webhook_secrets *secrets, struct strbuf *why)
{
	secrets->key_count = 0;
	while (*text != '\0') {
		size_t length = strcspn(text, "\r\n");
		struct webhook_key *key = &secrets->keys[secrets->key_count];

		if (length > 0) {
			if (secrets->key_count == WEBHOOK_KEYS_MAX) {
				strbuf_adds(why, "more than 4 secrets");
				return STATUS_INVALID;
			}
			if (strncmp(text, SECRET_PREFIX, strlen(SECRET_PREFIX)) != 0 ||
				base64_decode(text + strlen(SECRET_PREFIX), length - strlen(SECRET_PREFIX), key->bytes,
					sizeof(key->bytes), &key->size) != STATUS_OK ||
				key->size < WEBHOOK_KEY_BYTES_MIN) {
				strbuf_addf(why, "line %zu is not " SECRET_PREFIX " and base 64 of 24 to 64 bytes",
					secrets->key_count + 1);
				return STATUS_INVALID;
			}
			secrets->key_count++;
		}
		text += length;
		text += *text != '\0';
	}
	if (secrets->key_count == 0)
		strbuf_adds(why, "no secret in it");
	return secrets->key_count > 0 ? STATUS_OK : STATUS_INVALID;
}

static enum status load_one(const char *path, const char *what, struct webhook_secrets *secrets,
	enum status (*parse)(const char *text, struct webhook_secrets *secrets, struct strbuf *why), struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT, wrong = STRBUF_INIT;
	enum status status = STATUS_OK;

	if (path != NULL)
		status = file_read_secret(path, &text, why);
	if (path != NULL && status == STATUS_OK) {
		status = strlen(text.data) == text.length ? parse(text.data, secrets, &wrong) : STATUS_INVALID;
		if (status != STATUS_OK)
			strbuf_addf(why, "%s %s: %s", what, path, wrong.data);
	}
	strbuf_wipe(&text);
	strbuf_release(&wrong);
	return status;
}

enum status webhook_secrets_load(
	const struct settings_webhook *webhook, struct webhook_secrets *secrets, struct strbuf *why)
{
	struct webhook_secrets loaded;
	enum status status;

	webhook_secrets_init(&loaded);
	status = load_one(webhook->authorization_file, "authorization_file", &loaded, webhook_token_parse, why);
	if (status == STATUS_OK)
		status = load_one(webhook->secret_file, "secret_file", &loaded, webhook_secrets_parse, why);
	if (status != STATUS_OK) {
		webhook_secrets_release(&loaded);
		return status;
	}
	webhook_secrets_release(secrets);
	*secrets = loaded;
	explicit_bzero(&loaded, sizeof(loaded));
	return STATUS_OK;
}

/* ---- names and signatures ---- */

void webhook_id(const char *origin, const char *source, const char *id, char text[WEBHOOK_ID_SIZE])
{
	struct strbuf whole = STRBUF_INIT, hex = STRBUF_INIT;
	uint8_t digest[SHA256_SIZE];

	/* Each with its length before it, so that no two events spell the same. */
	strbuf_addf(&whole, "%zu:%s%zu:%s%zu:%s", strlen(origin), origin, strlen(source), source, strlen(id), id);
	hash_sha256(whole.data, whole.length, digest);
	strbuf_adds(&hex, "evt_");
	strbuf_add_hex(&hex, digest, 16);
	text[0] = '\0';
	if (strbuf_ok(&whole) && strbuf_ok(&hex) && hex.length < WEBHOOK_ID_SIZE)
		memcpy(text, hex.data, hex.length + 1);
	strbuf_release(&whole);
	strbuf_release(&hex);
}

static void end_header(struct strbuf *headers)
{
	strbuf_addc(headers, '\0');
}

static void add_header(struct strbuf *headers, const char *name, const char *value)
{
	strbuf_addf(headers, "%s: %s", name, value);
	end_header(headers);
}

static void sign(
	const struct webhook_secrets *secrets, const char *id, const char *time, struct webhook_message *message)
{
	struct strbuf signed_text = STRBUF_INIT;
	uint8_t digest[SHA256_SIZE];

	strbuf_addf(&signed_text, "%s.%s.", id, time);
	strbuf_add(&signed_text, message->body.data, message->body.length);
	strbuf_adds(&message->headers, "webhook-signature:");
	for (size_t i = 0; i < secrets->key_count; i++) {
		hash_hmac_sha256(
			secrets->keys[i].bytes, secrets->keys[i].size, signed_text.data, signed_text.length, digest);
		strbuf_adds(&message->headers, " v1,");
		base64_encode(digest, sizeof(digest), &message->headers);
	}
	end_header(&message->headers);
	if (!strbuf_ok(&signed_text))
		message->headers.failed = true;
	strbuf_release(&signed_text);
}

/* ---- binary mode ---- */

/* What the HTTP binding lets stand as it is: printable ASCII without space, quote and percent. */
static void add_encoded(struct strbuf *text, const char *value)
{
	for (; *value != '\0'; value++) {
		unsigned char c = (unsigned char)*value;

		if (c > ' ' && c <= '~' && c != '"' && c != '%')
			strbuf_addc(text, (char)c);
		else
			strbuf_addf(text, "%%%02X", c);
	}
}

static void add_attribute(struct strbuf *headers, const char *name, const json_t *value)
{
	strbuf_addf(headers, "ce-%s: ", name);
	if (json_is_string(value))
		add_encoded(headers, json_string_value(value));
	else if (json_is_boolean(value))
		strbuf_adds(headers, json_is_true(value) ? "true" : "false");
	else
		strbuf_addf(headers, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	end_header(headers);
}

static bool is_printable(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static enum status add_bytes(struct strbuf *body, const char *text)
{
	size_t length = strlen(text), size = 0;

	if (!strbuf_reserve(body, length + 1))
		return STATUS_NO_MEMORY;
	if (base64_decode(text, length, body->data, length, &size) != STATUS_OK)
		return STATUS_INVALID;
	body->length = size;
	body->data[size] = '\0';
	return STATUS_OK;
}

static enum status make_binary(const json_t *envelope, struct webhook_message *message)
{
	const char *type = json_get_string(envelope, "datacontenttype"), *name;
	const json_t *data = json_object_get(envelope, "data"), *value;
	const char *bytes = json_get_string(envelope, "data_base64");
	/* A text is sent as it is only where its type says that it is none of JSON's. */
	bool is_text = json_is_string(data) && type != NULL && !event_mode_is_json(type);

	json_object_foreach((json_t *)(uintptr_t)envelope, name, value)
	{
		if (strcmp(name, "data") != 0 && strcmp(name, "data_base64") != 0 &&
			strcmp(name, "datacontenttype") != 0 && !json_is_null(value))
			add_attribute(&message->headers, name, value);
	}
	if (type == NULL || !is_printable(type))
		type = bytes != NULL ? "application/octet-stream" : "application/json";
	add_header(&message->headers, "Content-Type", type);
	if (bytes != NULL)
		return add_bytes(&message->body, bytes);
	if (is_text) {
		strbuf_add(&message->body, json_string_value(data), json_string_length(data));
		return STATUS_OK;
	}
	return data != NULL ? json_write(data, &message->body) : STATUS_OK;
}

/* ---- the message ---- */

void webhook_message_init(struct webhook_message *message)
{
	strbuf_init(&message->headers);
	strbuf_init(&message->body);
}

void webhook_message_release(struct webhook_message *message)
{
	strbuf_wipe(&message->headers); /* a token may be among them */
	strbuf_release(&message->body);
}

static void add_names(const struct settings_webhook *webhook, const struct webhook_secrets *secrets,
	const struct webhook_event *event, const json_t *envelope, struct webhook_message *message)
{
	const char *trace = json_get_string(envelope, "traceparent");
	char id[WEBHOOK_ID_SIZE], number[24];

	webhook_id(event->origin, event->source, event->id, id);
	add_header(&message->headers, "webhook-id", id);
	snprintf(number, sizeof(number), "%" PRId64, event->timestamp_s);
	add_header(&message->headers, "webhook-timestamp", number);
	if (secrets->key_count > 0)
		sign(secrets, id, number, message);
	snprintf(number, sizeof(number), "%" PRId64, event->attempt);
	add_header(&message->headers, "homeward-attempt", number);
	add_header(&message->headers, "homeward-webhook", webhook->name);
	if (trace != NULL && event_trace_is_valid(trace))
		add_header(&message->headers, "traceparent", trace);
	if (secrets->authorization.length > 0) {
		strbuf_adds(&message->headers, secrets->authorization.data);
		end_header(&message->headers);
	}
}

enum status webhook_message_make(const struct settings_webhook *webhook, const struct webhook_secrets *secrets,
	const struct webhook_event *event, struct webhook_message *message_out)
{
	json_t *envelope = NULL;
	enum status status = json_parse(event->text, event->size, &envelope, NULL);

	if (status == STATUS_OK && json_get_string(envelope, "specversion") == NULL)
		status = STATUS_INVALID;
	if (status == STATUS_OK && webhook->mode == WEBHOOK_BINARY) {
		status = make_binary(envelope, message_out);
	} else if (status == STATUS_OK) {
		add_header(&message_out->headers, "Content-Type", "application/cloudevents+json");
		strbuf_add(&message_out->body, event->text, event->size);
	}
	if (status == STATUS_OK)
		add_names(webhook, secrets, event, envelope, message_out);
	if (status == STATUS_OK && (!strbuf_ok(&message_out->headers) || !strbuf_ok(&message_out->body)))
		status = STATUS_NO_MEMORY;
	json_decref(envelope);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list "events.webhooks".  What a member is and where it is kept stand beside
 * each other in two tables, so that reading, `config show`, reload and the
 * reference agree.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/settings_table.h"

#define WEBHOOKS_MAX 32      /* each is a label of metrics, and has connections of its own */
#define WEBHOOK_LIST_MAX 64  /* types or origins */
#define WEBHOOK_TEXT_MAX 128 /* a type, or the beginning of one */
#define WEBHOOK_URL_MAX 2048

enum webhook_kind {
	WEBHOOK_NAME,
	WEBHOOK_URL,
	WEBHOOK_TYPES,
	WEBHOOK_ORIGINS,
	WEBHOOK_MODE,
	WEBHOOK_PATH,
	WEBHOOK_NUMBER
};

static const char *const mode_names[] = { "structured", "binary", NULL }; /* by enum webhook_mode */

const struct settings_member settings_webhook_members[] = {
	{ "name", "string", "required", "a-z, then a-z 0-9 -, at most 31",
		"What commands and metrics call it; what waits for it is kept under this name." },
	{ "url", "string", "required", "https URL; http to a private address", "Where events are posted to." },
	{ "types", "array", "required", "1 to 64 of a type, or its beginning and `*`", "Which events." },
	{ "origins", "array", "`[]`", "up to 64 regions", "From which regions; none: from all, this one included." },
	{ "mode", "string", "`\"structured\"`", "structured, binary",
		"The CloudEvents content mode: the whole event as JSON, or attributes as headers and the data as "
		"body." },
	{ "ca_file", "string", "", "path", "Authorities its certificate may be from; without it the system's." },
	{ "certificate_file", "string", "", "path", "This region's own certificate, for mutual TLS." },
	{ "key_file", "string", "", "path", "Its key." },
	{ "authorization_file", "string", "", "path", "Holds a bearer token, sent as `Authorization`." },
	{ "secret_file", "string", "", "path",
		"Holds secrets for signatures (HMAC-SHA-256), one a line, at most 4: `whsec_` and base 64, of 24 to 64 "
		"bytes." },
	{ "timeout_ms", "integer", "`10000`", "100 to 120000 ms", "For one attempt, connecting included." },
	{ "in_flight_max", "integer", "`16`", "1 to 256", "Attempts at a time." },
	{ "retry_min_ms", "integer", "`1000`", "10 to 3600000 ms",
		"Before the second attempt; each further wait is twice as long, and half of it is random." },
	{ "retry_max_s", "integer", "`300`", "1 to 86400 s",
		"The longest wait, unless the answer asks for a longer one." },
	{ "keep_s", "integer", "`604800`", "1 to 31536000 s",
		"An event not delivered this long after it came, or at its `expirytime`, becomes a dead letter." },
	{ "refusals_max", "integer", "`5`", "1 to 1000",
		"An event refused so many times (4xx but 408, 410, 425, 429) becomes a dead letter." },
};
const size_t settings_webhook_member_count = sizeof(settings_webhook_members) / sizeof(settings_webhook_members[0]);

#define AT(member) offsetof(struct settings_webhook, member)
static const struct webhook_field {
	enum webhook_kind kind;
	size_t offset;
	int64_t initial, min, max;
} fields[] = {
	{ WEBHOOK_NAME, AT(name), 0, 0, 0 },
	{ WEBHOOK_URL, AT(url), 0, 0, 0 },
	{ WEBHOOK_TYPES, AT(types), 0, 0, 0 },
	{ WEBHOOK_ORIGINS, AT(origins), 0, 0, 0 },
	{ WEBHOOK_MODE, AT(mode), 0, 0, 0 },
	{ WEBHOOK_PATH, AT(ca_file), 0, 0, 0 },
	{ WEBHOOK_PATH, AT(certificate_file), 0, 0, 0 },
	{ WEBHOOK_PATH, AT(key_file), 0, 0, 0 },
	{ WEBHOOK_PATH, AT(authorization_file), 0, 0, 0 },
	{ WEBHOOK_PATH, AT(secret_file), 0, 0, 0 },
	{ WEBHOOK_NUMBER, AT(timeout_ms), 10000, 100, 120000 },
	{ WEBHOOK_NUMBER, AT(in_flight_max), 16, 1, 256 },
	{ WEBHOOK_NUMBER, AT(retry_min_ms), 1000, 10, 3600000 },
	{ WEBHOOK_NUMBER, AT(retry_max_s), 300, 1, 86400 },
	{ WEBHOOK_NUMBER, AT(keep_s), 604800, 1, 31536000 },
	{ WEBHOOK_NUMBER, AT(refusals_max), 5, 1, 1000 },
};
#undef AT
_Static_assert(
	sizeof(fields) / sizeof(fields[0]) == sizeof(settings_webhook_members) / sizeof(settings_webhook_members[0]),
	"one field for each member");

static char **text_at(struct settings_webhook *webhook, const struct webhook_field *field)
{
	return (char **)(void *)((char *)webhook + field->offset);
}

static int64_t *number_at(struct settings_webhook *webhook, const struct webhook_field *field)
{
	return (int64_t *)(void *)((char *)webhook + field->offset);
}

/* ---- checks ---- */

static bool is_type(const char *text)
{
	size_t length = strlen(text),
	       rest = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return length > 0 && length <= WEBHOOK_TEXT_MAX &&
	       (rest == length || (rest == length - 1 && text[rest] == '*'));
}

/* NULL when it is one, else what is wrong.  A name is judged by what it resolves to, when it is connected to. */
static const char *check_url(const char *url)
{
	bool is_plain = strncmp(url, "http://", 7) == 0;
	struct address_url address;

	if ((!is_plain && strncmp(url, "https://", 8) != 0) || strlen(url) > WEBHOOK_URL_MAX)
		return "not a webhook's address";
	for (const char *c = url; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~' || *c == '#' || *c == '\\')
			return "not a webhook's address";
	if (!address_of_url(url, &address))
		return "not a webhook's address";
	if (address.has_user)
		return "credentials do not belong in an address";
	return is_plain && address_text_is_public(address.host) ? "http to a public address" : NULL;
}

/* ---- reading ---- */

static void read_list(struct settings_reader *reader, struct strbuf *pointer, const json_t *value,
	const struct settings_member *about, bool is_types, struct settings_webhook *webhook)
{
	size_t count = json_array_size(value), length = pointer->length;
	char **list;

	if (!json_is_array(value) || count > WEBHOOK_LIST_MAX || (is_types && count == 0)) {
		settings_complain_value(reader, pointer->data, value, "wrong list", about->allowed);
		return;
	}
	list = calloc(count > 0 ? count : 1, sizeof(*list));
	if (list == NULL) {
		reader->has_failed = true;
		return;
	}
	*(is_types ? &webhook->types : &webhook->origins) = list;
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(value, i));

		strbuf_addf(pointer, "/%zu", i);
		if (text == NULL || !(is_types ? is_type(text) : region_is_valid(text)))
			settings_complain_value(reader, pointer->data, json_array_get(value, i),
				is_types ? "not a type of events" : "not a region's name", about->allowed);
		else
			list[(*(is_types ? &webhook->type_count : &webhook->origin_count))++] = settings_copy_text(
				reader, text, false);
		strbuf_truncate(pointer, length);
	}
}

static void read_name(struct settings_reader *reader, const char *pointer, const json_t *value,
	const struct settings_member *about, struct settings_webhook *webhook)
{
	const char *name = json_string_value(value);

	if (name == NULL || !region_is_valid(name)) {
		settings_complain_value(reader, pointer, value, "bad name", about->allowed);
		return;
	}
	for (size_t i = 0; i + 1 < reader->settings->webhook_count; i++)
		if (strcmp(reader->settings->webhooks[i].name, name) == 0)
			settings_complain(reader, pointer, false, "another webhook is called \"%s\"", name);
	memccpy(webhook->name, name, '\0', sizeof(webhook->name));
}

static void read_text(struct settings_reader *reader, const char *pointer, const json_t *value,
	const struct settings_member *about, const struct webhook_field *field, struct settings_webhook *webhook)
{
	const char *text = json_string_value(value), *wrong = "wrong type";

	if (text != NULL)
		wrong = field->kind == WEBHOOK_URL ? check_url(text) : text[0] == '\0' ? "no path" : NULL;
	if (wrong != NULL)
		settings_complain_value(reader, pointer, value, wrong, about->allowed);
	else
		*text_at(webhook, field) = settings_copy_text(reader, text, field->kind == WEBHOOK_PATH);
}

static void read_mode(struct settings_reader *reader, const char *pointer, const json_t *value,
	const struct settings_member *about, struct settings_webhook *webhook)
{
	const char *text = json_string_value(value);

	for (int i = 0; text != NULL && mode_names[i] != NULL; i++) {
		if (strcmp(text, mode_names[i]) == 0) {
			webhook->mode = (enum webhook_mode)i;
			return;
		}
	}
	settings_complain_value(reader, pointer, value, "unknown mode", about->allowed);
}

static void read_member(
	struct settings_reader *reader, struct strbuf *pointer, const json_t *value, size_t member, void *into)
{
	struct settings_webhook *webhook = into;
	const struct settings_member *about = &settings_webhook_members[member];
	const struct webhook_field *field = &fields[member];

	switch (field->kind) {
	case WEBHOOK_NAME:
		read_name(reader, pointer->data, value, about, webhook);
		break;
	case WEBHOOK_URL:
	case WEBHOOK_PATH:
		read_text(reader, pointer->data, value, about, field, webhook);
		break;
	case WEBHOOK_TYPES:
	case WEBHOOK_ORIGINS:
		read_list(reader, pointer, value, about, field->kind == WEBHOOK_TYPES, webhook);
		break;
	case WEBHOOK_MODE:
		read_mode(reader, pointer->data, value, about, webhook);
		break;
	case WEBHOOK_NUMBER:
		if (!json_is_integer(value) || json_integer_value(value) < field->min ||
			json_integer_value(value) > field->max)
			settings_complain_value(reader, pointer->data, value, "out of range", about->allowed);
		else
			*number_at(webhook, field) = json_integer_value(value);
		break;
	}
}

static void check_webhook(struct settings_reader *reader, const char *pointer, const json_t *entry,
	const struct settings_webhook *webhook)
{
	for (size_t i = 0; i < settings_webhook_member_count; i++)
		if (strcmp(settings_webhook_members[i].default_text, "required") == 0 &&
			json_object_get(entry, settings_webhook_members[i].key) == NULL)
			settings_complain(reader, pointer, false, "needs \"%s\"", settings_webhook_members[i].key);
	if ((webhook->certificate_file == NULL) != (webhook->key_file == NULL))
		settings_complain(reader, pointer, false, "\"certificate_file\" and \"key_file\" belong together");
	if (webhook->url != NULL && strncmp(webhook->url, "https:", 6) != 0 &&
		(webhook->ca_file != NULL || webhook->certificate_file != NULL))
		settings_complain(reader, pointer, false, "certificates are for https");
	if (webhook->retry_min_ms > webhook->retry_max_s * 1000)
		settings_complain(reader, pointer, false, "\"retry_min_ms\" is above \"retry_max_s\"");
}

static void read_webhook(
	struct settings_reader *reader, struct strbuf *pointer, json_t *entry, struct settings_webhook *webhook)
{
	settings_read_members(
		reader, pointer, entry, settings_webhook_members, settings_webhook_member_count, read_member, webhook);
	check_webhook(reader, pointer->data, entry, webhook);
}

void settings_read_webhooks(struct settings_reader *reader, json_t *webhooks)
{
	struct settings *settings = reader->settings;
	size_t count = json_array_size(webhooks);
	struct strbuf pointer = STRBUF_INIT;

	if (!json_is_array(webhooks) || count > WEBHOOKS_MAX) {
		settings_complain_value(reader, "/events/webhooks", webhooks, "wrong list", "at most 32 webhooks");
		return;
	}
	settings->webhooks = calloc(count > 0 ? count : 1, sizeof(*settings->webhooks));
	if (settings->webhooks == NULL) {
		reader->has_failed = true;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct settings_webhook *webhook = &settings->webhooks[settings->webhook_count];
		json_t *entry = json_array_get(webhooks, i);

		strbuf_reset(&pointer);
		strbuf_addf(&pointer, "/events/webhooks/%zu", i);
		if (!json_is_object(entry)) {
			settings_complain_value(reader, pointer.data, entry, "wrong type", "an object");
			continue;
		}
		settings->webhook_count++;
		for (size_t m = 0; m < settings_webhook_member_count; m++)
			if (fields[m].kind == WEBHOOK_NUMBER)
				*number_at(webhook, &fields[m]) = fields[m].initial;
		read_webhook(reader, &pointer, entry, webhook);
	}
	strbuf_release(&pointer);
}

/* ---- afterwards ---- */

static bool add_list(struct strbuf *text, char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		strbuf_addf(text, "%s%s", i > 0 ? ", " : "", list[i]);
	return count > 0;
}

bool settings_webhook_value(struct strbuf *text, const struct settings_webhook *webhook, size_t member)
{
	const struct webhook_field *field = &fields[member];
	struct settings_webhook *any = (struct settings_webhook *)(uintptr_t)webhook;

	switch (field->kind) {
	case WEBHOOK_NAME:
		return false; /* it is in the key */
	case WEBHOOK_URL:
	case WEBHOOK_PATH:
		if (*text_at(any, field) != NULL)
			strbuf_adds(text, *text_at(any, field));
		return *text_at(any, field) != NULL;
	case WEBHOOK_TYPES:
		return add_list(text, webhook->types, webhook->type_count);
	case WEBHOOK_ORIGINS:
		return add_list(text, webhook->origins, webhook->origin_count);
	case WEBHOOK_MODE:
		strbuf_adds(text, mode_names[webhook->mode]);
		return true;
	case WEBHOOK_NUMBER:
		strbuf_addf(text, "%" PRId64, *number_at(any, field));
		return true;
	}
	return false;
}

static void add_webhooks(struct strbuf *text, const struct settings *settings)
{
	for (size_t i = 0; i < settings->webhook_count; i++) {
		strbuf_addf(text, "%s\n", settings->webhooks[i].name);
		for (size_t m = 0; m < settings_webhook_member_count; m++) {
			(void)settings_webhook_value(text, &settings->webhooks[i], m);
			strbuf_addc(text, '\n');
		}
	}
}

bool settings_webhooks_equal(const struct settings *a, const struct settings *b)
{
	struct strbuf left = STRBUF_INIT, right = STRBUF_INIT;
	bool is_equal;

	add_webhooks(&left, a);
	add_webhooks(&right, b);
	is_equal = strcmp(left.data, right.data) == 0;
	strbuf_release(&left);
	strbuf_release(&right);
	return is_equal;
}

static void free_list(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

void settings_webhooks_release(struct settings *settings)
{
	for (size_t i = 0; i < settings->webhook_count; i++) {
		struct settings_webhook *webhook = &settings->webhooks[i];

		free_list(webhook->types, webhook->type_count);
		free_list(webhook->origins, webhook->origin_count);
		for (size_t m = 0; m < settings_webhook_member_count; m++)
			if (fields[m].kind == WEBHOOK_URL || fields[m].kind == WEBHOOK_PATH)
				free(*text_at(webhook, &fields[m]));
	}
	free(settings->webhooks);
}

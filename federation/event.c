/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking of events.  An arrival is believed only where three witnesses agree on
 * its origin: the routing key (whose first two words the sender's broker routed
 * by), the envelope, and the link it came by.
 *
 * Any thread; no state.
 */
#include "federation/event.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "federation/federation.h"

#define ATTRIBUTE_NAME_MAX 20 /* the specification's recommendation, made a rule */
#define SEQUENCE_DIGITS_MAX 18

static enum status refuse(struct strbuf *why, const char *attribute, const char *rule)
{
	strbuf_addf(why, "%s: %s", attribute, rule);
	return STATUS_INVALID;
}

static bool is_type(const char *type)
{
	size_t length = strspn(type, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return length > 0 && length <= EVENT_TYPE_MAX && type[length] == '\0' && type[0] != '.' &&
	       type[length - 1] != '.' && strstr(type, "..") == NULL;
}

static bool is_destination(const char *name)
{
	return region_is_valid(name);
}

static bool has_control(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

/* Each attribute is a string, a boolean or a 32-bit integer, with a name of a-z 0-9; data is anything. */
static enum status check_attributes(const json_t *envelope, struct strbuf *why)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	void *at;

	for (at = json_object_iter((json_t *)(uintptr_t)envelope); at != NULL;
		at = json_object_iter_next((json_t *)(uintptr_t)envelope, at)) {
		const char *name = json_object_iter_key(at);
		const json_t *value = json_object_iter_value(at);
		size_t length = strlen(name);

		if (strcmp(name, "data") == 0)
			continue;
		if (strcmp(name, "data_base64") == 0) {
			if (!json_is_string(value))
				return refuse(why, name, "not a string");
			continue;
		}
		if (length == 0 || length > ATTRIBUTE_NAME_MAX || strspn(name, letters) != length)
			return refuse(why, "attribute name", "not 1 to 20 of a-z 0-9");
		if (json_is_integer(value) &&
			(json_integer_value(value) < INT32_MIN || json_integer_value(value) > INT32_MAX))
			return refuse(why, name, "not a 32-bit integer");
		if (!json_is_string(value) && !json_is_boolean(value) && !json_is_integer(value))
			return refuse(why, name, "not a string, boolean or integer");
		if (json_is_string(value) && has_control(json_string_value(value)))
			return refuse(why, name, "holds a control character");
	}
	return STATUS_OK;
}

/* A text of 1 to max bytes; "" in *text_out when it is absent and may be. */
static enum status get_text(const json_t *envelope, const char *name, size_t max, bool is_required,
	const char **text_out, struct strbuf *why)
{
	const json_t *value = json_object_get(envelope, name);

	*text_out = "";
	if (value == NULL)
		return is_required ? refuse(why, name, "missing") : STATUS_OK;
	if (!json_is_string(value) || json_string_length(value) == 0)
		return refuse(why, name, "not a text");
	if (json_string_length(value) > max)
		return refuse(why, name, "too long");
	*text_out = json_string_value(value);
	return STATUS_OK;
}

static enum status check_time(const json_t *envelope, const char *name, int64_t *wall_us_out, struct strbuf *why)
{
	const char *text;
	enum status status = get_text(envelope, name, 64, false, &text, why);

	if (status == STATUS_OK && text[0] != '\0' && clock_parse(text, wall_us_out) != STATUS_OK)
		return refuse(why, name, "not an RFC 3339 time");
	return status;
}

/* 0 when it is absent. */
static enum status get_number(const json_t *envelope, const char *name, int64_t *number_out, struct strbuf *why)
{
	const char *text;
	enum status status = get_text(envelope, name, SEQUENCE_DIGITS_MAX, false, &text, why);

	*number_out = 0;
	if (status != STATUS_OK)
		return status;
	if (text[strspn(text, "0123456789")] != '\0')
		return refuse(why, name, "not a number");
	*number_out = strtoll(text, NULL, 10);
	return STATUS_OK;
}

static enum status check_origin(struct event *event, enum event_side side, struct strbuf *why)
{
	static const char *const own[] = { "originregion", "sequence", "skippedfrom", "exchangeid", "outboxtime" };
	const char *exchange;
	enum status status = get_text(event->envelope, "originregion", REGION_SIZE - 1, false, &event->origin, why);

	if (status == STATUS_OK)
		status = get_number(event->envelope, "sequence", &event->sequence, why);
	if (status == STATUS_OK)
		status = get_number(event->envelope, "skippedfrom", &event->first, why);
	if (status == STATUS_OK)
		status = get_text(event->envelope, "exchangeid", EXCHANGE_ID_TEXT_SIZE - 1, false, &exchange, why);
	if (status != STATUS_OK)
		return status;
	for (size_t i = 0; side == EVENT_SUBMITTED && i < sizeof(own) / sizeof(own[0]); i++)
		if (json_object_get(event->envelope, own[i]) != NULL)
			return refuse(why, own[i], "only homeward sets it");
	event->has_exchange = exchange[0] != '\0';
	if (event->has_exchange && exchange_id_parse(exchange, &event->exchange) != STATUS_OK)
		return refuse(why, "exchangeid", "not an exchange id");
	if (side == EVENT_CARRIED && !region_is_valid(event->origin))
		return refuse(why, "originregion", "not a region");
	if (event->first == 0)
		event->first = event->sequence;
	return event->first <= event->sequence ? STATUS_OK : refuse(why, "skippedfrom", "greater than sequence");
}

/* Attributes that are carried as they are, with the bounds of schemas/envelope.v1.json. */
static enum status check_carried(const json_t *envelope, struct strbuf *why)
{
	static const struct {
		const char *name;
		size_t max;
	} carried[] = { { "datacontenttype", 128 }, { "tracestate", 512 } };
	enum status status = STATUS_OK;
	const char *text;

	for (size_t i = 0; i < sizeof(carried) / sizeof(carried[0]) && status == STATUS_OK; i++)
		status = get_text(envelope, carried[i].name, carried[i].max, false, &text, why);
	return status;
}

static enum status check_event(struct event *event, enum event_side side, struct strbuf *why)
{
	const json_t *envelope = event->envelope;
	const char *version;
	int64_t time_us = 0;
	enum status status = check_attributes(envelope, why);

	if (status == STATUS_OK)
		status = get_text(envelope, "specversion", 16, true, &version, why);
	if (status == STATUS_OK && strcmp(version, "1.0") != 0)
		status = refuse(why, "specversion", "not 1.0");
	if (status == STATUS_OK)
		status = get_text(envelope, "id", EVENT_ID_MAX, true, &event->id, why);
	if (status == STATUS_OK)
		status = get_text(envelope, "source", EVENT_ID_MAX, true, &event->source, why);
	if (status == STATUS_OK && strchr(event->source, ' ') != NULL)
		status = refuse(why, "source", "not a URI reference");
	if (status == STATUS_OK)
		status = get_text(envelope, "type", EVENT_TYPE_MAX, true, &event->type, why);
	if (status == STATUS_OK && !is_type(event->type))
		status = refuse(why, "type", "not words of A-Z a-z 0-9 _ - with single dots between");
	if (status == STATUS_OK && side == EVENT_SUBMITTED &&
		strncmp(event->type, EVENT_OWN_PREFIX, strlen(EVENT_OWN_PREFIX)) == 0)
		status = refuse(why, "type", "only homeward itself sends " EVENT_OWN_PREFIX "*");
	if (status == STATUS_OK)
		status = get_text(envelope, "dataschema", EVENT_ID_MAX, false, &event->schema, why);
	if (status == STATUS_OK)
		status = get_text(envelope, "subject", EVENT_ID_MAX, false, &event->subject, why);
	if (status == STATUS_OK)
		status = get_text(envelope, "destination", REGION_SIZE - 1, true, &event->destination, why);
	if (status == STATUS_OK && !is_destination(event->destination))
		status = refuse(why, "destination", "not a region, nor \"all\"");
	if (status == STATUS_OK)
		status = check_carried(envelope, why);
	if (status == STATUS_OK)
		status = check_time(envelope, "time", &time_us, why);
	if (status == STATUS_OK)
		status = check_time(envelope, "outboxtime", &time_us, why);
	if (status == STATUS_OK)
		status = check_time(envelope, "expirytime", &event->expires_wall_us, why);
	if (status == STATUS_OK && json_object_get(envelope, "data") != NULL &&
		json_object_get(envelope, "data_base64") != NULL)
		status = refuse(why, "data_base64", "given beside data");
	return status == STATUS_OK ? check_origin(event, side, why) : status;
}

static const struct event no_event = { .id = "",
	.source = "",
	.type = "",
	.subject = "",
	.destination = "",
	.origin = "",
	.schema = "",
	.expires_wall_us = INT64_MAX };

enum status event_read(json_t *envelope, enum event_side side, struct event *event_out, struct strbuf *why)
{
	struct event event = no_event;
	enum status status;

	*event_out = no_event;
	event.envelope = envelope;
	if (!json_is_object(envelope))
		status = refuse(why, "event", "not a JSON object");
	else if (!json_numbers_fit(envelope))
		status = refuse(why, "data", "holds a number that cannot be kept exactly");
	else
		status = check_event(&event, side, why);
	if (status != STATUS_OK)
		json_decref(envelope);
	else
		*event_out = event;
	return status;
}

enum status event_parse(
	const char *text, size_t size, enum event_side side, struct event *event_out, struct strbuf *why)
{
	json_t *envelope;
	enum status status;

	*event_out = no_event;
	if (size > EVENT_BYTES_MAX) {
		strbuf_adds(why, "event: over 1,048,576 bytes");
		return STATUS_TOO_LARGE;
	}
	status = json_parse(text, size, &envelope, why);
	return status == STATUS_OK ? event_read(envelope, side, event_out, why) : status;
}

void event_release(struct event *event)
{
	json_decref(event->envelope);
	event->envelope = NULL;
}

/* ---- arrivals ---- */

static bool copy_word(const char *from, const char *end, char *word, size_t size)
{
	size_t length = (size_t)(end - from);

	if (length == 0 || length >= size)
		return false;
	memcpy(word, from, length);
	word[length] = '\0';
	return true;
}

enum status event_key_parse(const char *key, size_t length, struct event_key *key_out)
{
	const char *end = key + length, *first, *second;

	memset(key_out, 0, sizeof(*key_out));
	if (memchr(key, '\0', length) != NULL)
		return STATUS_INVALID;
	first = memchr(key, '.', length);
	second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
	if (second == NULL || !copy_word(key, first, key_out->destination, sizeof(key_out->destination)) ||
		!copy_word(first + 1, second, key_out->origin, sizeof(key_out->origin)) ||
		!copy_word(second + 1, end, key_out->type, sizeof(key_out->type)))
		return STATUS_INVALID;
	return region_is_valid(key_out->destination) && region_is_valid(key_out->origin) && is_type(key_out->type)
		       ? STATUS_OK
		       : STATUS_INVALID;
}

/* What the envelope, key and link say about each other; NULL when they agree. */
static const char *find_disagreement(
	const struct event_arrival *arrival, const struct event_key *key, const struct event *event)
{
	const char *link = arrival->link_origin != NULL ? arrival->link_origin : arrival->region;

	if (strcmp(key->origin, link) != 0)
		return "the link it came by belongs to another region than its key names";
	if (strcmp(key->origin, event->origin) != 0)
		return "originregion is not the region its key names";
	/* A broadcast comes once more to one region alone when that one has not receipted it. */
	if (strcmp(key->destination, event->destination) != 0 && strcmp(event->destination, MESH_BROADCAST) != 0)
		return "destination is not the one its key names";
	if (arrival->is_batched)
		return strncmp(event->type, EVENT_OWN_PREFIX, strlen(EVENT_OWN_PREFIX)) == 0
			       ? "type: homeward's own events come alone"
			       : NULL;
	return strcmp(key->type, event->type) != 0 ? "type is not the one its key names" : NULL;
}

enum event_verdict event_judge(const struct event_arrival *arrival, struct event *event_out, struct strbuf *why)
{
	const char *disagreement;
	struct event_key key;
	struct event event;

	memset(event_out, 0, sizeof(*event_out));
	if (event_key_parse(arrival->key, arrival->key_length, &key) != STATUS_OK) {
		strbuf_adds(why, "routing key: not DESTINATION.ORIGIN.TYPE");
		return EVENT_DEAD_MALFORMED;
	}
	if (strcmp(key.destination, arrival->region) != 0 && strcmp(key.destination, MESH_BROADCAST) != 0) {
		strbuf_addf(why, "for %s", key.destination);
		return EVENT_DISCARD_FOREIGN;
	}
	if (event_parse(arrival->body, arrival->body_size, EVENT_CARRIED, &event, why) != STATUS_OK)
		return EVENT_DEAD_MALFORMED;
	disagreement = find_disagreement(arrival, &key, &event);
	if (disagreement != NULL || event.expires_wall_us <= arrival->now_wall_us) {
		strbuf_adds(why, disagreement != NULL ? disagreement : "expirytime has passed");
		if (disagreement == NULL)
			*event_out = event; /* its source wants to know */
		else
			event_release(&event);
		return disagreement != NULL ? EVENT_DEAD_FORGED : EVENT_DEAD_EXPIRED;
	}
	*event_out = event;
	return EVENT_TAKE;
}

const char *event_verdict_name(enum event_verdict verdict)
{
	static const char *const names[] = { "taken", "foreign", "malformed", "forged", "expired", "refused" };

	return names[verdict];
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing entries.  An entry is the form's four parts with the moment's members
 * between them, so encoding is a handful of copies and no allocation; a lookup
 * makes two or three of them.
 *
 *   {"v":1,"t":T  0  ,"x":…  1  ,"sub":…  2  ,"rh":…  3  ,"s":…}
 *
 * Pure; any thread.
 */
#include "policy/entry.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/utf8.h"

#define NUMBER_SIZE 20 /* of a 64-bit number in decimal */
#define HASH_TEXT_SIZE 44
#define SALT_TEXT_SIZE 24

#define START "{\"v\":1,\"t\":"
#define EXCHANGE ",\"x\":\""
#define SUBJECT ",\"sub\":\""
#define RECORD_HASH ",\"rh\":\""
#define SALT ",\"s\":\""
#define ADD_LITERAL(text, literal) strbuf_add(text, literal, sizeof(literal) - 1)
/* All that the moment adds, with its quotes. */
#define MOMENT_SIZE                                                                                                    \
	(sizeof(START EXCHANGE SUBJECT RECORD_HASH SALT) + 4 + NUMBER_SIZE + EXCHANGE_ID_TEXT_SIZE +                   \
		ENTRY_SUBJECT_SIZE + HASH_TEXT_SIZE + SALT_TEXT_SIZE)

static const char *const kind_names[ENTRY_KIND_COUNT] = { "ask", "serve", "got", "cachehit", "deny", "send", "receive",
	"erase", "policy", "admin", "boot", "gap" };

const char *entry_kind_name(enum entry_kind kind)
{
	must((int)kind >= 0 && kind < ENTRY_KIND_COUNT);
	return kind_names[kind];
}

/* ---- forms ---- */

static uint32_t code_point(const unsigned char *at, size_t length)
{
	static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint32_t point = at[0] & first[length];

	for (size_t i = 1; i < length; i++)
		point = point << 6 | (at[i] & 0x3f);
	return point;
}

/* Of what is written as it is. */
static size_t plain_length(const char *string, size_t size)
{
	size_t i = 0;

	while (i < size && string[i] >= 0x20 && string[i] < 0x7f && string[i] != '"' && string[i] != '\\')
		i++;
	return i;
}

/* In ASCII: what is no ASCII is escaped, and what is no UTF-8 becomes U+FFFD. */
static void add_characters(struct strbuf *text, const char *string, size_t size)
{
	for (size_t i = 0; i < size;) {
		size_t plain = plain_length(string + i, size - i), length;
		uint32_t point;

		strbuf_add(text, string + i, plain);
		i += plain;
		if (i == size)
			break;
		if (string[i] == '"' || string[i] == '\\') {
			strbuf_addc(text, '\\');
			strbuf_addc(text, string[i++]);
			continue;
		}
		length = utf8_sequence(string + i, size - i);
		point = length == 0 ? 0xfffd : code_point((const unsigned char *)string + i, length);
		if (point >= 0x10000)
			strbuf_addf(text, "\\u%04x\\u%04x", 0xd800 + ((point - 0x10000) >> 10),
				0xdc00 + ((point - 0x10000) & 0x3ff));
		else
			strbuf_addf(text, "\\u%04x", point);
		i += length == 0 ? 1 : length;
	}
}

static void add_name(struct strbuf *text, const char *name)
{
	strbuf_add(text, ",\"", 2);
	strbuf_adds(text, name);
	strbuf_add(text, "\":", 2);
}

static void add_text(struct strbuf *text, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	add_name(text, name);
	strbuf_addc(text, '"');
	add_characters(text, value, strlen(value));
	strbuf_addc(text, '"');
}

static void add_number(struct strbuf *text, const char *name, int64_t value)
{
	if (value < 0)
		return;
	add_name(text, name);
	strbuf_add_unsigned(text, (uint64_t)value);
}

static void add_list(struct strbuf *text, const char *name, const char *commas)
{
	bool is_first = true;

	for (const char *at = commas == NULL ? "" : commas; *at != '\0';) {
		size_t length = strcspn(at, ",");

		if (length > 0) {
			if (is_first)
				add_name(text, name);
			strbuf_addc(text, is_first ? '[' : ',');
			strbuf_addc(text, '"');
			add_characters(text, at, length);
			strbuf_addc(text, '"');
			is_first = false;
		}
		at += length;
		at += *at == ',';
	}
	if (!is_first)
		strbuf_addc(text, ']');
}

static bool is_longer(const char *text, size_t size)
{
	return text != NULL && strlen(text) >= size;
}

static bool fits(const struct entry_terms *terms)
{
	return !is_longer(terms->me, REGION_SIZE) && !is_longer(terms->peer, REGION_SIZE) &&
	       !is_longer(terms->type, OBJECT_TYPE_SIZE) && !is_longer(terms->operation, ENTRY_OPERATION_SIZE) &&
	       !is_longer(terms->purpose, PURPOSE_SIZE) && !is_longer(terms->caller, CALLER_SIZE) &&
	       !is_longer(terms->decision, ENTRY_DECISION_SIZE) && !is_longer(terms->rules, ENTRY_RULES_SIZE) &&
	       !is_longer(terms->policy, POLICY_VERSION_SIZE) && !is_longer(terms->fields, ENTRY_FIELDS_SIZE) &&
	       !is_longer(terms->outcome, ENTRY_OUTCOME_SIZE) && !is_longer(terms->message, ENTRY_MESSAGE_SIZE);
}

static void write_form(const struct entry_terms *terms, struct strbuf *text, size_t end[ENTRY_FORM_PARTS])
{
	add_text(text, "k", entry_kind_name(terms->kind));
	end[0] = text->length;
	add_text(text, "me", terms->me);
	add_text(text, "peer", terms->peer);
	add_text(text, "ot", terms->type);
	end[1] = text->length;
	add_text(text, "op", terms->operation);
	add_text(text, "pur", terms->purpose);
	add_text(text, "cal", terms->caller);
	add_text(text, "dec", terms->decision);
	add_list(text, "rul", terms->rules);
	add_text(text, "pol", terms->policy);
	add_list(text, "fld", terms->fields);
	add_number(text, "ttl", terms->ttl_s);
	add_text(text, "out", terms->outcome);
	end[2] = text->length;
	add_text(text, "msg", terms->message);
	add_number(text, "n", terms->count);
	end[3] = text->length;
}

enum status entry_form_create(const struct entry_terms *terms, struct entry_form **form_out)
{
	struct strbuf text = STRBUF_INIT;
	size_t end[ENTRY_FORM_PARTS];
	enum status status = STATUS_TOO_LARGE;
	struct entry_form *form = NULL;

	*form_out = NULL;
	if (!fits(terms))
		goto out;
	write_form(terms, &text, end);
	status = STATUS_NO_MEMORY;
	if (!strbuf_ok(&text))
		goto out;
	status = STATUS_TOO_LARGE;
	if (text.length + MOMENT_SIZE > ENTRY_SIZE_MAX)
		goto out;
	form = malloc(sizeof(*form) + text.length);
	status = form != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	if (form == NULL)
		goto out;
	for (int i = 0; i < ENTRY_FORM_PARTS; i++)
		form->end[i] = (uint16_t)end[i];
	form->size_max = (uint32_t)(text.length + MOMENT_SIZE);
	memcpy(form->text, text.data, text.length);
	*form_out = form;
out:
	strbuf_release(&text);
	return status;
}

/* ---- encoding ---- */

static char *put(char *at, const char *bytes, size_t size)
{
	memcpy(at, bytes, size);
	return at + size;
}

#define PUT_LITERAL(at, literal) put(at, literal, sizeof(literal) - 1)

static char *put_number(char *at, int64_t number)
{
	char digits[NUMBER_SIZE];
	size_t first = sizeof(digits);
	uint64_t rest = number < 0 ? 0 : (uint64_t)number;

	do {
		digits[--first] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	return put(at, digits + first, sizeof(digits) - first);
}

static char *put_base64(char *at, const uint8_t *bytes, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (; size >= 3; bytes += 3, size -= 3) {
		*at++ = digits[bytes[0] >> 2];
		*at++ = digits[(bytes[0] & 3) << 4 | bytes[1] >> 4];
		*at++ = digits[(bytes[1] & 15) << 2 | bytes[2] >> 6];
		*at++ = digits[bytes[2] & 63];
	}
	if (size > 0) {
		*at++ = digits[bytes[0] >> 2];
		*at++ = digits[(bytes[0] & 3) << 4 | (size > 1 ? bytes[1] >> 4 : 0)];
		*at++ = size > 1 ? digits[(bytes[1] & 15) << 2] : '=';
		*at++ = '=';
	}
	return at;
}

size_t entry_encode(const struct entry_form *form, const struct entry_moment *moment, char *text)
{
	char exchange[EXCHANGE_ID_TEXT_SIZE];
	char *at = PUT_LITERAL(text, START);

	at = put_number(at, moment->at_us);
	at = put(at, form->text, form->end[0]);
	if (moment->exchange != NULL) {
		exchange_id_format(moment->exchange, exchange);
		at = PUT_LITERAL(at, EXCHANGE);
		at = put(at, exchange, sizeof(exchange) - 1);
		*at++ = '"';
	}
	at = put(at, form->text + form->end[0], (size_t)(form->end[1] - form->end[0]));
	if (moment->subject != NULL && moment->subject[0] != '\0') {
		size_t length = strlen(moment->subject);

		must(length < ENTRY_SUBJECT_SIZE);
		at = PUT_LITERAL(at, SUBJECT);
		at = put(at, moment->subject, length);
		*at++ = '"';
	}
	at = put(at, form->text + form->end[1], (size_t)(form->end[2] - form->end[1]));
	if (moment->record_hash != NULL) {
		at = PUT_LITERAL(at, RECORD_HASH);
		at = put_base64(at, moment->record_hash, ENTRY_HASH_SIZE);
		*at++ = '"';
	}
	at = put(at, form->text + form->end[2], (size_t)(form->end[3] - form->end[2]));
	at = PUT_LITERAL(at, SALT);
	at = put_base64(at, moment->salt, ENTRY_SALT_SIZE);
	*at++ = '"';
	*at++ = '}';
	must((size_t)(at - text) <= form->size_max);
	return (size_t)(at - text);
}

enum status entry_write(const struct entry *entry, struct strbuf *text)
{
	const struct entry_terms terms = { .kind = entry->kind,
		.me = entry->me,
		.peer = entry->peer,
		.type = entry->type,
		.operation = entry->operation,
		.purpose = entry->purpose,
		.caller = entry->caller,
		.decision = entry->decision,
		.rules = entry->rules,
		.policy = entry->policy,
		.fields = entry->fields,
		.outcome = entry->outcome,
		.message = entry->message,
		.ttl_s = entry->ttl_s,
		.count = entry->count };
	const struct entry_moment moment = { .at_us = entry->at_us,
		.exchange = entry->has_exchange ? &entry->exchange : NULL,
		.subject = entry->subject,
		.record_hash = entry->has_record_hash ? entry->record_hash : NULL,
		.salt = entry->salt };
	struct entry_form *form = NULL;
	enum status status = entry_form_create(&terms, &form);

	if (status == STATUS_OK && !strbuf_reserve(text, form->size_max))
		status = STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		text->length += entry_encode(form, &moment, text->data + text->length);
	if (status == STATUS_OK)
		text->data[text->length] = '\0';
	free(form);
	return status;
}

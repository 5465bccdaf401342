/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is posted: both modes, values that would end a header, names that tell
 * events apart, and signatures that others' libraries verify.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "federation/webhook_message.h"

static struct settings_webhook webhook(enum webhook_mode mode)
{
	return (struct settings_webhook){ .name = "billing", .mode = mode };
}

/* The value of a header; NULL when there is none.  "Name: " is compared as it is written. */
static const char *header(const struct webhook_message *message, const char *name)
{
	const struct strbuf *lines = &message->headers;

	for (const char *line = lines->data; line < lines->data + lines->length; line += strlen(line) + 1)
		if (strncmp(line, name, strlen(name)) == 0 && strncmp(line + strlen(name), ": ", 2) == 0)
			return line + strlen(name) + 2;
	return NULL;
}

static enum status make(const char *text, enum webhook_mode mode, const struct webhook_secrets *secrets,
	struct webhook_message *message)
{
	const struct settings_webhook to = webhook(mode);
	const struct webhook_event event = { text, strlen(text), "na", "/s", "1", 3, 1614265330 };
	struct webhook_secrets none;
	enum status status;

	webhook_secrets_init(&none);
	webhook_message_init(message);
	status = webhook_message_make(&to, secrets != NULL ? secrets : &none, &event, message);
	webhook_secrets_release(&none);
	return status;
}

static void structured_mode_is_the_event_as_it_is(void **state)
{
	static const char text[] = "{\"specversion\": \"1.0\", \"id\": \"1\", \"data\": {\"a\": 1}}";
	struct webhook_message message;

	(void)state;
	assert_int_equal(make(text, WEBHOOK_STRUCTURED, NULL, &message), STATUS_OK);
	assert_string_equal(message.body.data, text);
	assert_string_equal(header(&message, "Content-Type"), "application/cloudevents+json");
	assert_string_equal(header(&message, "homeward-attempt"), "3");
	assert_string_equal(header(&message, "homeward-webhook"), "billing");
	assert_string_equal(header(&message, "webhook-timestamp"), "1614265330");
	assert_int_equal(strlen(header(&message, "webhook-id")), 36);
	assert_null(header(&message, "webhook-signature"));
	assert_null(header(&message, "Authorization"));
	assert_null(header(&message, "traceparent"));
	webhook_message_release(&message);
}

static void binary_mode_encodes_attributes(void **state)
{
	struct webhook_message message;

	(void)state;
	assert_int_equal(
		make("{\"specversion\":\"1.0\",\"subject\":\"a b\\r\\nX: \\\"100%\\\" \\u20ac\",\"n\":7,\"yes\":true,"
		     "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
		     "\"datacontenttype\":\"application/json\",\"data\":{\"a\":[1,\"x\"]}}",
			WEBHOOK_BINARY, NULL, &message),
		STATUS_OK);
	assert_string_equal(header(&message, "ce-subject"), "a%20b%0D%0AX:%20%22100%25%22%20%E2%82%AC");
	assert_string_equal(header(&message, "ce-n"), "7");
	assert_string_equal(header(&message, "ce-yes"), "true");
	assert_string_equal(header(&message, "traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
	assert_string_equal(header(&message, "Content-Type"), "application/json");
	assert_null(header(&message, "ce-datacontenttype"));
	assert_null(header(&message, "ce-data"));
	assert_null(header(&message, "X"));
	assert_string_equal(message.body.data, "{\"a\":[1,\"x\"]}");
	webhook_message_release(&message);
}

static void binary_mode_sends_every_kind_of_data(void **state)
{
	static const struct {
		const char *event, *type, *body;
	} cases[] = {
		{ "{\"specversion\":\"1.0\"}", "application/json", "" },
		{ "{\"specversion\":\"1.0\",\"data\":\"text\"}", "application/json", "\"text\"" },
		{ "{\"specversion\":\"1.0\",\"datacontenttype\":\"application/x+json\",\"data\":\"text\"}",
			"application/x+json", "\"text\"" },
		{ "{\"specversion\":\"1.0\",\"datacontenttype\":\"text/plain\",\"data\":\"a\\nb\"}", "text/plain",
			"a\nb" },
		{ "{\"specversion\":\"1.0\",\"data_base64\":\"AAEC/w==\"}", "application/octet-stream", NULL },
		{ "{\"specversion\":\"1.0\",\"datacontenttype\":\"a/b\\r\\nX: y\",\"data\":1}", "application/json",
			"1" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct webhook_message message;

		assert_int_equal(make(cases[i].event, WEBHOOK_BINARY, NULL, &message), STATUS_OK);
		assert_string_equal(header(&message, "Content-Type"), cases[i].type);
		if (cases[i].body != NULL) {
			assert_string_equal(message.body.data, cases[i].body);
		} else {
			assert_int_equal(message.body.length, 4);
			assert_memory_equal(message.body.data, "\0\1\2\377", 4);
		}
		webhook_message_release(&message);
	}
}

static void what_is_no_event_is_not_sent(void **state)
{
	static const char *const texts[] = { "", "{}", "[]", "nonsense", "{\"specversion\":1}" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct webhook_message message;

		assert_int_equal(make(texts[i], WEBHOOK_STRUCTURED, NULL, &message), STATUS_INVALID);
		webhook_message_release(&message);
	}
}

/* Both were computed by Python's hashlib and hmac. */
static void a_signature_is_what_others_compute(void **state)
{
	static const char text[] = "{\"specversion\": \"1.0\"}";
	struct webhook_secrets secrets;
	struct webhook_message message;
	struct strbuf why = STRBUF_INIT;

	(void)state;
	webhook_secrets_init(&secrets);
	assert_int_equal(webhook_secrets_parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\r\n\n"
					       "whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7",
				 &secrets, &why),
		STATUS_OK);
	assert_int_equal(webhook_token_parse("abc.def", &secrets, &why), STATUS_OK);
	assert_int_equal(make(text, WEBHOOK_STRUCTURED, &secrets, &message), STATUS_OK);
	assert_string_equal(header(&message, "webhook-id"), "evt_c3212fafa2038d135a80ff6d7428fabb");
	assert_string_equal(header(&message, "webhook-signature"),
		"v1,/FtOYsiucGgeyI/bLHFCLYccgDUJpHf+/NAh4btLkXY= v1,dSgcxUhhZP+3b+f1mu+a5sxEWeHaGfUfIr6o3DCEAy0=");
	assert_string_equal(header(&message, "Authorization"), "Bearer abc.def");
	webhook_message_release(&message);
	webhook_secrets_release(&secrets);
	strbuf_release(&why);
}

static void secrets_that_are_none_are_refused(void **state)
{
	static const char *const secrets_refused[] = { "", "\n\n", "secret", "whsec_", "whsec_AAEC",
		"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", /* without its padding */
		"whsec_"
		"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
		"whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7\nwhsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7\n"
		"whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7\nwhsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7\n"
		"whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7" };
	static const char *const tokens_refused[] = { "", "two words", "line\r\nX: y", "caf\xc3\xa9" };
	struct webhook_secrets secrets;

	(void)state;
	for (size_t i = 0; i < sizeof(secrets_refused) / sizeof(secrets_refused[0]); i++) {
		struct strbuf why = STRBUF_INIT;

		webhook_secrets_init(&secrets);
		assert_int_equal(webhook_secrets_parse(secrets_refused[i], &secrets, &why), STATUS_INVALID);
		assert_true(why.length > 0);
		webhook_secrets_release(&secrets);
		strbuf_release(&why);
	}
	for (size_t i = 0; i < sizeof(tokens_refused) / sizeof(tokens_refused[0]); i++) {
		struct strbuf why = STRBUF_INIT;

		webhook_secrets_init(&secrets);
		assert_int_equal(webhook_token_parse(tokens_refused[i], &secrets, &why), STATUS_INVALID);
		assert_int_equal(secrets.authorization.length, 0);
		webhook_secrets_release(&secrets);
		strbuf_release(&why);
	}
}

static void ids_tell_events_apart(void **state)
{
	static const char *const events[][3] = { { "na", "/s", "1" }, { "na", "/s", "2" }, { "na", "/s1", "" },
		{ "na", "/", "s1" }, { "n", "a/s", "1" }, { "eu", "/s", "1" } };
	enum { COUNT = sizeof(events) / sizeof(events[0]) };
	char ids[COUNT][WEBHOOK_ID_SIZE], again[WEBHOOK_ID_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		webhook_id(events[i][0], events[i][1], events[i][2], ids[i]);
		webhook_id(events[i][0], events[i][1], events[i][2], again);
		assert_string_equal(ids[i], again);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(ids[i], ids[j]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structured_mode_is_the_event_as_it_is),
		cmocka_unit_test(binary_mode_encodes_attributes),
		cmocka_unit_test(binary_mode_sends_every_kind_of_data),
		cmocka_unit_test(what_is_no_event_is_not_sent),
		cmocka_unit_test(a_signature_is_what_others_compute),
		cmocka_unit_test(secrets_that_are_none_are_refused),
		cmocka_unit_test(ids_tell_events_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

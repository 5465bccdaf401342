/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries: one text for one meaning, both ways, and nothing else is read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "policy/entry.h"

#define ROUNDS 2000

static const char serve_text[] =
	"{\"v\":1,\"t\":1795236426123456,\"k\":\"serve\",\"x\":\"01a1fbe0-2310-7a2d-b341-322c587ea332\",\"me\":\"eu\","
	"\"peer\":\"na\",\"ot\":\"token\",\"sub\":\"p1.00112233445566778899aabbccddeeff\",\"op\":\"serve\","
	"\"pur\":\"charge.authorize\",\"cal\":\"cs-auth\",\"dec\":\"permit\",\"rul\":[\"A1\",\"A2\"],"
	"\"pol\":\"9:0011223344556677\",\"fld\":[\"uid\",\"valid\"],\"ttl\":900,"
	"\"rh\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\"s\":\"AAECAwQFBgcICQoLDA0ODw==\"}";
static const char boot_text[] =
	"{\"v\":1,\"t\":5,\"k\":\"boot\",\"me\":\"eu\",\"msg\":\"homeward 0.1.0\",\"s\":\"AAECAwQFBgcICQoLDA0ODw==\"}";

static void must_read(const char *text, struct entry *entry)
{
	const char *what = NULL;

	if (entry_read(text, strlen(text), entry, &what) != STATUS_OK)
		fail_msg("%s: %s", text, what);
	assert_null(what);
}

static void must_write(const struct entry *entry, const char *expected)
{
	struct strbuf text = STRBUF_INIT;

	assert_int_equal(entry_write(entry, &text), STATUS_OK);
	assert_string_equal(text.data, expected);
	strbuf_release(&text);
}

static void the_text_of_an_entry_is_fixed(void **state)
{
	struct entry entry = { .at_us = 1795236426123456,
		.kind = ENTRY_SERVE,
		.has_exchange = true,
		.has_record_hash = true,
		.me = "eu",
		.peer = "na",
		.type = "token",
		.subject = "p1.00112233445566778899aabbccddeeff",
		.operation = "serve",
		.purpose = "charge.authorize",
		.caller = "cs-auth",
		.decision = "permit",
		.rules = "A1,A2",
		.policy = "9:0011223344556677",
		.fields = "uid,valid",
		.ttl_s = 900,
		.count = -1 };
	struct entry boot = { .at_us = 5, .kind = ENTRY_BOOT, .me = "eu", .message = "homeward 0.1.0" };

	(void)state;
	assert_int_equal(exchange_id_parse("01a1fbe0-2310-7a2d-b341-322c587ea332", &entry.exchange), STATUS_OK);
	for (uint8_t i = 0; i < ENTRY_HASH_SIZE; i++)
		entry.record_hash[i] = i;
	for (uint8_t i = 0; i < ENTRY_SALT_SIZE; i++)
		entry.salt[i] = boot.salt[i] = i;
	boot.ttl_s = boot.count = -1;
	must_write(&entry, serve_text);
	must_write(&boot, boot_text);
}

static void what_is_read_says_what_was_written(void **state)
{
	struct entry entry;

	(void)state;
	must_read(serve_text, &entry);
	assert_int_equal(entry.kind, ENTRY_SERVE);
	assert_true(entry.at_us == 1795236426123456);
	assert_string_equal(entry.me, "eu");
	assert_string_equal(entry.peer, "na");
	assert_string_equal(entry.subject, "p1.00112233445566778899aabbccddeeff");
	assert_string_equal(entry.rules, "A1,A2");
	assert_string_equal(entry.fields, "uid,valid");
	assert_string_equal(entry.outcome, "");
	assert_true(entry.ttl_s == 900);
	assert_true(entry.count == -1);
	assert_true(entry.has_exchange && entry.has_record_hash);
	assert_int_equal(entry.record_hash[31], 31);
	assert_int_equal(entry.salt[15], 15);
	must_write(&entry, serve_text);
	must_read(boot_text, &entry);
	assert_false(entry.has_exchange || entry.has_record_hash);
	assert_true(entry.ttl_s == -1);
	must_write(&entry, boot_text);
}

static void anything_outside_ascii_is_escaped(void **state)
{
	struct entry entry = { .kind = ENTRY_GOT,
		.caller = "B\xc3\xbc\xe2\x82\xac\xf0\x9f\x9a\x97\"\\",
		.fields = "a b,\xc3\xa9,,x",
		.ttl_s = 0,
		.count = -1 };
	struct entry back;
	struct strbuf text = STRBUF_INIT;

	(void)state;
	assert_int_equal(entry_write(&entry, &text), STATUS_OK);
	assert_string_equal(text.data,
		"{\"v\":1,\"t\":0,\"k\":\"got\",\"cal\":\"B\\u00fc\\u20ac\\ud83d\\ude97\\\"\\\\\",\"fld\":[\"a b\","
		"\"\\u00e9\",\"x\"],\"ttl\":0,\"s\":\"AAAAAAAAAAAAAAAAAAAAAA==\"}");
	must_read(text.data, &back);
	assert_string_equal(back.caller, entry.caller);
	assert_string_equal(back.fields, "a b,\xc3\xa9,x");
	strbuf_release(&text);
}

static void replace(const char *from, const char *to, struct strbuf *text)
{
	const char *at = strstr(serve_text, from);

	assert_non_null(at);
	strbuf_reset(text);
	strbuf_add(text, serve_text, (size_t)(at - serve_text));
	strbuf_adds(text, to);
	strbuf_adds(text, at + strlen(from));
}

static void only_the_one_form_is_read(void **state)
{
	static const char *const changes[][2] = {
		{ "\"v\":1", "\"v\":2" },
		{ "\"v\":1,", "" },
		{ "\"v\":1,", "\"v\":1, " },
		{ "\"t\":1795236426123456", "\"t\":-1" },
		{ "\"t\":1795236426123456", "\"t\":1e3" },
		{ "\"t\":1795236426123456", "\"t\":\"5\"" },
		{ "\"k\":\"serve\"", "\"k\":\"served\"" },
		{ "\"k\":\"serve\",", "" },
		{ "01a1fbe0", "01A1FBE0" },
		{ "01a1fbe0-", "" },
		{ "\"me\":\"eu\"", "\"me\":\"\"" },
		{ "\"me\":\"eu\",\"peer\":\"na\"", "\"peer\":\"na\",\"me\":\"eu\"" },
		{ "\"me\":\"eu\"", "\"me\":\"\\u0065u\"" },
		{ "\"me\":\"eu\"", "\"me\":\"e\xc3\xbc\"" },
		{ "\"me\":\"eu\"", "\"me\":\"0123456789012345678901234567890123456789\"" },
		{ "\"me\":\"eu\"", "\"me\":\"eu\",\"me\":\"eu\"" },
		{ "p1.00", "p2.00" },
		{ "p1.00", "p1.0" },
		{ "p1.00", "p1.0G" },
		{ "p1.00", "u1.00" },
		{ "p1.00", "u1.01.00" },
		{ "\"op\":\"serve\"", "\"op\":\"steal\"" },
		{ "\"dec\":\"permit\"", "\"dec\":\"maybe\"" },
		{ "[\"A1\",\"A2\"]", "[]" },
		{ "[\"A1\",\"A2\"]", "[\"A1,A2\"]" },
		{ "[\"A1\",\"A2\"]", "[\"A1\",\"\"]" },
		{ "[\"A1\",\"A2\"]", "\"A1\"" },
		{ "\"ttl\":900", "\"ttl\":-900" },
		{ "\"ttl\":900", "\"ttl\":0900" },
		{ "Hh8=\"", "Hh9=\"" },
		{ "Hh8=\"", "Hh8\"" },
		{ "Hh8=\"", "Hh8A\"" },
		{ "DA0OD", "DA0*D" },
		{ "ODw==\"", "ODw=\"" },
		{ ",\"s\":\"AAECAwQFBgcICQoLDA0ODw==\"", "" },
		{ "\"ttl\":900", "\"more\":1,\"ttl\":900" },
	};
	struct strbuf text = STRBUF_INIT;
	struct entry entry;
	const char *what;

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		replace(changes[i][0], changes[i][1], &text);
		what = NULL;
		if (entry_read(text.data, text.length, &entry, &what) != STATUS_INVALID || what == NULL)
			fail_msg("was read: %s", text.data);
	}
	for (size_t size = 0; size < sizeof(serve_text) - 1; size++)
		assert_int_equal(entry_read(serve_text, size, &entry, NULL), STATUS_INVALID);
	strbuf_reset(&text);
	strbuf_addf(&text, "%s\n", serve_text);
	assert_int_equal(entry_read(text.data, text.length, &entry, NULL), STATUS_INVALID);
	strbuf_release(&text);
}

static void a_form_serves_many_moments(void **state)
{
	const struct entry_terms terms = { .kind = ENTRY_ASK,
		.me = "eu",
		.peer = "na",
		.type = "token",
		.operation = "ask",
		.purpose = "charge.authorize",
		.decision = "permit",
		.rules = "A1",
		.fields = "uid",
		.ttl_s = -1,
		.count = -1 };
	struct random_seeded random;
	struct entry_form *form = NULL;
	uint8_t bytes[ENTRY_HASH_SIZE + ENTRY_SALT_SIZE + 16];
	char text[1024];

	(void)state;
	random_seeded_init(&random, 7);
	assert_int_equal(entry_form_create(&terms, &form), STATUS_OK);
	assert_true(form->size_max <= sizeof(text));
	for (int round = 0; round < ROUNDS; round++) {
		struct entry_moment moment = { .salt = bytes };
		struct entry entry;
		struct exchange_id exchange;
		size_t size;

		random_fill(&random.source, bytes, sizeof(bytes));
		moment.at_us = (int64_t)random_below(&random.source, INT64_MAX);
		memcpy(exchange.bytes, bytes + ENTRY_HASH_SIZE + ENTRY_SALT_SIZE, 16);
		moment.exchange = round % 2 == 0 ? &exchange : NULL;
		moment.record_hash = round % 3 == 0 ? bytes + ENTRY_SALT_SIZE : NULL;
		moment.subject = round % 5 == 0 ? "u1.12.00112233445566778899aabbccddeeff" : NULL;
		size = entry_encode(form, &moment, text);
		text[size] = '\0';
		must_read(text, &entry);
		assert_true(entry.at_us == moment.at_us);
		assert_int_equal(entry.has_exchange, round % 2 == 0);
		assert_int_equal(entry.has_record_hash, round % 3 == 0);
		assert_memory_equal(entry.salt, bytes, ENTRY_SALT_SIZE);
		must_write(&entry, text);
	}
	free(form);
}

static void what_would_not_fit_is_refused(void **state)
{
	char fields[ENTRY_FIELDS_SIZE + 1];
	struct entry_terms terms = { .kind = ENTRY_GOT, .fields = fields, .ttl_s = -1, .count = -1 };
	struct entry_form *form = NULL;

	(void)state;
	memset(fields, 'a', sizeof(fields));
	fields[ENTRY_FIELDS_SIZE] = '\0';
	assert_int_equal(entry_form_create(&terms, &form), STATUS_TOO_LARGE);
	assert_null(form);
	fields[ENTRY_FIELDS_SIZE - 1] = '\0';
	assert_int_equal(entry_form_create(&terms, &form), STATUS_OK);
	free(form);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_text_of_an_entry_is_fixed),
		cmocka_unit_test(what_is_read_says_what_was_written),
		cmocka_unit_test(anything_outside_ascii_is_escaped),
		cmocka_unit_test(only_the_one_form_is_read),
		cmocka_unit_test(a_form_serves_many_moments),
		cmocka_unit_test(what_would_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

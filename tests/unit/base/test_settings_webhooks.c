/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list "events.webhooks": what is read, what is refused and how, what is shown
 * and compared; and which addresses plain http may go to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"
#include "base/settings.h"

#define REQUIRED                                                                                                       \
	"\"region\": \"eu\", \"trust_domain\": \"live.example\", \"tls\": {\"certificate\": \"c\", \"key\": \"k\", "   \
	"\"ca\": \"a\"}, \"database\": {\"dsn\": \"dbname=x\"}, \"policy\": {\"file\": \"p\"}, "
#define WITH(webhooks) "{" REQUIRED "\"events\": {\"broker\": \"amqps://b/v\", \"webhooks\": [" webhooks "]}}"
#define HOOK(more) "{\"name\": \"a\", \"url\": \"https://h/e\", \"types\": [\"x\"]" more "}"

static struct settings *read_good(const char *text)
{
	struct strbuf errors = STRBUF_INIT;
	struct settings *settings;

	if (settings_parse("/etc/hw/f", text, strlen(text), &settings, &errors) != STATUS_OK)
		fail_msg("%s", errors.data);
	strbuf_release(&errors);
	return settings;
}

static void expect_error(const char *text, const char *wanted)
{
	struct strbuf errors = STRBUF_INIT;
	struct settings *settings;

	assert_int_not_equal(settings_parse("f", text, strlen(text), &settings, &errors), STATUS_OK);
	assert_null(settings);
	if (strstr(errors.data, wanted) == NULL)
		fail_msg("%s\nhas not: %s", errors.data, wanted);
	strbuf_release(&errors);
}

static void a_webhook_has_defaults(void **state)
{
	struct settings *settings = read_good(WITH(HOOK("")));
	const struct settings_webhook *webhook = settings->webhooks;

	(void)state;
	assert_int_equal(settings->webhook_count, 1);
	assert_string_equal(webhook->name, "a");
	assert_string_equal(webhook->url, "https://h/e");
	assert_int_equal(webhook->type_count, 1);
	assert_int_equal(webhook->origin_count, 0);
	assert_int_equal(webhook->mode, WEBHOOK_STRUCTURED);
	assert_null(webhook->secret_file);
	assert_int_equal(webhook->timeout_ms, 10000);
	assert_int_equal(webhook->in_flight_max, 16);
	assert_int_equal(webhook->retry_min_ms, 1000);
	assert_int_equal(webhook->retry_max_s, 300);
	assert_int_equal(webhook->keep_s, 604800);
	assert_int_equal(webhook->refusals_max, 5);
	settings_destroy(settings);
}

static void a_webhook_may_say_everything(void **state)
{
	struct settings *settings = read_good(WITH(HOOK(
		", \"origins\": [\"na\", \"ap\"], \"mode\": \"binary\", \"ca_file\": \"ca.pem\", \"certificate_file\": "
		"\"/c\", \"key_file\": \"k\", \"authorization_file\": \"t\", \"secret_file\": \"s\", \"timeout_ms\": "
		"500, \"in_flight_max\": 1, \"retry_min_ms\": 10, \"retry_max_s\": 2, \"keep_s\": 60, "
		"\"refusals_max\": 1") ", {\"name\": \"b\", \"url\": \"http://[::1]:80/?x=1\", \"types\": [\"*\", "
				       "\"session.*\", \"a.b\"]}"));
	const struct settings_webhook *webhook = settings->webhooks;

	(void)state;
	assert_int_equal(settings->webhook_count, 2);
	assert_string_equal(webhook->origins[1], "ap");
	assert_int_equal(webhook->mode, WEBHOOK_BINARY);
	assert_string_equal(webhook->ca_file, "/etc/hw/ca.pem");
	assert_string_equal(webhook->certificate_file, "/c");
	assert_string_equal(webhook->secret_file, "/etc/hw/s");
	assert_int_equal(webhook->refusals_max, 1);
	assert_string_equal(webhook[1].types[1], "session.*");
	settings_destroy(settings);
	settings_destroy(read_good(WITH("")));
}

static void what_is_wrong_is_said(void **state)
{
	(void)state;
	expect_error(WITH("3"), "/events/webhooks/0: wrong type, got 3, allowed: an object");
	expect_error(WITH("{}"), "/events/webhooks/0: needs \"name\"");
	expect_error(WITH("{}"), "/events/webhooks/0: needs \"url\"");
	expect_error(WITH("{}"), "/events/webhooks/0: needs \"types\"");
	expect_error(WITH(HOOK("") ", " HOOK("")), "/events/webhooks/1/name: another webhook is called \"a\"");
	expect_error(WITH(HOOK(", \"tipes\": []")), "/events/webhooks/0/tipes: not a setting; did you mean \"types\"?");
	expect_error(WITH(HOOK(", \"mode\": \"batch\"")), "unknown mode, got \"batch\", allowed: structured, binary");
	expect_error(WITH(HOOK(", \"timeout_ms\": 1")), "out of range, got 1, allowed: 100 to 120000 ms");
	expect_error(WITH(HOOK(", \"timeout_ms\": \"1\"")), "out of range, got \"1\", allowed: 100 to 120000 ms");
	expect_error(WITH(HOOK(", \"origins\": [\"NA\"]")), "/events/webhooks/0/origins/0: not a region's name");
	expect_error(WITH(HOOK(", \"secret_file\": \"\"")), "/events/webhooks/0/secret_file: no path");
	expect_error(WITH(HOOK(", \"key_file\": \"k\"")), "\"certificate_file\" and \"key_file\" belong together");
	expect_error(WITH(HOOK(", \"retry_min_ms\": 2000, \"retry_max_s\": 1")), "\"retry_min_ms\" is above");
	expect_error(WITH("{\"name\": \"a b\", \"url\": \"https://h\", \"types\": [\"x\"]}"),
		"/name: bad name, got \"a b\"");
	expect_error(
		WITH("{\"name\": \"a\", \"url\": \"https://h\", \"types\": []}"), "/types: wrong list, got an array");
	expect_error(WITH("{\"name\": \"a\", \"url\": \"https://h\", \"types\": [\"a*b\"]}"),
		"/types/0: not a type of events");
	expect_error("{" REQUIRED "\"events\": {\"webhooks\": {}, \"broker\": \"amqps://b/v\"}}",
		"wrong list, got an object");
	expect_error(
		"{" REQUIRED "\"events\": {\"webhooks\": [" HOOK("") "]}}", "need events.broker, by which events come");
	expect_error("{" REQUIRED "\"events\": {\"webhoks\": []}}", "did you mean \"webhooks\"?");
}

static void addresses_are_checked(void **state)
{
	static const char *const refused[][2] = { { "ftp://h/", "not a webhook's address" },
		{ "https://", "not a webhook's address" }, { "https:///x", "not a webhook's address" },
		{ "https://h/#f", "not a webhook's address" }, { "https://h/ x", "not a webhook's address" },
		{ "https://user:pass@h/", "credentials do not belong in an address" },
		{ "http://8.8.8.8/x", "http to a public address" },
		{ "http://[2001:db8::1]:80", "http to a public address" },
		{ "http://169.254.169.254/latest", "http to a public address" } };
	static const char *const taken[] = { "https://8.8.8.8/x", "http://10.0.0.7:8080/x", "http://localhost",
		"http://[fd00::1]/", "http://billing.internal/x?y=@" };
	char text[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		(void)snprintf(text, sizeof(text), WITH("{\"name\": \"a\", \"types\": [\"x\"], \"url\": \"%s\"}"),
			refused[i][0]);
		expect_error(text, refused[i][1]);
	}
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		(void)snprintf(
			text, sizeof(text), WITH("{\"name\": \"a\", \"types\": [\"x\"], \"url\": \"%s\"}"), taken[i]);
		settings_destroy(read_good(text));
	}
}

static void private_addresses_are_known(void **state)
{
	static const char *const ours[] = { "127.0.0.1", "127.255.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255",
		"192.168.0.1", "::1", "fd12::1", "fc00::", "::ffff:10.0.0.1" };
	static const char *const public[] = { "8.8.8.8", "172.15.0.1", "172.32.0.1", "192.169.0.1", "169.254.169.254",
		"0.0.0.0", "::", "fe80::1", "2001:db8::1", "::ffff:8.8.8.8" };

	(void)state;
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		assert_false(address_text_is_public(ours[i]));
	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++)
		assert_true(address_text_is_public(public[i]));
	assert_false(address_text_is_public("example.com"));
	assert_false(address_is_private(&(struct sockaddr){ .sa_family = AF_UNIX }));
}

static void count_rows(void *arg, const struct settings_row *row)
{
	static const char prefix[] = "events.webhooks.a.";

	if (strncmp(row->key, prefix, strlen(prefix)) == 0)
		(*(int *)arg)++;
	if (strcmp(row->key, "events.webhooks.a.types") == 0)
		assert_string_equal(row->value, "x");
}

static void webhooks_are_shown_and_compared(void **state)
{
	struct settings *before = read_good(WITH(HOOK(""))), *same = read_good(WITH(HOOK(", \"origins\": []")));
	struct settings *after = read_good(WITH(HOOK(", \"keep_s\": 60")));
	struct strbuf applied = STRBUF_INIT, restart_needed = STRBUF_INIT;
	int count = 0;

	(void)state;
	settings_each(before, count_rows, &count);
	assert_int_equal(count, 9); /* address, types, mode, six numbers */
	settings_compare(before, same, &applied, &restart_needed);
	assert_string_equal(restart_needed.data, "");
	settings_compare(before, after, &applied, &restart_needed);
	assert_string_equal(restart_needed.data, "events.webhooks");
	assert_string_equal(applied.data, "");
	strbuf_release(&applied);
	strbuf_release(&restart_needed);
	settings_destroy(before);
	settings_destroy(same);
	settings_destroy(after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_webhook_has_defaults),
		cmocka_unit_test(a_webhook_may_say_everything),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(addresses_are_checked),
		cmocka_unit_test(private_addresses_are_known),
		cmocka_unit_test(webhooks_are_shown_and_compared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor calls wrong, and how bad: the pure judges over answers that brokers and listeners give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/mesh_checks.h"

static struct mesh_region region = { .name = "eu" };

static void begin(struct mesh_checks *checks)
{
	static char cluster[] = "eu";

	*checks = (struct mesh_checks){ .count = 0 };
	region.cluster = cluster;
}

static void expect(
	struct mesh_checks *checks, size_t place, enum mesh_severity severity, const char *code, const char *evidence)
{
	assert_true(place < checks->count);
	assert_string_equal(checks->items[place].code, code);
	assert_int_equal(checks->items[place].severity, severity);
	if (strstr(checks->items[place].evidence, evidence) == NULL)
		print_error("wanted: %s\ngot: %s\n", evidence, checks->items[place].evidence);
	assert_non_null(strstr(checks->items[place].evidence, evidence));
}

static void a_broker_is_judged_by_what_it_tells(void **state)
{
	struct mesh_checks checks;
	json_t *good = json_pack("{s:s,s:s}", "rabbitmq_version", "3.10.8", "cluster_name", "eu"),
	       *old = json_pack("{s:s,s:s}", "rabbitmq_version", "3.9.29", "cluster_name", "rabbit@x"),
	       *nodes = json_pack("[{s:[s,s,s],s:i,s:i,s:i,s:i}]", "enabled_plugins", "rabbitmq_federation",
		       "rabbitmq_federation_management", "rabbitmq_auth_mechanism_ssl", "mem_used", 10, "mem_limit",
		       100, "disk_free", 1000, "disk_free_limit", 50),
	       *bad = json_pack("[{s:[s],s:i,s:i,s:i,s:i,s:[s]}]", "enabled_plugins", "rabbitmq_federation", "mem_used",
		       80, "mem_limit", 100, "disk_free", 99, "disk_free_limit", 50, "partitions", "eu@b");
	(void)state;

	begin(&checks);
	mesh_judge_broker(&checks, &region, good, nodes);
	assert_int_equal(checks.count, 0);
	mesh_judge_broker(&checks, &region, old, bad);
	mesh_checks_sort(&checks);
	assert_int_equal(checks.count, 7);
	expect(&checks, 0, MESH_CRITICAL, "MESH_027", "RabbitMQ 3.9.29");
	expect(&checks, 1, MESH_CRITICAL, "MESH_027", "calls itself \"rabbit@x\", the mesh file \"eu\"");
	expect(&checks, 2, MESH_CRITICAL, "MESH_028", "rabbitmq_federation_management is not enabled");
	assert_string_equal(checks.items[2].command, "rabbitmq-plugins enable rabbitmq_federation_management");
	expect(&checks, 3, MESH_CRITICAL, "MESH_028", "rabbitmq_auth_mechanism_ssl");
	expect(&checks, 4, MESH_CRITICAL, "MESH_031", "do not see each other");
	expect(&checks, 5, MESH_WARNING, "MESH_031", "mem_used is 80 of 100");
	expect(&checks, 6, MESH_WARNING, "MESH_031", "disk_free is 99, its limit 50");
	assert_int_equal(mesh_checks_show(&checks, OUTPUT_CSV), EXIT_CODE_FAILED);
	mesh_checks_release(&checks);
	json_decref(good);
	json_decref(old);
	json_decref(nodes);
	json_decref(bad);
}

static struct handshake shown(const char *name, const char *uri, int64_t days)
{
	struct handshake handshake = { .fault = HANDSHAKE_FINE, .expires_s = 1000000 + days * 86400 };

	strbuf_init(&handshake.detail);
	strbuf_init(&handshake.reply);
	(void)snprintf(handshake.common_name, sizeof(handshake.common_name), "%s", name);
	(void)snprintf(handshake.uri, sizeof(handshake.uri), "%s", uri);
	return handshake;
}

static void judge(struct mesh_checks *checks, struct handshake handshake, const char *uri)
{
	mesh_judge_handshake(checks, "eu", "amqps://b", "eu", uri, &handshake, 1000000);
	handshake_release(&handshake);
}

static void a_certificate_is_judged_by_whose_it_is_and_its_end(void **state)
{
	static const char uri[] = "spiffe://lab/region/eu";
	struct mesh_checks checks;
	struct handshake refused = shown("eu", uri, 90);
	(void)state;

	begin(&checks);
	judge(&checks, shown("eu", "", 90), NULL);
	judge(&checks, shown("whatever", uri, 30), uri);
	assert_int_equal(checks.count, 0);
	judge(&checks, shown("na", "", 90), NULL);
	expect(&checks, 0, MESH_CRITICAL, "MESH_024", "of \"na\", not of \"eu\"");
	judge(&checks, shown("eu", "spiffe://lab/region/na", 90), uri);
	expect(&checks, 1, MESH_CRITICAL, "MESH_024", "not of \"spiffe://lab/region/eu\"");
	judge(&checks, shown("eu", "", 29), NULL);
	expect(&checks, 2, MESH_WARNING, "MESH_025", "ends in 29 days");
	judge(&checks, shown("eu", "", 6), NULL);
	expect(&checks, 3, MESH_CRITICAL, "MESH_025", "ends in 6 days");
	refused.fault = HANDSHAKE_CHAIN;
	strbuf_adds(&refused.detail, "self-signed");
	judge(&checks, refused, NULL);
	expect(&checks, 4, MESH_CRITICAL, "MESH_024", "not by our authority: self-signed, certificate of eu");
	refused = shown("", "", 0);
	refused.fault = HANDSHAKE_UNREACHABLE;
	judge(&checks, refused, NULL);
	expect(&checks, 5, MESH_CRITICAL, "MESH_023", "cannot be reached");
	assert_int_equal(checks.count, 6);
	mesh_checks_release(&checks);
}

/* 2026-11-21T08:00:00Z is 1795248000. */
static void a_date_tells_how_far_clocks_are_apart(void **state)
{
	struct handshake handshake = shown("eu", "", 1);
	struct mesh_checks checks;
	int64_t ahead_ms;
	(void)state;

	begin(&checks);
	assert_false(handshake_clock(&handshake, &ahead_ms));
	strbuf_adds(&handshake.reply, "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 08:00:00 GMT\r\nx: y\r\n");
	handshake.sent_us = 1795248000900000;
	handshake.replied_us = handshake.sent_us + 50000;
	assert_true(handshake_clock(&handshake, &ahead_ms));
	assert_int_equal(ahead_ms, 0);
	handshake.sent_us -= 5000000; /* ours is behind */
	handshake.replied_us -= 5000000;
	assert_true(handshake_clock(&handshake, &ahead_ms));
	assert_int_equal(ahead_ms, 4050);
	mesh_judge_clock(&checks, "eu", ahead_ms);
	expect(&checks, 0, MESH_WARNING, "MESH_026", "4.050 s ahead of ours");
	handshake.sent_us += 45000000;
	handshake.replied_us += 45000000;
	assert_true(handshake_clock(&handshake, &ahead_ms));
	mesh_judge_clock(&checks, "eu", ahead_ms);
	expect(&checks, 1, MESH_CRITICAL, "MESH_026", "39.901 s behind ours");
	mesh_judge_clock(&checks, "eu", 1999);
	assert_int_equal(checks.count, 2);
	handshake_release(&handshake);
	mesh_checks_release(&checks);
}

static void notes_are_no_reason_to_fail(void **state)
{
	char where[] = "na -> eu", paused[] = "the link is paused: paused", unbound[] = "na has no binding";
	const struct mesh_finding findings[] = { { "MESH_003", where, paused, "resume" },
		{ "MESH_004", where, unbound, "restart the link" } };
	struct mesh_checks checks;
	(void)state;

	begin(&checks);
	mesh_judge_own_clock(&checks, true);
	assert_int_equal(mesh_checks_show(&checks, OUTPUT_TABLE), EXIT_CODE_OK);
	mesh_judge_own_clock(&checks, false);
	assert_int_equal(mesh_checks_show(&checks, OUTPUT_JSON), EXIT_CODE_OK);
	mesh_judge_finding(&checks, &findings[0], "m.json");
	mesh_judge_finding(&checks, &findings[1], "m.json");
	mesh_checks_sort(&checks);
	expect(&checks, 0, MESH_CRITICAL, "MESH_004", "no binding");
	assert_string_equal(checks.items[0].command, "homeward mesh heal --mesh m.json");
	expect(&checks, 1, MESH_WARNING, "MESH_003", "paused");
	expect(&checks, 2, MESH_NOTE, "MESH_032", "kernel");
	assert_int_equal(mesh_checks_show(&checks, OUTPUT_JSON), EXIT_CODE_FAILED);
	mesh_checks_release(&checks);
}

static void a_new_region_is_like_the_first(void **state)
{
	json_t *like = json_pack("{s:{s:s,s:s,s:s},s:{s:s,s:s,s:s}}", "management", "user", "op", "password_file",
		"eu.password", "ca_file", "ca.pem", "link", "ca_file", "/pki/ca.pem", "certificate_file", "/pki/eu.pem",
		"key_file", "/pki/europe.key");
	json_t *entry = json_pack("{s:{s:s,s:s},s:{}}", "management", "url", "u", "user", "other", "link");
	json_t *wanted = json_pack("{s:{s:s,s:s,s:s,s:s},s:{s:s,s:s,s:s}}", "management", "url", "u", "user", "other",
		"password_file", "ap.password", "ca_file", "ca.pem", "link", "ca_file", "/pki/ca.pem",
		"certificate_file", "/pki/ap.pem", "key_file", "/pki/europe.key");
	(void)state;

	mesh_fill_entry(entry, like, "eu", "ap");
	assert_true(json_equal(entry, wanted));
	json_decref(like);
	json_decref(entry);
	json_decref(wanted);
}

static void a_link_in_a_brokers_list_is_of_a_region(void **state)
{
	static char url[] = "amqps://b.eu:5671", vhost[] = "homeward";
	struct mesh_region eu = { .name = "eu", .broker_urls = { url }, .broker_url_count = 1, .vhost = vhost };
	const struct mesh mesh = { .regions = &eu, .region_count = 1 };
	json_t *running = json_pack("{s:s,s:s,s:s}", "uri", "amqps://b.eu:5671/homeward", "status", "running",
		       "timestamp", "2026-11-21 11:13:37"),
	       *broken = json_pack("{s:s,s:s,s:s,s:s}", "uri", "amqps://b.eu:5671/homeward", "status", "error",
		       "timestamp", "2026-11-21 11:13:37", "error", "econnrefused"),
	       *foreign = json_pack("{s:s,s:s}", "uri", "amqps://b.ap:5671/homeward", "status", "running");
	struct mesh_link_change change;
	(void)state;

	assert_true(mesh_link_change(&mesh, running, &change));
	assert_string_equal(change.from, "eu");
	assert_string_equal(change.at, "2026-11-21 11:13:37");
	assert_string_equal(change.state, "running");
	assert_string_equal(change.error, "");
	assert_true(mesh_link_change(&mesh, broken, &change));
	assert_string_equal(change.error, "econnrefused");
	assert_false(mesh_link_change(&mesh, foreign, &change));
	assert_false(mesh_link_change(&mesh, NULL, &change));
	json_decref(running);
	json_decref(broken);
	json_decref(foreign);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_broker_is_judged_by_what_it_tells),
		cmocka_unit_test(a_certificate_is_judged_by_whose_it_is_and_its_end),
		cmocka_unit_test(a_date_tells_how_far_clocks_are_apart),
		cmocka_unit_test(notes_are_no_reason_to_fail),
		cmocka_unit_test(a_new_region_is_like_the_first),
		cmocka_unit_test(a_link_in_a_brokers_list_is_of_a_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

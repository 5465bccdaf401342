/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: what is accepted, and the exact words of what is not.  The reference
 * in docs/ is compared with the table, so it cannot fall behind.
 */
#include "base/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

#define REQUIRED                                                                                                       \
	"\"region\": \"eu\", \"trust_domain\": \"test.example\", \"policy\": {\"file\": \"policy.json\"},\n"           \
	"\"tls\": {\"certificate\": \"eu.pem\", \"key\": \"/keys/eu.key\", \"ca\": \"ca.pem\"},\n"                     \
	"\"database\": {\"dsn\": \"host=/tmp dbname=x\"},\n"

static struct settings *read_good(const char *text)
{
	struct strbuf errors = STRBUF_INIT;
	struct settings *settings;
	enum status status = settings_parse("/etc/homeward/eu.conf", text, strlen(text), &settings, &errors);

	if (status != STATUS_OK)
		print_error("%s", errors.data);
	assert_int_equal(status, STATUS_OK);
	assert_int_equal(errors.length, 0);
	strbuf_release(&errors);
	return settings;
}

static void expect_errors(const char *text, const char *expected)
{
	struct strbuf errors = STRBUF_INIT;
	struct settings *settings;

	assert_int_equal(settings_parse("f", text, strlen(text), &settings, &errors), STATUS_INVALID);
	assert_null(settings);
	assert_string_equal(errors.data, expected);
	strbuf_release(&errors);
}

static void defaults_and_paths(void **state)
{
	struct settings *settings = read_good("{" REQUIRED "}");

	(void)state;
	assert_string_equal(settings->path, "/etc/homeward/eu.conf");
	assert_string_equal(settings->region, "eu");
	assert_string_equal(settings->policy.file, "/etc/homeward/policy.json");
	assert_string_equal(settings->tls.key, "/keys/eu.key");
	assert_string_equal(settings->tls.crl, "");
	assert_string_equal(settings->state_dir, "/var/lib/homeward");
	assert_string_equal(settings->access_log.key_file, "/var/lib/homeward/access.key");
	assert_string_equal(settings->access_log.directory, "/var/lib/homeward/access-log");
	assert_string_equal(settings->access_log.signing_key_file, "/var/lib/homeward/access-log.key");
	assert_string_equal(settings->access_log.subject_key_file, "/var/lib/homeward/subjects.key");
	assert_int_equal(strncmp(settings->access_log.origin, "eu.", 3), 0);
	assert_string_equal(strchr(settings->access_log.origin, '/'), "/access-log");
	assert_string_equal(settings->api.listen, "127.0.0.1:7400");
	assert_string_equal(settings->peer.listen, "0.0.0.0:7443");
	assert_string_equal(settings->admin.listen, "127.0.0.1:7401");
	assert_string_equal(settings->api.unix_path, "");
	assert_int_equal(settings->api.threads, 2);
	assert_int_equal(settings->peer.body_bytes_max, 4194304);
	assert_int_equal(settings->lookup.timeout_ms, 2500);
	assert_int_equal(settings->cache.bytes_max, 67108864);
	assert_true(settings->database.migrate);
	assert_int_equal(settings->log.level, LOG_LEVEL_INFO);
	assert_int_equal(settings->log.format, LOG_FORMAT_TEXT);
	assert_int_equal(settings->type_count, 0);
	assert_int_equal(settings->peer_count, 0);
	settings_destroy(settings);
	settings_destroy(NULL);
}

static void comments_and_trailing_commas(void **state)
{
	struct settings *settings = read_good(
		"\xEF\xBB\xBF# first\n{ // second \"\n" REQUIRED
		"/* third, \"}\n */ \"state_dir\": \"/a//b#c/*d*/,]\", \"log\": {\"level\":"
		" /**/ \"warn\", \"format\":\"json\",},\n"
		"\"peers\": {\"na\": {\"urls\": [\"https://na:1\", \"https://[::1]:2\",],},"
		"},\n} # end");

	(void)state;
	assert_string_equal(settings->state_dir, "/a//b#c/*d*/,]");
	assert_int_equal(settings->log.level, LOG_LEVEL_WARN);
	assert_int_equal(settings->log.format, LOG_FORMAT_JSON);
	assert_int_equal(settings->peers[0].url_count, 2);
	assert_string_equal(settings->peers[0].urls[1], "https://[::1]:2");
	settings_destroy(settings);
}

static void types_and_peers(void **state)
{
	struct settings *settings = read_good(
		"{" REQUIRED "\"types\": {\"site\": {}, \"token\": {\"id_format\": \"rfid-uid\", \"handler\": \"sql\","
		"\"query\": \"SELECT a, b, c FROM t WHERE a = ANY($1)\"},"
		"\"contract\": {\"handler\": \"http\", \"url\": \"http://h/{id}\", \"id_format\": \"emaid\"}},"
		"\"peers\": {\"na\": {\"urls\": [\"https://na.example:7443\"]}, \"ap\": {\"urls\": "
		"[\"https://h:65535\"]}}}");
	const struct settings_type *token = settings_type(settings, "token");

	(void)state;
	assert_int_equal(settings->type_count, 3);
	assert_int_equal(settings_type(settings, "site")->handler, HANDLER_STORE);
	assert_int_equal(settings_type(settings, "site")->id_format, ID_FORMAT_OPAQUE);
	assert_null(settings_type(settings, "site")->query);
	assert_int_equal(token->handler, HANDLER_SQL);
	assert_int_equal(token->id_format, ID_FORMAT_RFID_UID);
	assert_string_equal(token->query, "SELECT a, b, c FROM t WHERE a = ANY($1)");
	assert_string_equal(settings_type(settings, "contract")->url, "http://h/{id}");
	assert_null(settings_type(settings, "nothing"));
	assert_string_equal(settings_peer(settings, "ap")->urls[0], "https://h:65535");
	assert_null(settings_peer(settings, "eu"));
	settings_destroy(settings);
}

static void all_errors_at_once_in_the_order_of_the_file(void **state)
{
	(void)state;
	expect_errors("{" REQUIRED "\"lookup\": {\"timeout_ms\": \"fast\",\n"
		      "\t\"in_flight_max\": 0},\n"
		      "\"cahce\": {},\n"
		      "\"log\": {\"level\": \"loud\"}, \"é\": 1, \"engines\": 1.5,\n"
		      "\"api\": {\"listen\": \"localhost\"}, \"database.migrate\": true}",
		"f:4:26 /lookup/timeout_ms: not a whole number, got \"fast\", allowed: 10 to 600000 ms\n"
		"f:5:19 /lookup/in_flight_max: out of range, got 0, allowed: 1 to 10000000\n"
		"f:6:1 /cahce: not a setting; did you mean \"cache\"?\n"
		"f:7:18 /log/level: not one of the choices, got \"loud\", allowed: debug, info, warn, error\n"
		"f:7:27 /é: not a setting, allowed: region, trust_domain, state_dir, location, engines, "
		"drain_timeout_ms, api, "
		"peer, "
		"admin, tls, database, policy, access_log, cache, lookup, delegate, grant, events, budgets, travel, "
		"alarms, "
		"log, "
		"types, "
		"peers\n"
		"f:7:46 /engines: not a whole number, got 1.5, allowed: 0 to 64\n"
		"f:8:19 /api/listen: refused, got \"localhost\", allowed: \"address:port\", \"[address]:port\" or \"\" "
		"for "
		"none\n"
		"f:8:33 /database.migrate: write it nested: {\"database\": {\"migrate\": …}}\n");
}

static void missing_keys_are_named(void **state)
{
	(void)state;
	expect_errors("{\"trust_domain\": \"x\",\n \"tls\": {\"certificate\": \"a\", \"key\": \"\", \"ca\": \"c\"}, "
		      "\"policy\": {\"file\": \"p\"}, \"database\": {}}",
		"f:1:1 /region: missing: The region this process serves.\n"
		"f:2:37 /tls/key: refused, got \"\", allowed: not empty\n"
		"f:2:90 /database/dsn: missing: PostgreSQL connection string, without a password.\n");
}

static void duplicates_are_refused(void **state)
{
	(void)state;
	expect_errors("{" REQUIRED "\"engines\": 1,\n\"engines\": 2,\n\"log\": {\"level\": \"info\"},\n"
		      "\"log\": {\"level\": \"warn\"},\n\"cache\": {\"ttl_max_s\": 1, \"ttl\\u005fmax_s\": 2}}",
		"f:5:1 /engines: given twice, first on line 4\n"
		"f:7:1 /log: given twice, first on line 6\n"
		"f:8:27 /cache/ttl_max_s: given twice, first on line 8\n");
}

static void sections_report_their_own(void **state)
{
	(void)state;
	expect_errors("{" REQUIRED "\"types\": {\n"
		      "\"Bad\": {},\n"
		      "\"a\": {\"handler\": \"mongo\"},\n"
		      "\"b\": {\"handler\": \"sql\"},\n"
		      "\"c\": {\"handler\": \"sql\", \"query\": \"SELECT 1\"},\n"
		      "\"d\": {\"handler\": \"http\", \"url\": \"ftp://x/{id}\"},\n"
		      "\"e\": {\"id_format\": \"uuid\", \"handlr\": \"sql\"},\n"
		      "\"f\": {\"url\": \"http://x/{id}\"},\n"
		      "\"g\": 3},\n"
		      "\"peers\": {\n"
		      "\"eu\": {\"urls\": [\"https://x:1\"]},\n"
		      "\"na\": {\"urls\": [\"http://x:1\", \"https://x\", \"https://x:0\", \"https://x:1/\"]},\n"
		      "\"ap\": {},\n"
		      "\"sa\": {\"urls\": [], \"url\": 1},\n"
		      "\"uk\": {\"urls\": [\"https://x:1\"], \"log_key\": \"uk/log+0011aabb+A\"},\n"
		      "\"us\": {\"urls\": [\"https://x:1\"], \"log_key\": "
		      "\"us/log+0011aabb+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\"}}}",
		"f:5:1 /types/Bad: bad type name, allowed: a-z, then a-z 0-9 _ -, at most 31\n"
		"f:6:18 /types/a/handler: unknown handler, got \"mongo\", allowed: store, sql, http\n"
		"f:7:6 /types/b: handler sql needs \"query\"\n"
		"f:8:34 /types/c/query: the query must take the ids, got \"SELECT 1\", allowed: text with $1, as in … "
		"WHERE "
		"id = ANY($1)\n"
		"f:9:33 /types/d/url: the URL must take the id, got \"ftp://x/{id}\", allowed: an http or https URL "
		"with "
		"{id}\n"
		"f:10:20 /types/e/id_format: unknown id format, got \"uuid\", allowed: opaque, rfid-uid, emaid, "
		"evse-id\n"
		"f:10:28 /types/e/handlr: not a setting; did you mean \"handler\"?\n"
		"f:11:6 /types/f: \"url\" is for handler http, this is handler store\n"
		"f:12:6 /types/g: wrong type, got 3, allowed: an object\n"
		"f:14:1 /peers/eu: this region itself, allowed: the other regions\n"
		"f:15:17 /peers/na/urls/0: not a peer's address, got \"http://x:1\", allowed: https://host:port\n"
		"f:15:31 /peers/na/urls/1: not a peer's address, got \"https://x\", allowed: https://host:port\n"
		"f:15:44 /peers/na/urls/2: not a peer's address, got \"https://x:0\", allowed: https://host:port\n"
		"f:15:59 /peers/na/urls/3: not a peer's address, got \"https://x:1/\", allowed: https://host:port\n"
		"f:16:7 /peers/ap: needs \"urls\"\n"
		"f:17:16 /peers/sa/urls: wrong list of addresses, got an array, allowed: 1 to 16 of https://host:port\n"
		"f:17:20 /peers/sa/url: not a setting; did you mean \"urls\"?\n"
		"f:18:44 /peers/uk/log_key: not a verifier key, got \"uk/log+0011aabb+A\", allowed: NAME+8 hex "
		"digits+base64\n");
}

static void sections_of_the_wrong_type(void **state)
{
	(void)state;
	expect_errors("{" REQUIRED
		      "\"cache\": 1, \"types\": [], \"peers\": \"na\", \"engines\": {}, \"state_dir\": null}",
		"f:4:10 /cache: wrong type, got 1, allowed: an object\n"
		"f:4:22 /types: wrong type, got an array, allowed: an object, one member for each name\n"
		"f:4:35 /peers: wrong type, got \"na\", allowed: an object, one member for each name\n"
		"f:4:52 /engines: not a whole number, got an object, allowed: 0 to 64\n"
		"f:4:69 /state_dir: wrong type, got null, allowed: a path, as a string\n");
}

static void values_that_depend_on_each_other(void **state)
{
	(void)state;
	expect_errors("{" REQUIRED "\"lookup\": {\"timeout_ms\": 20000},\n\"delegate\": {\"suspect_after\": 5}}",
		"f:4:26 /lookup/timeout_ms: out of range, got 20000, allowed: at most lookup.timeout_ms_max, 10000\n"
		"f:5:31 /delegate/suspect_after: out of range, got 5, allowed: at most delegate.down_after, 3\n");
}

static void a_password_is_neither_taken_nor_repeated(void **state)
{
	(void)state;
	expect_errors("{\"region\": \"eu\", \"trust_domain\": \"t\", \"policy\": {\"file\": \"p\"}, "
		      "\"tls\": {\"certificate\": \"c\", \"key\": \"k\", \"ca\": \"a\"},\n"
		      "\"database\": {\"dsn\": \"postgresql://user:hunter2@host/db\"}}",
		"f:2:21 /database/dsn: refused, allowed: a connection string without a password; put it in "
		"database.password_file\n");
}

static void not_json(void **state)
{
	struct strbuf errors = STRBUF_INIT;
	struct settings *settings;

	(void)state;
	expect_errors("[]", "f:1:1: not settings, got an array, allowed: an object\n");
	expect_errors("{\n  /* never closed }", "f:2:3: a comment that is not closed, allowed: /* … */\n");
	expect_errors("{\"a\" 1}", "f:1:6: not JSON: ':' expected near '1'\n");
	for (const char *const *text = (const char *const[]){ "", "{", "{\"a", "{,}", "[,]", "{\"a\":1,,}", "{\"a\":,}",
		     "\xff", "{\"a\":\"\\u0000\"}", "# only a comment", "nul", "/", "{\"a\":1}}", NULL };
		*text != NULL; text++) {
		strbuf_reset(&errors);
		assert_int_equal(settings_parse("f", *text, strlen(*text), &settings, &errors), STATUS_INVALID);
		assert_null(settings);
		assert_memory_equal(errors.data, "f:", 2);
	}
	strbuf_release(&errors);
}

static void a_file_of_errors_is_bounded(void **state)
{
	struct strbuf text = STRBUF_INIT, errors = STRBUF_INIT;
	struct settings *settings;
	int lines = 0;

	(void)state;
	strbuf_addc(&text, '{');
	for (int i = 0; i < 5000; i++)
		strbuf_addf(&text, "\"key%d\": %d,\n", i, i);
	strbuf_addc(&text, '}');
	assert_int_equal(settings_parse("f", text.data, text.length, &settings, &errors), STATUS_INVALID);
	for (const char *c = errors.data; *c != '\0'; c++)
		lines += *c == '\n';
	assert_int_equal(lines, 100);
	strbuf_release(&text);
	strbuf_release(&errors);
}

static void files_that_cannot_be_read(void **state)
{
	struct strbuf errors = STRBUF_INIT;
	struct settings *settings = (struct settings *)state;

	assert_int_equal(settings_read("/nonexistent/x.conf", &settings, &errors), STATUS_NOT_FOUND);
	assert_null(settings);
	assert_non_null(strstr(errors.data, "/nonexistent/x.conf"));
	strbuf_release(&errors);
}

static void dsn_takes_its_password_from_the_file(void **state)
{
	char folder[] = "/tmp/homeward-test-XXXXXX";
	struct strbuf path = STRBUF_INIT, text = STRBUF_INIT, dsn = STRBUF_INIT, why = STRBUF_INIT;
	struct settings *settings;

	(void)state;
	assert_non_null(mkdtemp(folder));
	strbuf_addf(&path, "%s/password", folder);
	assert_int_equal(file_replace(path.data, "it's\\\n", 6, 0600, NULL), STATUS_OK);
	strbuf_addf(&text,
		"{\"region\": \"eu\", \"trust_domain\": \"t\", \"policy\": {\"file\": \"p\"}, "
		"\"tls\": {\"certificate\": \"c\", \"key\": \"k\", \"ca\": \"a\"}, "
		"\"database\": {\"dsn\": \"postgresql://user@host:5433/db?sslmode=verify-full\", \"password_file\": "
		"\"%s\"}}",
		path.data);
	settings = read_good(text.data);
	assert_int_equal(settings_dsn(settings, &dsn, &why), STATUS_OK);
	assert_string_equal(dsn.data, "user='user' dbname='db' host='host' port='5433' sslmode='verify-full' "
				      "password='it\\'s\\\\'");
	assert_int_equal(unlink(path.data), 0);
	strbuf_reset(&dsn);
	assert_int_equal(settings_dsn(settings, &dsn, &why), STATUS_NOT_FOUND);
	assert_int_equal(dsn.length, 0);
	assert_non_null(strstr(why.data, path.data));
	settings_destroy(settings);
	settings = read_good("{" REQUIRED "}");
	assert_int_equal(settings_dsn(settings, &dsn, &why), STATUS_OK);
	assert_string_equal(dsn.data, "host=/tmp dbname=x");
	settings_destroy(settings);
	assert_int_equal(rmdir(folder), 0);
	strbuf_release(&path);
	strbuf_release(&text);
	strbuf_release(&dsn);
	strbuf_release(&why);
}

static void compare_says_what_needs_a_restart(void **state)
{
	struct settings *before = read_good(
		"{" REQUIRED "\"types\": {\"a\": {}}, \"peers\": {\"na\": {\"urls\": [\"https://x:1\"]}}}");
	struct settings *after = read_good(
		"{" REQUIRED "\"types\": {\"a\": {\"id_format\": \"emaid\"}}, \"peers\": {\"na\": "
		"{\"urls\": [\"https://x:2\"]}}, \"log\": {\"level\": \"debug\"}, \"cache\": "
		"{\"bytes_max\": 1}, \"engines\": 3}");
	struct strbuf applied = STRBUF_INIT, restart = STRBUF_INIT;

	(void)state;
	settings_compare(before, after, &applied, &restart);
	assert_string_equal(applied.data, "log.level, peers");
	assert_string_equal(restart.data, "engines, cache.bytes_max, types");
	strbuf_reset(&applied);
	strbuf_reset(&restart);
	settings_compare(before, before, &applied, &restart);
	assert_int_equal(applied.length + restart.length, 0);
	strbuf_release(&applied);
	strbuf_release(&restart);
	settings_destroy(before);
	settings_destroy(after);
}

struct wanted_row {
	const char *key, *value, *source;
	int found;
};

static void check_row(void *arg, const struct settings_row *row)
{
	assert_non_null(row->value);
	assert_non_null(row->default_value);
	assert_true(row->help[0] != '\0');
	for (struct wanted_row *wanted = arg; wanted->key != NULL; wanted++) {
		if (strcmp(row->key, wanted->key) != 0)
			continue;
		assert_string_equal(row->value, wanted->value);
		assert_string_equal(row->source, wanted->source);
		wanted->found++;
	}
}

static void every_row_is_shown_with_its_source(void **state)
{
	struct settings *settings = read_good("{" REQUIRED "\"engines\": 3,\n\"types\": {\"a\": {}}, "
					      "\"peers\": {\"na\": {\"urls\": [\"https://x:1\", \"https://y:2\"]}}}");
	struct wanted_row wanted[] = {
		{ "region", "eu", "/etc/homeward/eu.conf:1", 0 },
		{ "engines", "3", "/etc/homeward/eu.conf:4", 0 },
		{ "cache.bytes_max", "67108864", "default", 0 },
		{ "log.format", "text", "default", 0 },
		{ "database.migrate", "true", "default", 0 },
		{ "types.a.handler", "store", "/etc/homeward/eu.conf", 0 },
		{ "peers.na.urls", "https://x:1, https://y:2", "/etc/homeward/eu.conf", 0 },
		{ NULL, NULL, NULL, 0 },
	};

	(void)state;
	settings_each(settings, check_row, wanted);
	for (struct wanted_row *row = wanted; row->key != NULL; row++)
		assert_int_equal(row->found, 1);
	settings_destroy(settings);
}

/* Run from the top folder, as make does. */
static void the_reference_in_docs_is_current(void **state)
{
	struct strbuf written = STRBUF_INIT, wanted = STRBUF_INIT;

	(void)state;
	settings_write_reference(&wanted);
	assert_int_equal(file_read("docs/CONFIGURATION.md", 1 << 20, &written, NULL), STATUS_OK);
	assert_string_equal(written.data, wanted.data);
	strbuf_release(&written);
	strbuf_release(&wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_and_paths),
		cmocka_unit_test(comments_and_trailing_commas),
		cmocka_unit_test(types_and_peers),
		cmocka_unit_test(all_errors_at_once_in_the_order_of_the_file),
		cmocka_unit_test(missing_keys_are_named),
		cmocka_unit_test(duplicates_are_refused),
		cmocka_unit_test(sections_report_their_own),
		cmocka_unit_test(sections_of_the_wrong_type),
		cmocka_unit_test(values_that_depend_on_each_other),
		cmocka_unit_test(a_password_is_neither_taken_nor_repeated),
		cmocka_unit_test(not_json),
		cmocka_unit_test(a_file_of_errors_is_bounded),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(dsn_takes_its_password_from_the_file),
		cmocka_unit_test(compare_says_what_needs_a_restart),
		cmocka_unit_test(every_row_is_shown_with_its_source),
		cmocka_unit_test(the_reference_in_docs_is_current),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

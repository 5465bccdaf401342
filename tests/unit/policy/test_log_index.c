/* SPDX-License-Identifier: Apache-2.0 */
/* Every entry of the log has one row, whatever happens to PostgreSQL meanwhile, and all rows can be made again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/database.h"
#include "base/must.h"
#include "policy/entry.h"
#include "policy/log_index.h"
#include "policy/log_writer.h"
#include "tests/unit/support/postgres.h"
#include "tests/unit/support/scratch.h"

#define ORIGIN "eu.test/access-log"
#define WAIT_MS 30000

static struct test_postgres *server;
static char folder[64], key_file[80];
static struct log_writer *writer;
static int appended;

static int64_t now_ms(void)
{
	return clock_monotonic_ms(clock_system());
}

static bool ask(const char *sql, char answer[512])
{
	struct database_session *session;
	PGresult *result = NULL;
	struct strbuf why = STRBUF_INIT;
	bool is_answered = false;

	if (database_session_open(test_postgres_dsn(server), 5000, &session, &why) == STATUS_OK) {
		is_answered = database_session_query(session, sql, NULL, 0, 20000, &result, &why) == STATUS_OK;
		snprintf(answer, 512, "%s", is_answered && PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
		PQclear(result);
		database_session_close(session);
	}
	strbuf_release(&why);
	return is_answered;
}

static void assert_answer(const char *sql, const char *expected)
{
	char answer[512];

	assert_true(ask(sql, answer));
	assert_string_equal(answer, expected);
}

static void wait_for_answer(const char *sql, const char *expected)
{
	int64_t until_ms = now_ms() + WAIT_MS;
	char answer[512] = "";

	while ((!ask(sql, answer) || strcmp(answer, expected) != 0) && now_ms() < until_ms)
		usleep(20000);
	assert_string_equal(answer, expected);
}

static void wait_for_position(int position)
{
	char expected[24];

	snprintf(expected, sizeof(expected), "%d", position);
	wait_for_answer("SELECT next_index FROM homeward.log_positions", expected);
}

static void append_text(const char *text, size_t size)
{
	uint64_t index;

	assert_int_equal(log_writer_append_wait(writer, text, size, now_ms() + WAIT_MS, &index), STATUS_OK);
	assert_int_equal(index, appended);
	appended++;
}

static void append_entry(const struct entry *entry)
{
	struct strbuf text = STRBUF_INIT;

	assert_int_equal(entry_write(entry, &text), STATUS_OK);
	append_text(text.data, text.length);
	strbuf_release(&text);
}

static struct entry serve(int number)
{
	struct entry entry = { .at_us = clock_wall_us(clock_system()),
		.kind = ENTRY_SERVE,
		.has_exchange = true,
		.has_record_hash = true,
		.me = "eu",
		.peer = "na",
		.type = "token",
		.operation = "serve",
		.purpose = "charge.authorize",
		.caller = "na",
		.decision = "permit",
		.rules = "R1,R2",
		.policy = "9:0011223344556677",
		.fields = "uid,valid",
		.ttl_s = 900,
		.count = -1 };

	snprintf(entry.subject, sizeof(entry.subject), "p1.%032x", number % 7);
	memset(&entry.exchange, number & 0xff, sizeof(entry.exchange));
	memset(entry.record_hash, 0xab, sizeof(entry.record_hash));
	memset(entry.salt, number & 0xff, sizeof(entry.salt));
	return entry;
}

static void append_serves(int count)
{
	for (int i = 0; i < count; i++) {
		struct entry entry = serve(appended);

		append_entry(&entry);
	}
}

static struct log_index_settings settings_here(void)
{
	return (struct log_index_settings){
		.directory = folder, .dsn = test_postgres_dsn(server), .entries_per_s = 100000, .grant_ttl_s = 3600
	};
}

static struct log_index *start(void)
{
	struct log_index_settings settings = settings_here();
	struct log_index *index;

	assert_int_equal(log_index_start(&settings, &index), STATUS_OK);
	return index;
}

static void migrate(void)
{
	test_postgres_script(server, "DROP SCHEMA IF EXISTS homeward CASCADE");
	test_postgres_migrate(server);
}

static int set_up(void **state)
{
	struct log_writer_settings settings = { .directory = folder,
		.origin = ORIGIN,
		.key_file = key_file,
		.checkpoint_interval_ms = 10,
		.segment_bytes = 1 << 20 };
	struct strbuf why = STRBUF_INIT;
	enum status status;

	(void)state;
	migrate();
	snprintf(folder, sizeof(folder), "%s/homeward-index-XXXXXX", scratch_place());
	must(mkdtemp(folder) != NULL);
	snprintf(key_file, sizeof(key_file), "%s.key", folder);
	appended = 0;
	status = log_writer_open(&settings, clock_system(), &writer, &why);
	strbuf_release(&why);
	return status != STATUS_OK;
}

static int tear_down(void **state)
{
	(void)state;
	log_writer_close(writer);
	assert_true(scratch_remove(folder));
	return unlink(key_file);
}

static void test_gives_way_to_lookups(void **state)
{
	(void)state;
	assert_int_equal(log_index_pace(5000, 0, 10), 5000);
	assert_int_equal(log_index_pace(5000, 1000, 10), 5000);
	assert_int_equal(log_index_pace(5000, 1001, 10), 500);
	assert_int_equal(log_index_pace(5000, 1001, 60060), 500);
	assert_int_equal(log_index_pace(5000, 1001, 60061), 5000); /* a minute behind */
	assert_int_equal(log_index_pace(0, 1000000, 10), 0);       /* no bound */
	assert_int_equal(log_index_pace(3, 1000000, 10), 3);       /* never so slow that it would stand */
}

static void test_rows(void **state)
{
	struct log_index *index = start();
	struct entry entry = serve(0),
		     boot = { .kind = ENTRY_BOOT, .at_us = 1, .me = "eu", .message = "start", .ttl_s = -1, .count = 7 };

	(void)state;
	append_entry(&entry);
	append_entry(&boot);
	append_text("{\"not\":\"one of ours\"}", 21);
	append_serves(300);
	wait_for_position(303);
	log_index_stop(index);
	assert_answer(
		"SELECT row(kind, me, peer, type, subject, operation, purpose, caller, decision, rules, policy, "
		"fields, "
		"ttl_s, seq, exchange, rh = encode(decode(repeat('ab', 32), 'hex'), 'base64')) FROM homeward.exchanges "
		"ORDER BY seq LIMIT 1",
		"(serve,eu,na,token,p1.00000000000000000000000000000000,serve,charge.authorize,na,permit,\"R1,R2\","
		"9:0011223344556677,\"uid,valid\",900,0,00000000-0000-0000-0000-000000000000,t)");
	assert_answer("SELECT row(kind, me, message, count, exchange, subject, at) FROM homeward.exchanges WHERE "
		      "log_index = 1",
		"(boot,eu,start,7,,,\"1970-01-01 00:00:00.000001+00\")");
	assert_answer("SELECT kind FROM homeward.exchanges WHERE log_index = 2", "unreadable");
	assert_answer("SELECT count(*) FROM homeward.log_contexts", "3");
	assert_answer("SELECT row(count(*), min(region), bool_and(expires_at > now() + interval '50 minutes')) FROM "
		      "homeward.grants",
		"(7,na,t)");
}

static void test_server_goes_away(void **state)
{
	struct log_index *index = start();

	(void)state;
	append_serves(500);
	wait_for_answer("SELECT next_index > 0 FROM homeward.log_positions", "t");
	test_postgres_kill(server);
	append_serves(500);
	usleep(300000);
	test_postgres_restart(server);
	append_serves(100);
	wait_for_position(1100);
	log_index_stop(index);
	assert_answer("SELECT row(count(*), count(DISTINCT log_index), max(log_index)) FROM homeward.log_entries",
		"(1100,1100,1099)");
}

static void test_two_follow(void **state)
{
	struct log_index *one = start(), *two = start();

	(void)state;
	append_serves(3000);
	wait_for_position(3000);
	log_index_stop(one);
	log_index_stop(two);
	assert_answer("SELECT row(count(*), count(DISTINCT log_index), max(log_index)) FROM homeward.log_entries",
		"(3000,3000,2999)");
}

static int progress_calls;

static void on_progress(void *arg, uint64_t done, uint64_t size)
{
	(void)arg;
	assert_true(done <= size);
	progress_calls++;
}

static void test_rebuild(void **state)
{
	struct log_index_settings settings = settings_here();
	struct log_index *index = start();
	struct strbuf why = STRBUF_INIT;
	char before[512], ignored[512];

	(void)state;
	append_serves(2500);
	wait_for_position(2500);
	assert_true(ask("SELECT md5(string_agg(e::text, ' ' ORDER BY seq)) FROM homeward.exchanges e", before));
	assert_true(ask("DELETE FROM homeward.log_entries WHERE log_index % 3 = 0", ignored));
	assert_true(ask("TRUNCATE homeward.grants", ignored));
	/* While another one follows. */
	for (int i = 0; i < 2; i++) {
		if (log_index_rebuild(&settings, on_progress, NULL, &why) != STATUS_OK)
			fail_msg("%s", why.data);
		assert_answer("SELECT md5(string_agg(e::text, ' ' ORDER BY seq)) FROM homeward.exchanges e", before);
		assert_answer("SELECT count(*) FROM homeward.grants", "7");
	}
	assert_true(progress_calls > 0);
	/* A context that is not there any more is made again, and no row left out. */
	assert_true(ask("DELETE FROM homeward.log_contexts", ignored));
	append_serves(1);
	wait_for_position(2501);
	assert_answer("SELECT count(*) FROM homeward.exchanges WHERE log_index = 2500", "1");
	log_index_stop(index);
	/* An index that is ahead of its log: only a rebuild helps. */
	assert_true(ask("UPDATE homeward.log_positions SET next_index = 1000000", ignored));
	assert_int_equal(log_index_rebuild(&settings, NULL, NULL, &why), STATUS_OK);
	assert_answer("SELECT next_index FROM homeward.log_positions", "2501");
	strbuf_release(&why);
}

static void test_searches_use_an_index(void **state)
{
	static const char *const wheres[] = { "subject = 'p1.x'", "exchange = '00000000-0000-7000-8000-000000000000'",
		"at > now() - interval '1 minute'", "log_index = 4" };
	struct log_index *index = start();
	char sql[512], plan[512];

	(void)state;
	append_serves(10);
	wait_for_position(10);
	log_index_stop(index);
	for (size_t i = 0; i < sizeof(wheres) / sizeof(wheres[0]); i++) {
		struct database_session *session;
		PGresult *result = NULL;
		struct strbuf why = STRBUF_INIT;

		must(database_session_open(test_postgres_dsn(server), 5000, &session, &why) == STATUS_OK);
		must(database_session_script(session, "SET enable_seqscan = off", 5000, &why) == STATUS_OK);
		snprintf(sql, sizeof(sql), "EXPLAIN SELECT * FROM homeward.log_entries WHERE %s%s",
			i == 3 ? "log = 1 AND " : "", wheres[i]);
		must(database_session_query(session, sql, NULL, 0, 5000, &result, &why) == STATUS_OK);
		plan[0] = '\0';
		for (int row = 0; row < PQntuples(result); row++)
			snprintf(plan + strlen(plan), sizeof(plan) - strlen(plan), "%s\n", PQgetvalue(result, row, 0));
		if (strstr(plan, "Index") == NULL || strstr(plan, "Seq Scan") != NULL)
			fail_msg("%s: %s", wheres[i], plan);
		PQclear(result);
		database_session_close(session);
		strbuf_release(&why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gives_way_to_lookups),
		cmocka_unit_test_setup_teardown(test_rows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_server_goes_away, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_two_follow, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rebuild, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_searches_use_an_index, set_up, tear_down),
	};

	server = test_postgres_start();
	must(setenv("PGTZ", "UTC", 1) == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

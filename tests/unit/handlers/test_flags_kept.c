/* SPDX-License-Identifier: Apache-2.0 */
/* Flags kept in a real PostgreSQL, in records that handlers `sql` and `http` fetch. */
#include "tests/unit/support/handlers_bench.h"

#include <unistd.h>

#include "tests/unit/support/scratch.h"

#define BARRED "\"flags\":{\"subject.restricted\":{\"field\":\"barred\",\"absent\":\"no\"}}"

static char key_file[256];

static const char policy_text[] =
	"{\"schema\":\"homeward-policy/1\",\"home\":\"na\",\"version\":1,\"not_after\":\"2100-01-01T00:00:00Z\","
	"\"default\":\"deny\",\"rules\":[{\"id\":\"ALL\",\"effect\":\"permit\",\"fields\":[\"n\"]}],\"types\":{"
	"\"token\":{\"fields\":[\"n\"],\"personal\":true," BARRED "},"
	"\"card\":{\"fields\":[\"n\"],\"personal\":true," BARRED "},"
	"\"tariff\":{\"fields\":[\"n\"],\"personal\":true," BARRED "},"
	"\"unversioned\":{\"fields\":[\"n\"],\"personal\":true}}}";

static void script(const char *sql)
{
	struct strbuf why = STRBUF_INIT;
	struct database_session *session;

	assert_int_equal(database_session_open(test_postgres_dsn(server), PATIENCE_MS, &session, &why), STATUS_OK);
	assert_int_equal(database_session_script(session, sql, PATIENCE_MS, &why), STATUS_OK);
	database_session_close(session);
	strbuf_release(&why);
}

static void keep(const char *type, const char *id, const char *value)
{
	struct object_id object = object_of(type, id);
	struct strbuf sql = STRBUF_INIT, why = STRBUF_INIT;
	char ref[SUBJECT_HASH_SIZE];
	uint8_t key[32];

	assert_int_equal(access_key_load(settings.access_log.key_file, key, &why), STATUS_OK);
	access_log_subject(key, &object, ref);
	strbuf_addf(&sql,
		"INSERT INTO homeward.subject_flags (ref, flag, value) VALUES ('%s', 'subject.restricted', '%s')", ref,
		value);
	script(sql.data);
	strbuf_release(&sql);
	strbuf_release(&why);
}

static int setup_with_flags(void **state)
{
	struct strbuf why = STRBUF_INIT;
	struct policy *policy = NULL;

	snprintf(key_file, sizeof(key_file), "%s/homeward-key-XXXXXX", scratch_place());
	close(mkstemp(key_file));
	unlink(key_file);
	settings.access_log.key_file = key_file;
	assert_int_equal(policy_parse("p", policy_text, sizeof(policy_text) - 1, &policy, &why), STATUS_OK);
	strbuf_release(&why);
	gate = gate_create(policy, clock_system());
	assert_non_null(gate);
	return setup(state);
}

static int teardown_with_flags(void **state)
{
	int failed = teardown(state);

	gate_destroy(gate);
	gate = NULL;
	unlink(key_file);
	script("TRUNCATE homeward.subject_flags");
	return failed;
}

static void what_is_kept_is_in_records_of_other_systems(void **state)
{
	struct answer answers[5];

	(void)state;
	keep("card", "card-1", "yes");
	keep("card", "card-3", "no");
	keep("tariff", "a/b c", "yes");
	keep("token", "t1", "yes");
	keep("unversioned", "card-1", "yes");
	fetch(&answers[0], "card", "card-1", PATIENCE_MS);
	fetch(&answers[1], "card", "card-2", PATIENCE_MS);
	fetch(&answers[2], "card", "card-3", PATIENCE_MS);
	fetch(&answers[3], "token", "t1", PATIENCE_MS); /* of the store: its record says it */
	fetch(&answers[4], "unversioned", "card-1", PATIENCE_MS);
	run();
	assert_string_equal(answers[0].flag, "yes");
	assert_int_equal(answers[0].number, 1);
	assert_int_equal(answers[0].version, 1);
	assert_string_equal(answers[1].flag, "");
	assert_int_equal(answers[1].number, 2);
	assert_string_equal(answers[2].flag, "no");
	assert_string_equal(answers[3].flag, "");
	assert_string_equal(answers[4].flag, "");
	for (int i = 0; i < 5; i++) {
		assert_int_equal(answers[i].status, STATUS_OK);
		assert_int_equal(answers[i].calls, 1);
	}
	answers[0] = fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":4}");
	assert_int_equal(answers[0].status, STATUS_OK);
	assert_int_equal(answers[0].number, 4);
	assert_string_equal(answers[0].flag, "yes");
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 404, "").status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 503, "").status, STATUS_UNREACHABLE);
}

static void a_record_whose_flags_cannot_be_read_is_not_answered(void **state)
{
	struct answer answer;

	(void)state;
	script("ALTER TABLE homeward.subject_flags RENAME TO elsewhere");
	fetch(&answer, "card", "card-1", PATIENCE_MS);
	run();
	assert_int_not_equal(answer.status, STATUS_OK);
	assert_int_not_equal(answer.status, STATUS_NOT_AVAILABLE);
	answer = fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":4}");
	assert_int_not_equal(answer.status, STATUS_OK);
	fetch(&answer, "unversioned", "card-1", PATIENCE_MS);
	run();
	assert_int_equal(answer.status, STATUS_OK); /* it has none */
	script("ALTER TABLE homeward.elsewhere RENAME TO subject_flags");
}

static void destruction_ends_what_waits_for_flags(void **state)
{
	struct answer sent, unsent;

	(void)state;
	test_postgres_signal(server, SIGSTOP);
	fetch(&sent, "card", "card-1", 20);
	run(); /* to its deadline; both queries are still under way */
	assert_int_equal(sent.status, STATUS_DEADLINE);
	fetch(&unsent, "card", "card-2", PATIENCE_MS);
	handlers_destroy(bench.handlers);
	bench.handlers = NULL;
	assert_int_equal(unsent.status, STATUS_DRAINING);
	assert_int_equal(unsent.calls, 1);
	test_postgres_signal(server, SIGCONT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_is_kept_is_in_records_of_other_systems, setup_with_flags, teardown_with_flags),
		cmocka_unit_test_setup_teardown(
			a_record_whose_flags_cannot_be_read_is_not_answered, setup_with_flags, teardown_with_flags),
		cmocka_unit_test_setup_teardown(
			destruction_ends_what_waits_for_flags, setup_with_flags, teardown_with_flags),
	};

	return cmocka_run_group_tests(tests, start_server, free_types);
}

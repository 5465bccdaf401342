/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers `store` and `sql` against a real PostgreSQL: joining, duplicates, many
 * ids, bad queries, deadlines, and every condition of a write.  Handler `http`
 * against a client that is a fake of this file.
 */
#include "tests/unit/support/handlers_bench.h"

#define MANY 1700 /* four queries' worth of ids */

/* ---- fetching ---- */

static void a_round_is_answered_each_for_its_own(void **state)
{
	struct answer answers[6];

	(void)state;
	fetch(&answers[0], "token", "t1", PATIENCE_MS);
	fetch(&answers[1], "token", "none", PATIENCE_MS);
	fetch(&answers[2], "token", "t7", PATIENCE_MS);
	fetch(&answers[3], "token", "t1", PATIENCE_MS);
	fetch(&answers[4], "token", "odd \"x\\y\", {z}", PATIENCE_MS);
	fetch(&answers[5], "unheard-of", "t1", PATIENCE_MS);
	run();
	assert_int_equal(answers[0].status, STATUS_OK);
	assert_int_equal(answers[0].number, 1);
	assert_int_equal(answers[0].version, 2);
	assert_int_equal(answers[1].status, STATUS_NOT_AVAILABLE);
	assert_int_equal(answers[2].number, 7);
	assert_int_equal(answers[3].number, 1);
	assert_int_equal(answers[4].number, 77);
	assert_int_equal(answers[5].status, STATUS_NOT_AVAILABLE);
	for (int i = 0; i < 6; i++)
		assert_int_equal(answers[i].calls, 1);
}

static void more_ids_than_a_query_holds(void **state)
{
	struct answer *answers = calloc(MANY, sizeof(*answers));
	char id[32];

	(void)state;
	assert_non_null(answers);
	for (int round = 0; round < 2; round++) { /* the second uses what the first left behind */
		for (int i = 0; i < MANY; i++) {
			snprintf(id, sizeof(id), "t%d", i);
			fetch(&answers[i], "token", id, PATIENCE_MS);
		}
		run();
		for (int i = 0; i < MANY; i++) {
			assert_int_equal(answers[i].calls, 1);
			assert_int_equal(answers[i].number, i);
		}
	}
	free(answers);
}

static void operators_query_serves_a_type(void **state)
{
	struct answer answers[3];

	(void)state;
	fetch(&answers[0], "card", "card-3", PATIENCE_MS);
	fetch(&answers[1], "card", "card-99", PATIENCE_MS);
	fetch(&answers[2], "unversioned", "card-3", PATIENCE_MS);
	run();
	assert_int_equal(answers[0].number, 3);
	assert_int_equal(answers[0].version, 3);
	assert_int_equal(answers[1].status, STATUS_NOT_AVAILABLE);
	assert_int_equal(answers[2].number, 5);
	assert_int_equal(answers[2].version, 1);
}

static void unusable_query_is_an_error_and_not_absence(void **state)
{
	struct answer answers[2];

	(void)state;
	fetch(&answers[0], "nameless", "card-3", PATIENCE_MS);
	fetch(&answers[1], "scalar", "card-3", PATIENCE_MS);
	run();
	assert_int_equal(answers[0].status, STATUS_INTERNAL);
	assert_int_equal(answers[1].status, STATUS_INTERNAL);
}

static void hurried_fetch_ends_alone(void **state)
{
	struct answer hurried, patient;

	(void)state;
	test_postgres_signal(server, SIGSTOP);
	fetch(&patient, "token", "t1", PATIENCE_MS);
	fetch(&hurried, "token", "t2", 30);
	bench.wanted--; /* wait for the first end only */
	run();
	assert_int_equal(hurried.status, STATUS_DEADLINE);
	assert_int_equal(patient.calls, 0);
	test_postgres_signal(server, SIGCONT);
	bench.wanted = 1;
	run();
	assert_int_equal(patient.status, STATUS_OK); /* on the same connection */
	assert_int_equal(hurried.calls, 1);
}

static void destruction_ends_what_waits(void **state)
{
	struct answer sent, unsent;

	(void)state;
	test_postgres_signal(server, SIGSTOP);
	fetch(&sent, "token", "t1", 20);
	run(); /* to its deadline; the query is still under way */
	fetch(&unsent, "token", "t2", PATIENCE_MS);
	handlers_destroy(bench.handlers);
	bench.handlers = NULL;
	assert_int_equal(unsent.status, STATUS_DRAINING);
	test_postgres_signal(server, SIGCONT);
}

/* ---- http ---- */

static void service_answers_are_told_apart(void **state)
{
	struct answer answer = fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":4}");
	uint64_t version = answer.version;

	(void)state;
	assert_string_equal(wire.url, "http://127.0.0.1:9/tariffs/a%2Fb%20c?full=1");
	assert_int_equal(answer.status, STATUS_OK);
	assert_int_equal(answer.number, 4);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":4}").version, version);
	assert_int_not_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":5}").version, version);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 404, "{}").status, STATUS_NOT_AVAILABLE);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "[1]").status, STATUS_BAD_PEER);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "oops").status, STATUS_BAD_PEER);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 302, "").status, STATUS_BAD_PEER);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 503, "").status, STATUS_UNREACHABLE);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_CONNECTION_REFUSED, 0, "").status, STATUS_UNREACHABLE);
	assert_int_equal(fetch_tariff(HTTP_CLIENT_RESPONSE_TIMEOUT, 0, "").status, STATUS_DEADLINE);
	wire.refusal = STATUS_OVERLOADED;
	assert_int_equal(fetch_tariff(HTTP_CLIENT_OK, 200, "{}").status, STATUS_OVERLOADED);
	wire.refusal = STATUS_OK;
}

static uint64_t version_under(const char *etag)
{
	struct answer answer;

	wire.etag = etag;
	answer = fetch_tariff(HTTP_CLIENT_OK, 200, "{\"n\":4}");
	wire.etag = NULL;
	assert_int_equal(answer.status, STATUS_OK);
	return answer.version;
}

static void a_counting_services_version_is_the_records(void **state)
{
	uint64_t made = version_under(NULL);

	(void)state;
	assert_string_equal(wire.wanted_header, "ETag");
	assert_int_equal(version_under("\"7\""), 7);
	assert_int_equal(version_under("W/\"12\""), 12);
	assert_int_equal(version_under("\"9007199254740992\""), 9007199254740992);
	assert_int_equal(version_under("\"9007199254740993\""), made);
	assert_int_equal(version_under("\"99999999999999999999999999\""), made);
	assert_int_equal(version_under("\"7"), made);
	assert_int_equal(version_under("7"), made);
	assert_int_equal(version_under("\"7a\""), made);
	assert_int_equal(version_under("\"\""), made);
	assert_int_equal(version_under("\"0\""), made);
	assert_int_equal(version_under("W/"), made);
	assert_int_equal(version_under(""), made);
}

/* ---- writing ---- */

static void written(void *arg, enum status status, uint64_t version, bool was_created)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->status = status;
	answer->version = version;
	answer->was_created = was_created;
	one_less();
}

/* number < 0 deletes. */
static struct answer write_one(
	const char *type, const char *id, int number, enum write_condition condition, uint64_t version)
{
	struct object_id object = object_of(type, id);
	json_t *content = number >= 0 ? json_pack("{s:i}", "n", number) : NULL;
	struct answer answer = { .status = STATUS_COUNT };

	bench.wanted++;
	handlers_write(bench.handlers, &object, content, condition, version, 0, written, &answer);
	assert_int_equal(answer.calls, 0);
	json_decref(content);
	run();
	assert_int_equal(answer.calls, 1);
	return answer;
}

static void writes_hold_their_conditions(void **state)
{
	struct answer answer = write_one("token", "w", 1, WRITE_IF_ABSENT, 0);

	(void)state;
	assert_int_equal(answer.status, STATUS_OK);
	assert_true(answer.was_created);
	assert_int_equal(answer.version, 1);
	assert_int_equal(write_one("token", "w", 2, WRITE_IF_ABSENT, 0).status, STATUS_PRECONDITION_FAILED);
	assert_int_equal(write_one("token", "w", 2, WRITE_IF_VERSION, 9).status, STATUS_PRECONDITION_FAILED);
	assert_int_equal(write_one("token", "no", 2, WRITE_IF_VERSION, 1).status, STATUS_PRECONDITION_FAILED);
	assert_int_equal(write_one("token", "w", 2, WRITE_IF_VERSION, UINT64_MAX).status, STATUS_PRECONDITION_FAILED);

	answer = write_one("token", "w", 2, WRITE_IF_VERSION, 1);
	assert_int_equal(answer.status, STATUS_OK);
	assert_false(answer.was_created);
	assert_int_equal(answer.version, 2);
	answer = write_one("token", "w", 3, WRITE_ALWAYS, 0);
	assert_int_equal(answer.version, 3);
	assert_false(answer.was_created);
	answer = write_one("token", "w2", 4, WRITE_ALWAYS, 0);
	assert_int_equal(answer.version, 1);
	assert_true(answer.was_created);

	fetch(&answer, "token", "w", PATIENCE_MS);
	run();
	assert_int_equal(answer.number, 3);
	assert_int_equal(answer.version, 3);
}

static void deletes_hold_their_conditions(void **state)
{
	(void)state;
	assert_int_equal(write_one("token", "d", 1, WRITE_ALWAYS, 0).status, STATUS_OK);
	assert_int_equal(write_one("token", "d", -1, WRITE_IF_VERSION, 2).status, STATUS_PRECONDITION_FAILED);
	assert_int_equal(write_one("token", "d", -1, WRITE_IF_ABSENT, 0).status, STATUS_INVALID);
	assert_int_equal(write_one("token", "d", -1, WRITE_IF_VERSION, 1).status, STATUS_OK);
	assert_int_equal(write_one("token", "d", -1, WRITE_IF_VERSION, 1).status, STATUS_NOT_AVAILABLE);
	assert_int_equal(write_one("token", "d", -1, WRITE_ALWAYS, 0).status, STATUS_NOT_AVAILABLE);
	assert_int_equal(write_one("token", "d", 1, WRITE_ALWAYS, 0).status, STATUS_OK);
	assert_int_equal(write_one("token", "d", -1, WRITE_ALWAYS, 0).status, STATUS_OK);
}

static void only_stored_types_can_be_written(void **state)
{
	(void)state;
	assert_int_equal(write_one("card", "card-3", 1, WRITE_ALWAYS, 0).status, STATUS_FORBIDDEN);
	assert_int_equal(write_one("unheard-of", "x", 1, WRITE_ALWAYS, 0).status, STATUS_FORBIDDEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_round_is_answered_each_for_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(more_ids_than_a_query_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(operators_query_serves_a_type, setup, teardown),
		cmocka_unit_test_setup_teardown(unusable_query_is_an_error_and_not_absence, setup, teardown),
		cmocka_unit_test_setup_teardown(hurried_fetch_ends_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(destruction_ends_what_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(service_answers_are_told_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(a_counting_services_version_is_the_records, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_hold_their_conditions, setup, teardown),
		cmocka_unit_test_setup_teardown(deletes_hold_their_conditions, setup, teardown),
		cmocka_unit_test_setup_teardown(only_stored_types_can_be_written, setup, teardown),
	};

	return cmocka_run_group_tests(tests, start_server, free_types);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access log with a real writer and a real PostgreSQL: what is released is on
 * record, what cannot be recorded is not released, and every question ends once.
 */
#include "tests/unit/support/access_bench.h"

static void a_permitted_lookup_is_released_and_on_record(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct outcome outcome = { 0 };
	uint8_t hashed[LOOKUP_NONCE_SIZE + 128], digest[SHA256_SIZE];
	struct found *found;
	struct entry *entry;

	serve(bench, policy, &question, &outcome);
	run(bench);
	assert_int_equal(outcome.status, STATUS_OK);
	assert_true(outcome.covers);
	assert_string_equal(outcome.view, "{\"uid\":\"04\",\"valid\":true}");
	found = read_log(bench);
	assert_int_equal(found->count, 1);
	entry = &found->entries[0];
	assert_int_equal(entry->kind, ENTRY_SERVE);
	assert_memory_equal(&entry->exchange, &question.exchange, sizeof(question.exchange));
	assert_true(llabs(entry->at_us - clock_wall_us(clock_system())) < INT64_C(60000000));
	assert_string_equal(entry->me, "eu");
	assert_string_equal(entry->peer, "na");
	assert_string_equal(entry->type, "token");
	assert_int_equal(strncmp(entry->subject, "p1.", 3), 0);
	assert_string_equal(entry->operation, "serve");
	assert_string_equal(entry->purpose, "charge.authorize");
	assert_string_equal(entry->caller, "csms");
	assert_string_equal(entry->decision, "permit");
	assert_string_equal(entry->rules, "A1");
	assert_string_equal(entry->policy, policy_version(policy));
	assert_string_equal(entry->fields, "uid,valid");
	assert_true(entry->ttl_s == 900);
	/* The entry vouches for the very text that was released. */
	memcpy(hashed, outcome.nonce, LOOKUP_NONCE_SIZE);
	memcpy(hashed + LOOKUP_NONCE_SIZE, outcome.view, strlen(outcome.view));
	hash_sha256(hashed, LOOKUP_NONCE_SIZE + strlen(outcome.view), digest);
	assert_true(entry->has_record_hash);
	assert_memory_equal(entry->record_hash, digest, sizeof(digest));
	free(found);
}

static void a_denied_lookup_is_on_record_and_not_released(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "analytics", NORMAL_MS);
	struct outcome forbidden = { 0 }, without_policy = { 0 };
	struct found *found;

	serve(bench, policy, &question, &forbidden);
	serve(bench, NULL, &question, &without_policy);
	run(bench);
	assert_int_equal(forbidden.status, STATUS_NOT_AVAILABLE);
	assert_int_equal(without_policy.status, STATUS_NOT_AVAILABLE);
	/* No key is made for what may be a guess. */
	assert_int_equal(count("SELECT count(*) FROM homeward.subject_keys"), 0);
	assert_int_equal(count("SELECT count(*) FROM homeward.grants"), 0);
	found = read_log(bench);
	assert_int_equal(found->count, 2);
	for (int i = 0; i < 2; i++) {
		const struct entry *entry = &found->entries[i];
		bool has_policy = strcmp(entry->policy, "none") != 0;

		assert_int_equal(entry->kind, ENTRY_DENY);
		assert_string_equal(entry->operation, "serve");
		assert_string_equal(entry->decision, "deny");
		assert_string_equal(entry->fields, "");
		assert_string_equal(entry->rules, has_policy ? "F1" : "");
		assert_false(entry->has_record_hash);
		assert_int_equal(strncmp(entry->subject, "u1.1.", 5), 0);
	}
	assert_string_not_equal(found->entries[0].policy, found->entries[1].policy);
	free(found);
}

static void got(
	struct bench *bench, const struct lookup_question *question, enum status answer, struct outcome *outcome)
{
	static const uint8_t nonce[LOOKUP_NONCE_SIZE] = { 1 };
	const struct access_got what = { .question = question,
		.peer = "na",
		.answer = answer,
		.fields = "uid,valid \"{}\\",
		.ttl_s = 60,
		.peer_policy_version = "3:abc",
		.policy = policy,
		.record = "{}",
		.record_length = 2,
		.nonce = answer == STATUS_OK ? nonce : NULL };

	outcome->bench = bench;
	outcome->calls = 0;
	bench->wanted++;
	access_log_got(bench->log, &what, on_got, outcome);
	assert_int_equal(outcome->calls, 0);
	run(bench);
	assert_int_equal(outcome->status, STATUS_OK);
}

static void what_came_back_is_on_record(void **state)
{
	static const uint8_t hashed[LOOKUP_NONCE_SIZE + 2] = { 1, [LOOKUP_NONCE_SIZE] = '{', '}' };
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct lookup_question unknown = question_of(bench, "04FF", "charge.authorize", NORMAL_MS);
	struct outcome outcome = { 0 }, check = { 0 };
	uint8_t digest[SHA256_SIZE];
	struct found *found;

	got(bench, &unknown, STATUS_NOT_AVAILABLE, &outcome);
	got(bench, &question, STATUS_OK, &outcome);
	/* The key that follows a record is made while nobody waits; who asks for it now does. */
	bench->wanted++;
	check.bench = bench;
	grant_check(bench->log, &question.object, "na", question.deadline_ms, on_grant, &check);
	run(bench);
	got(bench, &question, STATUS_OK, &outcome);
	assert_int_equal(count("SELECT count(*) FROM homeward.subject_keys"), 1);
	found = read_log(bench);
	assert_int_equal(found->kinds[ENTRY_GOT], found->count);
	assert_string_equal(found->entries[0].outcome, "not_available");
	assert_false(found->entries[0].has_record_hash);
	assert_string_equal(found->entries[1].operation, "ask");
	assert_string_equal(found->entries[1].decision, "");
	assert_string_equal(found->entries[1].outcome, "ok");
	assert_string_equal(found->entries[1].fields, "uid,valid \"{}\\");
	assert_string_equal(found->entries[1].policy, "3:abc");
	assert_true(found->entries[1].ttl_s == 60);
	hash_sha256(hashed, sizeof(hashed), digest);
	assert_true(found->entries[1].has_record_hash);
	assert_memory_equal(found->entries[1].record_hash, digest, sizeof(digest));
	assert_int_equal(strncmp(found->entries[1].subject, "u1.", 3), 0);
	assert_int_equal(found->with_own_key, 1);
	free(found);
}

static void await_grants(struct bench *bench, long wanted)
{
	/* They are opened beside the entry: another entry's round trip of the loop lets the answer in. */
	while (count("SELECT count(*) FROM homeward.grants WHERE expires_at > now() + interval '23 hours'") != wanted) {
		loop_timer_start(&bench->poll, 1);
		run(bench);
	}
}

static void a_permitted_authorization_opens_a_grant(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct lookup_question other = question_of(bench, "04FF", "charge.authorize", NORMAL_MS);
	struct outcome outcomes[3] = { 0 }, checks[3] = { { .bench = bench }, { .bench = bench }, { .bench = bench } };
	char first[256], second[256];

	/* The same subject twice in one round. */
	serve(bench, policy, &question, &outcomes[0]);
	serve(bench, policy, &question, &outcomes[1]);
	run(bench);
	assert_int_equal(outcomes[1].status, STATUS_OK);
	await_grants(bench, 1);
	query("SELECT expires_at FROM homeward.grants", first);
	bench->wanted = 3;
	grant_check(bench->log, &question.object, "na", question.deadline_ms, on_grant, &checks[0]);
	grant_check(bench->log, &question.object, "ap", question.deadline_ms, on_grant, &checks[1]);
	grant_check(bench->log, &other.object, "na", question.deadline_ms, on_grant, &checks[2]);
	assert_int_equal(checks[0].calls, 0);
	run(bench);
	for (int i = 0; i < 3; i++)
		assert_int_equal(checks[i].status, STATUS_OK);
	assert_true(checks[0].is_open && !checks[1].is_open && !checks[2].is_open);
	/* A young grant is left as it is. */
	serve(bench, policy, &question, &outcomes[2]);
	run(bench);
	close_log(bench);
	query("SELECT expires_at FROM homeward.grants", second);
	assert_string_equal(first, second);
}

static void many_are_each_on_record_once(void **state)
{
	struct bench *bench = *state;
	struct lookup_question *questions = calloc(MANY, sizeof(*questions));
	struct outcome *outcomes = calloc(MANY, sizeof(*outcomes));
	struct found *found;

	for (int i = 0; i < MANY; i++) {
		char id[32];

		snprintf(id, sizeof(id), "04%06d", i % (MANY / 3));
		questions[i] = question_of(bench, id, i % 5 == 0 ? "analytics" : "charge.authorize", NORMAL_MS);
		snprintf(questions[i].caller, sizeof(questions[i].caller), "caller-%d", i % CALLERS);
		serve(bench, policy, &questions[i], &outcomes[i]);
	}
	run(bench);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(outcomes[i].calls, 1);
		assert_int_equal(outcomes[i].status, i % 5 == 0 ? STATUS_NOT_AVAILABLE : STATUS_OK);
	}
	found = read_log(bench);
	assert_int_equal(found->count, MANY);
	assert_int_equal(found->caller_count, CALLERS);
	assert_int_equal(found->kinds[ENTRY_DENY], MANY / 5);
	assert_int_equal(found->kinds[ENTRY_SERVE], MANY - MANY / 5);
	free(found);
	free(questions);
	free(outcomes);
}

static void a_database_that_hangs_holds_up_grants_and_nothing_else(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct lookup_question late = question_of(bench, "04A2", "charge.authorize", 0);
	struct lookup_question hurried = question_of(bench, "04A2", "charge.authorize", STOPPED_MS);
	struct outcome outcomes[2] = { 0 }, check = { .bench = bench };
	struct found *found;

	test_postgres_signal(server, SIGSTOP);
	serve(bench, policy, &question, &outcomes[0]);
	serve(bench, policy, &late, &outcomes[1]);
	bench->wanted++;
	grant_check(bench->log, &hurried.object, "na", hurried.deadline_ms, on_grant, &check);
	run(bench);
	assert_int_equal(outcomes[0].status, STATUS_OK);
	assert_int_equal(outcomes[1].status, STATUS_DEADLINE);
	assert_int_equal(check.status, STATUS_DEADLINE);
	assert_false(check.is_open);
	test_postgres_signal(server, SIGCONT);
	found = read_log(bench);
	assert_int_equal(found->count, 1);
	assert_int_equal(found->with_own_key, 0);
	free(found);
}

static void nothing_personal_is_released_while_the_log_cannot_be_written(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct lookup_question denied = question_of(bench, "04A2", "analytics", NORMAL_MS);
	struct lookup_question station = question_of(bench, "S1", "charge.authorize", NORMAL_MS);
	struct outcome before = { 0 }, refused[3] = { 0 }, open = { 0 }, after = { 0 };
	struct found *found;

	snprintf(station.object.type, sizeof(station.object.type), "station");
	serve(bench, policy, &question, &before);
	run(bench);
	assert_int_equal(before.status, STATUS_OK);
	atomic_store(&bench->is_full, true);
	serve(bench, policy, &question, &refused[0]);
	run(bench);
	serve(bench, policy, &question, &refused[1]);
	serve(bench, policy, &denied, &refused[2]);
	serve(bench, policy, &station, &open);
	run(bench);
	for (int i = 0; i < 3; i++)
		assert_int_equal(refused[i].status, STATUS_UNRECORDED);
	assert_int_equal(open.status, STATUS_OK);
	assert_int_equal(atomic_load(&bench->unrecorded), 1);
	atomic_store(&bench->is_full, false);
	do {
		after.calls = 0;
		serve(bench, policy, &question, &after);
		run(bench);
	} while (after.status == STATUS_UNRECORDED);
	assert_int_equal(after.status, STATUS_OK);
	assert_int_equal(access_log_note(bench->writer, "eu",
				 &(const struct access_note){ .kind = ENTRY_GAP, .text = "told", .count = 1 },
				 clock_monotonic_ms(clock_system()) + NORMAL_MS),
		STATUS_OK);
	found = read_log(bench);
	assert_int_equal(found->kinds[ENTRY_SERVE], 2);
	assert_int_equal(found->kinds[ENTRY_GAP], 1);
	assert_int_equal(found->count, 3);
	assert_true(found->entries[2].count == 1);
	assert_string_equal(found->entries[2].message, "told");
	free(found);
}

static void ending_the_log_ends_what_waits(void **state)
{
	struct bench *bench = *state;
	struct lookup_question question = question_of(bench, "04A2", "charge.authorize", NORMAL_MS);
	struct outcome outcome = { 0 }, check = { .bench = bench };

	serve(bench, policy, &question, &outcome);
	bench->wanted++;
	grant_check(bench->log, &question.object, "na", question.deadline_ms, on_grant, &check);
	database_destroy(bench->database);
	bench->database = NULL;
	access_log_destroy(bench->log);
	bench->log = NULL;
	assert_int_equal(outcome.status, STATUS_DRAINING);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(check.status, STATUS_DRAINING);
}

static void a_log_may_end_before_its_database(void **state)
{
	struct bench *bench = *state;
	struct outcome *outcomes = calloc(MANY, sizeof(*outcomes));
	struct lookup_question *questions = calloc(MANY, sizeof(*questions));

	for (int i = 0; i < MANY; i++) {
		char id[32];

		snprintf(id, sizeof(id), "05%06d", i);
		questions[i] = question_of(bench, id, "charge.authorize", NORMAL_MS);
		serve(bench, policy, &questions[i], &outcomes[i]);
	}
	/* With keys and entries under way. */
	bench->wanted_break = MANY / 2;
	run(bench);
	access_log_destroy(bench->log);
	bench->log = NULL;
	for (int i = 0; i < MANY; i++)
		assert_int_equal(outcomes[i].calls, 1);
	database_destroy(bench->database);
	bench->database = NULL;
	for (int i = 0; i < MANY; i++)
		assert_int_equal(outcomes[i].calls, 1);
	free(outcomes);
	free(questions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_permitted_lookup_is_released_and_on_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_denied_lookup_is_on_record_and_not_released, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_came_back_is_on_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_permitted_authorization_opens_a_grant, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_are_each_on_record_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_database_that_hangs_holds_up_grants_and_nothing_else, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			nothing_personal_is_released_while_the_log_cannot_be_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ending_the_log_ends_what_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_log_may_end_before_its_database, set_up, tear_down),
	};
	struct strbuf why = STRBUF_INIT;
	int failed;

	server = test_postgres_start();
	test_postgres_migrate(server);
	if (policy_parse("policy", policy_text, sizeof(policy_text) - 1, &policy, &why) != STATUS_OK) {
		fprintf(stderr, "%s\n", why.data);
		return 1;
	}
	strbuf_release(&why);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	policy_release_reference(policy);
	return failed;
}

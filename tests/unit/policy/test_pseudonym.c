/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pseudonyms against a real PostgreSQL, and the keyring they hang on: one key a
 * subject, made only when wished, and nothing to be recognised by once it is gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "policy/pseudonym.h"
#include "tests/unit/support/postgres.h"
#include "tests/unit/support/scratch.h"

#define PATIENCE_MS 30000
#define MANY 1500
#define DAY_S INT64_C(86400)

static const uint8_t region_key[32] = { 1, 2, 3 };
static struct test_postgres *server;

/* ---- the keyring ---- */

struct ring_bench {
	char folder[32], path[64];
	struct fake_clock clock;
	struct keyring_settings settings;
};

static void open_bench(struct ring_bench *bench)
{
	snprintf(bench->folder, sizeof(bench->folder), "%s/homeward-ring-XXXXXX", scratch_place());
	assert_non_null(mkdtemp(bench->folder));
	snprintf(bench->path, sizeof(bench->path), "%s/subjects.key", bench->folder);
	fake_clock_init(&bench->clock, 1000);
	bench->settings = (struct keyring_settings){ bench->path, 30 * DAY_S, 60 * DAY_S };
}

static void close_bench(struct ring_bench *bench)
{
	unlink(bench->path);
	rmdir(bench->folder);
}

static void a_keyring_is_made_once_for_its_owner_only(void **state)
{
	struct strbuf why = STRBUF_INIT;
	struct keyring *keyring = NULL, *again = NULL;
	uint8_t first[32], second[32];
	struct ring_bench bench;
	uint32_t epoch;
	struct stat facts;

	(void)state;
	open_bench(&bench);
	assert_int_equal(keyring_read(bench.path, &again, &why), STATUS_NOT_FOUND);
	assert_int_equal(keyring_open(&bench.settings, &bench.clock.source, &keyring, &why), STATUS_OK);
	assert_int_equal(stat(bench.path, &facts), 0);
	assert_int_equal(facts.st_mode & 0777, 0600);
	keyring_epoch(keyring, &epoch, first);
	assert_int_equal(epoch, 1);
	assert_int_equal(keyring_read(bench.path, &again, &why), STATUS_OK);
	keyring_epoch(again, &epoch, second);
	assert_memory_equal(first, second, 32);
	keyring_destroy(again);
	keyring_destroy(keyring);
	assert_int_equal(chmod(bench.path, 0644), 0);
	assert_int_not_equal(keyring_open(&bench.settings, &bench.clock.source, &keyring, &why), STATUS_OK);
	assert_int_equal(file_replace(bench.path, "{\"masters\":[],\"epochs\":[]}", 26, 0600, &why), STATUS_OK);
	assert_int_equal(keyring_open(&bench.settings, &bench.clock.source, &keyring, &why), STATUS_INVALID);
	strbuf_release(&why);
	close_bench(&bench);
}

static void a_wrapped_key_opens_in_its_own_row_only(void **state)
{
	struct strbuf why = STRBUF_INIT;
	uint8_t wrapped[KEYRING_WRAPPED_SIZE], again[KEYRING_WRAPPED_SIZE], key[32], back[32];
	struct keyring *keyring = NULL;
	struct ring_bench bench;

	(void)state;
	open_bench(&bench);
	assert_int_equal(keyring_open(&bench.settings, &bench.clock.source, &keyring, &why), STATUS_OK);
	memset(key, 7, sizeof(key));
	assert_true(keyring_wrap(keyring, "k1.a", key, wrapped));
	assert_true(keyring_wrap(keyring, "k1.a", key, again));
	assert_memory_not_equal(wrapped, again, sizeof(wrapped));
	assert_true(keyring_unwrap(keyring, "k1.a", wrapped, sizeof(wrapped), back));
	assert_memory_equal(key, back, sizeof(key));
	assert_false(keyring_unwrap(keyring, "k1.b", wrapped, sizeof(wrapped), back));
	assert_false(keyring_unwrap(keyring, "k1.a", wrapped, sizeof(wrapped) - 1, back));
	for (size_t i = 0; i < sizeof(wrapped); i++) {
		wrapped[i] ^= 1;
		assert_false(keyring_unwrap(keyring, "k1.a", wrapped, sizeof(wrapped), back));
		wrapped[i] ^= 1;
	}
	keyring_destroy(keyring);
	strbuf_release(&why);
	close_bench(&bench);
}

static void a_new_master_wraps_and_the_earlier_opens_until_it_is_dropped(void **state)
{
	struct ring_bench bench;
	struct keyring *keyring = NULL, *read = NULL;
	struct strbuf why = STRBUF_INIT;
	uint8_t key[KEYRING_KEY_SIZE] = "a key of thirty-two bytes or so", back[KEYRING_KEY_SIZE];
	uint8_t early[KEYRING_WRAPPED_SIZE], late[KEYRING_WRAPPED_SIZE];
	uint32_t master = 0;
	(void)state;

	open_bench(&bench);
	assert_int_equal(keyring_open(&bench.settings, &bench.clock.source, &keyring, &why), STATUS_OK);
	assert_true(keyring_wrap(keyring, "k1.a", key, early));
	assert_int_equal(keyring_masters(keyring, &master), 1);
	assert_int_equal(master, 1);
	assert_int_equal(keyring_add_master(keyring, &why), STATUS_OK);
	assert_int_equal(keyring_add_master(keyring, &why), STATUS_CONFLICT);
	assert_int_equal(keyring_masters(keyring, &master), 2);
	assert_int_equal(master, 2);
	assert_true(keyring_wrap(keyring, "k1.a", key, late));
	assert_int_equal(late[KEYRING_MASTER_AT + 3], 2);
	assert_true(keyring_unwrap(keyring, "k1.a", early, sizeof(early), back));
	assert_memory_equal(back, key, sizeof(key));
	/* The file has both, whoever opens it next. */
	assert_int_equal(keyring_read(bench.path, &read, &why), STATUS_OK);
	assert_int_equal(keyring_masters(read, &master), 2);
	assert_true(keyring_unwrap(read, "k1.a", late, sizeof(late), back));
	keyring_destroy(read);
	assert_int_equal(keyring_drop_masters(keyring, &why), STATUS_OK);
	assert_int_equal(keyring_masters(keyring, &master), 1);
	assert_false(keyring_unwrap(keyring, "k1.a", early, sizeof(early), back));
	assert_true(keyring_unwrap(keyring, "k1.a", late, sizeof(late), back));
	assert_int_equal(keyring_read(bench.path, &read, &why), STATUS_OK);
	assert_false(keyring_unwrap(read, "k1.a", early, sizeof(early), back));
	keyring_destroy(read);
	/* One that cannot be written is not used. */
	assert_int_equal(remove(bench.path), 0);
	assert_int_equal(mkdir(bench.path, 0700), 0);
	assert_int_not_equal(keyring_add_master(keyring, &why), STATUS_OK);
	assert_int_equal(keyring_masters(keyring, &master), 1);
	assert_int_equal(rmdir(bench.path), 0);
	keyring_destroy(keyring);
	strbuf_release(&why);
	close_bench(&bench);
}

static void epochs_turn_and_old_keys_are_destroyed(void **state)
{
	struct strbuf why = STRBUF_INIT;
	struct keyring *keyring = NULL, *read = NULL;
	struct ring_bench bench;
	uint64_t generation;
	uint8_t key[32];
	uint32_t epoch;

	(void)state;
	open_bench(&bench);
	assert_int_equal(keyring_open(&bench.settings, &bench.clock.source, &keyring, &why), STATUS_OK);
	generation = keyring_generation(keyring);
	fake_clock_advance_ms(&bench.clock, 30 * DAY_S * 1000 - 1000);
	assert_int_equal(keyring_tend(keyring, &why), STATUS_OK);
	assert_true(keyring_generation(keyring) == generation);
	fake_clock_advance_ms(&bench.clock, 1000);
	assert_int_equal(keyring_tend(keyring, &why), STATUS_OK);
	assert_true(keyring_generation(keyring) != generation);
	keyring_epoch(keyring, &epoch, key);
	assert_int_equal(epoch, 2);
	assert_true(keyring_epoch_at(keyring, 1, &epoch, key));
	assert_int_equal(epoch, 1);
	for (int turn = 0; turn < 2; turn++) {
		fake_clock_advance_ms(&bench.clock, 30 * DAY_S * 1000);
		assert_int_equal(keyring_tend(keyring, &why), STATUS_OK);
	}
	/* 60 days after its end the first is gone, from the file too. */
	assert_int_equal(keyring_read(bench.path, &read, &why), STATUS_OK);
	assert_true(keyring_epoch_at(read, 2, &epoch, key));
	assert_int_equal(epoch, 2);
	assert_false(keyring_epoch_at(read, 3, &epoch, key));
	keyring_destroy(read);
	keyring_destroy(keyring);
	strbuf_release(&why);
	close_bench(&bench);
}

static void subjects_are_hmacs_as_documented(void **state)
{
	const struct object_id object = { .type = "token", .id = "04A2" };
	uint8_t key[32] = { 9 }, digest[32];
	struct strbuf expected = STRBUF_INIT;
	char subject[ENTRY_SUBJECT_SIZE];

	(void)state;
	hash_hmac_sha256(key, sizeof(key), "p1\ntoken\n04A2", 13, digest);
	strbuf_adds(&expected, "p1.");
	strbuf_add_hex(&expected, digest, 16);
	pseudonym_write(key, &object, subject);
	assert_string_equal(subject, expected.data);
	strbuf_reset(&expected);
	hash_hmac_sha256(key, sizeof(key), "u1\ntoken\n04A2", 13, digest);
	strbuf_adds(&expected, "u1.12.");
	strbuf_add_hex(&expected, digest, 16);
	pseudonym_write_epoch(key, 12, &object, subject);
	assert_string_equal(subject, expected.data);
	strbuf_release(&expected);
}

/* ---- with a database ---- */

struct bench {
	struct ring_bench ring;
	struct keyring *keyring;
	struct loop *loop;
	struct database *database;
	struct pseudonyms *pseudonyms;
	struct loop_timer patience, poll;
	int wanted;
	bool has_run_out, is_idle;
};

struct asked {
	struct pseudonym_question question; /* first */
	struct bench *bench;
	enum status status;
	int calls;
	char subject[ENTRY_SUBJECT_SIZE];
};

static void on_patience(void *arg)
{
	struct bench *bench = arg;

	bench->has_run_out = true;
	loop_break(bench->loop);
}

static void run(struct bench *bench)
{
	loop_timer_start(&bench->patience, PATIENCE_MS);
	loop_run_here(bench->loop);
	assert_false(bench->has_run_out);
}

static void on_poll(void *arg)
{
	struct bench *bench = arg;

	if (database_is_up(bench->database))
		loop_break(bench->loop);
	else
		loop_timer_start(&bench->poll, 5);
}

static void on_subject(struct pseudonym_question *question, enum status status, const char *subject)
{
	struct asked *asked = (struct asked *)question;

	asked->calls++;
	asked->status = status;
	snprintf(asked->subject, sizeof(asked->subject), "%s", subject);
	if (--asked->bench->wanted == 0)
		loop_break(asked->bench->loop);
}

static void on_idle(void *arg)
{
	((struct bench *)arg)->is_idle = true;
}

static void query(const char *sql, char answer[256])
{
	test_postgres_ask(server, sql, answer, 256);
}

static void make_pseudonyms(struct bench *bench)
{
	const struct pseudonyms_settings settings = { bench->loop, bench->database, bench->keyring, region_key, 4096,
		on_idle, bench };

	assert_int_equal(pseudonyms_create(&settings, &bench->pseudonyms), STATUS_OK);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct database_settings database = { .dsn = test_postgres_dsn(server), .application_name = "test" };
	struct strbuf why = STRBUF_INIT;
	char answer[256];

	query("TRUNCATE homeward.subject_keys", answer);
	open_bench(&bench->ring);
	assert_int_equal(
		keyring_open(&bench->ring.settings, &bench->ring.clock.source, &bench->keyring, &why), STATUS_OK);
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	assert_int_equal(database_create(bench->loop, &database, &bench->database), STATUS_OK);
	make_pseudonyms(bench);
	assert_int_equal(loop_timer_init(bench->loop, &bench->patience, on_patience, bench), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->poll, on_poll, bench), STATUS_OK);
	loop_timer_start(&bench->poll, 0);
	run(bench);
	strbuf_release(&why);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	loop_timer_release(&bench->patience);
	loop_timer_release(&bench->poll);
	pseudonyms_stop(bench->pseudonyms);
	database_destroy(bench->database);
	assert_true(pseudonyms_are_idle(bench->pseudonyms));
	pseudonyms_free(bench->pseudonyms);
	loop_destroy(bench->loop);
	keyring_destroy(bench->keyring);
	close_bench(&bench->ring);
	free(bench);
	return 0;
}

static struct object_id token(int number)
{
	struct object_id object = { .type = "token" };

	snprintf(object.id, sizeof(object.id), "%08X", (unsigned)number);
	return object;
}

static void ask(struct bench *bench, const struct object_id *object, enum pseudonym_wish wish, struct asked *asked)
{
	asked->bench = bench;
	asked->question.done = on_subject;
	bench->wanted++;
	pseudonym_ask(bench->pseudonyms, object, wish, &asked->question);
	assert_int_equal(asked->calls, 0);
}

static void an_id_without_a_key_gets_the_epochs_pseudonym_and_no_key(void **state)
{
	struct bench *bench = *state;
	const struct object_id object = token(1);
	char subject[ENTRY_SUBJECT_SIZE], answer[256];
	struct asked asked = { 0 };

	assert_false(pseudonym_find(bench->pseudonyms, &object, PSEUDONYM_AS_IS, subject));
	ask(bench, &object, PSEUDONYM_AS_IS, &asked);
	run(bench);
	assert_int_equal(asked.status, STATUS_OK);
	assert_int_equal(strncmp(asked.subject, "u1.1.", 5), 0);
	/* And that is remembered. */
	assert_true(pseudonym_find(bench->pseudonyms, &object, PSEUDONYM_AS_IS, subject));
	assert_string_equal(subject, asked.subject);
	assert_false(pseudonym_find(bench->pseudonyms, &object, PSEUDONYM_CREATE, subject));
	query("SELECT count(*) FROM homeward.subject_keys", answer);
	assert_string_equal(answer, "0");
}

static void a_key_is_made_once_and_found_again_by_others(void **state)
{
	struct bench *bench = *state;
	const struct object_id object = token(2);
	struct asked as_is = { 0 }, first = { 0 }, second = { 0 }, third = { 0 };
	char subject[ENTRY_SUBJECT_SIZE], answer[256];

	ask(bench, &object, PSEUDONYM_AS_IS, &as_is);
	run(bench);
	ask(bench, &object, PSEUDONYM_CREATE, &first);
	ask(bench, &object, PSEUDONYM_CREATE, &second);
	run(bench);
	assert_int_equal(strncmp(first.subject, "p1.", 3), 0);
	assert_string_equal(first.subject, second.subject);
	assert_true(pseudonym_find(bench->pseudonyms, &object, PSEUDONYM_CREATE, subject));
	assert_string_equal(subject, first.subject);
	/* Another engine, or this one after a restart. */
	pseudonyms_stop(bench->pseudonyms);
	pseudonyms_free(bench->pseudonyms);
	make_pseudonyms(bench);
	ask(bench, &object, PSEUDONYM_AS_IS, &third);
	run(bench);
	assert_string_equal(third.subject, first.subject);
	query("SELECT count(*) FROM homeward.subject_keys", answer);
	assert_string_equal(answer, "1");
	query("SELECT ref FROM homeward.subject_keys", answer);
	access_log_subject(region_key, &object, subject);
	assert_string_equal(answer, subject);
}

static void once_a_key_is_gone_so_is_its_pseudonym(void **state)
{
	struct bench *bench = *state;
	const struct object_id object = token(3);
	struct asked before = { 0 }, after = { 0 }, anew = { 0 };
	char answer[256];

	ask(bench, &object, PSEUDONYM_CREATE, &before);
	run(bench);
	query("DELETE FROM homeward.subject_keys", answer);
	keyring_subjects_changed(bench->keyring);
	ask(bench, &object, PSEUDONYM_AS_IS, &after);
	run(bench);
	assert_int_equal(strncmp(after.subject, "u1.", 3), 0);
	ask(bench, &object, PSEUDONYM_CREATE, &anew);
	run(bench);
	assert_int_equal(strncmp(anew.subject, "p1.", 3), 0);
	assert_string_not_equal(anew.subject, before.subject);
}

static void many_share_statements_and_each_is_answered_once(void **state)
{
	struct bench *bench = *state;
	struct asked *asked = calloc(MANY, sizeof(*asked));
	char answer[256];

	for (int i = 0; i < MANY; i++) {
		const struct object_id object = token(1000 + i / 2);

		ask(bench, &object, i % 2 == 0 ? PSEUDONYM_CREATE : PSEUDONYM_AS_IS, &asked[i]);
	}
	run(bench);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(asked[i].calls, 1);
		assert_string_equal(asked[i].subject, asked[i / 2 * 2].subject);
		assert_int_equal(strncmp(asked[i].subject, "p1.", 3), 0);
	}
	query("SELECT count(*) FROM homeward.subject_keys", answer);
	assert_int_equal(strtol(answer, NULL, 10), MANY / 2);
	free(asked);
}

static void without_a_database_the_epochs_pseudonym_does(void **state)
{
	struct bench *bench = *state;
	const struct object_id object = token(4);
	struct asked stopped = { 0 }, gone = { 0 };

	test_postgres_signal(server, SIGSTOP);
	ask(bench, &object, PSEUDONYM_CREATE, &stopped);
	run(bench);
	assert_int_equal(stopped.status, STATUS_OK);
	assert_int_equal(strncmp(stopped.subject, "u1.", 3), 0);
	test_postgres_signal(server, SIGCONT);
	test_postgres_kill(server);
	ask(bench, &object, PSEUDONYM_CREATE, &gone);
	run(bench);
	assert_int_equal(strncmp(gone.subject, "u1.", 3), 0);
	test_postgres_restart(server);
}

static void what_waits_ends_when_it_stops(void **state)
{
	struct bench *bench = *state;
	const struct object_id object = token(5);
	struct asked asked = { 0 };

	ask(bench, &object, PSEUDONYM_CREATE, &asked);
	pseudonyms_stop(bench->pseudonyms);
	assert_int_equal(asked.calls, 1);
	assert_int_equal(asked.status, STATUS_DRAINING);
}

#define WITH_DATABASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static int start_server(void **state)
{
	(void)state;
	server = test_postgres_start();
	test_postgres_migrate(server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_keyring_is_made_once_for_its_owner_only),
		cmocka_unit_test(a_wrapped_key_opens_in_its_own_row_only),
		cmocka_unit_test(a_new_master_wraps_and_the_earlier_opens_until_it_is_dropped),
		cmocka_unit_test(epochs_turn_and_old_keys_are_destroyed),
		cmocka_unit_test(subjects_are_hmacs_as_documented),
		WITH_DATABASE(an_id_without_a_key_gets_the_epochs_pseudonym_and_no_key),
		WITH_DATABASE(a_key_is_made_once_and_found_again_by_others),
		WITH_DATABASE(once_a_key_is_gone_so_is_its_pseudonym),
		WITH_DATABASE(many_share_statements_and_each_is_answered_once),
		WITH_DATABASE(what_waits_ends_when_it_stops),
		WITH_DATABASE(without_a_database_the_epochs_pseudonym_does),
	};

	return cmocka_run_group_tests(tests, start_server, NULL);
}

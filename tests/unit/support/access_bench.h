/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's end of the access log on a real writer, whose disk can be made full,
 * and a real PostgreSQL; what was written is read back from the log's files.  For the
 * one program that includes it.
 */
#ifndef SUPPORT_ACCESS_BENCH_H
#define SUPPORT_ACCESS_BENCH_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "policy/log_io.h"
#include "policy/log_reader.h"
#include "policy/policy.h"
#include "tests/unit/support/postgres.h"
#include "tests/unit/support/scratch.h"

#define PATIENCE_MS 30000 /* for a loaded machine under a sanitizer; only a failing test waits so long */
#define MANY 3000
#define CALLERS 90
#define STOPPED_MS 300  /* deadline while the server does not answer */
#define NORMAL_MS 20000 /* deadline while it does */

static const char policy_text[] =
	"{\"schema\":\"homeward-policy/1\",\"home\":\"eu\",\"version\":9,\"not_after\":\"2100-01-01T00:00:00Z\","
	"\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\",\"valid\",\"email\"],\"personal\":true},"
	"\"station\":{\"fields\":[\"uid\"],\"personal\":false}},"
	"\"rules\":[{\"id\":\"A1\",\"effect\":\"permit\",\"operation\":[\"ask\",\"serve\"],\"to\":[\"na\"],"
	"\"purpose\":[\"charge.authorize\"],\"fields\":[\"uid\",\"valid\"],\"obligations\":{\"cache_ttl_max_s\":900}},"
	"{\"id\":\"F1\",\"effect\":\"forbid\",\"purpose\":[\"analytics\"]}]}";
static const uint8_t key[32] = { 1, 2, 3 };

static struct test_postgres *server;
static struct policy *policy;

struct bench {
	char folder[40];
	struct log_io io; /* whose disk is full when told so */
	atomic_bool is_full;
	struct log_writer *writer;
	struct keyring *keyring;
	atomic_uint_fast64_t unrecorded;
	struct loop *loop;
	struct database *database;
	struct access_log *log;
	struct loop_timer patience, poll;
	int wanted, wanted_break; /* completions still awaited, and how many are left when the loop is to stop */
	bool has_run_out;
};

struct outcome {
	struct bench *bench;
	enum status status;
	int calls;
	bool covers, is_open;
	char view[128];
	uint8_t nonce[LOOKUP_NONCE_SIZE];
	const struct lookup_question *question;
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

static void await_up(struct bench *bench)
{
	loop_timer_start(&bench->poll, 0);
	run(bench);
}

static void ended(struct outcome *outcome, enum status status)
{
	outcome->calls++;
	outcome->status = status;
	if (--outcome->bench->wanted == outcome->bench->wanted_break)
		loop_break(outcome->bench->loop);
}

static void on_release(void *arg, enum status status, struct policy_release *release)
{
	struct outcome *outcome = arg;

	assert_true((status == STATUS_OK) == (release != NULL));
	if (release != NULL) {
		size_t length;
		char *text = policy_release_take_record(release, &length, outcome->nonce);

		snprintf(outcome->view, sizeof(outcome->view), "%s", text);
		assert_int_equal(length, strlen(text));
		free(text);
		outcome->covers = policy_release_covers(release, &outcome->question->object, "na") &&
				  !policy_release_covers(release, &outcome->question->object, "ap");
		policy_release_destroy(release);
	}
	ended(outcome, status);
}

static void on_got(void *arg, enum status status)
{
	ended(arg, status);
}

static void on_grant(void *arg, enum status status, bool is_open)
{
	((struct outcome *)arg)->is_open = is_open;
	ended(arg, status);
}

static void query(const char *sql, char answer[256])
{
	test_postgres_ask(server, sql, answer, 256);
}

static long count(const char *sql)
{
	char answer[256];

	query(sql, answer);
	return strtol(answer, NULL, 10);
}

static ssize_t full_pwrite(void *arg, int fd, const void *bytes, size_t size, off_t offset)
{
	struct bench *bench = arg;

	if (atomic_load(&bench->is_full)) {
		errno = ENOSPC;
		return -1;
	}
	return pwrite(fd, bytes, size, offset);
}

static void open_log(struct bench *bench)
{
	struct strbuf path = STRBUF_INIT, key_path = STRBUF_INIT, ring_path = STRBUF_INIT, why = STRBUF_INIT;
	struct log_writer_settings writer = { .origin = "eu.test.example/access-log",
		.checkpoint_interval_ms = 10,
		.segment_bytes = 1 << 22,
		.io = &bench->io };
	struct keyring_settings keyring = { .epoch_s = 86400 };

	snprintf(bench->folder, sizeof(bench->folder), "%s/homeward-access-XXXXXX", scratch_place());
	assert_non_null(mkdtemp(bench->folder));
	strbuf_addf(&path, "%s/log", bench->folder);
	strbuf_addf(&key_path, "%s/log.key", bench->folder);
	strbuf_addf(&ring_path, "%s/subjects.key", bench->folder);
	bench->io = *log_io_system();
	bench->io.pwrite = full_pwrite;
	bench->io.arg = bench;
	writer.directory = path.data;
	writer.key_file = key_path.data;
	keyring.path = ring_path.data;
	if (log_writer_open(&writer, clock_system(), &bench->writer, &why) != STATUS_OK ||
		keyring_open(&keyring, clock_system(), &bench->keyring, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&path);
	strbuf_release(&key_path);
	strbuf_release(&ring_path);
	strbuf_release(&why);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct database_settings settings = { .dsn = test_postgres_dsn(server), .application_name = "test" };
	struct access_log_settings log_settings = { .region = "eu", .key = key, .grant_ttl_s = 86400 };
	char answer[256];

	query("TRUNCATE homeward.subject_keys, homeward.grants", answer);
	open_log(bench);
	log_settings.writer = bench->writer;
	log_settings.keyring = bench->keyring;
	log_settings.unrecorded = &bench->unrecorded;
	assert_int_equal(loop_create("test", &bench->loop), STATUS_OK);
	assert_int_equal(database_create(bench->loop, &settings, &bench->database), STATUS_OK);
	assert_int_equal(
		access_log_create(bench->loop, bench->database, &log_settings, clock_system(), &bench->log), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->patience, on_patience, bench), STATUS_OK);
	assert_int_equal(loop_timer_init(bench->loop, &bench->poll, on_poll, bench), STATUS_OK);
	await_up(bench);
	*state = bench;
	return 0;
}

static void close_log(struct bench *bench)
{
	access_log_destroy(bench->log);
	bench->log = NULL;
	log_writer_close(bench->writer);
	bench->writer = NULL;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	loop_timer_release(&bench->patience);
	loop_timer_release(&bench->poll);
	database_destroy(bench->database);
	close_log(bench);
	loop_destroy(bench->loop);
	keyring_destroy(bench->keyring);
	assert_true(scratch_remove(bench->folder));
	free(bench);
	return 0;
}

/* ---- what is in the log ---- */

struct found {
	struct entry entries[8]; /* the first */
	int count, kinds[ENTRY_KIND_COUNT], with_own_key;
	char callers[CALLERS][CALLER_SIZE];
	int caller_count;
};

static void count_caller(struct found *found, const char *caller)
{
	for (int i = 0; i < found->caller_count; i++) {
		if (strcmp(found->callers[i], caller) == 0)
			return;
	}
	assert_true(found->caller_count < CALLERS);
	snprintf(found->callers[found->caller_count++], CALLER_SIZE, "%s", caller);
}

static bool found_entry(void *arg, uint64_t index, const char *text, size_t size)
{
	struct found *found = arg;
	struct entry *entry = malloc(sizeof(*entry));
	const char *what;

	(void)index;
	if (entry_read(text, size, entry, &what) != STATUS_OK)
		fail_msg("%.*s: %s", (int)size, text, what);
	found->kinds[entry->kind]++;
	found->with_own_key += strncmp(entry->subject, "p1.", 3) == 0;
	count_caller(found, entry->caller);
	if (found->count < 8)
		found->entries[found->count] = *entry;
	found->count++;
	free(entry);
	return true;
}

/* Closes the log and reads all of it; free(). */
static struct found *read_log(struct bench *bench)
{
	struct found *found = calloc(1, sizeof(*found));
	struct strbuf path = STRBUF_INIT, why = STRBUF_INIT;
	struct log_reader *reader = NULL;

	close_log(bench);
	strbuf_addf(&path, "%s/log", bench->folder);
	if (log_reader_open(path.data, NULL, &reader, &why) != STATUS_OK ||
		log_reader_each(reader, 0, log_reader_checkpoint(reader)->size, found_entry, found, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	log_reader_close(reader);
	strbuf_release(&path);
	strbuf_release(&why);
	return found;
}

static json_t *a_record(void)
{
	return json_loads("{\"uid\":\"04\",\"valid\":true,\"email\":\"x\"}", 0, NULL);
}

static struct lookup_question question_of(const struct bench *bench, const char *id, const char *purpose, int64_t ms)
{
	struct lookup_question question = { .exchange = exchange_id_make(clock_system(), random_system()),
		.deadline_ms = loop_now_ms(bench->loop) + ms };

	snprintf(question.object.type, sizeof(question.object.type), "token");
	snprintf(question.object.id, sizeof(question.object.id), "%s", id);
	snprintf(question.purpose, sizeof(question.purpose), "%s", purpose);
	snprintf(question.caller, sizeof(question.caller), "csms");
	return question;
}

static void serve(
	struct bench *bench, struct policy *by, const struct lookup_question *question, struct outcome *outcome)
{
	struct gate_request request = { .operation = GATE_SERVE,
		.requester = "na",
		.to = "na",
		.type = "token",
		.purpose = question->purpose,
		.caller = question->caller };
	json_t *record = a_record();
	int calls = outcome->calls;

	request.type = question->object.type;
	request.record = record;

	outcome->bench = bench;
	outcome->question = question;
	bench->wanted++;
	policy_release_request(bench->log, by, &request, question, "na", on_release, outcome);
	assert_int_equal(outcome->calls, calls);
	json_decref(record);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What was answered OK is in the log whatever fails, the log verifies, and damage keeps it from being written on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/must.h"
#include "policy/log_reader.h"
#include "policy/log_writer.h"
#include "tests/unit/support/faulty_disk.h"
#include "tests/unit/support/scratch.h"

#define ORIGIN "eu.test/access-log"
#define WAIT_MS 20000
#define ANSWERS_MAX 4096

static char folder[64], key_file[80];

/* Entries that were answered OK: at this index there must be this entry. */
static struct {
	uint64_t index;
	int number;
} answers[ANSWERS_MAX];
static int answer_count;

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "%s/homeward-log-XXXXXX", scratch_place());
	snprintf(key_file, sizeof(key_file), "%s", "");
	answer_count = 0;
	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(key_file, sizeof(key_file), "%s.key", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)scratch_remove(folder);
	(void)unlink(key_file);
	return 0;
}

static enum status try_open(const struct log_io *io, struct log_writer **writer, struct strbuf *why)
{
	struct log_writer_settings settings = { .directory = folder,
		.origin = ORIGIN,
		.key_file = key_file,
		.checkpoint_interval_ms = 5,
		.segment_bytes = 256 << 10,
		.reserve_bytes = 65536,
		.queue_bytes_max = 1 << 20,
		.io = io };

	strbuf_reset(why);
	return log_writer_open(&settings, clock_system(), writer, why);
}

static struct log_writer *open_log(const struct log_io *io)
{
	struct strbuf why = STRBUF_INIT;
	struct log_writer *writer;

	if (try_open(io, &writer, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	strbuf_release(&why);
	return writer;
}

/* Of different lengths, some over a sector. */
static size_t write_entry(char text[2048], int number)
{
	int padding = number * 37 % 1500;

	return (size_t)snprintf(text, 2048, "{\"n\":%d,\"p\":\"%0*d\"}", number, padding + 1, 0);
}

static enum status append(struct log_writer *writer, int number)
{
	char text[2048];
	size_t size = write_entry(text, number);
	uint64_t index;
	enum status status = log_writer_append_wait(
		writer, text, size, clock_monotonic_ms(clock_system()) + WAIT_MS, &index);

	if (status == STATUS_OK) {
		must(answer_count < ANSWERS_MAX);
		answers[answer_count].index = index;
		answers[answer_count++].number = number;
	}
	return status;
}

static void tell_fault(void *arg, const char *path, const char *what)
{
	(void)arg;
	fail_msg("%s: %s", path, what);
}

/* The log on the disk is sound, signed, and has all that was answered. */
static void check_log(void)
{
	struct strbuf why = STRBUF_INIT, entry = STRBUF_INIT;
	struct note_signer *signer;
	struct log_reader *reader;

	assert_int_equal(note_signer_load(key_file, ORIGIN, false, &signer, &why), STATUS_OK);
	if (log_reader_open(folder, note_signer_verifier(signer), &reader, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	assert_int_equal(log_reader_check(reader, tell_fault, NULL), STATUS_OK);
	for (int i = 0; i < answer_count; i++) {
		char text[2048];
		size_t size = write_entry(text, answers[i].number);

		strbuf_reset(&entry);
		if (log_reader_entry(reader, answers[i].index, &entry, &why) != STATUS_OK)
			fail_msg("%s", why.data);
		assert_int_equal(entry.length, size);
		assert_memory_equal(entry.data, text, size);
	}
	log_reader_close(reader);
	note_signer_destroy(signer);
	strbuf_release(&entry);
	strbuf_release(&why);
}

static void clear(void)
{
	(void)scratch_remove(folder);
	must(mkdir(folder, 0700) == 0);
	answer_count = 0;
}

/* ---- writing ---- */

static void test_append_and_reopen(void **state)
{
	(void)state;
	for (int run = 0, number = 0; run < 3; run++) {
		struct log_writer *writer = open_log(NULL);

		for (int i = 0; i < 300; i++)
			assert_int_equal(append(writer, number++), STATUS_OK);
		assert_int_equal(log_writer_durable(writer), number);
		log_writer_close(writer);
		check_log();
	}
}

static void test_lock(void **state)
{
	struct log_writer *writer = open_log(NULL), *second;
	struct strbuf why = STRBUF_INIT;

	(void)state;
	assert_int_equal(try_open(NULL, &second, &why), STATUS_CONFLICT);
	assert_non_null(strstr(why.data, "another process"));
	log_writer_close(writer);
	strbuf_release(&why);
}

static void test_sizes(void **state)
{
	static char large[LOG_ITEM_BYTES_MAX + 1];
	struct log_writer *writer = open_log(NULL);
	int64_t deadline_ms = clock_monotonic_ms(clock_system()) + WAIT_MS;
	uint64_t index;

	(void)state;
	memset(large, 'x', sizeof(large));
	assert_int_equal(log_writer_append_wait(writer, large, sizeof(large), deadline_ms, &index), STATUS_TOO_LARGE);
	assert_int_equal(log_writer_append_wait(writer, large, 0, deadline_ms, &index), STATUS_TOO_LARGE);
	for (int i = 0; i < 12; i++)
		assert_int_equal(
			log_writer_append_wait(writer, large, LOG_ITEM_BYTES_MAX, deadline_ms, &index), STATUS_OK);
	assert_int_equal(index, 11);
	log_writer_close(writer);
	check_log();
}

/* ---- ports ---- */

#define LOOPS 3
#define ITEMS 2000

struct sender {
	struct loop *loop;
	struct log_port *port;
	struct loop_task start;
	struct sender_item {
		struct log_item item;
		struct sender *sender;
		char text[64];
	} items[ITEMS];
	int next, done, ok;
};

static pthread_mutex_t done_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done_cond = PTHREAD_COND_INITIALIZER;
static int done_count;

static void on_done(struct log_item *item, enum status status)
{
	struct sender *sender = ((struct sender_item *)item)->sender;

	sender->done++;
	sender->ok += status == STATUS_OK;
	/* Each that ends brings the next, so that groups meet groups. */
	if (sender->next < ITEMS)
		log_port_append(sender->port, &sender->items[sender->next++].item);
	pthread_mutex_lock(&done_mutex);
	done_count++;
	pthread_cond_signal(&done_cond);
	pthread_mutex_unlock(&done_mutex);
}

static void on_start(struct loop_task *task)
{
	struct sender *sender = (struct sender *)((char *)task - offsetof(struct sender, start));

	while (sender->next < 100)
		log_port_append(sender->port, &sender->items[sender->next++].item);
	assert_int_equal(sender->done, 0); /* never from inside */
}

static void start_sender(struct sender *sender, struct log_writer *writer, int number)
{
	assert_int_equal(loop_create("sender", &sender->loop), STATUS_OK);
	assert_int_equal(log_port_create(writer, sender->loop, &sender->port), STATUS_OK);
	for (int i = 0; i < ITEMS; i++) {
		struct sender_item *one = &sender->items[i];

		snprintf(one->text, sizeof(one->text), "{\"loop\":%d,\"n\":%d}", number, i);
		one->item =
			(struct log_item){ .entry = one->text, .size = (uint32_t)strlen(one->text), .done = on_done };
		one->sender = sender;
	}
	sender->start.run = on_start;
	assert_int_equal(loop_start(sender->loop), STATUS_OK);
	loop_post(sender->loop, &sender->start);
}

static void test_ports(void **state)
{
	struct log_writer *writer = open_log(NULL);
	static struct sender senders[LOOPS];
	struct log_reader *reader;
	struct strbuf entry = STRBUF_INIT, why = STRBUF_INIT;

	(void)state;
	memset(senders, 0, sizeof(senders));
	done_count = 0;
	for (int i = 0; i < LOOPS; i++)
		start_sender(&senders[i], writer, i);
	pthread_mutex_lock(&done_mutex);
	while (done_count < LOOPS * ITEMS)
		pthread_cond_wait(&done_cond, &done_mutex);
	pthread_mutex_unlock(&done_mutex);
	for (int i = 0; i < LOOPS; i++) {
		loop_stop(senders[i].loop);
		log_port_destroy(senders[i].port);
		loop_destroy(senders[i].loop);
		assert_int_equal(senders[i].ok, ITEMS);
	}
	assert_int_equal(log_writer_durable(writer), LOOPS * ITEMS);
	log_writer_close(writer);
	check_log();
	assert_int_equal(log_reader_open(folder, NULL, &reader, &why), STATUS_OK);
	for (int i = 0; i < LOOPS * ITEMS; i++) {
		const struct sender_item *one = &senders[i / ITEMS].items[i % ITEMS];

		strbuf_reset(&entry);
		assert_int_equal(log_reader_entry(reader, one->item.index, &entry, &why), STATUS_OK);
		assert_string_equal(entry.data, one->text);
	}
	log_reader_close(reader);
	strbuf_release(&entry);
	strbuf_release(&why);
}

static enum status last_status;
static int told_count;

static void on_told(struct log_item *item, enum status status)
{
	(void)item;
	last_status = status;
	told_count++;
}

static void test_port_refuses(void **state)
{
	struct log_writer *writer = open_log(NULL);
	static char large[60000];
	struct log_item items[40];
	struct log_port *port;
	struct loop *loop;

	(void)state;
	memset(large, 'x', sizeof(large));
	assert_int_equal(loop_create("port", &loop), STATUS_OK);
	assert_int_equal(log_port_create(writer, loop, &port), STATUS_OK);
	told_count = 0;
	/* Nothing runs the loop: all stay where they are, and the queue's bound of 1 MiB is met. */
	for (int i = 0; i < 40; i++) {
		items[i] = (struct log_item){ .entry = large, .size = sizeof(large), .done = on_told };
		log_port_append(port, &items[i]);
	}
	assert_int_equal(told_count, 0);
	assert_int_equal(items[16].status, STATUS_OK);
	assert_int_equal(items[17].status, STATUS_OVERLOADED);
	assert_int_equal(items[39].status, STATUS_OVERLOADED);
	log_port_destroy(port);
	assert_int_equal(told_count, 40);
	assert_int_equal(last_status, STATUS_DRAINING);
	loop_destroy(loop);
	log_writer_close(writer);
}

/* ---- faults ---- */

/* Some entries against a disk that fails at its n-th call; false when it had fewer calls. */
static bool run_against(enum disk_fault fault, long n, int error, bool loses_unsynced)
{
	struct strbuf why = STRBUF_INIT;
	struct log_writer *writer;
	const struct log_io *io = disk_start(fault, n, error);
	bool did_fail;

	clear();
	if (try_open(io, &writer, &why) == STATUS_OK) {
		for (int i = 0; i < 14; i++)
			(void)append(writer, i);
		log_writer_close(writer);
	} else {
		assert_true(why.length > 0);
	}
	did_fail = disk.calls >= n;
	disk_end(loses_unsynced, (uint64_t)n * 2654435761U);
	writer = open_log(disk_start(DISK_GOOD, 0, 0));
	assert_int_equal(append(writer, 99), STATUS_OK);
	log_writer_close(writer);
	disk_end(false, 0);
	check_log();
	strbuf_release(&why);
	return did_fail;
}

static void test_each_call_fails(void **state)
{
	static const int errors[] = { EIO, ENOSPC };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (long n = 1; run_against(DISK_FAILS_ONCE, n, errors[i], false); n++)
			;
	}
}

static void test_short_write_then_full(void **state)
{
	(void)state;
	for (long n = 1; run_against(DISK_SHORT_THEN_FULL, n, ENOSPC, false); n++)
		;
}

static void test_stops_anywhere(void **state)
{
	(void)state;
	for (long n = 1; run_against(DISK_STOPS, n, EIO, true); n++)
		;
}

static void wait_for_state(struct log_writer *writer, enum log_writer_state state)
{
	int64_t until_ms = clock_monotonic_ms(clock_system()) + WAIT_MS;

	while (log_writer_state(writer) != state && clock_monotonic_ms(clock_system()) < until_ms)
		usleep(2000);
	assert_int_equal(log_writer_state(writer), state);
}

static void test_full_and_back(void **state)
{
	struct log_writer *writer = open_log(disk_start(DISK_GOOD, 0, 0));
	struct log_item item = { .entry = "x", .size = 1, .done = on_told };
	struct log_port *port;
	struct loop *loop;

	(void)state;
	assert_int_equal(append(writer, 1), STATUS_OK);
	disk.is_full = true;
	while (append(writer, 2) == STATUS_OK && !log_writer_is_failed(writer))
		usleep(1000);
	wait_for_state(writer, LOG_WRITER_FULL);
	assert_int_equal(loop_create("port", &loop), STATUS_OK);
	assert_int_equal(log_port_create(writer, loop, &port), STATUS_OK);
	log_port_append(port, &item);
	assert_int_equal(item.status, STATUS_IO); /* at once: nobody waits for a full disk */
	log_port_destroy(port);
	loop_destroy(loop);
	disk.is_full = false;
	wait_for_state(writer, LOG_WRITER_OK);
	assert_int_equal(append(writer, 3), STATUS_OK);
	log_writer_close(writer);
	disk_end(false, 0);
	check_log();
}

static void test_broken_stays(void **state)
{
	struct log_writer *writer = open_log(disk_start(DISK_GOOD, 0, 0));

	(void)state;
	assert_int_equal(append(writer, 1), STATUS_OK);
	pthread_mutex_lock(&disk.mutex);
	disk.fault = DISK_FAILS_ONCE;
	disk.error = EIO;
	disk.fails_at = disk.calls + 1;
	pthread_mutex_unlock(&disk.mutex);
	while (append(writer, 2) == STATUS_OK)
		;
	wait_for_state(writer, LOG_WRITER_BROKEN);
	assert_int_equal(append(writer, 3), STATUS_IO); /* the disk would take it: nobody asks it again */
	log_writer_close(writer);
	disk_end(false, 0);
	writer = open_log(NULL);
	assert_int_equal(append(writer, 4), STATUS_OK);
	log_writer_close(writer);
	check_log();
}

/* ---- damage ---- */

static void damage(const char *name, long offset)
{
	char path[160];
	unsigned char byte;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR);
	must(fd >= 0);
	must(pread(fd, &byte, 1, offset) == 1);
	byte ^= 0x10;
	must(pwrite(fd, &byte, 1, offset) == 1);
	close(fd);
}

/* Opening is refused and names the file. */
static void assert_refused(const char *name)
{
	struct strbuf why = STRBUF_INIT;
	struct log_writer *writer;
	enum status status = try_open(NULL, &writer, &why);

	if (status == STATUS_OK)
		fail_msg("%s was damaged and the log opened", name);
	assert_int_equal(status, STATUS_INVALID);
	if (strstr(why.data, name) == NULL)
		fail_msg("%s is not named: %s", name, why.data);
	strbuf_release(&why);
}

static void make_log(int entries)
{
	struct log_writer *writer;

	clear();
	writer = open_log(disk_start(DISK_GOOD, 0, 0));
	for (int i = 0; i < entries; i++)
		assert_int_equal(append(writer, i), STATUS_OK);
	log_writer_close(writer);
	disk_end(false, 0);
}

static void test_damage_in_tiles(void **state)
{
	static const struct {
		const char *name;
		long offset;
	} places[] = { { "checkpoint", 2 }, { "checkpoint", 20 }, { "checkpoint", 40 }, { "checkpoint", 110 },
		{ "tile/0/001.p/44", 0 }, { "tile/0/001.p/44", 1407 }, { "tile/1/000.p/1", 5 },
		{ "tile/entries/001.p/44", 0 }, { "tile/entries/001.p/44", 3000 } };

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		make_log(300);
		damage(places[i].name, places[i].offset);
		/* A hash in a higher tile shows only in the root. */
		assert_refused(strncmp(places[i].name, "tile/1", 6) == 0 ? "checkpoint" : places[i].name);
	}
	make_log(300);
	damage("wal/0", 100);
	assert_refused("wal/0");
}

/* A log whose last entries are only in the write-ahead file: the disk lets no tile be made. */
static void make_unpublished(int entries)
{
	struct log_writer *writer;

	clear();
	writer = open_log(disk_start(DISK_GOOD, 0, 0));
	for (int i = 0; i < entries; i++)
		assert_int_equal(append(writer, i), STATUS_OK);
	pthread_mutex_lock(&disk.mutex);
	disk.is_stopped = true; /* the machine stops; what was answered is synced */
	pthread_mutex_unlock(&disk.mutex);
	log_writer_close(writer);
	disk_end(false, 0);
}

static void test_damage_in_the_write_ahead_file(void **state)
{
	char path[160];

	(void)state;
	/* Any byte of what has been written, also of the last record. */
	for (long offset = 0; offset < 14 * 1024; offset += 331) {
		make_unpublished(12);
		damage("wal/1", offset);
		assert_refused("wal/");
	}
	make_unpublished(12);
	snprintf(path, sizeof(path), "%s/wal/1", folder);
	assert_int_equal(unlink(path), 0);
	assert_refused("wal/1");
}

static void test_missing_checkpoint(void **state)
{
	char path[160];

	(void)state;
	make_log(20);
	snprintf(path, sizeof(path), "%s/checkpoint", folder);
	assert_int_equal(unlink(path), 0);
	assert_refused("checkpoint");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_append_and_reopen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ports, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_port_refuses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_each_call_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_short_write_then_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stops_anywhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full_and_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_broken_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage_in_tiles, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage_in_the_write_ahead_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_missing_checkpoint, set_up, tear_down),
	};

	must(pthread_mutex_init(&disk.mutex, NULL) == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which entries of the log are written together: few wait for company, one alone and many do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"
#include "policy/log_writer.h"
#include "tests/unit/support/scratch.h"

#define TOGETHER_MAX 16
#define ROUNDS 25
#define GATHER_MS 4

/* Hands in `together` entries at once, and the same number again when all of them have ended. */
static struct rounds {
	struct loop *loop;
	struct log_port *port;
	struct loop_task start;
	struct log_item items[TOGETHER_MAX];
	int together, under_way, count;
	int64_t began_ms, fastest_ms;
} rounds;

static int64_t now_ms(void)
{
	return clock_monotonic_ms(clock_system());
}

static void on_done(struct log_item *item, enum status status);

static void hand_in(struct loop_task *task)
{
	(void)task;
	rounds.began_ms = now_ms();
	rounds.under_way = rounds.together;
	for (int i = 0; i < rounds.together; i++) {
		rounds.items[i] = (struct log_item){ .entry = "{}", .size = 2, .done = on_done };
		log_port_append(rounds.port, &rounds.items[i]);
	}
}

static void on_done(struct log_item *item, enum status status)
{
	int64_t took_ms = now_ms() - rounds.began_ms;

	(void)item;
	assert_int_equal(status, STATUS_OK);
	if (--rounds.under_way > 0)
		return;
	/* The first comes to a log at rest. */
	if (rounds.count > 0 && took_ms < rounds.fastest_ms)
		rounds.fastest_ms = took_ms;
	if (++rounds.count < ROUNDS)
		loop_post(rounds.loop, &rounds.start);
	else
		loop_break(rounds.loop);
}

/* How long all rounds took; the fastest one is in `rounds`. */
static int64_t run_rounds(int together)
{
	struct log_writer_settings settings = { .origin = "eu.test/access-log",
		.checkpoint_interval_ms = 60000,
		.segment_bytes = 256 << 10,
		.reserve_bytes = 65536,
		.queue_bytes_max = 1 << 20 };
	struct strbuf why = STRBUF_INIT;
	struct log_writer *writer;
	char folder[64], key_file[80];
	int64_t start_ms, took_ms;

	snprintf(folder, sizeof(folder), "%s/homeward-groups-XXXXXX", scratch_place());
	assert_non_null(mkdtemp(folder));
	snprintf(key_file, sizeof(key_file), "%s/key", folder);
	settings.directory = folder;
	settings.key_file = key_file;
	if (log_writer_open(&settings, clock_system(), &writer, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	rounds = (struct rounds){ .together = together, .start.run = hand_in, .fastest_ms = INT64_MAX };
	assert_int_equal(loop_create("rounds", &rounds.loop), STATUS_OK);
	assert_int_equal(log_port_create(writer, rounds.loop, &rounds.port), STATUS_OK);
	start_ms = now_ms();
	loop_post(rounds.loop, &rounds.start);
	loop_run_here(rounds.loop);
	took_ms = now_ms() - start_ms;
	assert_int_equal(log_writer_durable(writer), (uint64_t)together * ROUNDS);
	log_port_destroy(rounds.port);
	loop_destroy(rounds.loop);
	log_writer_close(writer);
	assert_true(scratch_remove(folder));
	strbuf_release(&why);
	return took_ms;
}

static void who_comes_alone_waits_for_nobody(void **state)
{
	(void)state;
	(void)run_rounds(1);
	assert_true(rounds.fastest_ms < GATHER_MS);
}

static void who_has_company_waits_for_more(void **state)
{
	(void)state;
	assert_true(run_rounds(2) >= (ROUNDS - 1) * GATHER_MS);
}

static void many_are_written_at_once(void **state)
{
	(void)state;
	(void)run_rounds(TOGETHER_MAX);
	assert_true(rounds.fastest_ms < GATHER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_alone_waits_for_nobody),
		cmocka_unit_test(who_has_company_waits_for_more),
		cmocka_unit_test(many_are_written_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

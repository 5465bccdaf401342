/* SPDX-License-Identifier: Apache-2.0 */
/* The in-flight table and the heap of deadlines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "locator/deadlines.h"
#include "locator/in_flight.h"

static struct lookup_question ask(const char *id, const char *purpose, const char *station, int64_t deadline_ms)
{
	struct lookup_question question = { .deadline_ms = deadline_ms };
	snprintf(question.object.type, sizeof(question.object.type), "token");
	snprintf(question.object.id, sizeof(question.object.id), "%s", id);
	snprintf(question.purpose, sizeof(question.purpose), "%s", purpose);
	snprintf(question.caller, sizeof(question.caller), "cpo");
	snprintf(question.evidence.station.id, sizeof(question.evidence.station.id), "%s", station);
	return question;
}

static struct in_flight_entry *find(struct in_flight *table, const struct lookup_question *question, int mode)
{
	struct in_flight_entry *entry;
	assert_int_equal(in_flight_find(table, question, mode, 0, &entry), STATUS_OK);
	return entry;
}

static void test_only_equal_questions_meet(void **state)
{
	(void)state;
	struct in_flight table;
	assert_int_equal(in_flight_init(&table, 100, 1), STATUS_OK);
	struct lookup_question first = ask("A1", "charge", "S1", 1000);
	struct in_flight_entry entry = { .question = &first };
	in_flight_add(&table, &entry);
	struct lookup_question same = ask("A1", "charge", "S1", 1200);
	same.evidence.tap_wall_us = 77;
	assert_ptr_equal(find(&table, &same, 0), &entry);
	assert_null(find(&table, &same, 1));
	struct lookup_question other = ask("A2", "charge", "S1", 1000);
	assert_null(find(&table, &other, 0));
	other = ask("A1", "support", "S1", 1000);
	assert_null(find(&table, &other, 0));
	other = ask("A1", "charge", "S2", 1000);
	assert_null(find(&table, &other, 0));
	other = ask("A1", "charge", "S1", 1000);
	other.caller[0] = 'x';
	assert_null(find(&table, &other, 0));
	in_flight_remove(&table, &entry);
	assert_null(find(&table, &same, 0));
	in_flight_release(&table);
}

static void test_does_not_wait_for_one_that_gives_up_much_sooner(void **state)
{
	(void)state;
	struct in_flight table;
	assert_int_equal(in_flight_init(&table, 0, 1), STATUS_OK);
	struct lookup_question hasty = ask("A1", "charge", "S1", 100);
	struct in_flight_entry entry = { .question = &hasty };
	in_flight_add(&table, &entry);
	struct lookup_question patient = ask("A1", "charge", "S1", 2500);
	assert_null(find(&table, &patient, 0));
	struct in_flight_entry second = { .question = &patient };
	in_flight_add(&table, &second); /* not listed: its equal is */
	assert_int_equal(table.count, 1);
	in_flight_remove(&table, &second);
	assert_ptr_equal(find(&table, &hasty, 0), &entry);
	in_flight_remove(&table, &entry);
	in_flight_release(&table);
}

static void test_waiters_are_bounded(void **state)
{
	(void)state;
	struct in_flight table;
	assert_int_equal(in_flight_init(&table, 0, 1), STATUS_OK);
	struct lookup_question question = ask("A1", "charge", "S1", 1000);
	struct in_flight_entry entry = { .question = &question, .waiter_count = IN_FLIGHT_WAITERS_MAX }, *found;
	in_flight_add(&table, &entry);
	assert_int_equal(in_flight_find(&table, &question, 0, 0, &found), STATUS_OVERLOADED);
	assert_null(found);
	in_flight_remove(&table, &entry);
	in_flight_release(&table);
}

static void test_long_chains_lose_nothing(void **state)
{
	(void)state;
	enum { COUNT = 500 };
	struct in_flight table;
	assert_int_equal(in_flight_init(&table, 0, 9), STATUS_OK);
	struct lookup_question *questions = calloc(COUNT, sizeof(*questions));
	struct in_flight_entry *entries = calloc(COUNT, sizeof(*entries));
	assert_true(questions && entries);
	char id[16];
	for (int i = 0; i < COUNT; i++) {
		snprintf(id, sizeof(id), "%d", i);
		questions[i] = ask(id, "charge", "", 1000);
		entries[i].question = &questions[i];
		in_flight_add(&table, &entries[i]);
	}
	for (int i = 0; i < COUNT; i += 2)
		in_flight_remove(&table, &entries[i]);
	for (int i = 0; i < COUNT; i++)
		assert_ptr_equal(find(&table, &questions[i], 0), i % 2 ? &entries[i] : NULL);
	for (int i = 1; i < COUNT; i += 2)
		in_flight_remove(&table, &entries[i]);
	in_flight_release(&table);
	free(questions);
	free(entries);
}

static void test_deadlines_come_in_order_whatever_is_removed(void **state)
{
	(void)state;
	enum { COUNT = 1000 };
	struct deadlines deadlines = { 0 };
	struct deadline *all = calloc(COUNT, sizeof(*all));
	assert_non_null(all);
	assert_null(deadlines_first(&deadlines));
	struct random_seeded random;
	random_seeded_init(&random, 42);
	for (int i = 0; i < COUNT; i++) {
		all[i].at_ms = (int64_t)random_below(&random.source, 300);
		assert_int_equal(deadlines_add(&deadlines, &all[i]), STATUS_OK);
	}
	for (int i = 0; i < COUNT; i += 3) {
		deadlines_remove(&deadlines, &all[i]);
		deadlines_remove(&deadlines, &all[i]);
	}
	int64_t last_ms = -1;
	int left = 0;
	for (struct deadline *first; (first = deadlines_first(&deadlines)); left++) {
		assert_true(first->at_ms >= last_ms);
		assert_int_not_equal((first - all) % 3, 0);
		last_ms = first->at_ms;
		deadlines_remove(&deadlines, first);
	}
	assert_int_equal(left, COUNT - (COUNT + 2) / 3);
	deadlines_release(&deadlines);
	free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_equal_questions_meet),
		cmocka_unit_test(test_does_not_wait_for_one_that_gives_up_much_sooner),
		cmocka_unit_test(test_waiters_are_bounded),
		cmocka_unit_test(test_long_chains_lose_nothing),
		cmocka_unit_test(test_deadlines_come_in_order_whatever_is_removed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order within streams: what is next, late or ahead, whatever the order of a batch.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "federation/order.h"

#define ITEMS_MAX 64

static struct order_item make(const char *subject, int64_t sequence, size_t index)
{
	return (struct order_item){
		.stream = { "na", "/s", subject, "eu" }, .sequence = sequence, .first = sequence, .index = index
	};
}

static size_t fill(struct order_item *items, const char *subject, const int64_t *sequences, size_t count)
{
	for (size_t i = 0; i < count; i++)
		items[i] = make(subject, sequences[i], i);
	return order_sort(items, count);
}

static void check_verdicts(
	const struct order_item *items, const int64_t *sequences, const enum order_verdict *verdicts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(items[i].sequence, sequences[i]);
		assert_int_equal(items[i].verdict, verdicts[i]);
	}
}

static void test_in_turn(void **state)
{
	static const int64_t came[] = { 5, 6, 7 };
	static const enum order_verdict next[] = { ORDER_NEXT, ORDER_NEXT, ORDER_NEXT };
	struct order_item items[3];
	int64_t last[1] = { 4 };

	(void)state;
	assert_int_equal(fill(items, "a", came, 3), 1);
	order_decide(items, 3, last);
	check_verdicts(items, came, next, 3);
	assert_int_equal(last[0], 7);
}

static void test_shuffled_within_a_batch(void **state)
{
	static const int64_t came[] = { 3, 1, 2 }, taken[] = { 1, 2, 3 };
	static const enum order_verdict next[] = { ORDER_NEXT, ORDER_NEXT, ORDER_NEXT };
	struct order_item items[3];
	int64_t last[1] = { 0 };

	(void)state;
	(void)fill(items, "a", came, 3);
	order_decide(items, 3, last);
	check_verdicts(items, taken, next, 3);
	assert_int_equal(last[0], 3);
}

static void test_ahead_and_late(void **state)
{
	/* 4 and 5 wait for 3; 1 has passed; the second 2 is a duplicate, or another event of the same number. */
	static const int64_t came[] = { 5, 2, 4, 1, 2 }, taken[] = { 1, 2, 2, 4, 5 };
	static const enum order_verdict verdicts[] = { ORDER_LATE, ORDER_NEXT, ORDER_LATE, ORDER_AHEAD, ORDER_AHEAD };
	struct order_item items[5];
	int64_t last[1] = { 1 };

	(void)state;
	(void)fill(items, "a", came, 5);
	order_decide(items, 5, last);
	check_verdicts(items, taken, verdicts, 5);
	assert_int_equal(items[1].index, 1); /* the one that came first */
	assert_int_equal(items[2].index, 4);
	assert_int_equal(last[0], 2);
}

static void test_a_stream_never_met_waits_for_its_first(void **state)
{
	static const int64_t came[] = { 7 };
	static const enum order_verdict ahead[] = { ORDER_AHEAD };
	struct order_item items[1];
	int64_t last[1] = { 0 };

	(void)state;
	(void)fill(items, "a", came, 1);
	order_decide(items, 1, last);
	check_verdicts(items, came, ahead, 1);
	assert_int_equal(last[0], 0);
}

static void test_numbers_that_will_not_come(void **state)
{
	static const int64_t came[] = { 4, 9, 7 }, taken[] = { 4, 7, 9 };
	static const enum order_verdict verdicts[] = { ORDER_NEXT, ORDER_NEXT, ORDER_AHEAD };
	struct order_item items[3];
	int64_t last[1] = { 2 };

	(void)state;
	(void)fill(items, "a", came, 3);
	items[0].first = 2; /* 2 was taken nonetheless, 3 was refused */
	items[1].first = 5; /* 5 and 6 were refused; 8 has not come */
	order_decide(items, 3, last);
	check_verdicts(items, taken, verdicts, 3);
	assert_int_equal(last[0], 7);
}

static void test_without_a_number(void **state)
{
	static const int64_t came[] = { 0, 0 };
	static const enum order_verdict verdicts[] = { ORDER_FREE, ORDER_FREE };
	struct order_item items[2];
	int64_t last[1] = { 9 };

	(void)state;
	(void)fill(items, "", came, 2);
	order_decide(items, 2, last);
	check_verdicts(items, came, verdicts, 2);
	assert_int_equal(items[0].index, 0);
	assert_int_equal(last[0], 9);
}

/* Streams differ in any of four names, and stay in the places they came in. */
static void test_streams_are_apart(void **state)
{
	struct order_item items[] = { make("b", 2, 0), make("a", 1, 1), make("b", 1, 2), make("b", 1, 3),
		make("b", 1, 4), make("b", 1, 5) };
	static const size_t order[] = { 2, 1, 0, 3, 4, 5 };
	int64_t last[5] = { 0 };

	(void)state;
	items[3].stream.destination = "all";
	items[4].stream.source = "/t";
	items[5].stream.origin = "ap";
	assert_int_equal(order_sort(items, 6), 5);
	order_decide(items, 6, last);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(items[i].index, order[i]);
		assert_int_equal(items[i].verdict, ORDER_NEXT);
	}
	assert_int_equal(order_sort(items, 0), 0);
	order_decide(items, 0, last);
}

/* Any shuffle of a whole run, in batches of any size, with what is ahead brought again: all are taken in turn. */
static void test_any_shuffle_comes_out_in_turn(void **state)
{
	unsigned seed = 7;

	(void)state;
	for (int round = 0; round < 200; round++) {
		int64_t waiting[ITEMS_MAX], last[1] = { 0 }, expected = 1;
		size_t count = ITEMS_MAX;

		for (size_t i = 0; i < count; i++)
			waiting[i] = (int64_t)i + 1;
		while (count > 0) {
			struct order_item items[ITEMS_MAX];
			size_t batch, kept = 0;

			for (size_t i = count - 1; i > 0; i--) {
				size_t j = (size_t)(seed = seed * 1103515245 + 12345) / 65536 % (i + 1);
				int64_t swap = waiting[i];

				waiting[i] = waiting[j];
				waiting[j] = swap;
			}
			batch = 1 + (size_t)(seed = seed * 1103515245 + 12345) / 65536 % count;
			(void)fill(items, "a", waiting, batch);
			order_decide(items, batch, last);
			for (size_t i = 0; i < batch; i++) {
				assert_int_not_equal(items[i].verdict, ORDER_LATE);
				if (items[i].verdict == ORDER_NEXT)
					assert_int_equal(items[i].sequence, expected++);
				else
					waiting[kept++] = items[i].sequence;
			}
			for (size_t i = batch; i < count; i++)
				waiting[kept++] = waiting[i];
			count = kept;
		}
		assert_int_equal(expected, ITEMS_MAX + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_turn),
		cmocka_unit_test(test_shuffled_within_a_batch),
		cmocka_unit_test(test_ahead_and_late),
		cmocka_unit_test(test_a_stream_never_met_waits_for_its_first),
		cmocka_unit_test(test_numbers_that_will_not_come),
		cmocka_unit_test(test_without_a_number),
		cmocka_unit_test(test_streams_are_apart),
		cmocka_unit_test(test_any_shuffle_comes_out_in_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

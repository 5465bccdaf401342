/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Confirmations of batches: single and multiple, refused, returned, out of order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "federation/broker.h"
#include "federation/confirms.h"

static void begin(struct confirms *confirms, size_t count, bool is_new_channel)
{
	confirms_begin(confirms, is_new_channel);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(confirms_add(confirms), i);
}

static void test_batches(void **state)
{
	struct confirms confirms;

	(void)state;
	assert_int_equal(confirms_init(&confirms, 5), STATUS_OK);
	begin(&confirms, 5, true);
	confirms_settle(&confirms, 2, false, CONFIRM_REFUSED);
	confirms_return(&confirms, 3);
	confirms_settle(&confirms, 4, true, CONFIRM_DONE);
	assert_false(confirms_all_settled(&confirms));
	confirms_settle(&confirms, 0, true, CONFIRM_DONE);
	confirms_settle(&confirms, 6, true, CONFIRM_DONE);
	assert_false(confirms_all_settled(&confirms));
	confirms_settle(&confirms, 5, false, CONFIRM_DONE);
	confirms_settle(&confirms, 5, false, CONFIRM_REFUSED);
	assert_true(confirms_all_settled(&confirms));
	assert_true(confirms_is_done(&confirms, 0));
	assert_false(confirms_is_done(&confirms, 1)); /* refused, and the multiple after it does not undo that */
	assert_true(confirms_is_done(&confirms, 2));
	assert_false(confirms_is_done(&confirms, 3)); /* returned: its confirmation means nothing */
	assert_true(confirms_is_done(&confirms, 4));

	begin(&confirms, 2, false); /* tags 6 and 7 */
	confirms_settle(&confirms, 5, true, CONFIRM_DONE);
	assert_int_equal(confirms.settled, 0);
	confirms_return(&confirms, 2);
	confirms_settle(&confirms, 7, true, CONFIRM_DONE);
	assert_true(confirms_all_settled(&confirms));
	assert_true(confirms_is_done(&confirms, 1));

	begin(&confirms, 1, true);
	confirms_settle(&confirms, 1, false, CONFIRM_DONE);
	assert_true(confirms_all_settled(&confirms));
	confirms_release(&confirms);
}

static void test_urls(void **state)
{
	(void)state;
	assert_null(broker_url_check("amqps://broker.eu.example:5671/homeward"));
	assert_null(broker_url_check("amqps://broker.eu.example/homeward"));
	assert_non_null(broker_url_check("amqp://broker.eu.example/homeward"));
	assert_non_null(broker_url_check("amqps://guest:guest@broker.eu.example/homeward"));
	assert_non_null(broker_url_check("amqps://broker.eu.example:x/homeward"));
	assert_non_null(broker_url_check("amqps:///"));
	assert_non_null(broker_url_check(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_urls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The charge decision as a table: record, time, word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "locator/authorize.h"

static const struct {
	const char *record, *word;
} cases[] = {
	{ "{\"valid\":true}", "ALLOWED" },
	{ "{\"valid\":false}", "BLOCKED" },
	{ "{}", "NOT_ALLOWED" },
	{ "{\"valid\":\"true\"}", "NOT_ALLOWED" },
	{ "{\"valid\":1}", "NOT_ALLOWED" },
	{ "{\"valid\":null}", "NOT_ALLOWED" },
	{ "{\"valid_until\":\"2030-01-01T00:00:00Z\"}", "NOT_ALLOWED" },
	{ "{\"valid\":true,\"valid_until\":\"2026-06-01T00:00:01Z\"}", "ALLOWED" },
	{ "{\"valid\":true,\"valid_until\":\"2026-06-01T00:00:00Z\"}", "EXPIRED" },
	{ "{\"valid\":true,\"valid_until\":\"2026-06-01T01:00:00+02:00\"}", "EXPIRED" },
	{ "{\"valid\":true,\"valid_until\":null}", "ALLOWED" },
	{ "{\"valid\":true,\"valid_until\":\"soon\"}", "NOT_ALLOWED" },
	{ "{\"valid\":true,\"valid_until\":4102444800}", "NOT_ALLOWED" },
	{ "{\"valid\":false,\"valid_until\":\"2020-01-01T00:00:00Z\"}", "BLOCKED" },
	{ "{\"valid\":true,\"credit\":\"none\"}", "NO_CREDIT" },
	{ "{\"valid\":true,\"credit\":\"good\"}", "ALLOWED" },
	{ "{\"valid\":true,\"credit\":\"none\",\"valid_until\":\"2020-01-01T00:00:00Z\"}", "EXPIRED" },
};

static void test_decides_by_the_table(void **state)
{
	(void)state;
	int64_t now_us;
	assert_int_equal(clock_parse("2026-06-01T00:00:00Z", &now_us), STATUS_OK);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *record = json_loads(cases[i].record, 0, NULL);
		assert_non_null(record);
		assert_string_equal(authorization_name(authorize_decide(record, now_us)), cases[i].word);
		json_decref(record);
	}
}

static void test_no_record_is_not_allowed(void **state)
{
	(void)state;
	json_t *list = json_array();
	assert_int_equal(authorize_decide(NULL, 0), AUTHORIZATION_NOT_ALLOWED);
	assert_int_equal(authorize_decide(list, 0), AUTHORIZATION_NOT_ALLOWED);
	json_decref(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decides_by_the_table),
		cmocka_unit_test(test_no_record_is_not_allowed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

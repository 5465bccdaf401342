/* SPDX-License-Identifier: Apache-2.0 */
/* Trace context: what is one, and that a header never replaces what an event says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "federation/event_trace.h"

#define GOOD "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void what_is_one(void **state)
{
	static const char *const wrong[] = { "", "00", GOOD "0",
		"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x" };

	(void)state;
	assert_true(event_trace_is_valid(GOOD));
	assert_false(event_trace_is_valid(NULL));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(event_trace_is_valid(wrong[i]));
}

static void a_header_fills_in_what_is_missing_only(void **state)
{
	json_t *envelope = json_object();

	(void)state;
	assert_int_equal(event_trace_take(envelope, NULL), STATUS_OK);
	assert_int_equal(event_trace_take(envelope, "nonsense"), STATUS_OK);
	assert_null(json_object_get(envelope, "traceparent"));
	assert_int_equal(event_trace_take(envelope, GOOD), STATUS_OK);
	assert_string_equal(json_get_string(envelope, "traceparent"), GOOD);
	assert_int_equal(
		event_trace_take(envelope, "00-11111111111111111111111111111111-00f067aa0ba902b7-01"), STATUS_OK);
	assert_string_equal(json_get_string(envelope, "traceparent"), GOOD);
	json_decref(envelope);
}

static void a_canary_with_a_context_is_a_probe(void **state)
{
	json_t *with = json_pack("{s:s}", "traceparent", GOOD),
	       *without = json_pack("{s:s}", "traceparent", "nonsense");

	(void)state;
	assert_true(event_trace_is_probe("homeward.canary", with));
	assert_false(event_trace_is_probe("homeward.canary", without));
	assert_false(event_trace_is_probe("homeward.receipt", with));
	assert_false(event_trace_is_probe("session.completed", with));
	json_decref(with);
	json_decref(without);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_one),
		cmocka_unit_test(a_header_fills_in_what_is_missing_only),
		cmocka_unit_test(a_canary_with_a_context_is_a_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

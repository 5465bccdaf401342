/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several events in one message: taking arrays apart, and which rows go together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "federation/bundle.h"

static void what_is_written_is_read(void **state)
{
	static const char *const envelopes[] = { "{\"id\":\"1\"}", "{\"id\":\"]\\\",[\",\"data\":[{},[1,2]]}", "{}" };
	struct strbuf body = STRBUF_INIT;
	struct event_batch batch;
	const char *text;
	size_t length;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct strbuf envelope = STRBUF_INIT;

		strbuf_adds(&envelope, envelopes[i]);
		event_batch_add(&body, &envelope);
		strbuf_release(&envelope);
	}
	event_batch_end(&body);
	assert_int_equal(event_batch_count(body.data, body.length), 3);
	batch = event_batch_begin(body.data, body.length);
	for (size_t i = 0; i < 3; i++) {
		assert_true(event_batch_next(&batch, &text, &length));
		assert_int_equal(length, strlen(envelopes[i]));
		assert_memory_equal(text, envelopes[i], length);
	}
	assert_false(event_batch_next(&batch, &text, &length));
	strbuf_release(&body);
}

static void arrays_are_counted(void **state)
{
	static const struct {
		const char *body;
		size_t count;
	} cases[] = {
		{ "", 0 },
		{ "[", 0 },
		{ "]", 0 },
		{ "[]", 0 },
		{ "[ ]", 0 },
		{ "{}", 0 },
		{ "7", 0 },
		{ "[{}]", 1 },
		{ " [ {} , { } ]\n", 2 },
		{ "[{},]", 0 },
		{ "[,{}]", 0 },
		{ "[{},,{}]", 0 },
		{ "[{}", 0 },
		{ "[{},{}", 0 },
		{ "[{}] x", 0 },
		{ "[{}][{}]", 0 },
		{ "[\"a", 0 },
		{ "[\"a\\", 0 },
		{ "[\"\\\"],[\"]", 1 },
		{ "[[[[", 0 },
		/* Texts that are no events: each by itself is found out later. */
		{ "[7, nonsense, {\"id\" 1}, [{}], null]", 5 },
		{ "[}, {}]", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t size = strlen(cases[i].body);
		char *exact = malloc(size + 1); /* so that a read past the end is seen */

		assert_non_null(exact);
		memcpy(exact, cases[i].body, size);
		exact = realloc(exact, size > 0 ? size : 1);
		if (event_batch_count(exact, size) != cases[i].count)
			fail_msg("%s: %zu", cases[i].body, event_batch_count(exact, size));
		free(exact);
	}
}

static void more_than_are_taken_are_none(void **state)
{
	struct strbuf body = STRBUF_INIT, envelope = STRBUF_INIT;

	(void)state;
	strbuf_adds(&envelope, "{}");
	for (size_t i = 0; i < EVENT_BATCH_EVENTS_MAX; i++)
		event_batch_add(&body, &envelope);
	strbuf_addc(&body, ']');
	assert_int_equal(event_batch_count(body.data, body.length), EVENT_BATCH_EVENTS_MAX);
	body.data[body.length - 1] = ',';
	strbuf_adds(&body, "{}]");
	assert_int_equal(event_batch_count(body.data, body.length), 0);
	strbuf_release(&body);
	strbuf_release(&envelope);
}

static void bundles_are_bounded(void **state)
{
	struct bundle bundle;

	(void)state;
	bundle_begin(&bundle, "eu", 3);
	assert_string_equal(bundle.target, "eu");
	assert_true(bundle_has_room(&bundle, 10 * EVENT_BATCH_BYTES_MAX)); /* alone */
	bundle_add(&bundle, 7, EVENT_BATCH_BYTES_MAX - 100);
	assert_true(bundle_has_room(&bundle, 100));
	assert_false(bundle_has_room(&bundle, 101));
	bundle_add(&bundle, 8, 10);
	bundle_add(&bundle, 9, 10);
	assert_false(bundle_has_room(&bundle, 10));
	assert_int_equal(bundle.count, 3);
	assert_int_equal(bundle.rows[2], 9);
	bundle_begin(&bundle, "eu", 100000);
	assert_int_equal(bundle.events_max, EVENT_BATCH_EVENTS_MAX);
	assert_int_equal(bundle.count, 0);
}

static void each_region_has_its_own(void **state)
{
	struct bundles *bundles = calloc(1, sizeof(*bundles));
	char name[16];

	(void)state;
	assert_non_null(bundles);
	for (int i = 0; i < BUNDLES_MAX; i++) {
		struct bundle *bundle = bundles_place(bundles);

		snprintf(name, sizeof(name), "r%d", i);
		assert_int_equal(bundle->count, 0);
		bundle_begin(bundle, name, 2);
		bundle_add(bundle, i, 1);
	}
	assert_int_equal(bundles_find(bundles, "r5")->rows[0], 5);
	assert_null(bundles_find(bundles, "other"));
	/* The one begun first makes room, with what is in it for the caller to send. */
	assert_string_equal(bundles_place(bundles)->target, "r0");
	assert_string_equal(bundles_place(bundles)->target, "r1");
	assert_int_equal(bundles->count, BUNDLES_MAX);
	free(bundles);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(arrays_are_counted),
		cmocka_unit_test(more_than_are_taken_are_none),
		cmocka_unit_test(bundles_are_bounded),
		cmocka_unit_test(each_region_has_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

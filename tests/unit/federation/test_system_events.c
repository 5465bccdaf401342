/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System events: each follows its schema, the ring is bounded and says what it
 * dropped, readers are told where they are, and what runs out is told in time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/metrics.h"
#include "federation/event.h"
#include "federation/event_schema.h"
#include "federation/system_events.h"

#define DAY_S 86400

static struct system_events *make(bool has_broker)
{
	struct system_events *system = system_events_create("eu", has_broker, clock_system(), random_system());

	assert_non_null(system);
	return system;
}

static json_t *read_all(struct system_events *system, const char *run, uint64_t after, const char *prefix)
{
	struct strbuf text = STRBUF_INIT;
	json_t *answer = NULL;

	(void)system_events_read(system, run, after, prefix, &text);
	assert_int_equal(json_parse(text.data, text.length, &answer, NULL), STATUS_OK);
	strbuf_release(&text);
	return answer;
}

static size_t count_of(const json_t *answer)
{
	return json_array_size(json_object_get(answer, "events"));
}

static int64_t number_of(const json_t *answer, const char *member)
{
	int64_t number = -1;

	assert_true(json_get_integer(answer, member, &number));
	return number;
}

static void say_everything(struct system_events *system)
{
	static const struct system_ledger ledger = { "na", "eu", "2026-11-21T04:00:00.000000Z",
		"2026-11-21T05:00:00.000000Z", 7200, 7197, 3, 0 };
	static const struct system_gap gap = { 12, "na", "/billing", 17, 18, 30000, false };
	struct system_log_alarm budget = { "budget_misses", "na", "cs-auth", NULL, -1 };
	struct system_log_alarm full = { "write_failed", NULL, NULL, "no space left", 17 };

	system_say_peer(system, "na", false, "connection_timeout", 0);
	system_say_peer(system, "na", true, "ok", 41);
	system_say_link(system, "na", "eu", false);
	system_say_link(system, "na", "eu", true);
	system_say_denials(system, "na", NULL, 100, 60);
	system_say_denials(system, NULL, "cs-auth", 100, 60);
	system_say_certificate(system, "peer", "spiffe://live.example/region/eu", 1000 * DAY_S, 993 * DAY_S);
	system_say_certificate(system, "peer", "spiffe://live.example/region/eu", 1000 * DAY_S, 1000 * DAY_S + 1);
	system_say_routes(system, 12, 3);
	system_say_log_alarm(system, &budget);
	system_say_log_alarm(system, &full);
	system_say_travel(system, "5d1c0a4be1f2a7c3", "ap", "eu", 1200, 28800);
	system_say_gap(system, &gap);
	system_say_webhook_paused(system, "billing", "gone");
	system_say_ledger(system, &ledger);
}

static void all_that_is_said_follows_its_schema(void **state)
{
	struct system_events *system = make(false);
	struct event_schemas *schemas = NULL;
	struct strbuf why = STRBUF_INIT;
	json_t *answer, *row;
	size_t i;

	(void)state;
	assert_int_equal(event_schemas_load("", &schemas, &why), STATUS_OK);
	say_everything(system);
	answer = read_all(system, "", 0, "");
	assert_int_equal(count_of(answer), 15);
	json_array_foreach(json_object_get(answer, "events"), i, row)
	{
		const json_t *envelope = json_object_get(row, "event");
		const char *type = json_get_string(envelope, "type");
		const struct event_schema *schema = event_schema_find(
			schemas, type, json_get_string(envelope, "dataschema"));
		char *text = json_dumps(envelope, 0);
		struct event event;

		assert_non_null(schema);
		if (event_schema_check(schema, json_object_get(envelope, "data"), &why) != STATUS_OK)
			fail_msg("%s: %s", type, why.data);
		if (event_parse(text, strlen(text), EVENT_CARRIED, &event, &why) != STATUS_OK)
			fail_msg("%s: %s", type, why.data);
		assert_string_equal(
			json_get_string(envelope, "dataclassification"), event_schema_classification(schema));
		assert_string_equal(event.origin, "eu");
		event_release(&event);
		free(text);
	}
	json_decref(answer);
	event_schemas_destroy(schemas);
	strbuf_release(&why);
	system_events_destroy(system);
}

static void whole_days_are_left(void **state)
{
	struct system_events *system = make(false);
	json_t *answer;

	(void)state;
	system_say_certificate(system, "peer", "s", 100 * DAY_S, 93 * DAY_S);
	system_say_certificate(system, "peer", "s", 100 * DAY_S, 100 * DAY_S - 1);
	system_say_certificate(system, "peer", "s", 100 * DAY_S, 100 * DAY_S + 1);
	answer = read_all(system, "", 0, "");
	for (size_t i = 0; i < 3; i++) {
		static const int64_t left[] = { 7, 0, -1 };
		const json_t *event = json_object_get(json_array_get(json_object_get(answer, "events"), i), "event");

		assert_int_equal(number_of(json_object_get(event, "data"), "days_left"), left[i]);
	}
	json_decref(answer);
	system_events_destroy(system);
}

static void a_reader_is_told_where_it_is(void **state)
{
	struct system_events *system = make(false);
	struct strbuf text = STRBUF_INIT;
	char run[64];
	json_t *answer;

	(void)state;
	assert_false(system_events_read(system, "", 0, "", &text));
	say_everything(system);
	answer = read_all(system, "", 0, "homeward.link.");
	assert_int_equal(count_of(answer), 2);
	assert_int_equal(number_of(answer, "last"), 15);
	(void)snprintf(run, sizeof(run), "%s", json_get_string(answer, "run"));
	json_decref(answer);
	assert_false(system_events_read(system, run, 15, "", &text));
	answer = read_all(system, run, 14, "");
	assert_int_equal(count_of(answer), 1);
	json_decref(answer);
	/* Numbers of another process mean nothing here. */
	answer = read_all(system, "another", 14, "");
	assert_int_equal(count_of(answer), 15);
	json_decref(answer);
	strbuf_release(&text);
	system_events_destroy(system);
}

static void what_was_missed_is_said(void **state)
{
	struct system_events *system = make(false);
	json_t *answer;

	(void)state;
	for (int i = 0; i < SYSTEM_EVENTS_KEPT + 5; i++)
		system_say_routes(system, 1, (uint64_t)i);
	answer = read_all(system, "", 2, "");
	assert_int_equal(number_of(answer, "missed"), 3);
	assert_int_equal(count_of(answer), SYSTEM_EVENTS_ANSWER);
	assert_int_equal(number_of(answer, "last"), 5 + SYSTEM_EVENTS_ANSWER);
	json_decref(answer);
	system_events_destroy(system);
}

static void the_last_alarms_are_told(void **state)
{
	struct system_events *system = make(false);
	struct strbuf text = STRBUF_INIT;
	json_t *alarms = NULL;

	(void)state;
	system_events_alarms(system, 5, &text);
	assert_string_equal(text.data, "[]");
	say_everything(system);
	system_say_routes(system, 1, 2);
	strbuf_reset(&text);
	system_events_alarms(system, 2, &text);
	assert_int_equal(json_parse(text.data, text.length, &alarms, NULL), STATUS_OK);
	assert_int_equal(json_array_size(alarms), 2);
	assert_int_equal(number_of(json_array_get(alarms, 0), "number"), 14);
	assert_int_equal(number_of(json_array_get(alarms, 1), "number"), 15);
	json_decref(alarms);
	strbuf_release(&text);
	system_events_destroy(system);
}

static double dropped(void)
{
	struct strbuf text = STRBUF_INIT;
	const char *line;
	double value = -1;

	metrics_write(&text);
	line = strstr(text.data, "\nhomeward_system_events_dropped_total ");
	if (line != NULL)
		value = strtod(strchr(line + 1, ' '), NULL);
	strbuf_release(&text);
	return value;
}

static void the_broker_is_told_what_was_dropped(void **state)
{
	struct system_events *system = make(true);
	double before = dropped();
	struct system_event event;

	(void)state;
	for (int i = 0; i < SYSTEM_EVENTS_KEPT + 5; i++)
		system_say_routes(system, 1, (uint64_t)i);
	assert_true(system_events_next(system, system_events_last_published(system), &event));
	assert_int_equal(event.number, 6);
	assert_string_equal(event.type, "homeward.routes.changed");
	assert_non_null(strstr(event.text.data, "},\"missed\":5}"));
	strbuf_release(&event.text);
	assert_true(dropped() - before == 5);
	/* What was published is not dropped when its place is needed. */
	system_events_published(system, SYSTEM_EVENTS_KEPT + 5);
	system_say_routes(system, 1, 1);
	assert_true(dropped() - before == 5);
	assert_true(system_events_next(system, system_events_last_published(system), &event));
	assert_null(strstr(event.text.data, "missed"));
	strbuf_release(&event.text);
	system_events_published(system, event.number);
	assert_false(system_events_next(system, system_events_last_published(system), &event));
	system_events_destroy(system);
}

static void an_end_is_told_in_time(void **state)
{
	struct system_expiries expiries = { NULL, 0 };
	const int64_t end = 1000 * (int64_t)DAY_S;

	(void)state;
	assert_false(system_expiry_is_due(&expiries, "peer", "eu", end, end - 30 * DAY_S - 1));
	assert_true(system_expiry_is_due(&expiries, "peer", "eu", end, end - 30 * DAY_S));
	assert_false(system_expiry_is_due(&expiries, "peer", "eu", end, end - 30 * DAY_S + 60));
	assert_true(system_expiry_is_due(&expiries, "peer", "na", end, end - 30 * DAY_S + 60));
	assert_true(system_expiry_is_due(&expiries, "peer", "eu", end, end - 29 * DAY_S));
	/* A nearer threshold does not wait for the day to be over. */
	assert_true(system_expiry_is_due(&expiries, "peer", "eu", end, end - 7 * DAY_S - 60));
	assert_true(system_expiry_is_due(&expiries, "peer", "eu", end, end - 7 * DAY_S));
	assert_true(system_expiry_is_due(&expiries, "peer", "eu", end, end + DAY_S));
	/* A new certificate is another one. */
	assert_false(system_expiry_is_due(&expiries, "peer", "eu", end + 90 * (int64_t)DAY_S, end + DAY_S));
	assert_int_equal(expiries.count, 2);
	assert_false(system_expiry_is_due(&expiries, "revocation_list", "eu", end, end - 29 * DAY_S));
	assert_true(system_expiry_is_due(&expiries, "revocation_list", "eu", end, end - 7 * DAY_S));
	system_expiries_release(&expiries);
}

static void nobody_listening_is_no_fault(void **state)
{
	(void)state;
	say_everything(NULL);
	system_events_refuse(NULL);
	system_events_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_is_said_follows_its_schema),
		cmocka_unit_test(whole_days_are_left),
		cmocka_unit_test(a_reader_is_told_where_it_is),
		cmocka_unit_test(what_was_missed_is_said),
		cmocka_unit_test(the_last_alarms_are_told),
		cmocka_unit_test(the_broker_is_told_what_was_dropped),
		cmocka_unit_test(an_end_is_told_in_time),
		cmocka_unit_test(nobody_listening_is_no_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

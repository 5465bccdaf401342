/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking of events: envelopes, routing keys, the three witnesses of an arrival,
 * and what may leave.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "federation/event.h"

#define BASE "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a.b\",\"destination\":\"eu\""

static void expect(const char *text, enum event_side side, const char *complaint)
{
	struct strbuf why = STRBUF_INIT;
	struct event event;
	enum status status = event_parse(text, strlen(text), side, &event, &why);

	if (complaint == NULL) {
		assert_string_equal(why.data, "");
		assert_int_equal(status, STATUS_OK);
	} else {
		assert_int_equal(status, STATUS_INVALID);
		assert_null(event.envelope);
		if (strstr(why.data, complaint) == NULL)
			fail_msg("\"%s\" does not say \"%s\"", why.data, complaint);
	}
	event_release(&event);
	strbuf_release(&why);
}

#define SIXTEEN "application/json"

static void test_envelopes(void **state)
{
	(void)state;
	expect("{" BASE "}", EVENT_SUBMITTED, NULL);
	expect("{" BASE ",\"data\":[1,null],\"flag\":true,\"number\":7,\"subject\":\"x\"}", EVENT_SUBMITTED, NULL);
	expect("{" BASE ",\"data_base64\":\"AA==\"}", EVENT_SUBMITTED, NULL);
	expect("[]", EVENT_SUBMITTED, "not a JSON object");
	expect("{" BASE, EVENT_SUBMITTED, "line");
	expect("{" BASE ",\"id\":\"2\"}", EVENT_SUBMITTED, "line");
	expect("{" BASE ",\"data\":1,\"data_base64\":\"AA==\"}", EVENT_SUBMITTED, "data_base64");
	expect("{" BASE ",\"x-y\":\"1\"}", EVENT_SUBMITTED, "attribute name");
	expect("{" BASE ",\"number\":1.5}", EVENT_SUBMITTED, "number");
	expect("{" BASE ",\"number\":2147483648}", EVENT_SUBMITTED, "32-bit");
	expect("{" BASE ",\"time\":\"yesterday\"}", EVENT_SUBMITTED, "time");
	expect("{" BASE ",\"subject\":\"a\\nb\"}", EVENT_SUBMITTED, "control");
	expect("{" BASE ",\"subject\":\"\"}", EVENT_SUBMITTED, "subject");
	expect("{" BASE ",\"datacontenttype\":7}", EVENT_SUBMITTED, "datacontenttype: not a text");
	expect("{" BASE ",\"tracestate\":\"\"}", EVENT_SUBMITTED, "tracestate: not a text");
	expect("{" BASE ",\"datacontenttype\":\"" SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN "\"}",
		EVENT_SUBMITTED, NULL);
	expect("{" BASE ",\"datacontenttype\":\"" SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN
	       "x\"}",
		EVENT_SUBMITTED, "datacontenttype: too long");
}

static void test_required_attributes(void **state)
{
	(void)state;
	expect("{\"id\":\"1\",\"source\":\"/s\",\"type\":\"a\",\"destination\":\"eu\"}", EVENT_SUBMITTED,
		"specversion");
	expect("{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a\",\"destination\":\"eu\"}",
		EVENT_SUBMITTED, "not 1.0");
	expect("{\"specversion\":\"1.0\",\"source\":\"/s\",\"type\":\"a\",\"destination\":\"eu\"}", EVENT_SUBMITTED,
		"id");
	expect("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a..b\",\"destination\":\"eu\"}",
		EVENT_SUBMITTED, "type");
	expect("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a.#\",\"destination\":\"eu\"}",
		EVENT_SUBMITTED, "type");
	expect("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a\",\"destination\":\"e.u\"}",
		EVENT_SUBMITTED, "destination");
	expect("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a\"}", EVENT_SUBMITTED,
		"destination");
}

static void test_origin_is_only_homewards(void **state)
{
	(void)state;
	expect("{" BASE ",\"originregion\":\"na\"}", EVENT_SUBMITTED, "only homeward");
	expect("{" BASE ",\"sequence\":\"000000000000000001\"}", EVENT_SUBMITTED, "only homeward");
	expect("{" BASE ",\"originregion\":\"na\",\"sequence\":\"000000000000000001\"}", EVENT_CARRIED, NULL);
	expect("{" BASE "}", EVENT_CARRIED, "originregion");
	expect("{" BASE ",\"originregion\":\"na\",\"sequence\":\"1x\"}", EVENT_CARRIED, "sequence");
	expect("{" BASE ",\"originregion\":\"na\",\"sequence\":\"9\",\"skippedfrom\":\"7\"}", EVENT_CARRIED, NULL);
	expect("{" BASE ",\"originregion\":\"na\",\"sequence\":\"9\",\"skippedfrom\":\"10\"}", EVENT_CARRIED,
		"skippedfrom");
	expect("{" BASE ",\"skippedfrom\":\"7\"}", EVENT_SUBMITTED, "only homeward");
	expect("{" BASE ",\"originregion\":\"na\",\"outboxtime\":\"2026-11-21T04:12:09.000001Z\"}", EVENT_CARRIED,
		NULL);
	expect("{" BASE ",\"originregion\":\"na\",\"outboxtime\":\"yesterday\"}", EVENT_CARRIED, "outboxtime");
	expect("{" BASE ",\"outboxtime\":\"2026-11-21T04:12:09Z\"}", EVENT_SUBMITTED, "only homeward");
}

static void test_keys(void **state)
{
	static const char *const bad[] = { "", "eu", "eu.na", "eu.na.", "eu..t", ".na.t", "eu.na.t.", "EU.na.t",
		"eu.na.t#" };
	struct event_key key;

	(void)state;
	assert_int_equal(event_key_parse("eu.na.a.b.cXX", 11, &key), STATUS_OK);
	assert_string_equal(key.destination, "eu");
	assert_string_equal(key.origin, "na");
	assert_string_equal(key.type, "a.b.c");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(event_key_parse(bad[i], strlen(bad[i]), &key), STATUS_INVALID);
	assert_int_equal(event_key_parse("eu.na.t\0x", 9, &key), STATUS_INVALID);
}

static enum event_verdict judge_type(
	const char *key, const char *link, const char *destination, const char *more, const char *type, bool is_batched)
{
	struct strbuf why = STRBUF_INIT;
	struct event event;
	char body[512];
	enum event_verdict verdict;

	snprintf(body, sizeof(body),
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"%s\",\"destination\":\"%s\","
		"\"originregion\":\"na\"%s}",
		type, destination, more);
	verdict = event_judge(
		&(struct event_arrival){ "eu", key, strlen(key), link, body, strlen(body), 1000000, is_batched },
		&event, &why);
	assert_true((verdict == EVENT_TAKE) == (why.length == 0));
	assert_true((verdict == EVENT_TAKE || verdict == EVENT_DEAD_EXPIRED) == (event.envelope != NULL));
	event_release(&event);
	strbuf_release(&why);
	return verdict;
}

static enum event_verdict judge(const char *key, const char *link, const char *destination, const char *more)
{
	return judge_type(key, link, destination, more, "t", false);
}

/* Of several in one message: the key tells the regions, and homeward's own events never come so. */
static void test_batched(void **state)
{
	static const char key[] = "eu.na.homeward.batch";

	(void)state;
	assert_int_equal(judge_type(key, "na", "eu", "", "t", true), EVENT_TAKE);
	assert_int_equal(
		judge_type(key, "na", "eu", ",\"expirytime\":\"1970-01-01T00:00:01Z\"", "t", true), EVENT_DEAD_EXPIRED);
	assert_int_equal(judge_type(key, "na", "ap", "", "t", true), EVENT_DEAD_FORGED);
	assert_int_equal(judge_type(key, "ap", "eu", "", "t", true), EVENT_DEAD_FORGED);
	assert_int_equal(judge_type(key, "na", "eu", "", "homeward.receipt", true), EVENT_DEAD_FORGED);
	assert_int_equal(judge_type(key, "na", "eu", "", "homeward.batch", true), EVENT_DEAD_FORGED);
	assert_int_equal(judge_type("ap.na.homeward.batch", "na", "ap", "", "t", true), EVENT_DISCARD_FOREIGN);
	assert_int_equal(judge_type(key, "na", "eu", "", "t", false), EVENT_DEAD_FORGED);
}

static void test_arrivals(void **state)
{
	(void)state;
	assert_int_equal(judge("eu.na.t", "na", "eu", ""), EVENT_TAKE);
	assert_int_equal(judge("all.na.t", "na", "all", ""), EVENT_TAKE);
	assert_int_equal(judge("ap.na.t", "na", "ap", ""), EVENT_DISCARD_FOREIGN);
	assert_int_equal(judge("nonsense", "na", "eu", ""), EVENT_DEAD_MALFORMED);
	assert_int_equal(judge("eu.na.t", "na", "eu", ",\"time\":1"), EVENT_DEAD_MALFORMED);
	/* Another region's link, no link at all, another origin in the key, another type or destination inside. */
	assert_int_equal(judge("eu.na.t", "ap", "eu", ""), EVENT_DEAD_FORGED);
	assert_int_equal(judge("eu.na.t", NULL, "eu", ""), EVENT_DEAD_FORGED);
	assert_int_equal(judge("eu.ap.t", "ap", "eu", ""), EVENT_DEAD_FORGED);
	assert_int_equal(judge("eu.na.u", "na", "eu", ""), EVENT_DEAD_FORGED);
	assert_int_equal(judge("all.na.t", "na", "eu", ""), EVENT_DEAD_FORGED);
	/* A broadcast once more, to the one region that has not receipted it. */
	assert_int_equal(judge("eu.na.t", "na", "all", ""), EVENT_TAKE);
	assert_int_equal(judge("eu.na.t", "na", "eu", ",\"expirytime\":\"1970-01-01T00:00:01Z\""), EVENT_DEAD_EXPIRED);
	assert_int_equal(judge("eu.na.t", "na", "eu", ",\"expirytime\":\"1970-01-01T00:00:02Z\""), EVENT_TAKE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_envelopes),
		cmocka_unit_test(test_required_attributes),
		cmocka_unit_test(test_origin_is_only_homewards),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_arrivals),
		cmocka_unit_test(test_batched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

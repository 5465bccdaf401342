/* SPDX-License-Identifier: Apache-2.0 */
/* Batch, locate, authorize and the API's own description, over loopback. */
#include "tests/unit/support/fake_region.h"

static void test_batch_answers_in_order(void **state)
{
	struct region *region = *state;
	const char *body =
		"{\"lookups\":["
		"{\"type\":\"token\",\"id\":\"NA-1\",\"purpose\":\"charge.authorize\",\"station\":\"EU-1\"},"
		"{\"type\":\"token\",\"id\":\"NA-NONE\",\"purpose\":\"charge.authorize\",\"station\":\"EU-1\"},"
		"{\"type\":\"driver\",\"id\":\"x\",\"purpose\":\"charge.authorize\"},"
		"{\"type\":\"token\",\"id\":\"NA-DOWN\",\"purpose\":\"charge.authorize\",\"station\":\"EU-1\"},"
		"{\"type\":\"token\",\"id\":\"EU-HERE\",\"purpose\":\"charge.authorize\"},"
		"{\"type\":\"token\",\"id\":\"NA-1\",\"purpose\":\"analytics\"},"
		"{\"type\":\"token\",\"id\":7,\"purpose\":\"analytics\"},"
		"{\"type\":\"token\",\"id\":\"NA-1\",\"purpose\":\"charge.authorize\",\"colour\":\"red\"},"
		"5]}";
	static const char *const outcomes[] = { "found", "not_available", "error", "error", "found", "error", "error",
		"error", "error" };
	static const char *const codes[] = { NULL, NULL, "invalid", "home-unreachable", NULL, "purpose-not-allowed",
		"invalid", "invalid", "invalid" };
	for (int round = 0; round < 2; round++) {
		struct reply reply = ask(region, "POST", "/v1/objects:batch", "charge", "", body);
		assert_int_equal(reply.status, 200);
		json_t *answer = json_loads(reply.body, 0, NULL), *answers = json_object_get(answer, "answers");
		assert_int_equal(json_array_size(answers), 9);
		for (size_t i = 0; i < 9; i++) {
			const json_t *item = json_array_get(answers, i);
			assert_string_equal(json_get_string(item, "status"), outcomes[i]);
			assert_non_null(json_get_string(item, "exchange"));
			if (codes[i])
				assert_string_equal(json_get_string(item, "code"), codes[i]);
		}
		const json_t *first = json_array_get(answers, 0);
		assert_string_equal(json_get_string(first, "cache"), round ? "hit" : "miss");
		assert_string_equal(json_get_string(json_object_get(first, "answer"), "id"), "NA-1");
		json_decref(answer);
		free(reply.text);
	}
}

static void test_batch_bounds(void **state)
{
	struct region *region = *state;
	EXPECT(ask(region, "POST", "/v1/objects:batch", "charge", "", "{\"lookups\":[]}"), 200, "{\"answers\":[]}");
	EXPECT(ask(region, "POST", "/v1/objects:batch", "charge", "", "{\"lookups\":5}"), 400, NULL);
	EXPECT(ask(region, "POST", "/v1/objects:batch", "charge", "", "{\"lookups\":[],\"x\":1}"), 400, NULL);
	EXPECT(ask(region, "POST", "/v1/objects:batch", "charge", "", "[]"), 400, NULL);
	for (int count = 1000; count <= 1001; count++) {
		struct strbuf body = STRBUF_INIT;
		strbuf_adds(&body, "{\"lookups\":[");
		for (int i = 0; i < count; i++)
			strbuf_addf(&body,
				"%s{\"type\":\"token\",\"id\":\"NA-%d\",\"purpose\":\"charge.authorize\",\"station\":"
				"\"EU-1\"}",
				i ? "," : "", i % 500);
		strbuf_adds(&body, "]}");
		struct reply reply = ask(region, "POST", "/v1/objects:batch", "charge", "", body.data);
		assert_int_equal(reply.status, count > 1000 ? 413 : 200);
		strbuf_release(&body);
		free(reply.text);
	}
	assert_int_equal(delegations, 500);
}

static void test_locate_tells_where_and_crosses_nothing(void **state)
{
	struct region *region = *state;
	EXPECT(get(region, "/v1/locate/token/NA-1", "charge", ""), 200, "\"home\":\"na\"", "\"found_by\":\"prefix\"",
		"\"key\":\"NA\"", "\"would_cross_border\":true", "\"generation\":3");
	EXPECT(get(region, "/v1/locate/token/EU-HERE", "charge", ""), 200, "\"home\":\"eu\"", "\"found_by\":\"exact\"",
		"\"would_cross_border\":false");
	EXPECT(get(region, "/v1/locate/token/ZZ-HERE", "charge", ""), 200, "\"home\":\"eu\"", "\"found_by\":\"local\"");
	EXPECT(get(region, "/v1/locate/token/ZZ", "charge", ""), 200, "\"home\":null", "\"found_by\":\"none\"",
		"\"would_cross_border\":false");
	EXPECT(get(region, "/v1/locate/token/ZZ-BROKEN", "charge", ""), 503, NULL);
	/* The gate lets analytics see no token: then nobody tells it where one is at home, nor whether there is one. */
	EXPECT(get(region, "/v1/locate/token/NA-1", "insights", ""), 403, "\"purpose-not-allowed\"");
	EXPECT(get(region, "/v1/locate/token/ZZ", "insights", ""), 403, "\"purpose-not-allowed\"");
	EXPECT(get(region, "/v1/locate/token/ZZ", "operator", ""), 200, NULL);
	assert_int_equal(delegations, 0);
}

static struct reply authorize(const struct region *region, const char *body)
{
	return ask(region, "POST", "/v1/authorize", "charge", "", body);
}

static void test_authorize_says_one_word(void **state)
{
	struct region *region = *state;
	EXPECT(authorize(region, "{\"token\":\"NA-1\",\"station\":\"EU-1\"}"), 200, "{\"status\":\"ALLOWED\"",
		"\"home\":\"na\"", "\"source\":\"home\"", "\"exchange\":\"");
	EXPECT(authorize(region, "{\"id\":\"NA-1\",\"station\":\"EU-2\"}"), 200, "{\"status\":\"ALLOWED\"",
		"\"source\":\"cache\"");
	EXPECT(authorize(region, "{\"token\":\"NA-BLOCKED\",\"station\":\"EU-1\"}"), 200, "\"BLOCKED\"");
	EXPECT(authorize(region, "{\"token\":\"EU-HERE\",\"station\":\"EU-1\"}"), 200, "\"ALLOWED\"",
		"\"source\":\"local\"");
	EXPECT(authorize(region, "{\"token\":\"NA-NONE\",\"station\":\"EU-1\"}"), 200, "\"NOT_ALLOWED\"",
		"\"home\":null", "\"source\":\"none\"");
	EXPECT(authorize(region, "{\"token\":\"ZZ\",\"station\":\"EU-1\"}"), 200, "\"NOT_ALLOWED\"", "\"home\":null",
		"\"source\":\"none\"");
	EXPECT(authorize(region, "{\"token\":\"NA-2\"}"), 200, "\"NOT_ALLOWED\""); /* no evidence: the gate refuses */
	assert_int_equal(delegations, 3);
}

static void test_authorize_refuses_malformed_bodies(void **state)
{
	struct region *region = *state;
	EXPECT(authorize(region, "{\"token\":\"A\",\"id\":\"A\"}"), 400, "exactly one");
	EXPECT(authorize(region, "{\"station\":\"A\"}"), 400, "exactly one");
	EXPECT(authorize(region, "{\"token\":7}"), 400, "token: not a string");
	EXPECT(authorize(region, "{\"token\":\"A\",\"statoin\":\"B\"}"), 400, NULL);
	EXPECT(authorize(region, "{\"token\":\"A\",\"purpose\":\"analytics\"}"), 403, "purpose-not-allowed");
	EXPECT(authorize(region, "\"A\""), 400, NULL);
	assert_int_equal(delegations, 0);
}

static void test_authorize_never_guesses_when_the_home_is_away(void **state)
{
	struct region *region = *state;
	const char *good = "{\"token\":\"NA-1\",\"station\":\"EU-1\"}";
	const char *blocked = "{\"token\":\"NA-BLOCKED\",\"station\":\"EU-1\"}";
	EXPECT(authorize(region, good), 200, "\"ALLOWED\"");
	EXPECT(authorize(region, blocked), 200, "\"BLOCKED\"");
	home_is_down = true;
	EXPECT(authorize(region, good), 200, "\"ALLOWED\"", "\"source\":\"cache\"");
	clock_added_ms = 301 * 1000; /* both records have expired */
	EXPECT(authorize(region, good), 503, "Proxy-Status: ");
	EXPECT(authorize(region, blocked), 200, "\"BLOCKED\"", "\"source\":\"cache\"");
	clock_added_ms = 2 * 3600 * 1000; /* and are too old for anything */
	EXPECT(authorize(region, blocked), 503, "Proxy-Status: ");
}

static void test_description_is_served(void **state)
{
	struct region *region = *state;
	struct reply reply = get(region, "/openapi.json", NULL, "");
	assert_int_equal(reply.status, 200);
	json_t *document = json_loads(reply.body, 0, NULL);
	assert_non_null(document);
	assert_string_equal(json_get_string(document, "openapi"), "3.1.0");
	json_t *paths = json_object_get(document, "paths");
	size_t count = 0;
	const struct http_route *routes = locator_routes(&count);
	for (size_t i = 0; i < count; i++) {
		char method[16];
		snprintf(method, sizeof(method), "%s", routes[i].method);
		for (char *c = method; *c; c++)
			*c = (char)(*c | 0x20);
		const json_t *operation = json_object_get(json_object_get(paths, routes[i].pattern), method);
		if (!json_get_string(operation, "operationId"))
			fail_msg("%s %s is not described", routes[i].method, routes[i].pattern);
	}
	json_decref(document);
	free(reply.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_batch_answers_in_order),
		TEST(test_batch_bounds),
		TEST(test_locate_tells_where_and_crosses_nothing),
		TEST(test_authorize_says_one_word),
		TEST(test_authorize_refuses_malformed_bodies),
		TEST(test_authorize_never_guesses_when_the_home_is_away),
		TEST(test_description_is_served),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

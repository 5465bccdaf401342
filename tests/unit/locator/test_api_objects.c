/* SPDX-License-Identifier: Apache-2.0 */
/* GET, PUT and DELETE of objects over loopback: who may ask, the cache's headers, conditions, failures. */
#include "tests/unit/support/fake_region.h"

#define AT_EU "?purpose=charge.authorize&station=EU-1"

static void test_caller_is_known_before_anything_is_read(void **state)
{
	struct region *region = *state;
	EXPECT(get(region, "/v1/objects/nonsense/x", NULL, ""), 401, "WWW-Authenticate: Bearer", "\"unauthenticated\"");
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "guess", ""), 401, NULL);
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "insights", ""), 403, "\"purpose-not-allowed\"");
	EXPECT(ask(region, "POST", "/v1/objects:batch", NULL, "", "{"), 401, NULL);
	EXPECT(ask(region, "POST", "/v1/authorize", NULL, "", "{"), 401, NULL);
	EXPECT(get(region, "/v1/locate/token/NA-1", NULL, ""), 401, NULL);
	EXPECT(ask(region, "DELETE", "/v1/objects/token/NA-1", NULL, "", NULL), 401, NULL);
	assert_int_equal(fetches + delegations, 0);
}

static void test_malformed_questions_name_the_parameter(void **state)
{
	struct region *region = *state;
	static const struct {
		const char *path, *needle;
	} cases[] = {
		{ "/v1/objects/token/NA-1?station=EU-1", "purpose: missing" },
		{ "/v1/objects/token/NA-1?purpose=A%20b", "purpose: not a purpose name" },
		{ "/v1/objects/driver/NA-1?purpose=charge.authorize", "type: not a type" },
		{ "/v1/objects/token/NA-1" AT_EU "&statoin=2", "statoin: not a parameter" },
		{ "/v1/objects/token/NA-1" AT_EU "&station_type=car", "station_type: not a type" },
		{ "/v1/objects/token/NA-1?purpose=charge.authorize&station_type=station",
			"station_type: given without" },
		{ "/v1/objects/token/NA-1" AT_EU "&tap=yesterday", "tap: not an RFC 3339 time" },
		{ "/v1/objects/token/NA-1?purpose=charge.authorize&station=", "station: missing" },
		{ "/v1/locate/driver/x", "type: not a type" },
		{ "/v1/locate/token/x?deep=1", "deep: not a parameter" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EXPECT(get(region, cases[i].path, "operator", ""), 400, "application/problem+json", cases[i].needle);
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge", "Homeward-Timeout-Ms: soon\r\n"), 400,
		"Homeward-Timeout-Ms: not a number");
	struct reply reply = get(region, "/v1/objects/token/NA-1" AT_EU, "charge", "Homeward-Timeout-Ms: soon\r\n");
	assert_null(strstr(reply.text, "00000000-0000"));
	free(reply.text);
	assert_int_equal(fetches + delegations, 0);
}

static void test_miss_then_hit(void **state)
{
	struct region *region = *state;
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge", ""), 200,
		"Cache-Status: homeward-eu; fwd=uri-miss; stored", "ETag: \"7-", "Homeward-Home: na",
		"Homeward-Exchange: ", "Cache-Control: private, max-age=300",
		"{\"type\":\"token\",\"id\":\"NA-1\",\"home\":\"na\",\"version\":7,"
		"\"record\":{\"uid\":\"A\",\"valid\":true}}");
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge", ""), 200,
		"Cache-Status: homeward-eu; hit; ttl=", "Age: 0", "\"record\":{\"uid\":\"A\",\"valid\":true}}");
	clock_added_ms = 100 * 1000;
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge", ""), 200, "hit; ttl=200", "Age: 100");
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge", "If-None-Match: \"6\", W/\"7-e9417404\"\r\n"), 304,
		"ETag: \"7-", "hit; ttl=");
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge", "If-None-Match: \"6\"\r\n"), 200, NULL);
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge",
		       "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n"),
		200, "hit; ttl=", "traceparent: 00-0123456789abcdef0123456789abcdef-");
	assert_int_equal(delegations, 1);
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge", "Cache-Control: no-cache\r\n"), 200,
		"fwd=request");
	assert_int_equal(delegations, 2);
	EXPECT(get(region, "/v1/objects/token/NA-2" AT_EU, "charge", "Cache-Control: only-if-cached\r\n"), 504,
		"\"not-cached\"");
	assert_int_equal(delegations, 2);
	clock_added_ms = 1000 * 1000;
	EXPECT(get(region, "/v1/objects/token/NA-1" AT_EU, "charge", ""), 200, "fwd=uri-miss; stored");
}

static void test_hit_needs_the_evidence_and_the_policy_of_now(void **state)
{
	struct region *region = *state;
	const char *path = "/v1/objects/token/NA-1" AT_EU;
	EXPECT(get(region, path, "charge", ""), 200, "fwd=uri-miss");
	EXPECT(get(region, path, "charge", ""), 200, "; hit");
	EXPECT(get(region, path, "operator", ""), 200, "fwd=uri-miss"); /* released for another caller */
	EXPECT(get(region, "/v1/objects/token/NA-1?purpose=charge.authorize&station=NA-1", "charge", ""), 404, NULL);
	EXPECT(get(region, "/v1/objects/token/NA-1?purpose=charge.authorize", "charge", ""), 404, NULL);
	gate_swap(region->gate, make_policy(2, "\"uid\""));
	EXPECT(get(region, path, "charge", ""), 200, "fwd=uri-miss", "\"record\":{\"uid\":\"A\"}}");
	gate_swap(region->gate, NULL);
	EXPECT(get(region, path, "charge", ""), 404, NULL);
	assert_int_equal(delegations, 3);
}

static void test_forgetting_and_moving_end_a_hit(void **state)
{
	struct region *region = *state;
	const char *path = "/v1/objects/token/NA-1" AT_EU;
	EXPECT(get(region, path, "charge", ""), 200, "fwd=uri-miss");
	EXPECT(get(region, path, "charge", ""), 200, "; hit");
	assert_int_equal(locator_forget(region->locator, NULL), 1);
	EXPECT(get(region, path, "charge", ""), 200, "fwd=uri-miss");
	EXPECT(get(region, path, "charge", ""), 200, "; hit");
	struct route_builder *builder = route_builder_create();
	add_route(builder, "token", ROUTE_PREFIX, "NA", "eu");
	add_route(builder, "station", ROUTE_PREFIX, "EU", "eu");
	routes_swap(region->routes, route_builder_finish(builder, 4));
	EXPECT(get(region, path, "charge", ""), 404, NULL);
}

static void test_station_held_here_counts_without_a_route(void **state)
{
	struct region *region = *state;
	const char *path = "/v1/objects/token/NA-1?purpose=charge.authorize&station=S-HERE";
	EXPECT(get(region, path, "charge", ""), 200, "fwd=uri-miss");
	assert_int_equal(fetches, 1);
	EXPECT(get(region, path, "charge", ""), 200, "; hit");
	int before = fetches;
	clock_added_ms = 1000; /* the station's place is remembered over the second */
	EXPECT(get(region, path, "charge", ""), 200, "; hit");
	EXPECT(get(region, path, "charge", ""), 200, "; hit");
	assert_int_equal(fetches, before);
	EXPECT(get(region, "/v1/objects/token/NA-1?purpose=charge.authorize&station=S-BROKEN", "charge", ""), 503,
		"\"store-unreachable\"");
}

/* Takes out what is fresh in every answer: 8-4-4-4-12 and the trace id, and the Date header. */
static void blank_ids(char *text)
{
	static const char *const names[] = { "Date: ", "\"exchange\":\"", "\"trace_id\":\"" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *at = strstr(text, names[i]);
		assert_non_null(at);
		for (at += strlen(names[i]); *at != '"' && *at != '\r'; at++)
			*at = 'x';
	}
}

static void test_denied_and_unknown_look_the_same(void **state)
{
	struct region *region = *state;
	const char *const paths[] = {
		"/v1/objects/token/ZZ-nowhere" AT_EU,                    /* no route, not here */
		"/v1/objects/token/NA-NONE" AT_EU,                       /* its home says no */
		"/v1/objects/token/NA-NONE" AT_EU,                       /* and that is remembered */
		"/v1/objects/token/NA-1?purpose=charge.authorize",       /* denied by the own gate */
		"/v1/objects/token/NA-1?purpose=analytics&station=EU-1", /* likewise */
		"/v1/objects/token/EU-HERE?purpose=analytics",           /* denied for an object held here */
	};
	struct reply first = get(region, paths[0], "operator", "");
	assert_int_equal(first.status, 404);
	blank_ids(first.text);
	for (size_t i = 1; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct reply reply = get(region, paths[i], "operator", "");
		blank_ids(reply.text);
		assert_string_equal(reply.text, first.text);
		free(reply.text);
	}
	free(first.text);
	assert_int_equal(delegations, 1);
}

static void test_failures_are_said_clearly(void **state)
{
	struct region *region = *state;
	EXPECT(get(region, "/v1/objects/token/NA-DOWN" AT_EU, "charge", ""), 503,
		"Proxy-Status: homeward-eu; next-hop=\"na\"; error=connection_refused", "\"home-unreachable\"",
		"Retry-After: 1");
	EXPECT(get(region, "/v1/objects/token/NA-SLOW" AT_EU, "charge", "Homeward-Timeout-Ms: 30\r\n"), 504,
		"\"deadline\"", "Proxy-Status: homeward-eu; next-hop=\"na\"; error=");
	assert_true(is_held);
	later(&held);
	EXPECT(get(region, "/v1/objects/token/EU-BROKEN" AT_EU, "charge", ""), 503, "\"store-unreachable\"");
	region->settings.lookup.in_flight_max = 0;
	EXPECT(get(region, "/v1/objects/token/NA-9" AT_EU, "charge", ""), 503, "Retry-After: 1", "\"overloaded\"");
}

static void test_object_at_home_here(void **state)
{
	struct region *region = *state;
	EXPECT(get(region, "/v1/objects/token/EU-HERE" AT_EU, "charge", ""), 200, "Homeward-Home: eu", "fwd=bypass",
		"Cache-Control: private, no-cache", "\"version\":4,\"record\":{\"uid\":\"A\",\"valid\":true}}");
	assert_int_equal(delegations + gots, 0);
}

static void test_writes_are_conditional_and_at_home_only(void **state)
{
	struct region *region = *state;
	const char *path = "/v1/objects/token/EU-HERE", *body = "{\"valid\":true}";
	EXPECT(ask(region, "PUT", path, "charge", "If-Match: \"4\"\r\n", body), 403, NULL);
	EXPECT(ask(region, "PUT", path, "operator", "", body), 428, NULL);
	EXPECT(ask(region, "PUT", path, "operator", "If-Match: *\r\n", body), 400, "If-Match");
	EXPECT(ask(region, "PUT", path, "operator", "If-Match: \"4\"\r\n", "{\"a\":[{\"b\":1e22}]}"), 400, "2^63");
	EXPECT(ask(region, "PUT", path, "operator", "If-Match: \"4\"\r\nIf-None-Match: *\r\n", body), 400, NULL);
	EXPECT(ask(region, "PUT", path, "operator", "If-Match: \"3-00000000\"\r\n", body), 412, NULL);
	EXPECT(ask(region, "PUT", path, "operator", "If-Match: \"4-1f3c09aa\"\r\n", body), 200, "ETag: \"5\"",
		"\"version\":5");
	EXPECT(ask(region, "PUT", path, "operator", "If-None-Match: *\r\n", body), 412, NULL);
	EXPECT(ask(region, "PUT", "/v1/objects/token/NEW", "operator", "If-None-Match: *\r\n", body), 201, NULL);
	EXPECT(ask(region, "PUT", path, "operator", "If-Match: \"4\"\r\n", "[]"), 400, "not a JSON object");
	EXPECT(ask(region, "PUT", path, "operator", "If-Match: \"4\"\r\n", "{"), 400, NULL);
	EXPECT(ask(region, "PUT", "/v1/objects/token/NA-1", "operator", "If-Match: \"4\"\r\n", body), 421, "region na");
	EXPECT(ask(region, "DELETE", path, "operator", "", NULL), 428, NULL);
	EXPECT(ask(region, "DELETE", path, "operator", "If-Match: \"4\"\r\n", NULL), 204, NULL);
	char *large = malloc(70001);
	assert_non_null(large);
	memset(large, ' ', 70000);
	large[0] = '{';
	large[69999] = '}';
	large[70000] = '\0';
	EXPECT(ask(region, "PUT", path, "operator", "If-Match: \"4\"\r\n", large), 413, NULL);
	free(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_caller_is_known_before_anything_is_read),
		TEST(test_malformed_questions_name_the_parameter),
		TEST(test_miss_then_hit),
		TEST(test_hit_needs_the_evidence_and_the_policy_of_now),
		TEST(test_forgetting_and_moving_end_a_hit),
		TEST(test_station_held_here_counts_without_a_route),
		TEST(test_denied_and_unknown_look_the_same),
		TEST(test_failures_are_said_clearly),
		TEST(test_object_at_home_here),
		TEST(test_writes_are_conditional_and_at_home_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

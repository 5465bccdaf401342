/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy file may say, and that everything else refuses it with a word that helps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policy/policy.h"

#define HEAD                                                                                                           \
	"{\"schema\":\"homeward-policy/1\",\"home\":\"eu\",\"version\":3,\"not_after\":\"2030-01-01T00:00:00Z\","      \
	"\"default\":\"deny\",\"types\":{\"token\":{\"fields\":[\"uid\",\"email\"],\"personal\":true,"                 \
	"\"flags\":{\"subject.restricted\":{\"field\":\"restricted\",\"absent\":\"no\"}}},"                            \
	"\"station\":{\"fields\":[\"name\"],\"personal\":false}}"
#define SERVE "\"id\":\"A\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"type\":[\"token\"]"
#define RULE "{" SERVE ",\"purpose\":[\"charge.authorize\"],\"fields\":[\"uid\"]}"
#define RULES(rule) HEAD ",\"rules\":[" rule "]}"
#define TEST(in, expect)                                                                                               \
	HEAD ",\"rules\":[" RULE "],\"tests\":[{\"name\":\"one\",\"in\":{" in "},\"expect\":{" expect "}}]}"
#define IN "\"operation\":\"serve\",\"requester\":\"na\",\"type\":\"token\",\"purpose\":\"charge.authorize\""
#define NEVER(rule, never) HEAD ",\"rules\":[" rule "],\"invariants\":[{\"never\":{" never "}}]}"

static enum status parse(const char *text, struct policy **policy, struct strbuf *why)
{
	return policy_parse("p.json", text, strlen(text), policy, why);
}

static void assert_refused(const char *text, const char *says)
{
	struct strbuf why = STRBUF_INIT;
	struct policy *policy;
	enum status status = parse(text, &policy, &why);

	if (status != STATUS_INVALID || strstr(why.data, says) == NULL)
		fail_msg("%s\nis %s and not refused with \"%s\" but:\n%s", text, status_name(status), says, why.data);
	assert_null(policy);
	strbuf_release(&why);
}

static void assert_taken(const char *text)
{
	struct strbuf why = STRBUF_INIT;
	struct policy *policy;

	if (parse(text, &policy, &why) != STATUS_OK)
		fail_msg("%s\nis refused:\n%s", text, why.data);
	policy_release_reference(policy);
	strbuf_release(&why);
}

static const struct {
	const char *text, *says;
} mistakes[] = {
	{ "", "p.json: line 1" },
	{ "[]", "p.json: the file: must be an object" },
	{ HEAD ",\"rules\":[" RULE "],\"rulez\":[]}", "/rulez: unknown key; allowed are schema, home" },
	{ HEAD "}", "/rules: is missing" },
	{ HEAD ",\"rules\":[]}", "/rules: must be a list that is not empty" },
	{ "{\"schema\":\"homeward-policy/2\"}", "/schema: must be \"homeward-policy/1\"" },
	{ "{\"default\":\"permit\"}", "/default: must be \"deny\"" },
	{ "{\"home\":\"E U\"}", "/home: must be the name of a region" },
	{ "{\"version\":0}", "/version: must be a whole number" },
	{ "{\"version\":1000000000000}", "/version: must be a whole number" },
	{ "{\"not_after\":\"soon\"}", "/not_after: must be a date" },
	{ "{\"types\":{}}", "/types: must be an object with at least one type" },
	{ "{\"types\":{\"Token\":{}}}", "/types/Token: is no name for a type" },
	{ "{\"types\":{\"t\":{\"fields\":[\"a\",\"a\"],\"personal\":true}}}", "/types/t/fields/1: is there twice" },
	{ "{\"types\":{\"t\":{\"fields\":[\"a,b\"],\"personal\":true}}}", "/types/t/fields/0: must be the name" },
	{ "{\"types\":{\"t\":{\"fields\":[\"a\"]}}}", "/types/t/personal: must be true or false" },
	{ "{\"types\":{\"t\":{\"fields\":[\"a\"],\"flags\":{\"subject.roaming\":{}}}}}", "a flag's name is" },
	{ "{\"types\":{\"t\":{\"fields\":[\"a\"],\"flags\":{\"subject.x\":{\"field\":\"x\"}}}}}",
		"/types/t/flags/subject.x/absent: is missing" },
	{ RULES("7"), "/rules/0: must be an object" },
	{ RULES("{\"id\":\"A\",\"effect\":\"permit\",\"op\":[]}"), "/rules/0/op: unknown key" },
	{ RULES("{\"effect\":\"forbid\"}"), "/rules/0/id: is missing" },
	{ RULES("{\"id\":\"A,B\",\"effect\":\"forbid\"}"), "/rules/0/id: must be at most" },
	{ RULES(RULE "," RULE), "/rules/1/id: rule 0 has the same id" },
	{ RULES("{\"id\":\"absent\",\"effect\":\"permit\",\"fields\":[\"uid\"]}"), "/rules/0/id: \"absent\" is what" },
	{ RULES("{\"id\":\"A\",\"effect\":\"allow\"}"), "/rules/0/effect: must be \"permit\" or \"forbid\"" },
	{ RULES("{\"id\":\"A\",\"effect\":\"permit\"}"), "/rules/0/fields: is missing" },
	{ RULES("{" SERVE ",\"fields\":[\"uidd\"]}"), "/rules/0/fields/0: no type here has a field \"uidd\"" },
	{ RULES("{" SERVE ",\"fields\":[\"name\"]}"), "/rules/0/fields/0: no type here has a field \"name\"" },
	{ RULES("{" SERVE ",\"fields\":[\"*\"]}"), "/rules/0/fields: \"*\" is only for a rule with" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"fields\":[\"uid\"]}"), "/rules/0/fields: a forbid has none" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"operation\":[\"list\"]}"),
		"/rules/0/operation/0: must be \"local\", \"ask\", \"serve\", \"send\" or \"receive\"" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"type\":[\"tokn\"]}"),
		"/rules/0/type/0: \"tokn\" is not one of the names declared" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"to\":[]}"), "/rules/0/to: must be a list that is not empty" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"to\":[\"na\",\"na\"]}"), "/rules/0/to/1: is there twice" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"to\":[\"unknown\"]}"), "it cannot be named here" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"when\":[[\"subject.age\",\"eq\",\"1\"]]}"),
		"/rules/0/when/0: no attribute \"subject.age\"" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"when\":[[\"to\",\"like\",\"n\"]]}"),
		"/rules/0/when/0: the operator must be \"eq\", \"ne\" or \"in\"" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"when\":[[\"to\",\"eq\",\"$from\"]]}"), "a variable is" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"when\":[[\"purpose\",\"eq\",\"$to\"]]}"), "a variable is" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"when\":[[\"subject.roaming\",\"eq\",\"recent\"]]}"),
		"\"recent\" is not one of the names declared" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"when\":[[\"to\",\"eq\"]]}"), "must be [attribute, operator" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"operation\":[\"serve\"],"
		"\"when\":[[\"subject.restricted\",\"ne\",\"no\"]]}"),
		"type station has no flag subject.restricted" },
	{ RULES("{\"id\":\"A\",\"effect\":\"forbid\",\"type\":[\"token\"],"
		"\"when\":[[\"subject.restricted\",\"ne\",\"no\"]]}"),
		"subject.restricted is known to \"local\" and \"serve\" only" },
	{ RULES("{" SERVE ",\"fields\":[\"uid\"],\"obligations\":{\"audit\":\"sync\"}}"),
		"/rules/0/obligations/audit: unknown key" },
	{ RULES("{" SERVE ",\"fields\":[\"uid\"],\"obligations\":{\"cache_ttl_max_s\":-1}}"),
		"/rules/0/obligations/cache_ttl_max_s: must be seconds" },
	{ RULES("{" SERVE ",\"fields\":[\"uid\"],\"obligations\":{\"onward\":\"maybe\"}}"),
		"/rules/0/obligations/onward: must be \"yes\" or \"no\"" },
	{ RULES("{" SERVE ",\"fields\":[\"uid\"],\"basis\":{\"a/b\":1}}"), "/rules/0/basis/a~1b: must be a string" },
};

static void each_mistake_is_refused_with_its_pointer(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++)
		assert_refused(mistakes[i].text, mistakes[i].says);
}

static void all_problems_are_listed_at_once(void **state)
{
	struct strbuf why = STRBUF_INIT;
	struct policy *policy;

	(void)state;
	assert_int_equal(parse("{\"schema\":1,\"home\":2,\"version\":\"3\"}", &policy, &why), STATUS_INVALID);
	assert_non_null(strstr(why.data, "/schema"));
	assert_non_null(strstr(why.data, "/home"));
	assert_non_null(strstr(why.data, "/version"));
	assert_non_null(strstr(why.data, "/rules"));
	strbuf_release(&why);
}

static void a_failing_test_refuses_the_file(void **state)
{
	(void)state;
	assert_taken(TEST(
		IN, "\"decision\":\"permit\",\"rules\":[\"A\"],\"fields\":[\"uid\"],\"ttl\":-1,\"onward\":\"no\""));
	assert_refused(
		TEST(IN, "\"decision\":\"deny\""), "/tests/0/expect: the test fails: expected deny, got permit (A)");
	assert_refused(TEST(IN, "\"decision\":\"deny\""), "this is the test \"one\"");
	assert_refused(
		TEST(IN, "\"decision\":\"permit\",\"rules\":[\"B\"]"), "/tests/0/expect/rules: the test fails: got A");
	assert_refused(TEST(IN, "\"decision\":\"permit\",\"fields\":[\"email\"]"),
		"/tests/0/expect/fields: the test fails: got uid");
	assert_refused(TEST(IN, "\"decision\":\"permit\",\"ttl\":9"),
		"/tests/0/expect/ttl: the test fails: expected 9, got -1");
	assert_refused(
		TEST(IN, "\"decision\":\"permit\",\"onward\":\"yes\""), "/tests/0/expect/onward: the test fails");
	assert_refused(
		TEST(IN ",\"subject.age\":\"9\"", "\"decision\":\"permit\""), "/tests/0/in/subject.age: no such");
	assert_refused(TEST("\"type\":\"token\"", "\"decision\":\"deny\""), "/tests/0/in/operation: is missing");
	assert_refused(TEST(IN, "\"verdict\":\"deny\""), "/tests/0/expect/verdict: unknown key");
}

static void a_broken_invariant_refuses_the_file_with_an_example(void **state)
{
	(void)state;
	assert_taken(NEVER(RULE, "\"fields\":[\"email\"]"));
	assert_refused(NEVER(RULE, "\"fields\":[\"uid\"]"), "/invariants/0: is broken by: serve token, requester");
	assert_refused(NEVER(RULE, "\"to\":[\"cn\"],\"decision\":\"permit\""), "to cn");
	assert_taken(NEVER(RULE, "\"to\":[\"cn\"],\"purpose\":[\"analytics\"],\"decision\":\"permit\""));
	/* At home a rule may give everything; that is no crossing. */
	assert_taken(NEVER("{\"id\":\"L\",\"effect\":\"permit\",\"operation\":[\"local\"],\"fields\":[\"*\"]}",
		"\"fields\":[\"email\"]"));
	assert_refused(NEVER("{\"id\":\"L\",\"effect\":\"permit\",\"operation\":[\"local\"],\"fields\":[\"*\"]}",
			       "\"operation\":[\"local\"],\"fields\":[\"email\"]"),
		"is broken by: local token");
	assert_refused(NEVER(RULE, "\"to\":[\"cn\"]"), "/invariants/0/never: needs \"fields\" or \"decision\"");
	assert_refused(
		NEVER(RULE, "\"colour\":[\"red\"],\"decision\":\"permit\""), "/invariants/0/never/colour: unknown");
	/* Two unlisted regions are different: the station there is not the requester's. */
	assert_taken(
		NEVER("{" SERVE ",\"fields\":[\"uid\"],\"when\":[[\"evidence.station_region\",\"eq\",\"$requester\"]]}",
			"\"evidence.station_region\":[\"unknown\",\"eu\"],\"decision\":\"permit\""));
	assert_refused(NEVER("{" SERVE ",\"fields\":[\"uid\"],\"when\":[[\"evidence.station_region\",\"ne\",\"eu\"]]}",
			       "\"to\":[\"na\"],\"evidence.station_region\":[\"ap\"],\"decision\":\"permit\""),
		"evidence.station_region ap");
}

static void too_many_kinds_of_request_are_refused(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_adds(&text, HEAD ",\"rules\":[{" SERVE ",\"fields\":[\"uid\"],\"purpose\":[\"p0\"");
	for (int i = 1; i < 60; i++)
		strbuf_addf(&text, ",\"p%d\"", i);
	strbuf_adds(&text, "],\"to\":[\"r0\"");
	for (int i = 1; i < 60; i++)
		strbuf_addf(&text, ",\"r%d\"", i);
	strbuf_adds(&text,
		"],\"caller\":[\"c0\",\"c1\",\"c2\"],\"when\":[[\"evidence.station_region\",\"eq\",\"r1\"]]}],"
		"\"invariants\":[{\"never\":{\"fields\":[\"email\"]}}]}");
	assert_refused(text.data, "/invariants: more than 2000000 kinds of request");
	strbuf_release(&text);
}

static void too_many_names_are_refused(void **state)
{
	struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_adds(&text, HEAD ",\"rules\":[{" SERVE ",\"fields\":[\"uid\"],\"purpose\":[\"p0\"");
	for (int i = 1; i < 64; i++)
		strbuf_addf(&text, ",\"p%d\"", i);
	strbuf_adds(&text, "]}]}");
	assert_refused(text.data, "/rules/0/purpose/62: more than 62 different names");
	strbuf_release(&text);
}

static void the_example_is_right(void **state)
{
	struct strbuf why = STRBUF_INIT;
	struct policy *policy;

	(void)state;
	if (policy_read("docs/policy.example.json", &policy, &why) != STATUS_OK)
		fail_msg("%s", why.data);
	assert_string_equal(policy_home(policy), "eu");
	assert_int_equal(policy_test_count(policy), 18);
	assert_memory_equal(policy_version(policy), "2:", 2);
	assert_int_equal(strlen(policy_version(policy)), 2 + 16);
	policy_release_reference(policy);
	strbuf_release(&why);
}

static void a_missing_file_is_not_found(void **state)
{
	struct strbuf why = STRBUF_INIT;
	struct policy *policy;

	(void)state;
	assert_int_equal(policy_read("/nonexistent/policy.json", &policy, &why), STATUS_NOT_FOUND);
	assert_null(policy);
	assert_true(why.length > 0);
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_mistake_is_refused_with_its_pointer),
		cmocka_unit_test(all_problems_are_listed_at_once),
		cmocka_unit_test(a_failing_test_refuses_the_file),
		cmocka_unit_test(a_broken_invariant_refuses_the_file_with_an_example),
		cmocka_unit_test(too_many_kinds_of_request_are_refused),
		cmocka_unit_test(too_many_names_are_refused),
		cmocka_unit_test(the_example_is_right),
		cmocka_unit_test(a_missing_file_is_not_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision over every kind of request: against a second implementation, and
 * against the rules that must hold whatever the policy says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "policy/policy.h"
#include "tests/unit/support/policies.h"

/*
 * The decision a second time: an interpreter that walks the policy's JSON and
 * compares strings.  Slow and plain, so that it can be believed by reading it;
 * shares no code with policy/.
 */
struct reference_decision {
	bool permitted;
	uint64_t fields;
	int64_t ttl_max_s;
	bool onward;
	int rule_count;
	const char *rules[64];
};

static const char *reference_operation(const struct gate_request *request)
{
	return request->operation == GATE_LOCAL ? "local" : request->operation == GATE_ASK ? "ask" : "serve";
}

static bool reference_has(const json_t *list, const char *text)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item)
	{
		if (strcmp(json_string_value(item), text) == 0)
			return true;
	}
	return false;
}

/* NULL: unknown. */
static const char *reference_attribute(const json_t *type, const struct gate_request *request, const char *name)
{
	const json_t *flag = json_object_get(json_object_get(type, "flags"), name);
	const json_t *value;
	const char *absent;

	if (strcmp(name, "requester") == 0)
		return request->requester;
	if (strcmp(name, "to") == 0)
		return request->to;
	if (strcmp(name, "purpose") == 0)
		return request->purpose;
	if (strcmp(name, "caller") == 0)
		return request->caller;
	if (strcmp(name, "evidence.station_region") == 0)
		return request->station_region;
	if (strcmp(name, "subject.roaming") == 0)
		return request->roaming == ROAMING_ACTIVE ? "active" : request->roaming == ROAMING_NONE ? "none" : NULL;
	if (flag == NULL || request->record == NULL)
		return NULL;
	value = json_object_get(request->record, json_string_value(json_object_get(flag, "field")));
	absent = json_string_value(json_object_get(flag, "absent"));
	if (value == NULL)
		return strcmp(absent, "unknown") == 0 ? NULL : absent;
	if (json_is_boolean(value))
		return json_is_true(value) ? "yes" : "no";
	return json_string_value(value);
}

static const char *reference_value(const json_t *policy, const struct gate_request *request, const char *text)
{
	if (strcmp(text, "$requester") == 0)
		return request->requester;
	if (strcmp(text, "$to") == 0)
		return request->to;
	if (strcmp(text, "$home") == 0)
		return json_string_value(json_object_get(policy, "home"));
	return text;
}

static bool reference_condition(const json_t *policy, const json_t *type, const json_t *condition,
	const struct gate_request *request, bool is_forbid)
{
	const char *operation = json_string_value(json_array_get(condition, 1));
	const json_t *value = json_array_get(condition, 2);
	const char *have = reference_attribute(type, request, json_string_value(json_array_get(condition, 0)));
	size_t i;
	json_t *item;

	if (have == NULL)
		return is_forbid;
	if (strcmp(operation, "eq") == 0)
		return strcmp(have, reference_value(policy, request, json_string_value(value))) == 0;
	if (strcmp(operation, "ne") == 0)
		return strcmp(have, reference_value(policy, request, json_string_value(value))) != 0;
	json_array_foreach(value, i, item)
	{
		if (strcmp(have, reference_value(policy, request, json_string_value(item))) == 0)
			return true;
	}
	return false;
}

static bool reference_scope(const json_t *rule, const char *key, const char *value, bool is_forbid)
{
	const json_t *list = json_object_get(rule, key);

	if (list == NULL)
		return true;
	return value == NULL ? is_forbid : reference_has(list, value);
}

static bool reference_rule(
	const json_t *policy, const json_t *type, const json_t *rule, const struct gate_request *request)
{
	bool is_forbid = strcmp(json_string_value(json_object_get(rule, "effect")), "forbid") == 0;
	const json_t *when = json_object_get(rule, "when");
	size_t i;
	json_t *item;

	if (!reference_scope(rule, "operation", reference_operation(request), is_forbid) ||
		!reference_scope(rule, "from", request->requester, is_forbid) ||
		!reference_scope(rule, "to", request->to, is_forbid) ||
		!reference_scope(rule, "type", request->type, is_forbid) ||
		!reference_scope(rule, "purpose", request->purpose, is_forbid) ||
		!reference_scope(rule, "caller", request->caller, is_forbid))
		return false;
	json_array_foreach(when, i, item)
	{
		if (!reference_condition(policy, type, item, request, is_forbid))
			return false;
	}
	return true;
}

static bool reference_is_consistent(const json_t *policy, const struct gate_request *request)
{
	const char *home = json_string_value(json_object_get(policy, "home"));

	if (request->requester == NULL || request->to == NULL)
		return false;
	if (request->operation == GATE_LOCAL)
		return strcmp(request->requester, home) == 0 && strcmp(request->to, home) == 0;
	if (request->operation == GATE_ASK)
		return strcmp(request->requester, home) == 0 && strcmp(request->to, home) != 0;
	return strcmp(request->requester, request->to) == 0 && strcmp(request->to, home) != 0;
}

static void reference_permit(const json_t *type, const json_t *rule, struct reference_decision *decision)
{
	const json_t *fields = json_object_get(rule, "fields");
	const json_t *obligations = json_object_get(rule, "obligations");
	const json_t *ttl = json_object_get(obligations, "cache_ttl_max_s");
	const char *onward = json_string_value(json_object_get(obligations, "onward"));
	size_t i;
	json_t *item;

	json_array_foreach(json_object_get(type, "fields"), i, item)
	{
		if (reference_has(fields, "*") || reference_has(fields, json_string_value(item)))
			decision->fields |= (uint64_t)1 << i;
	}
	if (ttl != NULL && (decision->ttl_max_s < 0 || json_integer_value(ttl) < decision->ttl_max_s))
		decision->ttl_max_s = json_integer_value(ttl);
	if (onward == NULL || strcmp(onward, "yes") != 0)
		decision->onward = false;
}

static void reference_decide(
	const json_t *policy, const struct gate_request *request, struct reference_decision *decision)
{
	const struct reference_decision denied = { .ttl_max_s = -1 };
	const json_t *type = json_object_get(json_object_get(policy, "types"), request->type ? request->type : "");
	int64_t not_after;
	bool forbidden = false;
	size_t i;
	json_t *rule;

	*decision = denied;
	if (!reference_is_consistent(policy, request) || type == NULL)
		return;
	if (clock_parse(json_string_value(json_object_get(policy, "not_after")), &not_after) != STATUS_OK)
		return;
	if (request->now_wall_us >= not_after && json_is_true(json_object_get(type, "personal")))
		return;
	json_array_foreach(json_object_get(policy, "rules"), i, rule)
	{
		if (strcmp(json_string_value(json_object_get(rule, "effect")), "forbid") == 0 &&
			reference_rule(policy, type, rule, request)) {
			forbidden = true;
			decision->rules[decision->rule_count++] = json_string_value(json_object_get(rule, "id"));
		}
	}
	if (forbidden)
		return;
	decision->onward = true;
	json_array_foreach(json_object_get(policy, "rules"), i, rule)
	{
		if (strcmp(json_string_value(json_object_get(rule, "effect")), "permit") == 0 &&
			reference_rule(policy, type, rule, request)) {
			reference_permit(type, rule, decision);
			decision->rules[decision->rule_count++] = json_string_value(json_object_get(rule, "id"));
		}
	}
	if (decision->fields == 0)
		*decision = denied;
	else
		decision->permitted = true;
}

/* Every feature once; small enough that all of its requests can be tried. */
static const char text[] =
	"{\"schema\":\"homeward-policy/1\",\"home\":\"eu\",\"version\":7,\"not_after\":\"2030-01-01T00:00:00Z\","
	"\"default\":\"deny\",\"types\":{"
	"\"token\":{\"fields\":[\"uid\",\"valid\",\"email\"],\"personal\":true,\"flags\":{"
	"\"subject.restricted\":{\"field\":\"restricted\",\"absent\":\"no\"},"
	"\"subject.consent\":{\"field\":\"consent\",\"absent\":\"unknown\"}}},"
	"\"station\":{\"fields\":[\"name\",\"status\"],\"personal\":false}},"
	"\"rules\":["
	"{\"id\":\"R0\",\"effect\":\"permit\",\"operation\":[\"local\"],\"fields\":[\"*\"]},"
	"{\"id\":\"R1\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"type\":[\"token\"],"
	"\"when\":[[\"subject.restricted\",\"ne\",\"no\"]]},"
	"{\"id\":\"R2\",\"effect\":\"forbid\",\"purpose\":[\"analytics\"],\"operation\":[\"serve\"],"
	"\"type\":[\"token\"],\"when\":[[\"subject.consent\",\"ne\",\"granted\"]]},"
	"{\"id\":\"R3\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"type\":[\"token\"],\"to\":[\"na\",\"ap\"],"
	"\"purpose\":[\"charge.authorize\"],\"when\":[[\"evidence.station_region\",\"eq\",\"$requester\"]],"
	"\"fields\":[\"uid\",\"valid\"],\"obligations\":{\"cache_ttl_max_s\":900,\"onward\":\"no\"}},"
	"{\"id\":\"R4\",\"effect\":\"permit\",\"operation\":[\"ask\",\"serve\"],\"type\":[\"token\",\"station\"],"
	"\"when\":[[\"subject.roaming\",\"eq\",\"active\"],[\"to\",\"ne\",\"cn\"]],"
	"\"fields\":[\"valid\",\"name\"],\"obligations\":{\"cache_ttl_max_s\":60,\"onward\":\"yes\"}},"
	"{\"id\":\"R5\",\"effect\":\"permit\",\"type\":[\"station\"],\"caller\":[\"csms\"],\"fields\":[\"status\"],"
	"\"obligations\":{\"onward\":\"yes\"}},"
	"{\"id\":\"R6\",\"effect\":\"forbid\",\"from\":[\"ap\"],\"caller\":[\"scraper\"]},"
	"{\"id\":\"R7\",\"effect\":\"permit\",\"operation\":[\"ask\"],\"from\":[\"eu\"],\"type\":[\"token\"],"
	"\"when\":[[\"evidence.station_region\",\"in\",[\"$home\",\"na\"]]],\"fields\":[\"uid\"]},"
	"{\"id\":\"R8\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"type\":[\"station\"],"
	"\"when\":[[\"evidence.station_region\",\"ne\",\"$to\"],[\"purpose\",\"in\",[\"analytics\"]]]}"
	"]}";

static const char *const regions[] = { NULL, "eu", "na", "ap", "cn", "xx", "yy" };
static const char *const types[] = { "token", "station", "ghost", NULL };
static const char *const purposes[] = { NULL, "charge.authorize", "analytics", "marketing" };
static const char *const callers[] = { NULL, "csms", "scraper", "else" };
static const char *const records[] = { NULL, "{}", "{\"restricted\":\"no\",\"consent\":\"granted\"}",
	"{\"restricted\":\"yes\",\"consent\":\"granted\"}", "{\"restricted\":false,\"consent\":\"withdrawn\"}",
	"{\"restricted\":true}", "{\"restricted\":7,\"consent\":null}" };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NOW_US 1767225600000000  /* 2026 */
#define LATE_US 1956528000000000 /* 2032 */

typedef void visit(const struct policy *policy, const json_t *json, const struct gate_request *request);

static json_t *parsed_records[COUNT(records)]; /* once, not for each request */

static void each_flagged(const struct policy *policy, const json_t *json, struct gate_request request, visit *visited)
{
	for (size_t record = 0; record < COUNT(records); record++) {
		request.record = parsed_records[record];
		for (int roaming = ROAMING_UNKNOWN; roaming <= ROAMING_NONE; roaming++) {
			request.roaming = (enum roaming)roaming;
			visited(policy, json, &request);
		}
	}
}

static void each_region(const struct policy *policy, const json_t *json, struct gate_request request, visit *visited)
{
	for (size_t i = 0; i < COUNT(regions) * COUNT(regions) * COUNT(regions); i++) {
		request.requester = regions[i % COUNT(regions)];
		request.to = regions[i / COUNT(regions) % COUNT(regions)];
		request.station_region = regions[i / COUNT(regions) / COUNT(regions)];
		/* Most pairs do not fit the operation; one record is enough to see them refused. */
		if (request.operation == GATE_SERVE && request.requester != request.to && i % 3 != 0)
			visited(policy, json, &request);
		else
			each_flagged(policy, json, request, visited);
	}
}

static void each_request(visit *visited)
{
	struct policy *policy = policy_of(text);
	json_t *json = json_loads(text, 0, NULL);
	struct gate_request request = { .now_wall_us = NOW_US };

	for (size_t i = 0; i < COUNT(records); i++)
		parsed_records[i] = records[i] != NULL ? json_loads(records[i], 0, NULL) : NULL;
	for (int operation = GATE_LOCAL; operation <= GATE_SERVE; operation++) {
		for (size_t i = 0; i < COUNT(types) * COUNT(purposes) * COUNT(callers); i++) {
			request.operation = (enum gate_operation)operation;
			request.type = types[i % COUNT(types)];
			request.purpose = purposes[i / COUNT(types) % COUNT(purposes)];
			request.caller = callers[i / COUNT(types) / COUNT(purposes)];
			each_region(policy, json, request, visited);
		}
	}
	for (size_t i = 0; i < COUNT(records); i++)
		json_decref(parsed_records[i]);
	json_decref(json);
	policy_release_reference(policy);
}

static uint64_t permit_count, deny_count;

static void compare(const struct policy *policy, const json_t *json, const struct gate_request *request)
{
	struct reference_decision expected;
	struct gate_decision decision;
	bool is_same;

	policy_decide(policy, request, &decision);
	reference_decide(json, request, &expected);
	is_same = decision.permitted == expected.permitted && (int)decision.rule_count == expected.rule_count &&
		  (!expected.permitted ||
			  (decision.fields == expected.fields && decision.ttl_max_s == expected.ttl_max_s &&
				  decision.onward == expected.onward));
	for (int i = 0; is_same && i < expected.rule_count; i++)
		is_same = strcmp(decision.rules[i], expected.rules[i]) == 0;
	if (!is_same) {
		struct strbuf words = STRBUF_INIT;

		policy_explain(policy, request, &words);
		fail_msg("%s", words.data);
	}
	if (decision.permitted)
		permit_count++;
	else
		deny_count++;
}

static void decides_as_the_reference_does(void **state)
{
	(void)state;
	permit_count = deny_count = 0;
	each_request(compare);
	/* Both must be plenty, or the comparison says little. */
	assert_true(permit_count > 1000);
	assert_true(deny_count > 10000);
}

static const json_t *rule_named(const json_t *json, const char *id)
{
	size_t i;
	json_t *rule;

	json_array_foreach(json_object_get(json, "rules"), i, rule)
	{
		if (strcmp(json_string_value(json_object_get(rule, "id")), id) == 0)
			return rule;
	}
	return NULL;
}

static void check_rule_of_permit(const json_t *type, const json_t *rule, const struct gate_request *request)
{
	size_t i;
	json_t *condition;

	assert_non_null(rule);
	assert_string_equal(json_string_value(json_object_get(rule, "effect")), "permit");
	json_array_foreach(json_object_get(rule, "when"), i, condition)
	{
		const char *name = json_string_value(json_array_get(condition, 0));

		assert_non_null(reference_attribute(type, request, name));
	}
}

static void check_laws(const struct policy *policy, const json_t *json, const struct gate_request *request)
{
	const json_t *type = json_object_get(json_object_get(json, "types"), request->type ? request->type : "");
	struct gate_decision decision;
	uint64_t allowed = 0;

	policy_decide(policy, request, &decision);
	if (!decision.permitted) {
		assert_int_equal(decision.fields, 0);
		return;
	}
	assert_true(decision.rule_count > 0 && decision.fields != 0);
	for (size_t i = 0; i < decision.rule_count; i++) {
		const json_t *rule = rule_named(json, decision.rules[i]);
		struct reference_decision one = { .ttl_max_s = -1, .onward = true };

		check_rule_of_permit(type, rule, request);
		reference_permit(type, rule, &one);
		allowed |= one.fields;
		if (one.ttl_max_s >= 0)
			assert_true(decision.ttl_max_s >= 0 && decision.ttl_max_s <= one.ttl_max_s);
		assert_true(one.onward || !decision.onward);
	}
	assert_int_equal(decision.fields & ~allowed, 0);
	for (size_t i = 0; i < json_array_size(json_object_get(json, "rules")); i++) {
		const json_t *rule = json_array_get(json_object_get(json, "rules"), i);

		if (strcmp(json_string_value(json_object_get(rule, "effect")), "forbid") == 0)
			assert_false(reference_rule(json, type, rule, request));
	}
}

static void no_permit_breaks_a_law(void **state)
{
	(void)state;
	each_request(check_laws);
}

static void an_expired_policy_denies_what_is_personal(void **state)
{
	struct policy *policy = policy_of(text);
	struct gate_request request = { .operation = GATE_LOCAL,
		.requester = "eu",
		.to = "eu",
		.type = "token",
		.purpose = "charge.authorize",
		.caller = "csms",
		.now_wall_us = NOW_US };
	struct gate_decision decision;

	(void)state;
	policy_decide(policy, &request, &decision);
	assert_true(decision.permitted);
	request.now_wall_us = LATE_US;
	policy_decide(policy, &request, &decision);
	assert_false(decision.permitted);
	request.type = "station";
	policy_decide(policy, &request, &decision);
	assert_true(decision.permitted);
	request.is_absent = true;
	policy_decide(policy, &request, &decision);
	assert_false(decision.permitted);
	assert_int_equal(decision.fields, 0);
	assert_int_equal(decision.rule_count, 1);
	assert_string_equal(decision.rules[0], "absent");
	policy_release_reference(policy);
}

static void no_policy_denies(void **state)
{
	struct gate_request request = { .operation = GATE_LOCAL, .requester = "eu", .to = "eu", .type = "token" };
	struct gate_decision decision;

	(void)state;
	policy_decide(NULL, &request, &decision);
	assert_false(decision.permitted);
	assert_int_equal(decision.fields, 0);
	assert_int_equal(decision.rule_count, 0);
}

static void a_view_holds_only_the_fields_decided(void **state)
{
	struct policy *policy = policy_of(text);
	json_t *record = json_loads(
		"{\"uid\":\"04A2\",\"valid\":true,\"email\":\"a@b.example\",\"secret\":1}", 0, NULL);
	struct gate_decision decision = { .permitted = true, .fields = 3 };
	struct strbuf names = STRBUF_INIT;
	struct strbuf out = STRBUF_INIT;
	json_t *view = policy_view(policy, "token", &decision, record);

	(void)state;
	assert_int_equal(json_write(view, &out), STATUS_OK);
	assert_string_equal(out.data, "{\"uid\":\"04A2\",\"valid\":true}");
	json_decref(view);
	policy_field_names(policy, "token", decision.fields, &names);
	assert_string_equal(names.data, "uid,valid");
	decision.permitted = false;
	view = policy_view(policy, "token", &decision, record);
	assert_int_equal(json_object_size(view), 0);
	json_decref(view);
	json_decref(record);
	strbuf_release(&names);
	strbuf_release(&out);
	policy_release_reference(policy);
}

static void roaming_is_read_only_where_a_rule_asks(void **state)
{
	struct policy *policy = policy_of(text);

	(void)state;
	assert_true(policy_reads_roaming(policy, GATE_SERVE, "token", "charge.bill"));
	assert_false(policy_reads_roaming(policy, GATE_LOCAL, "token", "charge.bill"));
	assert_false(policy_reads_roaming(NULL, GATE_SERVE, "token", "charge.bill"));
	policy_release_reference(policy);
}

static void explain_names_what_decided(void **state)
{
	static const struct {
		const char *station, *record, *says;
	} cases[] = {
		{ "na", "{}", "permit R3 MATCHES" },
		{ "na", "{}", "PERMITTED: uid,valid; cached for at most 900 s; onward no" },
		{ NULL, "{}",
			"permit R3 does not match: evidence.station_region eq $requester, but it is unknown, which "
			"fails a permit" },
		{ "ap", "{}", "permit R3 does not match: evidence.station_region eq $requester, but it is ap" },
		{ NULL, "{}", "DENIED: no rule permits it" },
		{ "na", "{\"restricted\":\"yes\"}", "forbid R1 FIRES" },
		{ "na", "{\"restricted\":null}",
			"forbid R1 FIRES; subject.restricted is unknown, which fires a forbid" },
		{ "na", "{\"restricted\":null}", "DENIED: a forbid overrides" },
		{ "na", "{}", "permit R0 is for another operation: local" },
		{ "na", "{}", "policy 7:" },
	};
	struct policy *policy = policy_of(text);

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		json_t *record = json_loads(cases[i].record, 0, NULL);
		struct gate_request request = { .operation = GATE_SERVE,
			.requester = "na",
			.to = "na",
			.type = "token",
			.purpose = "charge.authorize",
			.caller = "csms",
			.station_region = cases[i].station,
			.record = record,
			.now_wall_us = NOW_US };
		struct strbuf words = STRBUF_INIT;

		policy_explain(policy, &request, &words);
		if (strstr(words.data, cases[i].says) == NULL)
			fail_msg("\"%s\" is not in:\n%s", cases[i].says, words.data);
		strbuf_release(&words);
		json_decref(record);
	}
	policy_release_reference(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decides_as_the_reference_does),
		cmocka_unit_test(no_permit_breaks_a_law),
		cmocka_unit_test(an_expired_policy_denies_what_is_personal),
		cmocka_unit_test(no_policy_denies),
		cmocka_unit_test(a_view_holds_only_the_fields_decided),
		cmocka_unit_test(roaming_is_read_only_where_a_rule_asks),
		cmocka_unit_test(explain_names_what_decided),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

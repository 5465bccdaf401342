/* SPDX-License-Identifier: Apache-2.0 */
/* What may cross as an event: by type, destination, field and class. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "policy/policy.h"

static const char document[] =
	"{\"schema\":\"homeward-policy/1\",\"home\":\"na\",\"version\":1,\"not_after\":\"2100-01-01T00:00:00Z\","
	"\"default\":\"deny\",\"types\":{"
	"\"token\":{\"fields\":[\"uid\"],\"personal\":true},"
	"\"session.completed\":{\"fields\":[\"session_id\",\"energy_wh\",\"token_uid\"],\"personal\":true},"
	"\"station.status\":{\"fields\":[\"station_id\"],\"personal\":false},"
	"\"partner.message\":{\"opaque\":true,\"classification\":\"pseudonymous\",\"personal\":true}},"
	"\"rules\":["
	"{\"id\":\"WIDE\",\"effect\":\"permit\",\"purpose\":[\"event\"],\"fields\":[\"uid\",\"session_id\"]},"
	"{\"id\":\"ANY\",\"effect\":\"permit\",\"operation\":[\"send\"],\"to\":[\"cn\"],\"fields\":[\"uid\",\"session_"
	"id\"]},"
	"{\"id\":\"SEND\",\"effect\":\"permit\",\"operation\":[\"send\"],\"to\":[\"eu\"],"
	"\"type\":[\"session.completed\"],\"fields\":[\"session_id\",\"energy_wh\"]},"
	"{\"id\":\"STATUS\",\"effect\":\"permit\",\"operation\":[\"send\"],\"to\":[\"eu\",\"all\"],"
	"\"type\":[\"station.status\"],\"fields\":[\"station_id\"]},"
	"{\"id\":\"OPAQUE\",\"effect\":\"permit\",\"operation\":[\"send\"],\"to\":[\"ap\"],"
	"\"type\":[\"partner.message\"],\"fields\":[\"data\"]},"
	"{\"id\":\"TAKE\",\"effect\":\"permit\",\"operation\":[\"receive\"],\"from\":[\"eu\"],"
	"\"type\":[\"session.completed\"],\"fields\":[\"session_id\",\"energy_wh\",\"token_uid\"]},"
	"{\"id\":\"NEVER\",\"effect\":\"forbid\",\"to\":[\"ru\"]}],"
	"\"tests\":[{\"name\":\"a session "
	"ends\",\"in\":{\"operation\":\"send\",\"to\":\"eu\",\"type\":\"session.completed\","
	"\"purpose\":\"event\"},\"expect\":{\"decision\":\"permit\",\"fields\":[\"session_id\",\"energy_wh\"]}},"
	"{\"name\":\"one comes\",\"in\":{\"operation\":\"receive\",\"requester\":\"eu\",\"type\":\"session.completed\","
	"\"purpose\":\"event\"},\"expect\":{\"decision\":\"permit\",\"rules\":[\"TAKE\"]}}],"
	"\"invariants\":[{\"never\":{\"to\":[\"ru\"],\"decision\":\"permit\"}}%s]}";

static struct policy *parse(const char *more, struct strbuf *why)
{
	struct policy *policy = NULL;
	struct strbuf text = STRBUF_INIT;

	strbuf_addf(&text, document, more);
	if (policy_parse("p", text.data, text.length, &policy, why) != STATUS_OK)
		policy = NULL;
	strbuf_release(&text);
	return policy;
}

/* The rule that decided, "default", or why not. */
static void decide(const struct policy *policy, enum gate_operation operation, const char *other, const char *type,
	const char *classification, const char *data, struct strbuf *told)
{
	json_t *record = data != NULL ? json_loads(data, 0, NULL) : NULL;
	struct gate_request request = {
		.operation = operation,
		.requester = operation == GATE_SEND ? "na" : other,
		.to = operation == GATE_SEND ? other : "na",
		.type = type,
		.purpose = "event",
		.record = record,
		.classification = classification,
	};
	struct gate_decision decision;

	strbuf_reset(told);
	policy_decide(policy, &request, &decision);
	if (decision.permitted) {
		strbuf_addf(told, "%s: ", decision.rules[0]);
		policy_field_names(policy, type, decision.fields, told);
	} else {
		assert_int_equal(decision.fields, 0);
		policy_event_refusal(policy, &request, told);
	}
	json_decref(record);
}

static void an_event_crosses_whole_or_not_at_all(void **state)
{
	static const struct {
		enum gate_operation operation;
		const char *other, *type, *classification, *data, *says;
	} cases[] = {
		{ GATE_SEND, "eu", "session.completed", "personal", "{\"energy_wh\":1}", "SEND: energy_wh" },
		{ GATE_SEND, "eu", "session.completed", "personal", NULL, "SEND: session_id,energy_wh" },
		{ GATE_SEND, "eu", "session.completed", "personal", "{\"energy_wh\":1,\"token_uid\":1,\"x\":1}",
			"no rule lets these fields cross: token_uid,x" },
		{ GATE_SEND, "ap", "session.completed", "personal", "{}", "no rule permits it" },
		{ GATE_SEND, "ru", "session.completed", "personal", "{}", "a rule forbids it: NEVER" },
		{ GATE_SEND, "na", "session.completed", "personal", "{}", "no rule permits it" },
		{ GATE_SEND, "eu", "driver.wish", "personal", "{}", "the policy does not describe this type" },
		{ GATE_SEND, "eu", "session.completed", "personal", "[]", "its data is not an object" },
		{ GATE_SEND, "eu", "session.completed", NULL, "{}", "the policy does not call its type opaque" },
		{ GATE_SEND, "all", "station.status", "operational", "{\"station_id\":1}", "STATUS: station_id" },
		{ GATE_SEND, "eu", "station.status", "personal", "{}", "the policy calls its type not personal" },
		{ GATE_SEND, "ap", "partner.message", NULL, "[1]", "OPAQUE: data" },
		{ GATE_SEND, "cn", "partner.message", NULL, "[1]", "no rule permits it" },
		{ GATE_SEND, "ap", "partner.message", "public", "{}", "opaque in the policy but has a schema" },
		/* A permit that names no operation was written for lookups. */
		{ GATE_SEND, "eu", "token", "personal", "{\"uid\":1}", "no rule permits it" },
		{ GATE_RECEIVE, "eu", "session.completed", "personal", "{\"token_uid\":1}", "TAKE: token_uid" },
		{ GATE_RECEIVE, "ap", "session.completed", "personal", "{}", "no rule permits it" },
	};
	struct strbuf why = STRBUF_INIT, told = STRBUF_INIT;
	struct policy *policy = parse("", &why);

	(void)state;
	assert_string_equal(why.data, "");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		decide(policy, cases[i].operation, cases[i].other, cases[i].type, cases[i].classification,
			cases[i].data, &told);
		if (strstr(told.data, cases[i].says) == NULL)
			fail_msg("case %zu: %s", i, told.data);
	}
	decide(NULL, GATE_SEND, "eu", "session.completed", "personal", "{}", &told);
	assert_non_null(strstr(told.data, "there is no policy"));
	policy_release_reference(policy);
	strbuf_release(&why);
	strbuf_release(&told);
}

static void invariants_hold_for_events_too(void **state)
{
	struct strbuf why = STRBUF_INIT;

	(void)state;
	assert_null(parse(",{\"never\":{\"type\":[\"session.completed\"],\"fields\":[\"energy_wh\"]}}", &why));
	assert_non_null(strstr(why.data, "is broken by: send session.completed, requester na, to eu"));
	strbuf_reset(&why);
	assert_null(parse(
		",{\"never\":{\"operation\":[\"receive\"],\"requester\":[\"eu\"],\"decision\":\"permit\"}}", &why));
	assert_non_null(strstr(why.data, "is broken by: receive session.completed, requester eu, to na"));
	strbuf_reset(&why);
	assert_null(parse(",{\"never\":{\"operation\":[\"send\"],\"type\":[\"token\"],\"decision\":\"deny\"}}", &why));
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_crosses_whole_or_not_at_all),
		cmocka_unit_test(invariants_hold_for_events_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

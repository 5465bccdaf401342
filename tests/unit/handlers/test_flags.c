/* SPDX-License-Identifier: Apache-2.0 */
/* Flags kept beside a record: what is in the record after they were put in, and what the gate decides by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "handlers/flags.h"

static const char document[] =
	"{\"schema\":\"homeward-policy/1\",\"home\":\"na\",\"version\":1,\"not_after\":\"2100-01-01T00:00:00Z\","
	"\"default\":\"deny\",\"types\":{"
	"\"driver\":{\"fields\":[\"name\"],\"personal\":true,\"flags\":{"
	"\"subject.restricted\":{\"field\":\"barred\",\"absent\":\"no\"},"
	"\"subject.consent_analytics\":{\"field\":\"may_count\",\"absent\":\"unknown\"}}},"
	"\"station\":{\"fields\":[\"name\"],\"personal\":false}},"
	"\"rules\":["
	"{\"id\":\"VIEW\",\"effect\":\"permit\",\"operation\":[\"serve\"],\"fields\":[\"name\"]},"
	"{\"id\":\"RESTRICTED\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"type\":[\"driver\"],"
	"\"when\":[[\"subject.restricted\",\"ne\",\"no\"]]},"
	"{\"id\":\"NO-CONSENT\",\"effect\":\"forbid\",\"operation\":[\"serve\"],\"type\":[\"driver\"],"
	"\"purpose\":[\"analytics\"],\"when\":[[\"subject.consent_analytics\",\"ne\",\"granted\"]]}]}";

static struct policy *policy;

static int parse(void **state)
{
	struct strbuf why = STRBUF_INIT;
	enum status status = policy_parse("p", document, sizeof(document) - 1, &policy, &why);

	(void)state;
	assert_string_equal(why.length > 0 ? why.data : "", "");
	strbuf_release(&why);
	return status == STATUS_OK ? 0 : -1;
}

static int release(void **state)
{
	(void)state;
	policy_release_reference(policy);
	return 0;
}

static json_t *load(const char *text)
{
	json_t *value = text != NULL ? json_loads(text, 0, NULL) : NULL;

	assert_true(text == NULL || value != NULL);
	return value;
}

/* The record with what is kept put in; the one given must be as it was. */
static json_t *merged_of(const char *type, const char *record_text, const char *kept_text)
{
	json_t *record = load(record_text), *before = json_deep_copy(record), *kept = load(kept_text);
	json_t *merged = flags_merge(policy, type, record, kept);

	assert_non_null(merged);
	assert_true(json_equal(record, before));
	json_decref(before);
	json_decref(record);
	json_decref(kept);
	return merged;
}

static void becomes(const char *type, const char *record, const char *kept, const char *expected_text)
{
	json_t *merged = merged_of(type, record, kept), *expected = load(expected_text);

	assert_true(json_equal(merged, expected));
	json_decref(expected);
	json_decref(merged);
}

/* What the gate says of it: the rule, or "default". */
static void decides(const char *purpose, const char *record, const char *kept, bool is_permitted, const char *rule)
{
	json_t *merged = merged_of("driver", record, kept);
	const struct gate_request request = { .operation = GATE_SERVE,
		.requester = "eu",
		.to = "eu",
		.type = "driver",
		.purpose = purpose,
		.caller = "desk",
		.record = merged };
	struct gate_decision decision;

	policy_decide(policy, &request, &decision);
	assert_int_equal(decision.permitted, is_permitted);
	assert_true(decision.rule_count > 0);
	assert_string_equal(decision.rules[0], rule);
	json_decref(merged);
}

static void what_is_kept_is_put_into_the_member_of_the_policy(void **state)
{
	(void)state;
	becomes("driver", "{\"name\":\"A\"}", "{\"subject.restricted\":\"yes\"}",
		"{\"name\":\"A\",\"barred\":\"yes\"}");
	becomes("driver", "{}", "{\"subject.restricted\":\"no\",\"subject.consent_analytics\":\"granted\"}",
		"{\"barred\":\"no\",\"may_count\":\"granted\"}");
	becomes("driver", "{\"barred\":\"yes\"}", NULL, "{\"barred\":\"yes\"}");
	becomes("driver", "{\"barred\":\"yes\"}", "{}", "{\"barred\":\"yes\"}");
	becomes("driver", "{\"name\":\"A\"}", "{\"subject.dropped\":\"yes\"}", "{\"name\":\"A\"}");
	becomes("station", "{\"name\":\"A\"}", "{\"subject.restricted\":\"yes\"}", "{\"name\":\"A\"}");
	becomes("unheard-of", "{\"name\":\"A\"}", "{\"subject.restricted\":\"yes\"}", "{\"name\":\"A\"}");
}

static void the_same_said_twice_stays_and_two_answers_are_none(void **state)
{
	(void)state;
	becomes("driver", "{\"barred\":\"yes\"}", "{\"subject.restricted\":\"yes\"}", "{\"barred\":\"yes\"}");
	becomes("driver", "{\"barred\":true}", "{\"subject.restricted\":\"yes\"}", "{\"barred\":true}");
	becomes("driver", "{\"barred\":false}", "{\"subject.restricted\":\"no\"}", "{\"barred\":false}");
	becomes("driver", "{\"barred\":false}", "{\"subject.restricted\":\"yes\"}", "{\"barred\":null}");
	becomes("driver", "{\"barred\":\"no\"}", "{\"subject.restricted\":\"yes\"}", "{\"barred\":null}");
	becomes("driver", "{\"barred\":\"yes\"}", "{\"subject.restricted\":\"no\"}", "{\"barred\":null}");
	becomes("driver", "{\"barred\":null}", "{\"subject.restricted\":\"no\"}", "{\"barred\":null}");
	becomes("driver", "{\"barred\":1}", "{\"subject.restricted\":\"no\"}", "{\"barred\":null}");
	becomes("driver", "{}", "{\"subject.restricted\":5}", "{\"barred\":null}");
}

static void the_stricter_wins(void **state)
{
	static const char yes[] = "{\"subject.restricted\":\"yes\"}", no[] = "{\"subject.restricted\":\"no\"}";
	static const char granted[] = "{\"subject.consent_analytics\":\"granted\"}";
	static const char withdrawn[] = "{\"subject.consent_analytics\":\"withdrawn\"}";

	(void)state;
	decides("support", "{}", NULL, true, "VIEW");
	decides("support", "{}", yes, false, "RESTRICTED");
	decides("support", "{\"barred\":\"no\"}", yes, false, "RESTRICTED");
	decides("support", "{\"barred\":false}", yes, false, "RESTRICTED");
	decides("support", "{\"barred\":\"yes\"}", no, false, "RESTRICTED");
	decides("support", "{\"barred\":null}", no, false, "RESTRICTED");
	decides("support", "{\"barred\":\"no\"}", no, true, "VIEW");
	decides("support", "{}", no, true, "VIEW");

	decides("analytics", "{}", NULL, false, "NO-CONSENT");
	decides("analytics", "{}", granted, true, "VIEW");
	decides("analytics", "{}", withdrawn, false, "NO-CONSENT");
	decides("analytics", "{\"may_count\":\"granted\"}", withdrawn, false, "NO-CONSENT");
	decides("analytics", "{\"may_count\":\"withdrawn\"}", granted, false, "NO-CONSENT");
	decides("analytics", "{\"may_count\":\"granted\"}", granted, true, "VIEW");
}

static void only_some_types_have_flags(void **state)
{
	(void)state;
	assert_true(policy_has_flags(policy, "driver"));
	assert_false(policy_has_flags(policy, "station"));
	assert_false(policy_has_flags(policy, "unheard-of"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_kept_is_put_into_the_member_of_the_policy),
		cmocka_unit_test(the_same_said_twice_stays_and_two_answers_are_none),
		cmocka_unit_test(the_stricter_wins),
		cmocka_unit_test(only_some_types_have_flags),
	};

	return cmocka_run_group_tests(tests, parse, release);
}

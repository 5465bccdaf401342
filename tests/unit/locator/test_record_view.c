/* SPDX-License-Identifier: Apache-2.0 */
/* Which records may be kept as they came, and which must be taken apart. */
#include "locator/record_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool is_view(const char *text, const char *permitted, struct strbuf *names)
{
	strbuf_reset(names);
	return record_is_its_view(text, strlen(text), permitted, names);
}

static void keeps_permitted_members(void **state)
{
	struct strbuf names = STRBUF_INIT;

	(void)state;
	assert_true(is_view("{\"valid\":true,\"until\":\"2030\"}", "valid,until,ref", &names));
	assert_string_equal(names.data, "valid,until");
	assert_true(is_view("{\"ref\":-12,\"valid\":null}", "valid,until,ref", &names));
	assert_string_equal(names.data, "ref,valid");
	assert_true(is_view("{}", "", &names));
	strbuf_release(&names);
}

static void takes_all_others_apart(void **state)
{
	static const char *const others[] = { "{\"valid\":true,\"name\":\"x\"}", /* one that is not permitted */
		"{\"vali\":true}", "{\"valid,until\":true}", "{\"\":1}",         /* parts of the list */
		"{\"valid\":true,\"valid\":false}",                              /* twice */
		"{\"valid\":{\"until\":1,\"until\":2}}", "{\"valid\":[1]}",      /* nested */
		"{\"valid\":1e999}", "{\"valid\":1.5}", "{\"valid\":99999999999999999999}", "{\"v\\u0061lid\":tru}",
		"{\"valid\":true", "{\"valid\":true} x", "[true]", "true", "", NULL };
	struct strbuf names = STRBUF_INIT;

	(void)state;
	for (const char *const *text = others; *text != NULL; text++) {
		assert_false(is_view(*text, "valid,until", &names));
		assert_int_equal(names.length, 0);
	}
	strbuf_release(&names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_permitted_members),
		cmocka_unit_test(takes_all_others_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

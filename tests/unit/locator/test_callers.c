/* SPDX-License-Identifier: Apache-2.0 */
/* Callers: identification, purposes, malformed lists, the copy on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "locator/callers.h"

/* SHA-256 of "alpha" and "beta". */
#define ALPHA "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
#define BETA "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"

static const char two_callers[] = "[{\"name\":\"cs-auth\",\"token_hash\":\"" ALPHA
				  "\",\"purposes\":[\"charge.authorize\"],\"may_write\":false},"
				  "{\"name\":\"operator\",\"token_hash\":\"" BETA
				  "\",\"purposes\":[\"*\"],\"may_write\":true}]";

static struct callers *parse(const char *text)
{
	struct callers *callers = NULL;
	struct strbuf why = STRBUF_INIT;
	enum status status = callers_parse(text, strlen(text), 7, &callers, &why);
	assert_int_equal(status == STATUS_OK, callers != NULL);
	assert_int_equal(status == STATUS_OK, why.length == 0);
	strbuf_release(&why);
	return callers;
}

static void test_identifies_by_token_first_time_and_later(void **state)
{
	(void)state;
	struct callers *callers = parse(two_callers);
	assert_int_equal(callers_count(callers), 2);
	for (int i = 0; i < 3; i++) {
		const struct caller *caller = callers_identify(callers, "Bearer alpha");
		assert_non_null(caller);
		assert_string_equal(caller->name, "cs-auth");
		assert_false(caller->may_write);
		caller = callers_identify(callers, "bearer beta");
		assert_non_null(caller);
		assert_string_equal(caller->name, "operator");
		assert_true(caller->may_write);
	}
	const char *const refused[] = { NULL, "", "Bearer", "Bearer ", "Bearer alph", "Bearer alpha2", "Basic alpha",
		"alpha", "Bearer " ALPHA };
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_null(callers_identify(callers, refused[i]));
	assert_null(callers_identify(NULL, "Bearer alpha"));
	callers_release(callers);
}

static void test_purposes_limit_the_caller(void **state)
{
	(void)state;
	struct callers *callers = parse(two_callers);
	const struct caller *caller = callers_identify(callers, "Bearer alpha");
	assert_true(caller_may_name(caller, "charge.authorize"));
	assert_false(caller_may_name(caller, "charge"));
	assert_false(caller_may_name(caller, "analytics"));
	assert_true(caller_may_name(callers_identify(callers, "Bearer beta"), "analytics"));
	callers_release(callers);
}

static void test_malformed_lists_are_refused_whole(void **state)
{
	(void)state;
	const char *const bad[] = { "{}", "[1]", "[{}]", "[", "",
		"[{\"name\":\"a\",\"token_hash\":\"00\",\"purposes\":[],\"may_write\":false}]",
		"[{\"name\":\"\",\"token_hash\":\"" ALPHA "\",\"purposes\":[],\"may_write\":false}]",
		"[{\"name\":\"a\",\"token_hash\":\"" ALPHA "\",\"purposes\":[\"A b\"],\"may_write\":false}]",
		"[{\"name\":\"a\",\"token_hash\":\"" ALPHA "\",\"purposes\":[3],\"may_write\":false}]",
		"[{\"name\":\"a\",\"token_hash\":\"" ALPHA "\",\"purposes\":[]}]" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(parse(bad[i]));
	struct callers *none = parse("[]");
	assert_null(callers_identify(none, "Bearer alpha"));
	callers_release(none);
}

static void test_directory_starts_with_the_copy_on_disk(void **state)
{
	(void)state;
	char folder[] = "/tmp/hw-callers-XXXXXX", path[64];
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/callers.json", folder);
	struct caller_directory *directory = NULL;
	assert_int_equal(caller_directory_create(path, 7, &directory), STATUS_OK);
	assert_null(caller_directory_current(directory));
	caller_directory_destroy(directory);

	struct strbuf why = STRBUF_INIT;
	assert_int_equal(file_replace(path, two_callers, strlen(two_callers), 0600, &why), STATUS_OK);
	assert_int_equal(caller_directory_create(path, 7, &directory), STATUS_OK);
	struct callers *callers = caller_directory_current(directory);
	assert_non_null(callers);
	caller_directory_swap(directory, parse("[]")); /* readers keep what they have */
	assert_non_null(callers_identify(callers, "Bearer alpha"));
	callers_release(callers);
	callers = caller_directory_current(directory);
	assert_int_equal(callers_count(callers), 0);
	callers_release(callers);
	caller_directory_destroy(directory);
	strbuf_release(&why);
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identifies_by_token_first_time_and_later),
		cmocka_unit_test(test_purposes_limit_the_caller),
		cmocka_unit_test(test_malformed_lists_are_refused_whole),
		cmocka_unit_test(test_directory_starts_with_the_copy_on_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

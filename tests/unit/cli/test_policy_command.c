/* SPDX-License-Identifier: Apache-2.0 */
/* Exit codes of `homeward policy`: scripts lean on them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/command.h"

#define EXAMPLE "docs/policy.example.json"
#define EXPLAIN "policy", "explain", "--policy", EXAMPLE, "--type", "token", "--purpose", "charge.authorize"
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static int run(const char *const *words)
{
	char *argv[32] = { 0 };
	int argc = 0;

	for (; words[argc] != NULL; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc];
	return command_policy(argc, argv);
}

static void check_tells_good_from_bad(void **state)
{
	(void)state;
	assert_int_equal(RUN("policy", "check", EXAMPLE), EXIT_CODE_OK);
	assert_int_equal(RUN("policy", "check", "docs/POLICY.md"), EXIT_CODE_CONFIGURATION);
	assert_int_not_equal(RUN("policy", "check", "/nonexistent/policy.json"), EXIT_CODE_OK);
	assert_int_equal(RUN("policy", "check", EXAMPLE, EXAMPLE), EXIT_CODE_USAGE);
}

static void explain_tells_permitted_from_denied(void **state)
{
	(void)state;
	assert_int_equal(RUN(EXPLAIN, "--requester", "na", "--station-region", "na", "--record", "{}"), EXIT_CODE_OK);
	assert_int_equal(RUN(EXPLAIN, "--requester", "na", "--record", "{}"), EXIT_CODE_FAILED);
	assert_int_equal(RUN(EXPLAIN, "--operation", "ask", "--to", "na", "--station-region", "eu"), EXIT_CODE_OK);
	assert_int_equal(RUN(EXPLAIN, "--operation", "local", "--caller", "csms"), EXIT_CODE_OK);
	assert_int_equal(RUN(EXPLAIN, "--operation", "local", "--at", "2031-01-01T00:00:00Z"), EXIT_CODE_FAILED);
	assert_int_equal(RUN(EXPLAIN, "--operation", "steal"), EXIT_CODE_USAGE);
	assert_int_equal(RUN(EXPLAIN, "--roaming", "maybe"), EXIT_CODE_USAGE);
	assert_int_equal(RUN(EXPLAIN, "--record", "{"), EXIT_CODE_USAGE);
	assert_int_equal(RUN("policy", "explain", "--type", "token"), EXIT_CODE_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_tells_good_from_bad),
		cmocka_unit_test(explain_tells_permitted_from_denied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

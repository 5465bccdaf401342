/* SPDX-License-Identifier: Apache-2.0 */
/*
 * must() ends the process, so each test lets a child fail and reads what it said.
 */
#include "base/must.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/status.h"

static int run_child(void (*body)(void), char *text, size_t size)
{
	int pipes[2], status;
	size_t length = 0;
	ssize_t got;
	pid_t child;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit no_core = { 0, 0 };
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL); /* cmocka catches it */
		dup2(pipes[1], STDERR_FILENO);
		body();
		_exit(0);
	}
	close(pipes[1]);
	while (length + 1 < size && (got = read(pipes[0], text + length, size - 1 - length)) > 0)
		length += (size_t)got;
	text[length] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void holds(void)
{
	must(1 + 1 == 2);
}

static void breaks(void)
{
	must(1 + 1 == 3);
}

static void a_true_condition_does_nothing(void **state)
{
	char text[512];
	int status = run_child(holds, text, sizeof(text));

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_string_equal(text, "");
}

static void a_false_condition_aborts_and_says_where(void **state)
{
	char text[512];
	int status = run_child(breaks, text, sizeof(text));

	(void)state;
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_memory_equal(text, "homeward: must(1 + 1 == 3) failed in breaks, tests/unit/base/test_must.c:", 73);
}

static void every_status_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; i < STATUS_COUNT; i++) {
		assert_non_null(status_name((enum status)i));
		assert_true(strspn(status_name((enum status)i), "abcdefghijklmnopqrstuvwxyz_") ==
			    strlen(status_name((enum status)i)));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(status_name((enum status)i), status_name((enum status)j));
	}
	assert_string_equal(status_name(STATUS_OK), "ok");
	assert_string_equal(status_name(STATUS_NOT_AVAILABLE), "not_available");
	assert_string_equal(status_name((enum status)1000), "internal");
	assert_string_equal(status_name((enum status) - 1), "internal");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_true_condition_does_nothing),
		cmocka_unit_test(a_false_condition_aborts_and_says_where),
		cmocka_unit_test(every_status_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for cli/command.c: option lines, groups, nearest names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/command.h"

enum { OPTION_LONG = COMMAND_ID_FIRST };

static const struct command_option options[] = {
	{ 't', "type", "TYPE", "a type" },
	{ OPTION_LONG, "dry-run", NULL, "change nothing" },
	COMMAND_OPTION_CONFIG,
	COMMAND_OPTION_OUTPUT,
	COMMAND_OPTION_END,
};
static const struct command_usage usage = { "homeward test", "[FILE]", "For tests.", options, NULL };

struct seen {
	const char *type;
	int dry_runs;
};

/* The line's words, read the way a command reads them. */
static struct command_line read_line(const char *const *words, struct seen *seen)
{
	static char copies[12][64];
	static char *argv[13];
	struct command_line line;
	int argc = 0;

	*seen = (struct seen){ .type = NULL };
	for (; words[argc] != NULL; argc++) {
		snprintf(copies[argc], sizeof(copies[argc]), "%s", words[argc]);
		argv[argc] = copies[argc];
	}
	argv[argc] = NULL;
	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == 't')
			seen->type = line.value;
		else
			seen->dry_runs++;
	}
	return line;
}

static void options_and_arguments_may_mix(void **state)
{
	(void)state;
	struct seen seen;
	struct command_line line = read_line((const char *const[]){ "test", "first", "-t", "token", "--dry-run", "-o",
						     "json", "--config=here.conf", "second", NULL },
		&seen);

	assert_false(line.is_over);
	assert_string_equal(seen.type, "token");
	assert_int_equal(seen.dry_runs, 1);
	assert_int_equal(line.format, OUTPUT_JSON);
	assert_string_equal(line.config, "here.conf");
	assert_int_equal(line.argument_count, 2);
	assert_string_equal(line.arguments[0], "first");
	assert_string_equal(line.arguments[1], "second");
	assert_true(command_line_expect(&line, 0, 2));
}

static void wrong_lines_end_with_64(void **state)
{
	(void)state;
	static const char *const lines[][4] = {
		{ "test", "--typo", NULL },
		{ "test", "-x", NULL },
		{ "test", "--type", NULL },
		{ "test", "--dry-run=yes", NULL },
		{ "test", "-o", "xml", NULL },
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct seen seen;
		struct command_line line = read_line(lines[i], &seen);

		assert_true(line.is_over);
		assert_int_equal(line.exit_code, EXIT_CODE_USAGE);
		assert_int_equal(command_line_next(&line), COMMAND_LINE_END);
	}
}

static void arguments_are_counted(void **state)
{
	(void)state;
	struct seen seen;
	struct command_line line = read_line((const char *const[]){ "test", "one", NULL }, &seen);

	assert_false(command_line_expect(&line, 2, 2));
	assert_int_equal(line.exit_code, EXIT_CODE_USAGE);
	line = read_line((const char *const[]){ "test", "one", NULL }, &seen);
	assert_false(command_line_expect(&line, 0, 0));
	assert_int_equal(line.exit_code, EXIT_CODE_USAGE);
}

static void settings_file_comes_from_option_then_environment(void **state)
{
	(void)state;
	struct seen seen;

	setenv("HOMEWARD_CONFIG", "/elsewhere.conf", 1);
	assert_string_equal(read_line((const char *const[]){ "test", NULL }, &seen).config, "/elsewhere.conf");
	assert_string_equal(read_line((const char *const[]){ "test", "-c", "x", NULL }, &seen).config, "x");
	unsetenv("HOMEWARD_CONFIG");
	assert_string_equal(read_line((const char *const[]){ "test", NULL }, &seen).config, COMMAND_CONFIG_DEFAULT);
}

static void numbers_are_checked(void **state)
{
	(void)state;
	static const char *const wrong[] = { "", "x", "1x", "0", "11", "99999999999999999999", "1.5" };
	struct seen seen;
	int64_t number;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct command_line line = read_line((const char *const[]){ "test", NULL }, &seen);

		line.value = wrong[i];
		assert_false(command_line_number(&line, 1, 10, &number));
		assert_int_equal(line.exit_code, EXIT_CODE_USAGE);
	}
	struct command_line line = read_line((const char *const[]){ "test", NULL }, &seen);
	line.value = "10";
	assert_true(command_line_number(&line, 1, 10, &number));
	assert_int_equal(number, 10);
}

static void nearest_name_is_near(void **state)
{
	(void)state;
	static const char *const names[] = { "routes", "policy", "pki" };

	assert_string_equal(command_nearest("ruotes", names, 3), "routes");
	assert_string_equal(command_nearest("polcy", names, 3), "policy");
	assert_null(command_nearest("replay-everything", names, 3));
	assert_null(command_nearest("xyzzy", names, 3));
}

static int ran(int argc, char **argv)
{
	return 100 + argc + (strcmp(argv[0], "go") == 0);
}

static void groups_run_the_command_named(void **state)
{
	(void)state;
	static const struct command_entry entries[] = { { "go", ran, "goes" }, { NULL, NULL, NULL } };
	static const struct command_group group = { "homeward test", "For tests.", entries, NULL };
	char name[] = "test", go[] = "go", more[] = "more", unknown[] = "og", help[] = "--help";

	assert_int_equal(command_group_run(&group, 3, (char *[]){ name, go, more, NULL }), 103);
	assert_int_equal(command_group_run(&group, 2, (char *[]){ name, unknown, NULL }), EXIT_CODE_USAGE);
	assert_int_equal(command_group_run(&group, 2, (char *[]){ name, help, NULL }), EXIT_CODE_OK);
	assert_int_equal(command_group_run(&group, 1, (char *[]){ name, NULL }), EXIT_CODE_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_arguments_may_mix),
		cmocka_unit_test(wrong_lines_end_with_64),
		cmocka_unit_test(arguments_are_counted),
		cmocka_unit_test(settings_file_comes_from_option_then_environment),
		cmocka_unit_test(numbers_are_checked),
		cmocka_unit_test(nearest_name_is_near),
		cmocka_unit_test(groups_run_the_command_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

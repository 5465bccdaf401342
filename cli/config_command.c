/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward config`: what base/settings.h knows, for people.  `check -` reads
 * standard input, so that an editor or a pipeline can check without a file.
 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"

enum { SETTINGS_BYTES_MAX = 1 << 20, OPTION_DIFF_DEFAULT = COMMAND_ID_FIRST };

static int check_input(void)
{
	struct strbuf text = STRBUF_INIT, errors = STRBUF_INIT;
	struct settings *settings = NULL;
	enum status status;
	size_t got;

	text.max = SETTINGS_BYTES_MAX;
	do {
		char bytes[4096];

		got = fread(bytes, 1, sizeof(bytes), stdin);
		strbuf_add(&text, bytes, got);
	} while (got > 0 && strbuf_ok(&text));
	if (!strbuf_ok(&text)) {
		strbuf_addf(&errors, "<stdin>: more than %d bytes\n", SETTINGS_BYTES_MAX);
		status = STATUS_TOO_LARGE;
	} else {
		status = settings_parse("<stdin>", text.data, text.length, &settings, &errors);
	}
	fputs(errors.data, stderr);
	settings_destroy(settings);
	strbuf_release(&text);
	strbuf_release(&errors);
	return status == STATUS_OK ? EXIT_CODE_OK : EXIT_CODE_CONFIGURATION;
}

static int run_check(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward config check", "[FILE | -]",
		"Reads a settings file and shows every error at once, each with its place and what is allowed.\n"
		"Exit code 0: it is good; 78: it is not.",
		options, "homeward config check homeward.conf\n" };
	struct settings *settings = NULL;
	struct command_line line;

	command_line_begin(&line, &usage, argc, argv);
	(void)command_line_next(&line);
	if (!command_line_expect(&line, 0, 1))
		return line.exit_code;
	const char *path = line.argument_count == 1 ? line.arguments[0] : line.config;
	int exit_code = strcmp(path, "-") == 0 ? check_input() : command_settings(path, &settings);
	if (exit_code == EXIT_CODE_OK)
		printf("%s: good\n", strcmp(path, "-") == 0 ? "<stdin>" : path);
	settings_destroy(settings);
	return exit_code;
}

struct show {
	struct output *output;
	bool only_changed;
};

static void show_row(void *arg, const struct settings_row *row)
{
	struct show *show = arg;

	if (show->only_changed && row->value != NULL && row->default_value != NULL &&
		strcmp(row->value, row->default_value) == 0)
		return;
	output_row(show->output, (const char *const[]){ row->key, row->value, row->unit, row->default_value,
					 row->source, row->reloadable ? "true" : "false" });
}

static int run_show(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_DIFF_DEFAULT, "diff-default", NULL, "only what differs from the default" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward config show", "[--diff-default]",
		"Shows every setting: its value, unit, default, where it was set, and whether a reload applies it.",
		options, "homeward config show --diff-default\nhomeward config show -o json\n" };
	static const struct output_column columns[] = {
		{ "key", OUTPUT_TEXT },
		{ "value", OUTPUT_TEXT },
		{ "unit", OUTPUT_TEXT },
		{ "default", OUTPUT_TEXT },
		{ "source", OUTPUT_TEXT },
		{ "reloadable", OUTPUT_BOOLEAN },
	};
	struct settings *settings = NULL;
	struct command_line line;
	struct show show = { .only_changed = false };

	command_line_begin(&line, &usage, argc, argv);
	while (command_line_next(&line) != COMMAND_LINE_END)
		show.only_changed = true;
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	int exit_code = command_settings(line.config, &settings);
	if (exit_code == EXIT_CODE_OK) {
		show.output = output_create(stdout, line.format, columns, sizeof(columns) / sizeof(columns[0]));
		settings_each(settings, show_row, &show);
		exit_code = output_finish(show.output);
	}
	settings_destroy(settings);
	return exit_code;
}

static int run_reference(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward config reference", "",
		"Writes the reference of all settings in Markdown, as in docs/CONFIGURATION.md.", options,
		"homeward config reference > CONFIGURATION.md\n" };
	struct strbuf text = STRBUF_INIT;
	struct command_line line;

	command_line_begin(&line, &usage, argc, argv);
	(void)command_line_next(&line);
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	settings_write_reference(&text);
	bool is_written = strbuf_ok(&text) && fwrite(text.data, 1, text.length, stdout) == text.length &&
			  fflush(stdout) == 0;
	strbuf_release(&text);
	return is_written ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

int command_config(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "check", run_check, "read a settings file and show every error" },
		{ "show", run_show, "every setting and where it comes from" },
		{ "reference", run_reference, "the reference of all settings, in Markdown" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward config", "The settings file.", entries,
		"homeward config check homeward.conf\nhomeward config show --diff-default\n" };

	return command_group_run(&group, argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every command shares.  Options go through getopt_long, built from the
 * command's own table, so that the help can never disagree with the parser.
 * getopt keeps its place in globals: one line is read at a time, on the main
 * thread, and the place is reset when a line begins.
 */
#include "cli/command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

int command_fail(int exit_code, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("homeward: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return exit_code;
}

int command_exit_code(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return EXIT_CODE_OK;
	case STATUS_INVALID:
	case STATUS_TOO_LARGE:
	case STATUS_BAD_PEER:
		return EXIT_CODE_DATA;
	case STATUS_UNREACHABLE:
		return EXIT_CODE_UNREACHABLE;
	case STATUS_OVERLOADED:
	case STATUS_DEADLINE:
	case STATUS_DRAINING:
		return EXIT_CODE_TRY_AGAIN;
	case STATUS_UNAUTHENTICATED:
	case STATUS_FORBIDDEN:
		return EXIT_CODE_NOT_PERMITTED;
	case STATUS_INTERNAL:
		return EXIT_CODE_BUG;
	default:
		return EXIT_CODE_FAILED;
	}
}

/* ---- names nearby ---- */

enum { NAME_LENGTH_MAX = 63 }; /* longer names are not compared: nobody mistypes one of ours into that */

static size_t edit_distance(const char *a, const char *b)
{
	size_t row[NAME_LENGTH_MAX + 1];
	size_t a_length = strlen(a), b_length = strlen(b);

	if (a_length > NAME_LENGTH_MAX || b_length > NAME_LENGTH_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_length; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[b_length];
}

const char *command_nearest(const char *wanted, const char *const *names, size_t count)
{
	const char *nearest = NULL;
	size_t best = (strlen(wanted) + 2) / 3 + 1;

	for (size_t i = 0; i < count; i++) {
		size_t distance = edit_distance(wanted, names[i]);

		if (distance < best) {
			best = distance;
			nearest = names[i];
		}
	}
	return nearest;
}

/* ---- groups ---- */

static void indent(FILE *stream, const char *lines)
{
	while (*lines != '\0') {
		size_t length = strcspn(lines, "\n");

		fprintf(stream, "  %.*s\n", (int)length, lines);
		lines += length;
		if (*lines == '\n')
			lines++;
	}
}

static int group_help(FILE *stream, const struct command_group *group)
{
	size_t width = 0;

	fprintf(stream, "Usage: %s COMMAND …\n\n%s\n\nCommands:\n", group->name, group->summary);
	for (const struct command_entry *entry = group->entries; entry->name != NULL; entry++)
		if (strlen(entry->name) > width)
			width = strlen(entry->name);
	for (const struct command_entry *entry = group->entries; entry->name != NULL; entry++)
		fprintf(stream, "  %-*s  %s\n", (int)width, entry->name, entry->help);
	if (group->examples != NULL) {
		fprintf(stream, "\nExamples:\n");
		indent(stream, group->examples);
	}
	fprintf(stream, "\n`%s COMMAND --help` says more.\n", group->name);
	return EXIT_CODE_OK;
}

int command_group_run(const struct command_group *group, int argc, char **argv)
{
	const char *names[COMMAND_OPTIONS_MAX];
	size_t count = 0;

	if (argc < 2) {
		(void)group_help(stderr, group);
		return EXIT_CODE_USAGE;
	}
	if (strcmp(argv[1], "help") == 0 && argc > 2) {
		char help[] = "--help";
		char *asked[] = { argv[0], argv[2], help, NULL };

		return command_group_run(group, 3, asked);
	}
	if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)
		return group_help(stdout, group);
	for (const struct command_entry *entry = group->entries; entry->name != NULL; entry++) {
		if (strcmp(entry->name, argv[1]) == 0)
			return entry->run(argc - 1, argv + 1);
		must(count < COMMAND_OPTIONS_MAX);
		names[count++] = entry->name;
	}
	const char *nearest = command_nearest(argv[1], names, count);
	if (nearest != NULL)
		return command_fail(EXIT_CODE_USAGE, "`%s %s` is not a command. Did you mean `%s %s`?", group->name,
			argv[1], group->name, nearest);
	return command_fail(
		EXIT_CODE_USAGE, "`%s %s` is not a command; `%s --help` lists them", group->name, argv[1], group->name);
}

/* ---- one command's line ---- */

static void line_help(const struct command_usage *usage)
{
	printf("Usage: %s%s%s\n\n%s\n\nOptions:\n", usage->name, usage->synopsis[0] != '\0' ? " " : "", usage->synopsis,
		usage->summary);
	for (const struct command_option *option = usage->options; option->name != NULL; option++) {
		struct strbuf left = STRBUF_INIT;

		if (option->id < COMMAND_ID_FIRST)
			strbuf_addf(&left, "-%c, ", option->id);
		else
			strbuf_adds(&left, "    ");
		strbuf_addf(&left, "--%s", option->name);
		if (option->argument != NULL)
			strbuf_addf(&left, " %s", option->argument);
		printf("  %-26s  %s\n", left.data, option->help);
		strbuf_release(&left);
	}
	printf("  %-26s  %s\n", "-h, --help", "this text");
	if (usage->examples != NULL) {
		printf("\nExamples:\n");
		indent(stdout, usage->examples);
	}
}

void command_line_begin(struct command_line *line, const struct command_usage *usage, int argc, char **argv)
{
	const char *config = getenv("HOMEWARD_CONFIG");

	*line = (struct command_line){
		.config = config != NULL && config[0] != '\0' ? config : COMMAND_CONFIG_DEFAULT,
		.format = OUTPUT_TABLE,
		.usage = usage,
		.argc = argc,
		.argv = argv,
	};
	optind = 0; /* glibc: start afresh */
	opterr = 0;
}

int command_line_wrong(struct command_line *line, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s: ", line->usage->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "; `%s --help` shows how\n", line->usage->name);
	line->is_over = true;
	line->exit_code = EXIT_CODE_USAGE;
	return EXIT_CODE_USAGE;
}

static int line_end(struct command_line *line, int exit_code)
{
	line->is_over = true;
	line->exit_code = exit_code;
	return COMMAND_LINE_END;
}

static int unknown_option(struct command_line *line, const char *given)
{
	const char *names[COMMAND_OPTIONS_MAX];
	size_t count = 0;
	char bare[NAME_LENGTH_MAX + 1] = "";

	if (strncmp(given, "--", 2) != 0) {
		command_line_wrong(line, "unknown option -%c", optopt);
		return COMMAND_LINE_END;
	}
	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(given + 2, "="), given + 2);
	for (const struct command_option *option = line->usage->options; option->name != NULL; option++) {
		if (strcmp(option->name, bare) == 0) {
			command_line_wrong(line, "option --%s takes no value", bare);
			return COMMAND_LINE_END;
		}
		names[count++] = option->name;
	}
	const char *nearest = command_nearest(bare, names, count);
	if (nearest != NULL)
		command_line_wrong(line, "unknown option --%s (did you mean --%s?)", bare, nearest);
	else
		command_line_wrong(line, "unknown option --%s", bare);
	return COMMAND_LINE_END;
}

int command_line_next(struct command_line *line)
{
	struct option table[COMMAND_OPTIONS_MAX + 2] = { 0 };
	char letters[2 * COMMAND_OPTIONS_MAX + 4] = ":h";
	size_t count = 0, letter_count = 2;
	int id;

	if (line->is_over)
		return COMMAND_LINE_END;
	for (const struct command_option *option = line->usage->options; option->name != NULL; option++) {
		must(count < COMMAND_OPTIONS_MAX);
		table[count++] = (struct option){ option->name,
			option->argument != NULL ? required_argument : no_argument, NULL, option->id };
		if (option->id < COMMAND_ID_FIRST) {
			letters[letter_count++] = (char)option->id;
			if (option->argument != NULL)
				letters[letter_count++] = ':';
		}
	}
	table[count] = (struct option){ "help", no_argument, NULL, COMMAND_ID_HELP };

	while ((id = getopt_long(line->argc, line->argv, letters, table, NULL)) != -1) {
		line->value = optarg;
		if (id == COMMAND_ID_HELP) {
			line_help(line->usage);
			return line_end(line, EXIT_CODE_OK);
		}
		if (id == ':') {
			command_line_wrong(line, "option %s needs a value", line->argv[optind - 1]);
			return COMMAND_LINE_END;
		}
		if (id == '?')
			return unknown_option(line, line->argv[optind - 1]);
		if (id == COMMAND_ID_CONFIG) {
			line->config = optarg;
		} else if (id == COMMAND_ID_OUTPUT) {
			if (output_format_parse(optarg, &line->format) != STATUS_OK) {
				command_line_wrong(line, "output format is table, json or csv, not \"%s\"", optarg);
				return COMMAND_LINE_END;
			}
		} else {
			return id;
		}
	}
	line->arguments = line->argv + optind;
	line->argument_count = line->argc - optind;
	return COMMAND_LINE_END;
}

bool command_line_expect(struct command_line *line, int count_min, int count_max)
{
	if (line->is_over)
		return false;
	if (line->argument_count >= count_min && line->argument_count <= count_max)
		return true;
	if (line->argument_count > count_max)
		command_line_wrong(line, "\"%s\" is one argument too many", line->arguments[count_max]);
	else
		command_line_wrong(
			line, "%s is missing", line->argument_count == 0 ? "an argument" : "another argument");
	return false;
}

bool command_line_number(struct command_line *line, int64_t min, int64_t max, int64_t *number_out)
{
	char *end = NULL;
	long long number;

	*number_out = 0;
	errno = 0;
	number = strtoll(line->value, &end, 10);
	if (errno != 0 || end == line->value || *end != '\0' || number < min || number > max) {
		command_line_wrong(line, "\"%s\" is not a whole number from %lld to %lld", line->value, (long long)min,
			(long long)max);
		return false;
	}
	*number_out = number;
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward events tail`: the daemon's system events by long polls of its admin
 * listener, so that it works where there is no broker.  A daemon that is away is
 * asked again each second; what was missed meanwhile is said on stderr, and the
 * events themselves go to stdout, one a line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/command.h"
#include "cli/events.h"

enum { OPTION_ADMIN = COMMAND_ID_FIRST, OPTION_AFTER, OPTION_TYPE, OPTION_ONCE };

#define WAIT_S 20
#define RUN_SIZE 64
#define TYPE_BYTES_MAX 63

struct tail {
	struct strbuf where;
	const char *type;
	const char *const *types; /* of these prefixes alone, ended by NULL; NULL: all */
	int64_t after;
	char run[RUN_SIZE]; /* the process that numbered what was shown; "" none yet */
	bool is_once, is_away;
	enum output_format format;
};

static void show_value(const json_t *value)
{
	if (json_is_string(value)) {
		printf("%s", json_string_value(value));
	} else if (json_is_array(value)) {
		for (size_t i = 0; i < json_array_size(value); i++) {
			printf("%s", i > 0 ? "," : "");
			show_value(json_array_get(value, i));
		}
	} else {
		char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

		printf("%s", text != NULL ? text : "");
		free(text);
	}
}

void events_print(const json_t *row)
{
	const json_t *event = json_object_get(row, "event"), *value;
	const char *at = json_get_string(event, "time"), *type = json_get_string(event, "type"), *name;
	int64_t number = 0;

	(void)json_get_integer(row, "number", &number);
	printf("%" PRId64 " %s %s", number, at != NULL ? at : "?", type != NULL ? type : "?");
	/* NOLINTNEXTLINE: the macro casts */
	json_object_foreach((json_t *)(uintptr_t)json_object_get(event, "data"), name, value)
	{
		printf(" %s=", name);
		show_value(value);
	}
	printf("\n");
}

static bool is_shown(const struct tail *tail, const json_t *row)
{
	const char *type = json_get_string(json_object_get(row, "event"), "type");

	if (tail->types == NULL)
		return true;
	for (size_t i = 0; type != NULL && tail->types[i] != NULL; i++)
		if (strncmp(type, tail->types[i], strlen(tail->types[i])) == 0)
			return true;
	return false;
}

static void show_event(const struct tail *tail, const json_t *row)
{
	char *text = NULL;

	if (!is_shown(tail, row))
		return;
	if (tail->format == OUTPUT_JSON)
		text = json_dumps(row, JSON_COMPACT);
	if (text != NULL)
		printf("%s\n", text);
	else
		events_print(row);
	free(text);
}

static int show_answer(struct tail *tail, int http_status, const struct strbuf *body, bool *is_more)
{
	json_t *answer = NULL;
	const char *run;
	int64_t missed = 0;

	if (json_parse(body->data, body->length, &answer, NULL) != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "the daemon answered %d and nothing readable", http_status);
	run = json_get_string(answer, "run");
	if (http_status != 200 || run == NULL || strlen(run) >= RUN_SIZE) {
		const char *detail = json_get_string(answer, "detail");
		int exit_code = command_fail(http_status == 503 ? EXIT_CODE_TRY_AGAIN : EXIT_CODE_FAILED,
			"the daemon answered %d: %s", http_status, detail != NULL ? detail : "");

		json_decref(answer);
		return exit_code;
	}
	if (tail->run[0] != '\0' && strcmp(tail->run, run) != 0)
		fprintf(stderr, "homeward: the daemon was started again; what it said last before may be missing\n");
	memcpy(tail->run, run, strlen(run) + 1);
	(void)json_get_integer(answer, "missed", &missed);
	if (missed > 0)
		fprintf(stderr, "homeward: %" PRId64 " events were missed: the daemon keeps the last thousand\n",
			missed);
	*is_more = json_array_size(json_object_get(answer, "events")) > 0;
	for (size_t i = 0; i < json_array_size(json_object_get(answer, "events")); i++)
		show_event(tail, json_array_get(json_object_get(answer, "events"), i));
	(void)json_get_integer(answer, "last", &tail->after);
	json_decref(answer);
	fflush(stdout);
	return ferror(stdout) ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

/* One question.  STATUS_UNREACHABLE: nobody answered. */
static enum status ask(struct tail *tail, int *http_status, struct strbuf *body, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;

	strbuf_addf(&path, "/admin/v1/events?after=%" PRId64 "&wait=%d", tail->after, tail->is_once ? 0 : WAIT_S);
	if (tail->type != NULL)
		strbuf_addf(&path, "&type=%s", tail->type);
	if (tail->run[0] != '\0')
		strbuf_addf(&path, "&run=%s", tail->run);
	if (strbuf_ok(&path))
		status = admin_call(
			tail->where.data, "GET", path.data, WAIT_S * 1000 + ADMIN_CALL_MS, http_status, body, why);
	strbuf_release(&path);
	return status;
}

static int follow(struct tail *tail)
{
	struct strbuf body = STRBUF_INIT, why = STRBUF_INIT;
	int exit_code = EXIT_CODE_OK, http_status = 0;
	bool is_more = true;

	while (exit_code == EXIT_CODE_OK && (is_more || !tail->is_once)) {
		struct timespec pause = { 1, 0 };
		enum status status;

		strbuf_reset(&body);
		strbuf_reset(&why);
		status = ask(tail, &http_status, &body, &why);
		if (status == STATUS_OK) {
			if (tail->is_away)
				fprintf(stderr, "homeward: the daemon answers again\n");
			tail->is_away = false;
			exit_code = show_answer(tail, http_status, &body, &is_more);
			/* One that stops answers all, and is gone for a moment. */
			if (exit_code == EXIT_CODE_OK && !is_more && !tail->is_once)
				nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
		} else if (tail->run[0] == '\0') {
			exit_code = command_fail(command_exit_code(status), "%s", why.data);
		} else {
			if (!tail->is_away)
				fprintf(stderr, "homeward: %s; asked again each second\n", why.data);
			tail->is_away = true;
			nanosleep(&pause, NULL);
		}
	}
	strbuf_release(&body);
	strbuf_release(&why);
	return exit_code;
}

int events_show(const char *where, const char *const *types, enum output_format format, bool follows)
{
	struct tail tail = { .types = types, .is_once = !follows, .format = format };
	int exit_code;

	strbuf_init(&tail.where);
	strbuf_adds(&tail.where, where);
	exit_code = follow(&tail);
	strbuf_release(&tail.where);
	return exit_code;
}

int command_events_tail(int argc, char **argv)
{
	static const struct command_option options[] = {
		ADMIN_OPTION_ROW(OPTION_ADMIN),
		{ OPTION_TYPE, "type", "PREFIX", "only types that begin so" },
		{ OPTION_AFTER, "after", "N", "only those after this number" },
		{ OPTION_ONCE, "once", NULL, "show what there is, and end" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward events tail", "[--type PREFIX] [--after N] [--once]",
		"Shows what a daemon itself says (peers, links, certificates, denials, alarms), as it says it.\n"
		"One event a line: its number, its time, its type and what it says; or as JSON.  Needs no broker.",
		options, "homeward events tail --type homeward.peer. -o json\n" };
	struct tail tail = { .after = 0 };
	struct command_line line;
	int exit_code;

	strbuf_init(&tail.where);
	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_ADMIN)
			strbuf_adds(&tail.where, line.value);
		else if (id == OPTION_TYPE)
			tail.type = line.value;
		else if (id == OPTION_AFTER)
			(void)command_line_number(&line, 0, INT64_MAX / 10, &tail.after);
		else if (id == OPTION_ONCE)
			tail.is_once = true;
	}
	if (!line.is_over && tail.type != NULL &&
		(strlen(tail.type) > TYPE_BYTES_MAX ||
			tail.type[strspn(tail.type, "abcdefghijklmnopqrstuvwxyz0123456789._-")] != '\0'))
		exit_code = command_line_wrong(&line, "--type is the beginning of an event's type");
	else if (!line.is_over && line.format == OUTPUT_CSV)
		exit_code = command_line_wrong(&line, "-o is table or json");
	else if (!command_line_expect(&line, 0, 0))
		exit_code = line.exit_code;
	else if (tail.where.length == 0 && admin_where(line.config, &tail.where) != STATUS_OK)
		exit_code = EXIT_CODE_CONFIGURATION;
	else {
		tail.format = line.format;
		exit_code = follow(&tail);
	}
	strbuf_release(&tail.where);
	return exit_code;
}

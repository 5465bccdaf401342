/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward replay`: a file of charging sessions becomes taps against running
 * regions, as a charging network would send them.  A refusal is an answer; only a
 * tap without any counts as failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/replay_player.h"

#define TOKEN_BYTES_MAX 4096
#define CONCURRENCY_MAX 4096

enum {
	OPTION_URL = COMMAND_ID_FIRST,
	OPTION_TOKEN_FILE,
	OPTION_ID,
	OPTION_STATION,
	OPTION_STATION_TYPE,
	OPTION_PURPOSE,
	OPTION_TIME,
	OPTION_SPEED,
	OPTION_CONCURRENCY,
	OPTION_LIMIT,
	OPTION_TIMEOUT,
};

static const struct command_option options[] = {
	{ OPTION_URL, "url", "URL[,…]", "api listener of a region; taps go to several in turn" },
	{ OPTION_TOKEN_FILE, "token-file", "FILE[,…]", "the caller's bearer token; one for all, or one for each URL" },
	{ OPTION_ID, "id", "COLUMN", "the column with the driver's token" },
	{ OPTION_STATION, "station", "COLUMN", "the column with the station" },
	{ OPTION_STATION_TYPE, "station-type", "TYPE", "the stations' type (default: station)" },
	{ 't', "type", "TYPE", "the tokens' type (default: token)" },
	{ OPTION_PURPOSE, "purpose", "PURPOSE", "what for (default: charge.authorize)" },
	{ OPTION_TIME, "time", "COLUMNS", "the column with the time, or two: 'BeginDate BeginHour'" },
	{ OPTION_SPEED, "speed", "FACTOR|max", "times faster than it was (default: max, which needs no times)" },
	{ OPTION_CONCURRENCY, "concurrency", "N", "taps under way at once (default: 32)" },
	{ OPTION_LIMIT, "limit", "N", "only the first N taps" },
	{ OPTION_TIMEOUT, "timeout-ms", "N", "how long a tap waits for its answer (default: 10000)" },
	COMMAND_OPTION_OUTPUT,
	COMMAND_OPTION_END,
};

static const struct command_usage usage = { "homeward replay",
	"FILE --url URL[,…] --token-file FILE --id COLUMN --station COLUMN",
	"Sends each session of a CSV, NDJSON or JSON file as a tap (POST /v1/authorize) and reports answers\n"
	"by kind and source, errors and latencies.  One driver's taps keep their order.  Exit code 0 when\n"
	"every tap got an answer, whatever it was.",
	options,
	"homeward replay sessions.csv --url http://127.0.0.1:7400 --token-file charging.token \\\n"
	"    --id UserId --station ChargingStationId --time 'BeginDate BeginHour' --speed 100000\n" };

struct replay {
	struct command_line line;
	struct replay_settings settings;
	struct tap_columns columns;
	const char *urls, *token_files;
	int64_t limit;
};

/* ---- the command's line ---- */

static void read_speed(struct replay *replay)
{
	const char *text = replay->line.value;
	char *end;

	if (strcmp(text, "max") == 0) {
		replay->settings.speed = 0;
		return;
	}
	replay->settings.speed = strtod(text, &end);
	if (*end != '\0' || !(replay->settings.speed > 0 && replay->settings.speed <= 1e12))
		(void)command_line_wrong(&replay->line, "--speed takes a factor, like 1000, or max");
}

static void read_number(struct replay *replay, int64_t max, int64_t *number)
{
	(void)command_line_number(&replay->line, 1, max, number);
}

static void read_option(struct replay *replay, int id)
{
	const char *value = replay->line.value;
	int64_t number = 1;

	switch (id) {
	case 't':
		replay->settings.type = value;
		break;
	case OPTION_URL:
		replay->urls = value;
		break;
	case OPTION_TOKEN_FILE:
		replay->token_files = value;
		break;
	case OPTION_ID:
		replay->columns.id = value;
		break;
	case OPTION_STATION:
		replay->columns.station = value;
		break;
	case OPTION_STATION_TYPE:
		replay->settings.station_type = value;
		break;
	case OPTION_PURPOSE:
		replay->settings.purpose = value;
		break;
	case OPTION_TIME:
		replay->columns.time = value;
		break;
	case OPTION_SPEED:
		read_speed(replay);
		break;
	case OPTION_CONCURRENCY:
		read_number(replay, CONCURRENCY_MAX, &number);
		replay->settings.concurrency = (int)number;
		break;
	case OPTION_LIMIT:
		read_number(replay, TAPS_MAX, &replay->limit);
		break;
	case OPTION_TIMEOUT:
		read_number(replay, 600000, &replay->settings.timeout_ms);
		break;
	default:
		break;
	}
}

static int read_line(struct replay *replay, int argc, char **argv)
{
	struct command_line *line = &replay->line;

	command_line_begin(line, &usage, argc, argv);
	for (int id; !line->is_over && (id = command_line_next(line)) != COMMAND_LINE_END;)
		read_option(replay, id);
	if (line->is_over || !command_line_expect(line, 1, 1))
		return line->exit_code;
	if (replay->urls == NULL || replay->token_files == NULL)
		return command_line_wrong(line, "--url and --token-file are needed");
	if (replay->columns.id == NULL || replay->columns.station == NULL)
		return command_line_wrong(line, "--id and --station are needed");
	if (replay->settings.speed > 0 && replay->columns.time == NULL)
		return command_line_wrong(line, "--speed with a factor needs --time");
	if (replay->settings.speed == 0)
		replay->columns.time = NULL; /* then the file's order is the order */
	return EXIT_CODE_OK;
}

/* ---- targets ---- */

/* The next of a comma separated list, copied; NULL at its end. */
static char *next_item(const char **list)
{
	size_t length = strcspn(*list, ",");
	char *item = length > 0 ? strndup(*list, length) : NULL;

	*list += length;
	*list += **list == ',';
	return item;
}

static char *read_authorization(const char *path, struct strbuf *why)
{
	struct strbuf token = STRBUF_INIT, header = STRBUF_INIT;

	if (file_read_secret(path, &token, why) == STATUS_OK && token.length <= TOKEN_BYTES_MAX)
		strbuf_addf(&header, "Authorization: Bearer %s", token.data);
	strbuf_release(&token);
	if (header.length == 0 || strpbrk(header.data, "\r\n") != NULL) {
		strbuf_release(&header);
		if (why->length == 0)
			strbuf_addf(why, "%s: not a token", path);
		return NULL;
	}
	return strbuf_take(&header, NULL);
}

static char *endpoint_of(const char *url)
{
	struct strbuf endpoint = STRBUF_INIT;
	size_t length = strlen(url);

	while (length > 0 && url[length - 1] == '/')
		length--;
	strbuf_add(&endpoint, url, length);
	strbuf_adds(&endpoint, "/v1/authorize");
	return strbuf_take(&endpoint, NULL);
}

static int open_targets(struct replay *replay, struct strbuf *why)
{
	struct replay_settings *settings = &replay->settings;
	const char *urls = replay->urls, *files = replay->token_files;
	char *file = NULL, *url;
	int exit_code = EXIT_CODE_OK;

	while (exit_code == EXIT_CODE_OK && (url = next_item(&urls)) != NULL) {
		struct replay_target *target = &settings->targets[settings->target_count];

		if (settings->target_count == REPLAY_URLS_MAX) {
			exit_code = command_line_wrong(&replay->line, "--url: more than %d", REPLAY_URLS_MAX);
		} else if (strncmp(url, "http://", 7) != 0) {
			exit_code = command_line_wrong(&replay->line, "--url: \"%s\" should start with http://", url);
		} else {
			if (*files != '\0') { /* the last file serves the URLs that are left */
				free(file);
				file = next_item(&files);
			}
			settings->target_count++;
			target->url = endpoint_of(url);
			target->authorization = file != NULL ? read_authorization(file, why) : NULL;
			if (target->authorization == NULL)
				exit_code = command_fail(EXIT_CODE_FAILED, "%s", why->data);
		}
		free(url);
	}
	free(file);
	if (exit_code == EXIT_CODE_OK && settings->target_count == 0)
		exit_code = command_line_wrong(&replay->line, "--url is empty");
	return exit_code;
}

static void close_targets(struct replay_settings *settings)
{
	for (int i = 0; i < settings->target_count; i++) {
		free(settings->targets[i].url);
		if (settings->targets[i].authorization != NULL)
			explicit_bzero(settings->targets[i].authorization, strlen(settings->targets[i].authorization));
		free(settings->targets[i].authorization);
	}
}

/* ---- the command ---- */

static int play(struct replay *replay, struct strbuf *why)
{
	struct replay_report report = { .latencies_us = NULL };
	struct tap_list list;
	enum status status;
	int exit_code;

	status = taps_read(replay->line.arguments[0], &replay->columns, (int)replay->limit, &list, why);
	if (status != STATUS_OK)
		return command_fail(EXIT_CODE_DATA, "%s", why->length > 0 ? why->data : status_name(status));
	if (list.count == 0) {
		taps_release(&list);
		return command_fail(EXIT_CODE_DATA, "%s: no row has both \"%s\" and \"%s\"", replay->line.arguments[0],
			replay->columns.id, replay->columns.station);
	}
	status = replay_play(&replay->settings, &list, &report);
	if (status == STATUS_OK)
		exit_code = report_write(&report, replay->line.format);
	else
		exit_code = command_fail(command_exit_code(status), "replay: %s", status_name(status));
	if (exit_code == EXIT_CODE_OK && report.errors.count > 0)
		exit_code = EXIT_CODE_FAILED;
	free(report.latencies_us);
	taps_release(&list);
	return exit_code;
}

int command_replay(int argc, char **argv)
{
	struct replay replay = {
		.settings = { .type = "token",
			.station_type = "station",
			.purpose = "charge.authorize",
			.concurrency = 32,
			.timeout_ms = 10000,
			.shows_progress = isatty(STDERR_FILENO) == 1 },
	};
	struct strbuf why = STRBUF_INIT;
	int exit_code = read_line(&replay, argc, argv);

	if (exit_code == EXIT_CODE_OK && !replay.line.is_over)
		exit_code = open_targets(&replay, &why);
	if (exit_code == EXIT_CODE_OK && !replay.line.is_over)
		exit_code = play(&replay, &why);
	close_targets(&replay.settings);
	strbuf_release(&why);
	return exit_code;
}

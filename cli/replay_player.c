/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One loop in the calling thread.  A tap is due when its time has come; if its
 * driver's earlier tap is not answered yet, it waits behind it, so that what one
 * card did keeps its order whatever the concurrency.
 *
 * Invariant: of each driver at most one tap is under way or in the ready queue;
 * `last` names the newest of those that wait behind it.
 */
#include "cli/replay_player.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/http_client.h"
#include "base/json.h"
#include "base/loop.h"
#include "base/must.h"

#define ANSWER_BYTES_MAX (64 * 1024)
#define PROGRESS_TAPS 500

struct driver {
	int last; /* the newest tap under way, ready or waiting; NO_TAP: idle */
};

struct player {
	const struct replay_settings *settings;
	struct tap_list *list;
	struct replay_report *report;
	struct loop *loop;
	struct http_client *client;
	struct loop_timer due;
	struct loop_task pump;
	struct driver *drivers;
	int next;                    /* in the list */
	int ready_first, ready_last; /* taps whose driver is free, linked by ready_next */
	int *ready_next;
	int under_way, finished;
	bool pump_is_due;
	int64_t started_us;
};

struct call {
	struct player *player;
	int tap;
	int64_t started_us;
	struct strbuf body;
};

static int64_t now_us(void)
{
	struct timespec now;

	must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- answers ---- */

static void count_answer(struct replay_report *report, const struct http_client_result *result)
{
	json_t *body = NULL;
	const char *kind, *source;

	if (result->error != HTTP_CLIENT_OK) {
		tally_add(&report->errors, http_client_error_name(result->error));
		return;
	}
	if (json_parse(result->body, result->body_size, &body, NULL) != STATUS_OK)
		body = NULL;
	if (result->status == 200 && (kind = json_get_string(body, "status")) != NULL) {
		tally_add(&report->answers, kind);
		source = json_get_string(body, "source");
		tally_add(&report->sources, source != NULL ? source : "none");
	} else {
		char http[16];

		(void)snprintf(http, sizeof(http), "http_%d", result->status);
		kind = json_get_string(body, "code");
		tally_add(&report->errors, kind != NULL ? kind : http);
	}
	json_decref(body);
}

static void pump_soon(struct player *player)
{
	if (player->pump_is_due)
		return;
	player->pump_is_due = true;
	loop_defer(player->loop, &player->pump);
}

static void make_ready(struct player *player, int tap)
{
	player->ready_next[tap] = NO_TAP;
	if (player->ready_last == NO_TAP)
		player->ready_first = tap;
	else
		player->ready_next[player->ready_last] = tap;
	player->ready_last = tap;
}

static void finish_tap(struct player *player, int tap)
{
	struct tap *done = &player->list->taps[tap];
	struct driver *driver = &player->drivers[done->driver];

	if (driver->last == tap)
		driver->last = NO_TAP;
	else
		make_ready(player, done->next);
	player->finished++;
	if (player->settings->shows_progress && player->finished % PROGRESS_TAPS == 0)
		fprintf(stderr, "\r%d of %d taps", player->finished, player->list->count);
	if (player->finished == player->list->count)
		loop_break(player->loop);
	else
		pump_soon(player);
}

static void answered(void *arg, const struct http_client_result *result)
{
	struct call *call = arg;
	struct player *player = call->player;
	struct replay_report *report = player->report;

	report->latencies_us[report->latency_count++] = now_us() - call->started_us;
	count_answer(report, result);
	player->under_way--;
	finish_tap(player, call->tap);
	strbuf_release(&call->body);
	free(call);
}

/* ---- taps ---- */

static void write_body(const struct replay_settings *settings, const struct tap *tap, struct strbuf *body)
{
	const char *const members[][2] = {
		{ "type", settings->type },
		{ "id", tap->id },
		{ "station", tap->station },
		{ "station_type", settings->station_type },
		{ "purpose", settings->purpose },
	};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		if (members[i][1] == NULL)
			continue;
		strbuf_addf(body, "%c\"%s\":", body->length == 0 ? '{' : ',', members[i][0]);
		strbuf_add_json(body, members[i][1], strlen(members[i][1]));
	}
	strbuf_addc(body, '}');
}

static void send_tap(struct player *player, int index)
{
	const struct replay_settings *settings = player->settings;
	const struct replay_target *target = &settings->targets[index % settings->target_count];
	const char *const headers[] = { target->authorization, "Content-Type: application/json", NULL };
	struct call *call = calloc(1, sizeof(*call));
	struct http_client_request request = {
		.method = "POST",
		.url = target->url,
		.headers = headers,
		.deadline_ms = loop_now_ms(player->loop) + settings->timeout_ms,
		.response_bytes_max = ANSWER_BYTES_MAX,
	};
	enum status status = STATUS_NO_MEMORY;

	must(call != NULL);
	call->player = player;
	call->tap = index;
	call->started_us = now_us();
	strbuf_init(&call->body);
	write_body(settings, &player->list->taps[index], &call->body);
	request.body = call->body.data;
	request.body_size = call->body.length;
	if (strbuf_ok(&call->body))
		status = http_client_send(player->client, &request, answered, call, NULL);
	if (status == STATUS_OK) {
		player->under_way++;
		return;
	}
	player->report->latencies_us[player->report->latency_count++] = 0;
	tally_add(&player->report->errors, status_name(status));
	strbuf_release(&call->body);
	free(call);
	finish_tap(player, index);
}

static int64_t wait_of(const struct player *player, const struct tap *tap)
{
	double since_first_s = (double)(tap->at_s - player->list->taps[0].at_s);
	int64_t due_us;

	if (player->settings->speed == 0)
		return 0;
	due_us = player->started_us + (int64_t)(since_first_s / player->settings->speed * 1e6);
	return due_us - now_us();
}

/* Takes the next tap of the list: into the ready queue, or behind its driver's earlier one. */
static void take_next(struct player *player)
{
	int index = player->next++;
	struct tap *tap = &player->list->taps[index];
	struct driver *driver = &player->drivers[tap->driver];

	if (driver->last == NO_TAP)
		make_ready(player, index);
	else
		player->list->taps[driver->last].next = index;
	driver->last = index;
}

static void pump(struct loop_task *task)
{
	struct player *player = (struct player *)((char *)task - offsetof(struct player, pump));

	player->pump_is_due = false;
	while (player->under_way < player->settings->concurrency) {
		if (player->ready_first != NO_TAP) {
			int tap = player->ready_first;

			player->ready_first = player->ready_next[tap];
			if (player->ready_first == NO_TAP)
				player->ready_last = NO_TAP;
			send_tap(player, tap);
		} else if (player->next < player->list->count) {
			int64_t wait_us = wait_of(player, &player->list->taps[player->next]);

			if (wait_us > 0) {
				loop_timer_start(&player->due, wait_us / 1000 + 1);
				break;
			}
			take_next(player);
		} else {
			break;
		}
	}
}

static void on_due(void *arg)
{
	pump_soon(arg);
}

/* ---- the whole ---- */

static enum status player_open(struct player *player)
{
	struct http_client_settings client = { NULL, player->settings->concurrency };
	size_t count = (size_t)player->list->count;
	enum status status;

	player->drivers = calloc((size_t)player->list->driver_count, sizeof(*player->drivers));
	player->ready_next = calloc(count, sizeof(*player->ready_next));
	player->report->latencies_us = calloc(count, sizeof(*player->report->latencies_us));
	if (player->drivers == NULL || player->ready_next == NULL || player->report->latencies_us == NULL)
		return STATUS_NO_MEMORY;
	for (int i = 0; i < player->list->driver_count; i++)
		player->drivers[i].last = NO_TAP;
	status = loop_create("replay", &player->loop);
	if (status == STATUS_OK)
		status = loop_timer_init(player->loop, &player->due, on_due, player);
	if (status == STATUS_OK)
		status = http_client_create(player->loop, &client, &player->client);
	return status;
}

enum status replay_play(const struct replay_settings *settings, struct tap_list *list, struct replay_report *report_out)
{
	struct player player = {
		.settings = settings,
		.list = list,
		.report = report_out,
		.pump = { .run = pump },
		.ready_first = NO_TAP,
		.ready_last = NO_TAP,
	};
	enum status status = STATUS_OK;

	must(settings->target_count > 0 && settings->concurrency > 0);
	memset(report_out, 0, sizeof(*report_out));
	report_out->skipped = list->skipped;
	if (list->count == 0)
		return STATUS_OK;

	status = player_open(&player);
	if (status == STATUS_OK) {
		player.started_us = now_us();
		pump_soon(&player);
		loop_run_here(player.loop);
		report_out->duration_us = now_us() - player.started_us;
	}
	if (settings->shows_progress)
		fputs("\r\033[K", stderr);

	http_client_destroy(player.client);
	loop_timer_release(&player.due);
	loop_destroy(player.loop);
	free(player.drivers);
	free(player.ready_next);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for cli/replay_*.c.  The HTTP client is a fake of this file; the loop is real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/http_client.h"
#include "base/json.h"
#include "base/must.h"
#include "cli/replay_player.h"
#include "cli/replay_report.h"
#include "cli/replay_taps.h"

/* ---- the fake client: answers the newest call first, so that order must come from the player ---- */

struct http_client {
	struct loop *loop;
};

struct sent {
	char id[64], station[64], url[64];
	http_client_done *done;
	void *arg;
};

static struct {
	struct http_client client;
	struct loop_task answer;
	struct sent calls[64];
	int open, most_open, sent_count;
	struct strbuf order; /* "id:station " as they were sent */
	bool refuses;
} wire;

const char *http_client_error_name(enum http_client_error error)
{
	must(error == HTTP_CLIENT_CONNECTION_REFUSED);
	return "connection_refused";
}

static void answer_newest(struct loop_task *task)
{
	struct sent call;
	struct http_client_result result = { .error = HTTP_CLIENT_OK, .detail = "", .status = 200 };

	(void)task;
	must(wire.open > 0);
	call = wire.calls[--wire.open];
	if (wire.open > 0)
		loop_defer(wire.client.loop, &wire.answer);
	result.body = "{\"status\":\"ALLOWED\",\"home\":\"na\",\"source\":\"cache\",\"exchange\":\"x\"}";
	if (strcmp(call.id, "blocked") == 0)
		result.body = "{\"status\":\"BLOCKED\",\"home\":\"na\",\"source\":\"home\",\"exchange\":\"x\"}";
	if (strcmp(call.id, "problem") == 0) {
		result.status = 503;
		result.body = "{\"code\":\"overloaded\"}";
	}
	if (strcmp(call.id, "garbage") == 0)
		result.body = "<html>";
	if (strcmp(call.id, "refused") == 0) {
		result.error = HTTP_CLIENT_CONNECTION_REFUSED;
		result.body = "";
	}
	result.body_size = strlen(result.body);
	call.done(call.arg, &result);
}

enum status http_client_create(
	struct loop *loop, const struct http_client_settings *settings, struct http_client **client_out)
{
	assert_null(settings->tls);
	wire.client.loop = loop;
	wire.answer.run = answer_newest;
	*client_out = &wire.client;
	return STATUS_OK;
}

void http_client_destroy(struct http_client *client)
{
	(void)client;
	assert_int_equal(wire.open, 0);
}

enum status http_client_send(struct http_client *client, const struct http_client_request *request,
	http_client_done *done, void *arg, struct http_client_call **call_out)
{
	struct sent *call = &wire.calls[wire.open];
	json_t *body = NULL;

	(void)call_out;
	if (wire.refuses)
		return STATUS_OVERLOADED;
	assert_string_equal(request->method, "POST");
	assert_string_equal(request->headers[0], "Authorization: Bearer secret");
	assert_int_equal(json_parse(request->body, request->body_size, &body, NULL), STATUS_OK);
	assert_string_equal(json_get_string(body, "type"), "token");
	assert_string_equal(json_get_string(body, "purpose"), "charge.authorize");
	snprintf(call->id, sizeof(call->id), "%s", json_get_string(body, "id"));
	snprintf(call->station, sizeof(call->station), "%s", json_get_string(body, "station"));
	snprintf(call->url, sizeof(call->url), "%s", request->url);
	call->done = done;
	call->arg = arg;
	strbuf_addf(&wire.order, "%s%s ", call->id, call->station);
	json_decref(body);
	wire.sent_count++;
	if (++wire.open > wire.most_open)
		wire.most_open = wire.open;
	if (wire.open == 1)
		loop_defer(client->loop, &wire.answer);
	return STATUS_OK;
}

/* ---- helpers ---- */

static enum status read_text(
	const char *text, const struct tap_columns *columns, int limit, struct tap_list *list, struct strbuf *why)
{
	char path[] = "/tmp/homeward-taps-XXXXXX";
	int fd = mkstemp(path);
	enum status status;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	status = taps_read(path, columns, limit, list, why);
	unlink(path);
	return status;
}

static struct tap_list taps_of(const char *text, const char *time, int limit)
{
	const struct tap_columns columns = { "user", "station", time };
	struct strbuf why = STRBUF_INIT;
	struct tap_list list;

	assert_int_equal(read_text(text, &columns, limit, &list, &why), STATUS_OK);
	strbuf_release(&why);
	return list;
}

static struct replay_report play(struct tap_list *list, int concurrency, double speed)
{
	static char url[] = "http://a/v1/authorize", other[] = "http://b/v1/authorize",
		    authorization[] = "Authorization: Bearer secret";
	struct replay_settings settings = {
		.targets = { { url, authorization }, { other, authorization } },
		.target_count = 2,
		.type = "token",
		.station_type = "station",
		.purpose = "charge.authorize",
		.concurrency = concurrency,
		.timeout_ms = 1000,
		.speed = speed,
	};
	struct replay_report report;

	memset(&wire.calls, 0, sizeof(wire.calls));
	wire.open = wire.most_open = wire.sent_count = 0;
	if (wire.order.data != NULL)
		strbuf_release(&wire.order);
	strbuf_init(&wire.order);
	assert_int_equal(replay_play(&settings, list, &report), STATUS_OK);
	return report;
}

/* ---- times ---- */

static int64_t time_of(const char *text, bool dots_are_day_first)
{
	const struct date_reading reading = { dots_are_day_first, false };
	int64_t at_s;

	return tap_time_parse(text, &reading, &at_s) ? at_s : -1;
}

static void dates_are_read_in_every_spelling(void **state)
{
	(void)state;
	assert_int_equal(time_of("2017-08-18T08:41:00Z", false), 1503045660);
	assert_int_equal(time_of("2017-08-18 08:41", false), 1503045660);
	assert_int_equal(time_of("08/18/2017 08:41", false), 1503045660);
	assert_int_equal(time_of("08.18.17 08:41:00", false), 1503045660);
	assert_int_equal(time_of("18.08.17 08:41", true), 1503045660);
	assert_int_equal(time_of("2017-08-18", false), 1503014400);
	static const char *const wrong[] = { "", "2017", "18/08/2017 08:41", "02/30/2017 08:41", "08/18/2017 25:00",
		"08/18/2017 8h41", "08/18-2017", "yesterday", "08/18/2017 08:41 PM" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(time_of(wrong[i], false), -1);
}

static void the_file_tells_months_from_days(void **state)
{
	/* Read month first this is in order; read day first it jumps. */
	struct tap_list list = taps_of("user,station,day,hour\n"
				       "a,1,01.31.17,10:00\n"
				       "a,2,02.09.17,09:30\n"
				       "a,3,02/10/2017,10:30\n"
				       "a,4,03.01.17,00:00\n",
		"day hour", 0);

	(void)state;
	assert_int_equal(list.count, 4);
	assert_int_equal(list.taps[1].at_s, 1486632600); /* 9 February */
	assert_int_equal(list.skipped, 0);
	taps_release(&list);

	list = taps_of("user,station,day\na,1,31.01.17\na,2,09.02.17\na,3,10.02.17\n", "day", 0);
	assert_int_equal(list.taps[1].at_s, 1486598400);
	taps_release(&list);
}

static void taps_are_put_in_their_order_of_time(void **state)
{
	struct tap_list list = taps_of("user,station,day\na,1,2017-01-02\na,2,2017-01-03\na,3,2017-01-01\n"
				       "a,4,2017-01-03\na,5,never\n",
		"day", 0);

	(void)state;
	assert_int_equal(list.count, 4);
	assert_int_equal(list.skipped, 1);
	assert_string_equal(list.taps[0].station, "3");
	assert_string_equal(list.taps[2].station, "2"); /* equal times keep the file's order */
	assert_string_equal(list.taps[3].station, "4");
	taps_release(&list);
}

static void rows_without_a_driver_or_station_are_skipped(void **state)
{
	struct tap_list list = taps_of("user,station\na,1\n,2\nb,\nc\nb,3\na,4\n", NULL, 0);

	(void)state;
	assert_int_equal(list.count, 3);
	assert_int_equal(list.skipped, 3);
	assert_int_equal(list.driver_count, 2);
	assert_int_equal(list.taps[0].driver, list.taps[2].driver);
	taps_release(&list);

	list = taps_of("user,station\na,1\nb,2\nc,3\n", NULL, 2);
	assert_int_equal(list.count, 2);
	taps_release(&list);
}

/* ---- playing ---- */

static void one_drivers_taps_keep_their_order(void **state)
{
	struct tap_list list = taps_of("user,station\na,1\na,2\nb,1\na,3\nb,2\nc,1\nb,3\na,4\nd,1\nd,2\n", NULL, 0);
	struct replay_report report = play(&list, 3, 0);
	const char *const drivers[] = { "a", "b", "c", "d" };
	const int taps[] = { 4, 3, 1, 2 };

	(void)state;
	assert_int_equal(wire.sent_count, 10);
	assert_in_range(wire.most_open, 2, 3);
	for (int i = 0; i < 4; i++) {
		const char *at = wire.order.data;

		for (int tap = 1; tap <= taps[i]; tap++) {
			char word[16];

			snprintf(word, sizeof(word), "%s%d ", drivers[i], tap);
			at = strstr(at, word);
			assert_non_null(at);
		}
	}
	assert_int_equal(tally_of(&report.answers, "ALLOWED"), 10);
	assert_int_equal(report.latency_count, 10);
	free(report.latencies_us);
	strbuf_release(&wire.order);
	taps_release(&list);
}

static void answers_sources_and_errors_are_counted(void **state)
{
	struct tap_list list = taps_of("user,station\na,1\nblocked,1\nproblem,1\ngarbage,1\nrefused,1\na,2\n", NULL, 0);
	struct replay_report report = play(&list, 64, 0);

	(void)state;
	assert_int_equal(tally_of(&report.answers, "ALLOWED"), 2);
	assert_int_equal(tally_of(&report.answers, "BLOCKED"), 1);
	assert_int_equal(tally_of(&report.sources, "cache"), 2);
	assert_int_equal(tally_of(&report.sources, "home"), 1);
	assert_int_equal(tally_of(&report.errors, "overloaded"), 1);
	assert_int_equal(tally_of(&report.errors, "http_200"), 1);
	assert_int_equal(tally_of(&report.errors, "connection_refused"), 1);
	assert_int_equal(report.latency_count, 6);
	free(report.latencies_us);

	wire.refuses = true;
	report = play(&list, 2, 0);
	wire.refuses = false;
	assert_int_equal(tally_of(&report.errors, "overloaded"), 6);
	free(report.latencies_us);
	taps_release(&list);
}

static void time_is_compressed(void **state)
{
	struct tap_list list = taps_of("user,station,at\na,1,2017-01-01 00:00\nb,2,2017-01-01 01:00\n", "at", 0);
	struct replay_report report = play(&list, 8, 72000); /* an hour in 50 ms */

	(void)state;
	assert_true(report.duration_us >= 50000);
	assert_int_equal(report.latency_count, 2);
	assert_int_equal(wire.most_open, 1);
	free(report.latencies_us);
	taps_release(&list);
}

/* ---- the report ---- */

static void percentiles_are_nearest_rank(void **state)
{
	int64_t values[100];

	(void)state;
	for (int i = 0; i < 100; i++)
		values[i] = i + 1;
	assert_int_equal(report_percentile(values, 100, 50), 50);
	assert_int_equal(report_percentile(values, 100, 99), 99);
	assert_int_equal(report_percentile(values, 100, 100), 100);
	assert_int_equal(report_percentile(values, 1, 50), 1);
	assert_int_equal(report_percentile(values, 2, 50), 1);
	assert_int_equal(report_percentile(values, 0, 99), 0);
}

static void a_tally_is_bounded(void **state)
{
	struct tally tally = { .count = 0 };
	char name[16];

	(void)state;
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		tally_add(&tally, name);
	}
	assert_int_equal(tally.count, TALLY_NAMES_MAX + 1);
	assert_int_equal(tally_of(&tally, "other"), 100 - TALLY_NAMES_MAX);
	assert_int_equal(tally_of(&tally, "n0"), 1);
}

static int forget_order(void **state)
{
	(void)state;
	if (wire.order.data != NULL)
		strbuf_release(&wire.order);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates_are_read_in_every_spelling),
		cmocka_unit_test(the_file_tells_months_from_days),
		cmocka_unit_test(taps_are_put_in_their_order_of_time),
		cmocka_unit_test(rows_without_a_driver_or_station_are_skipped),
		cmocka_unit_test(one_drivers_taps_keep_their_order),
		cmocka_unit_test(answers_sources_and_errors_are_counted),
		cmocka_unit_test(time_is_compressed),
		cmocka_unit_test(percentiles_are_nearest_rank),
		cmocka_unit_test(a_tally_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, forget_order);
}

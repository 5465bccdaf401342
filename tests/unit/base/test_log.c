/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log as its reader sees it: stderr is turned into a pipe or a file for the
 * length of one call, and the very bytes are compared.
 */
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/strbuf.h"

struct capture {
	int saved, file;
};

static void capture_start(struct capture *capture)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	capture->saved = dup(STDERR_FILENO);
	capture->file = dup(fileno(file));
	fclose(file);
	/* O_APPEND: threads share the file, and each line lands whole. */
	fcntl(capture->file, F_SETFL, O_APPEND);
	dup2(capture->file, STDERR_FILENO);
}

static void capture_end(struct capture *capture, struct strbuf *text)
{
	char part[4096];
	ssize_t got;

	dup2(capture->saved, STDERR_FILENO);
	close(capture->saved);
	lseek(capture->file, 0, SEEK_SET);
	while ((got = read(capture->file, part, sizeof(part))) > 0)
		strbuf_add(text, part, (size_t)got);
	close(capture->file);
	assert_true(strbuf_ok(text));
}

/* The text after "2026-01-31T08:00:00.000000Z ". */
static const char *without_time(const struct strbuf *text)
{
	assert_true(text->length > 28);
	assert_int_equal(text->data[26], 'Z');
	return text->data + 28;
}

static void text_line(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct capture capture;

	(void)state;
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_set_region("eu");
	capture_start(&capture);
	LOG_WARN("peer_down", "peer", "na", "reason", "no route", "empty", "", "null", NULL);
	capture_end(&capture, &text);
	assert_string_equal(
		without_time(&text), "warn peer_down region=eu peer=na reason=\"no route\" empty=\"\" null=\"\"\n");
	strbuf_release(&text);
	log_set_region("");
}

static void a_value_cannot_forge_a_line_or_a_key(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct capture capture;

	(void)state;
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture_start(&capture);
	LOG_INFO("asked", "a", "x\n2026 error forged", "b", "y=z", "c", "\"q\\", "d", "\xff\x1b[2J");
	capture_end(&capture, &text);
	assert_string_equal(without_time(&text), "info asked a=\"x\\n2026 error forged\" b=\"y=z\" c=\"\\\"q\\\\\" "
						 "d=\"\\ufffd\\u001b[2J\"\n");
	strbuf_release(&text);
}

static void json_line(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct capture capture;
	json_t *value;

	(void)state;
	log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
	log_set_region("na");
	capture_start(&capture);
	LOG_DEBUG("a_name", "key", "line\nbreak \"quoted\"", "number", log_number(INT64_MIN));
	capture_end(&capture, &text);
	assert_int_equal(json_parse(text.data, text.length, &value, NULL), STATUS_OK);
	assert_string_equal(json_get_string(value, "event"), "a_name");
	assert_string_equal(json_get_string(value, "level"), "debug");
	assert_string_equal(json_get_string(value, "region"), "na");
	assert_string_equal(json_get_string(value, "key"), "line\nbreak \"quoted\"");
	assert_string_equal(json_get_string(value, "number"), "-9223372036854775808");
	assert_int_equal(text.data[text.length - 1], '\n');
	json_decref(value);
	strbuf_release(&text);
	log_set_region("");
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
}

static void levels_below_are_dropped(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct capture capture;

	(void)state;
	log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	capture_start(&capture);
	LOG_DEBUG("one");
	LOG_INFO("two");
	LOG_WARN("three");
	LOG_ERROR("four");
	capture_end(&capture, &text);
	assert_string_equal(without_time(&text), "error four\n");
	strbuf_release(&text);
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
}

static void a_long_value_is_cut(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct capture capture;
	char *value = malloc(100001);

	(void)state;
	assert_non_null(value);
	memset(value, 'v', 100000);
	value[100000] = '\0';
	capture_start(&capture);
	LOG_INFO("long", "value", value, "after", "kept");
	capture_end(&capture, &text);
	assert_true(text.length < 4096);
	assert_non_null(strstr(text.data, " after=kept\n"));
	free(value);
	strbuf_release(&text);
}

static void numbers_of_one_call_do_not_overwrite_each_other(void **state)
{
	const char *numbers[8];

	(void)state;
	for (int i = 0; i < 8; i++)
		numbers[i] = log_number(i * 1000);
	for (int i = 0; i < 8; i++)
		assert_int_equal(strtol(numbers[i], NULL, 10), i * 1000);
}

static void a_line_of_a_fault_is_limited_and_counted(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct capture capture;
	struct log_limit limit = { 0, 0 };

	(void)state;
	capture_start(&capture);
	for (int i = 0; i < 100; i++)
		LOG_LIMITED(&limit, LOG_LEVEL_WARN, "trouble", "number", log_number(i));
	atomic_store(&limit.next_ms, 0); /* as if the second were over */
	LOG_LIMITED(&limit, LOG_LEVEL_WARN, "trouble", "number", "100");
	LOG_LIMITED(&limit, LOG_LEVEL_WARN, "trouble", "number", "101");
	capture_end(&capture, &text);
	assert_non_null(strstr(text.data, " warn trouble number=0 left_out=0\n"));
	assert_non_null(strstr(text.data, " warn trouble number=100 left_out=99\n"));
	assert_null(strstr(text.data, "number=1 "));
	assert_null(strstr(text.data, "number=101"));
	strbuf_release(&text);
}

#define LINES_EACH 200

static void *log_many(void *arg)
{
	for (int i = 0; i < LINES_EACH; i++)
		LOG_INFO("line", "thread", (const char *)arg, "number", log_number(i), "end", "end");
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct capture capture;
	pthread_t threads[4];
	char names[4][2] = { "a", "b", "c", "d" };
	int lines = 0;

	(void)state;
	capture_start(&capture);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	capture_end(&capture, &text);
	for (char *line = text.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
		assert_int_equal(line[26], 'Z');
		assert_memory_equal(line + 28, "info line thread=", 17);
		assert_memory_equal(end - 8, " end=end", 8);
	}
	assert_int_equal(lines, 4 * LINES_EACH);
	strbuf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_line),
		cmocka_unit_test(a_value_cannot_forge_a_line_or_a_key),
		cmocka_unit_test(json_line),
		cmocka_unit_test(levels_below_are_dropped),
		cmocka_unit_test(a_long_value_is_cut),
		cmocka_unit_test(numbers_of_one_call_do_not_overwrite_each_other),
		cmocka_unit_test(a_line_of_a_fault_is_limited_and_counted),
		cmocka_unit_test(lines_of_threads_do_not_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry as Prometheus reads it: every test compares lines of the text.
 */
#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct strbuf text = STRBUF_INIT;

static const char *scrape(void)
{
	strbuf_reset(&text);
	metrics_write(&text);
	assert_true(strbuf_ok(&text));
	return text.data;
}

#define assert_has(line) assert_non_null(strstr(scrape(), line))
#define assert_lacks(line) assert_null(strstr(scrape(), line))

static int forget(void **state)
{
	(void)state;
	metrics_reset();
	strbuf_release(&text);
	return 0;
}

static void counter_without_labels_starts_at_zero(void **state)
{
	struct metric *metric = metric_register(METRIC_COUNTER, "a_total", "Help with \\ and\nbreak.", NULL);

	(void)state;
	assert_has("# HELP a_total Help with \\\\ and\\nbreak.\n# TYPE a_total counter\na_total 0\n");
	metric_add(metric_series(metric, NULL), 3);
	metric_add(metric_series(metric, NULL), 4);
	assert_has("\na_total 7\n");
}

static void the_same_labels_give_the_same_series(void **state)
{
	struct metric *metric = metric_register(METRIC_COUNTER, "b_total", "Help.", "type,result");
	struct metric_series *hit = metric_series(metric, "token", "hit", NULL);

	(void)state;
	assert_ptr_equal(metric, metric_register(METRIC_COUNTER, "b_total", "Help.", "type,result"));
	assert_ptr_equal(hit, metric_series(metric, "token", "hit", NULL));
	assert_ptr_not_equal(hit, metric_series(metric, "token", "miss", NULL));
	metric_add(hit, 1);
	assert_has("\nb_total{type=\"token\",result=\"hit\"} 1\nb_total{type=\"token\",result=\"miss\"} 0\n");
}

static void a_metric_without_series_is_not_written(void **state)
{
	(void)state;
	metric_register(METRIC_GAUGE, "unused", "Help.", "label");
	assert_lacks("unused");
}

static void label_values_are_escaped(void **state)
{
	struct metric *metric = metric_register(METRIC_GAUGE, "c", "Help.", "v");

	(void)state;
	metric_set(metric_series(metric, "a\"b\\c\nd\x01\xff", NULL), 1);
	assert_has("\nc{v=\"a\\\"b\\\\c\\nd??\"} 1\n");
}

static void gauges_move_and_take_any_double(void **state)
{
	struct metric_series *series = metric_series(metric_register(METRIC_GAUGE, "d", "Help.", NULL), NULL);

	(void)state;
	metric_move(series, 5);
	metric_move(series, -7);
	assert_has("\nd -2\n");
	metric_set(series, 0.25);
	assert_has("\nd 0.25\n");
	metric_set(series, 1767225600123.0);
	assert_has("\nd 1767225600123\n");
	metric_set(series, (double)NAN);
	assert_has("\nd NaN\n");
	metric_set(series, (double)-INFINITY);
	assert_has("\nd -Inf\n");
}

static void a_withdrawn_gauge_is_not_shown_until_it_is_set(void **state)
{
	struct metric *metric = metric_register(METRIC_GAUGE, "w", "Help.", "region");

	(void)state;
	metric_set(metric_series(metric, "eu", NULL), 1);
	metric_set(metric_series(metric, "na", NULL), 2);
	metric_withdraw(metric_series(metric, "eu", NULL));
	assert_lacks("region=\"eu\"");
	assert_has("\nw{region=\"na\"} 2\n");
	metric_set(metric_series(metric, "eu", NULL), 3);
	assert_has("\nw{region=\"eu\"} 3\n");
}

static void histogram_is_cumulative_in_seconds(void **state)
{
	struct metric_series *series = metric_series(
		metric_register(METRIC_HISTOGRAM, "e_seconds", "Help.", "r"), "x", NULL);

	(void)state;
	metric_observe_us(series, -5);
	metric_observe_us(series, 500);
	metric_observe_us(series, 501);
	metric_observe_us(series, 10000000);
	metric_observe_us(series, 10000001);
	assert_has("# TYPE e_seconds histogram\ne_seconds_bucket{r=\"x\",le=\"0.0005\"} 2\n"
		   "e_seconds_bucket{r=\"x\",le=\"0.001\"} 3\n");
	assert_has("\ne_seconds_bucket{r=\"x\",le=\"5\"} 3\ne_seconds_bucket{r=\"x\",le=\"10\"} 4\n"
		   "e_seconds_bucket{r=\"x\",le=\"+Inf\"} 5\ne_seconds_sum{r=\"x\"} 20.001002\n"
		   "e_seconds_count{r=\"x\"} 5\n");
}

static void histogram_without_labels(void **state)
{
	metric_register(METRIC_HISTOGRAM, "f_seconds", "Help.", NULL);
	(void)state;
	assert_has("\nf_seconds_bucket{le=\"0.0005\"} 0\n");
	assert_has("\nf_seconds_sum 0.000000\nf_seconds_count 0\n");
}

static void too_many_series_fold_into_other(void **state)
{
	struct metric *metric = metric_register(METRIC_COUNTER, "g_total", "Help.", "a,b");
	char name[16];
	int lines = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "v%d", i);
		metric_add(metric_series(metric, name, "x", NULL), 1);
	}
	assert_has("\ng_total{a=\"_other\",b=\"_other\"} 744\n");
	for (const char *at = scrape(); (at = strstr(at, "\ng_total{")) != NULL; at++)
		lines++;
	assert_int_equal(lines, 257);
}

static void count_scrapes(void *arg)
{
	metric_move(metric_series(metric_register(METRIC_GAUGE, "scrapes", "Help.", NULL), NULL), 1);
	*(int *)arg += 1;
}

static void collectors_run_before_each_scrape(void **state)
{
	int scrapes = 0;

	(void)state;
	metrics_add_collector(count_scrapes, &scrapes);
	assert_has("\nscrapes 1\n");
	assert_has("\nscrapes 2\n");
	assert_int_equal(scrapes, 2);
}

static void process_metrics_are_there(void **state)
{
	const char *resident, *started;

	(void)state;
	assert_has("homeward_build_info{version=\"");
	assert_has("\nhomeward_process_threads ");
	assert_has("\nprocess_cpu_seconds_total ");
	assert_has("\nprocess_open_fds ");
	resident = strstr(scrape(), "\nprocess_resident_memory_bytes ");
	assert_non_null(resident);
	assert_in_range(strtoull(strchr(resident, ' '), NULL, 10), 100000, UINT64_C(1) << 50);
	started = strstr(scrape(), "\nprocess_start_time_seconds ");
	assert_non_null(started);
	assert_in_range(strtoull(strchr(started, ' '), NULL, 10), 1600000000, UINT64_C(1) << 40);
}

static void *update_many(void *arg)
{
	struct metric *counter = metric_register(METRIC_COUNTER, "h_total", "Help.", "v");
	struct metric_series *gauge = metric_series(metric_register(METRIC_GAUGE, "i", "Help.", NULL), NULL);
	struct metric_series *times = metric_series(metric_register(METRIC_HISTOGRAM, "j", "Help.", NULL), NULL);

	for (int i = 0; i < 2000; i++) {
		metric_add(metric_series(counter, i % 2 ? "odd" : "even", NULL), 1);
		metric_move(gauge, i % 2 ? 1 : -2);
		metric_observe_us(times, i);
	}
	return arg;
}

static void updates_from_threads_all_count(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, update_many, NULL), 0);
	scrape();
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_has("\nh_total{v=\"odd\"} 4000\n");
	assert_has("\nh_total{v=\"even\"} 4000\n");
	assert_has("\ni -4000\n");
	assert_has("\nj_count 8000\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(counter_without_labels_starts_at_zero, forget),
		cmocka_unit_test_teardown(the_same_labels_give_the_same_series, forget),
		cmocka_unit_test_teardown(a_metric_without_series_is_not_written, forget),
		cmocka_unit_test_teardown(label_values_are_escaped, forget),
		cmocka_unit_test_teardown(gauges_move_and_take_any_double, forget),
		cmocka_unit_test_teardown(a_withdrawn_gauge_is_not_shown_until_it_is_set, forget),
		cmocka_unit_test_teardown(histogram_is_cumulative_in_seconds, forget),
		cmocka_unit_test_teardown(histogram_without_labels, forget),
		cmocka_unit_test_teardown(too_many_series_fold_into_other, forget),
		cmocka_unit_test_teardown(collectors_run_before_each_scrape, forget),
		cmocka_unit_test_teardown(process_metrics_are_there, forget),
		cmocka_unit_test_teardown(updates_from_threads_all_count, forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

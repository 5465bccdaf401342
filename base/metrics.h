/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics in Prometheus text format 0.0.4.  A process has one registry.  A metric
 * is made once, at start-up, from static names; a series is one set of label
 * values and is bounded: past series_max the values are folded into "_other".
 * Updates are relaxed atomics, safe from any thread.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"

struct metric;
struct metric_series;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/*
 * name: "homeward_lookups_total"; labels: "type,result" or NULL.  Histograms take seconds with buckets
 * 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10.  The same name gives the same metric.
 * Aborts when out of memory (start-up only).
 */
struct metric *metric_register(enum metric_kind kind, const char *name, const char *help, const char *labels);
/* Values in the order of the labels, ended by NULL.  Never NULL; keep the result where it is hot. */
struct metric_series *metric_series(struct metric *metric, ...) __attribute__((sentinel));
/* The one series of a metric without labels. */
struct metric_series *metric_single(enum metric_kind kind, const char *name, const char *help);

void metric_add(struct metric_series *series, uint64_t amount);             /* counter */
void metric_set(struct metric_series *series, double value);                /* gauge */
void metric_withdraw(struct metric_series *series);                         /* gauge: not shown until it is set again */
void metric_move(struct metric_series *series, int64_t delta);              /* gauge */
void metric_observe_us(struct metric_series *series, int64_t microseconds); /* histogram */

/* Read at scrape time: called under no lock; sets gauges. */
void metrics_add_collector(void (*collect)(void *arg), void *arg);
void metrics_write(struct strbuf *text);
/* The part of metrics_write that is the same for every program: process_* and homeward_build_info. */
void metrics_write_process(struct strbuf *text);
/* For tests: forgets everything registered. */
void metrics_reset(void);

#endif

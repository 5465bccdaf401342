/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metric registry.  Metrics and series are only ever added, each under the
 * registry's mutex, and never move; so a caller keeps a pointer to its series and
 * updates it without a lock.  A scrape reads the same atomics and may see one
 * update and not the next: monitoring needs no more.
 *
 * A process has one registry because it has one /metrics; that is why these are
 * globals.  Labels are rendered once, when the series is made.  When there is no
 * memory for one, its counts go to a series that no scrape shows: a lookup must
 * not end because it could not be counted.
 */
#include "base/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"

#define LABELS_MAX 8
#define SERIES_MAX 256      /* a metric's label sets; a scrape must stay readable and small */
#define LABEL_VALUE_MAX 128 /* bytes kept of one label value */
#define COLLECTORS_MAX 32   /* one a part of the program */
#define BUCKETS 14          /* without +Inf */
#define CACHE_LINE 64       /* series on different cores must not share one */
#define OTHER "_other"

struct metric_series {
	struct metric_series *next;
	uint64_t hash;
	char *labels; /* type="token",result="hit" */
	bool is_histogram;
	_Atomic bool is_withdrawn; /* a gauge */
	_Alignas(
		CACHE_LINE) _Atomic uint64_t value; /* counter; the bits of a gauge's double; a histogram's sum in us */
	_Atomic uint64_t buckets[];                 /* histogram: BUCKETS + 1, not cumulative */
};

struct metric {
	struct metric *next;
	enum metric_kind kind;
	char *name, *help;
	char *labels[LABELS_MAX];
	int label_count;
	struct metric_series *series, **series_end;
	int series_count;
};

static const struct {
	int64_t us;
	const char *text;
} buckets[BUCKETS] = {
	{ 500, "0.0005" },
	{ 1000, "0.001" },
	{ 2500, "0.0025" },
	{ 5000, "0.005" },
	{ 10000, "0.01" },
	{ 25000, "0.025" },
	{ 50000, "0.05" },
	{ 100000, "0.1" },
	{ 250000, "0.25" },
	{ 500000, "0.5" },
	{ 1000000, "1" },
	{ 2500000, "2.5" },
	{ 5000000, "5" },
	{ 10000000, "10" },
};

static _Alignas(CACHE_LINE) union {
	struct metric_series series;
	char space[sizeof(struct metric_series) + (BUCKETS + 1) * sizeof(uint64_t)];
} lost = { .series = { .is_histogram = true } };

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct metric *metrics;
static struct {
	void (*collect)(void *arg);
	void *arg;
} collectors[COLLECTORS_MAX];
static int collector_count;

/* For what is registered at start. */
static char *copy_text(const char *text)
{
	char *copy = strdup(text);

	must(copy != NULL);
	return copy;
}

static struct metric *find_metric(const char *name)
{
	for (struct metric *metric = metrics; metric != NULL; metric = metric->next)
		if (strcmp(metric->name, name) == 0)
			return metric;
	return NULL;
}

static void split_labels(struct metric *metric, const char *labels)
{
	while (labels != NULL && *labels != '\0') {
		size_t size = strcspn(labels, ",");
		char *label = strndup(labels, size);
		must(label != NULL && metric->label_count < LABELS_MAX);
		metric->labels[metric->label_count++] = label;
		labels += size + (labels[size] == ',');
	}
}

/* Under the mutex. */
static struct metric_series *add_series(struct metric *metric, const char *labels, uint64_t hash)
{
	bool is_histogram = metric->kind == METRIC_HISTOGRAM;
	size_t size = sizeof(struct metric_series) + (is_histogram ? (BUCKETS + 1) * sizeof(uint64_t) : 0);
	struct metric_series *series;

	size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	series = aligned_alloc(CACHE_LINE, size);
	if (series == NULL)
		return &lost.series;
	memset(series, 0, size);
	series->labels = strdup(labels);
	if (series->labels == NULL) {
		free(series);
		return &lost.series;
	}
	series->hash = hash;
	series->is_histogram = is_histogram;
	*metric->series_end = series;
	metric->series_end = &series->next;
	metric->series_count++;
	return series;
}

static struct metric *make_metric(enum metric_kind kind, const char *name, const char *help, const char *labels)
{
	struct metric *metric = calloc(1, sizeof(*metric));
	struct metric **end = &metrics;

	must(metric != NULL);
	metric->kind = kind;
	metric->name = copy_text(name);
	metric->help = copy_text(help);
	metric->series_end = &metric->series;
	split_labels(metric, labels);
	if (metric->label_count == 0)
		add_series(metric, "", hash_key64("", 0, 0));
	while (*end != NULL)
		end = &(*end)->next;
	*end = metric;
	return metric;
}

struct metric *metric_register(enum metric_kind kind, const char *name, const char *help, const char *labels)
{
	struct metric *metric;

	pthread_mutex_lock(&registry_mutex);
	metric = find_metric(name);
	if (metric == NULL)
		metric = make_metric(kind, name, help, labels);
	pthread_mutex_unlock(&registry_mutex);
	must(metric->kind == kind);
	return metric;
}

/* Label values are ASCII names of ours; anything else is someone's input and is made harmless. */
static void add_label(struct strbuf *text, const char *label, const char *value)
{
	strbuf_addf(text, "%s%s=\"", text->length > 0 ? "," : "", label);
	for (size_t i = 0; i < LABEL_VALUE_MAX && value[i] != '\0'; i++) {
		unsigned char c = (unsigned char)value[i];
		if (c == '\\' || c == '"')
			strbuf_addf(text, "\\%c", c);
		else if (c == '\n')
			strbuf_adds(text, "\\n");
		else
			strbuf_addc(text, c < ' ' || c >= 0x7F ? '?' : (char)c);
	}
	strbuf_addc(text, '"');
}

/* Under the mutex. */
static struct metric_series *find_series(struct metric *metric, const struct strbuf *labels, uint64_t hash)
{
	for (struct metric_series *series = metric->series; series != NULL; series = series->next)
		if (series->hash == hash && strcmp(series->labels, labels->data) == 0)
			return series;
	return NULL;
}

static struct metric_series *find_or_add_series(struct metric *metric, struct strbuf *labels)
{
	uint64_t hash = hash_key64(labels->data, labels->length, 0);
	struct metric_series *series;

	pthread_mutex_lock(&registry_mutex);
	series = find_series(metric, labels, hash);
	if (series == NULL && metric->series_count >= SERIES_MAX) {
		strbuf_reset(labels);
		for (int i = 0; i < metric->label_count; i++)
			add_label(labels, metric->labels[i], OTHER);
		hash = hash_key64(labels->data, labels->length, 0);
		series = find_series(metric, labels, hash);
	}
	if (series == NULL)
		series = strbuf_ok(labels) ? add_series(metric, labels->data, hash) : &lost.series;
	pthread_mutex_unlock(&registry_mutex);
	return series;
}

struct metric_series *metric_series(struct metric *metric, ...)
{
	struct strbuf labels = STRBUF_INIT;
	struct metric_series *series;
	const char *value;
	va_list values;
	int count = 0;

	va_start(values, metric);
	while ((value = va_arg(values, const char *)) != NULL) {
		must(count < metric->label_count);
		add_label(&labels, metric->labels[count++], value);
	}
	va_end(values);
	must(count == metric->label_count);
	series = strbuf_ok(&labels) ? find_or_add_series(metric, &labels) : &lost.series;
	strbuf_release(&labels);
	return series;
}

struct metric_series *metric_single(enum metric_kind kind, const char *name, const char *help)
{
	return metric_series(metric_register(kind, name, help, NULL), (char *)NULL);
}

void metric_add(struct metric_series *series, uint64_t amount)
{
	atomic_fetch_add_explicit(&series->value, amount, memory_order_relaxed);
}

static double from_bits(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static uint64_t to_bits(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

void metric_set(struct metric_series *series, double value)
{
	atomic_store_explicit(&series->value, to_bits(value), memory_order_relaxed);
	atomic_store_explicit(&series->is_withdrawn, false, memory_order_relaxed);
}

void metric_withdraw(struct metric_series *series)
{
	atomic_store_explicit(&series->is_withdrawn, true, memory_order_relaxed);
}

void metric_move(struct metric_series *series, int64_t delta)
{
	uint64_t before = atomic_load_explicit(&series->value, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(&series->value, &before,
		to_bits(from_bits(before) + (double)delta), memory_order_relaxed, memory_order_relaxed))
		;
}

void metric_observe_us(struct metric_series *series, int64_t microseconds)
{
	int bucket = 0;

	must(series->is_histogram);
	if (microseconds < 0)
		microseconds = 0;
	while (bucket < BUCKETS && microseconds > buckets[bucket].us)
		bucket++;
	atomic_fetch_add_explicit(&series->buckets[bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&series->value, (uint64_t)microseconds, memory_order_relaxed);
}

void metrics_add_collector(void (*collect)(void *arg), void *arg)
{
	pthread_mutex_lock(&registry_mutex);
	must(collector_count < COLLECTORS_MAX);
	collectors[collector_count].collect = collect;
	collectors[collector_count].arg = arg;
	collector_count++;
	pthread_mutex_unlock(&registry_mutex);
}

static void add_double(struct strbuf *text, double value)
{
	if (isnan(value))
		strbuf_adds(text, "NaN");
	else if (isinf(value))
		strbuf_adds(text, value > 0 ? "+Inf" : "-Inf");
	else if (value > -1e15 && value < 1e15 && value == (double)(int64_t)value)
		strbuf_addf(text, "%.0f", value);
	else
		strbuf_addf(text, "%.12g", value);
}

static void write_histogram(struct strbuf *text, const struct metric *metric, struct metric_series *series)
{
	const char *comma = series->labels[0] != '\0' ? "," : "";
	const char *open = series->labels[0] != '\0' ? "{" : "", *close = series->labels[0] != '\0' ? "}" : "";
	uint64_t sum_us = atomic_load_explicit(&series->value, memory_order_relaxed);
	uint64_t count = 0;

	for (int i = 0; i <= BUCKETS; i++) {
		count += atomic_load_explicit(&series->buckets[i], memory_order_relaxed);
		strbuf_addf(text, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", metric->name, series->labels, comma,
			i < BUCKETS ? buckets[i].text : "+Inf", count);
	}
	strbuf_addf(text, "%s_sum%s%s%s %" PRIu64 ".%06" PRIu64 "\n", metric->name, open, series->labels, close,
		sum_us / 1000000, sum_us % 1000000);
	strbuf_addf(text, "%s_count%s%s%s %" PRIu64 "\n", metric->name, open, series->labels, close, count);
}

static void write_series(struct strbuf *text, const struct metric *metric, struct metric_series *series)
{
	uint64_t value = atomic_load_explicit(&series->value, memory_order_relaxed);

	if (metric->kind == METRIC_HISTOGRAM) {
		write_histogram(text, metric, series);
		return;
	}
	strbuf_adds(text, metric->name);
	if (series->labels[0] != '\0')
		strbuf_addf(text, "{%s}", series->labels);
	strbuf_addc(text, ' ');
	if (metric->kind == METRIC_COUNTER)
		strbuf_addf(text, "%" PRIu64, value);
	else
		add_double(text, from_bits(value));
	strbuf_addc(text, '\n');
}

static void write_metric(struct strbuf *text, const struct metric *metric)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram" };

	strbuf_addf(text, "# HELP %s ", metric->name);
	for (const char *c = metric->help; *c != '\0'; c++) {
		if (*c == '\\' || *c == '\n')
			strbuf_adds(text, *c == '\n' ? "\\n" : "\\\\");
		else
			strbuf_addc(text, *c);
	}
	strbuf_addf(text, "\n# TYPE %s %s\n", metric->name, kinds[metric->kind]);
	for (struct metric_series *series = metric->series; series != NULL; series = series->next)
		if (!atomic_load_explicit(&series->is_withdrawn, memory_order_relaxed))
			write_series(text, metric, series);
}

void metrics_write(struct strbuf *text)
{
	int count;

	pthread_mutex_lock(&registry_mutex);
	count = collector_count;
	pthread_mutex_unlock(&registry_mutex);
	/* Entries below count never change, so they are read without the mutex, and a collector may register. */
	for (int i = 0; i < count; i++)
		collectors[i].collect(collectors[i].arg);

	pthread_mutex_lock(&registry_mutex);
	for (const struct metric *metric = metrics; metric != NULL; metric = metric->next)
		if (metric->series != NULL)
			write_metric(text, metric);
	pthread_mutex_unlock(&registry_mutex);
	metrics_write_process(text);
}

static void destroy_metric(struct metric *metric)
{
	struct metric_series *next;

	for (struct metric_series *series = metric->series; series != NULL; series = next) {
		next = series->next;
		free(series->labels);
		free(series);
	}
	for (int i = 0; i < metric->label_count; i++)
		free(metric->labels[i]);
	free(metric->name);
	free(metric->help);
	free(metric);
}

void metrics_reset(void)
{
	pthread_mutex_lock(&registry_mutex);
	while (metrics != NULL) {
		struct metric *next = metrics->next;
		destroy_metric(metrics);
		metrics = next;
	}
	collector_count = 0;
	pthread_mutex_unlock(&registry_mutex);
}

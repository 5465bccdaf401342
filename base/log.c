/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines are built whole in memory and leave in one write(2), so lines from
 * different threads never mix and a reader never sees half of one.  Nothing is
 * buffered: what was logged before a crash is on stderr.
 *
 * Level and format are atomics and are read without a lock; a line that is
 * filtered out costs one load.  The region's name has a mutex of its own because
 * it is text.  These few globals are the process's stderr, of which there is one.
 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/object_id.h"
#include "base/strbuf.h"

#define PAIRS_MAX 32           /* a call without its final NULL stops somewhere */
#define VALUE_BYTES_MAX 2048   /* one long value must not hide the rest of the line */
#define NUMBER_RING 16         /* log_number() results alive at once in one call */
#define NUMBER_BYTES 24        /* "-9223372036854775808" and its NUL */
#define LIMIT_MS 1000          /* enough to see that a fault goes on, too little to fill a disk */
#define LINE_BYTES_MAX 1048576 /* above PAIRS_MAX values, every byte of them escaped */

static _Atomic int log_level = LOG_LEVEL_INFO;
static _Atomic int log_format = LOG_FORMAT_TEXT;
static pthread_mutex_t region_mutex = PTHREAD_MUTEX_INITIALIZER;
static char region_name[REGION_SIZE];

static const char *const level_names[] = { "debug", "info", "warn", "error" };

void log_configure(enum log_level level, enum log_format format)
{
	atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
	atomic_store_explicit(&log_format, (int)format, memory_order_relaxed);
}

void log_set_region(const char *region)
{
	pthread_mutex_lock(&region_mutex);
	snprintf(region_name, sizeof(region_name), "%s", region != NULL ? region : "");
	pthread_mutex_unlock(&region_mutex);
}

static void copy_region(char copy[REGION_SIZE])
{
	pthread_mutex_lock(&region_mutex);
	memcpy(copy, region_name, REGION_SIZE);
	pthread_mutex_unlock(&region_mutex);
}

static bool is_plain(const char *value, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)value[i];
		if (c <= ' ' || c >= 0x7F || c == '"' || c == '=' || c == '\\')
			return false;
	}
	return size > 0;
}

static void add_pair(struct strbuf *line, enum log_format format, const char *key, const char *value)
{
	const char *text = value != NULL ? value : "";
	size_t size = strnlen(text, VALUE_BYTES_MAX);

	if (format == LOG_FORMAT_JSON) {
		strbuf_addc(line, ',');
		strbuf_add_json(line, key, strlen(key));
		strbuf_addc(line, ':');
		strbuf_add_json(line, text, size);
		return;
	}
	strbuf_addc(line, ' ');
	strbuf_adds(line, key);
	strbuf_addc(line, '=');
	if (is_plain(text, size))
		strbuf_add(line, text, size);
	else
		strbuf_add_json(line, text, size);
}

static void add_head(struct strbuf *line, enum log_format format, enum log_level level, const char *event)
{
	char time_text[CLOCK_TEXT_SIZE], region[REGION_SIZE];

	clock_format(clock_wall_us(clock_system()), time_text);
	copy_region(region);
	if (format == LOG_FORMAT_JSON) {
		strbuf_addf(line, "{\"event\":");
		strbuf_add_json(line, event, strlen(event));
		strbuf_addf(line, ",\"time\":\"%s\",\"level\":\"%s\"", time_text, level_names[level]);
	} else {
		strbuf_addf(line, "%s %s %s", time_text, level_names[level], event);
	}
	if (region[0] != '\0')
		add_pair(line, format, "region", region);
}

static void write_line(const char *bytes, size_t size)
{
	int saved_errno = errno;

	/* A short write only happens on a full pipe or disk; the rest follows, and an error has nowhere to go. */
	while (size > 0) {
		ssize_t wrote = write(STDERR_FILENO, bytes, size);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			break;
		bytes += wrote;
		size -= (size_t)wrote;
	}
	errno = saved_errno;
}

void log_event(enum log_level level, const char *event, ...)
{
	enum log_format format = (enum log_format)atomic_load_explicit(&log_format, memory_order_relaxed);
	struct strbuf line = STRBUF_INIT;
	const char *key;
	va_list pairs;

	if ((int)level < atomic_load_explicit(&log_level, memory_order_relaxed))
		return;
	line.max = LINE_BYTES_MAX;
	add_head(&line, format, level, event);
	va_start(pairs, event);
	for (int i = 0; i < PAIRS_MAX && (key = va_arg(pairs, const char *)) != NULL; i++)
		add_pair(&line, format, key, va_arg(pairs, const char *));
	va_end(pairs);
	strbuf_adds(&line, format == LOG_FORMAT_JSON ? "}\n" : "\n");
	if (strbuf_ok(&line))
		write_line(line.data, line.length);
	strbuf_release(&line);
}

bool log_limit_pass(struct log_limit *limit, int64_t *left_out)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());
	int64_t next_ms = atomic_load_explicit(&limit->next_ms, memory_order_relaxed);

	*left_out = 0;
	/* Of several threads at once one wins; the others are counted. */
	if (now_ms < next_ms || !atomic_compare_exchange_strong(&limit->next_ms, &next_ms, now_ms + LIMIT_MS)) {
		atomic_fetch_add_explicit(&limit->left_out, 1, memory_order_relaxed);
		return false;
	}
	*left_out = atomic_exchange_explicit(&limit->left_out, 0, memory_order_relaxed);
	return true;
}

const char *log_number(int64_t number)
{
	static _Thread_local char ring[NUMBER_RING][NUMBER_BYTES];
	static _Thread_local unsigned int next;
	char *text = ring[next++ % NUMBER_RING];

	snprintf(text, NUMBER_BYTES, "%" PRId64, number);
	return text;
}

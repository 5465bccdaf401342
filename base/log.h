/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log: one line an event, the event's name first, then key and value
 * pairs, to stderr.  Text is `time level event key=value …`; JSON is one object
 * a line.  Object ids never appear: log base/hash.h's keyed hash of them.
 *
 *	LOG_WARN("peer_down", "peer", peer->name, "reason", why);
 *
 * Values are strings; log_number() formats an integer into a per-thread ring of
 * scratch buffers for use as an argument.  Safe from any thread; a line is one write(2).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_configure(enum log_level level, enum log_format format);
/* Sent with every line, e.g. the region's name; copied. */
void log_set_region(const char *region);

/* Pairs of const char *, ended by NULL.  A NULL value is written as "". */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));
const char *log_number(int64_t number);

#define LOG_DEBUG(...) log_event(LOG_LEVEL_DEBUG, __VA_ARGS__, (const char *)0)
#define LOG_INFO(...) log_event(LOG_LEVEL_INFO, __VA_ARGS__, (const char *)0)
#define LOG_WARN(...) log_event(LOG_LEVEL_WARN, __VA_ARGS__, (const char *)0)
#define LOG_ERROR(...) log_event(LOG_LEVEL_ERROR, __VA_ARGS__, (const char *)0)

/*
 * For what a fault would say once for every lookup: one line a second, which tells how many were left out before it.
 * One for each kind of line, in the struct it is about; zeroed to begin with.
 */
struct log_limit {
	atomic_int_least64_t next_ms, left_out;
};
/* Whether this line may be written; if so, how many were not. */
bool log_limit_pass(struct log_limit *limit, int64_t *left_out);

#define LOG_LIMITED(limit, level, ...)                                                                                 \
	do {                                                                                                           \
		int64_t lines_left_out;                                                                                \
		if (log_limit_pass((limit), &lines_left_out))                                                          \
			log_event((level), __VA_ARGS__, "left_out", log_number(lines_left_out), (const char *)0);      \
	} while (0)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clock: time as an argument, so that tests can move it.  Deadlines and ages
 * use the monotonic clock (milliseconds); dates in records and the access log
 * use the wall clock (microseconds since 1970, UTC).
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct clock_source {
	int64_t (*monotonic_ms)(void *arg);
	int64_t (*wall_us)(void *arg);
	void *arg;
};

/* The system's clock.  Static storage; safe from any thread. */
const struct clock_source *clock_system(void);

int64_t clock_monotonic_ms(const struct clock_source *clock);
int64_t clock_wall_us(const struct clock_source *clock);

/* RFC 3339 in UTC with microseconds, "2026-01-31T08:00:00.000000Z"; text holds CLOCK_TEXT_SIZE. */
#define CLOCK_TEXT_SIZE 40
void clock_format(int64_t wall_us, char text[CLOCK_TEXT_SIZE]);

/* Parses RFC 3339 ("Z" or a numeric offset, optional fraction).  STATUS_INVALID when it is not one. */
MUST_CHECK enum status clock_parse(const char *text, int64_t *wall_us_out);

/* A fake for tests: both clocks move together and only by fake_clock_advance_ms. */
struct fake_clock {
	struct clock_source source;
	int64_t now_ms;
	int64_t wall_us;
};
void fake_clock_init(struct fake_clock *clock, int64_t now_ms);
void fake_clock_advance_ms(struct fake_clock *clock, int64_t step_ms);

#endif

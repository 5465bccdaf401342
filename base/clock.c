/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks and RFC 3339 dates.  The date arithmetic is the civil-calendar algorithm
 * (days since 1970-01-01 from year, month, day in the proleptic Gregorian
 * calendar), done here so that neither the time zone nor the locale can matter.
 */
#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t system_monotonic_ms(void *arg)
{
	struct timespec now;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t system_wall_us(void *arg)
{
	struct timespec now;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

const struct clock_source *clock_system(void)
{
	static const struct clock_source source = { system_monotonic_ms, system_wall_us, NULL };

	return &source;
}

int64_t clock_monotonic_ms(const struct clock_source *clock)
{
	return clock->monotonic_ms(clock->arg);
}

int64_t clock_wall_us(const struct clock_source *clock)
{
	return clock->wall_us(clock->arg);
}

void clock_format(int64_t wall_us, char text[CLOCK_TEXT_SIZE])
{
	time_t seconds = wall_us / 1000000 - (wall_us % 1000000 < 0);
	int micros = (int)(wall_us - (int64_t)seconds * 1000000);
	struct tm date;

	if (gmtime_r(&seconds, &date) == NULL || date.tm_year + 1900 < 0 || date.tm_year + 1900 > 9999) {
		snprintf(text, CLOCK_TEXT_SIZE, "1970-01-01T00:00:00.000000Z");
		return;
	}
	snprintf(text, CLOCK_TEXT_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", (date.tm_year + 1900) % 10000,
		(date.tm_mon + 1) % 100, date.tm_mday % 100, date.tm_hour % 100, date.tm_min % 100, date.tm_sec % 100,
		micros % 1000000);
}

static int64_t days_from_civil(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return era * 146097 + day_of_era - 719468;
}

static bool take_number(const char **at, int digits, int min, int max, int *value)
{
	int number = 0;

	for (int i = 0; i < digits; i++, (*at)++) {
		if (**at < '0' || **at > '9')
			return false;
		number = number * 10 + (**at - '0');
	}
	*value = number;
	return number >= min && number <= max;
}

static bool take_char(const char **at, char wanted)
{
	if (**at != wanted)
		return false;
	(*at)++;
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && is_leap ? 1 : 0);
}

/* "Z" or "+hh:mm" / "-hh:mm". */
static bool take_offset(const char **at, int *minutes)
{
	int sign, hour, minute;

	*minutes = 0;
	if (take_char(at, 'Z') || take_char(at, 'z'))
		return true;
	sign = **at == '-' ? -1 : 1;
	if (!take_char(at, '+') && !take_char(at, '-'))
		return false;
	if (!take_number(at, 2, 0, 23, &hour) || !take_char(at, ':') || !take_number(at, 2, 0, 59, &minute))
		return false;
	*minutes = sign * (hour * 60 + minute);
	return true;
}

enum status clock_parse(const char *text, int64_t *wall_us_out)
{
	const char *at = text;
	int year, month, day, hour, minute, second, offset;
	int64_t micros = 0;

	*wall_us_out = 0;
	if (!take_number(&at, 4, 0, 9999, &year) || !take_char(&at, '-') || !take_number(&at, 2, 1, 12, &month) ||
		!take_char(&at, '-') || !take_number(&at, 2, 1, days_in_month(year, month), &day))
		return STATUS_INVALID;
	if (!take_char(&at, 'T') && !take_char(&at, 't') && !take_char(&at, ' '))
		return STATUS_INVALID;
	if (!take_number(&at, 2, 0, 23, &hour) || !take_char(&at, ':') || !take_number(&at, 2, 0, 59, &minute) ||
		!take_char(&at, ':') || !take_number(&at, 2, 0, 60, &second))
		return STATUS_INVALID;
	if (take_char(&at, '.')) {
		int64_t unit = 100000;
		if (*at < '0' || *at > '9')
			return STATUS_INVALID;
		for (; *at >= '0' && *at <= '9'; at++, unit /= 10)
			micros += (*at - '0') * unit;
	}
	if (!take_offset(&at, &offset) || *at != '\0')
		return STATUS_INVALID;
	*wall_us_out = ((days_from_civil(year, month, day) * 1440 + hour * 60 + minute - offset) * 60 + second) *
			       1000000 +
		       micros;
	return STATUS_OK;
}

static int64_t fake_monotonic_ms(void *arg)
{
	return ((struct fake_clock *)arg)->now_ms;
}

static int64_t fake_wall_us(void *arg)
{
	return ((struct fake_clock *)arg)->wall_us;
}

void fake_clock_init(struct fake_clock *clock, int64_t now_ms)
{
	clock->source = (struct clock_source){ fake_monotonic_ms, fake_wall_us, clock };
	clock->now_ms = now_ms;
	clock->wall_us = INT64_C(1767225600000000); /* 2026-01-01T00:00:00Z */
}

void fake_clock_advance_ms(struct fake_clock *clock, int64_t step_ms)
{
	clock->now_ms += step_ms;
	clock->wall_us += step_ms * 1000;
}

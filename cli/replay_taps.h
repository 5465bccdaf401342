/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taps: who stood at which charger and when, from a file of sessions.
 */
#ifndef CLI_REPLAY_TAPS_H
#define CLI_REPLAY_TAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"

#define NO_TAP (-1)

struct tap {
	char *id, *station;
	char *time_text; /* NULL without time columns */
	int64_t at_s;    /* since 1970, of no time zone */
	int driver;      /* taps of one id have the same number, from 0 */
	int next;        /* of the same driver, waiting for its turn; for the player's use */
};

struct tap_list {
	struct tap *taps;
	int count;
	int driver_count;
	int skipped; /* rows without an id, a station or a readable time */
};

struct tap_columns {
	const char *id, *station;
	const char *time; /* names separated by spaces, joined by one; NULL: none */
};

#define TAPS_MAX 10000000 /* some 2 GB of them; more is not a replay */

/* limit 0: all.  With times, taps are put in their order. */
MUST_CHECK enum status taps_read(
	const char *path, const struct tap_columns *columns, int limit, struct tap_list *list_out, struct strbuf *why);
void taps_release(struct tap_list *list);

/* How the two numbers in front of a year are meant, in dates with dots and in dates with slashes. */
struct date_reading {
	bool dots_are_day_first, slashes_are_day_first;
};
/* "2017-08-18T08:41:00", "2017-08-18 08:41", "08/18/2017 08:41", "01.01.17 10:30"; seconds and time may be missing. */
MUST_CHECK bool tap_time_parse(const char *text, const struct date_reading *reading, int64_t *at_s_out);

#endif

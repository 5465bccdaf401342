/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports mix date spellings, and "02.09.17" alone does not tell February from
 * September.  The file does: sessions are listed about as they happened, so of
 * the possible readings that one is taken which can read the most taps and steps
 * back in time the least.
 */
#include "cli/replay_taps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "cli/row_source.h"

#define TAPS_FIRST 1024

/* ---- times ---- */

/* Up to digits_max digits; 0 and no move when there are none. */
static int read_number(const char **text, int digits_max)
{
	int number = 0;

	for (int i = 0; i < digits_max && **text >= '0' && **text <= '9'; i++)
		number = number * 10 + *(*text)++ - '0';
	return number;
}

static bool read_date(const char **text, const struct date_reading *reading, struct tm *date)
{
	int first = read_number(text, 4), second, third;
	char mark = **text;
	bool is_day_first = mark == '.' ? reading->dots_are_day_first : reading->slashes_are_day_first;

	if (mark != '-' && mark != '.' && mark != '/')
		return false;
	++*text;
	second = read_number(text, 2);
	if (**text != mark)
		return false;
	++*text;
	third = read_number(text, 4);
	if (mark == '-') {
		date->tm_year = first - 1900;
		date->tm_mon = second - 1;
		date->tm_mday = third;
	} else {
		date->tm_year = (third < 100 ? third + 2000 : third) - 1900;
		date->tm_mon = (is_day_first ? second : first) - 1;
		date->tm_mday = is_day_first ? first : second;
	}
	return date->tm_mon >= 0 && date->tm_mon < 12 && date->tm_mday >= 1 && date->tm_mday <= 31;
}

static bool read_time(const char **text, struct tm *date)
{
	date->tm_hour = read_number(text, 2);
	if (**text != ':')
		return false;
	++*text;
	date->tm_min = read_number(text, 2);
	if (**text == ':') {
		++*text;
		date->tm_sec = read_number(text, 2);
	}
	return date->tm_hour < 24 && date->tm_min < 60 && date->tm_sec <= 60;
}

bool tap_time_parse(const char *text, const struct date_reading *reading, int64_t *at_s_out)
{
	struct tm date = { .tm_mday = 1 };
	int day;

	*at_s_out = 0;
	if (!read_date(&text, reading, &date))
		return false;
	if (*text == 'T' || *text == ' ') {
		text++;
		if (!read_time(&text, &date))
			return false;
	}
	if (*text != '\0' && *text != 'Z' && *text != '.' && *text != '+')
		return false;
	day = date.tm_mday;
	*at_s_out = (int64_t)timegm(&date);
	return date.tm_mday == day; /* else there is no such day in that month */
}

/* Fewer is better: a tap that cannot be read weighs more than any step back. */
static int64_t misfit(const struct tap_list *list, const struct date_reading *reading)
{
	int64_t misfits = 0, before_s = INT64_MIN, at_s;

	for (int i = 0; i < list->count; i++) {
		if (!tap_time_parse(list->taps[i].time_text, reading, &at_s)) {
			misfits += list->count;
			continue;
		}
		misfits += at_s < before_s;
		before_s = at_s;
	}
	return misfits;
}

static int compare_times(const void *a, const void *b)
{
	const struct tap *left = a, *right = b;

	if (left->at_s != right->at_s)
		return left->at_s < right->at_s ? -1 : 1;
	return left->next - right->next; /* the place in the file, until the player takes over */
}

static void tap_release(struct tap *tap)
{
	free(tap->id);
	free(tap->station);
	free(tap->time_text);
}

static void read_times(struct tap_list *list)
{
	struct date_reading best = { false, false };
	int64_t best_misfit = INT64_MAX;
	int kept = 0;

	for (int i = 0; i < 4; i++) {
		struct date_reading reading = { (i & 1) != 0, (i & 2) != 0 };
		int64_t this_misfit = misfit(list, &reading);

		if (this_misfit < best_misfit) {
			best_misfit = this_misfit;
			best = reading;
		}
	}
	for (int i = 0; i < list->count; i++) {
		struct tap *tap = &list->taps[i];

		if (tap_time_parse(tap->time_text, &best, &tap->at_s)) {
			tap->next = i;
			list->taps[kept++] = *tap;
		} else {
			tap_release(tap);
			list->skipped++;
		}
	}
	list->count = kept;
	qsort(list->taps, (size_t)kept, sizeof(*list->taps), compare_times);
}

/* ---- drivers ---- */

static enum status number_drivers(struct tap_list *list)
{
	size_t size = 16;
	int *table;

	while (size < (size_t)list->count * 2)
		size *= 2;
	table = malloc(size * sizeof(*table));
	if (table == NULL)
		return STATUS_NO_MEMORY;
	for (size_t i = 0; i < size; i++)
		table[i] = NO_TAP;
	for (int i = 0; i < list->count; i++) {
		struct tap *tap = &list->taps[i];
		uint64_t at = hash_key64(tap->id, strlen(tap->id), 0);

		while (table[at & (size - 1)] != NO_TAP && strcmp(list->taps[table[at & (size - 1)]].id, tap->id) != 0)
			at++;
		if (table[at & (size - 1)] == NO_TAP) {
			table[at & (size - 1)] = i;
			tap->driver = list->driver_count++;
		} else {
			tap->driver = list->taps[table[at & (size - 1)]].driver;
		}
		tap->next = NO_TAP;
	}
	free(table);
	return STATUS_OK;
}

/* ---- reading ---- */

static char *column_text(const json_t *row, const char *name)
{
	struct strbuf text = STRBUF_INIT;

	if (!row_text(row_get(row, name), &text))
		return NULL;
	return strbuf_take(&text, NULL);
}

static char *time_text(const json_t *row, const char *names)
{
	struct strbuf text = STRBUF_INIT;
	bool has_all = true;

	for (const char *name = names; *name != '\0' && has_all;) {
		size_t length = strcspn(name, " ");
		char column[256];

		snprintf(column, sizeof(column), "%.*s", (int)(length < sizeof(column) ? length : 0), name);
		if (text.length > 0)
			strbuf_addc(&text, ' ');
		has_all = row_text(row_get(row, column), &text);
		name += length;
		name += strspn(name, " ");
	}
	if (!has_all)
		strbuf_reset(&text);
	return strbuf_take(&text, NULL);
}

static enum status add_tap(struct tap_list *list, int *capacity, const struct tap_columns *columns, const json_t *row)
{
	struct tap tap = { .next = NO_TAP };

	tap.id = column_text(row, columns->id);
	tap.station = column_text(row, columns->station);
	if (columns->time != NULL)
		tap.time_text = time_text(row, columns->time);
	if (tap.id == NULL || tap.station == NULL || (columns->time != NULL && tap.time_text == NULL)) {
		list->skipped++;
		tap_release(&tap);
		return STATUS_OK;
	}
	if (list->count == *capacity) {
		int more = *capacity > 0 ? *capacity * 2 : TAPS_FIRST;
		struct tap *taps = realloc(list->taps, (size_t)more * sizeof(*taps));

		if (taps == NULL || list->count == TAPS_MAX) {
			list->taps = taps != NULL ? taps : list->taps;
			tap_release(&tap);
			return STATUS_TOO_LARGE;
		}
		list->taps = taps;
		*capacity = more;
	}
	list->taps[list->count++] = tap;
	return STATUS_OK;
}

enum status taps_read(
	const char *path, const struct tap_columns *columns, int limit, struct tap_list *list_out, struct strbuf *why)
{
	struct row_source *source;
	enum status status;
	int capacity = 0;

	memset(list_out, 0, sizeof(*list_out));
	status = row_source_open(path, &source, why);
	while (status == STATUS_OK && (limit == 0 || list_out->count < limit)) {
		json_t *row;
		int64_t number;

		strbuf_reset(why);
		status = row_source_next(source, &row, &number, why);
		if (status == STATUS_INVALID) {
			list_out->skipped++;
			status = STATUS_OK;
		} else if (status == STATUS_OK) {
			status = add_tap(list_out, &capacity, columns, row);
		}
		json_decref(row);
	}
	row_source_close(source);
	if (status == STATUS_NOT_FOUND && why->length == 0)
		status = STATUS_OK;
	if (status == STATUS_OK) {
		strbuf_reset(why);
		if (columns->time != NULL)
			read_times(list_out);
		status = number_drivers(list_out);
	}
	if (status != STATUS_OK)
		taps_release(list_out);
	return status;
}

void taps_release(struct tap_list *list)
{
	for (int i = 0; i < list->count; i++)
		tap_release(&list->taps[i]);
	free(list->taps);
	memset(list, 0, sizeof(*list));
}

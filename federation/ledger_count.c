/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sums of a window, a slice at a time.  Each slice is one short statement that
 * commits on its own: nothing is locked meanwhile, and the bound of a statement is a
 * bound of a minute's events, not of an hour's.  That slices are not of one moment
 * does no harm: what changes in between makes the sums differ, and ids are compared.
 *
 * On the ledger worker's thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "federation/ledger.h"
#include "federation/ledger_sides.h"

#define NUMBER_SIZE 24
#define SECOND_US 1000000

/* $1: the other region, $2, $3: the window, $4, $5: the slice, in seconds from its beginning, $6: this region. */
#define SLICE_FROM "$2::timestamptz + $4::bigint * interval '1 second'"
#define SLICE_TO "least($3::timestamptz, $2::timestamptz + $5::bigint * interval '1 second')"
#define TAKEN                                                                                                          \
	" FROM homeward.inbox i WHERE i.origin = $1 AND i.outbox_time >= " SLICE_FROM " AND i.outbox_time < " SLICE_TO \
	" AND (i.destination = $6 OR i.destination = 'all')"

static const char *const queries[] = {
	[LEDGER_COUNT_SENT] =
		"SELECT count(*) FILTER (WHERE word <> 'kept'), count(*) FILTER (WHERE word = 'dead'),"
		" bit_xor(homeward.ledger_hash(source, id)) FILTER (WHERE word IN ('applied', 'awaited', 'erased'))"
		" FROM homeward.ledger_rows($1, " SLICE_FROM ", " SLICE_TO ") WHERE $6 <> ''",
	[LEDGER_COUNT_TAKEN] = "SELECT count(*), 0, bit_xor(homeward.ledger_hash(i.source, i.id))" TAKEN,
	[LEDGER_COUNT_ROWS] = "SELECT count(*), 0, NULL" TAKEN,
};

static int64_t length_s(const char *since, const char *until)
{
	int64_t since_us, until_us;

	if (clock_parse(since, &since_us) != STATUS_OK || clock_parse(until, &until_us) != STATUS_OK)
		return 0;
	return until_us > since_us ? (until_us - since_us + SECOND_US - 1) / SECOND_US : 0;
}

enum status ledger_count(struct worker *worker, enum ledger_count what, const char *region, const char *since,
	const char *until, struct ledger_sums *sums_out, struct strbuf *why)
{
	char numbers[2][NUMBER_SIZE];
	const char *parameters[] = { region, since, until, numbers[0], numbers[1], worker->settings->region };
	int64_t window_s = length_s(since, until);
	struct ledger_window slice = { 0, 0 };
	enum status status = STATUS_OK;

	*sums_out = (struct ledger_sums){ .events = 0 };
	while (status == STATUS_OK && ledger_slice_next(window_s, slice.until_s, &slice)) {
		PGresult *rows = NULL;

		if (atomic_load(&worker->is_stopping))
			return STATUS_DRAINING;
		if (!worker_pump(worker, 0)) { /* heartbeats go on */
			strbuf_adds(why, "the broker was lost");
			return STATUS_UNREACHABLE;
		}
		(void)snprintf(numbers[0], NUMBER_SIZE, "%lld", (long long)slice.since_s);
		(void)snprintf(numbers[1], NUMBER_SIZE, "%lld", (long long)slice.until_s);
		status = ledger_query(worker, queries[what], parameters, 6, &rows, why);
		if (status == STATUS_OK)
			ledger_sums_add(sums_out, strtoll(PQgetvalue(rows, 0, 0), NULL, 10),
				strtoll(PQgetvalue(rows, 0, 1), NULL, 10), PQgetvalue(rows, 0, 2));
		PQclear(rows);
	}
	return status;
}

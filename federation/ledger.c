/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums are compared first (SQL, at both sides); ids only of a window whose sums
 * differ, by merging two sorted lists, a page at a time.
 */
#include "federation/ledger.h"

#include <string.h>

#define SETTLE_SHARE 6 /* of the interval: ten minutes of an hour */

int64_t ledger_settle_s(int64_t interval_s)
{
	return interval_s >= SETTLE_SHARE ? interval_s / SETTLE_SHARE : 1;
}

bool ledger_window_next(int64_t from_s, int64_t now_s, int64_t interval_s, struct ledger_window *window_out)
{
	*window_out = (struct ledger_window){ from_s, (from_s / interval_s + 1) * interval_s };
	return window_out->until_s <= now_s - ledger_settle_s(interval_s);
}

bool ledger_slice_next(int64_t window_s, int64_t from_s, struct ledger_window *slice_out)
{
	int64_t share_s = (window_s + LEDGER_SLICES_MAX - 1) / LEDGER_SLICES_MAX;
	int64_t slice_s = share_s > LEDGER_SLICE_S ? share_s : LEDGER_SLICE_S;

	*slice_out = (struct ledger_window){ from_s, from_s + slice_s < window_s ? from_s + slice_s : window_s };
	return from_s < window_s;
}

void ledger_sums_add(struct ledger_sums *sums, int64_t events, int64_t dead, const char *hash)
{
	sums->events += events;
	sums->dead += dead;
	if (strlen(hash) != LEDGER_HASH_BITS)
		return;
	if (sums->hash[0] == '\0')
		memset(sums->hash, '0', LEDGER_HASH_BITS);
	for (size_t i = 0; i < LEDGER_HASH_BITS; i++)
		sums->hash[i] = sums->hash[i] == hash[i] ? '0' : '1';
}

int ledger_key_compare(const struct ledger_key *a, const struct ledger_key *b)
{
	int order = strcmp(a->at, b->at);

	if (order == 0)
		order = strcmp(a->source, b->source);
	return order != 0 ? order : strcmp(a->id, b->id);
}

size_t ledger_compare(struct ledger_item *items, size_t item_count, struct ledger_row *rows, size_t row_count)
{
	size_t awaited = 0, item = 0, row = 0;

	while (item < item_count || row < row_count) {
		int order = 0;

		if (item == item_count)
			order = 1;
		else if (row == row_count)
			order = -1;
		else
			order = ledger_key_compare(&items[item].key, &rows[row].key);
		if (order < 0) {
			items[item].is_missing = items[item].word == LEDGER_TAKEN;
			awaited += items[item].word == LEDGER_WAITED;
		} else if (order > 0) {
			rows[row].is_extra = true;
		}
		item += order <= 0;
		row += order >= 0;
	}
	return awaited;
}

const char *ledger_state(const struct ledger_counts *counts)
{
	if (counts->missing > 0)
		return "missing";
	if (counts->awaited > 0)
		return "open";
	if (counts->extra > 0)
		return "extra";
	return counts->missing_ever > 0 ? "mended" : "even";
}

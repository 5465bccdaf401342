/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision is made with the batch sorted by stream and sequence, so that what
 * only came in the wrong order within a batch needs no holding back.  Then places
 * are dealt out again: a stream's events share the places they came in, lowest
 * number first, and events of different streams stay as they came.
 */
#include "federation/order.h"

#include <stdlib.h>
#include <string.h>

int order_compare_streams(const struct order_stream *a, const struct order_stream *b)
{
	int difference = strcmp(a->subject, b->subject); /* what differs most, first */

	if (difference == 0)
		difference = strcmp(a->source, b->source);
	if (difference == 0)
		difference = strcmp(a->origin, b->origin);
	return difference != 0 ? difference : strcmp(a->destination, b->destination);
}

static int compare_numbers(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_stream(const void *a, const void *b)
{
	const struct order_item *left = a, *right = b;
	int difference = order_compare_streams(&left->stream, &right->stream);

	if (difference == 0)
		difference = compare_numbers(left->sequence, right->sequence);
	return difference != 0 ? difference : compare_numbers((int64_t)left->place, (int64_t)right->place);
}

static int by_place(const void *a, const void *b)
{
	const struct order_item *left = a, *right = b;

	return compare_numbers((int64_t)left->place, (int64_t)right->place);
}

size_t order_sort(struct order_item *items, size_t item_count)
{
	size_t streams = 0;

	for (size_t i = 0; i < item_count; i++)
		items[i].place = i;
	if (item_count > 1)
		qsort(items, item_count, sizeof(*items), by_stream);
	for (size_t i = 0; i < item_count; i++) {
		if (i > 0 && order_compare_streams(&items[i - 1].stream, &items[i].stream) != 0)
			streams++;
		items[i].stream_number = streams;
	}
	return item_count > 0 ? streams + 1 : 0;
}

/* The places of one stream's items, dealt out again by their order here. */
static void deal_places(struct order_item *items, size_t item_count)
{
	/* Few streams have many items in a batch, so sorting in place is as good as anything. */
	for (size_t i = 1; i < item_count; i++)
		for (size_t j = i; j > 0 && items[j - 1].place > items[j].place; j--) {
			size_t place = items[j].place;

			items[j].place = items[j - 1].place;
			items[j - 1].place = place;
		}
}

void order_decide(struct order_item *items, size_t item_count, int64_t *last)
{
	size_t first = 0;

	for (size_t i = 0; i < item_count; i++) {
		struct order_item *item = &items[i];
		int64_t *taken = &last[item->stream_number];

		if (item->stream_number != items[first].stream_number) {
			deal_places(&items[first], i - first);
			first = i;
		}
		if (item->sequence <= 0)
			item->verdict = ORDER_FREE;
		else if (item->sequence <= *taken)
			item->verdict = ORDER_LATE;
		else
			item->verdict = item->first <= *taken + 1 ? ORDER_NEXT : ORDER_AHEAD;
		if (item->verdict == ORDER_NEXT)
			*taken = item->sequence;
	}
	if (item_count > 0) {
		deal_places(&items[first], item_count - first);
		qsort(items, item_count, sizeof(*items), by_place);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order within streams.  A stream is what one source says of one subject to one
 * destination (this region, or all), numbered from 1 without a hole.  Pure.
 */
#ifndef FEDERATION_ORDER_H
#define FEDERATION_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct order_stream {
	const char *origin, *source, *subject, *destination; /* borrowed */
};

enum order_verdict {
	ORDER_FREE,  /* has no number */
	ORDER_NEXT,  /* its turn */
	ORDER_LATE,  /* its number has passed: it was taken before, or given up */
	ORDER_AHEAD, /* an earlier one has not come yet */
};

struct order_item {
	struct order_stream stream;
	int64_t sequence; /* 0: none */
	int64_t first;    /* the numbers from here to before its own will not come; mostly its own */
	size_t index;     /* the caller's: which arrival this is */
	/* Set by order_sort() and order_decide(). */
	size_t place;         /* in the batch as it came, from 0 */
	size_t stream_number; /* from 0 */
	enum order_verdict verdict;
};

int order_compare_streams(const struct order_stream *a, const struct order_stream *b);

/* Brings items of one stream together, by sequence, and numbers the streams; returns how many there are. */
size_t order_sort(struct order_item *items, size_t item_count);

/*
 * Of sorted items.  last[stream_number] is the last number taken of each stream, 0 for a stream never met, and is
 * what it will be when those that are next have been taken.  Afterwards the items are in the order to take them in:
 * each stream's in its own, in the places of the batch in which events of that stream came.
 */
void order_decide(struct order_item *items, size_t item_count, int64_t *last);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few calls of the c-list library that quicktype's C code makes, so that it
 * compiles with what Debian has.  A list is an array of pointers and a place in it.
 */
#ifndef LIST_H
#define LIST_H

#include <stdbool.h>
#include <stdlib.h>

typedef struct {
	void **items;
	size_t count;
	size_t at;
} list_t;

static inline list_t *list_create(bool is_locked, void (*release)(void *))
{
	(void)is_locked;
	(void)release;
	return calloc(1, sizeof(list_t));
}

static inline int list_add_tail(list_t *list, void *item, size_t size)
{
	(void)size;
	void **items = realloc(list->items, (list->count + 1) * sizeof(void *));
	if (items == NULL)
		return -1;
	list->items = items;
	list->items[list->count++] = item;
	return 0;
}

static inline void *list_get_head(list_t *list)
{
	list->at = 0;
	return list->count == 0 ? NULL : list->items[0];
}

static inline void *list_get_next(list_t *list)
{
	return list->at + 1 < list->count ? list->items[++list->at] : NULL;
}

static inline void list_release(list_t *list)
{
	free(list->items);
	free(list);
}

#endif

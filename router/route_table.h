/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a route table, shared by the table and its file form.  Private to router.
 */
#ifndef ROUTER_ROUTE_TABLE_H
#define ROUTER_ROUTE_TABLE_H

#include "router/router.h"

#define ROUTE_TYPES_MAX 256      /* types are a few dozen; finding one is a walk */
#define ROUTE_REGIONS_MAX 1024   /* as many as the peers of any mesh we can think of */
#define ROUTE_COUNT_MAX 20000000 /* so that offsets and slots fit 32 bits at the longest keys */

/*
 * An entry stands in the arena as kind, type and region (indexes, two bytes each, low byte first), key length,
 * key.  Offset 0 is no entry.
 */
#define ROUTE_ENTRY_HEAD 6
#define ROUTE_ARENA_START 1

struct route_slot {
	uint32_t hash;
	uint32_t offset; /* 0: free */
};

struct route_type {
	char name[OBJECT_TYPE_SIZE];
	uint64_t lengths[2]; /* bit n: there are prefixes of n bytes */
};

struct route_region {
	char name[REGION_SIZE];
};

struct route_table {
	struct route_type *types;
	struct route_region *regions;
	size_t type_count, region_count;
	unsigned char *arena;
	size_t arena_size, arena_capacity;
	struct route_slot *slots;
	size_t slot_count; /* a power of two, or 0 */
	size_t count;
	uint64_t generation;
};

struct route_builder {
	struct route_table *table;
};

/* Fields of the entry at `offset`. */
struct route_entry {
	enum route_kind kind;
	unsigned int type, region;
	const char *key;
	size_t key_length;
};
struct route_entry route_table_entry(const struct route_table *table, size_t offset);
static inline size_t route_entry_size(const struct route_entry *entry)
{
	return ROUTE_ENTRY_HEAD + entry->key_length;
}

/* As route_builder_add, without copying the row first.  The key need not be NUL terminated. */
MUST_CHECK enum status route_builder_put(struct route_builder *builder, const char *type, enum route_kind kind,
	const char *key, size_t key_length, const char *region);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Route table: one open-addressing hash table for exact rows and prefixes of all
 * types, over one arena that holds the keys.  A slot is eight bytes, an entry its
 * key and six more, so a million routes need about 30 bytes each over their keys.
 *
 * A prefix is found by hashing the id's first n bytes for each length n that the
 * type has prefixes of, longest first: a handful of probes, whatever their number.
 *
 * Rows are only added, never removed: a change is a new table.  Finished tables
 * are immutable, so any thread may find.
 */
#include "router/route_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/utf8.h"

#define NOT_THERE SIZE_MAX

struct route_builder *route_builder_create(void)
{
	struct route_builder *builder = calloc(1, sizeof(*builder));
	struct route_table *table = calloc(1, sizeof(*table));

	if (builder == NULL || table == NULL) {
		free(builder);
		free(table);
		return NULL;
	}
	table->arena_size = ROUTE_ARENA_START;
	builder->table = table;
	return builder;
}

void route_table_destroy(struct route_table *table)
{
	if (table == NULL)
		return;
	free(table->types);
	free(table->regions);
	free(table->arena);
	free(table->slots);
	free(table);
}

void route_builder_destroy(struct route_builder *builder)
{
	if (builder == NULL)
		return;
	route_table_destroy(builder->table);
	free(builder);
}

/* What doubling left over goes back; where that fails the larger block is as good. */
static void *trim(void *block, size_t size)
{
	void *smaller = size > 0 ? realloc(block, size) : NULL;

	return smaller != NULL ? smaller : block;
}

struct route_table *route_builder_finish(struct route_builder *builder, uint64_t generation)
{
	struct route_table *table = builder->table;

	table->generation = generation;
	if (table->arena != NULL) {
		table->arena = trim(table->arena, table->arena_size);
		table->arena_capacity = table->arena_size;
	}
	builder->table = NULL;
	route_builder_destroy(builder);
	return table;
}

struct route_entry route_table_entry(const struct route_table *table, size_t offset)
{
	const unsigned char *at = table->arena + offset;

	return (struct route_entry){
		.kind = at[0] == ROUTE_PREFIX ? ROUTE_PREFIX : ROUTE_EXACT,
		.type = at[1] | (unsigned int)at[2] << 8,
		.region = at[3] | (unsigned int)at[4] << 8,
		.key = (const char *)at + ROUTE_ENTRY_HEAD,
		.key_length = at[5],
	};
}

static uint32_t hash_of(unsigned int type, enum route_kind kind, const char *key, size_t length)
{
	return (uint32_t)hash_key64(key, length, (uint64_t)type * 2 + (kind == ROUTE_PREFIX ? 1 : 0));
}

/* The slot that holds this key, or the free one where it belongs. */
static struct route_slot *slot_of(const struct route_table *table, uint32_t hash, unsigned int type,
	enum route_kind kind, const char *key, size_t length)
{
	size_t mask = table->slot_count - 1;

	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		struct route_slot *slot = &table->slots[i];
		struct route_entry entry;

		if (slot->offset == 0)
			return slot;
		if (slot->hash != hash)
			continue;
		entry = route_table_entry(table, slot->offset);
		if (entry.type == type && entry.kind == kind && entry.key_length == length &&
			memcmp(entry.key, key, length) == 0)
			return slot;
	}
}

static size_t type_index(const struct route_table *table, const char *name)
{
	for (size_t i = 0; i < table->type_count; i++)
		if (strcmp(table->types[i].name, name) == 0)
			return i;
	return NOT_THERE;
}

static enum status intern_type(struct route_table *table, const char *name, size_t *index_out)
{
	struct route_type *grown;

	*index_out = type_index(table, name);
	if (*index_out != NOT_THERE)
		return STATUS_OK;
	if (table->type_count == ROUTE_TYPES_MAX)
		return STATUS_TOO_LARGE;
	grown = realloc(table->types, (table->type_count + 1) * sizeof(*grown));
	if (grown == NULL)
		return STATUS_NO_MEMORY;
	table->types = grown;
	memset(&grown[table->type_count], 0, sizeof(*grown));
	memcpy(grown[table->type_count].name, name, strlen(name));
	*index_out = table->type_count++;
	return STATUS_OK;
}

static enum status intern_region(struct route_table *table, const char *name, size_t *index_out)
{
	struct route_region *grown;

	for (*index_out = 0; *index_out < table->region_count; (*index_out)++)
		if (strcmp(table->regions[*index_out].name, name) == 0)
			return STATUS_OK;
	if (table->region_count == ROUTE_REGIONS_MAX)
		return STATUS_TOO_LARGE;
	grown = realloc(table->regions, (table->region_count + 1) * sizeof(*grown));
	if (grown == NULL)
		return STATUS_NO_MEMORY;
	table->regions = grown;
	memset(&grown[table->region_count], 0, sizeof(*grown));
	memcpy(grown[table->region_count].name, name, strlen(name));
	table->region_count++;
	return STATUS_OK;
}

/* Keeps at least a third of the slots free: probes stay short and an absent key is told quickly. */
static enum status make_room(struct route_table *table, size_t extra)
{
	if ((table->count + 1) * 3 > table->slot_count * 2) {
		size_t wanted = table->slot_count == 0 ? 16 : table->slot_count * 2;
		struct route_slot *slots = calloc(wanted, sizeof(*slots));

		if (slots == NULL)
			return STATUS_NO_MEMORY;
		for (size_t i = 0; i < table->slot_count; i++) {
			size_t to = table->slots[i].hash & (wanted - 1);

			if (table->slots[i].offset == 0)
				continue;
			while (slots[to].offset != 0)
				to = (to + 1) & (wanted - 1);
			slots[to] = table->slots[i];
		}
		free(table->slots);
		table->slots = slots;
		table->slot_count = wanted;
	}
	if (table->arena_size + extra > table->arena_capacity) {
		size_t wanted = table->arena_capacity == 0 ? 1024 : table->arena_capacity * 2;
		unsigned char *arena = realloc(table->arena, wanted);

		if (arena == NULL)
			return STATUS_NO_MEMORY;
		table->arena = arena;
		table->arena_capacity = wanted;
	}
	return STATUS_OK;
}

static void write_entry(struct route_table *table, struct route_slot *slot, uint32_t hash, enum route_kind kind,
	size_t type, const char *key, size_t key_length)
{
	unsigned char *at = table->arena + table->arena_size;

	at[0] = (unsigned char)kind;
	at[1] = (unsigned char)(type & 0xFF);
	at[2] = (unsigned char)(type >> 8);
	at[5] = (unsigned char)key_length;
	memcpy(at + ROUTE_ENTRY_HEAD, key, key_length);
	*slot = (struct route_slot){ hash, (uint32_t)table->arena_size };
	table->arena_size += ROUTE_ENTRY_HEAD + key_length;
	table->count++;
	if (kind == ROUTE_PREFIX)
		table->types[type].lengths[key_length / 64] |= (uint64_t)1 << key_length % 64;
}

enum status route_builder_put(struct route_builder *builder, const char *type, enum route_kind kind, const char *key,
	size_t key_length, const char *region)
{
	struct route_table *table = builder->table;
	size_t type_at, region_at;
	struct route_slot *slot;
	enum status status;
	uint32_t hash;

	if (!object_type_is_valid(type) || !region_is_valid(region) || key_length == 0 ||
		key_length >= OBJECT_ID_SIZE || !utf8_is_printable(key, key_length) ||
		(kind != ROUTE_EXACT && kind != ROUTE_PREFIX))
		return STATUS_INVALID;
	if (table->count >= ROUTE_COUNT_MAX)
		return STATUS_TOO_LARGE;
	status = intern_type(table, type, &type_at);
	if (status == STATUS_OK)
		status = intern_region(table, region, &region_at);
	if (status == STATUS_OK)
		status = make_room(table, ROUTE_ENTRY_HEAD + key_length);
	if (status != STATUS_OK)
		return status;
	hash = hash_of((unsigned int)type_at, kind, key, key_length);
	slot = slot_of(table, hash, (unsigned int)type_at, kind, key, key_length);
	if (slot->offset == 0)
		write_entry(table, slot, hash, kind, type_at, key, key_length);
	table->arena[slot->offset + 3] = (unsigned char)(region_at & 0xFF);
	table->arena[slot->offset + 4] = (unsigned char)(region_at >> 8);
	return STATUS_OK;
}

enum status route_builder_add(struct route_builder *builder, const struct route *route)
{
	return route_builder_put(
		builder, route->type, route->kind, route->key, strnlen(route->key, sizeof(route->key)), route->region);
}

static bool answer_from(const struct route_table *table, size_t type, enum route_kind kind, const char *key,
	size_t length, struct route_answer *answer)
{
	uint32_t hash = hash_of((unsigned int)type, kind, key, length);
	const struct route_slot *slot = slot_of(table, hash, (unsigned int)type, kind, key, length);
	struct route_entry entry;

	if (slot->offset == 0)
		return false;
	entry = route_table_entry(table, slot->offset);
	answer->found = kind == ROUTE_EXACT ? ROUTE_FOUND_EXACT : ROUTE_FOUND_PREFIX;
	memcpy(answer->region, table->regions[entry.region].name, REGION_SIZE);
	memcpy(answer->key, key, length);
	answer->key[length] = '\0';
	return true;
}

void route_table_find(const struct route_table *table, const struct object_id *object, struct route_answer *answer)
{
	size_t type = type_index(table, object->type);
	size_t length = strnlen(object->id, sizeof(object->id) - 1);

	answer->found = ROUTE_FOUND_NONE;
	answer->region[0] = '\0';
	answer->key[0] = '\0';
	answer->generation = table->generation;
	if (type == NOT_THERE || table->slot_count == 0)
		return;
	if (answer_from(table, type, ROUTE_EXACT, object->id, length, answer))
		return;
	for (int word = 1; word >= 0; word--) {
		uint64_t lengths = table->types[type].lengths[word];

		while (lengths != 0) {
			int bit = 63 - __builtin_clzll(lengths);
			size_t prefix = (size_t)word * 64 + (size_t)bit;

			lengths &= ~((uint64_t)1 << bit);
			if (prefix <= length && answer_from(table, type, ROUTE_PREFIX, object->id, prefix, answer))
				return;
		}
	}
}

size_t route_table_count(const struct route_table *table)
{
	return table->count;
}

uint64_t route_table_generation(const struct route_table *table)
{
	return table->generation;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last good route table on disk, for a start without a database.
 *
 * A header, the names of types and regions, then the arena as it is in memory;
 * the hash table is built again on loading, and every row checked as any other
 * input.  XXH3 over all of it tells a torn or rotten file from a whole one; it
 * does not protect against someone who may write here, who could as well replace
 * the program's settings.
 */
#include "router/route_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"

#define FILE_BYTES_MAX ((size_t)4 << 30) /* ROUTE_COUNT_MAX rows of the longest keys are under 3 GiB */

static const char magic[8] = { 'h', 'o', 'm', 'e', 'r', 't', '0', '1' };

/* In the byte order of the machine: the file is never carried to another. */
struct file_header {
	char magic[8];
	uint64_t checksum; /* XXH3 of everything after this member */
	uint64_t byte_order;
	uint64_t generation, count, type_count, region_count, arena_size;
};
#define BYTE_ORDER_MARK 0x0102030405060708
#define CHECKED_FROM offsetof(struct file_header, byte_order)

enum status route_table_save(const struct route_table *table, const char *path, struct strbuf *why)
{
	struct file_header header = { .byte_order = BYTE_ORDER_MARK,
		.generation = table->generation,
		.count = table->count,
		.type_count = table->type_count,
		.region_count = table->region_count,
		.arena_size = table->arena_size - ROUTE_ARENA_START };
	struct strbuf text = STRBUF_INIT;
	enum status status;

	memcpy(header.magic, magic, sizeof(magic));
	strbuf_reserve(&text, sizeof(header) + header.arena_size + table->type_count * OBJECT_TYPE_SIZE +
				      table->region_count * REGION_SIZE);
	strbuf_add(&text, &header, sizeof(header));
	for (size_t i = 0; i < table->type_count; i++)
		strbuf_add(&text, table->types[i].name, OBJECT_TYPE_SIZE);
	for (size_t i = 0; i < table->region_count; i++)
		strbuf_add(&text, table->regions[i].name, REGION_SIZE);
	if (header.arena_size > 0)
		strbuf_add(&text, table->arena + ROUTE_ARENA_START, header.arena_size);
	if (!strbuf_ok(&text)) {
		status = STATUS_NO_MEMORY;
		goto out;
	}
	header.checksum = hash_key64(text.data + CHECKED_FROM, text.length - CHECKED_FROM, 0);
	memcpy(text.data, &header, sizeof(header));
	status = file_replace(path, text.data, text.length, 0600, why);
out:
	strbuf_release(&text);
	return status;
}

/* NULL when the header fits the file. */
static const char *wrong_with(const struct strbuf *text, const struct file_header *header)
{
	size_t left = text->length - sizeof(*header);

	if (memcmp(header->magic, magic, sizeof(magic)) != 0 || header->byte_order != BYTE_ORDER_MARK)
		return "it is no route table of this version";
	if (hash_key64(text->data + CHECKED_FROM, text->length - CHECKED_FROM, 0) != header->checksum)
		return "its checksum is wrong: it is damaged or incomplete";
	if (header->count > ROUTE_COUNT_MAX || header->type_count > ROUTE_TYPES_MAX ||
		header->region_count > ROUTE_REGIONS_MAX || header->arena_size > left ||
		left != header->arena_size + header->type_count * OBJECT_TYPE_SIZE + header->region_count * REGION_SIZE)
		return "its counts do not fit its size";
	return NULL;
}

/* Rows of a file whose checksum is right can still be wrong if a bug wrote them. */
static enum status read_rows(struct route_builder *builder, const struct file_header *header, const char *names)
{
	const char *regions = names + header->type_count * OBJECT_TYPE_SIZE;
	const char *arena = regions + header->region_count * REGION_SIZE;
	const struct route_table rows = { .arena = (unsigned char *)(uintptr_t)arena,
		.arena_size = header->arena_size };
	size_t at = 0;

	for (uint64_t i = 0; i < header->type_count; i++)
		if (names[(i + 1) * OBJECT_TYPE_SIZE - 1] != '\0')
			return STATUS_INVALID;
	for (uint64_t i = 0; i < header->region_count; i++)
		if (regions[(i + 1) * REGION_SIZE - 1] != '\0')
			return STATUS_INVALID;
	while (at < rows.arena_size) {
		struct route_entry entry;
		enum status status;

		if (rows.arena_size - at < ROUTE_ENTRY_HEAD)
			return STATUS_INVALID;
		entry = route_table_entry(&rows, at);
		if (rows.arena_size - at < route_entry_size(&entry) || entry.type >= header->type_count ||
			entry.region >= header->region_count)
			return STATUS_INVALID;
		status = route_builder_put(builder, names + entry.type * OBJECT_TYPE_SIZE, entry.kind, entry.key,
			entry.key_length, regions + entry.region * REGION_SIZE);
		if (status != STATUS_OK)
			return status;
		at += route_entry_size(&entry);
	}
	return builder->table->count == header->count ? STATUS_OK : STATUS_INVALID;
}

enum status route_table_load(const char *path, struct route_table **table_out, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	struct route_builder *builder = NULL;
	const char *wrong = "it is too short";
	struct file_header header;
	enum status status;

	*table_out = NULL;
	status = file_read(path, FILE_BYTES_MAX, &text, why);
	if (status != STATUS_OK)
		goto out;
	status = STATUS_INVALID;
	if (text.length >= sizeof(header)) {
		memcpy(&header, text.data, sizeof(header));
		wrong = wrong_with(&text, &header);
	}
	if (wrong == NULL) {
		builder = route_builder_create();
		status = builder == NULL ? STATUS_NO_MEMORY : read_rows(builder, &header, text.data + sizeof(header));
		wrong = status == STATUS_NO_MEMORY ? "there is not enough memory" : "a row of it breaks the rules";
	}
	if (status == STATUS_OK) {
		*table_out = route_builder_finish(builder, header.generation);
		builder = NULL;
	} else if (why != NULL) {
		strbuf_addf(why, "%s: %s", path, wrong);
	}
out:
	route_builder_destroy(builder);
	strbuf_release(&text);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids seen are kept in an open-addressing table with the hash of what they came
 * with, so that a file of millions of rows needs some 200 bytes a row and not its rows.
 * Equal content is judged by a 64-bit hash: a mistake would drop one of two
 * different rows of the same id, of which only one could be kept anyway.
 */
#include "cli/import_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "cli/row_source.h"

#define NAMES_MAX 256   /* id columns, mapped regions or fields */
#define SEEN_FIRST 1024 /* a power of two */

struct pair { /* "name=value", or "name" with value the same */
	char *name, *value;
};

struct pair_list {
	struct pair pairs[NAMES_MAX];
	size_t count;
	char *text; /* what the pairs point into */
};

struct seen {
	char *id; /* NULL: free */
	uint64_t content;
	int64_t number;
	char region[REGION_SIZE];
};

struct importer {
	struct import_rules rules;
	struct pair_list ids, map, fields;
	struct seen *seen;
	size_t seen_count, seen_size;
};

/* ---- rules ---- */

static enum status pairs_read(
	struct pair_list *list, const char *option, const char *text, bool needs_value, struct strbuf *why)
{
	char *rest;

	if (text == NULL)
		return STATUS_OK;
	list->text = strdup(text);
	if (list->text == NULL)
		return STATUS_NO_MEMORY;
	for (char *item = list->text; item != NULL; item = rest) {
		char *equals;

		rest = strchr(item, ',');
		if (rest != NULL)
			*rest++ = '\0';
		equals = strchr(item, '=');
		if (equals != NULL)
			*equals = '\0';
		if (item[0] == '\0' || (needs_value && equals == NULL)) {
			strbuf_addf(why, "%s: \"%s\" should be %s", option, item,
				needs_value ? "VALUE=REGION" : "a column's name");
			return STATUS_INVALID;
		}
		if (list->count == NAMES_MAX) {
			strbuf_addf(why, "%s: more than %d names", option, NAMES_MAX);
			return STATUS_INVALID;
		}
		list->pairs[list->count++] = (struct pair){ item, equals != NULL ? equals + 1 : item };
	}
	return STATUS_OK;
}

static enum status rules_read(struct importer *importer, struct strbuf *why)
{
	const struct import_rules *rules = &importer->rules;
	enum status status = pairs_read(&importer->ids, "--id", rules->id_columns, false, why);

	if (status == STATUS_OK)
		status = pairs_read(&importer->map, "--region-map", rules->region_map, true, why);
	if (status == STATUS_OK)
		status = pairs_read(&importer->fields, "--fields", rules->fields, false, why);
	if (status != STATUS_OK)
		return status;
	for (size_t i = 0; i < importer->map.count; i++) {
		if (!region_is_valid(importer->map.pairs[i].value)) {
			strbuf_addf(why, "--region-map: \"%s\" is not a region's name", importer->map.pairs[i].value);
			return STATUS_INVALID;
		}
	}
	if (rules->region_value != NULL && !region_is_valid(rules->region_value)) {
		strbuf_addf(why, "--region-value: \"%s\" is not a region's name", rules->region_value);
		return STATUS_INVALID;
	}
	return STATUS_OK;
}

enum status importer_create(const struct import_rules *rules, struct importer **importer_out, struct strbuf *why)
{
	struct importer *importer = calloc(1, sizeof(*importer));
	enum status status = STATUS_NO_MEMORY;

	*importer_out = NULL;
	if (importer == NULL)
		return STATUS_NO_MEMORY;
	importer->rules = *rules;
	importer->seen_size = SEEN_FIRST;
	importer->seen = calloc(SEEN_FIRST, sizeof(*importer->seen));
	if (importer->seen != NULL)
		status = rules_read(importer, why);
	if (status != STATUS_OK) {
		importer_destroy(importer);
		return status;
	}
	*importer_out = importer;
	return STATUS_OK;
}

void importer_destroy(struct importer *importer)
{
	if (importer == NULL)
		return;
	for (size_t i = 0; importer->seen != NULL && i < importer->seen_size; i++)
		free(importer->seen[i].id);
	free(importer->seen);
	free(importer->ids.text);
	free(importer->map.text);
	free(importer->fields.text);
	free(importer);
}

/* ---- a row's parts ---- */

static bool find_id(struct importer *importer, const json_t *row, struct object_id *object_out, struct strbuf *why)
{
	const struct import_rules *rules = &importer->rules;
	struct strbuf text = STRBUF_INIT;
	bool is_found = false;
	enum status status = STATUS_NOT_FOUND;

	for (size_t i = 0; i < importer->ids.count && !is_found; i++)
		is_found = row_text(row_get(row, importer->ids.pairs[i].name), &text);
	if (is_found)
		status = object_id_make(rules->type, text.data, text.length, rules->id_format, object_out, why);
	else
		strbuf_addf(why, "no id in %s", rules->id_columns);
	strbuf_release(&text);
	return status == STATUS_OK;
}

static bool find_region(struct importer *importer, const json_t *row, char region_out[REGION_SIZE], struct strbuf *why)
{
	const struct import_rules *rules = &importer->rules;
	struct strbuf text = STRBUF_INIT;
	const char *region = NULL;

	if (rules->region_value != NULL) {
		region = rules->region_value;
	} else if (!row_text(row_get(row, rules->region), &text)) {
		strbuf_addf(why, "no region in %s", rules->region);
	} else if (rules->region_map == NULL) {
		if (region_is_valid(text.data))
			region = text.data;
		else
			strbuf_addf(why, "\"%s\" is not a region's name; --region-map says which is meant", text.data);
	} else {
		for (size_t i = 0; i < importer->map.count && region == NULL; i++) {
			if (strcmp(importer->map.pairs[i].name, text.data) == 0)
				region = importer->map.pairs[i].value;
		}
		if (region == NULL)
			strbuf_addf(why, "region \"%s\" is not in --region-map", text.data);
	}
	if (region != NULL)
		(void)snprintf(region_out, REGION_SIZE, "%s", region);
	strbuf_release(&text);
	return region != NULL;
}

/* NULL when out of memory. */
static json_t *make_record(const struct importer *importer, const json_t *row)
{
	json_t *record = importer->fields.count > 0 ? json_object() : json_copy((json_t *)(uintptr_t)row);

	for (size_t i = 0; i < importer->fields.count; i++) {
		const json_t *value = row_get(row, importer->fields.pairs[i].value);

		if (value != NULL)
			(void)json_object_set(record, importer->fields.pairs[i].name, (json_t *)(uintptr_t)value);
	}
	if (importer->rules.constants != NULL)
		(void)json_object_update(record, importer->rules.constants);
	return record;
}

/* ---- ids seen ---- */

static struct seen *seen_find(struct seen *table, size_t size, const char *id)
{
	for (uint64_t at = hash_key64(id, strlen(id), 0);; at++) {
		struct seen *seen = &table[at & (size - 1)];

		if (seen->id == NULL || strcmp(seen->id, id) == 0)
			return seen;
	}
}

static bool seen_grow(struct importer *importer)
{
	size_t size = importer->seen_size * 2;
	struct seen *table;

	if (importer->seen_count * 2 < importer->seen_size)
		return true;
	table = calloc(size, sizeof(*table));
	if (table == NULL)
		return false;
	for (size_t i = 0; i < importer->seen_size; i++) {
		if (importer->seen[i].id != NULL)
			*seen_find(table, size, importer->seen[i].id) = importer->seen[i];
	}
	free(importer->seen);
	importer->seen = table;
	importer->seen_size = size;
	return true;
}

static uint64_t content_of(const json_t *row)
{
	struct strbuf text = STRBUF_INIT;
	uint64_t hash = 0;

	if (json_write(row, &text) == STATUS_OK)
		hash = hash_key64(text.data, text.length, 0);
	strbuf_release(&text);
	return hash;
}

/* IMPORT_TAKEN when the id is new. */
static enum import_verdict seen_before(
	struct importer *importer, const struct imported *out, uint64_t content, int64_t number, struct strbuf *why)
{
	struct seen *seen = seen_find(importer->seen, importer->seen_size, out->object.id);

	if (seen->id == NULL) {
		seen->id = strdup(out->object.id);
		if (seen->id == NULL) {
			strbuf_adds(why, "out of memory");
			return IMPORT_REJECTED;
		}
		seen->content = content;
		seen->number = number;
		memcpy(seen->region, out->region, REGION_SIZE);
		importer->seen_count++;
		return IMPORT_TAKEN;
	}
	if (strcmp(seen->region, out->region) != 0) {
		strbuf_addf(why, "duplicate id, first at record %" PRId64 " with another region (%s, here %s)",
			seen->number, seen->region, out->region);
		return IMPORT_REJECTED;
	}
	if (importer->rules.is_distinct || seen->content == content)
		return IMPORT_MERGED;
	strbuf_addf(why, "duplicate id, first at record %" PRId64, seen->number);
	return IMPORT_REJECTED;
}

enum import_verdict importer_take(
	struct importer *importer, const json_t *row, int64_t number, struct imported *out, struct strbuf *why)
{
	enum import_verdict verdict;

	memset(out, 0, sizeof(*out));
	if (!json_numbers_fit(row)) {
		strbuf_adds(why, "a number of 2^63 or more cannot be kept exactly: make it a string");
		return IMPORT_REJECTED;
	}
	if (!find_id(importer, row, &out->object, why) || !find_region(importer, row, out->region, why))
		return IMPORT_REJECTED;
	if (!seen_grow(importer)) {
		strbuf_adds(why, "out of memory");
		return IMPORT_REJECTED;
	}
	verdict = seen_before(importer, out, importer->rules.is_distinct ? 0 : content_of(row), number, why);
	if (verdict == IMPORT_TAKEN && strcmp(out->region, importer->rules.own_region) == 0) {
		out->record = make_record(importer, row);
		if (out->record == NULL) {
			strbuf_adds(why, "out of memory");
			return IMPORT_REJECTED;
		}
	}
	return verdict;
}

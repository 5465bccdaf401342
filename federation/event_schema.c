/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schemas as a tree of rules.  Debian has no JSON Schema validator in C; the whole
 * standard is more than events need, so this is the subset that schemas/README.md
 * allows, and a schema with any other keyword is refused: a rule that is read and
 * not enforced would be worse than none.
 *
 * Patterns are compiled once.  Any thread may check; nothing changes after loading.
 */
#include "federation/event_schema.h"

#include <dirent.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/embedded.h"
#include "base/file.h"
#include "base/json.h"
#include "federation/event.h"

#define DEPTH_MAX 8 /* of a schema, and so of the data it takes */
#define SCHEMA_BYTES_MAX 262144
#define SCHEMAS_MAX 1024
#define PATH_SIZE 256

enum kind { KIND_OBJECT, KIND_ARRAY, KIND_STRING, KIND_INTEGER, KIND_NUMBER, KIND_BOOLEAN, KIND_COUNT };

struct rule_node {
	enum kind kind;
	double min, max; /* of a number's value, a string's characters, an array's members */
	bool is_time, has_pattern;
	regex_t pattern;
	const json_t *allowed; /* "enum" */
	struct rule_node *items;
	struct member *members;
	size_t member_count;
};

struct member {
	const char *name;
	struct rule_node *node;
	bool is_required;
};

struct event_schema {
	json_t *document; /* names and texts are borrowed from it */
	const char *identifier, *type;
	int64_t version;
	int classification;
	struct rule_node *root;
};

struct event_schemas {
	struct event_schema *schemas[SCHEMAS_MAX];
	size_t count;
};

static const char *const kinds[KIND_COUNT] = { "object", "array", "string", "integer", "number", "boolean" };
static const char *const classifications[] = { "public", "operational", "pseudonymous", "personal" };

static int find_text(const char *const *texts, size_t count, const char *text)
{
	for (size_t i = 0; text != NULL && i < count; i++)
		if (strcmp(texts[i], text) == 0)
			return (int)i;
	return -1;
}

/* ---- reading a schema ---- */

static void node_destroy(struct rule_node *node)
{
	if (node == NULL)
		return;
	if (node->has_pattern)
		regfree(&node->pattern);
	for (size_t i = 0; i < node->member_count; i++)
		node_destroy(node->members[i].node);
	free(node->members);
	node_destroy(node->items);
	free(node);
}

static bool has_only_known_keys(const json_t *schema, enum kind kind, bool is_top, struct strbuf *why)
{
	static const struct {
		const char *key;
		unsigned kinds; /* bit by kind */
	} known[] = {
		{ "type", 63 },
		{ "description", 63 },
		{ "$comment", 63 },
		{ "x-classification", 62 },
		{ "properties", 1 },
		{ "required", 1 },
		{ "additionalProperties", 1 },
		{ "items", 2 },
		{ "minItems", 2 },
		{ "maxItems", 2 },
		{ "minLength", 4 },
		{ "maxLength", 4 },
		{ "pattern", 4 },
		{ "format", 4 },
		{ "enum", 4 },
		{ "minimum", 24 },
		{ "maximum", 24 },
	};
	static const char *const top[] = { "$schema", "$id", "title", "x-event-type", "x-version", "x-channel" };
	json_t *object = (json_t *)(uintptr_t)schema;

	for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
		const char *key = json_object_iter_key(at);
		bool is_known = is_top && find_text(top, sizeof(top) / sizeof(top[0]), key) >= 0;

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && !is_known; i++)
			is_known = strcmp(known[i].key, key) == 0 && (known[i].kinds & (1U << kind)) != 0;
		if (!is_known) {
			strbuf_addf(why, "\"%s\" is not in the subset, or not for %s", key, kinds[kind]);
			return false;
		}
	}
	return true;
}

static struct rule_node *read_node(const json_t *schema, int depth, int *classification, struct strbuf *why);

static bool read_object(
	const json_t *schema, int depth, struct rule_node *node, int *classification, struct strbuf *why)
{
	json_t *properties = json_object_get(schema, "properties");
	const json_t *required = json_object_get(schema, "required");

	if (!json_is_object(properties) || !json_is_false(json_object_get(schema, "additionalProperties"))) {
		strbuf_adds(why, "an object has properties, and additionalProperties false");
		return false;
	}
	node->members = calloc(json_object_size(properties) + 1, sizeof(*node->members));
	if (node->members == NULL)
		return false;
	for (void *at = json_object_iter(properties); at != NULL; at = json_object_iter_next(properties, at)) {
		struct member *member = &node->members[node->member_count++];

		member->name = json_object_iter_key(at);
		member->node = read_node(json_object_iter_value(at), depth + 1, classification, why);
		if (member->node == NULL)
			return false;
		for (size_t i = 0; i < json_array_size(required); i++) {
			const char *name = json_string_value(json_array_get(required, i));
			member->is_required = member->is_required || (name != NULL && strcmp(name, member->name) == 0);
		}
	}
	return true;
}

static bool read_string(const json_t *schema, struct rule_node *node, struct strbuf *why)
{
	const char *pattern = json_get_string(schema, "pattern"), *format = json_get_string(schema, "format");

	node->allowed = json_object_get(schema, "enum");
	node->is_time = format != NULL;
	if (format != NULL && strcmp(format, "date-time") != 0) {
		strbuf_addf(why, "format \"%s\" is not in the subset", format);
		return false;
	}
	if (node->allowed == NULL && json_object_get(schema, "maxLength") == NULL) {
		strbuf_adds(why, "a string has a maxLength or an enum");
		return false;
	}
	if (pattern != NULL && regcomp(&node->pattern, pattern, REG_EXTENDED | REG_NOSUB) != 0) {
		strbuf_addf(why, "pattern \"%s\" cannot be read", pattern);
		return false;
	}
	node->has_pattern = pattern != NULL;
	return true;
}

static double get_bound(const json_t *schema, const char *key, double fallback)
{
	const json_t *value = json_object_get(schema, key);

	return json_is_number(value) ? json_number_value(value) : fallback;
}

static struct rule_node *read_node(const json_t *schema, int depth, int *classification, struct strbuf *why)
{
	static const char *const lows[] = { "", "minItems", "minLength", "minimum", "minimum", "" };
	static const char *const highs[] = { "", "maxItems", "maxLength", "maximum", "maximum", "" };
	int kind = find_text(kinds, KIND_COUNT, json_get_string(schema, "type"));
	const char *class_name = json_get_string(schema, "x-classification");
	int class_found = find_text(classifications, 4, class_name);
	struct rule_node *node;
	bool is_fine;

	if (kind < 0 || depth > DEPTH_MAX) {
		strbuf_adds(why, kind < 0 ? "a type of the subset is missing" : "nested too deep");
		return NULL;
	}
	if (!has_only_known_keys(schema, (enum kind)kind, depth == 0, why))
		return NULL;
	if (kind > KIND_ARRAY && class_found < 0) {
		strbuf_adds(why, "a field has no x-classification");
		return NULL;
	}
	node = calloc(1, sizeof(*node));
	if (node == NULL)
		return NULL;
	*classification = class_found > *classification ? class_found : *classification;
	node->kind = (enum kind)kind;
	node->min = get_bound(schema, lows[kind], -1e300);
	node->max = get_bound(schema, highs[kind], 1e300);
	is_fine = (kind != KIND_OBJECT || read_object(schema, depth, node, classification, why)) &&
		  (kind != KIND_STRING || read_string(schema, node, why));
	if (is_fine && kind == KIND_ARRAY) {
		node->items = read_node(json_object_get(schema, "items"), depth + 1, classification, why);
		is_fine = node->items != NULL;
	}
	if (is_fine)
		return node;
	node_destroy(node);
	return NULL;
}

static void schema_destroy(struct event_schema *schema)
{
	node_destroy(schema->root);
	json_decref(schema->document);
	free(schema);
}

struct event_schemas *event_schemas_create(void)
{
	return calloc(1, sizeof(struct event_schemas));
}

enum status event_schemas_add(
	struct event_schemas *schemas, const char *name, const char *text, size_t size, struct strbuf *why)
{
	struct event_schema *schema = calloc(1, sizeof(*schema));
	struct strbuf detail = STRBUF_INIT;
	enum status status = STATUS_INVALID;

	if (schema == NULL)
		return STATUS_NO_MEMORY;
	if (json_parse(text, size, &schema->document, &detail) != STATUS_OK)
		goto out;
	schema->identifier = json_get_string(schema->document, "$id");
	schema->type = json_get_string(schema->document, "x-event-type");
	if (schema->identifier == NULL || schema->type == NULL ||
		!json_get_integer(schema->document, "x-version", &schema->version)) {
		strbuf_adds(&detail, "$id, x-event-type and x-version are needed");
		goto out;
	}
	for (size_t i = 0; i < schemas->count; i++)
		if (strcmp(schemas->schemas[i]->identifier, schema->identifier) == 0)
			strbuf_adds(&detail, "its $id is there twice");
	if (schemas->count == SCHEMAS_MAX)
		strbuf_adds(&detail, "too many schemas");
	if (detail.length > 0)
		goto out;
	schema->root = read_node(schema->document, 0, &schema->classification, &detail);
	if (schema->root != NULL && schema->root->kind != KIND_OBJECT)
		strbuf_adds(&detail, "the data of an event is an object");
	else if (schema->root != NULL)
		status = STATUS_OK;
out:
	if (status == STATUS_OK) {
		schemas->schemas[schemas->count++] = schema;
	} else {
		strbuf_addf(why, "schema %s: %s", name, detail.length > 0 ? detail.data : "out of memory");
		schema_destroy(schema);
	}
	strbuf_release(&detail);
	return status;
}

static enum status add_folder(struct event_schemas *schemas, const char *folder, struct strbuf *why)
{
	DIR *directory = opendir(folder);
	enum status status = STATUS_OK;
	const struct dirent *entry;

	if (directory == NULL) {
		strbuf_addf(why, "events.schemas: %s cannot be opened", folder);
		return STATUS_INVALID;
	}
	while (status == STATUS_OK && (entry = readdir(directory)) != NULL) {
		size_t length = strlen(entry->d_name);
		struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;

		if (length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0) {
			strbuf_addf(&path, "%s/%s", folder, entry->d_name);
			status = file_read(path.data, SCHEMA_BYTES_MAX, &text, why);
			if (status == STATUS_OK)
				status = event_schemas_add(schemas, entry->d_name, text.data, text.length, why);
		}
		strbuf_release(&path);
		strbuf_release(&text);
	}
	closedir(directory);
	return status;
}

enum status event_schemas_load(const char *folder, struct event_schemas **schemas_out, struct strbuf *why)
{
	struct event_schemas *schemas = event_schemas_create();
	enum status status = schemas != NULL ? STATUS_OK : STATUS_NO_MEMORY;

	*schemas_out = NULL;
	for (size_t i = 0; i < embedded_schemas_count && status == STATUS_OK; i++) {
		const struct embedded_file *file = &embedded_schemas[i];
		/* The envelope's is for others; event.c knows more of it. */
		if (strncmp(file->name, "envelope.", 9) != 0)
			status = event_schemas_add(schemas, file->name, (const char *)file->bytes, file->size, why);
	}
	if (status == STATUS_OK && folder[0] != '\0')
		status = add_folder(schemas, folder, why);
	if (status == STATUS_OK)
		*schemas_out = schemas;
	else
		event_schemas_destroy(schemas);
	return status;
}

void event_schemas_destroy(struct event_schemas *schemas)
{
	if (schemas == NULL)
		return;
	for (size_t i = 0; i < schemas->count; i++)
		schema_destroy(schemas->schemas[i]);
	free(schemas);
}

const struct event_schema *event_schema_find(
	const struct event_schemas *schemas, const char *type, const char *identifier)
{
	const struct event_schema *found = NULL;

	for (size_t i = 0; i < schemas->count; i++) {
		const struct event_schema *schema = schemas->schemas[i];
		if (strcmp(schema->type, type) != 0 ||
			(identifier[0] != '\0' && strcmp(schema->identifier, identifier) != 0))
			continue;
		if (found == NULL || schema->version > found->version)
			found = schema;
	}
	return found;
}

const char *event_schema_identifier(const struct event_schema *schema)
{
	return schema->identifier;
}

const char *event_schema_classification(const struct event_schema *schema)
{
	return classifications[schema->classification];
}

/* ---- checking data ---- */

struct place {
	char path[PATH_SIZE]; /* names of the schema, never of the data */
	struct strbuf *why;
};

static enum status refuse(struct place *place, const char *rule)
{
	strbuf_addf(place->why, "data%s: %s", place->path, rule);
	return STATUS_INVALID;
}

static double count_characters(const char *text)
{
	double count = 0;

	for (; *text != '\0'; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

static enum status check_string(const struct rule_node *node, const json_t *data, struct place *place)
{
	const char *text = json_string_value(data);
	double length = count_characters(text);
	int64_t at_us;

	for (size_t i = 0; i < json_array_size(node->allowed); i++)
		if (json_equal(json_array_get(node->allowed, i), data))
			return STATUS_OK;
	if (node->allowed != NULL)
		return refuse(place, "none of the values allowed");
	if (length < node->min || length > node->max)
		return refuse(place, length < node->min ? "too short" : "too long");
	if (node->is_time && clock_parse(text, &at_us) != STATUS_OK)
		return refuse(place, "not an RFC 3339 time");
	if (node->has_pattern && regexec(&node->pattern, text, 0, NULL, 0) != 0)
		return refuse(place, "does not match its pattern");
	return STATUS_OK;
}

static enum status check_node(const struct rule_node *node, const json_t *data, struct place *place);

static enum status check_object(const struct rule_node *node, const json_t *data, struct place *place)
{
	size_t length = strlen(place->path), found = 0;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < node->member_count && status == STATUS_OK; i++) {
		const struct member *member = &node->members[i];
		const json_t *value = json_object_get(data, member->name);

		snprintf(place->path + length, sizeof(place->path) - length, "/%s", member->name);
		if (value != NULL)
			status = check_node(member->node, value, place);
		else if (member->is_required)
			status = refuse(place, "missing");
		found += value != NULL;
	}
	if (status != STATUS_OK)
		return status;
	place->path[length] = '\0';
	return found == json_object_size(data) ? STATUS_OK
					       : refuse(place, "has a member that its schema does not name");
}

static enum status check_array(const struct rule_node *node, const json_t *data, struct place *place)
{
	size_t length = strlen(place->path), size = json_array_size(data);
	enum status status = STATUS_OK;

	if ((double)size < node->min || (double)size > node->max)
		return refuse(place, (double)size < node->min ? "too few members" : "too many members");
	for (size_t i = 0; i < size && status == STATUS_OK; i++) {
		snprintf(place->path + length, sizeof(place->path) - length, "/%zu", i);
		status = check_node(node->items, json_array_get(data, i), place);
	}
	if (status == STATUS_OK)
		place->path[length] = '\0';
	return status;
}

static enum status check_node(const struct rule_node *node, const json_t *data, struct place *place)
{
	const bool fits[KIND_COUNT] = { json_is_object(data), json_is_array(data), json_is_string(data),
		json_is_integer(data), json_is_number(data), json_is_boolean(data) };

	if (!fits[node->kind]) {
		char rule[32];
		snprintf(rule, sizeof(rule), "not of type %s", kinds[node->kind]);
		return refuse(place, rule);
	}
	switch (node->kind) {
	case KIND_OBJECT:
		return check_object(node, data, place);
	case KIND_ARRAY:
		return check_array(node, data, place);
	case KIND_STRING:
		return check_string(node, data, place);
	case KIND_INTEGER:
	case KIND_NUMBER:
		if (json_number_value(data) < node->min || json_number_value(data) > node->max)
			return refuse(place, "out of its range");
		return STATUS_OK;
	case KIND_BOOLEAN:
	case KIND_COUNT:
		break;
	}
	return STATUS_OK;
}

enum status event_schema_check(const struct event_schema *schema, const json_t *data, struct strbuf *why)
{
	struct place place = { .path = "", .why = why };

	return data != NULL ? check_node(schema->root, data, &place) : refuse(&place, "missing");
}

enum status event_schema_submitted(const struct event_schemas *schemas, const struct event *event,
	const struct event_schema **schema_out, struct strbuf *why)
{
	*schema_out = event_schema_find(schemas, event->type, event->schema);
	if (*schema_out != NULL)
		return event_schema_check(*schema_out, json_object_get(event->envelope, "data"), why);
	if (event->schema[0] == '\0')
		return STATUS_OK;
	strbuf_adds(why, "dataschema: no schema of this name for this type");
	return STATUS_INVALID;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small steps of reading a policy file.  Every one of them complains with the
 * JSON pointer of where it stands and goes on, so that one run lists everything
 * that is wrong.
 */
#include "policy/reading.h"

#include <stdio.h>
#include <string.h>

/* A file with more problems than this is the wrong file. */
#define PROBLEMS_MAX 100

size_t reading_enter(struct reading *reading, const char *key)
{
	size_t mark = reading->path_length;
	size_t at = mark;

	if (at + 1 < sizeof(reading->path))
		reading->path[at++] = '/';
	for (; *key != '\0' && at + 2 < sizeof(reading->path); key++) {
		if (*key == '~' || *key == '/') {
			reading->path[at++] = '~';
			reading->path[at++] = *key == '~' ? '0' : '1';
		} else {
			reading->path[at++] = *key;
		}
	}
	reading->path[at] = '\0';
	reading->path_length = at;
	return mark;
}

size_t reading_enter_index(struct reading *reading, size_t index)
{
	char text[24];

	snprintf(text, sizeof(text), "%zu", index);
	return reading_enter(reading, text);
}

void reading_leave(struct reading *reading, size_t mark)
{
	reading->path_length = mark;
	reading->path[mark] = '\0';
}

static void complain(struct reading *reading, const char *format, va_list args)
{
	if (++reading->problems > PROBLEMS_MAX)
		return;
	strbuf_addf(reading->why, "%s: %s: ", reading->name, reading->path_length > 0 ? reading->path : "the file");
	strbuf_vaddf(reading->why, format, args);
	strbuf_addc(reading->why, '\n');
	if (reading->problems == PROBLEMS_MAX)
		strbuf_addf(reading->why, "%s: more problems are not listed\n", reading->name);
}

void reading_complain(struct reading *reading, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(reading, format, args);
	va_end(args);
}

void reading_complain_at(struct reading *reading, const char *key, const char *format, ...)
{
	size_t mark = reading_enter(reading, key);
	va_list args;

	va_start(args, format);
	complain(reading, format, args);
	va_end(args);
	reading_leave(reading, mark);
}

bool reading_check_object(struct reading *reading, json_t *value, const char *const *keys)
{
	for (void *at = json_object_iter(value); at != NULL; at = json_object_iter_next(value, at)) {
		const char *key = json_object_iter_key(at);
		struct strbuf known = STRBUF_INIT;
		bool is_known = false;

		for (size_t i = 0; keys[i] != NULL; i++) {
			is_known = is_known || strcmp(keys[i], key) == 0;
			strbuf_addf(&known, "%s%s", i > 0 ? ", " : "", keys[i]);
		}
		if (!is_known)
			reading_complain_at(reading, key, "unknown key; allowed are %s", known.data);
		strbuf_release(&known);
	}
	if (!json_is_object(value))
		reading_complain(reading, "must be an object");
	return json_is_object(value);
}

const char *reading_string(struct reading *reading, const json_t *object, const char *key, bool is_required)
{
	const json_t *value = json_object_get(object, key);

	if (value == NULL) {
		if (is_required)
			reading_complain_at(reading, key, "is missing");
		return NULL;
	}
	if (!json_is_string(value) || json_string_length(value) == 0) {
		reading_complain_at(reading, key, "must be a string that is not empty");
		return NULL;
	}
	return json_string_value(value);
}

bool reading_array(struct reading *reading, const json_t *object, const char *key, bool is_required, json_t **array_out)
{
	json_t *value = json_object_get(object, key);

	*array_out = NULL;
	if (value == NULL) {
		if (is_required)
			reading_complain_at(reading, key, "is missing");
		return false;
	}
	if (!json_is_array(value) || json_array_size(value) == 0) {
		reading_complain_at(reading, key, "must be a list that is not empty");
		return false;
	}
	*array_out = value;
	return true;
}

static int read_name(
	struct reading *reading, const json_t *value, struct names *names, bool add, size_t size, bool may_be_unknown)
{
	const char *text = json_string_value(value);
	int id;

	if (text == NULL || !name_is_valid(text, size)) {
		reading_complain(reading,
			"must be a name: a lower-case letter, then letters, digits, '.', '_' or '-', "
			"fewer than %zu",
			size);
		return -1;
	}
	if (strcmp(text, "unknown") == 0) {
		if (may_be_unknown)
			return NAME_UNKNOWN;
		reading_complain(reading, "\"unknown\" is what a missing value is called; it cannot be named here");
		return -1;
	}
	id = add ? names_add(names, text) : names_find(names, text);
	if (id != NAME_OTHER)
		return id;
	if (add)
		reading_complain(reading, "more than %d different names of this kind", NAMES_MAX);
	else
		reading_complain(reading, "\"%s\" is not one of the names declared", text);
	return -1;
}

uint64_t reading_names(struct reading *reading, const json_t *object, const char *key, struct names *names, bool add,
	size_t size, bool may_be_unknown)
{
	json_t *array;
	size_t mark;
	uint64_t set = 0;

	if (!reading_array(reading, object, key, false, &array))
		return ~(uint64_t)0;
	mark = reading_enter(reading, key);
	for (size_t i = 0; i < json_array_size(array); i++) {
		size_t element = reading_enter_index(reading, i);
		int id = read_name(reading, json_array_get(array, i), names, add, size, may_be_unknown);

		if (id >= 0 && (set & NAME_BIT(id)) != 0)
			reading_complain(reading, "is there twice");
		if (id >= 0)
			set |= NAME_BIT(id);
		reading_leave(reading, element);
	}
	reading_leave(reading, mark);
	return set;
}

int reading_value(struct reading *reading, int attribute, const json_t *value, bool may_be_unknown)
{
	struct names *names = attribute_values(reading->policy, attribute);
	size_t size = attribute < ATTRIBUTE_REGIONS ? REGION_SIZE : PURPOSE_SIZE;

	return read_name(reading, value, names, attribute != ATTRIBUTE_ROAMING, size, may_be_unknown);
}

uint8_t reading_operations(struct reading *reading, const json_t *object, uint8_t when_missing)
{
	json_t *array;
	size_t mark;
	uint8_t set = 0;

	if (!reading_array(reading, object, "operation", false, &array))
		return when_missing;
	mark = reading_enter(reading, "operation");
	for (size_t i = 0; i < json_array_size(array); i++) {
		const char *text = json_string_value(json_array_get(array, i));
		int operation = text != NULL ? operation_find(text) : -1;
		size_t element = reading_enter_index(reading, i);

		if (operation < 0)
			reading_complain(reading, "must be " OPERATION_NAMES);
		else
			set |= (uint8_t)OPERATION_BIT(operation);
		reading_leave(reading, element);
	}
	reading_leave(reading, mark);
	return set;
}

static bool add_field(struct reading *reading, const char *text, uint64_t types, uint64_t *fields)
{
	const struct policy *policy = reading->policy;
	bool is_found = false;

	for (int type = 1; type <= policy->types.count; type++) {
		const struct policy_type *described = &policy->type[type];

		if ((types & NAME_BIT(type)) == 0)
			continue;
		for (size_t i = 0; i < described->field_count; i++) {
			if (strcmp(described->fields[i], text) == 0) {
				fields[type] |= NAME_BIT(i);
				is_found = true;
			}
		}
	}
	return is_found;
}

void reading_fields(struct reading *reading, const json_t *list, uint64_t types, uint64_t *fields)
{
	size_t mark = reading_enter(reading, "fields");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		size_t element = reading_enter_index(reading, i);

		if (text == NULL)
			reading_complain(reading, "must be the name of a field");
		else if (!add_field(reading, text, types, fields))
			reading_complain(reading, "no type here has a field \"%s\"", text);
		reading_leave(reading, element);
	}
	reading_leave(reading, mark);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading settings: blank the comments, parse, then walk the JSON beside the
 * table.  Nothing stops at the first error: each is kept with its place, and the
 * whole list is written in the order of the file.  Values that fail leave the
 * default in place, so later checks never see nonsense.
 *
 * Runs at start and on reload, on one thread; the result is not changed after.
 */
#include "base/settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/must.h"
#include "base/settings_table.h"

#define FILE_BYTES_MAX (1 << 20) /* the reference with every key is 8 KiB */

static void set_integer(struct settings *settings, const struct setting *setting, int64_t number)
{
	memcpy((char *)settings + setting->offset, &number, sizeof(number));
}

static void set_choice(struct settings *settings, const struct setting *setting, int choice)
{
	memcpy((char *)settings + setting->offset, &choice, sizeof(choice));
}

static void set_boolean(struct settings *settings, const struct setting *setting, bool is_true)
{
	memcpy((char *)settings + setting->offset, &is_true, sizeof(is_true));
}

/* Takes `text`. */
static void set_text(struct settings *settings, const struct setting *setting, char *text)
{
	char *before;

	memcpy(&before, (char *)settings + setting->offset, sizeof(before));
	free(before);
	memcpy((char *)settings + setting->offset, &text, sizeof(text));
}

static int find_choice(const struct setting *setting, const char *name)
{
	for (int i = 0; setting->choices[i] != NULL; i++)
		if (strcmp(setting->choices[i], name) == 0)
			return i;
	return -1;
}

static void set_default(struct settings_reader *reader, const struct setting *setting)
{
	switch (setting->kind) {
	case SETTING_TEXT:
	case SETTING_PATH:
		set_text(reader->settings, setting, settings_copy_text(reader, setting->default_text, false));
		break;
	case SETTING_INTEGER:
		set_integer(reader->settings, setting, strtoll(setting->default_text, NULL, 10));
		break;
	case SETTING_BOOLEAN:
		set_boolean(reader->settings, setting, strcmp(setting->default_text, "true") == 0);
		break;
	case SETTING_CHOICE:
		must(find_choice(setting, setting->default_text) >= 0);
		set_choice(reader->settings, setting, find_choice(setting, setting->default_text));
		break;
	}
}

/* ---- values ---- */

static void complain(struct settings_reader *reader, const char *pointer, const json_t *value, const char *what,
	const struct strbuf *allowed)
{
	struct strbuf got = STRBUF_INIT;

	settings_add_got(&got, value);
	settings_complain(reader, pointer, false, "%s, got %s, allowed: %s", what, got.data, allowed->data);
	strbuf_release(&got);
}

static void read_integer(
	struct settings_reader *reader, const struct setting *setting, const char *pointer, const json_t *value)
{
	int64_t number = json_integer_value(value);
	struct strbuf allowed = STRBUF_INIT;

	strbuf_addf(&allowed, "%" PRId64 " to %" PRId64 "%s%s", setting->min, setting->max,
		setting->unit[0] != '\0' ? " " : "", setting->unit);
	if (!json_is_integer(value))
		complain(reader, pointer, value, "not a whole number", &allowed);
	else if (number < setting->min || number > setting->max)
		complain(reader, pointer, value, "out of range", &allowed);
	else
		set_integer(reader->settings, setting, number);
	strbuf_release(&allowed);
}

static void read_choice(
	struct settings_reader *reader, const struct setting *setting, const char *pointer, const json_t *value)
{
	const char *name = json_string_value(value);
	int choice = name != NULL ? find_choice(setting, name) : -1;
	struct strbuf allowed = STRBUF_INIT;

	settings_add_names(&allowed, setting->choices);
	if (choice < 0)
		complain(reader, pointer, value, "not one of the choices", &allowed);
	else
		set_choice(reader->settings, setting, choice);
	strbuf_release(&allowed);
}

static void read_text(
	struct settings_reader *reader, const struct setting *setting, const char *pointer, const json_t *value)
{
	const char *text = json_string_value(value), *refused = NULL;
	struct strbuf allowed = STRBUF_INIT;

	if (text == NULL)
		refused = setting->kind == SETTING_PATH ? "a path, as a string" : "a string";
	else if (setting->is_required && text[0] == '\0')
		refused = "not empty";
	else if ((int64_t)json_string_length(value) > setting->max)
		refused = "at most 1024 bytes";
	else if (setting->check != NULL)
		refused = setting->check(text);
	if (refused != NULL && setting->offset == offsetof(struct settings, database.dsn))
		/* What was got may be a password. */
		settings_complain(reader, pointer, false, "refused, allowed: %s", refused);
	else if (refused != NULL) {
		strbuf_adds(&allowed, refused);
		complain(reader, pointer, value, text == NULL ? "wrong type" : "refused", &allowed);
	} else {
		set_text(reader->settings, setting, settings_copy_text(reader, text, setting->kind == SETTING_PATH));
	}
	strbuf_release(&allowed);
}

static void read_boolean(
	struct settings_reader *reader, const struct setting *setting, const char *pointer, const json_t *value)
{
	struct strbuf allowed = STRBUF_INIT;

	strbuf_adds(&allowed, "true, false");
	if (json_is_boolean(value))
		set_boolean(reader->settings, setting, json_is_true(value));
	else
		complain(reader, pointer, value, "wrong type", &allowed);
	strbuf_release(&allowed);
}

static void read_value(struct settings_reader *reader, size_t row, const char *pointer, const json_t *value)
{
	const struct settings_place *place = settings_places_get(&reader->places, pointer);
	const struct setting *setting = &settings_table[row];
	int column;

	reader->settings->lines[row] = 1;
	if (place != NULL)
		settings_line_column(reader->text, place->key_offset, &reader->settings->lines[row], &column);
	switch (setting->kind) {
	case SETTING_TEXT:
	case SETTING_PATH:
		read_text(reader, setting, pointer, value);
		break;
	case SETTING_INTEGER:
		read_integer(reader, setting, pointer, value);
		break;
	case SETTING_BOOLEAN:
		read_boolean(reader, setting, pointer, value);
		break;
	case SETTING_CHOICE:
		read_choice(reader, setting, pointer, value);
		break;
	}
}

/* ---- keys ---- */

static size_t find_row(const char *prefix, const char *key)
{
	size_t length = strlen(prefix), row = 0;

	for (; row < settings_table_count; row++)
		if (strncmp(settings_table[row].key, prefix, length) == 0 &&
			strcmp(settings_table[row].key + length, key) == 0)
			break;
	return row;
}

static bool is_section(const char *key)
{
	size_t length = strlen(key);

	for (size_t i = 0; i < settings_table_count; i++)
		if (strncmp(settings_table[i].key, key, length) == 0 && settings_table[i].key[length] == '.')
			return true;
	return false;
}

#define NAMES_MAX 128

/* The keys that may stand beside each other under `prefix`: first parts, each once. */
static size_t list_names(const char *prefix, char names[NAMES_MAX][32])
{
	size_t length = strlen(prefix), count = 0;

	for (size_t i = 0; i < settings_table_count; i++) {
		const char *key = settings_table[i].key + length;
		size_t part;
		if (strncmp(settings_table[i].key, prefix, length) != 0)
			continue;
		part = strcspn(key, ".");
		if (count > 0 && strlen(names[count - 1]) == part && strncmp(names[count - 1], key, part) == 0)
			continue;
		must(count < NAMES_MAX - 2);
		snprintf(names[count++], sizeof(names[0]), "%.*s", (int)part, key);
	}
	if (strcmp(prefix, "events.") == 0)
		snprintf(names[count++], sizeof(names[0]), "webhooks");
	if (length == 0) {
		snprintf(names[count++], sizeof(names[0]), "types");
		snprintf(names[count++], sizeof(names[0]), "peers");
	}
	return count;
}

static void complain_unknown(struct settings_reader *reader, const char *pointer, const char *prefix, const char *key)
{
	char names[NAMES_MAX][32];
	const char *list[NAMES_MAX];
	size_t count = list_names(prefix, names);

	for (size_t i = 0; i < count; i++)
		list[i] = names[i];
	if (find_row("", key) < settings_table_count) {
		settings_complain(reader, pointer, true, "write it nested: {\"%.*s\": {\"%s\": …}}",
			(int)strcspn(key, "."), key, strchr(key, '.') + 1);
	} else {
		settings_complain_unknown(reader, pointer, "not a setting", key, list, count);
	}
}

/* Twice deep at most: sections have no sections. */
static void read_object(struct settings_reader *reader, struct strbuf *pointer, const char *prefix, json_t *object)
{
	size_t length = pointer->length;
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		size_t row = strchr(key, '.') == NULL ? find_row(prefix, key) : settings_table_count;
		settings_add_pointer(pointer, key);
		if (row < settings_table_count) {
			read_value(reader, row, pointer->data, value);
		} else if (prefix[0] == '\0' && strcmp(key, "types") == 0) {
			settings_read_types(reader, value);
		} else if (prefix[0] == '\0' && strcmp(key, "peers") == 0) {
			settings_read_peers(reader, value);
		} else if (strcmp(prefix, "events.") == 0 && strcmp(key, "webhooks") == 0) {
			settings_read_webhooks(reader, value);
		} else if (prefix[0] == '\0' && is_section(key) && json_is_object(value)) {
			char section[32];
			snprintf(section, sizeof(section), "%s.", key);
			read_object(reader, pointer, section, value);
		} else if (prefix[0] == '\0' && is_section(key)) {
			struct strbuf allowed = STRBUF_INIT;
			strbuf_adds(&allowed, "an object");
			complain(reader, pointer->data, value, "wrong type", &allowed);
			strbuf_release(&allowed);
		} else {
			complain_unknown(reader, pointer->data, prefix, key);
		}
		strbuf_truncate(pointer, length);
	}
}

/* ---- the whole ---- */

static void check_duplicates(struct settings_reader *reader)
{
	const struct settings_places *places = &reader->places;

	for (size_t i = 1; i < places->count; i++) {
		const struct settings_place *before = &places->at[i - 1], *place = &places->at[i], *above;
		char *parent;
		int line, column;
		if (strcmp(before->pointer, place->pointer) != 0)
			continue;
		parent = strndup(place->pointer, (size_t)(strrchr(place->pointer, '/') - place->pointer));
		above = parent != NULL ? settings_places_get(places, parent) : NULL;
		/* Inside something that is itself there twice, one error is enough. */
		if (above == NULL || above == places->at || strcmp(above[-1].pointer, parent) != 0) {
			settings_line_column(reader->text, before->key_offset, &line, &column);
			settings_complain(reader, place->pointer, true, "given twice, first on line %d", line);
		}
		free(parent);
	}
}

static void check_required(struct settings_reader *reader)
{
	for (size_t i = 0; i < settings_table_count; i++) {
		struct strbuf pointer = STRBUF_INIT;
		if (!settings_table[i].is_required || reader->settings->lines[i] > 0)
			continue;
		strbuf_addf(&pointer, "/%s", settings_table[i].key);
		for (char *dot = pointer.data; (dot = strchr(dot, '.')) != NULL;)
			*dot = '/';
		settings_complain(reader, pointer.data, false, "missing: %s", settings_table[i].help);
		strbuf_release(&pointer);
	}
}

static void check_together(struct settings_reader *reader)
{
	struct settings *settings = reader->settings;
	struct strbuf pointer = STRBUF_INIT;

	if (settings->lookup.timeout_ms > settings->lookup.timeout_ms_max)
		settings_complain(reader, "/lookup/timeout_ms", false,
			"out of range, got %" PRId64 ", allowed: at most lookup.timeout_ms_max, %" PRId64,
			settings->lookup.timeout_ms, settings->lookup.timeout_ms_max);
	if (settings->delegate.suspect_after > settings->delegate.down_after)
		settings_complain(reader, "/delegate/suspect_after", false,
			"out of range, got %" PRId64 ", allowed: at most delegate.down_after, %" PRId64,
			settings->delegate.suspect_after, settings->delegate.down_after);
	if (settings->webhook_count > 0 && settings->events.broker != NULL && settings->events.broker[0] == '\0')
		settings_complain(reader, "/events/webhooks", true, "need events.broker, by which events come");
	if (settings->region != NULL && settings_peer(settings, settings->region) != NULL) {
		strbuf_addf(&pointer, "/peers/%s", settings->region);
		settings_complain(reader, pointer.data, true, "this region itself, allowed: the other regions");
		strbuf_release(&pointer);
	}
}

static void fill_text(struct settings_reader *reader, char **member, const char *first, const char *rest)
{
	struct strbuf text = STRBUF_INIT;

	if (*member == NULL || (*member)[0] != '\0' || first == NULL)
		return;
	strbuf_adds(&text, first);
	strbuf_adds(&text, rest);
	free(*member);
	*member = strbuf_take(&text, NULL);
	if (*member == NULL)
		reader->has_failed = true;
}

static void fill_access_log(struct settings_reader *reader)
{
	struct settings *settings = reader->settings;
	struct strbuf rest = STRBUF_INIT;

	fill_text(reader, &settings->access_log.directory, settings->state_dir, "/access-log");
	fill_text(reader, &settings->access_log.signing_key_file, settings->state_dir, "/access-log.key");
	fill_text(reader, &settings->access_log.key_file, settings->state_dir, "/access.key");
	fill_text(reader, &settings->access_log.subject_key_file, settings->state_dir, "/subjects.key");
	strbuf_addf(&rest, ".%s/access-log", settings->trust_domain != NULL ? settings->trust_domain : "");
	fill_text(reader, &settings->access_log.origin, settings->region, rest.data);
	strbuf_release(&rest);
}

static bool make_settings(struct settings_reader *reader)
{
	struct settings *settings = calloc(1, sizeof(*settings));

	reader->settings = settings;
	if (settings == NULL)
		return false;
	settings->lines = calloc(settings_table_count, sizeof(*settings->lines));
	settings->path = strdup(reader->name);
	for (size_t i = 0; i < settings_table_count; i++)
		set_default(reader, &settings_table[i]);
	return settings->lines != NULL && settings->path != NULL && !reader->has_failed;
}

static json_t *parse_text(struct settings_reader *reader, char *text, size_t size, struct strbuf *errors)
{
	int line, column;
	json_error_t error;
	json_t *root;
	size_t offset;

	if (settings_blank(text, size, &offset) != STATUS_OK) {
		settings_line_column(text, offset, &line, &column);
		strbuf_addf(errors, "%s:%d:%d: a comment that is not closed, allowed: /* … */\n", reader->name, line,
			column);
		return NULL;
	}
	root = json_loadb(text, size, 0, &error); /* duplicates are found later, all of them */
	if (root == NULL)
		strbuf_addf(errors, "%s:%d:%d: not JSON: %s\n", reader->name, error.line > 0 ? error.line : 1,
			error.column > 0 ? error.column : 1, error.text);
	else if (!json_is_object(root)) {
		strbuf_addf(errors, "%s:1:1: not settings, got an array, allowed: an object\n", reader->name);
		json_decref(root);
		root = NULL;
	}
	return root;
}

static void write_errors(struct settings_reader *reader, struct strbuf *errors)
{
	for (size_t i = 0; i < reader->error_count; i++) {
		int line, column;
		settings_line_column(reader->text, reader->errors[i].offset, &line, &column);
		strbuf_addf(errors, "%s:%d:%d %s\n", reader->name, line, column, reader->errors[i].text);
		free(reader->errors[i].text);
	}
	free(reader->errors);
}

enum status settings_parse(
	const char *name, const char *text, size_t size, struct settings **settings_out, struct strbuf *errors)
{
	struct settings_reader reader = { .name = name, .size = size };
	struct strbuf pointer = STRBUF_INIT;
	enum status status = STATUS_INVALID;
	char *copy = malloc(size + 1);
	json_t *root = NULL;

	*settings_out = NULL;
	if (copy == NULL)
		return STATUS_NO_MEMORY;
	memcpy(copy, text, size);
	copy[size] = '\0';
	reader.text = copy;
	root = parse_text(&reader, copy, size, errors);
	if (root == NULL)
		goto out;
	reader.has_failed = settings_places_find(copy, size, &reader.places) != STATUS_OK;
	if (reader.has_failed || !make_settings(&reader))
		goto out;
	read_object(&reader, &pointer, "", root);
	check_duplicates(&reader);
	check_required(&reader);
	check_together(&reader);
	fill_access_log(&reader);
	status = reader.error_count == 0 ? STATUS_OK : STATUS_INVALID;
out:
	if (reader.has_failed || !strbuf_ok(&pointer) || (root != NULL && reader.settings == NULL))
		status = STATUS_NO_MEMORY;
	write_errors(&reader, errors);
	if (status == STATUS_OK)
		*settings_out = reader.settings;
	else
		settings_destroy(reader.settings);
	settings_places_release(&reader.places);
	strbuf_release(&pointer);
	json_decref(root);
	free(copy);
	return status;
}

enum status settings_read(const char *path, struct settings **settings_out, struct strbuf *errors)
{
	struct strbuf content = STRBUF_INIT;
	enum status status;

	*settings_out = NULL;
	status = file_read(path, FILE_BYTES_MAX, &content, errors);
	if (status != STATUS_OK)
		strbuf_addc(errors, '\n');
	else
		status = settings_parse(path, content.data, content.length, settings_out, errors);
	strbuf_release(&content);
	return status;
}

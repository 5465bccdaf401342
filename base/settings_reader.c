/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What reading the table and reading the sections share: complaints with a
 * place, "did you mean", copies with the folder put before, and the life of the
 * settings afterwards (finding entries, the DSN, destroying).
 */
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/settings_table.h"

#define ERRORS_MAX 100    /* more than anyone reads; a wrong file must not fill the terminal */
#define GOT_BYTES_MAX 60  /* of a value, in an error */
#define NEAR_BYTES_MAX 40 /* longer keys are nobody's typing error */

static size_t place_of(const struct settings_reader *reader, const char *pointer, bool is_about_key)
{
	const struct settings_place *place = NULL;
	char *above = strdup(pointer);

	while (above != NULL && (place = settings_places_get(&reader->places, above)) == NULL && above[0] != '\0')
		*strrchr(above, '/') = '\0';
	free(above);
	if (place == NULL)
		return 0;
	return is_about_key ? place->key_offset : place->value_offset;
}

void settings_complain(struct settings_reader *reader, const char *pointer, bool is_about_key, const char *format, ...)
{
	size_t offset = place_of(reader, pointer, is_about_key), at = reader->error_count;
	struct strbuf text = STRBUF_INIT;
	va_list args;
	char *taken;

	if (reader->error_count == ERRORS_MAX)
		return;
	if (reader->errors == NULL)
		reader->errors = calloc(ERRORS_MAX, sizeof(*reader->errors));
	strbuf_addf(&text, "%s: ", pointer[0] != '\0' ? pointer : "/");
	va_start(args, format);
	strbuf_vaddf(&text, format, args);
	va_end(args);
	taken = strbuf_take(&text, NULL);
	if (reader->errors == NULL || taken == NULL) {
		free(taken);
		reader->has_failed = true;
		return;
	}
	for (; at > 0 && reader->errors[at - 1].offset > offset; at--)
		reader->errors[at] = reader->errors[at - 1];
	reader->errors[at] = (struct settings_error){ offset, taken };
	reader->error_count++;
}

void settings_add_got(struct strbuf *text, const json_t *value)
{
	char *dumped;

	if (json_is_object(value) || json_is_array(value)) {
		strbuf_adds(text, json_is_object(value) ? "an object" : "an array");
		if (json_array_size(value) > 0)
			strbuf_addf(text, " of %zu", json_array_size(value));
		return;
	}
	dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
	if (dumped == NULL)
		return;
	if (strlen(dumped) > GOT_BYTES_MAX)
		strbuf_addf(text, "%.*s…", GOT_BYTES_MAX, dumped);
	else
		strbuf_adds(text, dumped);
	free(dumped);
}

void settings_complain_value(
	struct settings_reader *reader, const char *pointer, const json_t *value, const char *what, const char *allowed)
{
	struct strbuf got = STRBUF_INIT;

	settings_add_got(&got, value);
	settings_complain(reader, pointer, false, "%s, got %s, allowed: %s", what, got.data, allowed);
	strbuf_release(&got);
}

char *settings_copy_text(struct settings_reader *reader, const char *text, bool is_path)
{
	const char *slash = strrchr(reader->name, '/');
	struct strbuf copy = STRBUF_INIT;
	char *taken;

	if (is_path && text[0] != '\0' && text[0] != '/' && slash != NULL)
		strbuf_add(&copy, reader->name, (size_t)(slash - reader->name) + 1);
	strbuf_adds(&copy, text);
	taken = strbuf_take(&copy, NULL);
	if (taken == NULL)
		reader->has_failed = true;
	return taken;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours, each counted once. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t rows[3][NEAR_BYTES_MAX + 1], a_length = strlen(a), b_length = strlen(b);
	size_t *before = rows[0], *last = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b_length; j++)
		last[j] = j;
	memset(before, 0, sizeof(rows[0]));
	for (size_t i = 1; i <= a_length; i++) {
		size_t *oldest = before;
		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			row[j] = smaller(last[j] + 1, row[j - 1] + 1);
			row[j] = smaller(row[j], last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = smaller(row[j], before[j - 2] + 1);
		}
		before = last;
		last = row;
		row = oldest;
	}
	return last[b_length];
}

const char *settings_nearest(const char *name, const char *const *names, size_t count)
{
	size_t length = strlen(name), best = length / 3 > 1 ? length / 3 : 1;
	const char *nearest = NULL;

	if (length > NEAR_BYTES_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t distance = strlen(names[i]) <= NEAR_BYTES_MAX ? edit_distance(name, names[i]) : SIZE_MAX;
		if (distance < best || (distance == best && nearest == NULL)) {
			best = distance;
			nearest = names[i];
		}
	}
	return nearest;
}

void settings_add_pointer(struct strbuf *pointer, const char *key)
{
	strbuf_addc(pointer, '/');
	for (; *key != '\0'; key++) {
		if (*key == '~' || *key == '/')
			strbuf_adds(pointer, *key == '~' ? "~0" : "~1");
		else
			strbuf_addc(pointer, *key);
	}
}

void settings_destroy(struct settings *settings)
{
	if (settings == NULL)
		return;
	for (size_t i = 0; i < settings_table_count; i++) {
		char *text;
		if (settings_table[i].kind != SETTING_TEXT && settings_table[i].kind != SETTING_PATH)
			continue;
		memcpy(&text, (char *)settings + settings_table[i].offset, sizeof(text));
		free(text);
	}
	for (size_t i = 0; i < settings->type_count; i++) {
		free(settings->types[i].query);
		free(settings->types[i].url);
	}
	settings_webhooks_release(settings);
	for (size_t i = 0; i < settings->peer_count; i++) {
		for (size_t u = 0; u < settings->peers[i].url_count; u++)
			free(settings->peers[i].urls[u]);
		free(settings->peers[i].urls);
		free(settings->peers[i].location);
		free(settings->peers[i].log_key);
	}
	free(settings->types);
	free(settings->peers);
	free(settings->lines);
	free(settings->path);
	free(settings);
}

const struct settings_type *settings_type(const struct settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->type_count; i++)
		if (strcmp(settings->types[i].name, name) == 0)
			return &settings->types[i];
	return NULL;
}

const struct settings_peer *settings_peer(const struct settings *settings, const char *region)
{
	for (size_t i = 0; i < settings->peer_count; i++)
		if (strcmp(settings->peers[i].region, region) == 0)
			return &settings->peers[i];
	return NULL;
}

static void add_option(struct strbuf *dsn, const char *keyword, const char *value)
{
	strbuf_addf(dsn, "%s%s='", dsn->length > 0 ? " " : "", keyword);
	for (; *value != '\0'; value++) {
		if (*value == '\'' || *value == '\\')
			strbuf_addc(dsn, '\\');
		strbuf_addc(dsn, *value);
	}
	strbuf_addc(dsn, '\'');
}

/* A URI and a list of keywords take a password differently; written out as keywords both are alike. */
static enum status add_options(const char *from, const char *password, struct strbuf *dsn)
{
	PQconninfoOption *options = PQconninfoParse(from, NULL);

	if (options == NULL)
		return STATUS_INVALID;
	for (PQconninfoOption *option = options; option->keyword != NULL; option++)
		if (option->val != NULL)
			add_option(dsn, option->keyword, option->val);
	PQconninfoFree(options);
	add_option(dsn, "password", password);
	return strbuf_ok(dsn) ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status settings_dsn(const struct settings *settings, struct strbuf *dsn, struct strbuf *why)
{
	struct strbuf password = STRBUF_INIT;
	enum status status;

	if (settings->database.password_file[0] == '\0') {
		strbuf_adds(dsn, settings->database.dsn);
		return strbuf_ok(dsn) ? STATUS_OK : STATUS_NO_MEMORY;
	}
	status = file_read_secret(settings->database.password_file, &password, why);
	if (status == STATUS_OK)
		status = add_options(settings->database.dsn, password.data, dsn);
	strbuf_release(&password);
	return status;
}

void settings_complain_unknown(struct settings_reader *reader, const char *pointer, const char *what, const char *key,
	const char *const *names, size_t count)
{
	const char *near = settings_nearest(key, names, count);
	struct strbuf all = STRBUF_INIT;

	for (size_t i = 0; i < count; i++)
		strbuf_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
	if (near != NULL)
		settings_complain(reader, pointer, true, "%s; did you mean \"%s\"?", what, near);
	else
		settings_complain(reader, pointer, true, "%s, allowed: %s", what, all.data);
	strbuf_release(&all);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a region into the text of a mesh file, or takes one out, and leaves every
 * other byte as it was written: comments, order and layout are the operator's.
 * What comes out is read again and compared with what was meant, so that a slip
 * here is an error and never a changed file.
 *
 * A region's own comment behind it goes with it; comments above it stay.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/settings_scan.h"
#include "federation/federation.h"

#define REGIONS "/regions"
#define LINKS "/links"

struct edit {
	const char *text;
	size_t size;
	char *blanked; /* the same, comments and trailing commas as spaces */
	struct settings_places places;
	json_t *root;
};

struct cut {
	size_t from, to;
};

static void edit_release(struct edit *edit)
{
	settings_places_release(&edit->places);
	json_decref(edit->root);
	free(edit->blanked);
}

static enum status edit_begin(struct edit *edit, const char *text, size_t size, struct strbuf *why)
{
	size_t offset;
	enum status status;

	*edit = (struct edit){ .text = text, .size = size, .blanked = strndup(text, size) };
	if (edit->blanked == NULL)
		return STATUS_NO_MEMORY;
	if (strlen(edit->blanked) != size || settings_blank(edit->blanked, size, &offset) != STATUS_OK) {
		strbuf_adds(why, "the mesh file is not a text with comments that are closed");
		return STATUS_INVALID;
	}
	status = json_parse(edit->blanked, size, &edit->root, why);
	return status == STATUS_OK ? settings_places_find(edit->blanked, size, &edit->places) : status;
}

enum status mesh_file_json(const char *text, size_t size, json_t **root_out, struct strbuf *why)
{
	struct edit edit;
	enum status status = edit_begin(&edit, text, size, why);

	*root_out = status == STATUS_OK ? json_incref(edit.root) : NULL;
	edit_release(&edit);
	return status;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The first byte after the value that starts here. */
static size_t value_end(const struct edit *edit, size_t at)
{
	bool is_in_text = false;
	int depth = 0;

	for (; at < edit->size; at++) {
		char c = edit->blanked[at];

		if (is_in_text && c == '\\') {
			at++;
			continue;
		}
		if (c == '"')
			is_in_text = !is_in_text;
		else if (!is_in_text)
			depth += (c == '{' || c == '[') - (c == '}' || c == ']');
		if (depth == 0 && !is_in_text && strchr("\"}]", c) != NULL)
			return at + 1;
	}
	return edit->size;
}

/* The end of the comment that starts at `at`, or `at`. */
static size_t comment_end(const struct edit *edit, size_t at)
{
	const char *start = edit->text + at, *end = NULL;
	size_t left = edit->size - at;

	if (left > 0 && (*start == '#' || (left > 1 && memcmp(start, "//", 2) == 0)))
		end = memchr(start, '\n', left);
	else if (left > 1 && memcmp(start, "/*", 2) == 0)
		return (end = memmem(start + 2, left - 2, "*/", 2)) != NULL ? at + (size_t)(end - start) + 2
									    : edit->size;
	else
		return at;
	return end != NULL ? at + (size_t)(end - start) : edit->size;
}

/* The next byte that is neither space nor comment. */
static size_t next_byte(const struct edit *edit, size_t at)
{
	for (size_t end = at; at < edit->size; at = end) {
		end = comment_end(edit, at);
		if (end == at && !is_space(edit->text[at]))
			return at;
		end += end == at;
	}
	return edit->size;
}

/* A member or element with the comma behind it, and its lines where nothing else is on them. */
static struct cut cut_of(const struct edit *edit, const struct settings_place *place)
{
	struct cut cut = { place->key_offset, value_end(edit, place->value_offset) };
	size_t start = cut.from, end = next_byte(edit, cut.to);

	if (end < edit->size && edit->text[end] == ',')
		cut.to = end + 1;
	while (start > 0 && (edit->text[start - 1] == ' ' || edit->text[start - 1] == '\t'))
		start--;
	end = cut.to;
	for (size_t before = edit->size; end != before && end < edit->size;) {
		before = end;
		while (end < edit->size && strchr(" \t\r", edit->text[end]) != NULL && edit->text[end] != '\0')
			end++;
		end = comment_end(edit, end);
	}
	if ((start == 0 || edit->text[start - 1] == '\n') && end < edit->size && edit->text[end] == '\n')
		return (struct cut){ start, end + 1 };
	return cut;
}

/* Of the last one, which has no comma behind it, also the comma before: other programs may read the file too. */
static size_t add_cuts(const struct edit *edit, const struct settings_place *place, struct cut *cuts)
{
	size_t behind = next_byte(edit, value_end(edit, place->value_offset)), before = place->key_offset;

	cuts[0] = cut_of(edit, place);
	while (before > 0 && is_space(edit->blanked[before - 1]))
		before--;
	if ((behind < edit->size && edit->text[behind] == ',') || before == 0 || edit->blanked[before - 1] != ',')
		return 1;
	cuts[1] = (struct cut){ before - 1, before };
	return 2;
}

static int compare_cuts(const void *a, const void *b)
{
	const struct cut *left = a, *right = b;

	return (left->from > right->from) - (left->from < right->from);
}

static bool names(const json_t *pair, const char *region)
{
	for (size_t i = 0; i < json_array_size(pair); i++)
		if (json_is_string(json_array_get(pair, i)) &&
			strcmp(json_string_value(json_array_get(pair, i)), region) == 0)
			return true;
	return false;
}

/* That the changed text says what it should. */
static enum status check(const struct strbuf *changed, const json_t *wanted, struct strbuf *why)
{
	struct strbuf ignored = STRBUF_INIT;
	struct edit again;
	enum status status = strbuf_ok(changed) ? edit_begin(&again, changed->data, changed->length, &ignored)
						: STATUS_NO_MEMORY;

	if (strbuf_ok(changed)) {
		if (status == STATUS_INVALID || (status == STATUS_OK && !json_equal(again.root, wanted))) {
			strbuf_adds(
				why, "the mesh file is written in a way that cannot be edited here: change it by hand");
			status = STATUS_CONFLICT;
		}
		edit_release(&again);
	}
	strbuf_release(&ignored);
	return status;
}

/* ---- taking out ---- */

/* The region's member and, from the last on, its links.  cuts: room for two of each link and of the region. */
static size_t find_cuts(const struct edit *edit, json_t *wanted, const char *region, struct cut *cuts)
{
	json_t *links = json_object_get(wanted, "links");
	struct strbuf pointer = STRBUF_INIT;
	const struct settings_place *place;
	size_t count = 0;

	strbuf_addf(&pointer, REGIONS "/%s", region);
	if ((place = settings_places_get(&edit->places, pointer.data)) != NULL)
		count += add_cuts(edit, place, cuts + count);
	(void)json_object_del(json_object_get(wanted, "regions"), region);
	for (size_t i = json_array_size(links); i-- > 0;) {
		if (!names(json_array_get(links, i), region))
			continue;
		strbuf_reset(&pointer);
		strbuf_addf(&pointer, LINKS "/%zu", i);
		if ((place = settings_places_get(&edit->places, pointer.data)) != NULL)
			count += add_cuts(edit, place, cuts + count);
		(void)json_array_remove(links, i);
	}
	strbuf_release(&pointer);
	qsort(cuts, count, sizeof(*cuts), compare_cuts);
	return count;
}

enum status mesh_file_without(
	const char *text, size_t size, const char *region, struct strbuf *changed, struct strbuf *why)
{
	struct edit edit;
	enum status status = edit_begin(&edit, text, size, why);
	json_t *wanted = json_deep_copy(edit.root);
	const char *hub = json_get_string(edit.root, "hub");
	struct cut *cuts = calloc(2 * json_array_size(json_object_get(edit.root, "links")) + 2, sizeof(*cuts));
	size_t count, at = 0;

	if (status == STATUS_OK && (wanted == NULL || cuts == NULL))
		status = STATUS_NO_MEMORY;
	if (status == STATUS_OK && hub != NULL && strcmp(hub, region) == 0) {
		strbuf_addf(why, "%s is the hub: make another region the hub first", region);
		status = STATUS_CONFLICT;
	}
	if (status != STATUS_OK)
		goto out;
	count = find_cuts(&edit, wanted, region, cuts);
	for (size_t i = 0; i < count; i++) {
		if (cuts[i].from > at)
			strbuf_add(changed, text + at, cuts[i].from - at);
		at = cuts[i].to > at ? cuts[i].to : at;
	}
	strbuf_add(changed, text + at, size - at);
	status = check(changed, wanted, why);
out:
	free(cuts);
	json_decref(wanted);
	edit_release(&edit);
	return status;
}

/* ---- putting in ---- */

/* Of the members or elements of `parent`, the one written last; NULL when there are none. */
static const struct settings_place *last_below(const struct edit *edit, const char *parent)
{
	const struct settings_place *last = NULL;
	size_t length = strlen(parent);

	for (size_t i = 0; i < edit->places.count; i++) {
		const struct settings_place *place = &edit->places.at[i];

		if (strncmp(place->pointer, parent, length) == 0 && place->pointer[length] == '/' &&
			strchr(place->pointer + length + 1, '/') == NULL &&
			(last == NULL || place->value_offset > last->value_offset))
			last = place;
	}
	return last;
}

/* Writes `written` behind the last member or element of `parent`, on a line of its own where that one has one. */
static size_t insert(
	const struct edit *edit, const char *parent, const char *written, size_t at, struct strbuf *changed)
{
	const struct settings_place *last = last_below(edit, parent),
				    *whole = settings_places_get(&edit->places, parent);
	size_t end, line;

	if (whole == NULL)
		return at;
	end = last != NULL ? value_end(edit, last->value_offset) : whole->value_offset + 1;
	line = last != NULL ? last->key_offset : end;
	while (line > 0 && (edit->text[line - 1] == ' ' || edit->text[line - 1] == '\t'))
		line--;
	strbuf_add(changed, edit->text + at, end - at);
	strbuf_adds(changed, last != NULL ? "," : "");
	if (last == NULL || line == 0 || edit->text[line - 1] != '\n') {
		strbuf_addf(changed, "%s%s", last != NULL ? " " : "", written);
		return end;
	}
	for (const char *from = written; *from != '\0';) {
		size_t length = strcspn(from, "\n");

		strbuf_addc(changed, '\n');
		strbuf_add(changed, edit->text + line, last->key_offset - line);
		strbuf_add(changed, from, length);
		from += length + (from[length] == '\n');
	}
	return end;
}

static void describe(const char *region, const json_t *entry, struct strbuf *written)
{
	char *text = json_dumps(entry, JSON_INDENT(4));

	strbuf_addf(written, "\"%s\": %s", region, text != NULL ? text : "");
	free(text);
}

enum status mesh_file_with(const char *text, size_t size, const char *region, json_t *entry, const json_t *peers,
	struct strbuf *changed, struct strbuf *why)
{
	struct edit edit;
	enum status status = edit_begin(&edit, text, size, why);
	json_t *wanted = json_deep_copy(edit.root), *links = json_object_get(wanted, "links");
	struct strbuf written = STRBUF_INIT, pairs = STRBUF_INIT;
	const struct settings_place *regions_place, *links_place;
	size_t at = 0;

	if (status == STATUS_OK &&
		(wanted == NULL || json_object_set(json_object_get(wanted, "regions"), region, entry) != 0))
		status = STATUS_NO_MEMORY;
	if (status != STATUS_OK)
		goto out;
	describe(region, entry, &written);
	for (size_t i = 0; links != NULL && i < json_array_size(peers); i++) {
		const char *peer = json_string_value(json_array_get(peers, i));

		(void)json_array_append_new(links, json_pack("[s,s]", region, peer));
		strbuf_addf(&pairs, "%s[\"%s\", \"%s\"]", i > 0 ? ", " : "", region, peer);
	}
	regions_place = settings_places_get(&edit.places, REGIONS);
	links_place = settings_places_get(&edit.places, LINKS);
	if (links_place != NULL && pairs.length > 0 && links_place->order < regions_place->order)
		at = insert(&edit, LINKS, pairs.data, at, changed);
	at = insert(&edit, REGIONS, written.data, at, changed);
	if (links_place != NULL && pairs.length > 0 && links_place->order > regions_place->order)
		at = insert(&edit, LINKS, pairs.data, at, changed);
	strbuf_add(changed, text + at, size - at);
	status = check(changed, wanted, why);
out:
	strbuf_release(&written);
	strbuf_release(&pairs);
	json_decref(wanted);
	edit_release(&edit);
	return status;
}

/* ---- saving ---- */

enum status mesh_file_save(const char *path, const struct strbuf *changed, struct strbuf *backup, struct strbuf *why)
{
	struct strbuf before = STRBUF_INIT;
	char *real = realpath(path, NULL), now[CLOCK_TEXT_SIZE];
	struct stat info;
	enum status status;

	if (real == NULL || stat(real, &info) != 0) {
		strbuf_addf(why, "%s cannot be read", path);
		free(real);
		return STATUS_IO;
	}
	clock_format(clock_wall_us(clock_system()), now);
	strbuf_addf(backup, "%s.before-%s", real, now);
	status = file_read(real, MESH_FILE_BYTES_MAX, &before, why);
	if (status == STATUS_OK)
		status = file_replace(backup->data, before.data, before.length, info.st_mode & 0777, why);
	if (status == STATUS_OK)
		status = file_replace(real, changed->data, changed->length, info.st_mode & 0777, why);
	strbuf_release(&before);
	free(real);
	return status;
}

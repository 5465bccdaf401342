/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mesh file: read like the settings (comments, trailing commas, every error
 * at once with its place, unknown keys refused with the nearest known one), but
 * with a small table a section, for here whole sections repeat for each region.
 *
 * A file with an error is read to its end and then refused as a whole, so the
 * rest of the folder only ever sees a mesh that makes sense.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/file.h"
#include "base/settings_table.h"
#include "federation/mesh_file.h"

enum { NAME_LENGTH_MAX = 100 };

/* ---- what a text may be ---- */

static bool is_word(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > NAME_LENGTH_MAX)
		return false;
	for (; *text != '\0'; text++)
		if (!isalnum((unsigned char)*text) && strchr("-._", *text) == NULL)
			return false;
	return true;
}

/* Its name is in a certificate, and there is no '_' in the name of a host. */
static bool is_address(const char *text, const char *scheme)
{
	struct address_url address;

	return address_of_origin(text, scheme, &address) && strchr(address.host, '_') == NULL;
}

static bool is_on_this_machine(const char *url)
{
	static const char *const hosts[] = { "http://127.0.0.1", "http://localhost", "http://[::1]" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (strncmp(url, hosts[i], strlen(hosts[i])) == 0 && strchr(":", url[strlen(hosts[i])]) != NULL)
			return true;
	return false;
}

static const char *check_word(const char *text)
{
	return is_word(text) ? NULL : "letters, digits, '-', '.' and '_'";
}

static const char *check_peer_url(const char *text)
{
	return is_address(text, "https") ? NULL : "https://host:port";
}

static const char *check_broker_url(const char *text)
{
	return is_address(text, "amqps") ? NULL : "amqps://host:port, without user, path or query";
}

static const char *check_management_url(const char *text)
{
	if (is_address(text, "https") || (is_address(text, "http") && is_on_this_machine(text)))
		return NULL;
	return "https://host:port, or http:// on this machine";
}

static const char *check_broker_path(const char *text)
{
	/* It becomes part of a URI on the broker. */
	return text[0] == '/' && strpbrk(text, "?&#% ") == NULL
		       ? NULL
		       : "a whole path on the broker's disk, without ? & # % and spaces";
}

static const char *check_path(const char *text)
{
	return text[0] != '\0' ? NULL : "a file";
}

/* ---- members of a section ---- */

struct member {
	const char *key;
	char **text;      /* or */
	int64_t *integer; /* or neither: read elsewhere */
	const char *(*check)(const char *text);
	int64_t min, max;
	bool is_path, is_required;
};

static void read_text(
	struct settings_reader *reader, const char *pointer, const json_t *value, const struct member *member)
{
	const char *text = json_string_value(value), *allowed = text != NULL ? member->check(text) : "a text";

	if (allowed != NULL) {
		settings_complain_value(reader, pointer, value, text != NULL ? "refused" : "wrong type", allowed);
		return;
	}
	free(*member->text);
	*member->text = settings_copy_text(reader, text, member->is_path);
}

static void read_integer(
	struct settings_reader *reader, const char *pointer, const json_t *value, const struct member *member)
{
	struct strbuf allowed = STRBUF_INIT;
	int64_t number = json_integer_value(value);

	strbuf_addf(&allowed, "%lld to %lld", (long long)member->min, (long long)member->max);
	if (!json_is_integer(value) || number < member->min || number > member->max)
		settings_complain_value(reader, pointer, value,
			json_is_integer(value) ? "out of range" : "not a whole number", allowed.data);
	else
		*member->integer = number;
	strbuf_release(&allowed);
}

static void complain_unknown(struct settings_reader *reader, const char *pointer, const char *key,
	const struct member *members, size_t count)
{
	const char *names[16];

	for (size_t i = 0; i < count; i++)
		names[i] = members[i].key;
	settings_complain_unknown(reader, pointer, "not known here", key, names, count);
}

/* Reads the members that have a place; says what is unknown and what is missing. */
static void read_section(struct settings_reader *reader, const char *pointer, json_t *section,
	const struct member *members, size_t count)
{
	struct strbuf below = STRBUF_INIT;
	const char *key;
	json_t *value;

	if (!json_is_object(section)) {
		settings_complain_value(reader, pointer, section, "wrong type", "an object");
		return;
	}
	json_object_foreach(section, key, value)
	{
		size_t i = 0;
		while (i < count && strcmp(members[i].key, key) != 0)
			i++;
		strbuf_reset(&below);
		strbuf_adds(&below, pointer);
		settings_add_pointer(&below, key);
		if (i == count)
			complain_unknown(reader, below.data, key, members, count);
		else if (members[i].text != NULL)
			read_text(reader, below.data, value, &members[i]);
		else if (members[i].integer != NULL)
			read_integer(reader, below.data, value, &members[i]);
	}
	for (size_t i = 0; i < count; i++)
		if (members[i].is_required && json_object_get(section, members[i].key) == NULL)
			settings_complain(reader, pointer, false, "missing: \"%s\"", members[i].key);
	strbuf_release(&below);
}

/* An array of 1 to `max` texts. */
static void read_texts(struct settings_reader *reader, const char *pointer, const json_t *array,
	const char *(*check)(const char *), size_t max, char **texts, size_t *count)
{
	struct strbuf below = STRBUF_INIT;

	if (array == NULL)
		return;
	if (!json_is_array(array) || json_array_size(array) == 0 || json_array_size(array) > max) {
		strbuf_addf(&below, "1 to %zu texts", max);
		settings_complain_value(reader, pointer, array, "refused", below.data);
		strbuf_release(&below);
		return;
	}
	for (size_t i = 0; i < json_array_size(array); i++) {
		struct member member = { .text = &texts[*count], .check = check };
		strbuf_reset(&below);
		strbuf_addf(&below, "%s/%zu", pointer, i);
		read_text(reader, below.data, json_array_get(array, i), &member);
		*count += texts[*count] != NULL;
	}
	strbuf_release(&below);
}

/* ---- regions ---- */

static void read_region(
	struct settings_reader *reader, struct strbuf *pointer, json_t *entry, struct mesh_region *region)
{
	const struct member members[] = {
		{ .key = "peer_urls", .is_required = true },
		{ .key = "broker_urls", .is_required = true },
		{ .key = "management", .is_required = true },
		{ .key = "link", .is_required = true },
		{ .key = "applications" },
		{ .key = "vhost", .text = &region->vhost, .check = check_word },
		{ .key = "cluster", .text = &region->cluster, .check = check_word },
	};
	const struct member management[] = {
		{ .key = "url", .text = &region->management.url, .check = check_management_url, .is_required = true },
		{ .key = "user", .text = &region->management.user, .check = check_word, .is_required = true },
		{ .key = "password_file",
			.text = &region->management.password_file,
			.check = check_path,
			.is_path = true,
			.is_required = true },
		{ .key = "ca_file", .text = &region->management.ca_file, .check = check_path, .is_path = true },
	};
	const struct member link[] = {
		{ .key = "ca_file", .text = &region->link.ca_file, .check = check_broker_path, .is_required = true },
		{ .key = "certificate_file",
			.text = &region->link.certificate_file,
			.check = check_broker_path,
			.is_required = true },
		{ .key = "key_file", .text = &region->link.key_file, .check = check_broker_path, .is_required = true },
	};
	size_t length = pointer->length;

	read_section(reader, pointer->data, entry, members, sizeof(members) / sizeof(members[0]));
	strbuf_adds(pointer, "/peer_urls");
	read_texts(reader, pointer->data, json_object_get(entry, "peer_urls"), check_peer_url, MESH_URLS_MAX,
		region->peer_urls, &region->peer_url_count);
	strbuf_truncate(pointer, length);
	strbuf_adds(pointer, "/broker_urls");
	read_texts(reader, pointer->data, json_object_get(entry, "broker_urls"), check_broker_url, MESH_URLS_MAX,
		region->broker_urls, &region->broker_url_count);
	strbuf_truncate(pointer, length);
	strbuf_adds(pointer, "/management");
	if (json_object_get(entry, "management") != NULL)
		read_section(reader, pointer->data, json_object_get(entry, "management"), management, 4);
	strbuf_truncate(pointer, length);
	strbuf_adds(pointer, "/link");
	if (json_object_get(entry, "link") != NULL)
		read_section(reader, pointer->data, json_object_get(entry, "link"), link, 3);
	strbuf_truncate(pointer, length);
	strbuf_adds(pointer, "/applications");
	mesh_file_read_applications(reader, pointer->data, json_object_get(entry, "applications"), region);
	strbuf_truncate(pointer, length);
}

static void fill_region(struct settings_reader *reader, const struct mesh *mesh, struct mesh_region *region)
{
	if (region->vhost == NULL)
		region->vhost = settings_copy_text(reader, mesh->vhost, false);
	if (region->cluster == NULL)
		region->cluster = settings_copy_text(reader, region->name, false);
	if (region->management.ca_file == NULL)
		region->management.ca_file = settings_copy_text(reader, "", false);
}

static int compare_regions(const void *a, const void *b)
{
	return strcmp(((const struct mesh_region *)a)->name, ((const struct mesh_region *)b)->name);
}

static void read_regions(struct settings_reader *reader, json_t *regions, struct mesh *mesh)
{
	struct strbuf pointer = STRBUF_INIT;
	const char *name;
	json_t *entry;

	if (regions == NULL)
		return;
	if (!json_is_object(regions) || json_object_size(regions) < 2 || json_object_size(regions) > MESH_REGIONS_MAX) {
		settings_complain_value(reader, "/regions", regions, "refused", "an object of 2 to 512 regions");
		return;
	}
	mesh->regions = calloc(json_object_size(regions), sizeof(*mesh->regions));
	if (mesh->regions == NULL) {
		reader->has_failed = true;
		return;
	}
	json_object_foreach(regions, name, entry)
	{
		struct mesh_region *region = &mesh->regions[mesh->region_count];
		strbuf_reset(&pointer);
		strbuf_adds(&pointer, "/regions");
		settings_add_pointer(&pointer, name);
		if (!region_is_valid(name) || strcmp(name, MESH_BROADCAST) == 0) {
			settings_complain(reader, pointer.data, true,
				"not a region's name, allowed: a letter, then lower-case letters, digits and '-', not "
				"\"all\"");
			continue;
		}
		memcpy(region->name, name, strlen(name) + 1);
		mesh->region_count++;
		read_region(reader, &pointer, entry, region);
		fill_region(reader, mesh, region);
	}
	qsort(mesh->regions, mesh->region_count, sizeof(*mesh->regions), compare_regions);
	strbuf_release(&pointer);
}

/* ---- the whole ---- */

static void read_top(struct settings_reader *reader, json_t *root, struct mesh *mesh)
{
	const struct member members[] = {
		{ .key = "trust_domain", .text = &mesh->trust_domain, .check = check_word, .is_required = true },
		{ .key = "topology" },
		{ .key = "hub", .text = &mesh->hub, .check = check_word },
		{ .key = "links" },
		{ .key = "vhost", .text = &mesh->vhost, .check = check_word },
		{ .key = "object_types" },
		{ .key = "limits" },
		{ .key = "regions", .is_required = true },
	};
	const struct member limits[] = {
		{ .key = "events_per_s", .integer = &mesh->limits.events_per_s, .min = 1, .max = 1000000 },
		{ .key = "round_trip_ms", .integer = &mesh->limits.round_trip_ms, .min = 1, .max = 10000 },
		{ .key = "buffer_bytes_max",
			.integer = &mesh->limits.buffer_bytes_max,
			.min = 1 << 20,
			.max = 1LL << 40 },
		{ .key = "queue_bytes_max",
			.integer = &mesh->limits.queue_bytes_max,
			.min = 1 << 20,
			.max = 1LL << 40 },
		{ .key = "delivery_limit", .integer = &mesh->limits.delivery_limit, .min = 1, .max = 1000 },
		{ .key = "reconnect_delay_s", .integer = &mesh->limits.reconnect_delay_s, .min = 1, .max = 300 },
	};

	mesh->limits.events_per_s = 5000;
	mesh->limits.round_trip_ms = 100;
	mesh->limits.buffer_bytes_max = 1LL << 30;
	mesh->limits.queue_bytes_max = 4LL << 30;
	mesh->limits.delivery_limit = 20;
	mesh->limits.reconnect_delay_s = 5;
	read_section(reader, "", root, members, sizeof(members) / sizeof(members[0]));
	if (mesh->vhost == NULL)
		mesh->vhost = settings_copy_text(reader, "homeward", false);
	if (json_object_get(root, "limits") != NULL)
		read_section(
			reader, "/limits", json_object_get(root, "limits"), limits, sizeof(limits) / sizeof(limits[0]));
	read_texts(reader, "/object_types", json_object_get(root, "object_types"), check_word, MESH_TYPES_MAX,
		mesh->object_types, &mesh->object_type_count);
	if (!reader->has_failed)
		read_regions(reader, json_object_get(root, "regions"), mesh);
}

static void write_errors(struct settings_reader *reader, struct strbuf *errors)
{
	int line, column;

	for (size_t i = 0; i < reader->error_count; i++) {
		settings_line_column(reader->text, reader->errors[i].offset, &line, &column);
		strbuf_addf(errors, "%s:%d:%d %s\n", reader->name, line, column, reader->errors[i].text);
		free(reader->errors[i].text);
	}
	free(reader->errors);
}

static json_t *parse(struct settings_reader *reader, char *text, struct strbuf *errors)
{
	json_error_t error;
	json_t *root;
	size_t offset;
	int line, column;

	if (settings_blank(text, reader->size, &offset) != STATUS_OK) {
		settings_line_column(text, offset, &line, &column);
		strbuf_addf(errors, "%s:%d:%d a comment that is not closed\n", reader->name, line, column);
		return NULL;
	}
	root = json_loadb(text, reader->size, JSON_REJECT_DUPLICATES, &error);
	if (root == NULL)
		strbuf_addf(errors, "%s:%d:%d not JSON: %s\n", reader->name, error.line > 0 ? error.line : 1,
			error.column > 0 ? error.column : 1, error.text);
	return root;
}

enum status mesh_parse(const char *name, const char *text, size_t size, struct mesh **mesh_out, struct strbuf *errors)
{
	struct settings_reader reader = { .name = name, .size = size };
	enum status status = STATUS_INVALID;
	struct mesh *mesh = calloc(1, sizeof(*mesh));
	char *copy = malloc(size + 1);
	json_t *root = NULL;

	*mesh_out = NULL;
	if (copy == NULL || mesh == NULL) {
		status = STATUS_NO_MEMORY;
		goto out;
	}
	memcpy(copy, text, size);
	copy[size] = '\0';
	reader.text = copy;
	root = parse(&reader, copy, errors);
	if (root == NULL)
		goto out;
	reader.has_failed = settings_places_find(copy, size, &reader.places) != STATUS_OK;
	if (!reader.has_failed)
		read_top(&reader, root, mesh);
	if (!reader.has_failed)
		mesh_file_link(&reader, root, mesh);
	write_errors(&reader, errors);
	if (reader.has_failed || !strbuf_ok(errors))
		status = STATUS_NO_MEMORY;
	else if (reader.error_count == 0) {
		status = STATUS_OK;
		*mesh_out = mesh;
		mesh = NULL;
	}
out:
	settings_places_release(&reader.places);
	json_decref(root);
	mesh_destroy(mesh);
	free(copy);
	return status;
}

enum status mesh_load(const char *path, struct mesh **mesh_out, struct strbuf *errors)
{
	struct strbuf text = STRBUF_INIT;
	enum status status = file_read(path, MESH_FILE_BYTES_MAX, &text, errors);

	*mesh_out = NULL;
	if (status == STATUS_OK)
		status = mesh_parse(path, text.data, text.length, mesh_out, errors);
	strbuf_release(&text);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two sections whose keys are names that people choose: "types" and "peers".
 * An entry with an error is still read to its end, so that all its errors show;
 * the settings as a whole are refused afterwards.
 */
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/base64.h"
#include "base/must.h"
#include "base/settings_table.h"

const struct settings_member settings_type_members[] = {
	{ "id_format", "string", "`\"opaque\"`", "opaque, rfid-uid, emaid, evse-id",
		"How an id is checked and spelled." },
	{ "handler", "string", "`\"store\"`", "store, sql, http", "Who answers for the type at home." },
	{ "query", "string", "", "text with `$1`",
		"Handler sql: selects id, version, record for the ids in the array `$1`." },
	{ "url", "string", "", "http or https URL with `{id}`", "Handler http: where the record is fetched." },
};
const size_t settings_type_member_count = sizeof(settings_type_members) / sizeof(settings_type_members[0]);

const struct settings_member settings_peer_members[] = {
	{ "urls", "array", "required", "1 to 16 of https://host:port", "The region's addresses, tried in this order." },
	{ "location", "string", "", "\"latitude,longitude\" in degrees",
		"Where the region is, for impossible travel; read at start." },
	{ "log_key", "string", "", "NAME+8 hex digits+base64",
		"Verifier key of its access log: with it, both regions cosign each other's logs." },
};
const size_t settings_peer_member_count = sizeof(settings_peer_members) / sizeof(settings_peer_members[0]);

#define MEMBERS_MAX 24 /* of an entry of any section */

enum { MEMBER_ID_FORMAT, MEMBER_HANDLER, MEMBER_QUERY, MEMBER_URL };
enum { MEMBER_URLS, MEMBER_LOCATION, MEMBER_LOG_KEY };

/* An unknown member of an entry, with those there are. */
static void complain_member(struct settings_reader *reader, const char *pointer, const char *key,
	const struct settings_member *members, size_t count)
{
	const char *names[MEMBERS_MAX];
	struct strbuf list = STRBUF_INIT;
	const char *near;

	must(count <= MEMBERS_MAX);
	for (size_t i = 0; i < count; i++) {
		names[i] = members[i].key;
		strbuf_addf(&list, "%s%s", i > 0 ? ", " : "", names[i]);
	}
	near = settings_nearest(key, names, count);
	if (near != NULL)
		settings_complain(reader, pointer, true, "not a setting; did you mean \"%s\"?", near);
	else
		settings_complain(reader, pointer, true, "not a setting, allowed: %s", list.data);
	strbuf_release(&list);
}

void settings_read_members(struct settings_reader *reader, struct strbuf *pointer, json_t *entry,
	const struct settings_member *members, size_t count,
	void (*read)(
		struct settings_reader *reader, struct strbuf *pointer, const json_t *value, size_t member, void *into),
	void *into)
{
	size_t length = pointer->length;
	const char *key;
	json_t *value;

	json_object_foreach(entry, key, value)
	{
		size_t member = 0;

		while (member < count && strcmp(key, members[member].key) != 0)
			member++;
		settings_add_pointer(pointer, key);
		if (member < count)
			read(reader, pointer, value, member, into);
		else
			complain_member(reader, pointer->data, key, members, count);
		strbuf_truncate(pointer, length);
	}
}

/* ---- types ---- */

static void read_id_format(
	struct settings_reader *reader, const char *pointer, const json_t *value, struct settings_type *type)
{
	const char *name = json_string_value(value);

	if (name == NULL || id_format_parse(name, &type->id_format) != STATUS_OK)
		settings_complain_value(
			reader, pointer, value, "unknown id format", settings_type_members[MEMBER_ID_FORMAT].allowed);
}

static void read_handler(
	struct settings_reader *reader, const char *pointer, const json_t *value, struct settings_type *type)
{
	const char *name = json_string_value(value);

	for (int i = 0; name != NULL && settings_handler_names[i] != NULL; i++) {
		if (strcmp(name, settings_handler_names[i]) == 0) {
			type->handler = (enum handler_kind)i;
			return;
		}
	}
	settings_complain_value(
		reader, pointer, value, "unknown handler", settings_type_members[MEMBER_HANDLER].allowed);
}

static void read_query(
	struct settings_reader *reader, const char *pointer, const json_t *value, struct settings_type *type)
{
	const char *query = json_string_value(value);

	if (query == NULL || strstr(query, "$1") == NULL) {
		settings_complain_value(reader, pointer, value, "the query must take the ids",
			"text with $1, as in … WHERE id = ANY($1)");
		return;
	}
	free(type->query);
	type->query = settings_copy_text(reader, query, false);
}

static void read_url(
	struct settings_reader *reader, const char *pointer, const json_t *value, struct settings_type *type)
{
	const char *url = json_string_value(value);

	if (url == NULL || (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) ||
		strstr(url, "{id}") == NULL) {
		settings_complain_value(
			reader, pointer, value, "the URL must take the id", "an http or https URL with {id}");
		return;
	}
	free(type->url);
	type->url = settings_copy_text(reader, url, false);
}

static void check_type(
	struct settings_reader *reader, const char *pointer, const json_t *entry, const struct settings_type *type)
{
	bool has_query = json_object_get(entry, "query") != NULL, has_url = json_object_get(entry, "url") != NULL;

	if (type->handler == HANDLER_SQL && !has_query)
		settings_complain(reader, pointer, false, "handler sql needs \"query\"");
	if (type->handler == HANDLER_HTTP && !has_url)
		settings_complain(reader, pointer, false, "handler http needs \"url\"");
	if (type->handler != HANDLER_SQL && has_query)
		settings_complain(reader, pointer, false, "\"query\" is for handler sql, this is handler %s",
			settings_handler_names[type->handler]);
	if (type->handler != HANDLER_HTTP && has_url)
		settings_complain(reader, pointer, false, "\"url\" is for handler http, this is handler %s",
			settings_handler_names[type->handler]);
}

static void read_type_member(
	struct settings_reader *reader, struct strbuf *pointer, const json_t *value, size_t member, void *type)
{
	static void (*const readers[])(struct settings_reader *, const char *, const json_t *,
		struct settings_type *) = { read_id_format, read_handler, read_query, read_url };

	readers[member](reader, pointer->data, value, type);
}

static void read_type(struct settings_reader *reader, struct strbuf *pointer, json_t *entry, struct settings_type *type)
{
	settings_read_members(
		reader, pointer, entry, settings_type_members, settings_type_member_count, read_type_member, type);
	check_type(reader, pointer->data, entry, type);
}

/* The section as an object of objects; returns its entries, at most `max`, or 0. */
static size_t check_section(struct settings_reader *reader, const char *pointer, const json_t *section, size_t max)
{
	size_t count = json_object_size(section);

	if (!json_is_object(section)) {
		settings_complain_value(reader, pointer, section, "wrong type", "an object, one member for each name");
		return 0;
	}
	if (count > max) {
		settings_complain(
			reader, pointer, false, "too many entries, got %zu, allowed: at most %zu", count, max);
		return 0;
	}
	return count;
}

void settings_read_types(struct settings_reader *reader, json_t *types)
{
	struct settings *settings = reader->settings;
	size_t count = check_section(reader, "/types", types, TYPES_MAX);
	struct strbuf pointer = STRBUF_INIT;
	const char *name;
	json_t *entry;

	if (count == 0)
		return;
	settings->types = calloc(count, sizeof(*settings->types));
	if (settings->types == NULL) {
		reader->has_failed = true;
		return;
	}
	json_object_foreach(types, name, entry)
	{
		struct settings_type *type = &settings->types[settings->type_count];
		strbuf_reset(&pointer);
		strbuf_adds(&pointer, "/types");
		settings_add_pointer(&pointer, name);
		if (!object_type_is_valid(name)) {
			settings_complain(reader, pointer.data, true,
				"bad type name, allowed: a-z, then a-z 0-9 _ -, at most 31");
			continue;
		}
		if (!json_is_object(entry)) {
			settings_complain_value(reader, pointer.data, entry, "wrong type", "an object");
			continue;
		}
		strncpy(type->name, name, sizeof(type->name) - 1);
		settings->type_count++;
		read_type(reader, &pointer, entry, type);
	}
	strbuf_release(&pointer);
}

/* ---- peers ---- */

/* With its port, as a peer listens at none that goes without saying. */
static bool is_peer_url(const char *url)
{
	struct address_url address;

	return address_of_origin(url, "https", &address) && address.port > 0;
}

static void read_urls(
	struct settings_reader *reader, struct strbuf *pointer, const json_t *urls, struct settings_peer *peer)
{
	size_t count = json_array_size(urls), length = pointer->length;

	if (!json_is_array(urls) || count == 0 || count > PEER_URLS_MAX) {
		settings_complain_value(reader, pointer->data, urls, "wrong list of addresses",
			settings_peer_members[MEMBER_URLS].allowed);
		return;
	}
	peer->urls = calloc(count, sizeof(*peer->urls));
	if (peer->urls == NULL) {
		reader->has_failed = true;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const json_t *url = json_array_get(urls, i);
		strbuf_addf(pointer, "/%zu", i);
		if (!json_is_string(url) || !is_peer_url(json_string_value(url)))
			settings_complain_value(
				reader, pointer->data, url, "not a peer's address", "https://host:port");
		else
			peer->urls[peer->url_count++] = settings_copy_text(reader, json_string_value(url), false);
		strbuf_truncate(pointer, length);
	}
}

static void read_location(
	struct settings_reader *reader, const struct strbuf *pointer, const json_t *value, struct settings_peer *peer)
{
	const char *text = json_string_value(value);

	if (text == NULL || text[0] == '\0' || settings_check_location(text) != NULL) {
		settings_complain_value(reader, pointer->data, value, "no place on earth",
			settings_peer_members[MEMBER_LOCATION].allowed);
		return;
	}
	free(peer->location);
	peer->location = settings_copy_text(reader, text, false);
}

/* Its shape; whether the parts belong together is for those who can tell (policy/note.h). */
static bool is_log_key(const char *text)
{
	const char *id = strchr(text, '+');

	if (id == NULL || id == text || strspn(id + 1, "0123456789abcdef") != 8 || id[9] != '+')
		return false;
	for (const char *c = text; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~')
			return false;
	}
	return base64_decode(id + 10, strlen(id + 10), NULL, 33, &(size_t){ 0 }) == STATUS_OK;
}

static void read_log_key(
	struct settings_reader *reader, const struct strbuf *pointer, const json_t *value, struct settings_peer *peer)
{
	if (!json_is_string(value) || !is_log_key(json_string_value(value)))
		settings_complain_value(reader, pointer->data, value, "not a verifier key",
			settings_peer_members[MEMBER_LOG_KEY].allowed);
	else
		peer->log_key = settings_copy_text(reader, json_string_value(value), false);
}

static void read_peer_member(
	struct settings_reader *reader, struct strbuf *pointer, const json_t *value, size_t member, void *peer)
{
	switch (member) {
	case MEMBER_URLS:
		read_urls(reader, pointer, value, peer);
		break;
	case MEMBER_LOCATION:
		read_location(reader, pointer, value, peer);
		break;
	case MEMBER_LOG_KEY:
		read_log_key(reader, pointer, value, peer);
		break;
	}
}

static void read_peer(struct settings_reader *reader, struct strbuf *pointer, json_t *entry, struct settings_peer *peer)
{
	settings_read_members(
		reader, pointer, entry, settings_peer_members, settings_peer_member_count, read_peer_member, peer);
	if (json_object_get(entry, settings_peer_members[MEMBER_URLS].key) == NULL)
		settings_complain(reader, pointer->data, false, "needs \"urls\"");
}

void settings_read_peers(struct settings_reader *reader, json_t *peers)
{
	struct settings *settings = reader->settings;
	size_t count = check_section(reader, "/peers", peers, PEERS_MAX);
	struct strbuf pointer = STRBUF_INIT;
	const char *region;
	json_t *entry;

	if (count == 0)
		return;
	settings->peers = calloc(count, sizeof(*settings->peers));
	if (settings->peers == NULL) {
		reader->has_failed = true;
		return;
	}
	json_object_foreach(peers, region, entry)
	{
		struct settings_peer *peer = &settings->peers[settings->peer_count];
		strbuf_reset(&pointer);
		strbuf_adds(&pointer, "/peers");
		settings_add_pointer(&pointer, region);
		if (!region_is_valid(region)) {
			settings_complain(reader, pointer.data, true,
				"bad region name, allowed: a-z, then a-z 0-9 -, at most 31");
			continue;
		}
		if (!json_is_object(entry)) {
			settings_complain_value(reader, pointer.data, entry, "wrong type", "an object with \"urls\"");
			continue;
		}
		strncpy(peer->region, region, sizeof(peer->region) - 1);
		settings->peer_count++;
		read_peer(reader, &pointer, entry, peer);
	}
	strbuf_release(&pointer);
}

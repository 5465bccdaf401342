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

	must(count <= MEMBERS_MAX);
	for (size_t i = 0; i < count; i++)
		names[i] = members[i].key;
	settings_complain_unknown(reader, pointer, "not a setting", key, names, count);
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

/* A section whose keys are names: what they may be, and who takes the entries. */
struct section {
	const char *pointer, *bad_name, *wanted;
	size_t max;
	bool (*name_is_valid)(const char *name);
	bool (*make_room)(struct settings *settings, size_t count);
	void (*add)(struct settings_reader *reader, struct strbuf *pointer, const char *name, json_t *entry);
};

/* An object of objects. */
static void read_section(struct settings_reader *reader, json_t *entries, const struct section *section)
{
	size_t count = json_object_size(entries);
	struct strbuf pointer = STRBUF_INIT;
	const char *name;
	json_t *entry;

	if (!json_is_object(entries)) {
		settings_complain_value(
			reader, section->pointer, entries, "wrong type", "an object, one member for each name");
		return;
	}
	if (count > section->max) {
		settings_complain(reader, section->pointer, false, "too many entries, got %zu, allowed: at most %zu",
			count, section->max);
		return;
	}
	if (count > 0 && !section->make_room(reader->settings, count)) {
		reader->has_failed = true;
		return;
	}
	json_object_foreach(entries, name, entry)
	{
		strbuf_reset(&pointer);
		strbuf_adds(&pointer, section->pointer);
		settings_add_pointer(&pointer, name);
		if (!section->name_is_valid(name))
			settings_complain(reader, pointer.data, true, "%s", section->bad_name);
		else if (!json_is_object(entry))
			settings_complain_value(reader, pointer.data, entry, "wrong type", section->wanted);
		else
			section->add(reader, &pointer, name, entry);
	}
	strbuf_release(&pointer);
}

static bool make_types(struct settings *settings, size_t count)
{
	settings->types = calloc(count, sizeof(*settings->types));
	return settings->types != NULL;
}

static void add_type(struct settings_reader *reader, struct strbuf *pointer, const char *name, json_t *entry)
{
	struct settings_type *type = &reader->settings->types[reader->settings->type_count++];

	strncpy(type->name, name, sizeof(type->name) - 1);
	read_type(reader, pointer, entry, type);
}

void settings_read_types(struct settings_reader *reader, json_t *types)
{
	static const struct section section = { "/types", "bad type name, allowed: a-z, then a-z 0-9 _ -, at most 31",
		"an object", TYPES_MAX, object_type_is_valid, make_types, add_type };

	read_section(reader, types, &section);
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

static bool make_peers(struct settings *settings, size_t count)
{
	settings->peers = calloc(count, sizeof(*settings->peers));
	return settings->peers != NULL;
}

static void add_peer(struct settings_reader *reader, struct strbuf *pointer, const char *region, json_t *entry)
{
	struct settings_peer *peer = &reader->settings->peers[reader->settings->peer_count++];

	strncpy(peer->region, region, sizeof(peer->region) - 1);
	read_peer(reader, pointer, entry, peer);
}

void settings_read_peers(struct settings_reader *reader, json_t *peers)
{
	static const struct section section = { "/peers", "bad region name, allowed: a-z, then a-z 0-9 -, at most 31",
		"an object with \"urls\"", PEERS_MAX, region_is_valid, make_peers, add_peer };

	read_section(reader, peers, &section);
}

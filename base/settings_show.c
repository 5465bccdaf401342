/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done with settings once they are read: shown, compared, documented.
 * All of it walks the table, so a new row appears everywhere at once.  The
 * sections "types" and "peers" have rows of their own, one a member.
 */
#include <stdio.h>
#include <string.h>

#include "base/settings_table.h"

static void show_member(const char *section, const char *name, const char *member, const char *value,
	const struct settings_member *about, const char *source,
	void (*each)(void *arg, const struct settings_row *row), void *arg, bool is_reloadable)
{
	struct strbuf key = STRBUF_INIT;
	struct settings_row row = { NULL, value, about->default_text, source, "", about->help, is_reloadable };

	strbuf_addf(&key, "%s.%s.%s", section, name, member);
	row.key = key.data;
	each(arg, &row);
	strbuf_release(&key);
}

static void show_webhooks(
	const struct settings *settings, void (*each)(void *arg, const struct settings_row *row), void *arg)
{
	struct strbuf value = STRBUF_INIT;

	for (size_t i = 0; i < settings->webhook_count; i++) {
		for (size_t m = 0; m < settings_webhook_member_count; m++) {
			strbuf_reset(&value);
			if (settings_webhook_value(&value, &settings->webhooks[i], m))
				show_member("events.webhooks", settings->webhooks[i].name,
					settings_webhook_members[m].key, value.data, &settings_webhook_members[m],
					settings->path, each, arg, false);
		}
	}
	strbuf_release(&value);
}

static void show_sections(
	const struct settings *settings, void (*each)(void *arg, const struct settings_row *row), void *arg)
{
	struct strbuf urls = STRBUF_INIT;

	for (size_t i = 0; i < settings->type_count; i++) {
		const struct settings_type *type = &settings->types[i];
		const char *values[] = { id_format_name(type->id_format), settings_handler_names[type->handler],
			type->query, type->url };
		for (size_t m = 0; m < settings_type_member_count; m++)
			if (values[m] != NULL)
				show_member("types", type->name, settings_type_members[m].key, values[m],
					&settings_type_members[m], settings->path, each, arg, false);
	}
	show_webhooks(settings, each, arg);
	for (size_t i = 0; i < settings->peer_count; i++) {
		strbuf_reset(&urls);
		for (size_t u = 0; u < settings->peers[i].url_count; u++)
			strbuf_addf(&urls, "%s%s", u > 0 ? ", " : "", settings->peers[i].urls[u]);
		if (settings->peers[i].location != NULL)
			show_member("peers", settings->peers[i].region, settings_peer_members[1].key,
				settings->peers[i].location, &settings_peer_members[1], settings->path, each, arg,
				false);
		show_member("peers", settings->peers[i].region, settings_peer_members[0].key, urls.data,
			&settings_peer_members[0], settings->path, each, arg, true);
		if (settings->peers[i].log_key != NULL)
			show_member("peers", settings->peers[i].region, settings_peer_members[2].key,
				settings->peers[i].log_key, &settings_peer_members[2], settings->path, each, arg, true);
	}
	strbuf_release(&urls);
}

void settings_each(const struct settings *settings, void (*each)(void *arg, const struct settings_row *row), void *arg)
{
	struct strbuf value = STRBUF_INIT, source = STRBUF_INIT;

	for (size_t i = 0; i < settings_table_count; i++) {
		const struct setting *setting = &settings_table[i];
		struct settings_row row = { setting->key, NULL, setting->default_text, "default", setting->unit,
			setting->help, setting->is_reloadable };
		strbuf_reset(&value);
		strbuf_reset(&source);
		settings_add_value(&value, settings, setting);
		if (settings->lines[i] > 0) {
			strbuf_addf(&source, "%s:%d", settings->path, settings->lines[i]);
			row.source = source.data;
		}
		row.value = value.data;
		each(arg, &row);
	}
	strbuf_release(&value);
	strbuf_release(&source);
	show_sections(settings, each, arg);
}

static bool texts_equal(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool types_equal(const struct settings *a, const struct settings *b)
{
	if (a->type_count != b->type_count)
		return false;
	for (size_t i = 0; i < a->type_count; i++) {
		const struct settings_type *left = &a->types[i], *right = settings_type(b, left->name);
		if (right == NULL || left->id_format != right->id_format || left->handler != right->handler ||
			!texts_equal(left->query, right->query) || !texts_equal(left->url, right->url))
			return false;
	}
	return true;
}

static bool peers_equal(const struct settings *a, const struct settings *b)
{
	if (a->peer_count != b->peer_count)
		return false;
	for (size_t i = 0; i < a->peer_count; i++) {
		const struct settings_peer *left = &a->peers[i], *right = settings_peer(b, left->region);
		if (right == NULL || left->url_count != right->url_count || !texts_equal(left->log_key, right->log_key))
			return false;
		for (size_t u = 0; u < left->url_count; u++)
			if (!texts_equal(left->urls[u], right->urls[u]))
				return false;
	}
	return true;
}

static void add_key(struct strbuf *keys, const char *key)
{
	strbuf_addf(keys, "%s%s", keys->length > 0 ? ", " : "", key);
}

void settings_compare(const struct settings *before, const struct settings *after, struct strbuf *applied,
	struct strbuf *restart_needed)
{
	struct strbuf old_value = STRBUF_INIT, new_value = STRBUF_INIT;

	for (size_t i = 0; i < settings_table_count; i++) {
		const struct setting *setting = &settings_table[i];
		strbuf_reset(&old_value);
		strbuf_reset(&new_value);
		settings_add_value(&old_value, before, setting);
		settings_add_value(&new_value, after, setting);
		if (strcmp(old_value.data, new_value.data) != 0)
			add_key(setting->is_reloadable ? applied : restart_needed, setting->key);
	}
	strbuf_release(&old_value);
	strbuf_release(&new_value);
	if (!peers_equal(before, after))
		add_key(applied, "peers");
	if (!types_equal(before, after))
		add_key(restart_needed, "types");
	if (!settings_webhooks_equal(before, after))
		add_key(restart_needed, "events.webhooks");
}

/* ---- the reference ---- */

static void add_allowed(struct strbuf *text, const struct setting *setting)
{
	switch (setting->kind) {
	case SETTING_INTEGER:
		strbuf_addf(text, "%lld to %lld%s%s", (long long)setting->min, (long long)setting->max,
			setting->unit[0] != '\0' ? " " : "", setting->unit);
		break;
	case SETTING_BOOLEAN:
		strbuf_adds(text, "true, false");
		break;
	case SETTING_CHOICE:
		settings_add_names(text, setting->choices);
		break;
	case SETTING_PATH:
		strbuf_adds(text, "path");
		break;
	case SETTING_TEXT:
		strbuf_adds(text, "text");
		break;
	}
}

static void add_default(struct strbuf *text, const struct setting *setting)
{
	if (setting->is_required)
		strbuf_adds(text, "required");
	else if (setting->kind == SETTING_INTEGER || setting->kind == SETTING_BOOLEAN)
		strbuf_addf(text, "`%s`", setting->default_text);
	else
		strbuf_addf(text, "`\"%s\"`", setting->default_text);
}

static void add_section(struct strbuf *text, const char *section, size_t length)
{
	strbuf_addf(text, "\n## %.*s\n\n", (int)length, section);
	strbuf_adds(text, "| key | default | allowed | reload | |\n|---|---|---|---|---|\n");
}

static void add_table(struct strbuf *text)
{
	const char *section = "";

	for (size_t i = 0; i < settings_table_count; i++) {
		const struct setting *setting = &settings_table[i];
		const char *dot = strchr(setting->key, '.');
		const char *name = dot != NULL ? setting->key : "top";
		size_t length = dot != NULL ? (size_t)(dot - setting->key) : strlen("top");
		if (strncmp(section, name, length) != 0)
			add_section(text, name, length);
		section = name;
		strbuf_addf(text, "| `%s` | ", setting->key);
		add_default(text, setting);
		strbuf_adds(text, " | ");
		add_allowed(text, setting);
		strbuf_addf(text, " | %s | %s |\n", setting->is_reloadable ? "yes" : "restart", setting->help);
	}
}

static void add_members(
	struct strbuf *text, const char *title, const char *lead, const struct settings_member *members, size_t count)
{
	strbuf_addf(text, "\n## %s\n\n%s\n\n| key | default | allowed | |\n|---|---|---|---|\n", title, lead);
	for (size_t i = 0; i < count; i++)
		strbuf_addf(text, "| `%s` | %s | %s | %s |\n", members[i].key, members[i].default_text,
			members[i].allowed, members[i].help);
}

void settings_write_reference(struct strbuf *text)
{
	strbuf_adds(text,
		"# Configuration\n\n"
		"`homeward serve --config homeward.conf` reads one JSON file. Comments (`//`, `#`, `/* */`) and "
		"trailing\n"
		"commas are welcome; an unknown key, a duplicate or a value out of range is an error, and all errors "
		"are\n"
		"reported at once with file, line and column. `homeward config check` reads a file and does nothing "
		"else;\n"
		"`homeward config show` prints every value and where it was set. Relative paths are taken from the "
		"file's\n"
		"folder. Secrets are never written here, only the paths of files that hold them.\n\n"
		"Keys are written with dots below and nested in the file: `cache.bytes_max` is\n"
		"`{\"cache\": {\"bytes_max\": …}}`. SIGHUP or `homeward reload` applies the keys marked *yes*, all or "
		"none;\n"
		"the others need a restart, and the answer says which those are.\n\n"
		"This page is printed by `homeward config reference`; change `base/settings_table.c`, not the page.\n\n"
		"```jsonc\n"
		"{\n"
		"\t\"region\": \"eu\",\n"
		"\t\"trust_domain\": \"live.example\",\n"
		"\t\"tls\": {\"certificate\": \"eu.pem\", \"key\": \"eu.key\", \"ca\": \"ca.pem\"},\n"
		"\t\"database\": {\"dsn\": \"host=/run/postgresql dbname=homeward\"},\n"
		"\t\"policy\": {\"file\": \"policy.json\"},\n"
		"\t\"types\": {\n"
		"\t\t\"token\": {\"id_format\": \"rfid-uid\"}, // handler: store\n"
		"\t\t\"contract\": {\"id_format\": \"emaid\", \"handler\": \"http\", \"url\": "
		"\"http://10.0.0.7/contracts/{id}\"},\n"
		"\t},\n"
		"\t\"peers\": {\n"
		"\t\t\"na\": {\"urls\": [\"https://na-1.example:7443\", \"https://na-2.example:7443\"]},\n"
		"\t},\n"
		"}\n"
		"```\n");
	add_table(text);
	add_members(text, "types",
		"`types.NAME`: one object type. Names are a-z, then a-z 0-9 _ -, at most 31 characters; at most 64 "
		"types.\n"
		"A change needs a restart.",
		settings_type_members, settings_type_member_count);
	add_members(text, "peers",
		"`peers.REGION`: another region. Its certificate must name it: `spiffe://TRUST_DOMAIN/region/REGION`.\n"
		"At most 64 peers. Reloadable.",
		settings_peer_members, settings_peer_member_count);
	add_members(text, "events.webhooks",
		"`events.webhooks` is a list, of at most 32: where events that this region has taken are posted to "
		"([EVENTS](EVENTS.md)).\n"
		"Over http, the address must be a loopback or private one. A change needs a restart; files are read "
		"again by themselves.",
		settings_webhook_members, settings_webhook_member_count);
}

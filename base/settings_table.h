/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings table, private to base/settings*.c: one row a key.  A new setting
 * is a member of struct settings and one row; parsing, `config show`, reload and
 * the reference follow from the row.
 */
#ifndef BASE_SETTINGS_TABLE_H
#define BASE_SETTINGS_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/settings.h"
#include "base/settings_scan.h"
#include "base/strbuf.h"

enum setting_kind { SETTING_TEXT, SETTING_PATH, SETTING_INTEGER, SETTING_BOOLEAN, SETTING_CHOICE };

struct setting {
	const char *key; /* "cache.bytes_max": the path in the file */
	enum setting_kind kind;
	size_t offset;                          /* of the member: char *, int64_t, bool or an enum */
	const char *default_text;               /* as written in the file, without quotes */
	int64_t min, max;                       /* integers; for texts max is the length */
	const char *unit;                       /* "" for none */
	const char *const *choices;             /* ended by NULL; the index is the enum's value */
	const char *(*check)(const char *text); /* NULL, or what is allowed when the text is refused */
	bool is_required, is_reloadable;
	const char *help; /* one sentence */
};

extern const struct setting settings_table[];
extern const size_t settings_table_count;

/* The members of one entry of "types" and of "peers". */
struct settings_member {
	const char *key, *kind, *default_text, *allowed, *help;
};
extern const struct settings_member settings_type_members[];
extern const size_t settings_type_member_count;
extern const struct settings_member settings_peer_members[];
extern const size_t settings_peer_member_count;

extern const struct settings_member settings_webhook_members[];
extern const size_t settings_webhook_member_count;

#define TYPES_MAX 64     /* object types are a handful; each is a label of metrics */
#define PEERS_MAX 64     /* regions of one company */
#define PEER_URLS_MAX 16 /* addresses tried in turn within one deadline */

extern const char *const settings_handler_names[]; /* by enum handler_kind, ended by NULL */

/* What is allowed, or NULL when the text is "latitude,longitude" or "". */
const char *settings_check_location(const char *text);
/* "store, sql, http" */
void settings_add_names(struct strbuf *text, const char *const *names);
/* The value of a row, as `config show` writes it. */
void settings_add_value(struct strbuf *text, const struct settings *settings, const struct setting *setting);

/* One reading: what the sections need to read and to complain. */
struct settings_reader {
	const char *name; /* of the file */
	const char *text; /* blanked */
	size_t size;
	struct settings_places places;
	struct settings *settings;
	struct settings_error {
		size_t offset;
		char *text;
	} * errors;
	size_t error_count;
	bool has_failed; /* out of memory */
};

/* An error at the value (or at the key) the pointer names; a pointer without a place is taken up to its parent. */
void settings_complain(struct settings_reader *reader, const char *pointer, bool is_about_key, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* "64" or "\"text\"", shortened: the "got" of an error. */
void settings_add_got(struct strbuf *text, const json_t *value);
/* "what, got VALUE, allowed: allowed". */
void settings_complain_value(struct settings_reader *reader, const char *pointer, const json_t *value, const char *what,
	const char *allowed);
/* A copy; a relative path is taken from the settings file's folder. */
char *settings_copy_text(struct settings_reader *reader, const char *text, bool is_path);
/* The nearest of the names, or NULL when none is near. */
const char *settings_nearest(const char *name, const char *const *names, size_t count);
/* An unknown key, with the nearest of those there are, or all.  what: "not a setting". */
void settings_complain_unknown(struct settings_reader *reader, const char *pointer, const char *what, const char *key,
	const char *const *names, size_t count);
/* "/a~1b" for "a/b" appended to `pointer`. */
void settings_add_pointer(struct strbuf *pointer, const char *key);

void settings_read_types(struct settings_reader *reader, json_t *types);
void settings_read_peers(struct settings_reader *reader, json_t *peers);
/* Hands each member of the entry to read(), with its number in the table and `into`; complains of those not in it. */
void settings_read_members(struct settings_reader *reader, struct strbuf *pointer, json_t *entry,
	const struct settings_member *members, size_t count,
	void (*read)(
		struct settings_reader *reader, struct strbuf *pointer, const json_t *value, size_t member, void *into),
	void *into);

/* ---- settings_webhooks.c ---- */
void settings_read_webhooks(struct settings_reader *reader, json_t *webhooks);
/* One member's value as `config show` writes it; false when there is none. */
bool settings_webhook_value(struct strbuf *text, const struct settings_webhook *webhook, size_t member);
bool settings_webhooks_equal(const struct settings *a, const struct settings *b);
void settings_webhooks_release(struct settings *settings);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: a JSON file with comments and trailing commas, read through one table
 * (base/settings_table.c) that also drives `config show`, the manual and
 * docs/CONFIGURATION.md.  All errors are reported at once, each with file, line,
 * column, JSON pointer, what is allowed and, for an unknown key, the nearest one.
 * Relative paths are taken from the settings file's folder.  Immutable once read.
 */
#ifndef BASE_SETTINGS_H
#define BASE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"

enum handler_kind { HANDLER_STORE, HANDLER_SQL, HANDLER_HTTP };

struct settings_type { /* one entry of "types" */
	char name[OBJECT_TYPE_SIZE];
	enum id_format id_format;  /* default opaque */
	enum handler_kind handler; /* default store */
	char *query;               /* sql: SELECT id, version, record … WHERE id = ANY($1); else NULL */
	char *url;                 /* http: "http://host/path/{id}"; else NULL */
};

struct settings_peer { /* one entry of "peers" */
	char region[REGION_SIZE];
	char *location; /* as settings.location; NULL when not said */
	char **urls;    /* https://host:port, at least one */
	size_t url_count;
	char *log_key; /* the verifier key of its access log; NULL: not known here */
};

enum webhook_mode { WEBHOOK_STRUCTURED, WEBHOOK_BINARY };

#define WEBHOOK_NAME_SIZE 32

struct settings_webhook { /* one entry of "events.webhooks" */
	char name[WEBHOOK_NAME_SIZE];
	char *url;
	char **types; /* event types, or beginnings of them with a * behind; at least one */
	size_t type_count;
	char **origins; /* regions; none: of every region */
	size_t origin_count;
	enum webhook_mode mode;
	char *ca_file, *certificate_file, *key_file, *authorization_file, *secret_file; /* NULL: none */
	int64_t timeout_ms, in_flight_max, retry_min_ms, retry_max_s, keep_s, refusals_max;
};

struct settings_listener {
	char *listen;    /* "address:port"; "" for none */
	char *unix_path; /* "" for none */
	int64_t threads;
	int64_t connections_max;
	int64_t connections_per_ip_max;
	int64_t body_bytes_max;
	int64_t request_deadline_ms;
	int64_t idle_timeout_ms;
};

/* Texts are never NULL: "" when there is none. */
/* What happens to personal data while the access log cannot be written. */
enum access_log_mode { ACCESS_LOG_CLOSED, ACCESS_LOG_GRACE, ACCESS_LOG_OFF };

struct settings {
	char *path; /* the file read */
	char *region;
	char *trust_domain;
	char *state_dir; /* last good route table, callers, access key */
	char *location;  /* "latitude,longitude" of this region, "" when not said */
	int64_t engines; /* 0: one a core */
	int64_t drain_timeout_ms;
	struct settings_listener api, peer, admin;
	int64_t peer_connections_max; /* per peer identity, inbound */
	struct {
		char *certificate, *key, *ca, *crl;
	} tls;
	struct {
		char *dsn, *password_file;
		bool migrate;
		int64_t timeout_ms, queue_max;
	} database;
	struct {
		char *file, *keys, *shadow_file;
	} policy;
	struct {
		enum access_log_mode mode;
		int64_t grace_s;
		/* Never "": by default in state_dir, and the origin made of region and trust domain. */
		char *directory, *origin, *signing_key_file, *key_file, *subject_key_file;
		int64_t epoch_days, epoch_keep_days, checkpoint_interval_ms, cosign_interval_ms, queue_bytes_max,
			segment_bytes, reserve_bytes, index_entries_per_s;
	} access_log;
	struct {
		int64_t bytes_max, negative_bytes_max, negative_ttl_s, ttl_max_s;
	} cache;
	struct {
		int64_t timeout_ms, timeout_ms_max, in_flight_max;
	} lookup;
	struct {
		int64_t batch_max, connections_max, linger_ms, retry_percent, suspect_after, down_after,
			probe_interval_ms, up_after;
	} delegate;
	struct {
		int64_t ttl_s;
	} grant;
	struct {
		int64_t lookups_per_s, subjects_per_hour, misses_percent, misses_min, slow_per_s, slow_s;
	} budgets;
	struct {
		int64_t kmh, unknown_s;
	} travel;
	struct {
		int64_t denials_per_minute; /* 0: never */
	} alarms;
	struct {
		char *broker;  /* "": events are off */
		char *mesh;    /* path; "": none */
		char *schemas; /* path of a folder; "": none */
		int64_t in_flight_max, prefetch, timeout_ms, heartbeat_s;
		int64_t receipt_timeout_s, outbox_keep_s, inbox_keep_s, canary_interval_ms;
		int64_t erasure_wait_s, holdback_ms, held_max, ledger_interval_s, parcel_events_max;
	} events;
	struct {
		enum log_level level;
		enum log_format format;
	} log;
	struct settings_type *types;
	size_t type_count;
	struct settings_webhook *webhooks;
	size_t webhook_count;
	struct settings_peer *peers;
	size_t peer_count;
	int *lines; /* where each key of the table was set, 0 by default; for settings_each() */
};

/* On failure *settings_out is NULL and `errors` has one line an error. */
MUST_CHECK enum status settings_read(const char *path, struct settings **settings_out, struct strbuf *errors);
/* As settings_read, from memory; `name` is shown as the file. */
MUST_CHECK enum status settings_parse(
	const char *name, const char *text, size_t size, struct settings **settings_out, struct strbuf *errors);
void settings_destroy(struct settings *settings);

/* NULL when there is none of that name. */
const struct settings_type *settings_type(const struct settings *settings, const char *name);
const struct settings_peer *settings_peer(const struct settings *settings, const char *region);
/* The DSN with the password file's content added; STATUS_* and `why` when that file cannot be read. */
MUST_CHECK enum status settings_dsn(const struct settings *settings, struct strbuf *dsn, struct strbuf *why);

/* One row a key: name, value, default, where it was set, reloadable. */
struct settings_row {
	const char *key, *value, *default_value, *source, *unit, *help;
	bool reloadable;
};
void settings_each(const struct settings *settings, void (*each)(void *arg, const struct settings_row *row), void *arg);
/* Keys whose values differ, by whether a reload can apply them; comma separated. */
void settings_compare(const struct settings *before, const struct settings *after, struct strbuf *applied,
	struct strbuf *restart_needed);
/* The reference in Markdown (docs/CONFIGURATION.md). */
void settings_write_reference(struct strbuf *text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every setting, once.  The rows are in the order people read them.  Reloadable
 * are those the program swaps as a whole on SIGHUP (peers, log, policy); the files
 * of tls are followed by themselves, but other paths need a restart;
 * everything else sizes something that is made at start.
 *
 * Bounds are where a value stops making sense, not what is recommended.
 */
#include "base/settings_table.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024                /* bytes of one text; the longest are paths and DSNs */
#define BYTES_MAX (INT64_C(1) << 40) /* 1 TiB */
#define DAY_S INT64_C(86400)
#define YEAR_S (366 * DAY_S)

static const char *const access_log_modes[] = { "closed", "grace", "off", NULL };
static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const log_formats[] = { "text", "json", NULL };

static const char *check_region(const char *text)
{
	return region_is_valid(text) ? NULL : "a-z, then a-z 0-9 -, at most 31 characters";
}

static const char *check_trust_domain(const char *text)
{
	bool is_fine = text[0] != '\0' && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == strlen(text);

	return is_fine && strlen(text) <= 255 ? NULL : "a SPIFFE trust domain: a-z 0-9 . - _, at most 255 characters";
}

static const char *check_listen(const char *text)
{
	static const char allowed[] = "\"address:port\", \"[address]:port\" or \"\" for none";
	const char *colon = strrchr(text, ':');
	int64_t port = 0;

	if (text[0] == '\0')
		return NULL;
	if (colon == NULL || colon == text || colon[1] == '\0' || strlen(colon + 1) > 5)
		return allowed;
	if (text[0] == '[' ? colon[-1] != ']' : memchr(text, ':', (size_t)(colon - text)) != NULL)
		return allowed;
	for (const char *c = colon + 1; *c != '\0'; c++) {
		if (*c < '0' || *c > '9')
			return allowed;
		port = port * 10 + (*c - '0');
	}
	return port <= 65535 ? NULL : "a port of 0 to 65535";
}

static const char *check_broker(const char *text)
{
	bool is_fine = strncmp(text, "amqps://", 8) == 0 && strchr(text, '@') == NULL &&
		       strchr(text + strlen("amqps://"), '/') != NULL;

	return text[0] == '\0' || is_fine ? NULL : "amqps://HOST[:PORT]/VHOST, or \"\" for no events";
}

static const char *check_origin(const char *text)
{
	/* It is a line of a signed note and the name of its key. */
	for (const char *c = text; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~' || *c == '+')
			return "printable ASCII without '+' or a space";
	}
	return NULL;
}

static const char *check_dsn(const char *text)
{
	PQconninfoOption *options = PQconninfoParse(text, NULL);
	const char *refused = options == NULL ? "a PostgreSQL connection string" : NULL;

	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++)
		if (strcmp(option->keyword, "password") == 0 && option->val != NULL)
			refused = "a connection string without a password; put it in database.password_file";
	PQconninfoFree(options);
	return refused;
}

const char *settings_check_location(const char *text)
{
	static const char allowed[] = "\"latitude,longitude\" in degrees, or \"\" when not said";
	double latitude, longitude;
	char *end;

	if (text[0] == '\0')
		return NULL;
	if (text[strspn(text, "0123456789.,+-")] != '\0')
		return allowed;
	latitude = strtod(text, &end);
	if (end == text || *end != ',')
		return allowed;
	text = end + 1;
	longitude = strtod(text, &end);
	if (end == text || *end != '\0' || latitude < -90 || latitude > 90 || longitude < -180 || longitude > 180)
		return allowed;
	return NULL;
}

#define AT(member) offsetof(struct settings, member)
#define TEXT(key, member, fallback, check, is_required, help)                                                          \
	{                                                                                                              \
		key, SETTING_TEXT, AT(member), fallback, 0, TEXT_MAX, "", NULL, check, is_required, false, help        \
	}
#define PATH(key, member, fallback, is_required, is_reloadable, help)                                                  \
	{                                                                                                              \
		key, SETTING_PATH, AT(member), fallback, 0, TEXT_MAX, "", NULL, NULL, is_required, is_reloadable, help \
	}
#define INTEGER(key, member, fallback, min, max, unit, help)                                                           \
	{                                                                                                              \
		key, SETTING_INTEGER, AT(member), fallback, min, max, unit, NULL, NULL, false, false, help             \
	}
#define BOOLEAN(key, member, fallback, help)                                                                           \
	{                                                                                                              \
		key, SETTING_BOOLEAN, AT(member), fallback, 0, 1, "", NULL, NULL, false, false, help                   \
	}
#define CHOICE(key, member, fallback, choices, help)                                                                   \
	{                                                                                                              \
		key, SETTING_CHOICE, AT(member), fallback, 0, 0, "", choices, NULL, false, true, help                  \
	}

#define LISTENER(name, listen_at, threads_count, connections, body_bytes, deadline_ms, idle_ms, what)                  \
	TEXT(#name ".listen", name.listen, listen_at, check_listen, false,                                             \
		"Where " what " is served; port 0 takes a free one."),                                                 \
		PATH(#name ".unix_path", name.unix_path, "", false, false,                                             \
			"A unix socket for the same, made with mode 0660; empty for none."),                           \
		INTEGER(#name ".threads", name.threads, threads_count, 1, 64, "", "HTTP threads."),                    \
		INTEGER(#name ".connections_max", name.connections_max, connections, 1, 1000000, "",                   \
			"Connections at once; more are refused."),                                                     \
		INTEGER(#name ".connections_per_ip_max", name.connections_per_ip_max, "0", 0, 1000000, "",             \
			"Connections from one address to each HTTP thread; 0 for no limit."),                          \
		INTEGER(#name ".body_bytes_max", name.body_bytes_max, body_bytes, 1024, INT64_C(1) << 30, "bytes",     \
			"A larger request body is refused."),                                                          \
		INTEGER(#name ".request_deadline_ms", name.request_deadline_ms, deadline_ms, 10, 600000, "ms",         \
			"From a request's first byte to its answer; then the connection is closed."),                  \
		INTEGER(#name ".idle_timeout_ms", name.idle_timeout_ms, idle_ms, 10, 3600000, "ms",                    \
			"A kept-alive connection without a request is closed after this.")

/* clang-format off */
const struct setting settings_table[] = {
	TEXT("region", region, "", check_region, true, "The region this process serves."),
	TEXT("trust_domain", trust_domain, "", check_trust_domain, true,
		"The environment: peers are spiffe://TRUST_DOMAIN/region/NAME, and no other trust domain is let in."),
	PATH("state_dir", state_dir, "/var/lib/homeward", false, false,
		"Folder of what must survive without the database: the last good route table and callers."),
	TEXT("location", location, "", settings_check_location, false,
		"Latitude and longitude of the region, for impossible travel; empty when not said."),
	INTEGER("engines", engines, "0", 0, 64, "", "Event loops, each with its own database connection; 0 for one a core."),
	INTEGER("drain_timeout_ms", drain_timeout_ms, "10000", 0, 600000, "ms",
		"After SIGTERM, lookups under way may take this long to finish."),

	LISTENER(api, "127.0.0.1:7400", "2", "20000", "1048576", "10000", "60000", "the client API"),
	LISTENER(peer, "0.0.0.0:7443", "2", "1024", "4194304", "10000", "120000", "the peer API (mutual TLS)"),
	INTEGER("peer.connections_per_peer_max", peer_connections_max, "128", 1, 100000, "",
		"Connections from one peer region."),
	LISTENER(admin, "127.0.0.1:7401", "1", "64", "1048576", "30000", "30000", "health, metrics and the admin API"),

	PATH("tls.certificate", tls.certificate, "", true, false, "PEM, this region's certificate first, then its chain.  A change of these files is followed."),
	PATH("tls.key", tls.key, "", true, false, "PEM, the certificate's private key; readable by its owner only."),
	PATH("tls.ca", tls.ca, "", true, false, "PEM, the certificate authorities peers are verified against."),
	PATH("tls.crl", tls.crl, "", false, false, "PEM, revocation lists, one for each authority; empty for none."),

	TEXT("database.dsn", database.dsn, "", check_dsn, true, "PostgreSQL connection string, without a password."),
	PATH("database.password_file", database.password_file, "", false, false,
		"File with the database password; empty when none is needed."),
	BOOLEAN("database.migrate", database.migrate, "true", "Bring the schema up to date at start."),
	INTEGER("database.timeout_ms", database.timeout_ms, "2000", 10, 600000, "ms",
		"A query without an answer is given up after this."),
	INTEGER("database.queue_max", database.queue_max, "4096", 1, 1000000, "",
		"Queries under way on one engine's connection; more are refused."),

	PATH("policy.file", policy.file, "", true, true, "The gate's rules."),
	PATH("policy.shadow_file", policy.shadow_file, "", false, true,
		"A second policy that decides on live traffic too and is never enforced; empty for none."),
	{ "policy.keys", SETTING_TEXT, AT(policy.keys), "", 0, 4096, "", NULL, NULL, false, true,
		"Keys a policy file must be signed by (vkeys, spaces between); with them versions only rise; empty for none." },
	{ "access_log.mode", SETTING_CHOICE, AT(access_log.mode), "closed", 0, 0, "", access_log_modes, NULL, false, false,
		"While the log cannot be written: no personal data (closed); it goes on for grace_s, never to be cached, and a gap entry counts it (grace).  off records nothing, for measuring, and is refused unless HOMEWARD_DEVELOPMENT is in the environment." },
	INTEGER("access_log.grace_s", access_log.grace_s, "60", 1, 3600, "s",
		"With mode grace: for how long at most; then it is closed."),
	PATH("access_log.directory", access_log.directory, "", false, false,
		"Folder of the log's files, made at the first start; empty for access-log in state_dir."),
	TEXT("access_log.origin", access_log.origin, "", check_origin, false,
		"The log's name, which its checkpoints are signed for; empty for REGION.TRUST_DOMAIN/access-log.  Never used again after a loss of data."),
	PATH("access_log.signing_key_file", access_log.signing_key_file, "", false, false,
		"Ed25519 key that signs checkpoints; empty for access-log.key in state_dir, made at the first start."),
	PATH("access_log.key_file", access_log.key_file, "", false, false,
		"Key of the names under which subjects' keys are kept; empty for access.key in state_dir, made at the first start."),
	PATH("access_log.subject_key_file", access_log.subject_key_file, "", false, false,
		"Master and epoch keys of the log's subjects; empty for subjects.key in state_dir, made at the first start."),
	INTEGER("access_log.epoch_days", access_log.epoch_days, "30", 1, 3650, "days",
		"How long one key serves for ids that have no key of their own."),
	INTEGER("access_log.epoch_keep_days", access_log.epoch_keep_days, "30", 0, 3650, "days",
		"After that it is kept this long, and destroyed."),
	INTEGER("access_log.checkpoint_interval_ms", access_log.checkpoint_interval_ms, "1000", 10, 600000, "ms",
		"Entries are under a signed checkpoint after this."),
	INTEGER("access_log.cosign_interval_ms", access_log.cosign_interval_ms, "60000", 100, 86400000, "ms",
		"Peers with a log_key are asked to cosign the log this often."),
	INTEGER("access_log.queue_bytes_max", access_log.queue_bytes_max, "67108864", 65536, BYTES_MAX, "bytes",
		"Entries waiting for the disk; more are refused."),
	INTEGER("access_log.segment_bytes", access_log.segment_bytes, "16777216", 1048576, BYTES_MAX, "bytes",
		"Size of each of the two write-ahead files."),
	INTEGER("access_log.index_entries_per_s", access_log.index_entries_per_s, "5000", 0, 10000000, "entries/s",
		"The search index in the database follows the log at most this fast, and a tenth of it while the log grows by more than 1,000 entries/s and the index is less than a minute behind, so that lookups come first; 0 for no bound."),
	INTEGER("access_log.reserve_bytes", access_log.reserve_bytes, "16777216", 0, BYTES_MAX, "bytes",
		"Kept back on the disk, so that a log without space can still say that it stops."),

	INTEGER("cache.bytes_max", cache.bytes_max, "67108864", 0, BYTES_MAX, "bytes", "Memory for records; 0 for no cache."),
	INTEGER("cache.negative_bytes_max", cache.negative_bytes_max, "4194304", 0, BYTES_MAX, "bytes",
		"Memory for remembering what is not available."),
	INTEGER("cache.negative_ttl_s", cache.negative_ttl_s, "5", 0, 3600, "s", "How long that is remembered."),
	INTEGER("cache.ttl_max_s", cache.ttl_max_s, "86400", 0, YEAR_S, "s",
		"A record is kept no longer, whatever its home allows."),

	INTEGER("lookup.timeout_ms", lookup.timeout_ms, "2500", 10, 600000, "ms",
		"A lookup's time when its caller does not say."),
	INTEGER("lookup.timeout_ms_max", lookup.timeout_ms_max, "10000", 10, 600000, "ms",
		"The most a caller may ask for."),
	INTEGER("lookup.in_flight_max", lookup.in_flight_max, "20000", 1, 10000000, "",
		"Lookups under way at once; more are answered 503."),

	INTEGER("delegate.batch_max", delegate.batch_max, "256", 1, 1000, "", "Lookups carried by one request to a peer."),
	INTEGER("delegate.connections_max", delegate.connections_max, "32", 1, 1000, "",
		"Connections an engine keeps to one peer."),
	INTEGER("delegate.linger_ms", delegate.linger_ms, "2", 0, 1000, "ms",
		"A lookup waits this long for others going the same way."),
	INTEGER("delegate.retry_percent", delegate.retry_percent, "10", 0, 100, "%",
		"Retries allowed, as a share of first attempts."),
	INTEGER("delegate.suspect_after", delegate.suspect_after, "1", 1, 1000, "",
		"Failures in a row until an address is tried last."),
	INTEGER("delegate.down_after", delegate.down_after, "3", 1, 1000, "",
		"Failures in a row until an address is only probed."),
	INTEGER("delegate.probe_interval_ms", delegate.probe_interval_ms, "500", 10, 600000, "ms",
		"Between probes of an address that is down."),
	INTEGER("delegate.up_after", delegate.up_after, "2", 1, 1000, "",
		"Successes in a row until it is trusted again."),

	INTEGER("grant.ttl_s", grant.ttl_s, "86400", 1, YEAR_S, "s",
		"A permitted charge.authorize opens a visit that lasts this long."),

	TEXT("events.broker", events.broker, "", check_broker, false,
		"The region's RabbitMQ, amqps://HOST:PORT/VHOST with HOST a name in its certificate; empty for no events."),
	PATH("events.mesh", events.mesh, "", false, false,
		"The mesh file, followed when it changes: tells by a link's address which region an event came from; without it by what that broker calls itself."),
	PATH("events.schemas", events.schemas, "", false, false,
		"A folder of more schemas of events, TYPE.vN.json; empty for those in the program only."),
	INTEGER("events.in_flight_max", events.in_flight_max, "1000", 1, 10000, "",
		"Events published together, without a confirmation yet."),
	INTEGER("events.parcel_events_max", events.parcel_events_max, "64", 1, 256, "",
		"Events for one region that may share a message, of 64 KiB at most, where that region has said that it takes such; 1 for none."),
	INTEGER("events.prefetch", events.prefetch, "1000", 1, 10000, "",
		"Events taken together, without an acknowledgement yet."),
	INTEGER("events.timeout_ms", events.timeout_ms, "5000", 100, 60000, "ms",
		"Connecting to the broker, and each question to it."),
	INTEGER("events.heartbeat_s", events.heartbeat_s, "10", 2, 600, "s",
		"A broker silent for twice as long is gone."),
	INTEGER("events.canary_interval_ms", events.canary_interval_ms, "2000", 0, 4000, "ms",
		"Between the canaries that show each peer of events.mesh that its link carries events; 0 for none."),
	INTEGER("events.receipt_timeout_s", events.receipt_timeout_s, "60", 1, DAY_S, "s",
		"An event whose destination has not said what became of it is sent again, with the same id; then after twice as long."),
	INTEGER("events.erasure_wait_s", events.erasure_wait_s, "10", 1, DAY_S, "s",
		"A region that has not acknowledged an erasure, told as an event, after this long is told over the peer API."),
	INTEGER("events.outbox_keep_s", events.outbox_keep_s, "2592000", 60, YEAR_S, "s",
		"Events that were sent and receipted, or refused, are removed after this long."),
	INTEGER("events.inbox_keep_s", events.inbox_keep_s, "31622400", 60, YEAR_S, "s",
		"Events received are remembered this long: one that is sent again later would be taken again.  Dead letters too."),
	INTEGER("events.holdback_ms", events.holdback_ms, "5000", 0, 600000, "ms",
		"An event waits this long for the earlier ones of its subject; then what is missing is announced as a gap."),
	INTEGER("events.held_max", events.held_max, "10000", 1, 1000000, "",
		"Events that wait for earlier ones, of all subjects; above it the oldest are let through."),
	INTEGER("events.ledger_interval_s", events.ledger_interval_s, "3600", 0, DAY_S, "s",
		"How long a window is of which each region of events.mesh is told what was sent to it; 0: it is told nothing."),

	INTEGER("budgets.lookups_per_s", budgets.lookups_per_s, "20000", 0, 10000000, "",
		"What one caller of another region may ask of this home, twice as much at once; 0 for no limit."),
	INTEGER("budgets.subjects_per_hour", budgets.subjects_per_hour, "250000", 0, 10000000, "",
		"Different objects it may ask for in an hour, 8 to 32 bytes of memory each; 0 for no limit."),
	INTEGER("budgets.misses_percent", budgets.misses_percent, "50", 0, 100, "%",
		"Share of a minute's lookups that may be denied or unknown; past it the caller is slowed; 0 for no limit."),
	INTEGER("budgets.misses_min", budgets.misses_min, "1000", 1, 10000000, "",
		"Lookups in the minute before that share is looked at."),
	INTEGER("budgets.slow_per_s", budgets.slow_per_s, "10", 1, 1000000, "", "What a slowed caller still gets."),
	INTEGER("budgets.slow_s", budgets.slow_s, "60", 1, 86400, "s", "How long it is slowed."),

	INTEGER("travel.kmh", travel.kmh, "1000", 0, 100000, "km/h",
		"A card shown in two regions sooner than this allows is flagged, never denied; 0 for not looking."),
	INTEGER("travel.unknown_s", travel.unknown_s, "3600", 0, 86400, "s",
		"Time between two regions of which one has no location."),

	INTEGER("alarms.denials_per_minute", alarms.denials_per_minute, "100", 0, 10000000, "",
		"So many denials of one asking region, or of one caller of this region, are told as homeward.gate.denials; 0 for never."),

	CHOICE("log.level", log.level, "info", log_levels, "Lines below this level are not written."),
	CHOICE("log.format", log.format, "text", log_formats, "key=value text, or one JSON object a line."),
};
/* clang-format on */
const size_t settings_table_count = sizeof(settings_table) / sizeof(settings_table[0]);

const char *const settings_handler_names[] = { "store", "sql", "http", NULL };

void settings_add_names(struct strbuf *text, const char *const *names)
{
	for (size_t i = 0; names[i] != NULL; i++)
		strbuf_addf(text, "%s%s", i > 0 ? ", " : "", names[i]);
}

void settings_add_value(struct strbuf *text, const struct settings *settings, const struct setting *setting)
{
	const char *member = (const char *)settings + setting->offset;
	const char *string;
	int64_t number;
	int choice;
	bool is_true;

	switch (setting->kind) {
	case SETTING_TEXT:
	case SETTING_PATH:
		memcpy(&string, member, sizeof(string));
		strbuf_adds(text, string);
		break;
	case SETTING_INTEGER:
		memcpy(&number, member, sizeof(number));
		strbuf_addf(text, "%" PRId64, number);
		break;
	case SETTING_BOOLEAN:
		memcpy(&is_true, member, sizeof(is_true));
		strbuf_adds(text, is_true ? "true" : "false");
		break;
	case SETTING_CHOICE:
		memcpy(&choice, member, sizeof(choice));
		strbuf_adds(text, setting->choices[choice]);
		break;
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What homeward has to say, one function for each type, so that who says it cannot
 * stray from the schema; and when the end of a certificate is worth saying.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "federation/system_events.h"

#define DAY_S 86400

static const char *now(char text[CLOCK_TEXT_SIZE])
{
	clock_format(clock_wall_us(clock_system()), text);
	return text;
}

/* The words of the schema for what the HTTP client calls it. */
static const char *peer_reason(const char *reason)
{
	static const char *const words[][2] = { { "timeout", "timeout" }, { "refused", "refused" },
		{ "terminated", "closed" }, { "tls", "tls" }, { "http", "unhealthy" } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(reason, words[i][0]) != NULL)
			return words[i][1];
	return "other";
}

void system_say_peer(struct system_events *system, const char *peer, bool is_up, const char *reason, int64_t down_s)
{
	char at[CLOCK_TEXT_SIZE];

	if (is_up)
		system_events_say(system, "homeward.peer.up",
			json_pack("{s:s,s:s,s:I}", "peer", peer, "since", now(at), "down_s",
				(json_int_t)(down_s > 0 ? down_s : 0)));
	else
		system_events_say(system, "homeward.peer.down",
			json_pack("{s:s,s:s,s:s}", "peer", peer, "since", now(at), "reason", peer_reason(reason)));
}

void system_say_link(struct system_events *system, const char *from, const char *to, bool is_up)
{
	char at[CLOCK_TEXT_SIZE];

	system_events_say(system, is_up ? "homeward.link.up" : "homeward.link.down",
		json_pack("{s:s,s:s,s:s*,s:s}", "from", from, "to", to, "state", is_up ? NULL : "no_canary", "since",
			now(at)));
}

void system_say_denials(
	struct system_events *system, const char *peer, const char *caller, int64_t denied, int64_t window_s)
{
	char at[CLOCK_TEXT_SIZE];

	system_events_say(system, "homeward.gate.denials",
		json_pack("{s:s*,s:s*,s:I,s:I,s:s}", "peer", peer, "caller", caller, "denied", (json_int_t)denied,
			"window_s", (json_int_t)window_s, "at", now(at)));
}

void system_say_certificate(
	struct system_events *system, const char *kind, const char *subject, int64_t not_after_s, int64_t now_s)
{
	int64_t left_s = not_after_s - now_s;
	char end[CLOCK_TEXT_SIZE];

	clock_format(not_after_s * 1000000, end);
	system_events_say(system, "homeward.certificate.expiring",
		json_pack("{s:s,s:s,s:s,s:I}", "kind", kind, "subject", subject, "not_after", end, "days_left",
			(json_int_t)(left_s >= 0 ? left_s / DAY_S : -((DAY_S - 1 - left_s) / DAY_S))));
}

void system_say_routes(struct system_events *system, uint64_t count, uint64_t generation)
{
	char at[CLOCK_TEXT_SIZE];

	system_events_say(system, "homeward.routes.changed",
		json_pack("{s:I,s:I,s:s}", "count", (json_int_t)count, "generation", (json_int_t)generation, "at",
			now(at)));
}

void system_say_log_alarm(struct system_events *system, const struct system_log_alarm *alarm)
{
	char at[CLOCK_TEXT_SIZE];
	json_t *data = json_pack("{s:s,s:s*,s:s*,s:s*,s:s}", "kind", alarm->kind, "peer", alarm->peer, "caller",
		alarm->caller, "detail", alarm->detail, "at", now(at));

	if (alarm->durable >= 0 && data != NULL)
		(void)json_object_set_new(data, "durable", json_integer(alarm->durable));
	system_events_say(system, "homeward.log.alarm", data);
}

void system_say_travel(struct system_events *system, const char *subject_hash, const char *from, const char *to,
	int64_t apart_s, int64_t possible_s)
{
	char at[CLOCK_TEXT_SIZE];

	system_events_say(system, "homeward.travel.impossible",
		json_pack("{s:s,s:[s,s],s:I,s:I,s:s}", "subject_hash", subject_hash, "regions", from, to, "apart_s",
			(json_int_t)apart_s, "possible_s", (json_int_t)possible_s, "at", now(at)));
}

void system_say_gap(struct system_events *system, const struct system_gap *gap)
{
	char at[CLOCK_TEXT_SIZE], from[24], to[24];

	(void)snprintf(from, sizeof(from), "%018lld", (long long)gap->missing_from);
	(void)snprintf(to, sizeof(to), "%018lld", (long long)gap->missing_to);
	system_events_say(system, "homeward.gap",
		json_pack("{s:I,s:s,s:s,s:s,s:s,s:I,s:b,s:s}", "gap", (json_int_t)gap->gap, "origin", gap->origin,
			"source", gap->source, "missing_from", from, "missing_to", to, "waited_ms",
			(json_int_t)gap->waited_ms, "is_start", (int)gap->is_start, "at", now(at)));
}

void system_say_webhook_paused(struct system_events *system, const char *webhook, const char *reason)
{
	char at[CLOCK_TEXT_SIZE];

	system_events_say(system, "homeward.webhook.paused",
		json_pack("{s:s,s:s,s:s}", "webhook", webhook, "reason", reason, "at", now(at)));
}

void system_say_ledger(struct system_events *system, const struct system_ledger *ledger)
{
	char at[CLOCK_TEXT_SIZE];

	system_events_say(system, "homeward.ledger.difference",
		json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:s}", "from", ledger->from, "to", ledger->to, "since",
			ledger->since, "until", ledger->until, "sent", (json_int_t)ledger->sent, "taken",
			(json_int_t)ledger->taken, "missing", (json_int_t)ledger->missing, "extra",
			(json_int_t)ledger->extra, "at", now(at)));
}

/* ---- what runs out ---- */

static struct system_expiry *find_expiry(struct system_expiries *expiries, const char *kind, const char *subject)
{
	struct system_expiry *entry;

	for (size_t i = 0; i < expiries->count; i++)
		if (strcmp(expiries->entries[i].kind, kind) == 0 && strcmp(expiries->entries[i].subject, subject) == 0)
			return &expiries->entries[i];
	if (expiries->entries == NULL)
		expiries->entries = calloc(SYSTEM_EXPIRIES_MAX, sizeof(*expiries->entries));
	if (expiries->entries == NULL || expiries->count == SYSTEM_EXPIRIES_MAX)
		return NULL;
	entry = &expiries->entries[expiries->count++];
	memccpy(entry->kind, kind, '\0', sizeof(entry->kind) - 1);
	memccpy(entry->subject, subject, '\0', sizeof(entry->subject) - 1);
	return entry;
}

bool system_expiry_is_due(
	struct system_expiries *expiries, const char *kind, const char *subject, int64_t expires_s, int64_t now_s)
{
	static const int thresholds[] = { 1, 7, 30 };
	bool is_list = strcmp(kind, "revocation_list") == 0; /* a new one comes every few weeks */
	struct system_expiry *entry;
	int threshold = 0;

	for (size_t i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]) && threshold == 0; i++)
		if ((!is_list || thresholds[i] < 30) && expires_s - now_s <= (int64_t)thresholds[i] * DAY_S)
			threshold = thresholds[i];
	if (threshold == 0 || (entry = find_expiry(expiries, kind, subject)) == NULL)
		return false;
	if (entry->expires_s == expires_s && entry->threshold <= threshold && now_s - entry->told_s < DAY_S)
		return false;
	entry->expires_s = expires_s;
	entry->threshold = threshold;
	entry->told_s = now_s;
	return true;
}

void system_expiries_release(struct system_expiries *expiries)
{
	free(expiries->entries);
	*expiries = (struct system_expiries){ NULL, 0 };
}

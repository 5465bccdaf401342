/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward status`: one daemon's view of itself and of its peers.  With -o json
 * or csv only the peers are written, as rows; the whole answer is at
 * GET /admin/v1/status.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/command.h"
#include "cli/events.h"

enum { OPTION_ADMIN = COMMAND_ID_FIRST };

static const char *milliseconds(const json_t *peer, const char *member, struct strbuf *text)
{
	int64_t value;

	strbuf_reset(text);
	if (!json_get_integer(peer, member, &value) || value < 0)
		return NULL;
	strbuf_addf(text, "%" PRId64, value);
	return text->data;
}

static int show_peers(const json_t *answer, enum output_format format)
{
	static const struct output_column columns[] = {
		{ "region", OUTPUT_TEXT },
		{ "url", OUTPUT_TEXT },
		{ "state", OUTPUT_TEXT },
		{ "reason", OUTPUT_TEXT },
		{ "since_ms", OUTPUT_NUMBER },
		{ "last_success_ms", OUTPUT_NUMBER },
		{ "round_trip_ms", OUTPUT_NUMBER },
	};
	struct output *output = output_create(stdout, format, columns, sizeof(columns) / sizeof(columns[0]));
	struct strbuf since = STRBUF_INIT, success = STRBUF_INIT, round_trip = STRBUF_INIT;
	const json_t *peers = json_object_get(answer, "peers");

	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i);
		const char *cells[] = { json_get_string(peer, "region"), json_get_string(peer, "url"),
			json_get_string(peer, "state"), json_get_string(peer, "reason"),
			milliseconds(peer, "since_ms", &since), milliseconds(peer, "last_success_ms", &success),
			milliseconds(peer, "round_trip_ms", &round_trip) };

		output_row(output, cells);
	}
	strbuf_release(&since);
	strbuf_release(&success);
	strbuf_release(&round_trip);
	return output_finish(output);
}

/* A daemon without a broker has no events; one whose database is away cannot count them. */
static void show_events(const json_t *answer)
{
	const json_t *events = json_object_get(answer, "events"), *alarms = json_object_get(answer, "alarms");
	int64_t unsent = 0, oldest_s = 0, unreceipted = 0, dead = 0;

	if (json_is_null(events))
		printf("events: the database cannot be asked\n");
	if (json_is_object(events)) {
		(void)json_get_integer(events, "unsent", &unsent);
		(void)json_get_integer(events, "oldest_unsent_s", &oldest_s);
		(void)json_get_integer(events, "unreceipted", &unreceipted);
		(void)json_get_integer(events, "dead_letters", &dead);
		printf("events: %" PRId64 " unsent", unsent);
		if (unsent > 0)
			printf(" (the oldest for %" PRId64 " s)", oldest_s);
		printf(", %" PRId64 " without a receipt, %" PRId64 " dead letters\n", unreceipted, dead);
	}
	for (size_t i = 0; i < json_array_size(alarms); i++) {
		printf("alarm: ");
		events_print(json_array_get(alarms, i));
	}
}

static int show(int http_status, const struct strbuf *body, enum output_format format)
{
	json_t *answer = NULL;
	int64_t routes = 0, generation = 0, in_flight = 0;
	bool is_draining = false;

	if (http_status != 200 || json_parse(body->data, body->length, &answer, NULL) != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "the daemon answered %d and nothing readable", http_status);
	if (format == OUTPUT_TABLE) {
		const json_t *table = json_object_get(answer, "routes");
		const char *region = json_get_string(answer, "region"), *policy = json_get_string(answer, "policy");

		(void)json_get_integer(table, "count", &routes);
		(void)json_get_integer(table, "generation", &generation);
		(void)json_get_integer(answer, "in_flight", &in_flight);
		(void)json_get_boolean(answer, "draining", &is_draining);
		printf("region %s, policy %s, %" PRId64 " routes (generation %" PRId64 "), %" PRId64
		       " lookups in flight%s\n",
			region != NULL ? region : "?", policy != NULL ? policy : "?", routes, generation, in_flight,
			is_draining ? ", draining" : "");
		show_events(answer);
		printf("\n");
	}
	int exit_code = show_peers(answer, format);
	json_decref(answer);
	return exit_code;
}

int command_status(int argc, char **argv)
{
	static const struct command_option options[] = {
		ADMIN_OPTION_ROW(OPTION_ADMIN),
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward status", "[--admin WHERE]",
		"Shows a running daemon's region, policy and routes, how its events are doing, the last alarms\n"
		"(homeward events tail), and how each peer's URL is doing.",
		options, "homeward status --admin http://127.0.0.1:7401\n" };

	return admin_command(&usage, argc, argv, "GET", "/admin/v1/status", show);
}

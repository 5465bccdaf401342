/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh status`: what the brokers say of each link beside what a running
 * daemon knows by canaries and receipts.  Where no daemon answers, that part is
 * unknown, and what is unknown is not green: --links-only asks for less, for use
 * before daemons run.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/mesh.h"

enum { OPTION_LINKS_ONLY = MESH_OPTION_FIRST, OPTION_WATCH, OPTION_INTERVAL, INTERVAL_S = 2 };

struct status_request {
	const char *mesh_file;
	const char *admin; /* NULL: by the settings */
	bool is_links_only, is_watch;
	int64_t interval_s;
};

/* ---- showing ---- */

static bool show_link(const struct mesh *mesh, const struct mesh_link_status *link, const struct mesh_link_word *word,
	enum output_format format, struct output *output)
{
	static const struct mesh_link_word unknown = { -1, -1, -1, -1, -1, -1, -1, -1, -1 };
	const struct mesh_link_word *shown = word != NULL ? word : &unknown;
	struct strbuf reason = STRBUF_INIT;
	struct mesh_number_text texts[9];
	bool is_green;

	mesh_link_reason(mesh, link, word, &reason);
	is_green = reason.length == 0 && link->is_green;
	output_row(output, (const char *const[]){
				   mesh->regions[link->from].name,
				   mesh->regions[link->to].name,
				   is_green ? "true" : "false",
				   link->state,
				   link->has_binding ? "true" : "false",
				   link->has_consumer ? "true" : "false",
				   link->has_buffer ? mesh_number(link->message_count, format, &texts[0]) : NULL,
				   mesh_number(shown->canary_age_ms, format, &texts[1]),
				   mesh_number(shown->round_trip_p50_ms, format, &texts[2]),
				   mesh_number(shown->round_trip_p99_ms, format, &texts[3]),
				   mesh_number(shown->duplicates, format, &texts[4]),
				   mesh_number(shown->gaps, format, &texts[5]),
				   mesh_number(shown->unreceipted, format, &texts[6]),
				   mesh_number(shown->certificate_days, format, &texts[7]),
				   mesh_number(shown->alarms, format, &texts[8]),
				   reason.data,
			   });
	strbuf_release(&reason);
	return is_green;
}

/* Returns an exit code: EXIT_CODE_FAILED unless all are green. */
static int show_links(const struct mesh *mesh, const struct mesh_health *health, const json_t *matrix,
	bool is_links_only, enum output_format format)
{
	static const struct output_column columns[] = {
		{ "from", OUTPUT_TEXT },
		{ "to", OUTPUT_TEXT },
		{ "is_green", OUTPUT_BOOLEAN },
		{ "state", OUTPUT_TEXT },
		{ "has_binding", OUTPUT_BOOLEAN },
		{ "has_consumer", OUTPUT_BOOLEAN },
		{ "buffered_events", OUTPUT_NUMBER },
		{ "canary_age_ms", OUTPUT_NUMBER },
		{ "round_trip_p50_ms", OUTPUT_NUMBER },
		{ "round_trip_p99_ms", OUTPUT_NUMBER },
		{ "duplicates", OUTPUT_NUMBER },
		{ "gaps", OUTPUT_NUMBER },
		{ "unreceipted", OUTPUT_NUMBER },
		{ "certificate_days", OUTPUT_NUMBER },
		{ "alarms", OUTPUT_NUMBER },
		{ "reason", OUTPUT_TEXT },
	};
	struct output *output = output_create(stdout, format, columns, sizeof(columns) / sizeof(columns[0]));
	bool is_green = true;
	int exit_code;

	for (size_t i = 0; i < health->link_count; i++) {
		const struct mesh_link_status *link = &health->links[i];
		struct mesh_link_word word = mesh_link_word(
			matrix, mesh->regions[link->from].name, mesh->regions[link->to].name);

		is_green &= show_link(mesh, link, is_links_only ? NULL : &word, format, output);
	}
	exit_code = output_finish(output);
	return exit_code == EXIT_CODE_OK && !is_green ? EXIT_CODE_FAILED : exit_code;
}

static int show_status(
	struct mesh_session *session, const struct status_request *request, const struct command_line *line)
{
	struct mesh_health health;
	json_t *matrix;
	int exit_code;

	if (mesh_health_read(session->mesh, &session->api, &health) != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "out of memory");
	matrix = request->is_links_only ? NULL : mesh_ask_daemon(request->admin, line->config);
	exit_code = show_links(session->mesh, &health, matrix, request->is_links_only, line->format);
	json_decref(matrix);
	mesh_health_release(&health);
	return exit_code;
}

/* Until it is interrupted, or cannot write any more. */
static int watch(struct mesh_session *session, const struct status_request *request, const struct command_line *line)
{
	for (;;) {
		char now[CLOCK_TEXT_SIZE];

		if (line->format == OUTPUT_TABLE) {
			clock_format(clock_wall_us(clock_system()), now);
			printf("%s\n", now);
		}
		(void)show_status(session, request, line);
		if (line->format == OUTPUT_TABLE)
			puts("");
		if (fflush(stdout) != 0 || ferror(stdout))
			return EXIT_CODE_FAILED;
		mesh_pause(request->interval_s);
	}
}

static bool read_line(struct command_line *line, struct status_request *request)
{
	for (int id; (id = command_line_next(line)) != COMMAND_LINE_END;) {
		request->mesh_file = id == MESH_OPTION ? line->value : request->mesh_file;
		request->admin = id == MESH_OPTION_ADMIN ? line->value : request->admin;
		request->is_links_only |= id == OPTION_LINKS_ONLY;
		request->is_watch |= id == OPTION_WATCH;
		if (id == OPTION_INTERVAL && !command_line_number(line, 1, MESH_INTERVAL_S_MAX, &request->interval_s))
			return false;
	}
	return command_line_expect(line, 0, 0);
}

int mesh_run_status(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		MESH_OPTION_ADMIN_ROW,
		{ OPTION_LINKS_ONLY, "links-only", NULL, "by the brokers' word alone, before daemons run" },
		{ OPTION_WATCH, "watch", NULL, "again and again, until interrupted" },
		{ OPTION_INTERVAL, "interval", "SECONDS", "between two looks, 1 to 60 (default: 2)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh status",
		"[--mesh FILE] [--config FILE | --admin WHERE | --links-only] [--watch] [-o FORMAT]",
		"Every link: what it says of itself, whether the sending broker has its binding, whether its buffer "
		"is\n"
		"consumed, how many events wait, and what a running daemon knows: the canary's age, round trips,\n"
		"duplicates, gaps, events without a receipt, certificates, alarms.  A link is green only when all\n"
		"agree; without a daemon none is.  Exits with 1 unless all are green.",
		options, "homeward mesh status --mesh mesh.json --config /etc/homeward/homeward.conf\n" };
	struct status_request request = { .mesh_file = MESH_FILE_DEFAULT, .interval_s = INTERVAL_S };
	struct mesh_session session;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	if (!read_line(&line, &request))
		return line.exit_code;
	exit_code = mesh_session_begin(&session, request.mesh_file);
	if (exit_code == EXIT_CODE_OK)
		exit_code = request.is_watch ? watch(&session, &request, &line)
					     : show_status(&session, &request, &line);
	return mesh_session_end(&session, exit_code);
}

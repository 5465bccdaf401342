/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh heal`: restarts what is broken where that loses nothing, and says
 * what it did.  A link is broken by the brokers' word, or because a daemon knows
 * that its canary is missing; events without a receipt alone are no reason, for
 * they are sent again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/mesh.h"

enum { OPTION_DRY_RUN = MESH_OPTION_FIRST, OPTION_WATCH, OPTION_INTERVAL, INTERVAL_S = 5 };

struct heal_request {
	const char *mesh_file;
	const char *admin, *config;
	bool is_dry_run, is_watch;
	int64_t interval_s;
	enum output_format format;
};

/* Why it needs a restart; nothing when it does not. */
static void judge(
	const struct mesh *mesh, const struct mesh_link_status *link, const json_t *matrix, struct strbuf *reason)
{
	struct mesh_link_word word;

	if (strcmp(link->state, MESH_PAUSED) == 0)
		return;
	word = mesh_link_word(matrix, mesh->regions[link->from].name, mesh->regions[link->to].name);

	word.unreceipted = 0;
	/* What nobody knows is no sign that it is broken. */
	mesh_link_reason(mesh, link, mesh_link_is_silent(&word) ? &word : NULL, reason);
}

struct round {
	struct mesh_session *session;
	const struct heal_request *request;
	struct output *output; /* made with its first row */
	size_t broken, left;   /* left: broken and not restarted */
};

static void show(
	struct round *round, const struct mesh_link_status *link, const char *reason, const char *done, const char *why)
{
	static const struct output_column columns[] = {
		{ "from", OUTPUT_TEXT },
		{ "to", OUTPUT_TEXT },
		{ "broken", OUTPUT_TEXT },
		{ "done", OUTPUT_TEXT },
		{ "because", OUTPUT_TEXT },
	};
	const struct mesh_region *regions = round->session->mesh->regions;

	if (round->output == NULL)
		round->output = output_create(
			stdout, round->request->format, columns, sizeof(columns) / sizeof(columns[0]));
	if (link != NULL)
		output_row(round->output,
			(const char *const[]){ regions[link->from].name, regions[link->to].name, reason, done, why });
}

static void heal_link(
	struct round *round, const struct mesh_link_status *link, const char *reason, struct mesh_heal_state *state)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());
	struct strbuf why = STRBUF_INIT;
	enum mesh_heal_outcome outcome;

	round->broken++;
	if (!mesh_heal_may_try(state, now_ms)) {
		round->left++;
		return;
	}
	outcome = mesh_heal_link(round->session->mesh, &round->session->api, link, round->request->is_dry_run, &why);
	mesh_heal_tried(state, now_ms);
	round->left += outcome != MESH_HEAL_RESTARTED;
	show(round, link, reason, mesh_heal_outcome_name(outcome), why.data);
	strbuf_release(&why);
}

/* One look at every link. */
static int heal_once(struct round *round, struct mesh_heal_state *states)
{
	const struct heal_request *request = round->request;
	struct mesh_health health;
	json_t *matrix;

	round->broken = round->left = 0;
	round->output = NULL;
	if (mesh_health_read(round->session->mesh, &round->session->api, &health) != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "out of memory");
	matrix = mesh_ask_daemon(request->admin, request->config);
	for (size_t i = 0; i < health.link_count; i++) {
		struct strbuf reason = STRBUF_INIT;

		judge(round->session->mesh, &health.links[i], matrix, &reason);
		if (reason.length == 0)
			states[i] = (struct mesh_heal_state){ 0, 0 };
		else
			heal_link(round, &health.links[i], reason.data, &states[i]);
		strbuf_release(&reason);
	}
	json_decref(matrix);
	mesh_health_release(&health);
	if (round->output == NULL && !request->is_watch && request->format != OUTPUT_TABLE)
		show(round, NULL, NULL, NULL, NULL);
	return round->output != NULL ? output_finish(round->output) : EXIT_CODE_OK;
}

static int heal(struct mesh_session *session, const struct heal_request *request)
{
	size_t regions = session->mesh->region_count;
	struct round round = { session, request, NULL, 0, 0 };
	struct mesh_heal_state *states = calloc(regions * regions + 1, sizeof(*states));
	int exit_code = states != NULL ? EXIT_CODE_OK : command_fail(EXIT_CODE_FAILED, "out of memory");

	do {
		if (exit_code == EXIT_CODE_OK)
			exit_code = heal_once(&round, states);
		if (exit_code == EXIT_CODE_OK && request->is_watch)
			mesh_pause(request->interval_s);
	} while (exit_code == EXIT_CODE_OK && request->is_watch);
	if (exit_code == EXIT_CODE_OK && round.broken == 0 && request->format == OUTPUT_TABLE)
		puts("No link is broken.");
	free(states);
	return exit_code == EXIT_CODE_OK && round.left > 0 ? EXIT_CODE_FAILED : exit_code;
}

int mesh_run_heal(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		MESH_OPTION_ADMIN_ROW,
		{ OPTION_DRY_RUN, "dry-run", NULL, "say what would be done, and do nothing" },
		{ OPTION_WATCH, "watch", NULL, "again and again, until interrupted; says only what it does" },
		{ OPTION_INTERVAL, "interval", "SECONDS", "between two looks, 1 to 60 (default: 5)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh heal",
		"[--mesh FILE] [--config FILE | --admin WHERE] [--dry-run] [--watch] [-o FORMAT]",
		"Restarts broken links.  Only ours, only where the broker keeps the buffer over a restart, and none "
		"that\n"
		"starts just now; a link is tried four times at most, after 15 s, 30 s and a minute, until it was "
		"green.\n"
		"Exits with 1 when a broken link was left as it is.",
		options, "homeward mesh heal --mesh mesh.json --dry-run\n" };
	struct heal_request request = { .mesh_file = MESH_FILE_DEFAULT, .interval_s = INTERVAL_S };
	struct mesh_session session;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		request.mesh_file = id == MESH_OPTION ? line.value : request.mesh_file;
		request.admin = id == MESH_OPTION_ADMIN ? line.value : request.admin;
		request.is_dry_run |= id == OPTION_DRY_RUN;
		request.is_watch |= id == OPTION_WATCH;
		if (id == OPTION_INTERVAL && !command_line_number(&line, 1, MESH_INTERVAL_S_MAX, &request.interval_s))
			return line.exit_code;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	request.config = line.config;
	request.format = line.format;
	exit_code = mesh_session_begin(&session, request.mesh_file);
	if (exit_code == EXIT_CODE_OK)
		exit_code = heal(&session, &request);
	return mesh_session_end(&session, exit_code);
}

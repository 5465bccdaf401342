/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh pause` and `resume`: one link, FROM -> TO, stops and goes on;
 * events for TO wait in the buffer meanwhile.
 */
#include <stdio.h>

#include "cli/mesh.h"

static int act(struct mesh_session *session, struct command_line *line, bool is_pause)
{
	const struct mesh *mesh = session->mesh;
	const char *const *names = (const char *const *)line->arguments;
	size_t from = mesh_region_find(mesh, names[0]), to = mesh_region_find(mesh, names[1]);
	enum status status;

	if (from == mesh->region_count || to == mesh->region_count)
		return command_fail(EXIT_CODE_USAGE, "the mesh file has no region \"%s\"",
			from == mesh->region_count ? names[0] : names[1]);
	if (!mesh_has_link(mesh, from, to))
		return command_fail(EXIT_CODE_USAGE, "the mesh file has no link from %s to %s", names[0], names[1]);
	status = is_pause ? mesh_pause_link(mesh, &session->api, from, to, &session->why)
			  : mesh_resume_link(mesh, &session->api, from, to, &session->why);
	if (status != STATUS_OK)
		return command_fail(status == STATUS_CONFLICT ? EXIT_CODE_FAILED : command_exit_code(status), "%s",
			session->why.data);
	if (is_pause)
		printf("%s -> %s is paused: events wait at %s.  homeward mesh resume %s %s\n", names[0], names[1],
			names[0], names[0], names[1]);
	else
		printf("%s -> %s goes on.\n", names[0], names[1]);
	return EXIT_CODE_OK;
}

static int run(const struct command_usage *usage, int argc, char **argv, bool is_pause)
{
	const char *path = MESH_FILE_DEFAULT;
	struct mesh_session session;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, usage, argc, argv);
	while (command_line_next(&line) != COMMAND_LINE_END)
		path = line.value;
	if (!command_line_expect(&line, 2, 2))
		return line.exit_code;
	exit_code = mesh_session_begin(&session, path);
	if (exit_code == EXIT_CODE_OK)
		exit_code = act(&session, &line, is_pause);
	return mesh_session_end(&session, exit_code);
}

static const struct command_option options[] = { MESH_OPTION_ROW, COMMAND_OPTION_END };

int mesh_run_pause(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward mesh pause", "[--mesh FILE] FROM TO",
		"Stops the link by which TO fetches the events of FROM.  They wait in the buffer at FROM, up to its\n"
		"bound; plan and apply leave the link paused until it is resumed.",
		options, "homeward mesh pause na eu --mesh mesh.json\n" };

	return run(&usage, argc, argv, true);
}

int mesh_run_resume(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward mesh resume", "[--mesh FILE] FROM TO",
		"Lets a paused link go on: what waits in the buffer is fetched.", options,
		"homeward mesh resume na eu --mesh mesh.json\n" };

	return run(&usage, argc, argv, false);
}

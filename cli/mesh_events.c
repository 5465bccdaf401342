/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh events`: when each link changed last, by its broker's word (3.10
 * keeps no more of its past), and what a daemon said of links, peers, gaps and
 * certificates.  One a line, so that it can be followed and searched.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/events.h"
#include "cli/mesh.h"

enum { OPTION_FOLLOW = MESH_OPTION_FIRST };

static const char *const mesh_types[] = { "homeward.link.", "homeward.peer.", "homeward.gap",
	"homeward.certificate.expiring", NULL };

static const char *text_of(const json_t *item, const char *member)
{
	const char *text = json_get_string(item, member);

	return text != NULL ? text : "";
}

bool mesh_link_change(const struct mesh *mesh, const json_t *item, struct mesh_link_change *change_out)
{
	*change_out = (struct mesh_link_change){ text_of(item, "timestamp"),
		mesh_link_origin(mesh, text_of(item, "uri")), text_of(item, "status"), text_of(item, "error") };
	return change_out->from[0] != '\0';
}

static void show_change(const struct mesh_link_change *change, const char *to, enum output_format format)
{
	json_t *row;
	char *text;

	if (format != OUTPUT_JSON) {
		printf("link %s UTC %s -> %s %s%s%.200s\n", change->at, change->from, to, change->state,
			change->error[0] != '\0' ? ": " : "", change->error);
		return;
	}
	row = json_pack("{s:{s:s,s:s,s:s,s:s,s:s}}", "link", "at", change->at, "from", change->from, "to", to, "state",
		change->state, "error", change->error);
	text = json_dumps(row, JSON_COMPACT);
	printf("%s\n", text != NULL ? text : "");
	free(text);
	json_decref(row);
}

/* Brokers that do not answer are said on stderr; the others are still read. */
static int show_links(const struct mesh_session *session, enum output_format format)
{
	const struct mesh *mesh = session->mesh;
	int exit_code = EXIT_CODE_OK;

	for (size_t to = 0; to < mesh->region_count; to++) {
		struct strbuf path = STRBUF_INIT, why = STRBUF_INIT;
		int http_status = 0;
		json_t *list = NULL;
		enum status status;

		strbuf_adds(&path, "/api/federation-links/");
		strbuf_add_percent(&path, mesh->regions[to].vhost, strlen(mesh->regions[to].vhost));
		status = session->api.call(session->api.arg, to, "GET", path.data, NULL, &http_status, &list, &why);
		if (status == STATUS_OK && http_status != 200)
			strbuf_addf(&why, "%s: %s: %d", mesh->regions[to].name, path.data, http_status);
		for (size_t i = 0; i < json_array_size(list); i++) {
			struct mesh_link_change change;

			if (mesh_link_change(mesh, json_array_get(list, i), &change))
				show_change(&change, mesh->regions[to].name, format);
		}
		if (why.length > 0)
			exit_code = command_fail(EXIT_CODE_UNREACHABLE, "%s", why.data);
		json_decref(list);
		strbuf_release(&path);
		strbuf_release(&why);
	}
	return fflush(stdout) != 0 ? EXIT_CODE_FAILED : exit_code;
}

int mesh_run_events(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		MESH_OPTION_ADMIN_ROW,
		{ OPTION_FOLLOW, "follow", NULL, "go on with what the daemon says, until interrupted" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh events",
		"[--mesh FILE] [--config FILE | --admin WHERE] [--follow] [-o json]",
		"When each link changed last, by its broker's word, and what a daemon said of links, peers, gaps and\n"
		"certificates: one a line, or as JSON.  Exits with 69 when a broker or the daemon could not be asked.",
		options, "homeward mesh events --mesh mesh.json --follow\n" };
	const char *path = MESH_FILE_DEFAULT;
	struct strbuf where = STRBUF_INIT;
	struct mesh_session session;
	struct command_line line;
	bool follows = false;
	int exit_code, said;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		path = id == MESH_OPTION ? line.value : path;
		follows |= id == OPTION_FOLLOW;
		if (id == MESH_OPTION_ADMIN)
			strbuf_adds(&where, line.value);
	}
	if (!line.is_over && line.format == OUTPUT_CSV)
		command_line_wrong(&line, "-o is table or json");
	if (!command_line_expect(&line, 0, 0)) {
		strbuf_release(&where);
		return line.exit_code;
	}
	exit_code = mesh_session_begin(&session, path);
	if (exit_code == EXIT_CODE_OK && where.length == 0 && admin_where(line.config, &where) != STATUS_OK)
		exit_code = EXIT_CODE_CONFIGURATION;
	if (exit_code == EXIT_CODE_OK) {
		exit_code = show_links(&session, line.format);
		said = events_show(where.data, mesh_types, line.format, follows);
		exit_code = said != EXIT_CODE_OK ? said : exit_code;
	}
	strbuf_release(&where);
	return mesh_session_end(&session, exit_code);
}

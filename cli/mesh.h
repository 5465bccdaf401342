/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `homeward mesh` share: the mesh file and its brokers, opened
 * and closed together, and the subcommands.  Private to cli.
 */
#ifndef CLI_MESH_H
#define CLI_MESH_H

#include "cli/command.h"
#include "federation/federation.h"

enum { MESH_OPTION = 'm', MESH_OPTION_ADMIN = COMMAND_ID_FIRST, MESH_OPTION_FIRST };
enum { MESH_INTERVAL_S_MAX = 60 };

#define MESH_FILE_DEFAULT "/etc/homeward/mesh.json"
#define MESH_OPTION_ROW                                                                                                \
	{                                                                                                              \
		MESH_OPTION, "mesh", "FILE", "mesh file (default: " MESH_FILE_DEFAULT ")"                              \
	}

#define MESH_OPTION_ADMIN_ROW                                                                                          \
	{                                                                                                              \
		MESH_OPTION_ADMIN, "admin", "WHERE",                                                                   \
			"a daemon: http://host:port or unix:/path (default: from the settings)"                        \
	}

struct mesh_session {
	struct mesh *mesh;
	struct mesh_client *client;
	struct mesh_api api;
	struct strbuf why;
};

/* Returns an exit code, having said what is wrong; mesh_session_end() is called in any case. */
int mesh_session_begin(struct mesh_session *session, const char *path);
/* Returns exit_code. */
int mesh_session_end(struct mesh_session *session, int exit_code);

/* What a daemon knows of the mesh (GET /admin/v1/mesh); NULL when none can be asked, and why not is on stderr. */
json_t *mesh_ask_daemon(const char *admin, const char *config);
/* Between two looks; what was printed is seen before. */
void mesh_pause(int64_t seconds);

/* -1 is unknown. */
struct mesh_number_text {
	char text[24];
};
const char *mesh_number(int64_t value, enum output_format format, struct mesh_number_text *text);

/* What is not said of a new region's entry, like another region's: with its own name where that one's begins a file's. */
void mesh_fill_entry(json_t *entry, const json_t *like, const char *model, const char *name);

/* What a broker tells of a link in its list: when it changed last, and to what. */
struct mesh_link_change {
	const char *at, *from, *state, *error; /* borrowed; error "" for none */
};
/* False when the link's other end is no region of the mesh. */
bool mesh_link_change(const struct mesh *mesh, const json_t *item, struct mesh_link_change *change_out);

int mesh_run_events(int argc, char **argv);
int mesh_run_add_region(int argc, char **argv);
int mesh_run_trace(int argc, char **argv);
int mesh_run_doctor(int argc, char **argv);
int mesh_run_retire(int argc, char **argv);
int mesh_run_status(int argc, char **argv);
int mesh_run_heal(int argc, char **argv);
int mesh_run_pause(int argc, char **argv);
int mesh_run_resume(int argc, char **argv);

#endif

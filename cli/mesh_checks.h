/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with a mesh, as a list for people: how bad, a code, where, the
 * evidence, what to do and the command for it.  The judges are pure; private to
 * cli.
 */
#ifndef CLI_MESH_CHECKS_H
#define CLI_MESH_CHECKS_H

#include <jansson.h>

#include "cli/handshake.h"
#include "cli/mesh.h"

enum mesh_severity {
	MESH_CRITICAL, /* events or lookups fail, or soon will */
	MESH_WARNING,
	MESH_NOTE /* could not be looked at, or is only good to know: no reason to fail */
};

struct mesh_check {
	enum mesh_severity severity;
	const char *code; /* "MESH_020" */
	char *where, *evidence, *command;
	const char *fix;
	size_t order; /* as it was found */
};

struct mesh_checks {
	struct mesh_check *items;
	size_t count, capacity;
	bool has_failed; /* out of memory */
};

void mesh_checks_release(struct mesh_checks *checks);
/* command: NULL for none.  fix and code are not copied. */
void mesh_checks_add(struct mesh_checks *checks, enum mesh_severity severity, const char *code, const char *where,
	const char *fix, const char *command, const char *format, ...) __attribute__((format(printf, 7, 8)));
/* The worst first. */
void mesh_checks_sort(struct mesh_checks *checks);
/* Returns an exit code: EXIT_CODE_FAILED when there is more than notes. */
int mesh_checks_show(const struct mesh_checks *checks, enum output_format format);

/* ---- judges ---- */

/* What `homeward mesh verify` found, with how bad it is and the command. */
void mesh_judge_finding(struct mesh_checks *checks, const struct mesh_finding *finding, const char *mesh_file);
/* Answers of GET /api/overview and /api/nodes. */
void mesh_judge_broker(
	struct mesh_checks *checks, const struct mesh_region *region, const json_t *overview, const json_t *nodes);
/* Whose certificate it is: the common name of a broker's (uri NULL), or the URI of a peer's. */
void mesh_judge_handshake(struct mesh_checks *checks, const char *where, const char *url, const char *region,
	const char *uri, const struct handshake *handshake, int64_t now_s);
void mesh_judge_clock(struct mesh_checks *checks, const char *where, int64_t ahead_ms);
/* is_synchronized: by this machine's kernel. */
void mesh_judge_own_clock(struct mesh_checks *checks, bool is_synchronized);

/* ---- looking at one region: mesh_inspect.c ---- */

struct mesh_inspection {
	struct mesh_session *session;
	const struct settings *settings; /* this region's; NULL: its certificate is not known */
	struct mesh_checks *checks;
};
/* Its broker's management, the handshake with each of its addresses, and its clock. */
void mesh_inspect_region(const struct mesh_inspection *inspection, size_t region);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mesh file, its brokers and a running daemon, for the subcommands of
 * `homeward mesh`.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/mesh.h"

int mesh_session_begin(struct mesh_session *session, const char *path)
{
	enum status status;

	*session = (struct mesh_session){ .mesh = NULL };
	strbuf_init(&session->why);
	status = mesh_load(path, &session->mesh, &session->why);
	if (status != STATUS_OK) {
		fprintf(stderr, "%s%s", session->why.data,
			session->why.length > 0 && session->why.data[session->why.length - 1] == '\n' ? "" : "\n");
		return command_fail(EXIT_CODE_CONFIGURATION, "the mesh file cannot be used");
	}
	status = mesh_client_create(session->mesh, &session->client, &session->why);
	if (status != STATUS_OK)
		return command_fail(EXIT_CODE_CONFIGURATION, "%s", session->why.data);
	session->api = mesh_client_api(session->client);
	return EXIT_CODE_OK;
}

int mesh_session_end(struct mesh_session *session, int exit_code)
{
	mesh_client_destroy(session->client);
	mesh_destroy(session->mesh);
	strbuf_release(&session->why);
	return exit_code;
}

json_t *mesh_ask_daemon(const char *admin, const char *config)
{
	struct strbuf where = STRBUF_INIT, body = STRBUF_INIT, why = STRBUF_INIT;
	json_t *matrix = NULL;
	int http_status = 0;
	enum status status = STATUS_OK;

	if (admin != NULL)
		strbuf_adds(&where, admin);
	else if (access(config, R_OK) != 0)
		strbuf_addf(&why, "%s cannot be read", config);
	else
		status = admin_where(config, &where);
	if (status == STATUS_OK && where.length > 0)
		status = admin_call(where.data, "GET", "/admin/v1/mesh", ADMIN_CALL_MS, &http_status, &body, &why);
	if (status == STATUS_OK && where.length > 0 &&
		(http_status != 200 || json_parse(body.data, body.length, &matrix, NULL) != STATUS_OK))
		strbuf_addf(&why, "the daemon at %s answered %d: it runs no mesh", where.data, http_status);
	if (why.length > 0)
		fprintf(stderr,
			"homeward: canaries and receipts are unknown: %s (--config or --admin names a daemon)\n",
			why.data);
	strbuf_release(&where);
	strbuf_release(&body);
	strbuf_release(&why);
	return matrix;
}

void mesh_pause(int64_t seconds)
{
	struct timespec pause = { seconds, 0 };

	fflush(stdout);
	nanosleep(&pause, NULL);
}

const char *mesh_number(int64_t value, enum output_format format, struct mesh_number_text *text)
{
	if (value < 0)
		return format == OUTPUT_TABLE ? "unknown" : NULL;
	(void)snprintf(text->text, sizeof(text->text), "%lld", (long long)value);
	return text->text;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh doctor`: everything that can be looked at from here, the worst
 * first, for a person who was woken.  What cannot be looked at is a note and not
 * silence, and one thing that hangs holds up the others only until its deadline.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/mesh_checks.h"

#define WAITED_S 60 /* longer than a restart of a broker or a peer takes */

struct doctor {
	const char *mesh_file, *admin, *config;
	struct mesh_session session;
	struct settings *settings;
	struct mesh_checks checks;
};

/* ---- settings ---- */

static void read_settings(struct doctor *doctor)
{
	struct strbuf errors = STRBUF_INIT, command = STRBUF_INIT;

	strbuf_addf(&command, "homeward config check --config %s", doctor->config);
	if (settings_read(doctor->config, &doctor->settings, &errors) != STATUS_OK)
		mesh_checks_add(&doctor->checks, doctor->admin != NULL ? MESH_NOTE : MESH_WARNING, "MESH_020",
			"settings", "mend the file, or name another with --config", command.data, "%.*s",
			(int)strcspn(errors.data, "\n"), errors.data);
	strbuf_release(&errors);
	strbuf_release(&command);
}

static void compare_settings(struct doctor *doctor)
{
	static const char fix[] = "the mesh file and the settings must agree";
	const struct mesh *mesh = doctor->session.mesh;
	const struct settings *settings = doctor->settings;
	size_t own = mesh_region_find(mesh, settings->region);

	if (strcmp(mesh->trust_domain, settings->trust_domain) != 0)
		mesh_checks_add(&doctor->checks, MESH_CRITICAL, "MESH_021", settings->region, fix, NULL,
			"the settings' trust domain is %s, the mesh file's %s", settings->trust_domain,
			mesh->trust_domain);
	if (own == mesh->region_count) {
		mesh_checks_add(&doctor->checks, MESH_CRITICAL, "MESH_021", settings->region, fix, NULL,
			"the mesh file has no region %s", settings->region);
		return;
	}
	for (size_t i = 0; i < mesh->region_count; i++)
		if (mesh_has_link(mesh, own, i) && settings_peer(settings, mesh->regions[i].name) == NULL)
			mesh_checks_add(&doctor->checks, MESH_WARNING, "MESH_021", settings->region, fix, NULL,
				"the mesh file has the region %s, \"peers\" in the settings has not",
				mesh->regions[i].name);
	for (size_t i = 0; i < settings->peer_count; i++)
		if (mesh_region_find(mesh, settings->peers[i].region) == mesh->region_count)
			mesh_checks_add(&doctor->checks, MESH_WARNING, "MESH_021", settings->region, fix, NULL,
				"\"peers\" in the settings has the region %s, the mesh file has not",
				settings->peers[i].region);
}

/* ---- the daemon ---- */

static void ask_ready(struct doctor *doctor, const char *where)
{
	struct strbuf body = STRBUF_INIT, why = STRBUF_INIT;
	int http_status = 0;

	if (admin_call(where, "GET", "/readyz?verbose", ADMIN_CALL_MS, &http_status, &body, &why) != STATUS_OK)
		mesh_checks_add(&doctor->checks, MESH_CRITICAL, "MESH_022", where,
			"see that homeward runs there, and what its log says", "journalctl -u homeward", "%s",
			why.data);
	else if (http_status != 200)
		mesh_checks_add(&doctor->checks, MESH_CRITICAL, "MESH_022", where,
			"the checks that fail are named in the evidence", "homeward status", "not ready: %.400s",
			body.data);
	strbuf_release(&body);
	strbuf_release(&why);
}

/* Links that the brokers call good and daemons do not. */
static void judge_links(struct doctor *doctor, const struct mesh_health *health, const json_t *matrix)
{
	const struct mesh *mesh = doctor->session.mesh;
	struct strbuf command = STRBUF_INIT;

	strbuf_addf(&command, "homeward mesh trace --mesh %s", doctor->mesh_file);
	for (size_t i = 0; matrix != NULL && i < health->link_count; i++) {
		const struct mesh_link_status *link = &health->links[i];
		const char *from = mesh->regions[link->from].name, *to = mesh->regions[link->to].name;
		struct mesh_link_word word = mesh_link_word(matrix, from, to);
		struct strbuf reason = STRBUF_INIT, where = STRBUF_INIT;

		strbuf_addf(&where, "%s -> %s", from, to);
		if (link->is_green)
			mesh_link_reason(mesh, link, &word, &reason);
		if (reason.length > 0)
			mesh_checks_add(&doctor->checks, mesh_link_is_silent(&word) ? MESH_CRITICAL : MESH_WARNING,
				"MESH_029", where.data,
				"the brokers call it good: see whether homeward runs at both ends", command.data, "%s",
				reason.data);
		strbuf_release(&reason);
		strbuf_release(&where);
	}
	strbuf_release(&command);
}

static json_t *ask_daemon(struct doctor *doctor)
{
	struct strbuf where = STRBUF_INIT;
	json_t *matrix = NULL;

	if (doctor->admin != NULL)
		strbuf_adds(&where, doctor->admin);
	else if (doctor->settings != NULL)
		(void)admin_where_of(doctor->settings, &where);
	if (where.length == 0)
		mesh_checks_add(&doctor->checks, MESH_NOTE, "MESH_033", "daemon",
			"say --config, or --admin where the port is not fixed", NULL,
			"no daemon could be asked: canaries and receipts are unknown");
	else {
		ask_ready(doctor, where.data);
		matrix = mesh_ask_daemon(where.data, doctor->config);
	}
	strbuf_release(&where);
	return matrix;
}

/* ---- the tables ---- */

struct depth {
	const char *what, *fix, *command;
};

static void judge_depths(struct doctor *doctor, const PGresult *rows)
{
	static const struct depth depths[] = {
		{ "events of the outbox could not be sent", "the broker of this region does not take them",
			"homeward events outbox" },
		{ "events have no receipt", "trace a link to the region they are for", "homeward events outbox" },
		{ "events were not passed on to homeward.delivered", "see that the broker takes them",
			"homeward events inbox" },
		{ "dead letters", "see why each was not taken", "homeward events dead" },
		{ "events wait for an earlier one", "the earlier ones did not come: trace the link",
			"homeward events inbox" },
	};

	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++)
		if (strcmp(PQgetvalue(rows, 0, (int)i), "0") != 0)
			mesh_checks_add(&doctor->checks, MESH_WARNING, "MESH_030", doctor->settings->region,
				depths[i].fix, depths[i].command, "%s %s", PQgetvalue(rows, 0, (int)i), depths[i].what);
}

static void read_tables(struct doctor *doctor)
{
	static const char query[] =
		"SELECT (SELECT count(*) FROM homeward.outbox WHERE sent_at IS NULL AND refused_at IS NULL"
		" AND created_at < now() - $1::int * interval '1 second'),"
		" (SELECT count(*) FROM homeward.outbox WHERE sent_at < now() - $1::int * interval '1 second'"
		" AND receipted_at IS NULL AND refused_at IS NULL AND destination <> 'all'),"
		" (SELECT count(*) FROM homeward.inbox WHERE delivered_at IS NULL"
		" AND received_at < now() - $1::int * interval '1 second'),"
		" (SELECT count(*) FROM homeward.dead_letters),"
		" (SELECT count(*) FROM homeward.held WHERE NOT is_taken"
		" AND held_at < now() - $1::int * interval '1 second')";
	char waited[16];
	const char *parameters[] = { waited };
	struct database_session *session = NULL;
	struct strbuf dsn = STRBUF_INIT, why = STRBUF_INIT;
	PGresult *rows = NULL;
	enum status status = settings_dsn(doctor->settings, &dsn, &why);

	(void)snprintf(waited, sizeof(waited), "%d", WAITED_S);
	if (status == STATUS_OK)
		status = database_session_open(dsn.data, COMMAND_DATABASE_OPEN_MS, &session, &why);
	if (status == STATUS_OK)
		status = database_session_query(session, query, parameters, 1, COMMAND_STATEMENT_MS, &rows, &why);
	if (status == STATUS_OK)
		judge_depths(doctor, rows);
	else
		mesh_checks_add(&doctor->checks, MESH_CRITICAL, "MESH_030", doctor->settings->region,
			"see that PostgreSQL runs", "homeward db status", "its database: %s", why.data);
	PQclear(rows);
	database_session_close(session);
	strbuf_release(&dsn);
	strbuf_release(&why);
}

/* ---- the whole ---- */

static int examine(struct doctor *doctor)
{
	struct mesh_session *session = &doctor->session;
	const struct mesh_inspection inspection = { session, doctor->settings, &doctor->checks };
	struct timex time = { .modes = 0 };
	struct mesh_health health;
	json_t *matrix;

	if (mesh_health_read(session->mesh, &session->api, &health) != STATUS_OK)
		return command_fail(EXIT_CODE_FAILED, "out of memory");
	for (size_t i = 0; i < health.finding_count; i++)
		mesh_judge_finding(&doctor->checks, &health.findings[i], doctor->mesh_file);
	for (size_t i = 0; i < session->mesh->region_count; i++)
		mesh_inspect_region(&inspection, i);
	matrix = ask_daemon(doctor);
	judge_links(doctor, &health, matrix);
	json_decref(matrix);
	mesh_health_release(&health);
	mesh_judge_own_clock(&doctor->checks, adjtimex(&time) != TIME_ERROR);
	if (doctor->settings == NULL)
		return EXIT_CODE_OK;
	compare_settings(doctor);
	if (doctor->settings->events.broker[0] != '\0')
		read_tables(doctor);
	return EXIT_CODE_OK;
}

int mesh_run_doctor(int argc, char **argv)
{
	static const struct command_option options[] = { MESH_OPTION_ROW, MESH_OPTION_ADMIN_ROW, COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward mesh doctor",
		"[--mesh FILE] [--config FILE] [--admin WHERE] [-o FORMAT]",
		"Looks at everything that can be seen from here, and lists what is wrong, the worst first, each with "
		"a\n"
		"code, the evidence, what to do and the command for it: settings, every broker and peer address (TLS "
		"as\n"
		"this region, names, ends, clocks), what verify and status look at, alarms, tables, this machine's "
		"clock.\n"
		"Changes nothing.  Exits with 1 when something is wrong; notes are no reason.",
		options, "homeward mesh doctor --mesh mesh.json --config /etc/homeward/homeward.conf\n" };
	struct doctor doctor = { .mesh_file = MESH_FILE_DEFAULT };
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		doctor.mesh_file = id == MESH_OPTION ? line.value : doctor.mesh_file;
		doctor.admin = id == MESH_OPTION_ADMIN ? line.value : doctor.admin;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	doctor.config = line.config;
	exit_code = mesh_session_begin(&doctor.session, doctor.mesh_file);
	if (exit_code == EXIT_CODE_OK) {
		read_settings(&doctor);
		exit_code = examine(&doctor);
	}
	if (exit_code == EXIT_CODE_OK) {
		mesh_checks_sort(&doctor.checks);
		exit_code = mesh_checks_show(&doctor.checks, line.format);
	}
	mesh_checks_release(&doctor.checks);
	settings_destroy(doctor.settings);
	return mesh_session_end(&doctor.session, exit_code);
}

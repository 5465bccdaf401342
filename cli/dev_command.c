/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward dev`: a mesh of regions on this machine, each with a PostgreSQL of its
 * own, for trying, for the demo and for scenarios.  Whatever way `up` fails or is
 * interrupted, it takes down what it started and removes its folder.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/dev.h"

enum {
	OPTION_REGIONS = COMMAND_ID_FIRST,
	OPTION_DIR,
	OPTION_FOREGROUND,
	OPTION_ENGINES,
	OPTION_REGION,
	OPTION_NO_DATABASE,
	OPTION_DATABASE_ONLY,
	OPTION_BROKER_ONLY,
	OPTION_EVENTS,
	OPTION_NO_EVENTS,
	ENGINES_MAX = 64
};

static int fail(enum status status, struct strbuf *why)
{
	int exit_code = command_exit_code(status);

	if (status == STATUS_DRAINING)
		exit_code = command_fail(EXIT_CODE_FAILED, "interrupted");
	else
		command_fail(exit_code, "%s", why->length > 0 ? why->data : status_name(status));
	strbuf_release(why);
	return exit_code;
}

static int read_regions(struct command_line *line, const char *list, struct dev_mesh *mesh)
{
	while (*list != '\0') {
		struct dev_region *region = &mesh->regions[mesh->region_count];
		size_t length = strcspn(list, ",");

		if (mesh->region_count == DEV_REGIONS_MAX)
			return command_line_wrong(line, "at most %d regions", DEV_REGIONS_MAX);
		*region = (struct dev_region){ .api_port = 0 };
		if (length < sizeof(region->name))
			memcpy(region->name, list, length);
		/* Folders of the mesh itself have these names. */
		if (!region_is_valid(region->name) || strcmp(region->name, "pki") == 0 ||
			strcmp(region->name, "ca") == 0 || strcmp(region->name, "crl") == 0)
			return command_line_wrong(line, "\"%.*s\" cannot be a region's name", (int)length, list);
		if (dev_mesh_region(mesh, region->name) != NULL)
			return command_line_wrong(line, "region %s is named twice", region->name);
		mesh->region_count++;
		list += length + (list[length] == ',');
	}
	return mesh->region_count > 0 ? EXIT_CODE_OK : command_line_wrong(line, "no region is named");
}

static int print_json(const struct dev_mesh *mesh)
{
	json_t *json = dev_mesh_json(mesh);
	char *text = json != NULL ? json_dumps(json, JSON_INDENT(1)) : NULL;
	bool is_written = text != NULL && puts(text) >= 0;

	free(text);
	json_decref(json);
	return is_written && fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static int take_down(struct dev_mesh *mesh)
{
	struct strbuf why = STRBUF_INIT;
	enum status status;

	dev_stop(mesh, NULL, DEV_DATABASE | DEV_DAEMON | DEV_BROKER);
	dev_mesh_forget(mesh);
	status = dev_folder_remove(mesh, &why);
	if (status != STATUS_OK)
		return fail(status, &why);
	strbuf_release(&why);
	return EXIT_CODE_OK;
}

static int bring_up(struct dev_mesh *mesh, const char *folder, enum output_format format, bool stays)
{
	int64_t began_ms = clock_monotonic_ms(clock_system());
	struct strbuf why = STRBUF_INIT;
	enum status status;

	dev_signals_block();
	status = dev_postgres_find(mesh, &why);
	if (status == STATUS_OK)
		status = dev_folder_make(mesh, folder, &why);
	if (status != STATUS_OK)
		return fail(status, &why);
	status = dev_up(mesh, &why);
	if (status != STATUS_OK) {
		(void)take_down(mesh);
		return fail(status, &why);
	}
	if (format == OUTPUT_JSON)
		(void)print_json(mesh);
	else
		dev_print_story(mesh);
	fflush(stdout);
	fprintf(stderr, "up in %.1f s\n", (double)(clock_monotonic_ms(clock_system()) - began_ms) / 1000);
	if (!stays)
		return EXIT_CODE_OK;
	fprintf(stderr, "Ctrl-C takes it down\n");
	fflush(stdout);
	dev_wait_for_end();
	return take_down(mesh);
}

static int run_up(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_REGIONS, "regions", "LIST", "names, separated by commas (na,eu,ap)" },
		{ OPTION_DIR, "dir", "DIR", "folder for all of it, new or empty (default: a new one in /tmp)" },
		{ OPTION_FOREGROUND, "foreground", NULL, "stay, and take everything down at Ctrl-C" },
		{ OPTION_ENGINES, "engines", "N", "engines of each daemon (1)" },
		{ OPTION_EVENTS, "events", NULL,
			"with a RabbitMQ for each region (the default where it is installed)" },
		{ OPTION_NO_EVENTS, "no-events", NULL, "without brokers, and up sooner" },
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward dev up", "[--regions LIST] [--dir DIR] [--foreground]",
		"Brings up a mesh of regions on this machine: a private PostgreSQL and RabbitMQ for each,\n"
		"certificates, policies, callers, stations, drivers and cards, and the daemons on free ports.",
		options, "homeward dev up\nhomeward dev up --regions na,eu --foreground\n" };
	struct dev_mesh mesh = { .engines = 1, .has_brokers = dev_broker_is_installed() };
	const char *regions = "na,eu,ap", *folder = NULL;
	struct command_line line;
	bool stays = false;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_REGIONS)
			regions = line.value;
		else if (id == OPTION_DIR)
			folder = line.value;
		else if (id == OPTION_FOREGROUND)
			stays = true;
		else if (id == OPTION_EVENTS || id == OPTION_NO_EVENTS)
			mesh.has_brokers = id == OPTION_EVENTS;
		else
			(void)command_line_number(&line, 0, ENGINES_MAX, &mesh.engines);
	}
	if (mesh.has_brokers && !dev_broker_is_installed())
		return command_fail(EXIT_CODE_UNREACHABLE, "no RabbitMQ here: `apt-get install rabbitmq-server`");
	if (!command_line_expect(&line, 0, 0) || read_regions(&line, regions, &mesh) != EXIT_CODE_OK)
		return line.exit_code;
	mesh.has_brokers = mesh.has_brokers && mesh.region_count > 1; /* a mesh file has at least two regions */
	return bring_up(&mesh, folder, line.format, stays);
}

static const struct command_option mesh_options[] = {
	{ OPTION_DIR, "dir", "DIR", "which mesh (default: the last one brought up)" },
	COMMAND_OPTION_OUTPUT,
	COMMAND_OPTION_END,
};
static const struct command_option region_options[] = {
	{ OPTION_DIR, "dir", "DIR", "which mesh (default: the last one brought up)" },
	{ OPTION_REGION, "region", "NAME", "which region" },
	{ OPTION_NO_DATABASE, "no-database", NULL, "only the daemon" },
	{ OPTION_DATABASE_ONLY, "database-only", NULL, "only PostgreSQL" },
	{ OPTION_BROKER_ONLY, "broker-only", NULL, "only RabbitMQ" },
	COMMAND_OPTION_END,
};

/* Reads a line with --dir and --region and loads that mesh; EXIT_CODE_OK and line->is_over when only help was asked. */
static int choose(struct command_line *line, const struct command_usage *usage, int argc, char **argv,
	struct dev_mesh *mesh, struct dev_region **region_out, int *parts_out)
{
	const char *folder = NULL, *name = NULL;
	struct strbuf why = STRBUF_INIT;
	enum status status;

	command_line_begin(line, usage, argc, argv);
	for (int id; (id = command_line_next(line)) != COMMAND_LINE_END;) {
		if (id == OPTION_DIR)
			folder = line->value;
		else if (id == OPTION_REGION)
			name = line->value;
		else
			*parts_out = id == OPTION_NO_DATABASE   ? DEV_DAEMON
				     : id == OPTION_BROKER_ONLY ? DEV_BROKER
								: DEV_DATABASE;
	}
	if (!command_line_expect(line, 0, 0))
		return line->exit_code;
	status = dev_mesh_load(mesh, folder, &why);
	if (status != STATUS_OK) {
		fail(status, &why);
		return EXIT_CODE_FAILED;
	}
	strbuf_release(&why);
	if (region_out == NULL)
		return EXIT_CODE_OK;
	*region_out = name != NULL ? dev_mesh_region(mesh, name) : NULL;
	if (name == NULL)
		return command_line_wrong(line, "--region is needed");
	if (*region_out == NULL)
		return command_line_wrong(line, "the mesh has no region \"%s\"", name);
	return EXIT_CODE_OK;
}

static int run_down(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward dev down", "[--dir DIR]",
		"Stops exactly what `dev up` started and removes its folder.", mesh_options, "homeward dev down\n" };
	struct command_line line;
	struct dev_mesh mesh;
	int exit_code = choose(&line, &usage, argc, argv, &mesh, NULL, NULL);

	if (exit_code != EXIT_CODE_OK || line.is_over)
		return exit_code;
	dev_signals_block();
	return take_down(&mesh);
}

static int run_status(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward dev status", "[--dir DIR]",
		"Shows each region's processes and ports.  Exit code 1: one of them is not up and ready.", mesh_options,
		"homeward dev status\nhomeward dev status -o json\n" };
	static const struct output_column columns[] = {
		{ "region", OUTPUT_TEXT },
		{ "daemon", OUTPUT_TEXT },
		{ "postgres", OUTPUT_TEXT },
		{ "broker", OUTPUT_TEXT },
		{ "api", OUTPUT_NUMBER },
		{ "peer", OUTPUT_NUMBER },
		{ "admin", OUTPUT_NUMBER },
		{ "config", OUTPUT_TEXT },
	};
	struct strbuf api = STRBUF_INIT, peer = STRBUF_INIT, admin = STRBUF_INIT, config = STRBUF_INIT;
	struct command_line line;
	struct dev_mesh mesh;
	bool all_are_up = true;
	int exit_code = choose(&line, &usage, argc, argv, &mesh, NULL, NULL);

	if (exit_code != EXIT_CODE_OK || line.is_over)
		return exit_code;
	struct output *output = output_create(stdout, line.format, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < mesh.region_count; i++) {
		const struct dev_region *region = &mesh.regions[i];
		bool is_alive = dev_process_is_alive(&region->daemon);
		bool is_ready = is_alive && dev_daemon_is_ready(region);
		bool has_database = dev_process_is_alive(&region->postgres);
		bool has_broker = dev_process_is_alive(&region->broker);
		const char *broker = !mesh.has_brokers ? "none" : has_broker ? "up" : "down";
		const char *daemon = is_ready ? "ready" : is_alive ? "not ready" : "down";

		strbuf_reset(&api);
		strbuf_reset(&peer);
		strbuf_reset(&admin);
		strbuf_addf(&api, "%lld", (long long)region->api_port);
		strbuf_addf(&peer, "%lld", (long long)region->peer_port);
		strbuf_addf(&admin, "%lld", (long long)region->admin_port);
		output_row(output,
			(const char *const[]){ region->name, daemon, has_database ? "up" : "down", broker, api.data,
				peer.data, admin.data, dev_path(&mesh, region, "homeward.conf", &config) });
		all_are_up = all_are_up && is_ready && has_database && has_broker == mesh.has_brokers;
	}
	exit_code = output_finish(output);
	strbuf_release(&api);
	strbuf_release(&peer);
	strbuf_release(&admin);
	strbuf_release(&config);
	return all_are_up ? exit_code : EXIT_CODE_FAILED;
}

/* Of one region. */
static int change(const struct command_usage *usage, int argc, char **argv,
	enum status (*run)(struct dev_mesh *mesh, struct dev_region *region, int parts, struct strbuf *why))
{
	struct strbuf why = STRBUF_INIT;
	struct dev_region *region = NULL;
	struct command_line line;
	struct dev_mesh mesh;
	int parts = DEV_DATABASE | DEV_DAEMON | DEV_BROKER;
	int exit_code = choose(&line, usage, argc, argv, &mesh, &region, &parts);

	if (exit_code != EXIT_CODE_OK || line.is_over)
		return exit_code;
	dev_signals_block();
	enum status status = run(&mesh, region, parts, &why);
	if (status != STATUS_OK)
		return fail(status, &why);
	strbuf_release(&why);
	return EXIT_CODE_OK;
}

static enum status stop(struct dev_mesh *mesh, struct dev_region *region, int parts, struct strbuf *why)
{
	dev_stop(mesh, region, parts);
	return dev_mesh_save(mesh, why);
}

static int run_start(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward dev start", "--region NAME [--dir DIR]",
		"Starts what does not run of one region, on the ports it had, and waits until it is ready.",
		region_options, "homeward dev start --region na\n" };

	return change(&usage, argc, argv, dev_start);
}

static int run_stop(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward dev stop", "--region NAME [--dir DIR]",
		"Stops one region's daemon and PostgreSQL; `dev start` brings them back.", region_options,
		"homeward dev stop --region na\n" };

	return change(&usage, argc, argv, stop);
}

int command_dev(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "up", run_up, "bring a mesh up" },
		{ "down", run_down, "take it down and leave nothing behind" },
		{ "status", run_status, "each region's processes and ports" },
		{ "stop", run_stop, "stop one region" },
		{ "start", run_start, "start one region again" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward dev",
		"A mesh of regions on this machine, for trying and for tests.", entries,
		"homeward dev up --regions na,eu,ap\nhomeward dev down\n" };

	return command_group_run(&group, argc, argv);
}

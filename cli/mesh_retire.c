/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh retire`: takes a region out of the mesh.  Without its name typed
 * again it only shows what waits; with it, events are stopped and drained, and
 * what has not arrived by the deadline must be given up by number.  The mesh file
 * is changed last: as long as it names the region, the same command goes on.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/mesh.h"

enum { OPTION_CONFIRM = MESH_OPTION_FIRST, OPTION_LOSE, OPTION_GONE, OPTION_WAIT };
enum {
	WAIT_S = 60,
	WAIT_S_MAX = 86400,
	QUIET_MS = 12000 /* brokers count every 5 s, and an event is without a receipt after 10 */
};
#define WAITING_MAX ((size_t)2 * MESH_REGIONS_MAX)

struct retire {
	const char *mesh_file, *admin, *config, *name, *confirm;
	int64_t lose, wait_s; /* lose -1: not given */
	struct mesh_session session;
	struct mesh_client *own_client;
	struct mesh *whole;
	struct mesh_retirement retirement;
	struct strbuf changed;
	struct mesh_waiting *waiting;
	size_t waiting_count;
	bool has_daemon;
	enum output_format format;
};

/* ---- reading ---- */

static int refuse(const struct retire *retire, enum status status)
{
	return command_fail(status == STATUS_CONFLICT ? EXIT_CODE_FAILED : command_exit_code(status), "%s",
		retire->session.why.data);
}

static int read_files(struct retire *retire)
{
	struct strbuf text = STRBUF_INIT, *why = &retire->session.why;
	enum status status = file_read(retire->mesh_file, MESH_FILE_BYTES_MAX, &text, why);

	if (status == STATUS_OK)
		status = mesh_parse(retire->mesh_file, text.data, text.length, &retire->whole, why);
	if (status == STATUS_OK && (retire->retirement.region = mesh_region_find(retire->whole, retire->name)) <
					   retire->whole->region_count) {
		retire->retirement.whole = retire->whole;
		if (retire->whole->region_count == 2) {
			strbuf_addf(why, "%s is one of two regions, and a mesh needs two: stop both daemons instead",
				retire->name);
			status = STATUS_INVALID;
		}
		if (status == STATUS_OK)
			status = mesh_file_without(text.data, text.length, retire->name, &retire->changed, why);
		if (status == STATUS_OK)
			status = mesh_parse(retire->mesh_file, retire->changed.data, retire->changed.length,
				&retire->session.mesh, why);
		retire->retirement.left = retire->session.mesh;
	}
	strbuf_release(&text);
	return status == STATUS_OK ? EXIT_CODE_OK : command_fail(EXIT_CODE_CONFIGURATION, "%s", why->data);
}

static int reach_brokers(struct retire *retire)
{
	struct mesh_retirement *retirement = &retire->retirement;
	struct strbuf *why = &retire->session.why;
	enum status status = mesh_client_create(retire->session.mesh, &retire->session.client, why);

	if (status == STATUS_OK && !retirement->is_gone)
		status = mesh_client_create(retire->whole, &retire->own_client, why);
	if (status != STATUS_OK)
		return command_fail(EXIT_CODE_CONFIGURATION, "%s", why->data);
	retirement->api = mesh_client_api(retire->session.client);
	if (retirement->is_gone)
		return EXIT_CODE_OK;
	retirement->own_api = mesh_client_api(retire->own_client);
	if (mesh_retire_reach(retirement, why) != STATUS_OK)
		return command_fail(
			EXIT_CODE_UNREACHABLE, "%s; if it is gone for ever, say --gone; nothing was done", why->data);
	return EXIT_CODE_OK;
}

static void look(struct retire *retire)
{
	json_t *matrix = retire->has_daemon ? mesh_ask_daemon(retire->admin, retire->config) : NULL;

	retire->waiting_count = mesh_retire_look(&retire->retirement, matrix, retire->waiting, WAITING_MAX);
	json_decref(matrix);
}

/* ---- showing ---- */

static int show(const struct retire *retire)
{
	static const struct output_column columns[] = { { "from", OUTPUT_TEXT }, { "to", OUTPUT_TEXT },
		{ "buffered_events", OUTPUT_NUMBER }, { "unreceipted", OUTPUT_NUMBER } };
	struct output *output = output_create(stdout, retire->format, columns, 4);
	const struct mesh_region *regions = retire->whole->regions;

	for (size_t i = 0; i < retire->waiting_count; i++) {
		const struct mesh_waiting *waiting = &retire->waiting[i];
		struct mesh_number_text buffered, unreceipted;

		output_row(output, (const char *const[]){ regions[waiting->from].name, regions[waiting->to].name,
					   mesh_number(waiting->buffered, retire->format, &buffered),
					   mesh_number(waiting->unreceipted, retire->format, &unreceipted) });
	}
	return output_finish(output);
}

static int judge(const struct retire *retire, const char *state)
{
	int64_t total;
	enum mesh_retire_verdict verdict = mesh_retire_judge(
		&retire->retirement, retire->waiting, retire->waiting_count, retire->lose, &total);

	switch (verdict) {
	case MESH_RETIRE_WOULD_LOSE:
		return command_fail(EXIT_CODE_NOT_PERMITTED,
			"%lld events have not arrived: mend the links and say it again, or add --lose %lld; %s",
			(long long)total, (long long)total, state);
	case MESH_RETIRE_TOO_MANY:
		return command_fail(EXIT_CODE_NOT_PERMITTED, "%lld events have not arrived, more than --lose %lld; %s",
			(long long)total, (long long)retire->lose, state);
	case MESH_RETIRE_UNKNOWN:
		return command_fail(EXIT_CODE_NOT_PERMITTED,
			"not every region could be asked what it still waits for: name a daemon (--admin), or add "
			"--lose 0; %s",
			state);
	default:
		return EXIT_CODE_OK;
	}
}

/* ---- doing ---- */

static int drain(struct retire *retire)
{
	int64_t begin_ms = clock_monotonic_ms(clock_system()), now_ms = begin_ms, quiet_ms = begin_ms, total;

	while (now_ms - begin_ms < retire->wait_s * 1000 && now_ms - quiet_ms < QUIET_MS) {
		look(retire);
		(void)mesh_retire_judge(&retire->retirement, retire->waiting, retire->waiting_count, -1, &total);
		mesh_pause(1);
		now_ms = clock_monotonic_ms(clock_system());
		quiet_ms = total > 0 ? now_ms : quiet_ms;
	}
	printf("Waited %lld s for what was on its way.\n", (long long)(now_ms - begin_ms) / 1000);
	return show(retire);
}

static int remove_region(struct retire *retire)
{
	struct strbuf *why = &retire->session.why, backup = STRBUF_INIT;
	struct mesh_plan plan = { .count = 0 };
	size_t done = 0;
	enum status status = mesh_retire_plan(&retire->retirement, &plan, why);

	if (status == STATUS_OK)
		status = mesh_retire_remove(&retire->retirement, &plan, retire->lose >= 0, &done, why);
	if (status == STATUS_OK)
		status = mesh_file_save(retire->mesh_file, &retire->changed, &backup, why);
	if (status == STATUS_OK) {
		printf("%zu of %zu steps done on %zu brokers: %s is retired.\n", done, plan.count, plan.brokers_touched,
			retire->name);
		printf("%s is written without it; as it was: %s\n", retire->mesh_file, backup.data);
		printf("In every other region: take it out of \"peers\", copy the mesh file, then homeward reload.\n");
	}
	mesh_plan_release(&plan);
	strbuf_release(&backup);
	if (status == STATUS_OK)
		return EXIT_CODE_OK;
	return command_fail(status == STATUS_CONFLICT ? EXIT_CODE_FAILED : command_exit_code(status),
		"stopped after %zu steps: %s; say the same again to go on", done, why->data);
}

static int retire_region(struct retire *retire)
{
	static const char stopped[] =
		"nothing is removed, but no more events are routed to it (homeward mesh heal undoes that)";
	int exit_code;

	look(retire);
	exit_code = show(retire);
	if (exit_code == EXIT_CODE_OK && retire->confirm == NULL)
		return command_fail(EXIT_CODE_NOT_PERMITTED,
			"its links, users and buffers go from %zu brokers: type --confirm %s; nothing was done",
			retire->session.mesh->region_count, retire->name);
	if (exit_code == EXIT_CODE_OK && retire->retirement.is_gone)
		exit_code = judge(retire, "nothing was done");
	if (exit_code == EXIT_CODE_OK && mesh_retire_stop(&retire->retirement, &retire->session.why) != STATUS_OK)
		exit_code = refuse(retire, STATUS_UNREACHABLE);
	if (exit_code == EXIT_CODE_OK && !retire->retirement.is_gone)
		exit_code = drain(retire);
	if (exit_code == EXIT_CODE_OK)
		exit_code = judge(retire, stopped);
	return exit_code == EXIT_CODE_OK ? remove_region(retire) : exit_code;
}

static int run(struct retire *retire)
{
	json_t *matrix;
	int exit_code = read_files(retire);

	if (exit_code == EXIT_CODE_OK && retire->retirement.whole == NULL) {
		printf("%s has no region %s.  homeward mesh plan shows what brokers may still have of it.\n",
			retire->mesh_file, retire->name);
		return EXIT_CODE_OK;
	}
	if (exit_code == EXIT_CODE_OK && retire->confirm != NULL && strcmp(retire->confirm, retire->name) != 0)
		exit_code = command_fail(
			EXIT_CODE_NOT_PERMITTED, "--confirm %s is another region; nothing was done", retire->confirm);
	if (exit_code == EXIT_CODE_OK)
		exit_code = reach_brokers(retire);
	if (exit_code != EXIT_CODE_OK)
		return exit_code;
	matrix = mesh_ask_daemon(retire->admin, retire->config);
	retire->has_daemon = matrix != NULL;
	json_decref(matrix);
	retire->waiting = calloc(WAITING_MAX, sizeof(*retire->waiting));
	if (retire->waiting == NULL)
		return command_fail(EXIT_CODE_FAILED, "out of memory");
	return retire_region(retire);
}

static bool read_line(struct command_line *line, struct retire *retire)
{
	for (int id; (id = command_line_next(line)) != COMMAND_LINE_END;) {
		retire->mesh_file = id == MESH_OPTION ? line->value : retire->mesh_file;
		retire->admin = id == MESH_OPTION_ADMIN ? line->value : retire->admin;
		retire->confirm = id == OPTION_CONFIRM ? line->value : retire->confirm;
		retire->retirement.is_gone |= id == OPTION_GONE;
		if ((id == OPTION_LOSE && !command_line_number(line, 0, INT64_MAX / 10, &retire->lose)) ||
			(id == OPTION_WAIT && !command_line_number(line, 0, WAIT_S_MAX, &retire->wait_s)))
			return false;
	}
	retire->config = line->config;
	retire->format = line->format;
	return command_line_expect(line, 1, 1);
}

int mesh_run_retire(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		MESH_OPTION_ADMIN_ROW,
		{ OPTION_CONFIRM, "confirm", "REGION", "its name again: do it" },
		{ OPTION_LOSE, "lose", "N", "give up events that have not arrived, this many at most" },
		{ OPTION_GONE, "gone", NULL, "its broker is gone for ever: do not ask it, and drain nothing" },
		{ OPTION_WAIT, "wait", "SECONDS", "for events to drain (default: 60)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh retire",
		"REGION [--mesh FILE] [--config FILE | --admin WHERE] [--confirm REGION] [--lose N] [--gone]",
		"Takes a region out of the mesh: shows what waits for it and for others from it; then routes nothing "
		"more\n"
		"to it, drains the buffers, removes its links, users and buffers from every other broker, and writes "
		"the\n"
		"mesh file without it (the old one is kept beside it).  Stopped half way, the same command goes on.\n"
		"Its own broker keeps its queues.  Exits with 77 when something would be lost that was not confirmed.",
		options, "homeward mesh retire eu --mesh mesh.json --confirm eu\n" };
	struct retire retire = { .mesh_file = MESH_FILE_DEFAULT, .lose = -1, .wait_s = WAIT_S };
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	if (!read_line(&line, &retire))
		return line.exit_code;
	strbuf_init(&retire.session.why);
	strbuf_init(&retire.changed);
	retire.name = line.arguments[0];
	exit_code = run(&retire);
	free(retire.waiting);
	strbuf_release(&retire.changed);
	mesh_client_destroy(retire.own_client);
	exit_code = mesh_session_end(&retire.session, exit_code);
	mesh_destroy(retire.whole);
	return exit_code;
}

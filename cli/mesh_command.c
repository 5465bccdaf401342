/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh`: brings the brokers to what the mesh file says, and tells
 * whether they still are and whether events flow.  The work is federation's; here
 * are words, exit codes, and the rule that nothing hurtful happens by accident:
 * apply wants the plan's hash where a step removes something or may lose events.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/mesh.h"
#include "federation/federation.h"

enum {
	OPTION_EXIT_CODE = MESH_OPTION_FIRST,
	OPTION_YES,
	OPTION_PLAN,
	OPTION_CONFIRM,
	OPTION_AS,
	OPTION_CA,
	OPTION_CERTIFICATE,
	OPTION_KEY,
	HASH_LENGTH_MIN = 16 /* what `plan` shows */
};

static int print_json(json_t *value)
{
	int failed = value == NULL || json_dumpf(value, stdout, JSON_INDENT(1)) != 0;

	json_decref(value);
	puts("");
	return failed || fflush(stdout) != 0 ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

/* ---- check ---- */

static int run_check(int argc, char **argv)
{
	static const struct command_option options[] = { MESH_OPTION_ROW, COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward mesh check", "[--mesh FILE]",
		"Reads the mesh file and says everything that is wrong with it.  Asks no broker.", options,
		"homeward mesh check --mesh mesh.json\n" };
	const char *path = MESH_FILE_DEFAULT;
	struct strbuf errors = STRBUF_INIT;
	struct mesh *mesh = NULL;
	struct command_line line;
	int exit_code = EXIT_CODE_OK;
	size_t links = 0;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;)
		path = id == MESH_OPTION ? line.value : path;
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	if (mesh_load(path, &mesh, &errors) != STATUS_OK) {
		fprintf(stderr, "%s\n", errors.data);
		exit_code = EXIT_CODE_CONFIGURATION;
	} else {
		for (size_t i = 0; i < mesh->region_count * mesh->region_count; i++)
			links += mesh->links[i];
		printf("%s: %zu regions, %zu links\n", path, mesh->region_count, links);
	}
	mesh_destroy(mesh);
	strbuf_release(&errors);
	return exit_code;
}

/* ---- plan ---- */

static int show_plan(const struct mesh_session *session, const struct mesh_plan *plan, enum output_format format)
{
	struct strbuf text = STRBUF_INIT;
	int exit_code = EXIT_CODE_OK;

	if (format != OUTPUT_TABLE)
		return print_json(mesh_plan_json(session->mesh, plan));
	mesh_plan_print(session->mesh, plan, &text);
	if (fputs(text.data, stdout) < 0 || fflush(stdout) != 0)
		exit_code = EXIT_CODE_FAILED;
	strbuf_release(&text);
	return exit_code;
}

static int run_plan(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		{ OPTION_EXIT_CODE, "exit-code", NULL, "exit with 2 when there is a difference" },
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh plan", "[--mesh FILE] [--exit-code] [-o json]",
		"Reads every broker and shows what apply would do, and what each step does to links and buffers.\n"
		"Changes nothing.",
		options, "homeward mesh plan --mesh mesh.json --exit-code\n" };
	const char *path = MESH_FILE_DEFAULT;
	struct mesh_plan plan = { .count = 0 };
	bool tells = false;
	struct mesh_session session;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		path = id == MESH_OPTION ? line.value : path;
		tells |= id == OPTION_EXIT_CODE;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	exit_code = mesh_session_begin(&session, path);
	if (exit_code == EXIT_CODE_OK) {
		enum status status = mesh_plan_read(session.mesh, &session.api, &plan, &session.why);
		if (status != STATUS_OK)
			exit_code = command_fail(command_exit_code(status), "%s", session.why.data);
		else
			exit_code = show_plan(&session, &plan, line.format);
		if (exit_code == EXIT_CODE_OK && tells && plan.count > 0)
			exit_code = EXIT_CODE_DIFFERENCE;
	}
	mesh_plan_release(&plan);
	return mesh_session_end(&session, exit_code);
}

/* ---- apply ---- */

struct consent {
	const char *plan, *confirm;
	bool is_given; /* --yes */
};

static bool names_plan(const char *given, const struct mesh_plan *plan)
{
	return given != NULL && strlen(given) >= HASH_LENGTH_MIN && strncmp(plan->hash, given, strlen(given)) == 0;
}

static int refuse_without_consent(const struct mesh_plan *plan, const struct consent *consent)
{
	bool hurts = plan->removals > 0 || plan->buffers_at_risk > 0;

	if (consent->plan != NULL && !names_plan(consent->plan, plan))
		return command_fail(EXIT_CODE_NOT_PERMITTED,
			"the brokers have changed since: this is plan %.16s, not %s; nothing was done", plan->hash,
			consent->plan);
	if (!consent->is_given && consent->plan == NULL && consent->confirm == NULL)
		return command_fail(
			EXIT_CODE_NOT_PERMITTED, "say --yes, or --plan %.16s; nothing was done", plan->hash);
	if (hurts && !names_plan(consent->confirm, plan))
		return command_fail(EXIT_CODE_NOT_PERMITTED,
			"%zu step%s remove or replace something and %zu may lose a buffer: type --confirm %.16s;"
			" nothing was done",
			plan->removals, plan->removals == 1 ? "" : "s", plan->buffers_at_risk, plan->hash);
	return EXIT_CODE_OK;
}

static int apply(struct mesh_session *session, const struct consent *consent)
{
	struct mesh_plan plan;
	size_t done = 0;
	enum status status = mesh_plan_read(session->mesh, &session->api, &plan, &session->why);
	int exit_code;

	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", session->why.data);
	exit_code = show_plan(session, &plan, OUTPUT_TABLE);
	if (exit_code == EXIT_CODE_OK && plan.count > 0)
		exit_code = refuse_without_consent(&plan, consent);
	if (exit_code == EXIT_CODE_OK && plan.count > 0) {
		status = mesh_apply(session->mesh, &session->api, &plan, &done, &session->why);
		if (status != STATUS_OK)
			exit_code = command_fail(
				status == STATUS_CONFLICT ? EXIT_CODE_FAILED : command_exit_code(status),
				"stopped after %zu of %zu steps: %s", done, plan.count, session->why.data);
		else
			printf("%zu steps done.\n", done);
	}
	mesh_plan_release(&plan);
	return exit_code;
}

static int run_apply(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		{ OPTION_YES, "yes", NULL,
			"whatever the plan is, as long as nothing is removed and no buffer at risk" },
		{ OPTION_PLAN, "plan", "HASH", "only if the plan is still this one" },
		{ OPTION_CONFIRM, "confirm", "HASH", "this plan, with what it removes and puts at risk" },
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh apply",
		"[--mesh FILE] --yes | --plan HASH | --confirm HASH",
		"Plans, and takes the steps in order until one fails; what is left is the next plan.\n"
		"Touches only what homeward made, and never removes a queue that holds events.",
		options, "homeward mesh apply --mesh mesh.json --plan 1f0c36b2a94d57e8\n" };
	const char *path = MESH_FILE_DEFAULT;
	struct consent consent = { NULL, NULL, false };
	struct mesh_session session;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		path = id == MESH_OPTION ? line.value : path;
		consent.plan = id == OPTION_PLAN ? line.value : consent.plan;
		consent.confirm = id == OPTION_CONFIRM ? line.value : consent.confirm;
		consent.is_given |= id == OPTION_YES;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	exit_code = mesh_session_begin(&session, path);
	if (exit_code == EXIT_CODE_OK)
		exit_code = apply(&session, &consent);
	return mesh_session_end(&session, exit_code);
}

/* ---- verify ---- */

static int show_findings(const struct mesh_health *health, enum output_format format)
{
	static const struct output_column columns[] = {
		{ "code", OUTPUT_TEXT },
		{ "where", OUTPUT_TEXT },
		{ "evidence", OUTPUT_TEXT },
		{ "fix", OUTPUT_TEXT },
	};
	struct output *output;
	int exit_code;

	if (format == OUTPUT_TABLE && health->finding_count == 0)
		return puts("Nothing found.") < 0 ? EXIT_CODE_FAILED : EXIT_CODE_OK;
	output = output_create(stdout, format, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < health->finding_count; i++) {
		const struct mesh_finding *finding = &health->findings[i];
		output_row(output,
			(const char *const[]){ finding->code, finding->where, finding->evidence, finding->fix });
	}
	exit_code = output_finish(output);
	return exit_code == EXIT_CODE_OK && health->finding_count > 0 ? EXIT_CODE_FAILED : exit_code;
}

static int verify(struct mesh_session *session, const char *as, const struct mesh_credentials *credentials,
	enum output_format format)
{
	struct mesh_health health = { .link_count = 0 };
	size_t refused = 0, region = as != NULL ? mesh_region_find(session->mesh, as) : session->mesh->region_count;
	int exit_code = EXIT_CODE_OK;

	if (as != NULL && region == session->mesh->region_count)
		return command_fail(EXIT_CODE_USAGE, "the mesh file has no region \"%s\"", as);
	if (mesh_health_read(session->mesh, &session->api, &health) != STATUS_OK ||
		(as != NULL && mesh_probe_locks(session->mesh, region, credentials, &health, &refused) != STATUS_OK))
		exit_code = command_fail(EXIT_CODE_FAILED, "out of memory");
	if (exit_code == EXIT_CODE_OK) {
		if (as != NULL && format == OUTPUT_TABLE)
			printf("%zu peer%s refused %s a binding on another region's events.\n", refused,
				refused == 1 ? "" : "s", as);
		exit_code = show_findings(&health, format);
	}
	mesh_health_release(&health);
	return exit_code;
}

static int run_verify(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		{ OPTION_AS, "as", "REGION", "also try a forbidden binding at each of its peers, with:" },
		{ OPTION_CERTIFICATE, "certificate", "FILE", "the region's certificate" },
		{ OPTION_KEY, "key", "FILE", "its key" },
		{ OPTION_CA, "ca", "FILE", "the authority of the brokers' certificates" },
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh verify",
		"[--mesh FILE] [--as REGION --certificate FILE --key FILE --ca FILE] [-o FORMAT]",
		"Looks for everything that is known to lose, leak or hold up events, and names each with a code, the\n"
		"evidence and what to do.  Exits with 1 when there is any.  docs/MESH.md lists the codes.",
		options,
		"homeward mesh verify --mesh mesh.json --as eu --certificate eu.pem --key eu.key --ca ca.pem\n" };
	const char *path = MESH_FILE_DEFAULT, *as = NULL;
	struct mesh_credentials credentials = { NULL, NULL, NULL };
	struct mesh_session session;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		path = id == MESH_OPTION ? line.value : path;
		as = id == OPTION_AS ? line.value : as;
		credentials.ca_file = id == OPTION_CA ? line.value : credentials.ca_file;
		credentials.certificate_file = id == OPTION_CERTIFICATE ? line.value : credentials.certificate_file;
		credentials.key_file = id == OPTION_KEY ? line.value : credentials.key_file;
	}
	if (!command_line_expect(&line, 0, 0))
		return line.exit_code;
	if (as != NULL &&
		(credentials.ca_file == NULL || credentials.certificate_file == NULL || credentials.key_file == NULL))
		return command_line_wrong(&line, "--as needs --certificate, --key and --ca");
	exit_code = mesh_session_begin(&session, path);
	if (exit_code == EXIT_CODE_OK)
		exit_code = verify(&session, as, &credentials, line.format);
	return mesh_session_end(&session, exit_code);
}

static const struct command_entry entries[] = {
	{ "check", run_check, "say what is wrong with the mesh file" },
	{ "plan", run_plan, "show what apply would do, and what it does to links" },
	{ "apply", run_apply, "bring the brokers to what the mesh file says" },
	{ "status", mesh_run_status, "every link: state, binding, consumer, canary, receipts" },
	{ "heal", mesh_run_heal, "restart broken links where that loses nothing" },
	{ "pause", mesh_run_pause, "stop one link; its events wait in their buffer" },
	{ "resume", mesh_run_resume, "let a paused link go on" },
	{ "retire", mesh_run_retire, "take a region out: drain it, then remove what is its" },
	{ "add-region", mesh_run_add_region, "put a region in: look at it, apply, wait until its links are green" },
	{ "trace", mesh_run_trace, "send one event, and show each hop or where it stopped" },
	{ "events", mesh_run_events, "when links changed, and what a daemon said of links and peers" },
	{ "doctor", mesh_run_doctor, "everything that can be looked at, the worst first" },
	{ "verify", run_verify, "coded checks, and a try at the lock" },
	{ NULL, NULL, NULL },
};

int command_mesh(int argc, char **argv)
{
	static const struct command_group group = {
		"homeward mesh",
		"The brokers that carry events between regions.",
		entries,
		"homeward mesh plan --mesh mesh.json\nhomeward mesh apply --mesh mesh.json --plan HASH\n",
	};

	return command_group_run(&group, argc, argv);
}

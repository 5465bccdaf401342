/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward mesh add-region`: looks at the new region's broker and addresses,
 * shows the plan of all brokers, and with --yes writes the mesh file, applies the
 * plan and waits until the links to and from the region are green.
 *
 * What is not said is taken from the first region of the file, with the new name
 * where that one's name begins a file's.  The same command again goes on.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/mesh_checks.h"

enum {
	OPTION_PEER_URL = MESH_OPTION_FIRST,
	OPTION_BROKER_URL,
	OPTION_MANAGEMENT_URL,
	OPTION_USER,
	OPTION_PASSWORD_FILE,
	OPTION_CA_FILE,
	OPTION_CLUSTER,
	OPTION_LINK_CA,
	OPTION_LINK_CERTIFICATE,
	OPTION_LINK_KEY,
	OPTION_LINK_WITH,
	OPTION_YES,
	OPTION_WAIT
};
enum { WAIT_S = 60, WAIT_S_MAX = 3600 };

struct addition {
	const char *mesh_file, *admin, *config, *name;
	json_t *entry, *peers; /* as the file will have it */
	struct strbuf before, changed;
	bool is_yes;
	int64_t wait_s;
	struct mesh_session session;
	struct settings *settings;
};

/* ---- the entry ---- */

/* "/etc/pki/na.pem" for "/etc/pki/eu.pem", where the model is eu and the new region na. */
static json_t *renamed(const char *path, const char *model, const char *name)
{
	const char *slash = strrchr(path, '/'), *file = slash != NULL ? slash + 1 : path;
	size_t length = strlen(model);
	struct strbuf text = STRBUF_INIT;
	json_t *value;

	if (strncmp(file, model, length) != 0 || strchr(".-_", file[length]) == NULL)
		return json_string(path);
	strbuf_add(&text, path, (size_t)(file - path));
	strbuf_addf(&text, "%s%s", name, file + length);
	value = json_string(text.data);
	strbuf_release(&text);
	return value;
}

static void fill(json_t *section, const json_t *like, const char *key, const char *model, const char *name)
{
	const char *value = json_get_string(like, key);

	if (json_object_get(section, key) == NULL && value != NULL)
		(void)json_object_set_new(section, key, renamed(value, model, name));
}

void mesh_fill_entry(json_t *entry, const json_t *like, const char *model, const char *name)
{
	static const char *const management[] = { "user", "password_file", "ca_file" };
	static const char *const link[] = { "ca_file", "certificate_file", "key_file" };

	for (size_t i = 0; i < 3; i++) {
		fill(json_object_get(entry, "management"), json_object_get(like, "management"), management[i], model,
			name);
		fill(json_object_get(entry, "link"), json_object_get(like, "link"), link[i], model, name);
	}
}

/* The file's text, with its region: the one to take what was not said from, and the one that may be there already. */
static enum status read_file(struct addition *addition, json_t **present_out, struct strbuf *why)
{
	enum status status = file_read(addition->mesh_file, MESH_FILE_BYTES_MAX, &addition->before, why);
	struct mesh *mesh = NULL;
	json_t *root = NULL, *regions;
	const char *model;
	void *first;

	*present_out = NULL;
	if (status == STATUS_OK)
		status = mesh_parse(addition->mesh_file, addition->before.data, addition->before.length, &mesh, why);
	mesh_destroy(mesh);
	if (status == STATUS_OK)
		status = mesh_file_json(addition->before.data, addition->before.length, &root, why);
	if (status != STATUS_OK)
		return status;
	regions = json_object_get(root, "regions");
	first = json_object_iter(regions);
	model = json_object_iter_key(first);
	mesh_fill_entry(addition->entry, json_object_iter_value(first), model, addition->name);
	*present_out = json_incref(json_object_get(regions, addition->name));
	for (; json_array_size(addition->peers) == 0 && first != NULL; first = json_object_iter_next(regions, first))
		if (strcmp(json_object_iter_key(first), addition->name) != 0)
			(void)json_array_append_new(addition->peers, json_string(json_object_iter_key(first)));
	json_decref(root);
	return STATUS_OK;
}

static int change_text(struct addition *addition)
{
	struct strbuf *why = &addition->session.why;
	json_t *present = NULL;
	enum status status = read_file(addition, &present, why);

	if (status == STATUS_OK && present != NULL && !json_equal(present, addition->entry)) {
		strbuf_addf(why, "%s has a region %s, and it is another: change it there by hand", addition->mesh_file,
			addition->name);
		status = STATUS_CONFLICT;
	}
	if (status == STATUS_OK && present != NULL)
		strbuf_add(&addition->changed, addition->before.data, addition->before.length);
	else if (status == STATUS_OK)
		status = mesh_file_with(addition->before.data, addition->before.length, addition->name, addition->entry,
			addition->peers, &addition->changed, why);
	if (status == STATUS_OK)
		status = mesh_parse(addition->mesh_file, addition->changed.data, addition->changed.length,
			&addition->session.mesh, why);
	if (status == STATUS_OK)
		status = mesh_client_create(addition->session.mesh, &addition->session.client, why);
	json_decref(present);
	if (status != STATUS_OK)
		return command_fail(EXIT_CODE_CONFIGURATION, "%s", why->data);
	addition->session.api = mesh_client_api(addition->session.client);
	return EXIT_CODE_OK;
}

/* ---- looking ---- */

static int look(struct addition *addition)
{
	struct mesh_checks checks = { .count = 0 };
	const struct mesh_inspection inspection = { &addition->session, addition->settings, &checks };
	int exit_code;

	mesh_inspect_region(&inspection, mesh_region_find(addition->session.mesh, addition->name));
	/* Its daemon may well be started only when the brokers carry events. */
	for (size_t i = 0; i < checks.count; i++)
		if (strcmp(checks.items[i].code, "MESH_023") == 0 &&
			strncmp(checks.items[i].evidence, "https://", 8) == 0)
			checks.items[i].severity = MESH_NOTE;
	mesh_checks_sort(&checks);
	exit_code = checks.count > 0 ? mesh_checks_show(&checks, OUTPUT_TABLE) : EXIT_CODE_OK;
	mesh_checks_release(&checks);
	if (exit_code != EXIT_CODE_OK)
		return command_fail(EXIT_CODE_FAILED, "%s cannot be added like this; nothing was done", addition->name);
	return EXIT_CODE_OK;
}

/* ---- waiting ---- */

static bool concerns(const struct mesh *mesh, const struct mesh_link_status *link, const char *name)
{
	return strcmp(mesh->regions[link->from].name, name) == 0 || strcmp(mesh->regions[link->to].name, name) == 0;
}

/* Adds a line for each of the region's links that is not green; matrix NULL: by the brokers' word. */
static bool are_green(const struct addition *addition, const json_t *matrix, struct strbuf *left)
{
	const struct mesh *mesh = addition->session.mesh;
	struct mesh_health health;

	if (mesh_health_read(mesh, &addition->session.api, &health) != STATUS_OK) {
		strbuf_adds(left, "out of memory\n");
		return false;
	}
	for (size_t i = 0; i < health.link_count; i++) {
		const struct mesh_link_status *link = &health.links[i];
		const char *from = mesh->regions[link->from].name, *to = mesh->regions[link->to].name;
		struct mesh_link_word word = mesh_link_word(matrix, from, to);
		struct strbuf reason = STRBUF_INIT;

		/* A daemon that is not started yet knows nothing of the region. */
		if (concerns(mesh, link, addition->name))
			mesh_link_reason(mesh, link, word.canary_age_ms >= 0 ? &word : NULL, &reason);
		if (reason.length > 0)
			strbuf_addf(left, "%s -> %s: %s\n", from, to, reason.data);
		strbuf_release(&reason);
	}
	mesh_health_release(&health);
	return left->length == 0;
}

static int await_links(const struct addition *addition)
{
	int64_t begin_ms = clock_monotonic_ms(clock_system()), now_ms = begin_ms;
	struct strbuf left = STRBUF_INIT;
	bool is_green = false, has_daemon = true;
	int exit_code = EXIT_CODE_OK;

	while (!is_green && now_ms - begin_ms <= addition->wait_s * 1000) {
		json_t *matrix = has_daemon ? mesh_ask_daemon(addition->admin, addition->config) : NULL;

		has_daemon = matrix != NULL;
		strbuf_reset(&left);
		is_green = are_green(addition, matrix, &left);
		json_decref(matrix);
		if (!is_green)
			mesh_pause(1);
		now_ms = clock_monotonic_ms(clock_system());
	}
	if (is_green)
		printf("All links of %s are green after %lld s.\n", addition->name,
			(long long)(now_ms - begin_ms) / 1000);
	else
		exit_code = command_fail(EXIT_CODE_FAILED,
			"not green after %lld s (homeward mesh doctor tells more):\n%s", (long long)addition->wait_s,
			left.data);
	strbuf_release(&left);
	return exit_code;
}

/* ---- doing ---- */

static int write_and_apply(struct addition *addition, const struct mesh_plan *plan)
{
	struct strbuf *why = &addition->session.why, backup = STRBUF_INIT;
	enum status status = STATUS_OK;
	size_t done = 0;

	if (strcmp(addition->before.data, addition->changed.data) != 0) {
		status = mesh_file_save(addition->mesh_file, &addition->changed, &backup, why);
		if (status == STATUS_OK)
			printf("%s has %s now; as it was: %s\n", addition->mesh_file, addition->name, backup.data);
	}
	if (status == STATUS_OK)
		status = mesh_apply(addition->session.mesh, &addition->session.api, plan, &done, why);
	strbuf_release(&backup);
	if (status != STATUS_OK)
		return command_fail(status == STATUS_CONFLICT ? EXIT_CODE_FAILED : command_exit_code(status),
			"stopped after %zu of %zu steps: %s; say the same again to go on", done, plan->count,
			why->data);
	printf("%zu steps done.\n", done);
	return EXIT_CODE_OK;
}

static int plan_and_apply(struct addition *addition)
{
	struct strbuf *why = &addition->session.why, text = STRBUF_INIT;
	struct mesh_plan plan;
	enum status status = mesh_plan_read(addition->session.mesh, &addition->session.api, &plan, why);
	int exit_code = EXIT_CODE_OK;

	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s; nothing was done", why->data);
	mesh_plan_print(addition->session.mesh, &plan, &text);
	fputs(text.data, stdout);
	strbuf_release(&text);
	if (plan.removals > 0 || plan.buffers_at_risk > 0)
		exit_code = command_fail(EXIT_CODE_NOT_PERMITTED,
			"the brokers are not what the mesh file says now: homeward mesh plan, "
			"then apply, first; nothing was done");
	else if (!addition->is_yes)
		exit_code = command_fail(EXIT_CODE_NOT_PERMITTED, "say --yes to do it; nothing was done");
	else
		exit_code = write_and_apply(addition, &plan);
	mesh_plan_release(&plan);
	return exit_code;
}

static int run(struct addition *addition)
{
	int exit_code = change_text(addition);

	if (exit_code == EXIT_CODE_OK)
		exit_code = look(addition);
	if (exit_code == EXIT_CODE_OK)
		exit_code = plan_and_apply(addition);
	if (exit_code == EXIT_CODE_OK)
		exit_code = await_links(addition);
	if (exit_code == EXIT_CODE_OK)
		printf("In every other region: put %s into \"peers\", copy the mesh file, then homeward reload.\n",
			addition->name);
	return exit_code;
}

/* ---- the line ---- */

static void put(struct addition *addition, const char *section, const char *key, const char *value)
{
	(void)json_object_set_new(
		section != NULL ? json_object_get(addition->entry, section) : addition->entry, key, json_string(value));
}

static void add_to(struct addition *addition, const char *key, const char *value)
{
	(void)json_array_append_new(json_object_get(addition->entry, key), json_string(value));
}

static void read_entry(struct addition *addition, int id, const char *value)
{
	switch (id) {
	case OPTION_PEER_URL:
		add_to(addition, "peer_urls", value);
		break;
	case OPTION_BROKER_URL:
		add_to(addition, "broker_urls", value);
		break;
	case OPTION_MANAGEMENT_URL:
		put(addition, "management", "url", value);
		break;
	case OPTION_USER:
		put(addition, "management", "user", value);
		break;
	case OPTION_PASSWORD_FILE:
		put(addition, "management", "password_file", value);
		break;
	case OPTION_CA_FILE:
		put(addition, "management", "ca_file", value);
		break;
	case OPTION_CLUSTER:
		put(addition, NULL, "cluster", value);
		break;
	case OPTION_LINK_CA:
		put(addition, "link", "ca_file", value);
		break;
	case OPTION_LINK_CERTIFICATE:
		put(addition, "link", "certificate_file", value);
		break;
	case OPTION_LINK_KEY:
		put(addition, "link", "key_file", value);
		break;
	case OPTION_LINK_WITH:
		(void)json_array_append_new(addition->peers, json_string(value));
		break;
	default:
		break;
	}
}

static bool read_line(struct command_line *line, struct addition *addition)
{
	for (int id; (id = command_line_next(line)) != COMMAND_LINE_END;) {
		addition->mesh_file = id == MESH_OPTION ? line->value : addition->mesh_file;
		addition->admin = id == MESH_OPTION_ADMIN ? line->value : addition->admin;
		addition->is_yes |= id == OPTION_YES;
		if (id == OPTION_WAIT && !command_line_number(line, 0, WAIT_S_MAX, &addition->wait_s))
			return false;
		read_entry(addition, id, line->value);
	}
	if (!command_line_expect(line, 1, 1))
		return false;
	addition->config = line->config;
	addition->name = line->arguments[0];
	if (json_array_size(json_object_get(addition->entry, "peer_urls")) > 0 &&
		json_array_size(json_object_get(addition->entry, "broker_urls")) > 0 &&
		json_object_get(json_object_get(addition->entry, "management"), "url") != NULL)
		return true;
	command_line_wrong(line, "--peer-url, --broker-url and --management-url are needed");
	return false;
}

int mesh_run_add_region(int argc, char **argv)
{
	static const struct command_option options[] = {
		MESH_OPTION_ROW,
		MESH_OPTION_ADMIN_ROW,
		{ OPTION_PEER_URL, "peer-url", "URL", "https://host:port of its homeward (again for more)" },
		{ OPTION_BROKER_URL, "broker-url", "URL", "amqps://host:port of its broker (again for more)" },
		{ OPTION_MANAGEMENT_URL, "management-url", "URL", "https://host:port of its broker's management" },
		{ OPTION_USER, "user", "NAME", "who may manage it" },
		{ OPTION_PASSWORD_FILE, "password-file", "FILE", "that user's password" },
		{ OPTION_CA_FILE, "ca-file", "FILE", "the authority of the management's certificate" },
		{ OPTION_CLUSTER, "cluster", "NAME", "the broker's cluster_name (default: the region)" },
		{ OPTION_LINK_CA, "link-ca", "PATH", "on its broker's disk: what it trusts," },
		{ OPTION_LINK_CERTIFICATE, "link-certificate", "PATH", "the certificate it shows," },
		{ OPTION_LINK_KEY, "link-key", "PATH", "and its key" },
		{ OPTION_LINK_WITH, "link-with", "REGION", "where the file lists links (default: all)" },
		{ OPTION_YES, "yes", NULL, "do it" },
		{ OPTION_WAIT, "wait", "SECONDS", "for its links to be green (default: 60)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward mesh add-region",
		"NAME --peer-url URL --broker-url URL --management-url URL [--mesh FILE] [--config FILE] [--yes]",
		"Puts a region into the mesh: looks at its broker (version, plugins, cluster_name, certificate, "
		"clock),\n"
		"shows the plan for all brokers, and with --yes writes the mesh file (the old one is kept beside it),\n"
		"applies the plan and waits until the links to and from it are green.  What is not said is as in the\n"
		"file's first region.  Stopped half way, the same command goes on.",
		options,
		"homeward mesh add-region ap --peer-url https://homeward.ap.example:7443\n"
		"    --broker-url amqps://broker.ap.example:5671 --management-url https://broker.ap.example:15671\n" };
	struct addition addition = { .mesh_file = MESH_FILE_DEFAULT,
		.wait_s = WAIT_S,
		.entry = json_pack("{s:[],s:[],s:{},s:{}}", "peer_urls", "broker_urls", "management", "link"),
		.peers = json_array() };
	struct strbuf ignored = STRBUF_INIT;
	struct command_line line;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	strbuf_init(&addition.before);
	strbuf_init(&addition.changed);
	strbuf_init(&addition.session.why);
	if (read_line(&line, &addition)) {
		if (settings_read(addition.config, &addition.settings, &ignored) != STATUS_OK)
			fprintf(stderr, "homeward: the settings cannot be read, so nothing is tried with this region's "
					"certificate (--config)\n");
		exit_code = run(&addition);
	} else {
		exit_code = line.exit_code;
	}
	json_decref(addition.entry);
	json_decref(addition.peers);
	settings_destroy(addition.settings);
	strbuf_release(&ignored);
	strbuf_release(&addition.before);
	strbuf_release(&addition.changed);
	return mesh_session_end(&addition.session, exit_code);
}

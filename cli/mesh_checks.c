/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list, and the judges that need no network.  Bounds are stated here once:
 * what is critical wakes somebody.
 */
#include "cli/mesh_checks.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define DAY_S 86400
#define CERTIFICATE_CRITICAL_DAYS 7
#define CERTIFICATE_WARNING_DAYS 30
#define CLOCK_CRITICAL_MS 30000 /* half of what a canary may be old, and signatures begin to fail */
#define CLOCK_WARNING_MS 2000
#define FULL_PERCENT 80 /* of the memory, file handles and twice the free disk the broker wants */
#define VERSION_MIN "3.10"

/* ---- the list ---- */

void mesh_checks_release(struct mesh_checks *checks)
{
	for (size_t i = 0; i < checks->count; i++) {
		free(checks->items[i].where);
		free(checks->items[i].evidence);
		free(checks->items[i].command);
	}
	free(checks->items);
	*checks = (struct mesh_checks){ .count = 0 };
}

void mesh_checks_add(struct mesh_checks *checks, enum mesh_severity severity, const char *code, const char *where,
	const char *fix, const char *command, const char *format, ...)
{
	struct strbuf evidence = STRBUF_INIT;
	struct mesh_check *check;
	va_list args;

	va_start(args, format);
	strbuf_vaddf(&evidence, format, args);
	va_end(args);
	if (checks->count == checks->capacity) {
		size_t capacity = checks->capacity > 0 ? checks->capacity * 2 : 16;
		struct mesh_check *grown = realloc(checks->items, capacity * sizeof(*grown));

		if (grown != NULL) {
			checks->items = grown;
			checks->capacity = capacity;
		}
	}
	if (checks->count < checks->capacity && strbuf_ok(&evidence)) {
		check = &checks->items[checks->count];
		*check = (struct mesh_check){ severity, code, strdup(where), strdup(evidence.data),
			command != NULL ? strdup(command) : NULL, fix, checks->count };
		checks->has_failed |= check->where == NULL || check->evidence == NULL;
		checks->count++;
	} else {
		checks->has_failed = true;
	}
	strbuf_release(&evidence);
}

static int compare(const void *a, const void *b)
{
	const struct mesh_check *left = a, *right = b;
	int order = (left->severity > right->severity) - (left->severity < right->severity);

	if (order == 0)
		order = strcmp(left->code, right->code);
	return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

void mesh_checks_sort(struct mesh_checks *checks)
{
	if (checks->count > 0)
		qsort(checks->items, checks->count, sizeof(*checks->items), compare);
}

int mesh_checks_show(const struct mesh_checks *checks, enum output_format format)
{
	static const char *const severities[] = { "critical", "warning", "note" };
	static const struct output_column columns[] = { { "severity", OUTPUT_TEXT }, { "code", OUTPUT_TEXT },
		{ "where", OUTPUT_TEXT }, { "evidence", OUTPUT_TEXT }, { "fix", OUTPUT_TEXT },
		{ "command", OUTPUT_TEXT } };
	struct output *output;
	bool is_bad = false;
	int exit_code;

	if (checks->has_failed)
		return command_fail(EXIT_CODE_FAILED, "out of memory");
	for (size_t i = 0; i < checks->count; i++)
		is_bad |= checks->items[i].severity != MESH_NOTE;
	if (format == OUTPUT_TABLE && !is_bad)
		puts("Nothing is wrong.");
	if (format == OUTPUT_TABLE && checks->count == 0)
		return EXIT_CODE_OK;
	output = output_create(stdout, format, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < checks->count; i++) {
		const struct mesh_check *check = &checks->items[i];

		output_row(output, (const char *const[]){ severities[check->severity], check->code, check->where,
					   check->evidence, check->fix, check->command });
	}
	exit_code = output_finish(output);
	return exit_code == EXIT_CODE_OK && is_bad ? EXIT_CODE_FAILED : exit_code;
}

/* ---- judges ---- */

void mesh_judge_finding(struct mesh_checks *checks, const struct mesh_finding *finding, const char *mesh_file)
{
	static const struct {
		const char *code;
		enum mesh_severity severity;
		const char *command;
	} known[] = {
		{ "MESH_001", MESH_CRITICAL, "homeward mesh plan --mesh %s" },
		{ "MESH_002", MESH_WARNING, "homeward mesh plan --mesh %s" },
		{ "MESH_003", MESH_CRITICAL, "homeward mesh heal --mesh %s" },
		{ "MESH_004", MESH_CRITICAL, "homeward mesh heal --mesh %s" },
		{ "MESH_005", MESH_CRITICAL, "homeward mesh heal --mesh %s" },
		{ "MESH_006", MESH_WARNING, "homeward mesh plan --mesh %s" },
		{ "MESH_007", MESH_WARNING, "homeward mesh status --mesh %s" },
		{ "MESH_008", MESH_WARNING, "homeward events dead" },
		{ "MESH_009", MESH_CRITICAL, "homeward mesh status --mesh %s" },
		{ "MESH_010", MESH_CRITICAL, "homeward mesh plan --mesh %s" },
	};
	enum mesh_severity severity = MESH_WARNING;
	struct strbuf command = STRBUF_INIT;
	const char *place;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].code, finding->code) != 0)
			continue;
		severity = known[i].severity;
		place = strstr(known[i].command, "%s");
		strbuf_add(&command, known[i].command,
			place != NULL ? (size_t)(place - known[i].command) : strlen(known[i].command));
		strbuf_adds(&command, place != NULL ? mesh_file : "");
	}
	/* What somebody meant to do is no emergency. */
	if (strstr(finding->evidence, "the link is " MESH_PAUSED) != NULL) {
		severity = MESH_WARNING;
		strbuf_reset(&command);
		strbuf_addf(&command, "homeward mesh resume --mesh %s", mesh_file);
	}
	mesh_checks_add(checks, severity, finding->code, finding->where, finding->fix,
		command.length > 0 ? command.data : NULL, "%s", finding->evidence);
	strbuf_release(&command);
}

/* 3.9.29 is older than 3.10. */
static bool is_older(const char *version, const char *than)
{
	unsigned major = 0, minor = 0, wanted_major = 0, wanted_minor = 0;

	if (sscanf(version, "%u.%u", &major, &minor) != 2 || sscanf(than, "%u.%u", &wanted_major, &wanted_minor) != 2)
		return true;
	return major != wanted_major ? major < wanted_major : minor < wanted_minor;
}

static void judge_plugins(struct mesh_checks *checks, const char *where, const json_t *node)
{
	static const char *const needed[] = { "rabbitmq_federation", "rabbitmq_federation_management",
		"rabbitmq_auth_mechanism_ssl" };
	const json_t *plugins = json_object_get(node, "enabled_plugins");
	struct strbuf command = STRBUF_INIT;

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		bool is_there = false;

		for (size_t p = 0; p < json_array_size(plugins); p++) {
			const char *name = json_string_value(json_array_get(plugins, p));

			is_there |= name != NULL && strcmp(name, needed[i]) == 0;
		}
		strbuf_reset(&command);
		strbuf_addf(&command, "rabbitmq-plugins enable %s", needed[i]);
		if (!is_there)
			mesh_checks_add(checks, MESH_CRITICAL, "MESH_028", where, "enable it on the broker's machine",
				command.data, "the plugin %s is not enabled", needed[i]);
	}
	strbuf_release(&command);
}

static void judge_use(
	struct mesh_checks *checks, const char *where, const json_t *node, const char *used, const char *limit)
{
	int64_t have = 0, most = 0;

	if (json_get_integer(node, used, &have) && json_get_integer(node, limit, &most) && most > 0 &&
		have * 100 / most >= FULL_PERCENT)
		mesh_checks_add(checks, MESH_WARNING, "MESH_031", where,
			"give it more, or find what fills it, before the broker stops taking events", NULL,
			"%s is %" PRId64 " of %" PRId64, used, have, most);
}

static void judge_node(struct mesh_checks *checks, const char *where, const json_t *node)
{
	int64_t free_bytes = 0, limit = 0;

	judge_plugins(checks, where, node);
	judge_use(checks, where, node, "mem_used", "mem_limit");
	judge_use(checks, where, node, "fd_used", "fd_total");
	judge_use(checks, where, node, "sockets_used", "sockets_total");
	if (json_get_integer(node, "disk_free", &free_bytes) && json_get_integer(node, "disk_free_limit", &limit) &&
		free_bytes < 2 * limit)
		mesh_checks_add(checks, MESH_WARNING, "MESH_031", where,
			"make room on the broker's disk: at its limit it takes no more events", NULL,
			"disk_free is %" PRId64 ", its limit %" PRId64, free_bytes, limit);
	if (json_array_size(json_object_get(node, "partitions")) > 0)
		mesh_checks_add(checks, MESH_CRITICAL, "MESH_031", where, "mend the cluster of this region's broker",
			"rabbitmqctl cluster_status", "its nodes do not see each other");
}

void mesh_judge_broker(
	struct mesh_checks *checks, const struct mesh_region *region, const json_t *overview, const json_t *nodes)
{
	const char *version = json_get_string(overview, "rabbitmq_version"),
		   *cluster = json_get_string(overview, "cluster_name");

	if (version == NULL || is_older(version, VERSION_MIN))
		mesh_checks_add(checks, MESH_CRITICAL, "MESH_027", region->name,
			"use RabbitMQ " VERSION_MIN " or later: older ones lose events when links restart", NULL,
			"its broker is RabbitMQ %s", version != NULL ? version : "of no known version");
	if (cluster == NULL || strcmp(cluster, region->cluster) != 0)
		mesh_checks_add(checks, MESH_CRITICAL, "MESH_027", region->name,
			"set cluster_name in its rabbitmq.conf: it is part of its buffers' names and stops circles",
			NULL, "its broker calls itself \"%s\", the mesh file \"%s\"", cluster != NULL ? cluster : "",
			region->cluster);
	for (size_t i = 0; i < json_array_size(nodes); i++)
		judge_node(checks, region->name, json_array_get(nodes, i));
}

static const char *fix_of(enum handshake_fault fault)
{
	switch (fault) {
	case HANDSHAKE_FILES:
		return "look at the paths under tls in the settings, and at who may read the files";
	case HANDSHAKE_UNREACHABLE:
		return "see that it runs there, that the name is right and that no firewall is between";
	case HANDSHAKE_NO_TLS:
		return "see that this port speaks TLS";
	case HANDSHAKE_EXPIRED:
		return "issue it a new certificate, or mend the clock";
	case HANDSHAKE_CHAIN:
		return "give both sides the same authority: ca_file here, or the certificate there";
	case HANDSHAKE_NAME:
		return "use a name of its certificate in the mesh file, or issue one with this name (pki issue --dns)";
	case HANDSHAKE_CLIENT:
		return "give it our authority (ssl_options.cacertfile, or tls.ca), or us a certificate of its "
		       "authority";
	default:
		return "";
	}
}

void mesh_judge_handshake(struct mesh_checks *checks, const char *where, const char *url, const char *region,
	const char *uri, const struct handshake *handshake, int64_t now_s)
{
	int64_t days = (handshake->expires_s - now_s) / DAY_S;
	struct strbuf command = STRBUF_INIT;

	if (handshake->fault != HANDSHAKE_FINE) {
		mesh_checks_add(checks, handshake->fault == HANDSHAKE_FILES ? MESH_WARNING : MESH_CRITICAL,
			handshake->fault == HANDSHAKE_UNREACHABLE ? "MESH_023" : "MESH_024", where,
			fix_of(handshake->fault), NULL, "%s: %s: %s%s%s", url, handshake_fault_text(handshake->fault),
			handshake->detail.data, handshake->common_name[0] != '\0' ? ", certificate of " : "",
			handshake->common_name);
		return;
	}
	strbuf_addf(&command, "homeward pki issue --region %s", region);
	if (uri == NULL ? strcmp(handshake->common_name, region) != 0 : strcmp(handshake->uri, uri) != 0)
		mesh_checks_add(checks, MESH_CRITICAL, "MESH_024", where,
			"another region answers there, or it has another region's certificate", command.data,
			"%s: its certificate is of \"%s\", not of \"%s\"", url,
			uri == NULL ? handshake->common_name : handshake->uri, uri == NULL ? region : uri);
	if (days < CERTIFICATE_WARNING_DAYS)
		mesh_checks_add(checks, days < CERTIFICATE_CRITICAL_DAYS ? MESH_CRITICAL : MESH_WARNING, "MESH_025",
			where, "issue it a new certificate", command.data,
			"%s: its certificate ends in %" PRId64 " days", url, days);
	strbuf_release(&command);
}

void mesh_judge_clock(struct mesh_checks *checks, const char *where, int64_t ahead_ms)
{
	int64_t off_ms = ahead_ms < 0 ? -ahead_ms : ahead_ms;

	if (off_ms >= CLOCK_WARNING_MS)
		mesh_checks_add(checks, off_ms >= CLOCK_CRITICAL_MS ? MESH_CRITICAL : MESH_WARNING, "MESH_026", where,
			"set both clocks by the same time service", "chronyc tracking",
			"its clock is %" PRId64 ".%03" PRId64 " s %s ours", off_ms / 1000, off_ms % 1000,
			ahead_ms < 0 ? "behind" : "ahead of");
}

void mesh_judge_own_clock(struct mesh_checks *checks, bool is_synchronized)
{
	if (!is_synchronized)
		mesh_checks_add(checks, MESH_NOTE, "MESH_032", "this machine",
			"run a time service; in a container the host's clock counts", "timedatectl timesync-status",
			"the kernel says that its clock is not synchronized");
}

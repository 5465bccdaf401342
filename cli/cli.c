/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands.  `serve` is listed here for the help alone: main.c takes
 * it before it gets here, because only main.c may fit all the folders together.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "cli/command.h"

static int serve_is_elsewhere(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return command_fail(EXIT_CODE_BUG, "serve was not taken by main");
}

static int command_version(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward version", "", "Prints the version of this program.",
		options, "homeward version\n" };
	struct command_line line;

	command_line_begin(&line, &usage, argc, argv);
	while (!line.is_over && command_line_next(&line) != COMMAND_LINE_END)
		continue;
	if (line.is_over || !command_line_expect(&line, 0, 0))
		return line.exit_code;
	printf("homeward %s\n", HOMEWARD_VERSION);
	return EXIT_CODE_OK;
}

static const struct command_entry commands[] = {
	{ "serve", serve_is_elsewhere, "run one region's daemon: --config FILE [--ports-file FILE]" },
	{ "config", command_config, "check, show and explain settings" },
	{ "reload", command_reload, "make a running daemon read its settings again" },
	{ "status", command_status, "a running daemon's health and how its peers are doing" },
	{ "db", command_db, "prepare the database" },
	{ "callers", command_callers, "who may ask, and for which purposes" },
	{ "routes", command_routes, "which region is home to which objects" },
	{ "policy", command_policy, "check the privacy policy and explain a decision" },
	{ "audit", command_audit, "read and check the tamper-evident access log" },
	{ "subject", command_subject, "what people may ask for: erasure, restriction, a report of what crossed" },
	{ "consent", command_consent, "what people have consented to" },
	{ "mesh", command_mesh, "the brokers that carry events between regions" },
	{ "events", command_events, "what homeward says, and the events it sends and receives" },
	{ "pki", command_pki, "a certificate authority and region certificates" },
	{ "import", command_import, "load objects and their routes from JSON or CSV" },
	{ "replay", command_replay, "replay charging sessions against regions and report" },
	{ "dev", command_dev, "a mesh of regions on this machine" },
	{ "version", command_version, "the version of this program" },
	{ NULL, NULL, NULL },
};

static const struct command_group group = {
	"homeward",
	"Cross-region lookups for roaming drivers: each region runs one homeward.",
	commands,
	"homeward dev up --regions na,eu,ap\n"
	"homeward config check /etc/homeward/homeward.conf\n"
	"homeward serve --config /etc/homeward/homeward.conf\n",
};

int cli_main(int argc, char **argv)
{
	char program[] = "homeward", version[] = "version";
	char **given = calloc((size_t)argc + 2, sizeof(*given));
	int exit_code;

	must(given != NULL);
	given[0] = program;
	for (int i = 0; i < argc; i++)
		given[i + 1] = argv[i];
	if (argc > 0 && strcmp(argv[0], "--version") == 0)
		given[1] = version;
	exit_code = command_group_run(&group, argc + 1, given);
	free(given);
	return exit_code;
}

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
	(void)argc;
	(void)argv;
	printf("homeward %s\n", HOMEWARD_VERSION);
	return EXIT_CODE_OK;
}

static const struct command_entry commands[] = {
	{ "serve", serve_is_elsewhere, "run one region's daemon: --config FILE [--ports-file FILE]" },
#if __has_include("cli/config_command.c")
	{ "config", command_config, "check, show and explain settings" },
#endif
#if __has_include("cli/reload_command.c")
	{ "reload", command_reload, "make a running daemon read its settings again" },
#endif
#if __has_include("cli/status_command.c")
	{ "status", command_status, "a running daemon's health and how its peers are doing" },
#endif
#if __has_include("cli/db_command.c")
	{ "db", command_db, "prepare the database" },
#endif
#if __has_include("cli/callers_command.c")
	{ "callers", command_callers, "who may ask, and for which purposes" },
#endif
#if __has_include("cli/routes_command.c")
	{ "routes", command_routes, "which region is home to which objects" },
#endif
#if __has_include("cli/policy_command.c")
	{ "policy", command_policy, "check the privacy policy and explain a decision" },
#endif
#if __has_include("cli/pki_command.c")
	{ "pki", command_pki, "a certificate authority and region certificates" },
#endif
#if __has_include("cli/import_command.c")
	{ "import", command_import, "load objects and their routes from JSON or CSV" },
#endif
#if __has_include("cli/replay_command.c")
	{ "replay", command_replay, "replay charging sessions against regions and report" },
#endif
#if __has_include("cli/dev_command.c")
	{ "dev", command_dev, "a mesh of regions on this machine" },
#endif
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds a daemon's admin listener in its settings: the unix socket when there is
 * one, since file permissions guard it, else the TCP address.
 */
#include <string.h>

#include "cli/admin_client.h"

bool admin_where_of(const struct settings *settings, struct strbuf *where)
{
	const char *port = strrchr(settings->admin.listen, ':');

	if (settings->admin.unix_path[0] != '\0')
		strbuf_addf(where, "unix:%s", settings->admin.unix_path);
	else if (port != NULL && strcmp(port, ":0") != 0)
		strbuf_addf(where, "http://%s", settings->admin.listen);
	return where->length > 0;
}

static int read_where(const char *config, struct strbuf *where)
{
	struct settings *settings = NULL;
	int exit_code = command_settings(config, &settings);

	if (exit_code != EXIT_CODE_OK)
		return exit_code;
	(void)admin_where_of(settings, where);
	settings_destroy(settings);
	return EXIT_CODE_OK;
}

enum status admin_where(const char *config, struct strbuf *where)
{
	if (read_where(config, where) != EXIT_CODE_OK)
		return STATUS_INVALID;
	if (where->length == 0) {
		command_fail(EXIT_CODE_CONFIGURATION, "%s: admin.listen has no fixed port; say --admin URL", config);
		return STATUS_INVALID;
	}
	return STATUS_OK;
}

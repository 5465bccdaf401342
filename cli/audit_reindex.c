/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward audit reindex`: the search index again, from the log's files.  For when
 * the database was lost, restored from another day, or altered.  The daemon may
 * run: rows and position move together, so the two only share the work.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/audit.h"

enum { OPTION_DIR = COMMAND_ID_FIRST };

#define PROGRESS_MS 500

static const struct command_option options[] = { COMMAND_OPTION_CONFIG,
	{ OPTION_DIR, "dir", "DIR", "the log's directory (default: that of the settings)" }, COMMAND_OPTION_END };

struct progress {
	int64_t told_ms;
	uint64_t size;
};

static void tell(void *arg, uint64_t done, uint64_t size)
{
	struct progress *progress = arg;
	int64_t now_ms = clock_monotonic_ms(clock_system());

	progress->size = size;
	if (!isatty(STDERR_FILENO) || (now_ms - progress->told_ms < PROGRESS_MS && done < size))
		return;
	progress->told_ms = now_ms;
	fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " entries%s", done, size, done == size ? "\n" : "");
}

int audit_reindex(int argc, char **argv)
{
	static const struct command_usage usage = { "homeward audit reindex", "[-c FILE] [--dir DIR]",
		"Takes the log's rows out of PostgreSQL and makes them again from the log's files, grants that are\n"
		"still open included.  May be repeated, and run beside the daemon.",
		options, "homeward audit reindex -c /etc/homeward/homeward.conf\n" };
	struct strbuf dsn = STRBUF_INIT, why = STRBUF_INIT;
	struct log_index_settings index = { .directory = NULL };
	struct progress progress = { 0, 0 };
	struct settings *settings = NULL;
	struct command_line line;
	enum status status;
	int exit_code;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;) {
		if (id == OPTION_DIR)
			index.directory = line.value;
	}
	if (line.is_over || !command_line_expect(&line, 0, 0))
		return line.exit_code;
	exit_code = command_settings(line.config, &settings);
	if (exit_code != EXIT_CODE_OK)
		goto out;
	if (index.directory == NULL)
		index.directory = settings->access_log.directory;
	index.grant_ttl_s = settings->grant.ttl_s;
	status = settings_dsn(settings, &dsn, &why);
	index.dsn = dsn.data;
	if (status == STATUS_OK)
		status = log_index_rebuild(&index, tell, &progress, &why);
	if (status == STATUS_OK)
		printf("%" PRIu64 " entries indexed\n", progress.size);
	else
		exit_code = command_fail(
			command_exit_code(status), "%s", why.length > 0 ? why.data : status_name(status));
out:
	settings_destroy(settings);
	strbuf_release(&dsn);
	strbuf_release(&why);
	return exit_code;
}

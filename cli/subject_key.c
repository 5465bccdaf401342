/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward subject change-master-key`: the running daemon does it.  While a change is
 * under way another is not begun; the command waits for the one there is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/admin_client.h"
#include "cli/subject.h"

#define PATH "/admin/v1/subjects/master-key"
#define WAIT_STEP_NS 200000000L
#define WAIT_S 60

struct progress {
	int64_t master, rewrapped;
	bool is_changing;
};

static bool ask(const char *where, const char *method, struct progress *progress, int *exit_code)
{
	json_t *answer = subject_call(where, method, PATH, "", exit_code);
	bool is_there = answer != NULL && json_get_integer(answer, "master", &progress->master) &&
			json_get_integer(answer, "rewrapped", &progress->rewrapped);

	if (answer != NULL && !is_there)
		*exit_code = command_fail(EXIT_CODE_FAILED, "the daemon answered something else");
	progress->is_changing = is_there && json_is_true(json_object_get(answer, "is_changing"));
	json_decref(answer);
	return is_there;
}

static int change(const char *where, int64_t wait_s)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + wait_s * 1000;
	struct timespec step = { 0, WAIT_STEP_NS };
	struct progress progress;
	int exit_code = EXIT_CODE_OK;

	if (!ask(where, "GET", &progress, &exit_code))
		return exit_code;
	if (!progress.is_changing && !ask(where, "POST", &progress, &exit_code))
		return exit_code;
	printf("master key %" PRId64 " is in force\n", progress.master);
	(void)fflush(stdout);
	while (progress.is_changing && clock_monotonic_ms(clock_system()) < end_ms) {
		nanosleep(&step, NULL);
		if (!ask(where, "GET", &progress, &exit_code))
			return exit_code;
	}
	printf("%" PRId64 " keys wrapped anew%s\n", progress.rewrapped,
		progress.is_changing ? "; it goes on by itself" : ", the earlier master key destroyed");
	return progress.is_changing ? EXIT_CODE_TRY_AGAIN : EXIT_CODE_OK;
}

int subject_change_master_key(int argc, char **argv)
{
	static const struct command_option options[] = {
		ADMIN_OPTION_ROW(SUBJECT_OPTION_ADMIN),
		{ SUBJECT_OPTION_WAIT, "wait", "SECONDS", "for it to be over (default 60)" },
		COMMAND_OPTION_CONFIG,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward subject change-master-key", "[--wait SECONDS]",
		"Makes a new master key, wraps every subject's key with it, and then destroys the earlier one.  "
		"Lookups\n"
		"go on meanwhile, and pseudonyms stay.  Exit code 75: it is not over yet; it goes on by itself.",
		options, "homeward subject change-master-key\n" };
	struct subject_options asked;
	int exit_code;

	exit_code = subject_options_init(&asked, &usage, argc, argv, 0, WAIT_S) ? change(asked.where.data, asked.wait_s)
										: asked.line.exit_code;
	subject_options_release(&asked);
	return exit_code;
}

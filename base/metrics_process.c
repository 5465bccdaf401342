/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every Prometheus dashboard expects of a process, read from /proc at
 * scrape time.  Written straight as text: there is nothing to keep between two
 * scrapes.  A file of /proc that cannot be read leaves its metrics out.
 */
#include "base/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"

#ifndef HOMEWARD_VERSION
#define HOMEWARD_VERSION "unknown"
#endif

struct process_state {
	uint64_t user_ticks, system_ticks, start_ticks, resident_pages;
	int64_t threads;
};

static bool read_process_state(struct process_state *state)
{
	char text[1024];
	const char *after_name;
	size_t size;
	FILE *file = fopen("/proc/self/stat", "re");

	memset(state, 0, sizeof(*state));
	if (file == NULL)
		return false;
	size = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[size] = '\0';
	after_name = strrchr(text, ')'); /* the name itself may hold spaces and brackets */
	/* proc(5): state is field 3; utime 14, stime 15, num_threads 20, starttime 22, rss 24. */
	return after_name != NULL && sscanf(after_name + 1,
					     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
					     " %*d %*d %*d %*d %" SCNd64 " %*d %" SCNu64 " %*u %" SCNu64,
					     &state->user_ticks, &state->system_ticks, &state->threads,
					     &state->start_ticks, &state->resident_pages) == 5;
}

static int64_t boot_time_s(void)
{
	FILE *file = fopen("/proc/stat", "re");
	int64_t seconds = -1;
	char line[256];

	if (file == NULL)
		return -1;
	while (seconds < 0 && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "btime %" SCNd64, &seconds) != 1)
			seconds = -1;
	fclose(file);
	return seconds;
}

static int64_t count_open_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int64_t count = 0;

	if (folder == NULL)
		return -1;
	for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count - 1; /* the folder itself was open */
}

static void add_head(struct strbuf *text, const char *name, const char *kind, const char *help)
{
	strbuf_addf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

void metrics_write_process(struct strbuf *text)
{
	struct process_state state;
	int64_t boot_s = boot_time_s(), files = count_open_files();
	double ticks_per_s = (double)sysconf(_SC_CLK_TCK);

	add_head(text, "homeward_build_info", "gauge", "Always 1; the labels say what is running.");
	strbuf_adds(text, "homeward_build_info{version=\"" HOMEWARD_VERSION "\"} 1\n");
	if (files >= 0) {
		add_head(text, "process_open_fds", "gauge", "Open file descriptors.");
		strbuf_addf(text, "process_open_fds %" PRId64 "\n", files);
	}
	if (!read_process_state(&state))
		return;
	add_head(text, "process_cpu_seconds_total", "counter", "User and system CPU time spent.");
	strbuf_addf(text, "process_cpu_seconds_total %.2f\n",
		(double)(state.user_ticks + state.system_ticks) / ticks_per_s);
	add_head(text, "process_resident_memory_bytes", "gauge", "Resident memory.");
	strbuf_addf(text, "process_resident_memory_bytes %" PRIu64 "\n",
		state.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE));
	add_head(text, "homeward_process_threads", "gauge", "Threads of the process.");
	strbuf_addf(text, "homeward_process_threads %" PRId64 "\n", state.threads);
	if (boot_s < 0)
		return;
	add_head(text, "process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.");
	strbuf_addf(
		text, "process_start_time_seconds %.2f\n", (double)boot_s + (double)state.start_ticks / ticks_per_s);
}

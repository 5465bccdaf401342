/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a replay brought: answers by kind, where they came from, errors by code, and
 * how long the answers took.
 */
#ifndef CLI_REPLAY_REPORT_H
#define CLI_REPLAY_REPORT_H

#include <stdint.h>

#include "base/status.h"
#include "cli/output.h"

#define TALLY_NAMES_MAX 32 /* kinds, sources or codes; further ones are counted as "other" */
#define TALLY_NAME_SIZE 48

struct tally {
	char names[TALLY_NAMES_MAX + 1][TALLY_NAME_SIZE];
	int64_t counts[TALLY_NAMES_MAX + 1];
	int count;
};

void tally_add(struct tally *tally, const char *name);
int64_t tally_of(const struct tally *tally, const char *name);

struct replay_report {
	struct tally answers, sources, errors;
	int64_t *latencies_us; /* one an answer, error or not; borrowed; sorted by report_write */
	int64_t latency_count;
	int64_t skipped;
	int64_t duration_us;
};

/* The value that `percent` of them do not pass; 0 when there are none.  Sorted. */
int64_t report_percentile(const int64_t *sorted_us, int64_t count, int percent);
/* To standard output.  Returns an exit code. */
int report_write(struct replay_report *report, enum output_format format);

#endif

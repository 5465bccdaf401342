/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays taps against regions: POST /v1/authorize, at most so many at once, one
 * driver's taps one after the other.
 */
#ifndef CLI_REPLAY_PLAYER_H
#define CLI_REPLAY_PLAYER_H

#include "cli/replay_report.h"
#include "cli/replay_taps.h"

#define REPLAY_URLS_MAX 16

struct replay_target {
	char *url;           /* of the endpoint, whole */
	char *authorization; /* the header line */
};

struct replay_settings {
	struct replay_target targets[REPLAY_URLS_MAX]; /* taps go round them in turn */
	int target_count;
	const char *type, *station_type, *purpose;
	int concurrency;
	int64_t timeout_ms;
	double speed; /* how many times faster than it was; 0: as fast as the answers come */
	bool shows_progress;
};

/* Plays them all.  The report's latencies are on the heap: free() them. */
MUST_CHECK enum status replay_play(
	const struct replay_settings *settings, struct tap_list *list, struct replay_report *report_out);

#endif

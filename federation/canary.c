/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canaries: when to send, what has come, and percentiles of the round trips.
 * No I/O and no clock.  A peer that was never heard is as silent as one that
 * stopped: its age counts from when it became a peer.
 */
#include "federation/canary.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"

enum status canaries_init(
	struct canaries *canaries, const struct mesh *mesh, const char *region, int64_t interval_ms, int64_t now_ms)
{
	size_t own = mesh_region_find(mesh, region);

	*canaries = (struct canaries){ .interval_ms = interval_ms, .certificate_days = -1 };
	memccpy(canaries->region, region, '\0', sizeof(canaries->region) - 1);
	canaries->peers = calloc(mesh->region_count + 1, sizeof(*canaries->peers));
	if (canaries->peers == NULL)
		return STATUS_NO_MEMORY;
	for (size_t i = 0; own < mesh->region_count && i < mesh->region_count; i++) {
		struct canary_peer *peer = &canaries->peers[canaries->count];

		if (!mesh_has_link(mesh, own, i))
			continue;
		*peer = (struct canary_peer){
			.heard_ms = -1, .answered_ms = -1, .begin_ms = now_ms, .due_ms = now_ms, .batch_events_max = 1
		};
		memcpy(peer->region, mesh->regions[i].name, sizeof(peer->region));
		canaries->count++;
	}
	return STATUS_OK;
}

void canaries_release(struct canaries *canaries)
{
	for (size_t i = 0; i < canaries->count; i++)
		json_decref(canaries->peers[i].view);
	free(canaries->peers);
	canaries->peers = NULL;
	canaries->count = 0;
}

void canaries_follow(struct canaries *canaries, struct canaries *fresh)
{
	struct canary_peer *before = canaries->peers;
	size_t before_count = canaries->count, gone = 0;

	for (size_t i = 0; i < before_count; i++) {
		struct canary_peer *kept = canaries_find(fresh, before[i].region);

		if (kept != NULL)
			*kept = before[i];
		else
			before[gone++] = before[i];
	}
	canaries->peers = fresh->peers;
	canaries->count = fresh->count;
	fresh->peers = before;
	fresh->count = gone;
}

struct canary_peer *canaries_find(const struct canaries *canaries, const char *region)
{
	for (size_t i = 0; i < canaries->count; i++)
		if (strcmp(canaries->peers[i].region, region) == 0)
			return &canaries->peers[i];
	return NULL;
}

/* ---- sending ---- */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

bool canary_is_due(const struct canary_peer *peer, int64_t now_ms)
{
	return now_ms >= peer->due_ms;
}

uint64_t canary_sent(const struct canaries *canaries, struct canary_peer *peer, int64_t now_ms)
{
	int64_t word_ms = later(peer->begin_ms, later(peer->heard_ms, peer->answered_ms));
	bool is_slow = now_ms - word_ms >= CANARY_SLOW_AFTER_MS;
	uint64_t number = ++peer->number;

	peer->sent[number % CANARY_SENT_MAX].number = number;
	peer->sent[number % CANARY_SENT_MAX].at_ms = now_ms;
	peer->due_ms = now_ms + canaries->interval_ms * (is_slow ? CANARY_SLOW_FACTOR : 1);
	return number;
}

int64_t canaries_next_ms(const struct canaries *canaries)
{
	int64_t next_ms = INT64_MAX;

	for (size_t i = 0; i < canaries->count; i++)
		if (canaries->peers[i].due_ms < next_ms)
			next_ms = canaries->peers[i].due_ms;
	return next_ms;
}

/* ---- hearing ---- */

bool canary_heard(struct canary_peer *peer, int64_t now_ms)
{
	bool is_back = peer->is_silent;

	peer->heard_ms = now_ms;
	peer->is_silent = false;
	return is_back;
}

bool canary_answered(struct canary_peer *peer, uint64_t number, int64_t now_ms)
{
	size_t place = number % CANARY_SENT_MAX;

	if (number == 0 || peer->sent[place].number != number)
		return false;
	peer->sent[place].number = 0;
	peer->answered_ms = now_ms;
	peer->reached_ms = later(peer->reached_ms, peer->sent[place].at_ms);
	peer->round_trips_ms[peer->round_trip_count++ % CANARY_WINDOW] = now_ms - peer->sent[place].at_ms;
	return true;
}

int64_t canary_reached_age_ms(const struct canary_peer *peer, int64_t now_ms)
{
	if (peer->answered_ms < 0 || now_ms - peer->answered_ms > CANARY_TRUSTED_MS)
		return -1;
	return now_ms - peer->reached_ms;
}

int64_t canary_batch_events_max(const struct canary_peer *peer, int64_t now_ms)
{
	return peer->heard_ms < 0 || now_ms - peer->heard_ms > CANARY_TRUSTED_MS ? 1 : peer->batch_events_max;
}

bool canary_falls_silent(struct canary_peer *peer, int64_t now_ms)
{
	int64_t since_ms = later(peer->begin_ms, peer->heard_ms);

	if (peer->is_silent || now_ms - since_ms <= CANARY_SILENT_MS)
		return false;
	peer->is_silent = true;
	return true;
}

static int compare(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

int64_t canary_percentile(const struct canary_peer *peer, unsigned percent)
{
	size_t count = peer->round_trip_count < CANARY_WINDOW ? peer->round_trip_count : CANARY_WINDOW;
	int64_t sorted[CANARY_WINDOW];

	must(percent >= 1 && percent <= 100);
	if (count == 0)
		return -1;
	memcpy(sorted, peer->round_trips_ms, count * sizeof(sorted[0]));
	qsort(sorted, count, sizeof(sorted[0]), compare);
	return sorted[(count * percent + 99) / 100 - 1];
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of windows, one for each asking region or own caller.  Told once a
 * window, when the limit is reached.  Callers' names come from callers, so the
 * table is bounded: a place whose window is over is used again, and while there is
 * none the newcomer goes uncounted, since those that are counted are as many as an
 * operator can look at.  One mutex, held for a walk over a few kilobytes, and only
 * when something is denied.
 */
#include "policy/denials.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/object_id.h"

#define WINDOWS_MAX 256
#define NAME_SIZE 64

struct window {
	char region[REGION_SIZE], caller[NAME_SIZE];
	int64_t began_ms, denied; /* 0 denied: free */
};

struct denials {
	int64_t limit;
	const struct clock_source *clock;
	denials_alarmed *alarmed;
	void *arg;
	pthread_mutex_t mutex; /* guards the windows */
	struct window windows[WINDOWS_MAX];
};

struct denials *denials_create(int64_t limit, const struct clock_source *clock, denials_alarmed *alarmed, void *arg)
{
	struct denials *denials = calloc(1, sizeof(*denials));

	if (denials == NULL)
		return NULL;
	must(pthread_mutex_init(&denials->mutex, NULL) == 0);
	denials->limit = limit;
	denials->clock = clock;
	denials->alarmed = alarmed;
	denials->arg = arg;
	return denials;
}

void denials_destroy(struct denials *denials)
{
	if (denials == NULL)
		return;
	pthread_mutex_destroy(&denials->mutex);
	free(denials);
}

static bool is_over(const struct window *window, int64_t now_ms)
{
	return window->denied == 0 || now_ms - window->began_ms >= DENIALS_WINDOW_S * 1000;
}

static struct window *find(struct denials *denials, const char *region, const char *caller, int64_t now_ms)
{
	struct window *free_place = NULL;

	for (size_t i = 0; i < WINDOWS_MAX; i++) {
		struct window *window = &denials->windows[i];

		if (window->denied > 0 && strcmp(window->region, region) == 0 && strcmp(window->caller, caller) == 0)
			return window;
		if (free_place == NULL && is_over(window, now_ms))
			free_place = window;
	}
	if (free_place != NULL) {
		*free_place = (struct window){ .began_ms = now_ms };
		memccpy(free_place->region, region, '\0', sizeof(free_place->region) - 1);
		memccpy(free_place->caller, caller, '\0', sizeof(free_place->caller) - 1);
	}
	return free_place;
}

void denials_count(struct denials *denials, const char *region, const char *caller)
{
	struct window told = { .denied = 0 };
	struct window *window;
	char name[NAME_SIZE] = "";
	int64_t now_ms;

	if (denials == NULL || denials->limit == 0)
		return;
	memccpy(name, caller, '\0', sizeof(name) - 1);
	now_ms = clock_monotonic_ms(denials->clock);
	pthread_mutex_lock(&denials->mutex);
	window = find(denials, region, name, now_ms);
	if (window != NULL) {
		if (is_over(window, now_ms)) {
			window->began_ms = now_ms;
			window->denied = 0;
		}
		if (++window->denied == denials->limit)
			told = *window;
	}
	pthread_mutex_unlock(&denials->mutex);
	if (told.denied > 0)
		denials->alarmed(denials->arg, told.region, told.caller, told.denied);
}

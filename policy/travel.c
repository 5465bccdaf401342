/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last tap of each card, in a table of fixed size in memory: sets of four, in
 * which a new card takes the place of the one not seen for longest.  Losing one
 * loses a finding and nothing else, so it is neither stored nor shared between
 * processes.  What is kept of a card is a keyed 64-bit hash.
 *
 * One mutex, held for four comparisons; any thread.
 */
#include "policy/travel.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/random.h"

#define SET_SIZE 4
#define SET_COUNT 16384 /* 65,536 cards on the road; 5 MB */
#define REGIONS_MAX 65  /* every peer there can be, and this one */
#define EARTH_KM 6371.0

struct tap {
	uint64_t card; /* 0: free */
	int64_t at_ms;
	struct position position;
	bool has_position;
	char region[REGION_SIZE];
};

struct travel {
	struct travel_limits limits;
	const struct clock_source *clock;
	uint64_t seed;
	struct {
		char region[REGION_SIZE];
		struct position position;
	} places[REGIONS_MAX]; /* fixed before the first tap */
	int place_count;
	pthread_mutex_t mutex; /* guards the taps */
	struct tap taps[SET_COUNT][SET_SIZE];
};

/* ---- places ---- */

static bool is_on_earth(const struct position *position)
{
	return position->latitude >= -90 && position->latitude <= 90 && position->longitude >= -180 &&
	       position->longitude <= 180;
}

bool position_parse(const char *text, struct position *position_out)
{
	char *end;

	memset(position_out, 0, sizeof(*position_out));
	if (text == NULL || text[strspn(text, "0123456789.,+- ")] != '\0')
		return false;
	position_out->latitude = strtod(text, &end);
	if (end == text || *end != ',')
		return false;
	text = end + 1;
	position_out->longitude = strtod(text, &end);
	return end != text && *end == '\0' && is_on_earth(position_out);
}

static bool read_degrees(const json_t *object, const char *key, double *degrees_out)
{
	const json_t *value = json_object_get(object, key);
	char *end;

	if (json_is_number(value)) {
		*degrees_out = json_number_value(value);
		return true;
	}
	if (!json_is_string(value) || json_string_length(value) == 0)
		return false;
	*degrees_out = strtod(json_string_value(value), &end);
	return *end == '\0';
}

bool position_of_station(const json_t *station, struct position *position_out)
{
	const json_t *gps = json_object_get(station, "gps");

	if (gps == NULL)
		gps = json_object_get(station, "coordinates");
	if (json_is_string(gps))
		return position_parse(json_string_value(gps), position_out);
	memset(position_out, 0, sizeof(*position_out));
	return read_degrees(gps, "latitude", &position_out->latitude) &&
	       read_degrees(gps, "longitude", &position_out->longitude) && is_on_earth(position_out);
}

/* The haversine formula. */
double position_distance_km(const struct position *a, const struct position *b)
{
	const double radians = 3.14159265358979323846 / 180;
	double latitude = sin((b->latitude - a->latitude) * radians / 2);
	double longitude = sin((b->longitude - a->longitude) * radians / 2);
	double chord = latitude * latitude +
		       cos(a->latitude * radians) * cos(b->latitude * radians) * longitude * longitude;

	return 2 * EARTH_KM * asin(sqrt(chord < 1 ? chord : 1));
}

/* ---- taps ---- */

struct travel *travel_create(const struct travel_limits *limits, const struct clock_source *clock)
{
	struct travel *travel = calloc(1, sizeof(*travel));

	if (travel == NULL)
		return NULL;
	travel->limits = *limits;
	travel->clock = clock;
	random_fill(random_system(), &travel->seed, sizeof(travel->seed));
	must(pthread_mutex_init(&travel->mutex, NULL) == 0);
	return travel;
}

void travel_destroy(struct travel *travel)
{
	if (travel == NULL)
		return;
	pthread_mutex_destroy(&travel->mutex);
	free(travel);
}

void travel_place(struct travel *travel, const char *region, const struct position *position)
{
	must(travel->place_count < REGIONS_MAX);
	(void)snprintf(travel->places[travel->place_count].region, REGION_SIZE, "%s", region);
	travel->places[travel->place_count++].position = *position;
}

static void locate(const struct travel *travel, const char *region, const struct position *station, struct tap *tap)
{
	tap->has_position = station != NULL;
	if (station != NULL)
		tap->position = *station;
	for (int i = 0; i < travel->place_count && !tap->has_position; i++) {
		if (strcmp(travel->places[i].region, region) != 0)
			continue;
		tap->position = travel->places[i].position;
		tap->has_position = true;
	}
}

static int64_t possible_s(const struct travel_limits *limits, const struct tap *from, const struct tap *to)
{
	if (!from->has_position || !to->has_position)
		return limits->unknown_s;
	return (int64_t)(position_distance_km(&from->position, &to->position) * 3600 / (double)limits->kmh);
}

/* The card's own place, else a free one, else that of the card not seen for longest. */
static struct tap *place_of(struct tap *set, uint64_t card)
{
	struct tap *oldest = set;

	for (struct tap *tap = set; tap < set + SET_SIZE; tap++) {
		if (tap->card == card)
			return tap;
		if (tap->card == 0 || (oldest->card != 0 && tap->at_ms < oldest->at_ms))
			oldest = tap;
	}
	return oldest;
}

bool travel_is_impossible(struct travel *travel, const struct object_id *object, const char *region,
	const struct position *station, struct travel_finding *finding_out)
{
	uint64_t card = hash_key64(
		object->id, strlen(object->id), hash_key64(object->type, strlen(object->type), travel->seed));
	struct tap now = { .card = card != 0 ? card : 1, .at_ms = clock_monotonic_ms(travel->clock) };
	struct tap before, *place;

	if (travel->limits.kmh <= 0)
		return false;
	locate(travel, region, station, &now);
	(void)snprintf(now.region, sizeof(now.region), "%s", region);
	pthread_mutex_lock(&travel->mutex);
	place = place_of(travel->taps[now.card % SET_COUNT], now.card);
	before = *place;
	*place = now;
	pthread_mutex_unlock(&travel->mutex);
	/* Within one region people cross no border, and its place may stand for a whole continent. */
	if (before.card != now.card || strcmp(before.region, region) == 0)
		return false;
	(void)snprintf(finding_out->from, REGION_SIZE, "%s", before.region);
	(void)snprintf(finding_out->to, REGION_SIZE, "%s", region);
	finding_out->apart_s = (now.at_ms - before.at_ms) / 1000;
	finding_out->possible_s = possible_s(&travel->limits, &before, &now);
	return finding_out->apart_s < finding_out->possible_s;
}

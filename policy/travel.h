/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Impossible travel: one card shown in two regions sooner than anyone can fly
 * between them is probably a copy.  Part of the front door policy.h.  It is told
 * and never denied: the driver at the charger may be the honest one of the two.
 */
#ifndef POLICY_TRAVEL_H
#define POLICY_TRAVEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/object_id.h"

struct position {
	double latitude, longitude; /* degrees */
};
/* "52.37,4.90"; false when it is no place on earth. */
bool position_parse(const char *text, struct position *position_out);
/* Of a station's record: its member gps or coordinates, with latitude and longitude. */
bool position_of_station(const json_t *station, struct position *position_out);
double position_distance_km(const struct position *a, const struct position *b);

struct travel_limits {
	int64_t kmh;       /* as fast as anyone gets around; 0: nothing is found */
	int64_t unknown_s; /* between two regions whose places are not known */
};

struct travel_finding {
	char from[REGION_SIZE], to[REGION_SIZE]; /* in the order of the taps */
	int64_t apart_s, possible_s;
};

struct travel;

/* NULL when out of memory. */
struct travel *travel_create(const struct travel_limits *limits, const struct clock_source *clock);
void travel_destroy(struct travel *travel);
/* Where a region's stations are when nothing nearer is known.  Before the first tap. */
void travel_place(struct travel *travel, const char *region, const struct position *position);
/* Remembers a tap, and whether the card can have come there from its last one.  station NULL: somewhere in the
 * region.  Any thread. */
bool travel_is_impossible(struct travel *travel, const struct object_id *object, const char *region,
	const struct position *station, struct travel_finding *finding_out);

#endif

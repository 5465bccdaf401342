/* SPDX-License-Identifier: Apache-2.0 */
/* Who cannot have come there in that time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "policy/travel.h"

static const struct position amsterdam = { 52.37, 4.90 }, new_york = { 40.71, -74.01 }, london = { 51.51, -0.13 };
static struct fake_clock clock_here;

static struct travel *begin(int64_t kmh)
{
	struct travel *travel;

	fake_clock_init(&clock_here, 1000000);
	travel = travel_create(&(struct travel_limits){ .kmh = kmh, .unknown_s = 600 }, &clock_here.source);
	assert_non_null(travel);
	travel_place(travel, "eu", &amsterdam);
	travel_place(travel, "na", &new_york);
	travel_place(travel, "uk", &london);
	return travel;
}

static bool tap(
	struct travel *travel, const char *id, const char *region, int64_t after_s, struct travel_finding *finding)
{
	struct object_id card = { .type = "token" };

	snprintf(card.id, sizeof(card.id), "%s", id);
	fake_clock_advance_ms(&clock_here, after_s * 1000);
	return travel_is_impossible(travel, &card, region, NULL, finding);
}

static void places_are_read_and_distances_are_right(void **state)
{
	static const char *const wrong[] = { "", "52.37", "52.37,", "91,0", "0,181", "a,b", "1,2,3", "nan,1" };
	struct position position;
	json_t *station;

	(void)state;
	assert_true(position_parse("52.37,4.90", &position));
	assert_in_range((int)position_distance_km(&position, &new_york), 5850, 5880);
	assert_in_range((int)position_distance_km(&amsterdam, &london), 350, 365);
	assert_int_equal((int)position_distance_km(&london, &london), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(position_parse(wrong[i], &position));
	station = json_pack("{s:{s:f,s:f}}", "gps", "latitude", 36.9, "longitude", 126.7);
	assert_true(position_of_station(station, &position) && (int)position.longitude == 126);
	json_decref(station);
	station = json_pack("{s:{s:s,s:s}}", "coordinates", "latitude", "36.9", "longitude", "126.7");
	assert_true(position_of_station(station, &position) && (int)position.latitude == 36);
	json_decref(station);
	station = json_pack("{s:s}", "gps", "somewhere");
	assert_false(position_of_station(station, &position));
	json_decref(station);
	assert_false(position_of_station(NULL, &position));
}

static void two_far_regions_within_less_than_a_flight_are_found(void **state)
{
	struct travel *travel = begin(1000);
	struct travel_finding finding;

	(void)state;
	assert_false(tap(travel, "04A1", "eu", 0, &finding));
	assert_false(tap(travel, "04A1", "eu", 1, &finding));
	assert_true(tap(travel, "04A1", "na", 3600, &finding));
	assert_string_equal(finding.from, "eu");
	assert_string_equal(finding.to, "na");
	assert_int_equal(finding.apart_s, 3600);
	assert_in_range((int)finding.possible_s, 21000, 21200);
	/* Seven hours later it can be back. */
	assert_false(tap(travel, "04A1", "eu", 7 * 3600, &finding));
	/* And across the channel in half an hour, by a plane. */
	assert_false(tap(travel, "04A1", "uk", 1800, &finding));
	assert_true(tap(travel, "04A1", "eu", 600, &finding));
	/* Another card is another driver. */
	assert_false(tap(travel, "04A2", "na", 0, &finding));
	travel_destroy(travel);
}

static void without_places_a_setting_says_how_long(void **state)
{
	struct travel *travel = begin(1000);
	struct travel_finding finding;

	(void)state;
	assert_false(tap(travel, "04A1", "ap", 0, &finding));
	assert_true(tap(travel, "04A1", "eu", 599, &finding));
	assert_false(tap(travel, "04A1", "ap", 600, &finding));
	travel_destroy(travel);
}

static void a_station_that_is_known_counts_more_than_its_region(void **state)
{
	struct object_id card = { .type = "token", .id = "04A1" };
	struct travel *travel = begin(1000);
	struct travel_finding finding;
	struct position near_london = { 51.0, 1.1 }, calais = { 50.95, 1.85 };

	(void)state;
	assert_false(travel_is_impossible(travel, &card, "uk", &near_london, &finding));
	fake_clock_advance_ms(&clock_here, 300000);
	assert_false(travel_is_impossible(travel, &card, "eu", &calais, &finding));
	travel_destroy(travel);
}

static void it_can_be_switched_off(void **state)
{
	struct travel *travel = begin(0);
	struct travel_finding finding;

	(void)state;
	assert_false(tap(travel, "04A1", "eu", 0, &finding));
	assert_false(tap(travel, "04A1", "na", 0, &finding));
	travel_destroy(travel);
}

/* How many of these cards, last seen in eu, are still known when they are used in na. */
static int count_known(struct travel *travel, unsigned first, unsigned count)
{
	struct travel_finding finding;
	char id[32];
	int known = 0;

	for (unsigned i = first; i < first + count; i++) {
		snprintf(id, sizeof(id), "%08X", i);
		known += tap(travel, id, "na", 0, &finding) ? 1 : 0;
	}
	return known;
}

/*
 * Which set of four a card falls into is chance: of 200,000 cards in 16,384 sets, two
 * of the first thousand still have their place on average, and all of the last thousand.
 */
static void more_cards_than_places_lose_the_oldest_first(void **state)
{
	struct travel *travel = begin(1000);
	struct travel_finding finding;
	char id[32];

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		snprintf(id, sizeof(id), "%08X", i);
		assert_false(tap(travel, id, "eu", i % 1000 == 0, &finding));
	}
	assert_in_range(count_known(travel, 199000, 1000), 995, 1000);
	assert_in_range(count_known(travel, 0, 1000), 0, 40);
	travel_destroy(travel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_are_read_and_distances_are_right),
		cmocka_unit_test(two_far_regions_within_less_than_a_flight_are_found),
		cmocka_unit_test(without_places_a_setting_says_how_long),
		cmocka_unit_test(a_station_that_is_known_counts_more_than_its_region),
		cmocka_unit_test(it_can_be_switched_off),
		cmocka_unit_test(more_cards_than_places_lose_the_oldest_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

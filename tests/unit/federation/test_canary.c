/* SPDX-License-Identifier: Apache-2.0 */
/* Canaries on a fake clock: when they are due, silence and return, round trips, and what regions tell each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "fake_broker.h"
#include "federation/canary.h"

#define INTERVAL_MS 2000

struct world {
	struct mesh *mesh;
	struct fake_clock clock;
	struct canaries canaries;
};

static int64_t now(const struct world *world)
{
	return clock_monotonic_ms(&world->clock.source);
}

static void begin(struct world *world, size_t regions, const char *own)
{
	world->mesh = fake_mesh(regions, "");
	fake_clock_init(&world->clock, 1000000);
	assert_int_equal(canaries_init(&world->canaries, world->mesh, own, INTERVAL_MS, now(world)), STATUS_OK);
}

/* Of two regions, as seen by the first: the second. */
static struct canary_peer *begin_pair(struct world *world)
{
	begin(world, 2, "r000");
	return &world->canaries.peers[0];
}

static void end(struct world *world)
{
	canaries_release(&world->canaries);
	mesh_destroy(world->mesh);
}

static void each_link_is_a_peer(void **state)
{
	struct world world;
	(void)state;

	begin(&world, 3, "r001");
	assert_int_equal(world.canaries.count, 2);
	assert_non_null(canaries_find(&world.canaries, "r000"));
	assert_non_null(canaries_find(&world.canaries, "r002"));
	assert_null(canaries_find(&world.canaries, "r001"));
	end(&world);
	begin(&world, 3, "elsewhere");
	assert_int_equal(world.canaries.count, 0);
	end(&world);
}

/* A peer that said nothing of it, or nothing for long, may be older than this. */
static void only_a_peer_that_said_so_takes_batches(void **state)
{
	struct world world;
	struct canary_peer *peer;
	(void)state;

	peer = begin_pair(&world);
	assert_int_equal(canary_batch_events_max(peer, now(&world)), 1);
	(void)canary_heard(peer, now(&world));
	assert_int_equal(canary_batch_events_max(peer, now(&world)), 1);
	peer->batch_events_max = 256;
	fake_clock_advance_ms(&world.clock, CANARY_TRUSTED_MS);
	assert_int_equal(canary_batch_events_max(peer, now(&world)), 256);
	fake_clock_advance_ms(&world.clock, 1);
	assert_int_equal(canary_batch_events_max(peer, now(&world)), 1);
	(void)canary_heard(peer, now(&world));
	assert_int_equal(canary_batch_events_max(peer, now(&world)), 256);
	end(&world);
}

static void what_was_sent_before_an_answered_canary_has_come_or_is_lost(void **state)
{
	struct world world;
	struct canary_peer *peer;
	uint64_t first, second;
	(void)state;

	peer = begin_pair(&world);
	assert_int_equal(canary_reached_age_ms(peer, now(&world)), -1);
	first = canary_sent(&world.canaries, peer, now(&world));
	fake_clock_advance_ms(&world.clock, INTERVAL_MS);
	second = canary_sent(&world.canaries, peer, now(&world));
	assert_int_equal(canary_reached_age_ms(peer, now(&world)), -1);
	fake_clock_advance_ms(&world.clock, 300);
	assert_true(canary_answered(peer, second, now(&world)));
	assert_int_equal(canary_reached_age_ms(peer, now(&world)), 300);
	assert_true(canary_answered(peer, first, now(&world))); /* late, and of an older one */
	assert_int_equal(canary_reached_age_ms(peer, now(&world)), 300);
	fake_clock_advance_ms(&world.clock, CANARY_TRUSTED_MS);
	assert_int_equal(canary_reached_age_ms(peer, now(&world)), CANARY_TRUSTED_MS + 300);
	fake_clock_advance_ms(&world.clock, 1);
	assert_int_equal(canary_reached_age_ms(peer, now(&world)), -1);
	end(&world);
}

static void one_is_due_each_interval_and_seldom_to_nobody(void **state)
{
	struct world world;
	struct canary_peer *peer;
	size_t sent = 0;
	(void)state;

	peer = begin_pair(&world);
	assert_true(canary_is_due(peer, now(&world)));
	assert_int_equal(canary_sent(&world.canaries, peer, now(&world)), 1);
	assert_false(canary_is_due(peer, now(&world) + INTERVAL_MS - 1));
	assert_int_equal(canaries_next_ms(&world.canaries), now(&world) + INTERVAL_MS);
	for (int step = 0; step < 600; step++) { /* ten minutes without a word */
		fake_clock_advance_ms(&world.clock, 1000);
		if (canary_is_due(peer, now(&world))) {
			canary_sent(&world.canaries, peer, now(&world));
			sent++;
		}
	}
	assert_in_range(sent, 80, 86); /* 30 in the first minute, then 6 a minute */
	(void)canary_heard(peer, now(&world));
	fake_clock_advance_ms(&world.clock, INTERVAL_MS * CANARY_SLOW_FACTOR);
	canary_sent(&world.canaries, peer, now(&world));
	assert_int_equal(canaries_next_ms(&world.canaries), now(&world) + INTERVAL_MS);
	end(&world);
}

static void silence_begins_after_eight_seconds_and_ends_with_a_word(void **state)
{
	struct world world;
	struct canary_peer *peer;
	(void)state;

	peer = begin_pair(&world);
	fake_clock_advance_ms(&world.clock, CANARY_SILENT_MS);
	assert_false(canary_falls_silent(peer, now(&world)));
	fake_clock_advance_ms(&world.clock, 1);
	assert_true(canary_falls_silent(peer, now(&world)));
	assert_false(canary_falls_silent(peer, now(&world))); /* told once */
	assert_true(canary_heard(peer, now(&world)));
	assert_false(canary_heard(peer, now(&world)));
	fake_clock_advance_ms(&world.clock, CANARY_SILENT_MS);
	assert_false(canary_falls_silent(peer, now(&world)));
	fake_clock_advance_ms(&world.clock, 1);
	assert_true(canary_falls_silent(peer, now(&world)));
	end(&world);
}

static void only_known_answers_count_and_once(void **state)
{
	struct world world;
	struct canary_peer *peer;
	uint64_t first, second;
	(void)state;

	peer = begin_pair(&world);
	first = canary_sent(&world.canaries, peer, now(&world));
	assert_int_equal(canary_percentile(peer, 50), -1);
	assert_false(canary_answered(peer, 0, now(&world)));
	assert_false(canary_answered(peer, first + 1, now(&world)));
	fake_clock_advance_ms(&world.clock, 70);
	assert_true(canary_answered(peer, first, now(&world)));
	assert_false(canary_answered(peer, first, now(&world)));
	assert_int_equal(canary_percentile(peer, 50), 70);
	assert_int_equal(canary_percentile(peer, 99), 70);
	first = canary_sent(&world.canaries, peer, now(&world));
	for (size_t i = 0; i < CANARY_SENT_MAX; i++)
		second = canary_sent(&world.canaries, peer, now(&world));
	assert_false(canary_answered(peer, first, now(&world))); /* forgotten by now */
	assert_true(canary_answered(peer, second, now(&world)));
	end(&world);
}

static void percentiles_are_of_the_window_alone(void **state)
{
	struct world world;
	struct canary_peer *peer;
	(void)state;

	peer = begin_pair(&world);
	for (int64_t i = 0; i < 1000 + 100; i++) { /* 1000 slow ones, then 1 to 100 ms */
		uint64_t number = canary_sent(&world.canaries, peer, now(&world));

		fake_clock_advance_ms(&world.clock, i < 1000 ? 5000 : i - 999);
		assert_true(canary_answered(peer, number, now(&world)));
	}
	/* 28 of the window are still slow ones. */
	assert_int_equal(canary_percentile(peer, 50), 64);
	assert_int_equal(canary_percentile(peer, 78), 100);
	assert_int_equal(canary_percentile(peer, 79), 5000);
	assert_int_equal(canary_percentile(peer, 99), 5000);
	end(&world);
}

static const json_t *find_link(const json_t *matrix, const char *from, const char *to)
{
	const json_t *links = json_object_get(matrix, "links");

	for (size_t i = 0; i < json_array_size(links); i++) {
		const json_t *link = json_array_get(links, i);

		if (strcmp(json_get_string(link, "from"), from) == 0 && strcmp(json_get_string(link, "to"), to) == 0)
			return link;
	}
	return NULL;
}

static int64_t number_of(const json_t *object, const char *name)
{
	int64_t value = -1;

	return json_get_integer(object, name, &value) ? value : -1;
}

/* r000 hears r001, which tells of r002; r002 itself is never heard. */
static void the_matrix_is_made_of_everyones_word(void **state)
{
	struct world world, other;
	struct canary_peer *peer;
	const json_t *link;
	json_t *view, *matrix;
	(void)state;

	begin(&world, 3, "r000");
	begin(&other, 3, "r001");
	other.canaries.certificate_days = 88;
	other.canaries.alarms = 1;
	(void)canary_heard(canaries_find(&other.canaries, "r002"), now(&other));
	canaries_find(&other.canaries, "r002")->gaps = 3;
	canaries_find(&other.canaries, "r000")->unreceipted = 7;
	fake_clock_advance_ms(&other.clock, 400);
	view = canary_view(&other.canaries, canaries_find(&other.canaries, "r000"), now(&other));
	peer = canaries_find(&world.canaries, "r001");
	(void)canary_heard(peer, now(&world));
	canary_told(peer, view, now(&world));
	json_decref(view);
	fake_clock_advance_ms(&world.clock, 600);
	matrix = canaries_matrix(&world.canaries, now(&world));
	link = find_link(matrix, "r001", "r000");
	assert_int_equal(number_of(link, "canary_age_ms"), 600);
	assert_int_equal(number_of(link, "unreceipted"), 7);
	assert_false(json_is_true(json_object_get(link, "is_silent")));
	link = find_link(matrix, "r002", "r001"); /* as r001 told, and older by the age of its word */
	assert_int_equal(number_of(link, "canary_age_ms"), 1000);
	assert_int_equal(number_of(link, "gaps"), 3);
	link = find_link(matrix, "r000", "r001"); /* r001 has heard nothing of r000 */
	assert_true(json_is_null(json_object_get(link, "canary_age_ms")));
	assert_true(json_is_true(json_object_get(link, "is_silent")));
	assert_non_null(find_link(matrix, "r001", "r002"));
	assert_null(find_link(matrix, "r002", "r002"));
	link = json_array_get(json_object_get(matrix, "regions"), 1);
	assert_int_equal(number_of(link, "certificate_days"), 88);
	assert_int_equal(number_of(link, "alarms"), 1);
	fake_clock_advance_ms(&world.clock, CANARY_SILENT_MS);
	json_decref(matrix);
	matrix = canaries_matrix(&world.canaries, now(&world));
	assert_true(json_is_true(json_object_get(find_link(matrix, "r001", "r000"), "is_silent")));
	assert_true(json_is_true(json_object_get(find_link(matrix, "r002", "r001"), "is_silent")));
	json_decref(matrix);
	end(&world);
	end(&other);
}

static void a_view_is_bounded_and_no_view_is_trusted(void **state)
{
	struct world world;
	struct canary_peer *peer;
	json_t *view, *matrix;
	(void)state;

	begin(&world, CANARY_VIEW_PEERS_MAX + 2, "r000");
	peer = canaries_find(&world.canaries, "r003");
	view = canary_view(&world.canaries, peer, now(&world));
	assert_int_equal(json_array_size(json_object_get(view, "peers")), 1);
	assert_string_equal(json_get_string(json_array_get(json_object_get(view, "peers"), 0), "region"), "r003");
	json_decref(view);
	view = json_pack("{s:[i,{s:i},{s:s,s:s}],s:s}", "peers", 1, "region", 2, "region", "r000", "canary_age_ms",
		"young", "alarms", "none");
	canary_told(peer, view, now(&world));
	json_decref(view);
	matrix = canaries_matrix(&world.canaries, now(&world));
	assert_true(json_is_null(json_object_get(find_link(matrix, "r000", "r003"), "canary_age_ms")));
	assert_int_equal(json_array_size(json_object_get(matrix, "regions")), CANARY_VIEW_PEERS_MAX + 2);
	json_decref(matrix);
	end(&world);
}

static void who_stays_is_still_known_and_who_comes_is_new(void **state)
{
	struct world world;
	struct canaries fresh;
	struct mesh *mesh = fake_mesh(2, "");
	struct canary_peer *peer;
	json_t *view = json_pack("{s:i}", "alarms", 1);
	uint64_t number;
	(void)state;

	begin(&world, 3, "r000");
	canary_told(canaries_find(&world.canaries, "r001"), view, now(&world));
	canary_told(canaries_find(&world.canaries, "r002"), view, now(&world));
	json_decref(view);
	number = canary_sent(&world.canaries, canaries_find(&world.canaries, "r001"), now(&world));
	fake_clock_advance_ms(&world.clock, CANARY_SILENT_MS + 1);

	/* r002 is retired. */
	assert_int_equal(canaries_init(&fresh, mesh, "r000", INTERVAL_MS, now(&world)), STATUS_OK);
	canaries_follow(&world.canaries, &fresh);
	assert_int_equal(world.canaries.count, 1);
	assert_null(canaries_find(&world.canaries, "r002"));
	assert_int_equal(fresh.count, 1);
	assert_string_equal(fresh.peers[0].region, "r002");
	canaries_release(&fresh);
	peer = canaries_find(&world.canaries, "r001");
	assert_non_null(peer->view);
	assert_true(canary_answered(peer, number, now(&world)));
	assert_true(canary_falls_silent(peer, now(&world)));

	/* And is added again: it is due at once, and nobody calls it silent for what was before. */
	assert_int_equal(canaries_init(&fresh, world.mesh, "r000", INTERVAL_MS, now(&world)), STATUS_OK);
	canaries_follow(&world.canaries, &fresh);
	assert_int_equal(fresh.count, 0);
	canaries_release(&fresh);
	assert_true(canaries_find(&world.canaries, "r001")->is_silent);
	peer = canaries_find(&world.canaries, "r002");
	assert_null(peer->view);
	assert_true(canary_is_due(peer, now(&world)));
	assert_int_equal(canaries_next_ms(&world.canaries), 1000000 + INTERVAL_MS);
	assert_false(canary_falls_silent(peer, now(&world)));
	fake_clock_advance_ms(&world.clock, CANARY_SILENT_MS + 1);
	assert_true(canary_falls_silent(peer, now(&world)));

	/* This region is not in the file any more. */
	assert_int_equal(canaries_init(&fresh, mesh, "r002", INTERVAL_MS, now(&world)), STATUS_OK);
	canaries_follow(&world.canaries, &fresh);
	assert_int_equal(world.canaries.count, 0);
	assert_int_equal(canaries_next_ms(&world.canaries), INT64_MAX);
	canaries_release(&fresh);
	mesh_destroy(mesh);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_link_is_a_peer),
		cmocka_unit_test(what_was_sent_before_an_answered_canary_has_come_or_is_lost),
		cmocka_unit_test(only_a_peer_that_said_so_takes_batches),
		cmocka_unit_test(one_is_due_each_interval_and_seldom_to_nobody),
		cmocka_unit_test(silence_begins_after_eight_seconds_and_ends_with_a_word),
		cmocka_unit_test(only_known_answers_count_and_once),
		cmocka_unit_test(percentiles_are_of_the_window_alone),
		cmocka_unit_test(the_matrix_is_made_of_everyones_word),
		cmocka_unit_test(who_stays_is_still_known_and_who_comes_is_new),
		cmocka_unit_test(a_view_is_bounded_and_no_view_is_trusted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

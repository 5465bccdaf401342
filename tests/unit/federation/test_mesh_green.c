/* SPDX-License-Identifier: Apache-2.0 */
/* A link is green only when brokers, canary and receipts agree; and which broken links are restarted, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_broker.h"

static const struct mesh_link_status good_link = { .from = 0,
	.to = 1,
	.state = "running",
	.has_binding = true,
	.has_consumer = true,
	.has_buffer = true,
	.is_green = true };
static const struct mesh_link_word good_word = { .canary_age_ms = 900, .unreceipted = 0 };

static void expect(struct mesh_link_status link, const struct mesh_link_word *word, const char *expected)
{
	struct mesh *mesh = fake_mesh(2, "");
	struct strbuf reason = STRBUF_INIT;

	mesh_link_reason(mesh, &link, word, &reason);
	assert_string_equal(reason.data, expected);
	strbuf_release(&reason);
	mesh_destroy(mesh);
}

static void each_witness_is_heard(void **state)
{
	struct mesh_link_status link = good_link;
	struct mesh_link_word word = good_word;
	(void)state;

	expect(link, &word, "");
	expect(link, NULL, "");
	link.has_consumer = false;
	expect(link, NULL, "nobody consumes its buffer");
	link.has_binding = false;
	expect(link, &word, "r000 has no binding for it");
	memcpy(link.state, "starting", 9);
	expect(link, &word, "the link is starting");
	memcpy(link.state, "unknown", 8);
	expect(link, &word, "the broker of r001 does not answer");
	word.unreceipted = 3;
	expect(good_link, &word, "3 events without a receipt");
	word.unreceipted = -1;
	expect(good_link, &word, "nothing is known of its receipts");
	word.canary_age_ms = MESH_CANARY_AGE_MAX_MS;
	word.unreceipted = 0;
	expect(good_link, &word, "");
	word.canary_age_ms = 12345;
	expect(good_link, &word, "no canary for 12 s");
	assert_true(mesh_link_is_silent(&word));
	word.told_age_ms = 11000; /* the receiver's word is old, and was good */
	expect(good_link, &word, "r001 was not heard for 11 s, which would know");
	assert_false(mesh_link_is_silent(&word));
	word.canary_age_ms = -1;
	expect(good_link, &word, "no canary is known");
	assert_false(mesh_link_is_silent(&word));
}

static void the_daemons_answer_is_read(void **state)
{
	json_t *matrix = json_pack("{s:[{s:s,s:s,s:i,s:n,s:i},{s:i}],s:[{s:s,s:i,s:i,s:i},{s:s,s:i,s:i,s:i}]}", "links",
		"from", "na", "to", "eu", "canary_age_ms", 5, "gaps", "unreceipted", 2, "from", 7, "regions", "region",
		"na", "certificate_days", 20, "alarms", 1, "told_age_ms", 0, "region", "eu", "certificate_days", 9,
		"alarms", 2, "told_age_ms", 44);
	struct mesh_link_word word = mesh_link_word(matrix, "na", "eu");
	(void)state;

	assert_non_null(matrix);
	assert_int_equal(word.canary_age_ms, 5);
	assert_int_equal(word.unreceipted, 2);
	assert_int_equal(word.gaps, -1);
	assert_int_equal(word.round_trip_p99_ms, -1);
	assert_int_equal(word.certificate_days, 9);
	assert_int_equal(word.alarms, 3);
	assert_int_equal(word.told_age_ms, 44);
	word = mesh_link_word(matrix, "eu", "na");
	assert_int_equal(word.canary_age_ms, -1);
	assert_int_equal(word.certificate_days, 9);
	word = mesh_link_word(NULL, "na", "eu");
	assert_int_equal(word.alarms, -1);
	json_decref(matrix);
}

static void restarts_are_bounded_and_wait_longer_each_time(void **state)
{
	struct mesh_heal_state heal = { 0, 0 };
	int64_t now_ms = 1000;
	(void)state;

	for (size_t i = 0; i < MESH_HEAL_ATTEMPTS_MAX; i++) {
		assert_true(mesh_heal_may_try(&heal, now_ms));
		mesh_heal_tried(&heal, now_ms);
		now_ms += (int64_t)(MESH_HEAL_PAUSE_MS << i) - 1;
		assert_false(mesh_heal_may_try(&heal, now_ms));
		now_ms++;
	}
	assert_false(mesh_heal_may_try(&heal, now_ms + 1000000));
}

struct world {
	struct mesh *mesh;
	struct fake_brokers brokers;
	struct mesh_api api;
	struct strbuf why;
};

static void put(struct world *world, const char *path, json_t *item)
{
	assert_non_null(item);
	assert_int_equal(json_object_set_new(world->brokers.items, path, item), 0);
}

static enum mesh_heal_outcome heal(struct world *world, const char *state, bool is_dry_run)
{
	struct mesh_link_status link = good_link;

	snprintf(link.state, sizeof(link.state), "%s", state);
	strbuf_reset(&world->why);
	return mesh_heal_link(world->mesh, &world->api, &link, is_dry_run, &world->why);
}

static void only_what_is_ours_and_keeps_its_buffer_is_restarted(void **state)
{
	struct world world = { .mesh = fake_mesh(2, "") };
	(void)state;

	strbuf_init(&world.why);
	world.brokers = (struct fake_brokers){ .mesh = world.mesh, .items = json_object() };
	world.api = fake_api(&world.brokers);
	assert_int_equal(heal(&world, "missing", false), MESH_HEAL_LEFT);
	assert_non_null(strstr(world.why.data, "there is no such link"));
	put(&world, "1 /api/federation-links/homeward/b",
		json_pack(
			"{s:s,s:s,s:s,s:s}", "upstream", "somebody", "exchange", MESH_EVENTS, "id", "b", "node", "n"));
	assert_int_equal(heal(&world, "running", false), MESH_HEAL_LEFT);
	put(&world, "1 /api/federation-links/homeward/a",
		json_pack("{s:s,s:s,s:s,s:s}", "upstream", "homeward-r000", "exchange", MESH_EVENTS, "id", "a", "node",
			"n@host"));
	put(&world, "1 /api/parameters/federation-upstream/homeward/homeward-r000",
		json_pack("{s:{s:s}}", "value", "resource-cleanup-mode", "default"));
	assert_int_equal(heal(&world, "running", false), MESH_HEAL_LEFT);
	assert_non_null(strstr(world.why.data, "would take its buffer"));
	put(&world, "1 /api/parameters/federation-upstream/homeward/homeward-r000",
		json_pack("{s:{s:s}}", "value", "resource-cleanup-mode", "never"));
	assert_int_equal(heal(&world, "starting", false), MESH_HEAL_LEFT);
	assert_int_equal(heal(&world, "unknown", false), MESH_HEAL_LEFT);
	assert_int_equal(heal(&world, "running", true), MESH_HEAL_WOULD_RESTART);
	assert_int_equal(world.brokers.change_count, 0);
	put(&world, "1 /api/federation-links/vhost/homeward/a/n%40host/restart", json_object());
	assert_int_equal(heal(&world, "error", false), MESH_HEAL_RESTARTED);
	assert_int_equal(world.brokers.change_count, 1);
	assert_int_equal(heal(&world, "error", false), MESH_HEAL_FAILED); /* the fake forgot it: 404 */
	strbuf_release(&world.why);
	json_decref(world.brokers.items);
	mesh_destroy(world.mesh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_witness_is_heard),
		cmocka_unit_test(the_daemons_answer_is_read),
		cmocka_unit_test(restarts_are_bounded_and_wait_longer_each_time),
		cmocka_unit_test(only_what_is_ours_and_keeps_its_buffer_is_restarted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A paused link: taken away with its buffer kept, known to plan and status, and brought back as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_broker.h"

#define UPSTREAM "1 /api/parameters/federation-upstream/homeward/homeward-r000"
#define PARAMETER "1 /api/global-parameters/homeward-paused.homeward.r000"

struct world {
	struct mesh *mesh;
	struct fake_brokers brokers;
	struct mesh_api api;
	struct strbuf why;
};

static size_t steps(struct world *world)
{
	struct mesh_plan plan;
	size_t count;

	assert_int_equal(mesh_plan_read(world->mesh, &world->api, &plan, &world->why), STATUS_OK);
	count = plan.count;
	mesh_plan_release(&plan);
	return count;
}

static void begin(struct world *world)
{
	struct mesh_plan plan;
	size_t done;

	*world = (struct world){ .mesh = fake_mesh(2, "") };
	strbuf_init(&world->why);
	world->brokers = (struct fake_brokers){ .mesh = world->mesh, .items = json_object() };
	world->api = fake_api(&world->brokers);
	assert_int_equal(mesh_plan_read(world->mesh, &world->api, &plan, &world->why), STATUS_OK);
	assert_int_equal(mesh_apply(world->mesh, &world->api, &plan, &done, &world->why), STATUS_OK);
	mesh_plan_release(&plan);
	assert_int_equal(steps(world), 0);
}

static void end(struct world *world)
{
	strbuf_release(&world->why);
	json_decref(world->brokers.items);
	mesh_destroy(world->mesh);
}

static void a_pause_is_no_difference_and_ends(void **state)
{
	struct mesh_health health;
	struct world world;
	json_t *before;
	(void)state;

	begin(&world);
	before = json_deep_copy(json_object_get(world.brokers.items, UPSTREAM));
	assert_non_null(before);
	assert_int_equal(mesh_pause_link(world.mesh, &world.api, 0, 1, &world.why), STATUS_OK);
	assert_null(json_object_get(world.brokers.items, UPSTREAM));
	assert_non_null(json_object_get(world.brokers.items, PARAMETER));
	assert_int_equal(steps(&world), 0);
	assert_int_equal(mesh_health_read(world.mesh, &world.api, &health), STATUS_OK);
	assert_string_equal(health.links[0].state, MESH_PAUSED);
	assert_false(health.links[0].is_green);
	assert_string_equal(health.links[1].state, "missing"); /* the other way is not paused */
	mesh_health_release(&health);
	assert_int_equal(mesh_resume_link(world.mesh, &world.api, 0, 1, &world.why), STATUS_OK);
	assert_null(json_object_get(world.brokers.items, PARAMETER));
	assert_true(json_equal(json_object_get(world.brokers.items, UPSTREAM), before));
	assert_int_equal(steps(&world), 0);
	json_decref(before);
	end(&world);
}

static void what_is_half_done_is_finished_by_apply(void **state)
{
	struct world world;
	(void)state;

	begin(&world);
	world.brokers.fail_at_change = world.brokers.change_count + 2; /* the parameter is there, the upstream stays */
	assert_int_not_equal(mesh_pause_link(world.mesh, &world.api, 0, 1, &world.why), STATUS_OK);
	assert_int_equal(steps(&world), 1);
	world.brokers.fail_at_change = world.brokers.change_count + 2; /* the parameter is gone */
	assert_int_equal(mesh_pause_link(world.mesh, &world.api, 0, 1, &world.why), STATUS_BAD_PEER);
	world.brokers.fail_at_change = 0;
	assert_int_equal(mesh_pause_link(world.mesh, &world.api, 0, 1, &world.why), STATUS_OK);
	assert_int_equal(steps(&world), 0);
	world.brokers.fail_at_change = world.brokers.change_count + 2;
	assert_int_equal(mesh_resume_link(world.mesh, &world.api, 0, 1, &world.why), STATUS_BAD_PEER);
	assert_int_equal(steps(&world), 1); /* to create the upstream */
	end(&world);
}

static void a_buffer_that_would_go_is_not_paused(void **state)
{
	struct world world;
	(void)state;

	begin(&world);
	json_object_set_new(json_object_get(json_object_get(world.brokers.items, UPSTREAM), "value"),
		"resource-cleanup-mode", json_string("default"));
	assert_int_equal(mesh_pause_link(world.mesh, &world.api, 0, 1, &world.why), STATUS_CONFLICT);
	assert_non_null(strstr(world.why.data, "the buffer would go with the link"));
	assert_null(json_object_get(world.brokers.items, PARAMETER));
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pause_is_no_difference_and_ends),
		cmocka_unit_test(what_is_half_done_is_finished_by_apply),
		cmocka_unit_test(a_buffer_that_would_go_is_not_paused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

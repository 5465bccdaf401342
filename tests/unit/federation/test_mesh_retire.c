/* SPDX-License-Identifier: Apache-2.0 */
/* Retiring a region: what is judged, what is removed, and that a stop half way is gone on with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_broker.h"

#define GONE "r001" /* of r000, r001, r002 */

struct world {
	struct mesh *whole, *left;
	struct fake_brokers brokers;
	struct mesh_retirement retirement;
	struct strbuf why;
};

/* Region i of the mesh without r001 is broker i of that without it: so r002 is broker 1. */
static void begin(struct world *world)
{
	struct mesh_plan plan;
	size_t done;

	*world = (struct world){ .whole = fake_mesh(3, "") };
	strbuf_init(&world->why);
	world->brokers = (struct fake_brokers){ .mesh = world->whole, .items = json_object() };
	world->retirement.own_api = fake_api(&world->brokers);
	assert_int_equal(mesh_plan_read(world->whole, &world->retirement.own_api, &plan, &world->why), STATUS_OK);
	assert_int_equal(mesh_apply(world->whole, &world->retirement.own_api, &plan, &done, &world->why), STATUS_OK);
	mesh_plan_release(&plan);
}

static enum status of_left(void *arg, size_t region, const char *method, const char *path, const json_t *body,
	int *http_status_out, json_t **answer_out, struct strbuf *why)
{
	return fake_call(arg, region == 0 ? 0 : 2, method, path, body, http_status_out, answer_out, why);
}

/* The mesh of r000 and r002. */
static void leave(struct world *world)
{
	static const char text[] =
		"{\"trust_domain\": \"lab.example\", \"regions\": {"
		"\"r000\": {\"peer_urls\": [\"https://r000.example:7443\"], \"broker_urls\": "
		"[\"amqps://r000.example:5671\"],"
		"\"management\": {\"url\": \"https://r000.example:15671\", \"user\": \"op\", \"password_file\": \"p\"},"
		"\"link\": {\"ca_file\": \"/etc/ca.pem\", \"certificate_file\": \"/etc/r.pem\", \"key_file\": "
		"\"/etc/r.key\"}},"
		"\"r002\": {\"peer_urls\": [\"https://r002.example:7443\"], \"broker_urls\": "
		"[\"amqps://r002.example:5671\"],"
		"\"management\": {\"url\": \"https://r002.example:15671\", \"user\": \"op\", \"password_file\": \"p\"},"
		"\"link\": {\"ca_file\": \"/etc/ca.pem\", \"certificate_file\": \"/etc/r.pem\", \"key_file\": "
		"\"/etc/r.key\"}}}}";

	assert_int_equal(mesh_parse("mesh.json", text, sizeof(text) - 1, &world->left, &world->why), STATUS_OK);
	world->retirement.whole = world->whole;
	world->retirement.left = world->left;
	world->retirement.region = mesh_region_find(world->whole, GONE);
	world->retirement.api = (struct mesh_api){ of_left, &world->brokers };
}

static void end(struct world *world)
{
	strbuf_release(&world->why);
	json_decref(world->brokers.items);
	mesh_destroy(world->left);
	mesh_destroy(world->whole);
}

static bool mentions(const struct world *world, const char *part)
{
	const char *name;
	json_t *item;

	json_object_foreach(
		world->brokers.items, name, item) if (name[0] != '1' && strstr(name, part) != NULL) return true;
	return false;
}

static enum status retire(struct world *world, size_t *planned)
{
	struct mesh_plan plan;
	size_t done;
	enum status status;

	assert_int_equal(mesh_retire_plan(&world->retirement, &plan, &world->why), STATUS_OK);
	*planned = plan.count;
	status = mesh_retire_remove(&world->retirement, &plan, false, &done, &world->why);
	mesh_plan_release(&plan);
	return status;
}

static void only_what_is_the_regions_goes(void **state)
{
	struct world world;
	size_t planned;
	(void)state;

	begin(&world);
	leave(&world);
	/* A difference elsewhere is none of a retirement's business. */
	json_object_set_new(world.brokers.items, "0 /api/policies/homeward/homeward-old",
		json_pack("{s:s,s:s,s:s,s:i,s:{}}", "name", "homeward-old", "pattern", "x", "apply-to", "queues",
			"priority", 1, "definition"));
	assert_true(mentions(&world, GONE));
	assert_int_equal(retire(&world, &planned), STATUS_OK);
	assert_int_equal(planned, 8); /* at two brokers: user, two permissions, upstream */
	assert_false(mentions(&world, GONE));
	assert_true(mentions(&world, "homeward-old"));
	assert_null(json_object_get(world.brokers.items, "1 /api/policies/homeward/homeward-federate"));
	assert_int_equal(retire(&world, &planned), STATUS_OK);
	assert_int_equal(planned, 0);
	end(&world);
}

static void a_stop_half_way_is_gone_on_with(void **state)
{
	struct world world;
	size_t planned;
	(void)state;

	begin(&world);
	leave(&world);
	world.brokers.fail_at_change = world.brokers.change_count + 4; /* its own policy, and two steps, are done */
	assert_int_not_equal(retire(&world, &planned), STATUS_OK);
	assert_true(mentions(&world, GONE));
	world.brokers.fail_at_change = 0;
	world.retirement.is_gone = true;
	assert_int_equal(retire(&world, &planned), STATUS_OK);
	assert_int_equal(planned, 6);
	assert_false(mentions(&world, GONE));
	end(&world);
}

static void what_waits_decides(void **state)
{
	struct mesh_waiting waiting[] = { { 0, 1, 3, 5 }, { 1, 0, 0, 0 }, { 2, 1, 2, 0 }, { 1, 2, 0, 0 } };
	struct mesh_retirement retirement = { .region = 1 };
	int64_t total;
	(void)state;

	assert_int_equal(mesh_retire_judge(&retirement, waiting, 4, -1, &total), MESH_RETIRE_WOULD_LOSE);
	assert_int_equal(total, 7);
	assert_int_equal(mesh_retire_judge(&retirement, waiting, 4, 6, &total), MESH_RETIRE_TOO_MANY);
	assert_int_equal(mesh_retire_judge(&retirement, waiting, 4, 7, &total), MESH_RETIRE_MAY);
	assert_int_equal(mesh_retire_judge(&retirement, waiting, 4, 8, &total), MESH_RETIRE_MAY);
	waiting[0] = (struct mesh_waiting){ 0, 1, 0, 0 };
	waiting[2] = (struct mesh_waiting){ 2, 1, 0, -1 };
	assert_int_equal(mesh_retire_judge(&retirement, waiting, 4, -1, &total), MESH_RETIRE_UNKNOWN);
	assert_int_equal(mesh_retire_judge(&retirement, waiting, 4, 0, &total), MESH_RETIRE_MAY);
	waiting[2].unreceipted = 0;
	waiting[3] = (struct mesh_waiting){ 1, 2, -1, -1 };
	assert_int_equal(mesh_retire_judge(&retirement, waiting, 4, -1, &total), MESH_RETIRE_UNKNOWN);
	retirement.is_gone = true; /* nobody can know what it still had */
	assert_int_equal(mesh_retire_judge(&retirement, waiting, 4, -1, &total), MESH_RETIRE_MAY);
}

static void a_depth_that_is_not_told_is_unknown(void **state)
{
	struct mesh_waiting waiting[8];
	struct world world;
	(void)state;

	begin(&world);
	leave(&world);
	json_object_set_new(world.brokers.items, "0 /api/queues/homeward/federation%3A%20homeward.events%20-%3E%20r001",
		json_pack("{s:i}", "messages", 4));
	json_object_set_new(world.brokers.items, "2 /api/queues/homeward/federation%3A%20homeward.events%20-%3E%20r001",
		json_object());
	assert_int_equal(mesh_retire_look(&world.retirement, NULL, waiting, 8), 4);
	assert_int_equal(waiting[0].buffered, 4);
	assert_int_equal(waiting[0].unreceipted, -1);
	assert_int_equal(waiting[2].buffered, -1);
	assert_int_equal(mesh_waiting_count(&waiting[0]), 4);
	assert_int_equal(mesh_waiting_count(&waiting[2]), 0);
	world.brokers.is_unreachable = true;
	assert_int_equal(mesh_retire_reach(&world.retirement, &world.why), STATUS_UNREACHABLE);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_the_regions_goes),
		cmocka_unit_test(a_stop_half_way_is_gone_on_with),
		cmocka_unit_test(what_waits_decides),
		cmocka_unit_test(a_depth_that_is_not_told_is_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

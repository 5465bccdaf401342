/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for federation/mesh_health.c: a link is green only when everything agrees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake_broker.h"

#define BUFFER "federation: homeward.events -> r001"

struct world {
	struct mesh *mesh;
	struct fake_brokers brokers;
	struct mesh_api api;
	struct mesh_health health;
};

static void put(struct world *world, const char *path, json_t *item)
{
	assert_non_null(item);
	assert_int_equal(json_object_set_new(world->brokers.items, path, item), 0);
}

/* Two regions, applied, with what the plugin makes once r001 has its link to r000. */
static void begin(struct world *world)
{
	struct mesh_plan plan;
	struct strbuf why = STRBUF_INIT;
	size_t done;

	*world = (struct world){ .mesh = fake_mesh(2, "") };
	world->brokers = (struct fake_brokers){ .mesh = world->mesh, .items = json_object() };
	world->api = fake_api(&world->brokers);
	assert_int_equal(mesh_plan_read(world->mesh, &world->api, &plan, &why), STATUS_OK);
	assert_int_equal(mesh_apply(world->mesh, &world->api, &plan, &done, &why), STATUS_OK);
	mesh_plan_release(&plan);
	strbuf_release(&why);
	put(world, "1 /api/federation-links/homeward/a",
		json_pack("{s:s,s:s}", "upstream", "homeward-r000", "status", "running"));
	put(world, "0 /api/queues/homeward/" BUFFER,
		json_pack("{s:s,s:b,s:b,s:{},s:i,s:i}", "name", BUFFER, "durable", 1, "auto_delete", 0, "arguments",
			"messages", 4, "consumers", 1));
	put(world, "0 /api/exchanges/homeward/homeward.events/bindings/source/a",
		json_pack("{s:s,s:s,s:s}", "destination", BUFFER " B", "destination_type", "exchange", "routing_key",
			"r001.#"));
}

static void look(struct world *world)
{
	mesh_health_release(&world->health);
	assert_int_equal(mesh_health_read(world->mesh, &world->api, &world->health), STATUS_OK);
}

static void end(struct world *world)
{
	mesh_health_release(&world->health);
	json_decref(world->brokers.items);
	mesh_destroy(world->mesh);
}

static const struct mesh_finding *found(const struct world *world, const char *code, const char *where)
{
	for (size_t i = 0; i < world->health.finding_count; i++)
		if (strcmp(world->health.findings[i].code, code) == 0 &&
			strcmp(world->health.findings[i].where, where) == 0)
			return &world->health.findings[i];
	return NULL;
}

static const struct mesh_link_status *first_link(const struct world *world)
{
	assert_int_equal(world->health.link_count, 2);
	return &world->health.links[0]; /* r000 -> r001 */
}

static void a_link_that_runs_is_bound_and_consumed_is_green(void **state)
{
	struct world world;
	(void)state;

	begin(&world);
	look(&world);
	assert_true(first_link(&world)->is_green);
	assert_int_equal(first_link(&world)->message_count, 4);
	/* The other way there is no link yet. */
	assert_false(world.health.links[1].is_green);
	assert_string_equal(world.health.links[1].state, "missing");
	assert_non_null(found(&world, "MESH_003", "r001 -> r000"));
	assert_null(found(&world, "MESH_003", "r000 -> r001"));
	assert_null(found(&world, "MESH_002", "r000"));
	end(&world);
}

static void running_without_its_binding_is_dead(void **state)
{
	static const char *const bindings[] = { BUFFER " C:r002", BUFFER, BUFFER "x B" };
	struct world world;
	(void)state;

	begin(&world);
	for (size_t i = 0; i < 3; i++) {
		json_object_set_new(json_object_get(world.brokers.items,
					    "0 /api/exchanges/homeward/homeward.events/bindings/source/a"),
			"destination", json_string(bindings[i]));
		look(&world);
		assert_string_equal(first_link(&world)->state, "running");
		assert_false(first_link(&world)->is_green);
		assert_non_null(found(&world, "MESH_004", "r000 -> r001"));
	}
	end(&world);
}

static void a_buffer_nobody_consumes_is_named_with_what_waits(void **state)
{
	struct world world;
	(void)state;

	begin(&world);
	json_object_set_new(
		json_object_get(world.brokers.items, "0 /api/queues/homeward/" BUFFER), "consumers", json_integer(0));
	look(&world);
	assert_false(first_link(&world)->is_green);
	assert_non_null(found(&world, "MESH_005", "r000 -> r001"));
	assert_non_null(strstr(found(&world, "MESH_005", "r000 -> r001")->evidence, "4 events wait"));
	end(&world);
}

static void the_plugins_words_are_explained(void **state)
{
	static const struct {
		const char *error, *fix;
	} cases[] = {
		{ "{tls_alert,{bad_cert,hostname_check_failed}}", "is not in that broker's certificate" },
		{ "TLS client: In state ... Unknown CA", "another authority" },
		{ "ACCESS_REFUSED - access to topic '#' in exchange", "remove it (MESH_006)" },
		{ "ACCESS_REFUSED - access to queue 'x' refused for user 'r002'", "another region's" },
		{ "econnrefused", "nothing listens there" },
		{ "something new", "homeward mesh plan" },
	};
	struct world world;
	(void)state;

	begin(&world);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put(&world, "1 /api/federation-links/homeward/a",
			json_pack("{s:s,s:s,s:s}", "upstream", "homeward-r000", "status", "error", "error",
				cases[i].error));
		look(&world);
		const struct mesh_finding *finding = found(&world, "MESH_003", "r000 -> r001");
		assert_non_null(finding);
		assert_non_null(strstr(finding->evidence, cases[i].error));
		assert_non_null(strstr(finding->fix, cases[i].fix));
	}
	end(&world);
}

static void differences_strays_and_alarms_are_findings(void **state)
{
	struct world world;
	(void)state;

	begin(&world);
	json_object_set_new(json_object_get(world.brokers.items, "0 /api/queues/homeward/homeward.unroutable"),
		"messages", json_integer(3));
	json_object_set_new(json_object_get(world.brokers.items, "0 /api/queues/homeward/homeward.dead"), "messages",
		json_integer(1));
	json_object_del(world.brokers.items, "1 /api/topic-permissions/homeward/r000");
	put(&world, "1 /api/nodes/a", json_pack("{s:s,s:b,s:b}", "name", "node", "mem_alarm", 1, "disk_free_alarm", 0));
	look(&world);
	assert_string_equal(found(&world, "MESH_007", "r000")->evidence, "3 events in homeward.unroutable");
	assert_string_equal(found(&world, "MESH_008", "r000")->evidence, "1 events in homeward.dead");
	assert_string_equal(found(&world, "MESH_002", "r001")->evidence, "topic-permission r000: to create");
	assert_string_equal(found(&world, "MESH_009", "r001")->evidence, "mem_alarm at node");
	end(&world);
}

static void a_broker_that_calls_itself_otherwise_is_a_finding(void **state)
{
	struct world world;
	(void)state;

	begin(&world);
	free(world.mesh->regions[1].cluster);
	world.mesh->regions[1].cluster = strdup("other");
	world.brokers.mesh = fake_mesh(2, "");
	look(&world);
	assert_non_null(found(&world, "MESH_001", "r001"));
	assert_non_null(strstr(found(&world, "MESH_001", "r001")->evidence, "calls itself \"r001\""));
	mesh_destroy((struct mesh *)(uintptr_t)world.brokers.mesh);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_link_that_runs_is_bound_and_consumed_is_green),
		cmocka_unit_test(running_without_its_binding_is_dead),
		cmocka_unit_test(a_buffer_nobody_consumes_is_named_with_what_waits),
		cmocka_unit_test(the_plugins_words_are_explained),
		cmocka_unit_test(differences_strays_and_alarms_are_findings),
		cmocka_unit_test(a_broker_that_calls_itself_otherwise_is_a_finding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for federation/mesh_{desire,observe,plan,plan_show,apply}.c over brokers in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "fake_broker.h"

struct world {
	struct mesh *mesh;
	struct fake_brokers brokers;
	struct mesh_api api;
	struct mesh_plan plan;
	struct strbuf why;
	size_t done;
};

static void begin(struct world *world, size_t count, const char *more)
{
	*world = (struct world){ .mesh = fake_mesh(count, more) };
	world->brokers = (struct fake_brokers){ .mesh = world->mesh, .items = json_object() };
	world->api = fake_api(&world->brokers);
	strbuf_init(&world->why);
}

static void end(struct world *world)
{
	mesh_plan_release(&world->plan);
	json_decref(world->brokers.items);
	mesh_destroy(world->mesh);
	strbuf_release(&world->why);
}

static void plan(struct world *world)
{
	mesh_plan_release(&world->plan);
	enum status status = mesh_plan_read(world->mesh, &world->api, &world->plan, &world->why);
	if (status != STATUS_OK)
		print_error("%s\n", world->why.data);
	assert_int_equal(status, STATUS_OK);
}

static void apply(struct world *world)
{
	plan(world);
	assert_int_equal(mesh_apply(world->mesh, &world->api, &world->plan, &world->done, &world->why), STATUS_OK);
	assert_int_equal(world->done, world->plan.count);
}

/* What was put at `path` of region 0. */
static json_t *item(struct world *world, const char *path)
{
	json_t *found = json_object_get(world->brokers.items, path);

	if (found == NULL)
		print_error("nothing at %s\n", path);
	assert_non_null(found);
	return found;
}

static const struct mesh_step *only_step(struct world *world)
{
	assert_int_equal(world->plan.count, 1);
	return &world->plan.steps[0];
}

static void what_was_applied_leaves_no_difference(void **state)
{
	struct world world;
	struct strbuf text = STRBUF_INIT;
	(void)state;

	begin(&world, 3, "");
	plan(&world);
	assert_int_equal(world.plan.removals + world.plan.links_restarted + world.plan.buffers_at_risk, 0);
	assert_int_equal(world.plan.brokers_touched, 3);
	assert_int_equal(world.brokers.change_count, 0);
	apply(&world);
	plan(&world);
	assert_int_equal(world.plan.count, 0);
	mesh_plan_print(world.mesh, &world.plan, &text);
	assert_string_equal(text.data, "No difference: 3 regions are as the mesh file says.\n");
	strbuf_release(&text);
	end(&world);
}

/* The whole of one region of two, in order: what a change of the recipe shows up in. */
static const char *const recipe[] = {
	"vhost homeward {}",
	"user r000 {\"password_hash\":\"\",\"tags\":\"homeward\"}",
	"user r001 {\"password_hash\":\"\",\"tags\":\"homeward\"}",
	"topic-permission r000 "
	"{\"exchange\":\"homeward.events\",\"read\":\"^$\",\"write\":\"^[a-z0-9-]+\\\\.r000\\\\.\"}",
	"topic-permission r001 "
	"{\"exchange\":\"homeward.events\",\"read\":\"^(r001|all)\\\\.\",\"write\":\"^$\"}",
	"permission r000 "
	"{\"configure\":\"^$\",\"read\":\"^homeward\\\\.(inbox|submit|dead|unroutable)$\",\"write\":"
	"\"^homeward\\\\.(events|submit|delivered|system|dead|unroutable)$\"}",
	"permission r001 {\"configure\":\"^federation: homeward\\\\.events -> r001( [AB])?$\",\"read\":"
	"\"^federation: homeward\\\\.events -> r001( [AB])?$|^homeward\\\\.events$\",\"write\":"
	"\"^federation: homeward\\\\.events -> r001( [AB])?$\"}",
	"operator-policy homeward-buffers "
	"{\"apply-to\":\"queues\",\"definition\":{\"max-length-bytes\":1073741824},"
	"\"pattern\":\"^federation: homeward\\\\.events -> \",\"priority\":1000}",
	"operator-policy homeward-queues "
	"{\"apply-to\":\"queues\",\"definition\":{\"max-length-bytes\":4294967296},"
	"\"pattern\":\"^homeward\\\\.(inbox|submit|unroutable|dead)$\",\"priority\":1000}",
	"exchange homeward.dead "
	"{\"arguments\":{},\"auto_delete\":false,\"durable\":true,\"internal\":false,\"type\":\"fanout\"}",
	"exchange homeward.delivered "
	"{\"arguments\":{},\"auto_delete\":false,\"durable\":true,\"internal\":false,\"type\":\"topic\"}",
	"exchange homeward.events "
	"{\"arguments\":{},\"auto_delete\":false,\"durable\":true,\"internal\":false,\"type\":\"topic\"}",
	"exchange homeward.submit "
	"{\"arguments\":{},\"auto_delete\":false,\"durable\":true,\"internal\":false,\"type\":\"topic\"}",
	"exchange homeward.system "
	"{\"arguments\":{},\"auto_delete\":false,\"durable\":true,\"internal\":false,\"type\":\"topic\"}",
	"exchange homeward.unroutable "
	"{\"arguments\":{},\"auto_delete\":false,\"durable\":true,\"internal\":false,\"type\":\"fanout\"}",
	"queue homeward.dead {\"arguments\":{\"x-overflow\":\"reject-publish\",\"x-queue-type\":\"quorum\"},"
	"\"auto_delete\":false,\"durable\":true}",
	"queue homeward.inbox "
	"{\"arguments\":{\"x-dead-letter-exchange\":\"homeward.dead\",\"x-dead-letter-strategy\":"
	"\"at-least-once\",\"x-delivery-limit\":20,\"x-overflow\":\"reject-publish\",\"x-queue-type\":"
	"\"quorum\","
	"\"x-single-active-consumer\":true},\"auto_delete\":false,\"durable\":true}",
	"queue homeward.submit "
	"{\"arguments\":{\"x-dead-letter-exchange\":\"homeward.dead\",\"x-dead-letter-strategy\":"
	"\"at-least-once\",\"x-delivery-limit\":20,\"x-overflow\":\"reject-publish\",\"x-queue-type\":"
	"\"quorum\"},"
	"\"auto_delete\":false,\"durable\":true}",
	"queue homeward.unroutable "
	"{\"arguments\":{\"x-overflow\":\"reject-publish\",\"x-queue-type\":\"quorum\"},"
	"\"auto_delete\":false,\"durable\":true}",
	"binding homeward.dead -> homeward.dead  "
	"{\"arguments\":{},\"destination\":\"homeward.dead\",\"routing_key\":\"\",\"source\":\"homeward."
	"dead\"}",
	"binding homeward.events -> homeward.inbox all.# "
	"{\"arguments\":{},\"destination\":\"homeward.inbox\",\"routing_key\":\"all.#\",\"source\":\"homeward."
	"events\"}",
	"binding homeward.events -> homeward.inbox r000.# "
	"{\"arguments\":{},\"destination\":\"homeward.inbox\",\"routing_key\":\"r000.#\",\"source\":\"homeward."
	"events\"}",
	"binding homeward.submit -> homeward.submit # "
	"{\"arguments\":{},\"destination\":\"homeward.submit\",\"routing_key\":\"#\",\"source\":\"homeward."
	"submit\"}",
	"binding homeward.unroutable -> homeward.unroutable  "
	"{\"arguments\":{},\"destination\":\"homeward.unroutable\",\"routing_key\":\"\",\"source\":\"homeward."
	"unroutable\"}",
	"upstream homeward-r001 {\"ack-mode\":\"on-confirm\",\"exchange\":\"homeward.events\",\"max-hops\":1,"
	"\"prefetch-count\":1000,\"reconnect-delay\":5,\"resource-cleanup-mode\":\"never\",\"trust-user-id\":"
	"false,\"uri\":"
	"\"amqps://r001.example:5671/homeward?cacertfile=/etc/ca.pem&certfile=/etc/r.pem&keyfile=/etc/"
	"r.key&verify=verify_peer"
	"&server_name_indication=r001.example&auth_mechanism=external&heartbeat=10&connection_timeout=10000\"}",
	"policy homeward-buffers "
	"{\"apply-to\":\"queues\",\"definition\":{\"max-length-bytes\":1073741824,\"overflow\":"
	"\"reject-publish\",\"queue-mode\":\"lazy\"},\"pattern\":\"^federation: homeward\\\\.events -> "
	"\",\"priority\":1000}",
	"policy homeward-federate "
	"{\"apply-to\":\"exchanges\",\"definition\":{\"alternate-exchange\":\"homeward.unroutable\","
	"\"federation-upstream-set\":\"all\"},\"pattern\":\"^homeward\\\\.events$\",\"priority\":1000}",
};

static void the_recipe_is_this(void **state)
{
	struct mesh *mesh = fake_mesh(2, "");
	struct mesh_state desired;
	(void)state;

	assert_int_equal(mesh_desire(mesh, 0, &desired), STATUS_OK);
	assert_int_equal(desired.count, sizeof(recipe) / sizeof(recipe[0]));
	for (size_t i = 0; i < desired.count; i++) {
		struct strbuf line = STRBUF_INIT;
		char *value = json_dumps(desired.objects[i].value, JSON_COMPACT | JSON_SORT_KEYS);
		strbuf_addf(&line, "%s %s %s", mesh_kind_name(desired.objects[i].kind), desired.objects[i].name, value);
		assert_string_equal(line.data, recipe[i]);
		strbuf_release(&line);
		free(value);
	}
	mesh_state_release(&desired);
	mesh_destroy(mesh);
}

static void prefetch_grows_with_rate_and_distance(void **state)
{
	static const struct {
		const char *limits;
		int64_t prefetch;
	} cases[] = {
		{ "\"limits\": {\"events_per_s\": 100, \"round_trip_ms\": 10},", 1000 },
		{ "\"limits\": {\"events_per_s\": 10001, \"round_trip_ms\": 200},", 4001 },
		{ "\"limits\": {\"events_per_s\": 1000000, \"round_trip_ms\": 10000},", 65535 },
	};
	(void)state;

	for (size_t i = 0; i < 3; i++) {
		struct mesh *mesh = fake_mesh(2, cases[i].limits);
		struct mesh_state desired;
		int64_t prefetch = 0;
		assert_int_equal(mesh_desire(mesh, 0, &desired), STATUS_OK);
		for (size_t o = 0; o < desired.count; o++)
			if (desired.objects[o].kind == MESH_KIND_UPSTREAM)
				assert_true(json_get_integer(desired.objects[o].value, "prefetch-count", &prefetch));
		assert_int_equal(prefetch, cases[i].prefetch);
		mesh_state_release(&desired);
		mesh_destroy(mesh);
	}
}

static void steps_are_taken_in_the_order_that_loses_nothing(void **state)
{
	struct world world;
	bool has_federated = false;
	(void)state;

	begin(&world, 3, "");
	plan(&world);
	for (size_t i = 1; i < world.plan.count; i++)
		assert_true(world.plan.steps[i - 1].kind <= world.plan.steps[i].kind);
	for (size_t i = 0; i < world.plan.count; i++) {
		has_federated |= strcmp(world.plan.steps[i].name, "homeward-federate") == 0;
		assert_int_equal(has_federated, i + 3 >= world.plan.count); /* the last of all, in every region */
	}
	end(&world);
}

static void an_edited_link_is_named_with_what_its_change_costs(void **state)
{
	struct world world;
	json_t *upstream, *value;
	struct strbuf text = STRBUF_INIT;
	(void)state;

	begin(&world, 3, "");
	apply(&world);
	upstream = item(&world, "0 /api/parameters/federation-upstream/homeward/homeward-r001");
	value = json_object_get(upstream, "value");
	json_object_set_new(value, "max-hops", json_integer(2));
	plan(&world);
	assert_int_equal(only_step(&world)->action, MESH_CHANGE);
	assert_int_equal(world.plan.links_restarted, 1);
	assert_int_equal(world.plan.buffers_at_risk, 0);
	mesh_plan_print(world.mesh, &world.plan, &text);
	assert_non_null(strstr(text.data, "  ~ r000         upstream          homeward-r001  [restarts 1 link]\n"
					  "      max-hops: 2 -> 1\n"));
	json_object_set_new(value, "resource-cleanup-mode", json_string("default"));
	plan(&world);
	assert_int_equal(world.plan.buffers_at_risk, 1);
	apply(&world);
	plan(&world);
	assert_int_equal(world.plan.count, 0);
	strbuf_release(&text);
	end(&world);
}

static void a_changed_policy_restarts_all_links_of_its_region(void **state)
{
	struct world world;
	(void)state;

	begin(&world, 4, "");
	apply(&world);
	json_object_set_new(item(&world, "0 /api/policies/homeward/homeward-federate"), "priority", json_integer(1));
	plan(&world);
	assert_int_equal(only_step(&world)->links_restarted, 3);
	assert_false(only_step(&world)->is_buffer_at_risk);
	end(&world);
}

static void a_queue_made_anew_gets_its_bindings_back(void **state)
{
	struct world world;
	size_t bindings = 0;
	(void)state;

	begin(&world, 2, "");
	apply(&world);
	json_object_set_new(item(&world, "0 /api/queues/homeward/homeward.inbox"), "arguments", json_object());
	plan(&world);
	assert_int_equal(world.plan.steps[0].action, MESH_REPLACE);
	assert_true(world.plan.steps[0].is_buffer_at_risk);
	for (size_t i = 1; i < world.plan.count; i++)
		bindings += world.plan.steps[i].kind == MESH_KIND_BINDING;
	assert_int_equal(bindings, 2);
	json_object_set_new(item(&world, "0 /api/queues/homeward/homeward.inbox"), "messages", json_integer(3));
	plan(&world);
	assert_int_equal(mesh_apply(world.mesh, &world.api, &world.plan, &world.done, &world.why), STATUS_CONFLICT);
	assert_int_equal(world.done, 0);
	assert_non_null(strstr(world.why.data, "holds 3 events and stays"));
	end(&world);
}

static void what_nobody_wants_any_more_goes_last_and_only_if_ours(void **state)
{
	struct world world;
	(void)state;

	begin(&world, 2, "");
	apply(&world);
	json_object_set_new(world.brokers.items, "0 /api/policies/homeward/homeward-old",
		json_pack("{s:s,s:s,s:s,s:i,s:{}}", "name", "homeward-old", "pattern", "^x$", "apply-to", "all",
			"priority", 1, "definition"));
	json_object_set_new(world.brokers.items, "0 /api/policies/homeward/theirs",
		json_pack("{s:s,s:s,s:s,s:i,s:{}}", "name", "theirs", "pattern", "^x$", "apply-to", "all", "priority",
			1, "definition"));
	json_object_set_new(world.brokers.items, "1 /api/users/r007",
		json_pack("{s:s,s:s,s:[s]}", "name", "r007", "password_hash", "", "tags", "homeward"));
	json_object_set_new(world.brokers.items, "1 /api/users/person",
		json_pack("{s:s,s:s,s:[s]}", "name", "person", "password_hash", "x", "tags", "administrator"));
	json_object_set_new(world.brokers.items, "1 /api/queues/homeward/federation: homeward.events -> gone",
		json_pack("{s:s,s:b,s:b,s:{},s:i}", "name", "federation: homeward.events -> gone", "durable", 1,
			"auto_delete", 0, "arguments", "messages", 7));
	json_object_set_new(world.brokers.items, "1 /api/queues/homeward/application",
		json_pack("{s:s,s:b,s:b,s:{},s:i}", "name", "application", "durable", 1, "auto_delete", 0, "arguments",
			"messages", 7));
	plan(&world);
	assert_int_equal(world.plan.count, 3);
	assert_int_equal(world.plan.removals, 3);
	assert_string_equal(world.plan.steps[0].name, "homeward-old");
	assert_string_equal(world.plan.steps[1].name, "federation: homeward.events -> gone");
	assert_int_equal(world.plan.steps[1].message_count, 7);
	assert_string_equal(world.plan.steps[2].name, "r007");
	end(&world);
}

static void what_is_in_the_way_is_said(void **state)
{
	struct world world;
	(void)state;

	begin(&world, 2, "");
	apply(&world);
	json_object_set_new(world.brokers.items, "0 /api/bindings/homeward/e/homeward.events/q/debug/#",
		json_pack("{s:s,s:s,s:s,s:s,s:{}}", "source", "homeward.events", "destination", "debug",
			"destination_type", "queue", "routing_key", "#", "arguments"));
	json_object_set_new(world.brokers.items, "0 /api/parameters/federation-upstream/homeward/theirs",
		json_pack("{s:s,s:{}}", "name", "theirs", "value"));
	json_object_set_new(
		item(&world, "0 /api/exchanges/homeward/homeward.events"), "policy", json_string("override"));
	plan(&world);
	assert_int_equal(world.plan.count, 0);
	assert_int_equal(json_array_size(world.plan.remarks), 3);
	end(&world);
}

static void a_person_in_a_regions_place_stops_the_plan(void **state)
{
	struct world world;
	(void)state;

	begin(&world, 2, "");
	json_object_set_new(world.brokers.items, "0 /api/users/r001",
		json_pack("{s:s,s:s,s:[s]}", "name", "r001", "password_hash", "secret", "tags", "administrator"));
	assert_int_equal(mesh_plan_read(world.mesh, &world.api, &world.plan, &world.why), STATUS_CONFLICT);
	assert_non_null(strstr(world.why.data, "there is a user r001 who is not ours"));
	assert_null(strstr(world.why.data, "secret"));
	end(&world);
}

static void apply_stops_at_the_first_fault_and_the_next_plan_is_the_rest(void **state)
{
	struct world world;
	size_t all;
	(void)state;

	begin(&world, 2, "");
	plan(&world);
	all = world.plan.count;
	world.brokers.fail_at_change = 10;
	assert_int_equal(mesh_apply(world.mesh, &world.api, &world.plan, &world.done, &world.why), STATUS_BAD_PEER);
	assert_int_equal(world.done, 9);
	assert_int_equal(world.brokers.change_count, 10);
	world.brokers.fail_at_change = 0;
	plan(&world);
	assert_int_equal(world.plan.count, all - 9);
	apply(&world);
	plan(&world);
	assert_int_equal(world.plan.count, 0);
	end(&world);
}

static void a_plans_hash_is_of_what_it_does(void **state)
{
	struct world world;
	char first[2 * SHA256_SIZE + 1];
	(void)state;

	begin(&world, 2, "");
	plan(&world);
	memcpy(first, world.plan.hash, sizeof(first));
	plan(&world);
	assert_string_equal(first, world.plan.hash);
	json_object_set_new(world.brokers.items, "0 /api/users/r000",
		json_pack("{s:s,s:s,s:[s]}", "name", "r000", "password_hash", "", "tags", "homeward"));
	plan(&world);
	assert_string_not_equal(first, world.plan.hash);
	end(&world);
}

static void brokers_out_of_reach_are_said_to_be(void **state)
{
	struct world world;
	struct mesh_health health;
	(void)state;

	begin(&world, 2, "");
	world.brokers.is_unreachable = true;
	assert_int_equal(mesh_plan_read(world.mesh, &world.api, &world.plan, &world.why), STATUS_UNREACHABLE);
	assert_int_equal(mesh_health_read(world.mesh, &world.api, &health), STATUS_OK);
	assert_int_equal(health.finding_count, 2);
	assert_string_equal(health.findings[0].code, "MESH_001");
	assert_string_equal(health.links[0].state, "unknown");
	assert_false(health.links[0].is_green);
	mesh_health_release(&health);
	end(&world);
}

static void plan_of(size_t count, const char *more, size_t lines_max)
{
	struct world world;
	struct mesh_state *nothing = calloc(count, sizeof(*nothing));
	struct strbuf text = STRBUF_INIT;
	size_t lines = 0, links = 0;

	begin(&world, count, more);
	assert_non_null(nothing);
	assert_int_equal(mesh_plan_make(world.mesh, nothing, &world.plan), STATUS_OK);
	for (size_t i = 0; i < count * count; i++)
		links += world.mesh->links[i];
	/* Each link needs a user's permission and topic permission on one side and an upstream on the other. */
	assert_true(world.plan.count >= 3 * links + 20 * count);
	mesh_plan_print(world.mesh, &world.plan, &text);
	for (const char *c = text.data; *c != '\0'; c++)
		lines += *c == '\n';
	assert_in_range(lines, 5, lines_max);
	strbuf_release(&text);
	free(nothing);
	end(&world);
}

/* What the applications of r000 add to the recipe. */
static const char *const application_recipe[] = {
	"user billing {\"password_hash\":\"\",\"tags\":\"homeward\"}",
	"user cs_1 {\"password_hash\":\"\",\"tags\":\"homeward\"}",
	"user screen {\"password_hash\":\"\",\"tags\":\"homeward\"}",
	"topic-permission cs_1 on homeward.mqtt "
	"{\"exchange\":\"homeward.mqtt\",\"read\":\"^$\",\"write\":\"^events\\\\.cs_1\\\\.\"}",
	"permission billing "
	"{\"configure\":\"^billing\\\\.\",\"read\":\"^homeward\\\\.(delivered|system)$|^billing\\\\.\","
	"\"write\":\"^homeward\\\\.submit$|^billing\\\\.\"}",
	"permission cs_1 {\"configure\":\"^$\",\"read\":\"^$\",\"write\":\"^homeward\\\\.mqtt$\"}",
	"permission screen {\"configure\":\"^screen\\\\.\",\"read\":\"^homeward\\\\.system$|^screen\\\\.\","
	"\"write\":\"^$|^screen\\\\.\"}",
	"operator-policy homeward-applications "
	"{\"apply-to\":\"queues\",\"definition\":{\"max-length-bytes\":1073741824},"
	"\"pattern\":\"^(billing|screen)\\\\.\",\"priority\":1000}",
	"exchange homeward.mqtt "
	"{\"arguments\":{},\"auto_delete\":false,\"durable\":true,\"internal\":false,\"type\":\"topic\"}",
	"binding homeward.mqtt -> homeward.submit # "
	"{\"arguments\":{},\"destination\":\"homeward.submit\",\"routing_key\":\"#\",\"source\":\"homeward."
	"mqtt\"}",
};

static struct mesh_application applications[] = {
	{ .name = "billing", .may_submit = true, .may_deliver = true, .may_system = true },
	{ .name = "cs_1", .may_mqtt = true },
	{ .name = "screen", .may_system = true },
};

static void give_applications(struct mesh *mesh)
{
	mesh->regions[0].applications = malloc(sizeof(applications));
	assert_non_null(mesh->regions[0].applications);
	memcpy(mesh->regions[0].applications, applications, sizeof(applications));
	mesh->regions[0].application_count = 3;
}

static void applications_get_what_they_may_and_no_more(void **state)
{
	struct mesh *mesh = fake_mesh(2, "");
	struct mesh_state desired;
	size_t next = 0;
	(void)state;

	give_applications(mesh);
	assert_int_equal(mesh_desire(mesh, 0, &desired), STATUS_OK);
	for (size_t i = 0; i < desired.count; i++) {
		struct strbuf line = STRBUF_INIT;
		char *value = json_dumps(desired.objects[i].value, JSON_COMPACT | JSON_SORT_KEYS);
		strbuf_addf(&line, "%s %s %s", mesh_kind_name(desired.objects[i].kind), desired.objects[i].name, value);
		if (i - next >= sizeof(recipe) / sizeof(recipe[0]) || strcmp(line.data, recipe[i - next]) != 0) {
			assert_true(next < sizeof(application_recipe) / sizeof(application_recipe[0]));
			assert_string_equal(line.data, application_recipe[next++]);
		}
		strbuf_release(&line);
		free(value);
	}
	assert_int_equal(next, sizeof(application_recipe) / sizeof(application_recipe[0]));
	mesh_state_release(&desired);
	assert_int_equal(mesh_desire(mesh, 1, &desired), STATUS_OK); /* nobody there knows them */
	assert_int_equal(desired.count, sizeof(recipe) / sizeof(recipe[0]));
	mesh_state_release(&desired);
	mesh_destroy(mesh);
}

static void an_application_with_more_is_noticed_and_put_back(void **state)
{
	static const struct {
		const char *path, *member, *value;
	} cases[] = {
		{ "0 /api/permissions/homeward/billing", "write", ".*" },
		{ "0 /api/permissions/homeward/cs_1", "read", "^homeward\\.delivered$" },
		{ "0 /api/topic-permissions/homeward/cs_1", "write", ".*" },
		{ "0 /api/users/screen", "password_hash", "something" },
	};
	struct world world;
	(void)state;

	begin(&world, 2, "");
	give_applications(world.mesh);
	apply(&world);
	plan(&world);
	assert_int_equal(world.plan.count, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_object_set_new(item(&world, cases[i].path), cases[i].member, json_string(cases[i].value));
		plan(&world);
		assert_int_equal(only_step(&world)->action, MESH_CHANGE);
		apply(&world);
	}
	json_object_del(world.brokers.items, "0 /api/topic-permissions/homeward/cs_1");
	plan(&world);
	assert_int_equal(only_step(&world)->kind, MESH_KIND_TOPIC_PERMISSION);
	apply(&world);
	world.mesh->regions[0].application_count = 1; /* the others leave, and what was theirs */
	plan(&world);
	assert_int_equal(world.plan.removals, 7);
	apply(&world);
	plan(&world);
	assert_int_equal(world.plan.count, 0);
	end(&world);
}

static void five_hundred_regions_and_a_hub_are_planned_on_one_screen(void **state)
{
	(void)state;
	plan_of(500, "\"topology\": \"hub\", \"hub\": \"r000\",", 24);
}

static void a_mesh_of_sixty_is_planned_on_one_screen(void **state)
{
	(void)state;
	plan_of(60, "", 24);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_applied_leaves_no_difference),
		cmocka_unit_test(the_recipe_is_this),
		cmocka_unit_test(prefetch_grows_with_rate_and_distance),
		cmocka_unit_test(steps_are_taken_in_the_order_that_loses_nothing),
		cmocka_unit_test(an_edited_link_is_named_with_what_its_change_costs),
		cmocka_unit_test(a_changed_policy_restarts_all_links_of_its_region),
		cmocka_unit_test(a_queue_made_anew_gets_its_bindings_back),
		cmocka_unit_test(what_nobody_wants_any_more_goes_last_and_only_if_ours),
		cmocka_unit_test(what_is_in_the_way_is_said),
		cmocka_unit_test(a_person_in_a_regions_place_stops_the_plan),
		cmocka_unit_test(apply_stops_at_the_first_fault_and_the_next_plan_is_the_rest),
		cmocka_unit_test(a_plans_hash_is_of_what_it_does),
		cmocka_unit_test(brokers_out_of_reach_are_said_to_be),
		cmocka_unit_test(applications_get_what_they_may_and_no_more),
		cmocka_unit_test(an_application_with_more_is_noticed_and_put_back),
		cmocka_unit_test(five_hundred_regions_and_a_hub_are_planned_on_one_screen),
		cmocka_unit_test(a_mesh_of_sixty_is_planned_on_one_screen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

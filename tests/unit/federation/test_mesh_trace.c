/* SPDX-License-Identifier: Apache-2.0 */
/* At which hop an event stopped, by what the outbox and the brokers show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake_broker.h"

static void expect(struct mesh *mesh, const struct mesh_trace_facts *facts, enum mesh_hop hop, const char *words)
{
	struct strbuf evidence = STRBUF_INIT;

	assert_int_equal(mesh_trace_stopped(facts), hop);
	mesh_trace_explain(mesh, 0, 1, facts, &evidence);
	if (strstr(evidence.data, words) == NULL)
		print_error("wanted: %s\ngot: %s\n", words, evidence.data);
	assert_non_null(strstr(evidence.data, words));
	strbuf_release(&evidence);
}

static void it_stops_at_the_first_hop_that_fails(void **state)
{
	struct mesh *mesh = fake_mesh(2, "");
	struct mesh_trace_facts facts = { .created_ms = 1000,
		.sent_ms = -1,
		.taken_ms = -1,
		.receipted_ms = -1,
		.forth = { .from = 0, .to = 1, .state = "running", .has_buffer = true },
		.back = { .from = 1,
			.to = 0,
			.state = "running",
			.has_binding = true,
			.has_consumer = true,
			.is_green = true },
		.inbox_consumers = 1 };
	(void)state;

	expect(mesh, &facts, MESH_HOP_CONFIRMED, "nobody took it out of the outbox");
	facts.attempts = 3;
	expect(mesh, &facts, MESH_HOP_CONFIRMED, "tried 3 times");
	facts.is_refused = true;
	expect(mesh, &facts, MESH_HOP_OUTBOX, "r000 may not send it");
	facts.is_refused = false;
	facts.sent_ms = 1010;
	expect(mesh, &facts, MESH_HOP_CROSSED, "could not be looked at");
	facts.is_looked_at = true;
	facts.unroutable = 2;
	expect(mesh, &facts, MESH_HOP_CROSSED,
		"r000 has no binding for it; 0 events wait in its buffer at r000; 2 events in homeward.unroutable at "
		"r000");
	facts.forth.has_binding = true;
	facts.forth.message_count = 7;
	expect(mesh, &facts, MESH_HOP_CROSSED, "nobody consumes its buffer; 7 events wait");
	facts.forth = (struct mesh_link_status){
		.from = 0, .to = 1, .state = "running", .has_binding = true, .has_consumer = true, .is_green = true
	};
	facts.inbox_consumers = 0;
	facts.inbox_depth = 3;
	facts.dead = 1;
	expect(mesh, &facts, MESH_HOP_TAKEN,
		"nobody consumes the inbox of r001: homeward does not run there; 3 events wait; 1 in homeward.dead "
		"there");
	facts.inbox_consumers = 1;
	facts.inbox_depth = 0;
	expect(mesh, &facts, MESH_HOP_TAKEN, "did not say what became of it");
	facts.back.is_green = facts.back.has_consumer = false;
	expect(mesh, &facts, MESH_HOP_RECEIPTED, "over the link r001 -> r000: nobody consumes its buffer");
	facts.taken_ms = 1020;
	facts.receipted_ms = 1030;
	expect(mesh, &facts, MESH_HOP_COUNT, "");
	assert_int_equal(mesh_trace_at(&facts, MESH_HOP_TAKEN), 1020);
	assert_string_equal(mesh_hop_name(MESH_HOP_RECEIPTED), "receipted");
	mesh_destroy(mesh);
}

static void the_brokers_are_looked_at(void **state)
{
	struct mesh *mesh = fake_mesh(2, "");
	struct fake_brokers brokers = { .mesh = mesh, .items = json_object() };
	struct mesh_api api = fake_api(&brokers);
	struct mesh_trace_facts facts = { .sent_ms = 1, .receipted_ms = -1 };
	struct strbuf why = STRBUF_INIT;
	struct mesh_plan plan;
	size_t done;
	(void)state;

	assert_int_equal(mesh_plan_read(mesh, &api, &plan, &why), STATUS_OK);
	assert_int_equal(mesh_apply(mesh, &api, &plan, &done, &why), STATUS_OK);
	mesh_plan_release(&plan);
	json_object_set_new(
		json_object_get(brokers.items, "1 /api/queues/homeward/homeward.inbox"), "messages", json_integer(5));
	json_object_set_new(
		json_object_get(brokers.items, "1 /api/queues/homeward/homeward.inbox"), "consumers", json_integer(1));
	mesh_trace_look(mesh, &api, 0, 1, &facts);
	assert_true(facts.is_looked_at);
	assert_string_equal(facts.forth.state, "missing");
	assert_int_equal(facts.inbox_depth, 5);
	assert_int_equal(facts.inbox_consumers, 1);
	assert_int_equal(facts.unroutable, 0);
	expect(mesh, &facts, MESH_HOP_CROSSED, "the link is missing");
	mesh_trace_facts_release(&facts);
	strbuf_release(&why);
	json_decref(brokers.items);
	mesh_destroy(mesh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_stops_at_the_first_hop_that_fails),
		cmocka_unit_test(the_brokers_are_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The route and peer tables, with each allocation failing in turn. */
#include "tests/unit/support/failing_allocator.h"

#include <stdio.h>
#include <unistd.h>

#include "router/router.h"

#define ROUTES 40 /* several doublings of everything */

static enum status add_all(struct route_builder *builder)
{
	enum status status = STATUS_OK;

	for (int i = 0; i < ROUTES && status == STATUS_OK; i++) {
		struct route route = { .type = "token", .kind = i % 2 ? ROUTE_EXACT : ROUTE_PREFIX };

		snprintf(route.key, sizeof(route.key), "K%d", i);
		snprintf(route.region, sizeof(route.region), "r%d", i % 3);
		status = route_builder_add(builder, &route);
	}
	return status;
}

static bool build_table(void *arg)
{
	struct route_builder *builder = route_builder_create();
	struct object_id object = { .type = "token", .id = "K7" };
	struct route_answer answer;
	struct route_table *table, *loaded = NULL;
	struct strbuf why = STRBUF_INIT;
	enum status status = builder == NULL ? STATUS_NO_MEMORY : add_all(builder);

	if (status != STATUS_OK) {
		assert_int_equal(status, STATUS_NO_MEMORY);
		route_builder_destroy(builder);
		return false;
	}
	table = route_builder_finish(builder, 5);
	assert_non_null(table);
	route_table_find(table, &object, &answer);
	assert_int_equal(answer.found, ROUTE_FOUND_EXACT);
	assert_string_equal(answer.region, "r1");
	status = route_table_save(table, arg, &why);
	if (status == STATUS_OK)
		status = route_table_load(arg, &loaded, &why);
	assert_int_equal(status == STATUS_OK, loaded != NULL);
	if (loaded != NULL)
		assert_int_equal(route_table_count(loaded), ROUTES);
	route_table_destroy(table);
	route_table_destroy(loaded);
	strbuf_release(&why);
	return status == STATUS_OK;
}

static bool define_peers(void *arg)
{
	static const char *const urls[] = { "https://127.0.0.1:1", "https://127.0.0.1:2/" };
	const struct peer_definition definitions[] = { { "na", urls, 2 }, { "ap", urls, 1 } };
	char url[PEER_URL_SIZE];
	enum status status = peers_define(arg, definitions, 2);

	/* What was defined before stays whatever happens. */
	assert_int_equal(peers_choose(arg, "na", NULL, url), STATUS_OK);
	return status == STATUS_OK;
}

static void a_route_table_without_memory(void **state)
{
	char folder[] = "/tmp/homeward-test-XXXXXX", path[64];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/routes", folder);
	fail_each_allocation(build_table, path);
	unlink(path);
	assert_int_equal(rmdir(folder), 0);
}

static void a_peer_table_without_memory(void **state)
{
	const struct peers_settings settings = { 1, 3, 2, 1000, 10 };
	struct peers *peers = peers_create(&settings, clock_system(), random_system());

	(void)state;
	assert_true(define_peers(peers)); /* with their metric series, which are made once */
	fail_each_allocation(define_peers, peers);
	peers_destroy(peers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_route_table_without_memory),
		cmocka_unit_test(a_peer_table_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

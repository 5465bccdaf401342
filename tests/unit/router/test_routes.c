/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for router/routes.c: the live table, with threads. */
#include "router/router.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER_TEMPLATE "/tmp/homeward-live-XXXXXX"

static struct route_table *table_of(uint64_t generation)
{
	struct route_builder *builder = route_builder_create();
	struct route route = { .type = "token", .kind = ROUTE_EXACT, .key = "a" };

	assert_non_null(builder);
	snprintf(route.region, sizeof(route.region), "r%d", (int)generation);
	assert_int_equal(route_builder_add(builder, &route), STATUS_OK);
	return route_builder_finish(builder, generation);
}

static struct object_id token_a(void)
{
	struct object_id object;

	assert_int_equal(object_id_make("token", "a", 1, ID_FORMAT_OPAQUE, &object, NULL), STATUS_OK);
	return object;
}

static void it_is_not_ready_until_it_has_a_table(void **state)
{
	char folder[] = FOLDER_TEMPLATE, path[64];
	struct routes_settings settings = { path, "" };
	struct object_id object = token_a();
	struct route_answer answer;
	struct routes *routes;
	struct route_table *saved;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/routes", folder);
	assert_int_equal(routes_create(&settings, &routes), STATUS_OK);
	assert_false(routes_is_ready(routes));
	routes_find(routes, &object, &answer);
	assert_int_equal(answer.found, ROUTE_FOUND_NONE);
	routes_swap(routes, table_of(7));
	assert_true(routes_is_ready(routes));
	assert_int_equal(routes_generation(routes), 7);
	assert_int_equal(routes_count(routes), 1);
	routes_find(routes, &object, &answer);
	assert_string_equal(answer.region, "r7");
	routes_destroy(routes);

	saved = table_of(9);
	assert_int_equal(route_table_save(saved, path, NULL), STATUS_OK);
	route_table_destroy(saved);
	assert_int_equal(routes_create(&settings, &routes), STATUS_OK);
	assert_true(routes_is_ready(routes));
	assert_int_equal(routes_generation(routes), 9);
	routes_destroy(routes);
	routes_destroy(NULL);
	unlink(path);
	rmdir(folder);
}

struct reader {
	struct routes *routes;
	atomic_bool *is_over;
	long found;
	bool went_back;
};

static void *read_on(void *arg)
{
	struct reader *reader = arg;
	struct object_id object = { "token", "a" };
	uint64_t newest = 0;

	while (!atomic_load(reader->is_over)) {
		struct route_answer answer;
		char wanted[REGION_SIZE];

		routes_find(reader->routes, &object, &answer);
		snprintf(wanted, sizeof(wanted), "r%d", (int)answer.generation);
		if (answer.generation < newest || strcmp(wanted, answer.region) != 0)
			reader->went_back = true;
		newest = answer.generation;
		reader->found++;
	}
	return NULL;
}

static void readers_see_whole_tables_in_order_while_they_are_replaced(void **state)
{
	struct routes_settings settings = { "/nonexistent/routes", "" };
	struct reader readers[3];
	pthread_t threads[3];
	struct routes *routes;
	atomic_bool is_over;

	(void)state;
	atomic_init(&is_over, false);
	assert_int_equal(routes_create(&settings, &routes), STATUS_OK);
	routes_swap(routes, table_of(1));
	for (int i = 0; i < 3; i++) {
		readers[i] = (struct reader){ routes, &is_over, 0, false };
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
	}
	for (uint64_t generation = 2; generation < 2000; generation++)
		routes_swap(routes, table_of(generation));
	atomic_store(&is_over, true);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		assert_false(readers[i].went_back);
	}
	assert_int_equal(routes_generation(routes), 1999);
	routes_destroy(routes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_not_ready_until_it_has_a_table),
		cmocka_unit_test(readers_see_whole_tables_in_order_while_they_are_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

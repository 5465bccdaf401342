/* SPDX-License-Identifier: Apache-2.0 */
/* The cache and a whole resolve, with each allocation failing in turn: every waiter is told exactly once. */
#include "tests/unit/support/failing_allocator.h"

#include "tests/unit/support/fake_world.h"

static bool use_cache(void *arg)
{
	struct cache_settings settings = { .bytes_max = 1 << 20, .shards = 2, .stale_keep_ms = 1000 };
	struct cache *cache = NULL;
	bool is_whole = cache_create(&settings, &cache) == STATUS_OK;

	(void)arg;
	assert_int_equal(is_whole, cache != NULL);
	for (int i = 0; i < 200 && cache != NULL; i++) {
		char id[16];
		struct cache_terms terms = { .key = { "token", id, "charge.authorize", "cs" },
			.home = "na",
			.record = "{}",
			.record_length = 2,
			.stored_ms = 1,
			.ttl_ms = 1000 };
		struct cache_entry *entry, *found;

		snprintf(id, sizeof(id), "A%d", i);
		entry = cache_entry_create(&terms);
		if (entry == NULL) {
			is_whole = false;
			continue;
		}
		assert_true(cache_put(cache, entry, cache_epoch(cache, "token", id), 1));
		cache_entry_release(entry);
		found = cache_get(cache, &terms.key, 2);
		assert_non_null(found);
		cache_entry_release(found);
	}
	cache_destroy(cache);
	/* Chains that could not grow are no failure. */
	return is_whole || allocator.has_failed;
}

static bool resolve_once(void *arg)
{
	struct fake *fake = arg;
	int releases = fake->releases, delegations = fake->delegations, gots = fake->gots;

	cache_forget_all(fake->records);
	submit(fake, 0, "S1", 2500);
	submit(fake, 1, "S1", 2500);
	if (fake->releases > releases)
		complete_release(fake, STATUS_OK);
	if (fake->delegations > delegations)
		complete_delegate(fake, STATUS_OK, "{\"valid\":true,\"name\":\"Ann\"}", 300);
	if (fake->gots > gots)
		complete_log(fake, STATUS_OK);
	/* The second may have started a lookup of its own when the first could not. */
	assert_int_equal(resolver_in_flight(fake->resolver), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fake->told[i].calls, 1);
		if (fake->told[i].result.status == STATUS_OK)
			assert_string_equal(fake->told[i].record, "{\"valid\":true}");
	}
	return fake->told[0].result.status == STATUS_OK && fake->told[1].result.status == STATUS_OK;
}

static bool resolve_here(void *arg)
{
	struct fake *fake = arg;
	int fetches = fake->fetches;

	submit(fake, 0, "S1", 2500);
	if (fake->fetches > fetches)
		complete_fetch(fake, STATUS_OK, "{\"valid\":true,\"name\":\"Ann\"}");
	assert_int_equal(fake->told[0].calls, 1);
	assert_int_equal(resolver_in_flight(fake->resolver), 0);
	return fake->told[0].result.status == STATUS_OK;
}

static void a_cache_without_memory(void **state)
{
	(void)state;
	fail_each_allocation(use_cache, NULL);
}

static void a_delegated_lookup_without_memory(void **state)
{
	fail_each_allocation(resolve_once, *state);
}

static void a_local_lookup_without_memory(void **state)
{
	((struct fake *)*state)->object_home = "eu";
	fail_each_allocation(resolve_here, *state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cache_without_memory),
		TEST(a_delegated_lookup_without_memory),
		TEST(a_local_lookup_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache: order of eviction, scans, the byte bound, time, forgetting, and use
 * from several threads (which says something under TSan and ASan).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "locator/cache.h"

#define ENTRY_RECORD_BYTES 200

static struct cache *make_cache(size_t bytes_max)
{
	struct cache_settings settings = { .bytes_max = bytes_max, .shards = 1, .stale_keep_ms = 60000, .seed = 7 };
	struct cache *cache = NULL;
	assert_int_equal(cache_create(&settings, &cache), STATUS_OK);
	return cache;
}

static struct cache_key key_of(const char *id, const char *purpose)
{
	return (struct cache_key){ .type = "token", .id = id, .purpose = purpose, .variant = "" };
}

static struct cache_entry *make_entry(const char *id, const char *purpose, int64_t stored_ms, int64_t ttl_ms)
{
	char record[ENTRY_RECORD_BYTES + 1];
	memset(record, 'x', ENTRY_RECORD_BYTES);
	struct cache_terms terms = { .key = key_of(id, purpose),
		.version = 3,
		.home = "na",
		.station_region = "eu",
		.record = record,
		.record_length = ENTRY_RECORD_BYTES,
		.stored_ms = stored_ms,
		.ttl_ms = ttl_ms };
	struct cache_entry *entry = cache_entry_create(&terms);
	assert_non_null(entry);
	return entry;
}

static bool put(struct cache *cache, const char *id, const char *purpose, int64_t now_ms, int64_t ttl_ms)
{
	struct cache_entry *entry = make_entry(id, purpose, now_ms, ttl_ms);
	bool is_kept = cache_put(cache, entry, cache_epoch(cache, "token", id), now_ms);
	cache_entry_release(entry);
	return is_kept;
}

static bool holds(struct cache *cache, const char *id, const char *purpose, int64_t now_ms)
{
	struct cache_key key = key_of(id, purpose);
	struct cache_entry *entry = cache_get(cache, &key, now_ms);
	if (entry) {
		assert_string_equal(entry->key.id, id);
		assert_string_equal(entry->key.purpose, purpose);
	}
	cache_entry_release(entry);
	return entry != NULL;
}

static size_t entry_bytes(void)
{
	struct cache_entry *entry = make_entry("0000", "p", 0, 1);
	size_t bytes = entry->bytes;
	cache_entry_release(entry);
	return bytes;
}

static void test_holds_what_was_put(void **state)
{
	(void)state;
	struct cache *cache = make_cache(1 << 20);
	assert_true(put(cache, "A1", "charge.authorize", 0, 1000));
	struct cache_key key = key_of("A1", "charge.authorize");
	struct cache_entry *entry = cache_get(cache, &key, 999);
	assert_non_null(entry);
	assert_string_equal(entry->home, "na");
	assert_string_equal(entry->station_region, "eu");
	assert_string_equal(entry->fields, "");
	assert_int_equal(entry->version, 3);
	assert_int_equal(entry->record_length, ENTRY_RECORD_BYTES);
	cache_entry_release(entry);
	assert_false(holds(cache, "A1", "analytics", 0));
	assert_false(holds(cache, "A2", "charge.authorize", 0));
	key.type = "driver";
	assert_null(cache_get(cache, &key, 0));
	key.type = "token";
	key.variant = "eu";
	assert_null(cache_get(cache, &key, 0));
	cache_destroy(cache);
}

static void test_entry_ends_with_its_ttl(void **state)
{
	(void)state;
	struct fake_clock clock;
	fake_clock_init(&clock, 5000);
	struct cache *cache = make_cache(1 << 20);
	put(cache, "A1", "p", clock.now_ms, 1000);
	fake_clock_advance_ms(&clock, 999);
	assert_true(holds(cache, "A1", "p", clock_monotonic_ms(&clock.source)));
	fake_clock_advance_ms(&clock, 1);
	assert_false(holds(cache, "A1", "p", clock_monotonic_ms(&clock.source)));

	struct cache_key key = key_of("A1", "p");
	struct cache_entry *stale = cache_get_stale(cache, &key, clock.now_ms);
	assert_non_null(stale);
	assert_false(cache_entry_is_fresh(stale, clock.now_ms));
	cache_entry_release(stale);
	fake_clock_advance_ms(&clock, 60000);
	assert_null(cache_get_stale(cache, &key, clock.now_ms));
	size_t entries, bytes;
	cache_measure(cache, &entries, &bytes);
	assert_int_equal(entries, 0);
	assert_int_equal(bytes, 0);
	cache_destroy(cache);
}

static void test_bytes_stay_within_the_bound(void **state)
{
	(void)state;
	size_t bytes_max = 20 * entry_bytes();
	struct cache *cache = make_cache(bytes_max);
	char id[16];
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "%04d", i);
		assert_true(put(cache, id, "p", i, 100000));
		size_t entries, bytes;
		cache_measure(cache, &entries, &bytes);
		assert_in_range(bytes, 1, bytes_max);
	}
	size_t entries, bytes;
	cache_measure(cache, &entries, &bytes);
	assert_int_equal(entries, 20);
	assert_true(holds(cache, "0999", "p", 1000));
	cache_destroy(cache);
	cache = make_cache(entry_bytes() - 1);
	assert_false(put(cache, "0001", "p", 0, 1000));
	cache_destroy(cache);
}

/* Oldest first among those never used again. */
static void test_unused_leave_in_order_of_arrival(void **state)
{
	(void)state;
	struct cache *cache = make_cache(4 * entry_bytes());
	char id[16];
	for (int i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "%04d", i);
		put(cache, id, "p", 0, 1000);
	}
	for (int i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "%04d", i);
		assert_int_equal(holds(cache, id, "p", 0), i >= 2);
	}
	cache_destroy(cache);
}

static void test_scan_leaves_what_is_used(void **state)
{
	(void)state;
	struct cache *cache = make_cache(50 * entry_bytes());
	char id[16];
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "H%03d", i);
		put(cache, id, "p", 0, 100000);
		assert_true(holds(cache, id, "p", 0));
		assert_true(holds(cache, id, "p", 0));
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(id, sizeof(id), "%04d", i);
		put(cache, id, "p", 0, 100000);
	}
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "H%03d", i);
		assert_true(holds(cache, id, "p", 0));
	}
	cache_destroy(cache);
}

/* Evicted unused, then back soon: the ghost sends it to main, where a scan cannot reach it. */
static void test_one_that_returns_goes_to_main(void **state)
{
	(void)state;
	struct cache *cache = make_cache(20 * entry_bytes());
	char id[16];
	for (int i = 0; i < 21; i++) {
		snprintf(id, sizeof(id), "%04d", i);
		put(cache, id, "p", 0, 100000);
	}
	assert_false(holds(cache, "0000", "p", 0));
	put(cache, "0000", "p", 0, 100000);
	for (int i = 100; i < 200; i++) {
		snprintf(id, sizeof(id), "%04d", i);
		put(cache, id, "p", 0, 100000);
	}
	assert_true(holds(cache, "0000", "p", 0));
	assert_false(holds(cache, "0100", "p", 0));
	cache_destroy(cache);
}

static void test_expired_leave_even_when_used(void **state)
{
	(void)state;
	struct cache *cache = make_cache(4 * entry_bytes());
	put(cache, "0000", "p", 0, 10);
	for (int i = 0; i < 3; i++)
		assert_true(holds(cache, "0000", "p", 0));
	char id[16];
	for (int i = 1; i < 6; i++) {
		snprintf(id, sizeof(id), "%04d", i);
		put(cache, id, "p", 20, 1000);
	}
	struct cache_key key = key_of("0000", "p");
	assert_null(cache_get_stale(cache, &key, 20));
	cache_destroy(cache);
}

static void test_forget_takes_every_purpose_of_one_object(void **state)
{
	(void)state;
	struct cache *cache = make_cache(1 << 20);
	put(cache, "A1", "charge.authorize", 0, 1000);
	put(cache, "A1", "support", 0, 1000);
	put(cache, "A2", "support", 0, 1000);
	assert_int_equal(cache_forget(cache, "token", "A1"), 2);
	assert_int_equal(cache_forget(cache, "token", "A1"), 0);
	assert_false(holds(cache, "A1", "support", 0));
	assert_true(holds(cache, "A2", "support", 0));
	assert_int_equal(cache_forget_all(cache), 1);
	assert_false(holds(cache, "A2", "support", 0));
	cache_destroy(cache);
}

static void test_answer_asked_for_before_a_forget_is_not_kept(void **state)
{
	(void)state;
	struct cache *cache = make_cache(1 << 20);
	uint64_t epoch = cache_epoch(cache, "token", "A1");
	struct cache_entry *entry = make_entry("A1", "p", 0, 1000);
	cache_forget(cache, "token", "A1");
	assert_false(cache_put(cache, entry, epoch, 0));
	assert_false(holds(cache, "A1", "p", 0));
	assert_true(cache_put(cache, entry, cache_epoch(cache, "token", "A1"), 0));
	cache_entry_release(entry);
	cache_destroy(cache);
}

static void test_renewed_entry_replaces_and_readers_keep_the_old(void **state)
{
	(void)state;
	struct cache *cache = make_cache(1 << 20);
	put(cache, "A1", "p", 0, 1000);
	struct cache_key key = key_of("A1", "p");
	struct cache_entry *before = cache_get(cache, &key, 0);
	put(cache, "A1", "p", 500, 1000);
	struct cache_entry *after = cache_get(cache, &key, 1200);
	assert_non_null(after);
	assert_ptr_not_equal(before, after);
	assert_int_equal(before->stored_ms, 0);
	assert_int_equal(after->stored_ms, 500);
	cache_entry_release(before);
	cache_entry_release(after);
	size_t entries, bytes;
	cache_measure(cache, &entries, &bytes);
	assert_int_equal(entries, 1);
	cache_destroy(cache);
}

static void test_permit_slot_holds_the_last_one(void **state)
{
	(void)state;
	struct cache_entry *entry = make_entry("A1", "p", 0, 1000);
	assert_null(cache_entry_permit(entry));
	for (uint64_t generation = 1; generation <= 2; generation++) {
		struct cache_permit *permit = calloc(1, sizeof(*permit));
		assert_non_null(permit);
		atomic_init(&permit->references, 1);
		permit->policy_generation = generation;
		cache_entry_set_permit(entry, permit);
		struct cache_permit *got = cache_entry_permit(entry);
		assert_int_equal(got->policy_generation, generation);
		cache_permit_release(got);
	}
	cache_entry_release(entry);
}

static void *hammer(void *arg)
{
	struct cache *cache = arg;
	char id[16];
	unsigned seed = (unsigned)(uintptr_t)&id;
	for (int i = 0; i < 20000; i++) {
		snprintf(id, sizeof(id), "%03d", rand_r(&seed) % 200);
		struct cache_key key = key_of(id, "p");
		struct cache_entry *entry = cache_get(cache, &key, i);
		if (entry) {
			if (strcmp(entry->key.id, id))
				abort();
			cache_entry_release(entry);
		} else {
			struct cache_terms terms = { .key = key, .record = "{}", .record_length = 2, .ttl_ms = 100000 };
			entry = cache_entry_create(&terms);
			cache_put(cache, entry, cache_epoch(cache, "token", id), i);
			cache_entry_release(entry);
		}
		if (i % 50 == 0)
			cache_forget(cache, "token", id);
	}
	return NULL;
}

static void test_threads_may_share_it(void **state)
{
	(void)state;
	struct cache_settings settings = { .bytes_max = 256 * 1024, .shards = 4, .seed = 1 };
	struct cache *cache = NULL;
	assert_int_equal(cache_create(&settings, &cache), STATUS_OK);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, cache), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	size_t entries, bytes;
	cache_measure(cache, &entries, &bytes);
	assert_in_range(bytes, 1, settings.bytes_max);
	assert_int_equal(cache_forget_all(cache), entries);
	cache_destroy(cache);
}

static void test_etag_names_the_version_and_the_view(void **state)
{
	static const struct {
		uint64_t version;
		const char *record;
	} views[] = { { 7, "{\"uid\":\"A\"}" }, { 7, "{\"uid\":\"A\",\"valid\":true}" }, { 8, "{\"uid\":\"A\"}" },
		{ UINT64_MAX, "{}" } };
	struct cache_entry *entries[4];
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct cache_terms terms = { .key = key_of("A", "p"),
			.version = views[i].version,
			.record = views[i].record,
			.record_length = strlen(views[i].record) };
		entries[i] = cache_entry_create(&terms);
		assert_non_null(entries[i]);
		for (size_t before = 0; before < i; before++)
			assert_string_not_equal(entries[before]->etag, entries[i]->etag);
	}
	assert_memory_equal(entries[0]->etag, "\"7-", 3);
	assert_memory_equal(entries[2]->etag, "\"8-", 3);
	assert_memory_equal(entries[3]->etag, "\"18446744073709551615-", 22);
	assert_int_equal(strlen(entries[3]->etag), CACHE_ETAG_SIZE - 1);
	for (size_t i = 0; i < 4; i++)
		cache_entry_release(entries[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holds_what_was_put),
		cmocka_unit_test(test_entry_ends_with_its_ttl),
		cmocka_unit_test(test_bytes_stay_within_the_bound),
		cmocka_unit_test(test_unused_leave_in_order_of_arrival),
		cmocka_unit_test(test_scan_leaves_what_is_used),
		cmocka_unit_test(test_one_that_returns_goes_to_main),
		cmocka_unit_test(test_expired_leave_even_when_used),
		cmocka_unit_test(test_forget_takes_every_purpose_of_one_object),
		cmocka_unit_test(test_answer_asked_for_before_a_forget_is_not_kept),
		cmocka_unit_test(test_renewed_entry_replaces_and_readers_keep_the_old),
		cmocka_unit_test(test_etag_names_the_version_and_the_view),
		cmocka_unit_test(test_permit_slot_holds_the_last_one),
		cmocka_unit_test(test_threads_may_share_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

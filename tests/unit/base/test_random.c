/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Randomness that must replay, and hashes against published vectors (FIPS 180-4,
 * RFC 4231, RFC 9562's rules for version 7).
 */
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/exchange_id.h"
#include "base/hash.h"

static void a_seed_replays(void **state)
{
	struct random_seeded one, two, other;
	unsigned char a[37], b[37], c[37];

	(void)state;
	random_seeded_init(&one, 42);
	random_seeded_init(&two, 42);
	random_seeded_init(&other, 43);
	random_fill(&one.source, a, sizeof(a));
	random_fill(&two.source, b, sizeof(b));
	random_fill(&other.source, c, sizeof(c));
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, c, sizeof(a));
}

static void below_reaches_every_value_about_equally(void **state)
{
	struct random_seeded random;
	int counts[7] = { 0 };

	(void)state;
	random_seeded_init(&random, 1);
	for (int i = 0; i < 7000; i++)
		counts[random_below(&random.source, 7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(counts[i], 850, 1150);
	assert_int_equal(random_below(&random.source, 1), 0);
	for (int i = 0; i < 100; i++)
		assert_true(random_below(&random.source, UINT64_MAX) < UINT64_MAX);
}

static void the_system_does_not_repeat(void **state)
{
	unsigned char a[32] = { 0 }, b[32] = { 0 };

	(void)state;
	random_fill(random_system(), a, sizeof(a));
	random_fill(random_system(), b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

static void sha256_vector(void **state)
{
	static const uint8_t expected[SHA256_SIZE] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
		0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61,
		0xf2, 0x00, 0x15, 0xad };
	uint8_t digest[SHA256_SIZE];

	(void)state;
	hash_sha256("abc", 3, digest);
	assert_memory_equal(digest, expected, sizeof(digest));
}

static void hmac_vector(void **state)
{
	static const uint8_t expected[SHA256_SIZE] = { 0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
		0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9,
		0x64, 0xec, 0x38, 0x43 };
	uint8_t digest[SHA256_SIZE];

	(void)state;
	hash_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, digest);
	assert_memory_equal(digest, expected, sizeof(digest));
	assert_true(hash_equal(digest, expected, sizeof(digest)));
	digest[31] ^= 1;
	assert_false(hash_equal(digest, expected, sizeof(digest)));
}

static void table_hash_depends_on_seed_and_bytes(void **state)
{
	(void)state;
	assert_true(hash_key64("abc", 3, 1) == hash_key64("abc", 3, 1));
	assert_true(hash_key64("abc", 3, 1) != hash_key64("abc", 3, 2));
	assert_true(hash_key64("abc", 3, 1) != hash_key64("abd", 3, 1));
}

static void exchange_ids_are_uuids_in_order_of_time(void **state)
{
	struct random_seeded random;
	struct fake_clock clock;
	char before[EXCHANGE_ID_TEXT_SIZE] = "", text[EXCHANGE_ID_TEXT_SIZE];

	(void)state;
	random_seeded_init(&random, 9);
	fake_clock_init(&clock, 0);
	for (int i = 0; i < 100; i++) {
		struct exchange_id id = exchange_id_make(&clock.source, &random.source), parsed;
		exchange_id_format(&id, text);
		assert_int_equal(strlen(text), 36);
		assert_int_equal(text[14], '7');
		assert_non_null(strchr("89ab", text[19]));
		assert_true(strcmp(before, text) < 0);
		assert_int_equal(exchange_id_parse(text, &parsed), STATUS_OK);
		assert_memory_equal(&parsed, &id, sizeof(id));
		memcpy(before, text, sizeof(before));
		fake_clock_advance_ms(&clock, 1);
	}
	assert_memory_equal(text, "019b7", 5); /* January 2026 */
}

static void exchange_ids_that_are_none(void **state)
{
	static const char *const bad[] = { "", "019b", "019b6f2e-0000-7000-8000-00000000000",
		"019b6f2e-0000-7000-8000-0000000000000", "019b6f2e0000-7000-8000-0000000000000",
		"019b6f2e-0000-7000-8000-00000000000g", "{19b6f2e-0000-7000-8000-000000000000}", NULL };
	struct exchange_id id;

	(void)state;
	for (const char *const *text = bad; *text != NULL; text++)
		assert_int_equal(exchange_id_parse(*text, &id), STATUS_INVALID);
	assert_int_equal(exchange_id_parse("019B6F2E-0000-7000-8000-00000000000A", &id), STATUS_OK);
	assert_int_equal(id.bytes[15], 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_replays),
		cmocka_unit_test(below_reaches_every_value_about_equally),
		cmocka_unit_test(the_system_does_not_repeat),
		cmocka_unit_test(sha256_vector),
		cmocka_unit_test(hmac_vector),
		cmocka_unit_test(table_hash_depends_on_seed_and_bytes),
		cmocka_unit_test(exchange_ids_are_uuids_in_order_of_time),
		cmocka_unit_test(exchange_ids_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

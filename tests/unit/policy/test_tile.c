/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles have the standard's names, in one spelling, and a tree of any size has the tiles it should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "policy/tile.h"

static void a_path_is_in_groups_of_three_digits(void **state)
{
	static const struct {
		struct tile tile;
		const char *path;
	} cases[] = {
		{ { false, 0, 0, 256 }, "tile/0/000" },
		{ { false, 0, 1234067, 256 }, "tile/0/x001/x234/067" },
		{ { false, 1, 999, 17 }, "tile/1/999.p/17" },
		{ { false, 2, 1000, 1 }, "tile/2/x001/000.p/1" },
		{ { true, 0, 273, 112 }, "tile/entries/273.p/112" },
		{ { true, 0, 123456789, 255 }, "tile/entries/x123/x456/789.p/255" },
		{ { false, 7, UINT64_C(18014398509481983), 256 }, "tile/7/x018/x014/x398/x509/x481/983" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[TILE_PATH_SIZE];
		struct tile tile;

		tile_path(&cases[i].tile, path);
		assert_string_equal(path, cases[i].path);
		assert_int_equal(tile_parse(path, &tile), STATUS_OK);
		assert_int_equal(tile.is_entries, cases[i].tile.is_entries);
		assert_int_equal(tile.level, cases[i].tile.level);
		assert_int_equal(tile.index, cases[i].tile.index);
		assert_int_equal(tile.width, cases[i].tile.width);
	}
}

static void another_path_is_refused(void **state)
{
	static const char *const paths[] = { "", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00",
		"tile/0/0000", "tile/0/000/", "tile/8/000", "tile/00/000", "tile/-1/000", "tile/0/x000/000",
		"tile/0/001/000", "tile/0/x001/x000", "tile/0/x01/000", "tile/0/000.p", "tile/0/000.p/",
		"tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/1/", "tile/0/000.p/1x",
		"tile/0/../0", "tile/entries/../../checkpoint", "/tile/0/000", "tile//000", "tile/entries/000 ",
		"tile/0/x999/x999/x999/x999/x999/x999/x999/999", "tile/0/x999/x999/x999/x999/x999/x999/999",
		"tile/entries/0x0" };

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct tile tile;

		assert_int_equal(tile_parse(paths[i], &tile), STATUS_INVALID);
	}
}

static void a_tree_has_the_tiles_of_its_size(void **state)
{
	(void)state;
	/* 70,000 leaves: 273 full tiles and one of 112; one full above them and one of 17; one of 1 on top. */
	assert_int_equal(tile_width(70000, 0, 272), 256);
	assert_int_equal(tile_width(70000, 0, 273), 112);
	assert_int_equal(tile_width(70000, 0, 274), 0);
	assert_int_equal(tile_width(70000, 1, 0), 256);
	assert_int_equal(tile_width(70000, 1, 1), 17);
	assert_int_equal(tile_width(70000, 1, 2), 0);
	assert_int_equal(tile_width(70000, 2, 0), 1);
	assert_int_equal(tile_width(70000, 3, 0), 0);
	assert_int_equal(tile_width(0, 0, 0), 0);
	assert_int_equal(tile_width(256, 0, 0), 256);
	assert_int_equal(tile_width(256, 0, 1), 0);
	assert_int_equal(tile_width(256, 1, 0), 1);
	assert_int_equal(tile_hashes(UINT64_MAX, TILE_LEVELS), 0);
}

static void a_node_is_found_in_its_tile(void **state)
{
	unsigned int first, count;
	struct tile tile = tile_of_node(70000, 0, 300, &first, &count);

	(void)state;
	assert_int_equal(tile.level, 0);
	assert_int_equal(tile.index, 1);
	assert_int_equal(first, 44);
	assert_int_equal(count, 1);
	tile = tile_of_node(70000, 4, 4374, &first, &count); /* the last 16 leaves */
	assert_int_equal(tile.level, 0);
	assert_int_equal(tile.index, 273);
	assert_int_equal(tile.width, 112);
	assert_int_equal(first, 96);
	assert_int_equal(count, 16);
	tile = tile_of_node(70000, 12, 16, &first, &count);
	assert_int_equal(tile.level, 1);
	assert_int_equal(tile.index, 1);
	assert_int_equal(first, 0);
	assert_int_equal(count, 16);
}

static void a_bundle_is_read_to_its_end_and_a_torn_one_is_told(void **state)
{
	static const char bytes[] = "\0\3abc\0\0\0\1x";
	struct bundle_reader reader;
	const char *entry;
	size_t size;

	(void)state;
	bundle_reader_init(&reader, bytes, sizeof(bytes) - 1);
	assert_int_equal(bundle_next(&reader, &entry, &size), STATUS_OK);
	assert_int_equal(size, 3);
	assert_memory_equal(entry, "abc", 3);
	assert_int_equal(bundle_next(&reader, &entry, &size), STATUS_OK);
	assert_int_equal(size, 0);
	assert_int_equal(bundle_next(&reader, &entry, &size), STATUS_OK);
	assert_memory_equal(entry, "x", 1);
	assert_int_equal(bundle_next(&reader, &entry, &size), STATUS_NOT_FOUND);
	for (size_t left = 1; left < sizeof(bytes) - 1; left++) {
		enum status status;

		bundle_reader_init(&reader, bytes, left);
		do {
			status = bundle_next(&reader, &entry, &size);
		} while (status == STATUS_OK);
		assert_int_equal(status, left == 5 || left == 7 ? STATUS_NOT_FOUND : STATUS_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_is_in_groups_of_three_digits),
		cmocka_unit_test(another_path_is_refused),
		cmocka_unit_test(a_tree_has_the_tiles_of_its_size),
		cmocka_unit_test(a_node_is_found_in_its_tile),
		cmocka_unit_test(a_bundle_is_read_to_its_end_and_a_torn_one_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files: bounds, reasons, secrets, and replacement that is all or nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static char folder[64];
static char path[128];

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/homeward-test-XXXXXX");
	snprintf(path, sizeof(path), "%s", "");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/file", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void test_replace_then_read(void **state)
{
	struct strbuf content = STRBUF_INIT, why = STRBUF_INIT;
	struct stat info;
	DIR *listing;
	int entries = 0;

	(void)state;
	assert_int_equal(file_replace(path, "one", 3, 0640, &why), STATUS_OK);
	assert_int_equal(file_replace(path, "a\0b", 3, 0600, &why), STATUS_OK);
	assert_int_equal(file_read(path, 3, &content, &why), STATUS_OK);
	assert_int_equal(content.length, 3);
	assert_memory_equal(content.data, "a\0b", 3);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	/* No temporary file is left beside it. */
	listing = opendir(folder);
	assert_non_null(listing);
	while (readdir(listing) != NULL)
		entries++;
	closedir(listing);
	assert_int_equal(entries, 3);
	assert_int_equal(why.length, 0);
	strbuf_release(&content);
	strbuf_release(&why);
}

static void test_read_holds_to_its_bound(void **state)
{
	struct strbuf content = STRBUF_INIT, why = STRBUF_INIT;

	(void)state;
	assert_int_equal(file_replace(path, "four", 4, 0600, NULL), STATUS_OK);
	assert_int_equal(file_read(path, 3, &content, &why), STATUS_TOO_LARGE);
	assert_int_equal(content.length, 0);
	assert_non_null(strstr(why.data, path));
	assert_int_equal(file_read("/dev/zero", 100000, &content, NULL), STATUS_TOO_LARGE);
	strbuf_release(&content);
	strbuf_release(&why);
}

static void test_reasons_name_the_file(void **state)
{
	struct strbuf content = STRBUF_INIT, why = STRBUF_INIT;

	(void)state;
	assert_int_equal(file_read("/nowhere/at-all", 10, &content, &why), STATUS_NOT_FOUND);
	assert_non_null(strstr(why.data, "/nowhere/at-all: No such file"));
	strbuf_reset(&why);
	assert_int_equal(file_read(folder, 10, &content, &why), STATUS_IO);
	assert_non_null(strstr(why.data, "directory"));
	strbuf_reset(&why);
	assert_int_equal(file_replace("/nowhere/at-all", "x", 1, 0600, &why), STATUS_NOT_FOUND);
	assert_non_null(strstr(why.data, "/nowhere/at-all"));
	assert_int_equal(file_replace(folder, "x", 1, 0600, NULL), STATUS_IO); /* a folder is in the way */
	assert_int_equal(file_replace(path, "x", 1, 0600, NULL), STATUS_OK);   /* tear_down's rmdir sees leftovers */
	strbuf_release(&content);
	strbuf_release(&why);
}

static void test_secrets_must_be_private(void **state)
{
	struct strbuf content = STRBUF_INIT, why = STRBUF_INIT;

	(void)state;
	assert_int_equal(file_replace(path, " pass word \r\n\n", 14, 0600, NULL), STATUS_OK);
	assert_int_equal(file_read_secret(path, &content, &why), STATUS_OK);
	assert_string_equal(content.data, " pass word");
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(file_read_secret(path, &content, &why), STATUS_IO);
	assert_int_equal(content.length, 0);
	assert_non_null(strstr(why.data, "644"));
	assert_int_equal(chmod(path, 0660), 0); /* group writable, whoever owns it */
	assert_int_equal(file_read_secret(path, &content, NULL), STATUS_IO);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(file_read_secret(path, &content, NULL), geteuid() == 0 ? STATUS_OK : STATUS_IO);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(file_read_secret(path, &content, NULL), STATUS_IO);
	}
	strbuf_release(&content);
	strbuf_release(&why);
}

static void test_folders_are_made_with_their_parents(void **state)
{
	struct strbuf why = STRBUF_INIT;
	char deep[192];

	(void)state;
	snprintf(deep, sizeof(deep), "%s/a//b/", folder);
	assert_int_equal(file_make_folder(deep, 0700, &why), STATUS_OK);
	assert_int_equal(file_make_folder(deep, 0700, &why), STATUS_OK);
	assert_int_equal(why.length, 0);
	assert_int_equal(file_replace(path, "x", 1, 0600, NULL), STATUS_OK);
	snprintf(deep, sizeof(deep), "%s/b", path);
	assert_int_equal(file_make_folder(deep, 0700, &why), STATUS_NOT_FOUND);
	assert_non_null(strstr(why.data, "Not a directory"));
	snprintf(deep, sizeof(deep), "%s/a/b", folder);
	assert_int_equal(rmdir(deep), 0);
	snprintf(deep, sizeof(deep), "%s/a", folder);
	assert_int_equal(rmdir(deep), 0);
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replace_then_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_read_holds_to_its_bound, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reasons_name_the_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_secrets_must_be_private, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_folders_are_made_with_their_parents, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh file with a region more or less: everything else stays byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "fake_broker.h"

static void expect_without(const char *text, const char *region, const char *wanted)
{
	struct strbuf changed = STRBUF_INIT, why = STRBUF_INIT;
	enum status status = mesh_file_without(text, strlen(text), region, &changed, &why);

	if (status != STATUS_OK)
		print_error("%s\n", why.data);
	assert_int_equal(status, STATUS_OK);
	assert_string_equal(changed.data, wanted);
	strbuf_release(&changed);
	strbuf_release(&why);
}

static void a_region_goes_with_its_lines(void **state)
{
	(void)state;
	expect_without("// the lab\n{\n  \"regions\": {\n    \"na\": {\"a\": \"}\\\"\"}, // first\n    # keep\n"
		       "    \"eu\": {\n      \"b\": [1, {}],\n    },   // gone with it\n    \"ap\": {},\n  },\n}\n",
		"eu",
		"// the lab\n{\n  \"regions\": {\n    \"na\": {\"a\": \"}\\\"\"}, // first\n    # keep\n"
		"    \"ap\": {},\n  },\n}\n");
	/* The last one, with a comma behind it, with one before it alone, and among others on one line. */
	expect_without(
		"{\"regions\": {\n\"na\": {},\n\"eu\": {} /* , */ ,\n}}", "eu", "{\"regions\": {\n\"na\": {},\n}}");
	expect_without("{\"regions\": {\n\"na\": {}, // first\n\"eu\": {}\n}}", "eu",
		"{\"regions\": {\n\"na\": {} // first\n}}");
	expect_without("{\"regions\": {\"na\": {}, \"eu\": {}, \"ap\": {}}}", "na",
		"{\"regions\": { \"eu\": {}, \"ap\": {}}}");
	expect_without("{\"regions\": {\"na\": {}, \"eu\": {}, \"ap\": {}}}", "ap",
		"{\"regions\": {\"na\": {}, \"eu\": {} }}");
}

static void its_links_go_too(void **state)
{
	(void)state;
	expect_without("{\"topology\": \"links\", \"links\": [[\"na\", \"eu\"], [\"na\", \"ap\"],\n [\"ap\", \"eu\"]],"
		       "\"regions\": {\"na\": {}, \"eu\": {}, \"ap\": {}}}",
		"ap",
		"{\"topology\": \"links\", \"links\": [[\"na\", \"eu\"], \n ],"
		"\"regions\": {\"na\": {}, \"eu\": {} }}");
}

static void what_cannot_be_taken_out_is_said(void **state)
{
	static const char hub[] = "{\"hub\": \"eu\", \"regions\": {\"eu\": {}, \"na\": {}}}";
	struct strbuf changed = STRBUF_INIT, why = STRBUF_INIT;
	(void)state;

	assert_int_equal(mesh_file_without(hub, strlen(hub), "eu", &changed, &why), STATUS_CONFLICT);
	assert_non_null(strstr(why.data, "eu is the hub"));
	strbuf_reset(&why);
	assert_int_equal(mesh_file_without("{ /* open", 9, "eu", &changed, &why), STATUS_INVALID);
	assert_int_equal(changed.length, 0);
	strbuf_release(&changed);
	strbuf_release(&why);
}

static void expect_with(const char *text, const char *wanted)
{
	json_t *entry = json_pack("{s:[s]}", "urls", "u"), *peers = json_pack("[s,s]", "na", "eu");
	struct strbuf changed = STRBUF_INIT, why = STRBUF_INIT;
	enum status status = mesh_file_with(text, strlen(text), "ap", entry, peers, &changed, &why);

	if (status != STATUS_OK)
		print_error("%s\n", why.data);
	assert_int_equal(status, STATUS_OK);
	assert_string_equal(changed.data, wanted);
	json_decref(entry);
	json_decref(peers);
	strbuf_release(&changed);
	strbuf_release(&why);
}

static void a_region_is_put_behind_the_last(void **state)
{
	(void)state;
	expect_with("{\n  \"regions\": {\n\t\"na\": {},\n\t\"eu\": {\n\t}, // the last\n  }\n}\n",
		"{\n  \"regions\": {\n\t\"na\": {},\n\t\"eu\": {\n\t},\n\t\"ap\": {\n\t    \"urls\": [\n\t        "
		"\"u\"\n"
		"\t    ]\n\t}, // the last\n  }\n}\n");
	expect_with("{\"regions\": {\"na\": {}}, \"links\": []}",
		"{\"regions\": {\"na\": {}, \"ap\": {\n    \"urls\": [\n        \"u\"\n    ]\n}},"
		" \"links\": [[\"ap\", \"na\"], [\"ap\", \"eu\"]]}");
	expect_with("{\"links\": [[\"na\", \"eu\"],], \"regions\": {\"na\": {}, \"eu\": {}}}",
		"{\"links\": [[\"na\", \"eu\"], [\"ap\", \"na\"], [\"ap\", \"eu\"],], \"regions\": {\"na\": {}, "
		"\"eu\": {}, "
		"\"ap\": {\n    \"urls\": [\n        \"u\"\n    ]\n}}}");
}

static void the_file_before_is_kept(void **state)
{
	char folder[] = "/tmp/hw-mesh-edit-XXXXXX";
	struct strbuf path = STRBUF_INIT, link = STRBUF_INIT, changed = STRBUF_INIT, backup = STRBUF_INIT,
		      why = STRBUF_INIT, text = STRBUF_INIT;
	struct stat info;
	(void)state;

	assert_non_null(mkdtemp(folder));
	strbuf_addf(&path, "%s/mesh.json", folder);
	strbuf_addf(&link, "%s/link", folder);
	assert_int_equal(file_replace(path.data, "before", 6, 0640, NULL), STATUS_OK);
	assert_int_equal(symlink("mesh.json", link.data), 0);
	strbuf_adds(&changed, "after");
	assert_int_equal(mesh_file_save(link.data, &changed, &backup, &why), STATUS_OK);
	assert_int_equal(file_read(path.data, 100, &text, NULL), STATUS_OK);
	assert_string_equal(text.data, "after");
	assert_int_equal(file_read(backup.data, 100, &text, NULL), STATUS_OK);
	assert_string_equal(text.data, "before");
	assert_int_equal(lstat(link.data, &info), 0);
	assert_true(S_ISLNK(info.st_mode));
	assert_int_equal(stat(path.data, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0640);
	unlink(link.data);
	unlink(path.data);
	unlink(backup.data);
	assert_int_equal(rmdir(folder), 0);
	strbuf_reset(&backup);
	assert_int_equal(mesh_file_save(path.data, &changed, &backup, &why), STATUS_IO);
	strbuf_release(&path);
	strbuf_release(&link);
	strbuf_release(&changed);
	strbuf_release(&backup);
	strbuf_release(&why);
	strbuf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_region_goes_with_its_lines),
		cmocka_unit_test(its_links_go_too),
		cmocka_unit_test(what_cannot_be_taken_out_is_said),
		cmocka_unit_test(a_region_is_put_behind_the_last),
		cmocka_unit_test(the_file_before_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh file of a running region: what differs, and that a bad file changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "fake_broker.h"
#include "federation/mesh_current.h"

#define ONE_REGION                                                                                                     \
	"\"%s\": {\"peer_urls\": [\"https://%s.example:7443\"], \"broker_urls\": [\"amqps://%s.example:5671\"],"       \
	" \"management\": {\"url\": \"https://%s.example:15671\", \"user\": \"op\", \"password_file\": \"word\"},"     \
	" \"link\": {\"ca_file\": \"/ca.pem\", \"certificate_file\": \"/r.pem\", \"key_file\": \"/r.key\"}},"

static char folder[64];
static char path[128];

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/homeward-test-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/mesh.json", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void write_mesh(const char *const *names)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_adds(&text, "{\"trust_domain\": \"lab.example\", \"regions\": {");
	for (size_t i = 0; names[i] != NULL; i++)
		strbuf_addf(&text, ONE_REGION, names[i], names[i], names[i], names[i]);
	strbuf_adds(&text, "}}");
	assert_int_equal(file_replace(path, text.data, text.length, 0600, NULL), STATUS_OK);
	strbuf_release(&text);
}

static void assert_linked(struct mesh_current *current, const char *own, const char *expected)
{
	char(*regions)[REGION_SIZE] = NULL;
	struct strbuf names = STRBUF_INIT;
	size_t count = 0;

	assert_int_equal(mesh_current_linked(current, own, &regions, &count), STATUS_OK);
	strbuf_adds(&names, "");
	for (size_t i = 0; i < count; i++)
		strbuf_addf(&names, "%s ", regions[i]);
	assert_string_equal(count > 0 ? names.data : "", expected);
	strbuf_release(&names);
	free(regions);
}

static void assert_difference(
	const struct mesh *before, const struct mesh *after, const char *own, const char *added, const char *removed)
{
	struct strbuf more = STRBUF_INIT, less = STRBUF_INIT;

	mesh_difference(before, after, own, &more, &less);
	assert_string_equal(more.length > 0 ? more.data : "", added);
	assert_string_equal(less.length > 0 ? less.data : "", removed);
	strbuf_release(&more);
	strbuf_release(&less);
}

static void the_difference_is_of_links_not_of_names(void **state)
{
	struct mesh *two = fake_mesh(2, ""), *four = fake_mesh(4, "");
	struct mesh *hub = fake_mesh(4, "\"topology\": \"hub\", \"hub\": \"r001\",");
	(void)state;

	assert_difference(two, two, "r000", "", "");
	assert_difference(two, four, "r000", "r002,r003", "");
	assert_difference(four, two, "r000", "", "r002,r003");
	assert_difference(four, hub, "r000", "", "r002,r003"); /* still in the file, but no link */
	assert_difference(four, hub, "r001", "", "");
	assert_difference(four, two, "r003", "", "r000,r001,r002"); /* this region itself is retired */
	assert_difference(two, four, "r003", "r000,r001,r002", "");
	assert_difference(two, four, "elsewhere", "", "");
	mesh_destroy(two);
	mesh_destroy(four);
	mesh_destroy(hub);
}

static void a_changed_file_is_read_and_comes_into_force_when_swapped(void **state)
{
	struct mesh_current *current = NULL;
	struct mesh *fresh = NULL;
	struct strbuf why = STRBUF_INIT;
	char region[REGION_SIZE];
	bool was_refused = true;
	(void)state;

	write_mesh((const char *const[]){ "ap", "eu", "na", NULL });
	assert_int_equal(mesh_current_open(path, &current, &why), STATUS_OK);
	assert_false(mesh_current_has_changed(current, &was_refused));
	assert_false(was_refused);
	assert_linked(current, "na", "ap eu ");
	mesh_current_origin(current, "amqps://ap.example:5671/homeward", region);
	assert_string_equal(region, "ap");

	write_mesh((const char *const[]){ "eu", "na", NULL });
	assert_true(mesh_current_has_changed(current, &was_refused));
	assert_int_equal(mesh_current_read(current, &fresh, &why), STATUS_OK);
	assert_linked(current, "na", "ap eu "); /* not yet */
	assert_true(mesh_current_has_changed(current, &was_refused));
	mesh_destroy(mesh_current_swap(current, fresh));
	assert_false(mesh_current_has_changed(current, &was_refused));
	assert_linked(current, "na", "eu ");
	assert_linked(current, "ap", "");
	mesh_current_origin(current, "amqps://ap.example:5671/homeward", region);
	assert_string_equal(region, "");
	mesh_current_close(current);
	strbuf_release(&why);
}

static void a_bad_file_is_refused_once_and_the_old_one_stays(void **state)
{
	struct mesh_current *current = NULL;
	struct mesh *fresh = NULL;
	struct strbuf why = STRBUF_INIT;
	bool was_refused = true;
	(void)state;

	write_mesh((const char *const[]){ "eu", "na", NULL });
	assert_int_equal(mesh_current_open(path, &current, &why), STATUS_OK);
	assert_int_equal(file_replace(path, "{\"regions\": {", 13, 0600, NULL), STATUS_OK);
	assert_true(mesh_current_has_changed(current, &was_refused));
	assert_false(was_refused);
	assert_int_equal(mesh_current_read(current, &fresh, &why), STATUS_INVALID);
	assert_null(fresh);
	assert_non_null(strstr(why.data, "mesh.json:1:"));
	assert_linked(current, "na", "eu ");
	assert_true(mesh_current_has_changed(current, &was_refused));
	assert_true(was_refused);

	/* Gone is another change, and refused too. */
	unlink(path);
	assert_true(mesh_current_has_changed(current, &was_refused));
	assert_false(was_refused);
	assert_int_equal(mesh_current_read(current, &fresh, &why), STATUS_NOT_FOUND);
	assert_linked(current, "na", "eu ");

	write_mesh((const char *const[]){ "ap", "eu", "na", NULL });
	assert_true(mesh_current_has_changed(current, &was_refused));
	assert_false(was_refused);
	assert_int_equal(mesh_current_read(current, &fresh, &why), STATUS_OK);
	mesh_destroy(mesh_current_swap(current, fresh));
	assert_linked(current, "na", "ap eu ");
	assert_false(mesh_current_has_changed(current, &was_refused));
	mesh_current_close(current);

	unlink(path);
	assert_int_equal(mesh_current_open(path, &current, &why), STATUS_NOT_FOUND);
	assert_null(current);
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_difference_is_of_links_not_of_names),
		cmocka_unit_test_setup_teardown(
			a_changed_file_is_read_and_comes_into_force_when_swapped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_bad_file_is_refused_once_and_the_old_one_stays, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

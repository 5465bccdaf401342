/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for federation/mesh_file*.c: what a mesh file may say, and where it is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake_broker.h"

#define REGION(name, port)                                                                                             \
	"\"" name "\": {\"peer_urls\": [\"https://h:" port "\"], \"broker_urls\": [\"amqps://h:" port "\"],"           \
	"\"management\": {\"url\": \"http://127.0.0.1:" port "\", \"user\": \"op\", \"password_file\": \"p\"},"        \
	"\"link\": {\"ca_file\": \"/a\", \"certificate_file\": \"/b\", \"key_file\": \"/c\"}}"
#define HEAD "{\"trust_domain\": \"lab.example\","
#define TWO "\"regions\": {" REGION("na", "1") "," REGION("eu", "2") "}}"

static struct mesh *parsed(const char *text)
{
	struct strbuf errors = STRBUF_INIT;
	struct mesh *mesh = NULL;
	enum status status = mesh_parse("dir/mesh.json", text, strlen(text), &mesh, &errors);

	if (status != STATUS_OK)
		print_error("%s", errors.data);
	assert_int_equal(status, STATUS_OK);
	strbuf_release(&errors);
	return mesh;
}

static void refused(const char *text, const char *complaint)
{
	struct strbuf errors = STRBUF_INIT;
	struct mesh *mesh = NULL;

	if (mesh_parse("mesh.json", text, strlen(text), &mesh, &errors) != STATUS_INVALID)
		print_error("accepted: %s\n", text);
	assert_null(mesh);
	if (strstr(errors.data, complaint) == NULL)
		print_error("wanted: %s\ngot: %s", complaint, errors.data);
	assert_non_null(strstr(errors.data, complaint));
	strbuf_release(&errors);
}

static void a_file_is_read_with_defaults_and_paths_beside_it(void **state)
{
	(void)state;
	struct mesh *mesh = parsed("// the lab\n" HEAD "\"object_types\": [\"token\",]," TWO);

	assert_int_equal(mesh->region_count, 2);
	assert_string_equal(mesh->regions[0].name, "eu");
	assert_string_equal(mesh->regions[0].vhost, "homeward");
	assert_string_equal(mesh->regions[0].cluster, "eu");
	assert_string_equal(mesh->regions[0].management.password_file, "dir/p");
	assert_string_equal(mesh->object_types[0], "token");
	assert_int_equal(mesh->limits.delivery_limit, 20);
	assert_true(mesh_has_link(mesh, 0, 1));
	assert_false(mesh_has_link(mesh, 1, 1));
	assert_int_equal(mesh_region_find(mesh, "na"), 1);
	assert_int_equal(mesh_region_find(mesh, "ap"), 2);
	mesh_destroy(mesh);
}

static void a_hub_links_each_with_the_hub_alone(void **state)
{
	(void)state;
	struct mesh *mesh = fake_mesh(4, "\"topology\": \"hub\", \"hub\": \"r001\",");

	assert_true(mesh_has_link(mesh, 0, 1) && mesh_has_link(mesh, 1, 3));
	assert_false(mesh_has_link(mesh, 0, 3));
	mesh_destroy(mesh);
}

static void pairs_link_only_themselves(void **state)
{
	(void)state;
	struct mesh *mesh = fake_mesh(3, "\"topology\": \"links\", \"links\": [[\"r000\", \"r002\"]],");

	assert_true(mesh_has_link(mesh, 0, 2) && mesh_has_link(mesh, 2, 0));
	assert_false(mesh_has_link(mesh, 0, 1) || mesh_has_link(mesh, 1, 2));
	mesh_destroy(mesh);
}

static void wrong_values_are_named_with_their_place(void **state)
{
	(void)state;
	refused(HEAD "\"topolgy\": \"mesh\"," TWO,
		"mesh.json:1:32 /topolgy: not known here; did you mean \"topology\"?");
	refused(HEAD "\"topology\": \"ring\"," TWO, "/topology: not a topology, allowed: mesh, hub, links");
	refused(HEAD "\"topology\": \"hub\"," TWO, "needs \"hub\"");
	refused(HEAD "\"hub\": \"na\"," TWO, "/hub: only with topology \"hub\"");
	refused(HEAD "\"topology\": \"links\"," TWO, "needs \"links\"");
	refused(HEAD "\"topology\": \"links\", \"links\": [[\"na\", \"na\"]]," TWO, "/links/0: not a pair");
	refused(HEAD "\"topology\": \"links\", \"links\": [[\"na\", \"mars\"], 3]," TWO, "/links/1: not a pair");
	refused(HEAD "\"limits\": {\"delivery_limit\": 0}," TWO, "/limits/delivery_limit: out of range, got 0");
	refused(HEAD "\"limits\": {\"delivery_limit\": \"x\"}," TWO, "not a whole number");
	refused("{" TWO, "missing: \"trust_domain\"");
	refused(HEAD "\"regions\": {" REGION("na", "1") "}}", "/regions: refused, got an object");
	refused(HEAD "\"regions\": {" REGION("na", "1") "," REGION("all", "2") "}}", "not a region's name");
	refused(HEAD "\"regions\": {" REGION("na", "1") "," REGION("eu", "1") "}}", "the same broker and virtual host");
	refused(HEAD "\"regions\": {" REGION("na", "1") "," REGION("na", "2") "}}", "duplicate");
	refused(HEAD "\"regions\": {" REGION("na", "1") ", \"eu\": {}}}", "/regions/eu: missing: \"link\"");
	refused(HEAD "\"regions\": {" REGION("na", "1") ", \"eu\": 3}}", "/regions/eu: wrong type, got 3");
	refused("[]", "wrong type, got an array");
	refused("{ /* ", "a comment that is not closed");
	refused("{", "not JSON");
}

static void addresses_hold_nothing_but_host_and_port(void **state)
{
	static const char *const wrong[] = { "amqp://h:1", "amqps://", "amqps://user@h:1", "amqps://h:1/vhost",
		"amqps://h:0", "amqps://h:65536", "amqps://h:x", "amqps://h?verify=verify_none", "amqps://[::1" };
	struct strbuf text = STRBUF_INIT;
	(void)state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		strbuf_reset(&text);
		strbuf_addf(&text, HEAD "\"regions\": {" REGION("na", "1") ",\"eu\": {\"broker_urls\": [\"%s\"]}}}",
			wrong[i]);
		refused(text.data, "/regions/eu/broker_urls/0: refused");
	}
	strbuf_release(&text);
	refused(HEAD "\"regions\": {" REGION("na", "1") ",\"eu\": {\"management\": {\"url\": \"http://h:1\"}}}}",
		"/regions/eu/management/url: refused");
	refused(HEAD
		"\"regions\": {" REGION("na", "1") ",\"eu\": {\"link\": {\"ca_file\": \"/a&verify=verify_none\"}}}}",
		"/regions/eu/link/ca_file: refused");
}

#define WITH(name, port, applications)                                                                                 \
	"\"" name "\": {\"applications\": " applications ", \"peer_urls\": [\"https://h:" port "\"],"                  \
	"\"broker_urls\": [\"amqps://h:" port "\"], \"management\": {\"url\": \"http://127.0.0.1:" port "\","          \
	"\"user\": \"op\", \"password_file\": \"p\"},"                                                                 \
	"\"link\": {\"ca_file\": \"/a\", \"certificate_file\": \"/b\", \"key_file\": \"/c\"}}"

static void applications_are_read_by_name(void **state)
{
	(void)state;
	struct mesh *mesh = parsed(HEAD "\"regions\": {" REGION("na", "1") "," WITH("eu", "2",
		"[{\"name\": \"cs_1\", \"may\": [\"mqtt\"]}, {\"name\": \"Billing\", \"may\": [\"submit\", "
		"\"system\"]}]") "}}");

	assert_int_equal(mesh->regions[0].application_count, 2);
	assert_int_equal(mesh->regions[1].application_count, 0);
	assert_string_equal(mesh->regions[0].applications[0].name, "Billing");
	assert_true(mesh->regions[0].applications[0].may_submit && mesh->regions[0].applications[0].may_system);
	assert_false(mesh->regions[0].applications[0].may_mqtt || mesh->regions[0].applications[0].may_deliver);
	assert_true(mesh->regions[0].applications[1].may_mqtt && !mesh->regions[0].applications[1].may_submit);
	assert_true(mesh_is_user(mesh, "cs_1") && mesh_is_user(mesh, "na"));
	assert_false(mesh_is_user(mesh, "cs_2") || mesh_is_user(mesh, ""));
	mesh_destroy(mesh);
}

static void refused_application(const char *applications, const char *complaint)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_addf(&text,
		HEAD "\"regions\": {" WITH("na", "1", "[{\"name\": \"till\", \"may\": [\"submit\"]}]") "," WITH(
			"eu", "2", "%s") "}}",
		applications);
	refused(text.data, complaint);
	strbuf_release(&text);
}

static void an_application_is_one_user_and_may_only_what_there_is(void **state)
{
	static const char *const names[] = { "a.b", "", "-a", "a b", "homeward", "amq", "guest", "all",
		"mqtt-subscription", "a^", "a1234567890123456789012345678901234567890123456789" };
	struct strbuf one = STRBUF_INIT;
	(void)state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		strbuf_reset(&one);
		strbuf_addf(&one, "[{\"name\": \"%s\", \"may\": [\"submit\"]}]", names[i]);
		refused_application(one.data, "/regions/eu/applications/0: \"name\" is refused");
	}
	strbuf_release(&one);
	refused_application("[{\"name\": \"a\", \"may\": []}]", "/regions/eu/applications/0: \"may\" is refused");
	refused_application("[{\"name\": \"a\", \"may\": [\"fly\"]}]", "\"may\" is refused, allowed: one or more of");
	refused_application("[{\"name\": \"a\"}]", "/regions/eu/applications/0: refused");
	refused_application("[3]", "/regions/eu/applications/0: refused, got 3");
	refused_application("{}", "/regions/eu/applications: refused");
	refused_application("[{\"name\": \"na\", \"may\": [\"submit\"]}]", "\"na\" is a region's name");
	refused_application("[{\"name\": \"op\", \"may\": [\"submit\"]}]", "\"op\" is the management user's name");
	refused_application(
		"[{\"name\": \"till\", \"may\": [\"deliver\"]}]", "one certificate would open both brokers");
	refused_application("[{\"name\": \"a\", \"may\": [\"submit\"]}, {\"name\": \"a\", \"may\": [\"mqtt\"]}]",
		"\"a\" is there twice");
}

static void all_errors_are_told_at_once(void **state)
{
	struct strbuf errors = STRBUF_INIT;
	struct mesh *mesh = NULL;
	static const char text[] = "{\n \"hubb\": 1,\n \"vhost\": \"a/b\",\n \"regions\": []\n}";
	(void)state;

	assert_int_equal(mesh_parse("m", text, strlen(text), &mesh, &errors), STATUS_INVALID);
	assert_string_equal(errors.data,
		"m:1:1 /: missing: \"trust_domain\"\n"
		"m:2:2 /hubb: not known here; did you mean \"hub\"?\n"
		"m:3:11 /vhost: refused, got \"a/b\", allowed: letters, digits, '-', '.' and '_'\n"
		"m:4:13 /regions: refused, got an array, allowed: an object of 2 to 512 regions\n");
	strbuf_release(&errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_read_with_defaults_and_paths_beside_it),
		cmocka_unit_test(a_hub_links_each_with_the_hub_alone),
		cmocka_unit_test(pairs_link_only_themselves),
		cmocka_unit_test(wrong_values_are_named_with_their_place),
		cmocka_unit_test(addresses_hold_nothing_but_host_and_port),
		cmocka_unit_test(applications_are_read_by_name),
		cmocka_unit_test(an_application_is_one_user_and_may_only_what_there_is),
		cmocka_unit_test(all_errors_are_told_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas: every golden example is judged as it says, and nothing outside the subset is read. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "federation/event_schema.h"

static struct event_schemas *load(void)
{
	struct event_schemas *schemas = NULL;
	struct strbuf why = STRBUF_INIT;

	assert_int_equal(event_schemas_load("", &schemas, &why), STATUS_OK);
	assert_string_equal(why.data, "");
	strbuf_release(&why);
	return schemas;
}

static void check_examples(const struct event_schemas *schemas, const char *file)
{
	char path[300], type[128];
	const struct event_schema *schema;
	struct strbuf why = STRBUF_INIT;
	json_t *examples, *example;
	size_t i;

	snprintf(path, sizeof(path), "schemas/examples/%s", file);
	snprintf(type, sizeof(type), "%.*s", (int)(strstr(file, ".v") - file), file);
	examples = json_load_file(path, 0, NULL);
	schema = event_schema_find(schemas, type, "");
	assert_non_null(examples);
	assert_non_null(schema);
	json_array_foreach(json_object_get(examples, "valid"), i, example)
	{
		if (event_schema_check(schema, example, &why) != STATUS_OK)
			fail_msg("%s: valid %zu refused: %s", file, i, why.data);
	}
	json_array_foreach(json_object_get(examples, "invalid"), i, example)
	{
		strbuf_reset(&why);
		if (event_schema_check(schema, json_object_get(example, "data"), &why) != STATUS_INVALID)
			fail_msg("%s: invalid %zu taken: %s", file, i,
				json_string_value(json_object_get(example, "why")));
		assert_int_equal(strncmp(why.data, "data", 4), 0);
	}
	strbuf_release(&why);
	json_decref(examples);
}

static void golden_examples_are_judged_as_they_say(void **state)
{
	struct event_schemas *schemas = load();
	DIR *directory = opendir("schemas/examples");
	const struct dirent *entry;
	int count = 0;

	(void)state;
	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, "envelope.", 9) == 0)
			continue;
		check_examples(schemas, entry->d_name);
		count++;
	}
	assert_true(count > 10);
	closedir(directory);
	event_schemas_destroy(schemas);
}

#define HEAD "{\"$id\":\"i\",\"x-event-type\":\"t\",\"x-version\":1,\"type\":\"object\",\"additionalProperties\":false,"
#define FIELD(rules) HEAD "\"properties\":{\"a\":{" rules "}}}"
#define CLASS ",\"x-classification\":\"public\""

static void what_is_not_of_the_subset_is_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "[]", "$id, x-event-type and x-version" },
		{ "{", "schema x: line 1" },
		{ HEAD "\"properties\":{},\"oneOf\":[]}", "\"oneOf\" is not in the subset" },
		{ FIELD("\"type\":\"null\""), "a type of the subset is missing" },
		{ FIELD("\"type\":\"string\",\"maxLength\":3"), "no x-classification" },
		{ FIELD("\"type\":\"string\"" CLASS), "a maxLength or an enum" },
		{ FIELD("\"type\":\"integer\",\"maxLength\":3" CLASS),
			"\"maxLength\" is not in the subset, or not for integer" },
		{ FIELD("\"type\":\"string\",\"maxLength\":3,\"format\":\"email\"" CLASS), "format \"email\"" },
		{ FIELD("\"type\":\"string\",\"maxLength\":3,\"pattern\":\"^[$\"" CLASS), "cannot be read" },
		{ FIELD("\"type\":\"array\",\"items\":{}"), "a type of the subset is missing" },
		{ FIELD("\"type\":\"object\",\"properties\":{}"), "additionalProperties false" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct event_schemas *schemas = event_schemas_create();
		struct strbuf why = STRBUF_INIT;

		assert_int_equal(
			event_schemas_add(schemas, "x", cases[i].text, strlen(cases[i].text), &why), STATUS_INVALID);
		if (strstr(why.data, cases[i].says) == NULL)
			fail_msg("case %zu: %s", i, why.data);
		strbuf_release(&why);
		event_schemas_destroy(schemas);
	}
}

static void the_newest_version_is_found_unless_one_is_named(void **state)
{
	static const char one[] = FIELD("\"type\":\"string\",\"maxLength\":3" CLASS);
	static const char two[] = "{\"$id\":\"i2\",\"x-event-type\":\"t\",\"x-version\":2,\"type\":\"object\","
				  "\"additionalProperties\":false,\"properties\":{\"b\":{\"type\":\"boolean\","
				  "\"x-classification\":\"personal\"}}}";
	struct event_schemas *schemas = event_schemas_create();
	struct strbuf why = STRBUF_INIT;
	json_t *data = json_pack("{s:s}", "a", "\xc3\xa4\xc3\xb6\xc3\xbc");

	(void)state;
	assert_int_equal(event_schemas_add(schemas, "one", one, strlen(one), &why), STATUS_OK);
	assert_int_equal(event_schemas_add(schemas, "two", two, strlen(two), &why), STATUS_OK);
	assert_int_equal(event_schemas_add(schemas, "one", one, strlen(one), &why), STATUS_INVALID);
	assert_string_equal(event_schema_identifier(event_schema_find(schemas, "t", "")), "i2");
	assert_string_equal(event_schema_classification(event_schema_find(schemas, "t", "i2")), "personal");
	assert_null(event_schema_find(schemas, "u", "i"));
	assert_null(event_schema_find(schemas, "t", "nothing"));
	/* Characters are counted, not bytes. */
	assert_int_equal(event_schema_check(event_schema_find(schemas, "t", "i"), data, &why), STATUS_OK);
	assert_int_equal(event_schema_check(event_schema_find(schemas, "t", "i2"), data, &why), STATUS_INVALID);
	assert_int_equal(event_schema_check(event_schema_find(schemas, "t", "i"), NULL, &why), STATUS_INVALID);
	json_decref(data);
	strbuf_release(&why);
	event_schemas_destroy(schemas);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_examples_are_judged_as_they_say),
		cmocka_unit_test(what_is_not_of_the_subset_is_refused),
		cmocka_unit_test(the_newest_version_is_found_unless_one_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events in binary mode: headers and a body become the envelope that the
 * structured form would have been.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "federation/event_modes.h"

static void test_modes(void **state)
{
	(void)state;
	assert_int_equal(event_mode_find(NULL, false), EVENT_STRUCTURED);
	assert_int_equal(event_mode_find("application/json", false), EVENT_STRUCTURED);
	assert_int_equal(event_mode_find("application/json", true), EVENT_BINARY);
	assert_int_equal(event_mode_find(NULL, true), EVENT_BINARY);
	assert_int_equal(event_mode_find("application/cloudevents+json; charset=utf-8", true), EVENT_STRUCTURED);
	assert_int_equal(event_mode_find("Application/CloudEvents-Batch+JSON", true), EVENT_BATCH);
}

/* expected NULL: it is refused, and `complaint` is said. */
static void expect_attribute(
	const char *name, const char *value, bool is_encoded, const char *expected, const char *complaint)
{
	json_t *envelope = json_pack("{s:s}", "id", "1");
	struct strbuf why = STRBUF_INIT;
	enum status status = event_binary_attribute(envelope, name, value, is_encoded, &why);

	if (expected != NULL) {
		assert_string_equal(why.data, "");
		assert_int_equal(status, STATUS_OK);
		assert_string_equal(json_get_string(envelope, "subject"), expected);
	} else {
		assert_int_equal(status, STATUS_INVALID);
		assert_non_null(strstr(why.data, complaint));
		assert_int_equal(json_object_size(envelope), 1);
	}
	json_decref(envelope);
	strbuf_release(&why);
}

static void test_attributes(void **state)
{
	(void)state;
	expect_attribute("Subject", "plain", true, "plain", NULL);
	/* The specification's own example. */
	expect_attribute(
		"subject", "Euro%20%E2%82%AC%20%F0%9F%98%80", true, "Euro \xe2\x82\xac \xf0\x9f\x98\x80", NULL);
	expect_attribute("subject", "a+b%25%22", true, "a+b%\"", NULL);
	expect_attribute("subject", "\"a \\\" b%20\"", true, "a \" b ", NULL);
	expect_attribute("subject", "100%", true, NULL, "percent-encoded");
	expect_attribute("subject", "%4", true, NULL, "percent-encoded");
	expect_attribute("subject", "%zz", true, NULL, "percent-encoded");
	expect_attribute("subject", "a%00b", true, NULL, "percent-encoded");
	expect_attribute("subject", "\"open", true, NULL, "percent-encoded");
	expect_attribute("subject", "\"a\"b", true, NULL, "percent-encoded");
	expect_attribute("subject", "%C3%28", true, NULL, "UTF-8");
	expect_attribute("subject", "100%", false, "100%", NULL);
	expect_attribute("ID", "2", true, NULL, "given twice");
	expect_attribute("data", "2", true, NULL, "body");
	expect_attribute("datacontenttype", "text/plain", true, NULL, "content type");
	expect_attribute("a123456789b123456789c123456789d123456789e123456789f123456789g123456789", "x", true, NULL,
		"attribute name");
}

static void expect_data(const char *content_type, const char *body, size_t size, const char *expected)
{
	json_t *envelope = json_object();
	struct strbuf why = STRBUF_INIT, text = STRBUF_INIT;
	enum status status = event_binary_data(envelope, content_type, body, size, &why);

	if (expected != NULL) {
		assert_int_equal(status, STATUS_OK);
		json_object_del(envelope, "datacontenttype");
		assert_int_equal(json_write(envelope, &text), STATUS_OK);
		assert_string_equal(text.data, expected);
	} else {
		assert_int_equal(status, STATUS_INVALID);
		assert_string_equal(why.data, "data: not JSON, which its content type says");
	}
	json_decref(envelope);
	strbuf_release(&why);
	strbuf_release(&text);
}

static void test_data(void **state)
{
	(void)state;
	expect_data(NULL, "", 0, "{}");
	expect_data(NULL, "{\"a\":1}", 7, "{\"data\":{\"a\":1}}");
	expect_data("application/json", "7", 1, "{\"data\":7}");
	expect_data("application/json; charset=utf-8", "null", 4, "{\"data\":null}");
	expect_data("application/vnd.x+json", "\"x\"", 3, "{\"data\":\"x\"}");
	expect_data("application/json", "1,2", 3, NULL);
	expect_data("application/json", "1],[2", 5, NULL);
	expect_data("application/json", "{", 1, NULL);
	expect_data("application/json", " ", 1, NULL);
	expect_data("text/plain", "a\xc3\xa4", 3, "{\"data\":\"a\xc3\xa4\"}");
	expect_data("text/plain; charset=utf-8", "a", 1, "{\"data\":\"a\"}");
	expect_data("text/plain; charset=iso-8859-1", "a", 1, "{\"data_base64\":\"YQ==\"}");
	expect_data("text/plain", "\xff", 1, "{\"data_base64\":\"/w==\"}");
	expect_data("application/octet-stream", "\0\1", 2, "{\"data_base64\":\"AAE=\"}");
	expect_data("application/jsonx", "1", 1, "{\"data_base64\":\"MQ==\"}");
}

static void test_content_type_is_an_attribute(void **state)
{
	json_t *envelope = json_object();
	struct strbuf why = STRBUF_INIT;

	(void)state;
	assert_int_equal(event_binary_data(envelope, "text/csv", "a", 1, &why), STATUS_OK);
	assert_string_equal(json_get_string(envelope, "datacontenttype"), "text/csv");
	json_decref(envelope);
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_content_type_is_an_attribute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

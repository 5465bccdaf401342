/* SPDX-License-Identifier: Apache-2.0 */
/* What base reads from files and from other regions, with each allocation failing in turn. */
#include "tests/unit/support/failing_allocator.h"

#include "base/json.h"
#include "base/peer_wire.h"
#include "base/settings.h"

static bool read_settings(void *arg)
{
	static const char text[] =
		"{\"region\":\"eu\",\"trust_domain\":\"test.example\",\"policy\":{\"file\":\"policy.json\"},"
		"\"tls\":{\"certificate\":\"eu.pem\",\"key\":\"/keys/eu.key\",\"ca\":\"ca.pem\"},"
		"\"database\":{\"dsn\":\"host=/tmp dbname=x\"},"
		"\"types\":{\"token\":{\"handler\":\"store\",\"id_format\":\"rfid-uid\"},"
		"\"tariff\":{\"handler\":\"sql\",\"query\":\"SELECT id, version, record FROM t WHERE id = ANY($1)\"}},"
		"\"peers\":{\"na\":{\"urls\":[\"https://127.0.0.1:7443\",\"https://127.0.0.2:7443\"]}}}";
	struct strbuf errors = STRBUF_INIT;
	struct settings *settings = NULL;
	enum status status = settings_parse("/etc/eu.conf", text, sizeof(text) - 1, &settings, &errors);

	(void)arg;
	assert_int_equal(status == STATUS_OK, settings != NULL);
	settings_destroy(settings);
	strbuf_release(&errors);
	return status == STATUS_OK;
}

static bool read_bad_settings(void *arg)
{
	static const char text[] = "{ // no\n \"regoin\":\"eu\",\"api\":{\"threads\":\"two\"},\"peers\":{\"na\":5}}";
	struct strbuf errors = STRBUF_INIT;
	struct settings *settings = NULL;
	enum status status = settings_parse("f", text, sizeof(text) - 1, &settings, &errors);

	(void)arg;
	assert_int_not_equal(status, STATUS_OK);
	assert_null(settings);
	strbuf_release(&errors);
	return status == STATUS_INVALID;
}

static struct lookup_question question(int number)
{
	struct lookup_question made;

	memset(&made, 0, sizeof(made));
	made.exchange.bytes[15] = (uint8_t)number;
	memcpy(made.object.type, "token", 6);
	made.object.id[0] = (char)('A' + number);
	memcpy(made.purpose, "charge.authorize", 17);
	memcpy(made.caller, "cs", 3);
	made.deadline_ms = 3000;
	return made;
}

#define QUESTIONS 9

static bool carry_questions(void *arg)
{
	struct lookup_question asked[QUESTIONS], *read = NULL;
	const struct lookup_question *pointers[QUESTIONS];
	struct strbuf body = STRBUF_INIT, why = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;
	size_t count = 0;

	(void)arg;
	for (int i = 0; i < QUESTIONS; i++) {
		asked[i] = question(i);
		pointers[i] = &asked[i];
	}
	peer_wire_write_questions(pointers, QUESTIONS, 1000, &body);
	if (strbuf_ok(&body))
		status = peer_wire_read_questions(body.data, body.length, 0, 2500, &read, &count, &why);
	assert_int_equal(count, status == STATUS_OK ? QUESTIONS : 0);
	assert_int_equal(read != NULL, status == STATUS_OK);
	free(read);
	strbuf_release(&body);
	strbuf_release(&why);
	return status == STATUS_OK;
}

static bool carry_answers(void *arg)
{
	struct lookup_question asked[QUESTIONS];
	const struct lookup_question *pointers[QUESTIONS];
	struct lookup_answer answers[QUESTIONS] = { 0 }, read[QUESTIONS];
	struct strbuf body = STRBUF_INIT, why = STRBUF_INIT;
	char record[] = "{\"valid\":true}";
	size_t found = 0;

	(void)arg;
	for (int i = 0; i < QUESTIONS; i++) {
		asked[i] = question(i);
		pointers[i] = &asked[i];
		answers[i] = (struct lookup_answer){ .record = record, .record_length = sizeof(record) - 1 };
	}
	peer_wire_write_answers(asked, answers, QUESTIONS, "1:aa", &body);
	if (strbuf_ok(&body)) {
		assert_int_equal(
			peer_wire_read_answers(body.data, body.length, pointers, QUESTIONS, read, &why), STATUS_OK);
		for (size_t i = 0; i < QUESTIONS; i++) {
			/* One that found no memory must not cost the others theirs. */
			assert_true(read[i].status == STATUS_OK || read[i].status == STATUS_NO_MEMORY);
			assert_int_equal(read[i].status == STATUS_OK, read[i].record != NULL);
			found += read[i].status == STATUS_OK;
			lookup_answer_release(&read[i]);
		}
	}
	strbuf_release(&body);
	strbuf_release(&why);
	return found == QUESTIONS;
}

static bool carry_json(void *arg)
{
	static const char text[] = "{\"a\":[1,2.5,\"\\u00e9\",{\"b\":null,\"c\":[true,false]}],\"d\":{\"e\":\"x\"}}";
	struct strbuf written = STRBUF_INIT, why = STRBUF_INIT;
	json_t *value = NULL;
	enum status status = json_parse(text, sizeof(text) - 1, &value, &why);

	(void)arg;
	if (status == STATUS_OK)
		status = json_write(value, &written);
	if (status == STATUS_OK)
		assert_string_equal(
			written.data, "{\"a\":[1,2.5,\"é\",{\"b\":null,\"c\":[true,false]}],\"d\":{\"e\":\"x\"}}");
	json_decref(value);
	strbuf_release(&written);
	strbuf_release(&why);
	return status == STATUS_OK;
}

#define TORTURE(name)                                                                                                  \
	static void name##_without_memory(void **state)                                                                \
	{                                                                                                              \
		(void)state;                                                                                           \
		fail_each_allocation(name, NULL);                                                                      \
	}

TORTURE(read_settings)
TORTURE(read_bad_settings)
TORTURE(carry_questions)
TORTURE(carry_answers)
TORTURE(carry_json)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_settings_without_memory),
		cmocka_unit_test(read_bad_settings_without_memory),
		cmocka_unit_test(carry_questions_without_memory),
		cmocka_unit_test(carry_answers_without_memory),
		cmocka_unit_test(carry_json_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

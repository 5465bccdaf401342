/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for base/peer_wire.c: both directions as a round trip, and what a confused or hostile peer may send. */
#include "base/peer_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/random.h"

#define EXCHANGE_A "01890000-0000-7000-8000-00000000000a"
#define EXCHANGE_B "01890000-0000-7000-8000-00000000000b"
#define EXCHANGE_C "01890000-0000-7000-8000-00000000000c"

static void set_text(char *text, size_t size, const char *from)
{
	assert_true(strlen(from) < size);
	memcpy(text, from, strlen(from) + 1);
}

static struct lookup_question question(const char *exchange, const char *id)
{
	struct lookup_question made;

	memset(&made, 0, sizeof(made));
	assert_int_equal(exchange_id_parse(exchange, &made.exchange), STATUS_OK);
	assert_int_equal(object_id_make("token", id, strlen(id), ID_FORMAT_OPAQUE, &made.object, NULL), STATUS_OK);
	set_text(made.purpose, sizeof(made.purpose), "charge.authorize");
	set_text(made.caller, sizeof(made.caller), "csms \"west\"");
	made.deadline_ms = 3300;
	return made;
}

static enum status read_questions(const char *body, struct lookup_question **questions, size_t *count)
{
	struct strbuf why = STRBUF_INIT;
	enum status status = peer_wire_read_questions(body, strlen(body), 1000, 2500, questions, count, &why);

	assert_int_equal(status == STATUS_OK, why.length == 0);
	strbuf_release(&why);
	return status;
}

static void questions_survive_the_round_trip(void **state)
{
	struct lookup_question a = question(EXCHANGE_A, "04A2\"\\\xE2\x82\xAC"), b = question(EXCHANGE_B, "x");
	const struct lookup_question *sent[] = { &a, &b };
	struct strbuf body = STRBUF_INIT;
	struct lookup_question *read;
	json_t *parsed;
	size_t count;

	(void)state;
	set_text(a.evidence.station.type, sizeof(a.evidence.station.type), "evse");
	set_text(a.evidence.station.id, sizeof(a.evidence.station.id), "EU*1");
	a.evidence.tap_wall_us = 1700000000123456;
	set_text(a.traceparent, sizeof(a.traceparent), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
	b.deadline_ms = 900;
	peer_wire_write_questions(sent, 2, 1000, &body);
	assert_true(strbuf_ok(&body));
	assert_int_equal(json_parse(body.data, body.length, &parsed, NULL), STATUS_OK);
	json_decref(parsed);
	assert_int_equal(peer_wire_read_questions(body.data, body.length, 5000, 2500, &read, &count, NULL), STATUS_OK);
	assert_int_equal(count, 2);
	assert_int_equal(read[0].deadline_ms, 5000 + 2300);
	assert_int_equal(read[1].deadline_ms, 5000 + 1);
	read[0].deadline_ms = a.deadline_ms;
	read[1].deadline_ms = b.deadline_ms;
	assert_memory_equal(&read[0].exchange, &a.exchange, sizeof(a.exchange));
	assert_true(object_id_equal(&read[0].object, &a.object));
	assert_true(object_id_equal(&read[0].evidence.station, &a.evidence.station));
	assert_int_equal(read[0].evidence.tap_wall_us, a.evidence.tap_wall_us);
	assert_string_equal(read[0].purpose, a.purpose);
	assert_string_equal(read[0].caller, a.caller);
	assert_string_equal(read[0].traceparent, a.traceparent);
	assert_true(object_id_equal(&read[1].object, &b.object));
	assert_string_equal(read[1].evidence.station.id, "");
	assert_int_equal(read[1].evidence.tap_wall_us, 0);
	free(read);
	strbuf_release(&body);
}

static void unknown_members_are_ignored_and_defaults_hold(void **state)
{
	struct lookup_question *read;
	size_t count;

	(void)state;
	assert_int_equal(
		read_questions("{\"new\":[1,{\"id\":2}],\"lookups\":[{\"purpose\":\"p\",\"hint\":{\"a\":1},"
			       "\"id\":\"x\",\"type\":\"token\",\"station\":\"s\",\"exchange\":\"" EXCHANGE_A "\","
			       "\"timeout_ms\":99999999999,\"traceparent\":\"123456789 123456789 123456789 "
			       "123456789 123456789 123456789\"}],\"z\":null}",
			&read, &count),
		STATUS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(read[0].deadline_ms, 1000 + 2500);
	assert_string_equal(read[0].evidence.station.type, "station");
	assert_string_equal(read[0].caller, "");
	assert_string_equal(read[0].traceparent, "");
	free(read);
}

#define LOOKUP(members) "{\"lookups\":[{" members "}]}"
#define GOOD "\"exchange\":\"" EXCHANGE_A "\",\"type\":\"token\",\"id\":\"x\",\"purpose\":\"p\""

static void bad_questions_are_refused_whole(void **state)
{
	static const char *const bodies[] = { "", "{}", "[]", "{\"lookups\":[]}", "{\"lookups\":{}}",
		"{\"lookups\":[1]}", LOOKUP(""), LOOKUP(GOOD ",\"id\":\"y\""), LOOKUP(GOOD ",\"timeout_ms\":\"5\""),
		LOOKUP(GOOD ",\"timeout_ms\":1.5"), LOOKUP(GOOD ",\"tap\":\"yesterday\""),
		LOOKUP(GOOD ",\"caller\":\"\\n\""), LOOKUP(GOOD ",\"station\":\"\\u0007\""),
		LOOKUP(GOOD ",\"station\":\"s\",\"station_type\":\"S\""),
		LOOKUP("\"exchange\":\"nonsense\",\"type\":\"token\",\"id\":\"x\",\"purpose\":\"p\""),
		LOOKUP("\"exchange\":\"" EXCHANGE_A "\",\"type\":\"Token\",\"id\":\"x\",\"purpose\":\"p\""),
		LOOKUP("\"exchange\":\"" EXCHANGE_A "\",\"type\":\"token\",\"id\":\"\",\"purpose\":\"p\""),
		LOOKUP("\"exchange\":\"" EXCHANGE_A "\",\"type\":\"token\",\"id\":7,\"purpose\":\"p\""),
		LOOKUP("\"exchange\":\"" EXCHANGE_A "\",\"type\":\"token\",\"id\":\"a\\u0085\",\"purpose\":\"p\""),
		LOOKUP("\"exchange\":\"" EXCHANGE_A "\",\"type\":\"token\",\"id\":\"x\",\"purpose\":\"P P\""),
		LOOKUP("\"exchange\":\"" EXCHANGE_A "\",\"type\":\"token\",\"id\":\"x\""), LOOKUP(GOOD) "x",
		"{\"lookups\":[{" GOOD "}],\"lookups\":[{" GOOD "}]}", "{\"lookups\":[{" GOOD "}" };
	struct lookup_question *read;
	size_t count;

	(void)state;
	assert_int_equal(read_questions(LOOKUP(GOOD), &read, &count), STATUS_OK);
	free(read);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		if (read_questions(bodies[i], &read, &count) != STATUS_INVALID)
			fail_msg("accepted %s", bodies[i]);
		assert_null(read);
		assert_int_equal(count, 0);
	}
}

static void a_batch_is_bounded(void **state)
{
	struct strbuf body = STRBUF_INIT;
	struct lookup_question *read;
	size_t count;

	(void)state;
	strbuf_adds(&body, "{\"lookups\":[{" GOOD "}");
	for (int i = 1; i < PEER_BATCH_MAX; i++)
		strbuf_adds(&body, ",{" GOOD "}");
	strbuf_adds(&body, "]}");
	assert_int_equal(read_questions(body.data, &read, &count), STATUS_OK);
	assert_int_equal(count, PEER_BATCH_MAX);
	free(read);
	body.length -= 2;
	strbuf_adds(&body, ",{" GOOD "}]}");
	assert_int_equal(read_questions(body.data, &read, &count), STATUS_TOO_LARGE);
	assert_null(read);
	strbuf_release(&body);
}

static void answers_survive_the_round_trip(void **state)
{
	struct lookup_question asked[3] = { question(EXCHANGE_A, "a"), question(EXCHANGE_B, "b"),
		question(EXCHANGE_C, "c") };
	const struct lookup_question *sent[] = { &asked[2], &asked[0], &asked[1] };
	char record[] = "{\"valid\":true,\"t\":\" \\\" \"}";
	struct lookup_answer answers[3] = { { .status = STATUS_OK,
						    .version = 7,
						    .ttl_s = 900,
						    .record = record,
						    .record_length = sizeof(record) - 1 },
		{ .status = STATUS_NOT_AVAILABLE, .ttl_s = 30 }, { .status = STATUS_OVERLOADED } };
	struct lookup_answer read[3];
	struct strbuf body = STRBUF_INIT;
	json_t *parsed;

	(void)state;
	peer_wire_write_answers(asked, answers, 3, "42:9f86d081884c7d65", &body);
	assert_int_equal(json_parse(body.data, body.length, &parsed, NULL), STATUS_OK);
	json_decref(parsed);
	assert_int_equal(peer_wire_read_answers(body.data, body.length, sent, 3, read, NULL), STATUS_OK);
	assert_int_equal(read[0].status, STATUS_OVERLOADED);
	assert_int_equal(read[1].status, STATUS_OK);
	assert_int_equal(read[1].version, 7);
	assert_int_equal(read[1].ttl_s, 900);
	assert_string_equal(read[1].record, record);
	assert_int_equal(read[1].record_length, sizeof(record) - 1);
	assert_string_equal(read[1].policy_version, "42:9f86d081884c7d65");
	assert_int_equal(read[2].status, STATUS_NOT_AVAILABLE);
	assert_int_equal(read[2].ttl_s, 30);
	lookup_answer_release(&read[1]);
	strbuf_release(&body);
}

#define FOUND(exchange, type, id, rest)                                                                                \
	"{\"exchange\":\"" exchange "\",\"status\":\"found\",\"type\":\"" type "\",\"id\":\"" id "\"" rest "}"
#define RECORD ",\"version\":1,\"ttl_s\":5,\"record\":{ \"a\" : 1 }"

/* What one question for token "a" under EXCHANGE_A gets from this list of answers. */
static enum status ask_one(const char *list, struct lookup_answer *answer)
{
	struct lookup_question asked = question(EXCHANGE_A, "a");
	const struct lookup_question *sent[] = { &asked };
	struct strbuf body = STRBUF_INIT;
	enum status status;

	strbuf_addf(&body, "{\"policy\":\"1:00\",\"answers\":[%s]}", list);
	status = peer_wire_read_answers(body.data, body.length, sent, 1, answer, NULL);
	strbuf_release(&body);
	return status;
}

static void an_answer_must_fit_its_question(void **state)
{
	static const char *const lists[] = { "", FOUND(EXCHANGE_A, "token", "b", RECORD),
		FOUND(EXCHANGE_A, "station", "a", RECORD), FOUND(EXCHANGE_B, "token", "a", RECORD),
		FOUND(EXCHANGE_A, "token", "a", ""), FOUND(EXCHANGE_A, "token", "a", ",\"version\":1"),
		FOUND(EXCHANGE_A, "token", "a", ",\"version\":1,\"record\":[]"),
		FOUND(EXCHANGE_A, "token", "a", ",\"version\":1,\"record\":\"x\""),
		FOUND(EXCHANGE_A, "token", "a", ",\"version\":-1,\"record\":{}"),
		FOUND(EXCHANGE_A, "token", "a", ",\"version\":1,\"ttl_s\":-1,\"record\":{}"),
		FOUND(EXCHANGE_A, "token", "a", RECORD) "," FOUND(EXCHANGE_A, "token", "a", RECORD),
		"{\"exchange\":\"" EXCHANGE_A "\"}", "{\"exchange\":\"" EXCHANGE_A "\",\"status\":\"perhaps\"}",
		"{\"exchange\":\"" EXCHANGE_A "\",\"status\":\"error\",\"code\":\"ok\"}",
		"{\"exchange\":\"" EXCHANGE_A "\",\"status\":\"error\",\"code\":\"not_available\"}",
		"{\"exchange\":\"" EXCHANGE_A "\",\"status\":\"error\",\"code\":\"internal\"}",
		"{\"exchange\":\"" EXCHANGE_A "\",\"status\":\"not_available\",\"ttl_s\":-5}" };
	struct lookup_answer answer;

	(void)state;
	assert_int_equal(ask_one(FOUND(EXCHANGE_A, "token", "a", RECORD ",\"more\":[{}]"), &answer), STATUS_OK);
	assert_int_equal(answer.status, STATUS_OK);
	assert_string_equal(answer.record, "{\"a\":1}");
	lookup_answer_release(&answer);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		assert_int_equal(ask_one(lists[i], &answer), STATUS_OK);
		if (answer.status != STATUS_BAD_PEER || answer.record != NULL)
			fail_msg("accepted %s", lists[i]);
	}
	assert_int_equal(
		ask_one("{\"exchange\":\"" EXCHANGE_A "\",\"status\":\"error\",\"code\":\"deadline\"}", &answer),
		STATUS_OK);
	assert_int_equal(answer.status, STATUS_DEADLINE);
	assert_int_equal(ask_one("{\"exchange\":\"" EXCHANGE_A "\",\"status\":\"not_available\",\"ttl_s\":"
				 "9223372036854775807}",
				 &answer),
		STATUS_OK);
	assert_int_equal(answer.status, STATUS_NOT_AVAILABLE);
	assert_true(answer.ttl_s <= (int64_t)10 * 366 * 24 * 3600);
}

static void a_body_that_is_no_answer_fails_every_question(void **state)
{
	static const char *const lists[] = { "1", "{}", "{\"exchange\":\"x\"}", "{\"exchange\":7}",
		FOUND(EXCHANGE_A, "token", "a", ",\"version\":\"1\""), FOUND(EXCHANGE_A, "token", "a", RECORD RECORD),
		FOUND(EXCHANGE_A, "token", "a", RECORD) ",",
		FOUND(EXCHANGE_A, "token", "a", RECORD) ","
							"{" };
	static const char long_policy[] = "{\"answers\":[],\"policy\":\"12345678901234567890123456789012\"}";
	struct lookup_question asked = question(EXCHANGE_A, "a");
	const struct lookup_question *sent[] = { &asked };
	struct lookup_answer answer;

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		assert_int_equal(ask_one(lists[i], &answer), STATUS_BAD_PEER);
		assert_int_equal(answer.status, STATUS_BAD_PEER);
		assert_null(answer.record);
	}
	assert_int_equal(peer_wire_read_answers("<html>", 6, sent, 1, &answer, NULL), STATUS_BAD_PEER);
	assert_int_equal(peer_wire_read_answers("{}", 2, sent, 1, &answer, NULL), STATUS_BAD_PEER);
	assert_int_equal(
		peer_wire_read_answers(long_policy, strlen(long_policy), sent, 1, &answer, NULL), STATUS_BAD_PEER);
}

static void records_and_lists_are_bounded(void **state)
{
	struct strbuf list = STRBUF_INIT;
	struct lookup_answer answer;

	(void)state;
	strbuf_adds(&list, "{\"exchange\":\"" EXCHANGE_A "\",\"status\":\"found\",\"type\":\"token\",\"id\":\"a\","
			   "\"version\":1,\"record\":{\"a\":\"");
	for (int i = 0; i < PEER_RECORD_BYTES_MAX / 8; i++)
		strbuf_adds(&list, "12345678");
	strbuf_adds(&list, "\"}}");
	assert_int_equal(ask_one(list.data, &answer), STATUS_OK);
	assert_int_equal(answer.status, STATUS_BAD_PEER);
	strbuf_reset(&list);
	for (int i = 0; i <= PEER_BATCH_MAX; i++)
		strbuf_addf(&list, "%s{\"exchange\":\"" EXCHANGE_B "\",\"status\":\"error\"}", i > 0 ? "," : "");
	assert_int_equal(ask_one(list.data, &answer), STATUS_BAD_PEER);
	strbuf_release(&list);
}

static void mutants_are_refused_or_whole(void **state)
{
	static const char alphabet[] = "{}[]\",:\\0a9-\x80 ";
	struct lookup_question asked[2] = { question(EXCHANGE_A, "a"), question(EXCHANGE_B, "b") };
	const struct lookup_question *sent[] = { &asked[0], &asked[1] };
	static const char answers[] = "{\"policy\":\"1:00\",\"answers\":[" FOUND(
		EXCHANGE_A, "token", "a", RECORD) "," FOUND(EXCHANGE_B, "token", "b", RECORD) "]}";
	static const char questions[] = "{\"lookups\":[{" GOOD ",\"tap\":\"2026-01-01T00:00:00Z\",\"timeout_ms\":5}]}";
	struct random_seeded random;
	size_t whole = 0;

	(void)state;
	random_seeded_init(&random, 5);
	for (int round = 0; round < 20000; round++) {
		const char *from = round % 2 == 0 ? answers : questions;
		size_t size = strlen(from), count;
		struct lookup_answer read[2];
		struct lookup_question *list;
		char *text = malloc(size);

		assert_non_null(text);
		memcpy(text, from, size);
		for (uint64_t edits = random_below(&random.source, 4); edits > 0; edits--)
			text[random_below(&random.source, size)] =
				alphabet[random_below(&random.source, sizeof(alphabet) - 1)];
		if (round % 2 == 1) {
			if (peer_wire_read_questions(text, size, 0, 100, &list, &count, NULL) == STATUS_OK)
				assert_true(list[0].object.id[0] != '\0' && count == 1);
			free(list);
		} else {
			if (peer_wire_read_answers(text, size, sent, 2, read, NULL) == STATUS_OK)
				whole++;
			for (int i = 0; i < 2; i++) {
				assert_int_equal(read[i].status == STATUS_OK, read[i].record != NULL);
				lookup_answer_release(&read[i]);
			}
		}
		free(text);
	}
	assert_true(whole > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(questions_survive_the_round_trip),
		cmocka_unit_test(unknown_members_are_ignored_and_defaults_hold),
		cmocka_unit_test(bad_questions_are_refused_whole),
		cmocka_unit_test(a_batch_is_bounded),
		cmocka_unit_test(answers_survive_the_round_trip),
		cmocka_unit_test(an_answer_must_fit_its_question),
		cmocka_unit_test(a_body_that_is_no_answer_fails_every_question),
		cmocka_unit_test(records_and_lists_are_bounded),
		cmocka_unit_test(mutants_are_refused_or_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

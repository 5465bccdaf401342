/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of the peer protocol.  Both directions are on the path of every delegated
 * lookup, so they are written straight into a strbuf and read with the scanner of
 * base/json_scan.h: no tree, and no allocation but the array and the records.
 *
 * The other side is another region: authenticated, not trusted.  Everything read
 * is checked for type, length and characters, and known members may come once.
 * Pure; any thread.
 */
#include "base/peer_wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json_scan.h"
#include "base/must.h"
#include "base/utf8.h"

#define NONCE_TEXT_SIZE 25                        /* base64 of LOOKUP_NONCE_SIZE bytes, with the NUL */
#define TTL_MAX_S ((int64_t)10 * 365 * 24 * 3600) /* so that sums of times cannot overflow */

/* Statuses that travel by name: what the asking side, or its client, can act on. */
static const enum status carried[] = { STATUS_OVERLOADED, STATUS_DEADLINE, STATUS_DRAINING, STATUS_UNREACHABLE,
	STATUS_INVALID, STATUS_MISDIRECTED, STATUS_TOO_LARGE, STATUS_UNRECORDED };

/* ---- writing ---- */

#define FLAG_IMPOSSIBLE_TRAVEL "\"impossible_travel\""
#define ADD_LITERAL(text, literal) strbuf_add(text, literal, sizeof(literal) - 1)

static void add_exchange(struct strbuf *text, const struct exchange_id *exchange)
{
	char id[EXCHANGE_ID_TEXT_SIZE];

	exchange_id_format(exchange, id);
	ADD_LITERAL(text, "{\"exchange\":\"");
	strbuf_add(text, id, sizeof(id) - 1);
}

static void add_string(struct strbuf *text, const char *string)
{
	strbuf_add_json(text, string, strlen(string));
}

static void write_question(const struct lookup_question *question, int64_t now_ms, struct strbuf *body)
{
	int64_t timeout_ms = question->deadline_ms - now_ms;

	add_exchange(body, &question->exchange);
	ADD_LITERAL(body, "\",\"type\":");
	add_string(body, question->object.type);
	ADD_LITERAL(body, ",\"id\":");
	add_string(body, question->object.id);
	ADD_LITERAL(body, ",\"purpose\":");
	add_string(body, question->purpose);
	ADD_LITERAL(body, ",\"caller\":");
	add_string(body, question->caller);
	ADD_LITERAL(body, ",\"timeout_ms\":");
	strbuf_add_unsigned(body, timeout_ms < 1 ? 1 : (uint64_t)timeout_ms);
	if (question->evidence.station.id[0] != '\0') {
		ADD_LITERAL(body, ",\"station\":");
		add_string(body, question->evidence.station.id);
		ADD_LITERAL(body, ",\"station_type\":");
		add_string(body, question->evidence.station.type);
	}
	if (question->evidence.tap_wall_us != 0) {
		char tap[CLOCK_TEXT_SIZE];

		clock_format(question->evidence.tap_wall_us, tap);
		ADD_LITERAL(body, ",\"tap\":");
		add_string(body, tap);
	}
	if (question->traceparent[0] != '\0') {
		ADD_LITERAL(body, ",\"traceparent\":");
		add_string(body, question->traceparent);
	}
	strbuf_addc(body, '}');
}

void peer_wire_write_questions(
	const struct lookup_question *const *questions, size_t count, int64_t now_ms, struct strbuf *body)
{
	ADD_LITERAL(body, "{\"lookups\":[");
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			strbuf_addc(body, ',');
		write_question(questions[i], now_ms, body);
	}
	ADD_LITERAL(body, "]}");
}

static void write_answer(
	const struct lookup_question *question, const struct lookup_answer *answer, struct strbuf *body)
{
	add_exchange(body, &question->exchange);
	if (answer->status == STATUS_OK) {
		must(answer->record != NULL);
		ADD_LITERAL(body, "\",\"status\":\"found\",\"type\":");
		add_string(body, question->object.type);
		ADD_LITERAL(body, ",\"id\":");
		add_string(body, question->object.id);
		ADD_LITERAL(body, ",\"version\":");
		strbuf_add_unsigned(body, answer->version);
		ADD_LITERAL(body, ",\"ttl_s\":");
		strbuf_add_unsigned(body, answer->ttl_s < 0 ? 0 : (uint64_t)answer->ttl_s);
		if (answer->has_nonce) {
			ADD_LITERAL(body, ",\"nonce\":\"");
			base64_encode(answer->nonce, sizeof(answer->nonce), body);
			strbuf_addc(body, '"');
		}
		if ((answer->flags & LOOKUP_IMPOSSIBLE_TRAVEL) != 0)
			ADD_LITERAL(body, ",\"flags\":[" FLAG_IMPOSSIBLE_TRAVEL "]");
		ADD_LITERAL(body, ",\"record\":");
		strbuf_add(body, answer->record, answer->record_length);
		strbuf_addc(body, '}');
	} else if (answer->status == STATUS_NOT_AVAILABLE) {
		ADD_LITERAL(body, "\",\"status\":\"not_available\",\"ttl_s\":");
		strbuf_add_unsigned(body, answer->ttl_s < 0 ? 0 : (uint64_t)answer->ttl_s);
		strbuf_addc(body, '}');
	} else {
		ADD_LITERAL(body, "\",\"status\":\"error\",\"code\":");
		add_string(body, status_name(answer->status));
		strbuf_addc(body, '}');
	}
}

void peer_wire_write_answers(const struct lookup_question *questions, const struct lookup_answer *answers, size_t count,
	const char *policy_version, struct strbuf *body)
{
	ADD_LITERAL(body, "{\"policy\":");
	add_string(body, policy_version);
	ADD_LITERAL(body, ",\"answers\":[");
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			strbuf_addc(body, ',');
		write_answer(&questions[i], &answers[i], body);
	}
	ADD_LITERAL(body, "]}");
}

/* ---- reading, both kinds ---- */

enum member {
	MEMBER_EXCHANGE,
	MEMBER_TYPE,
	MEMBER_ID,
	MEMBER_PURPOSE,
	MEMBER_CALLER,
	MEMBER_TIMEOUT,
	MEMBER_STATION,
	MEMBER_STATION_TYPE,
	MEMBER_TAP,
	MEMBER_TRACEPARENT,
	MEMBER_STATUS,
	MEMBER_VERSION,
	MEMBER_TTL,
	MEMBER_NONCE,
	MEMBER_RECORD,
	MEMBER_CODE,
	MEMBER_POLICY,
	MEMBER_FLAGS,
	MEMBER_LOOKUPS,
	MEMBER_ANSWERS,
	MEMBER_COUNT
};
#define SEEN(member) (1U << (member))

static const char *const member_names[MEMBER_COUNT] = { "exchange", "type", "id", "purpose", "caller", "timeout_ms",
	"station", "station_type", "tap", "traceparent", "status", "version", "ttl_s", "nonce", "record", "code",
	"policy", "flags", "lookups", "answers" };

/* The next member that is ours; unknown ones are skipped.  MEMBER_COUNT at the end or on failure. */
static enum member next_member(struct json_scan *scan, unsigned int known, unsigned int *seen)
{
	char key[JSON_SCAN_KEY_SIZE];

	while (json_scan_member(scan, key)) {
		int member = 0;

		while (member < MEMBER_COUNT && ((known & SEEN(member)) == 0 || strcmp(key, member_names[member]) != 0))
			member++;
		if (member < MEMBER_COUNT) {
			if ((*seen & SEEN(member)) != 0)
				json_scan_fail(scan, "a member is there twice");
			*seen |= SEEN(member);
			return json_scan_failed(scan) ? MEMBER_COUNT : (enum member)member;
		}
		json_scan_skip(scan);
	}
	return MEMBER_COUNT;
}

static void read_exchange(struct json_scan *scan, struct exchange_id *exchange)
{
	char text[EXCHANGE_ID_TEXT_SIZE];

	if (!json_scan_string(scan, text, sizeof(text)) || exchange_id_parse(text, exchange) != STATUS_OK)
		json_scan_fail(scan, "exchange is no UUID");
}

static void read_bounded(struct json_scan *scan, char *text, size_t size, const char *what)
{
	if (!json_scan_string(scan, text, size))
		json_scan_fail(scan, what);
}

static void read_printable(struct json_scan *scan, char *text, size_t size, const char *what)
{
	if (!json_scan_string(scan, text, size) || !utf8_is_printable(text, strlen(text)))
		json_scan_fail(scan, what);
}

/* ---- reading questions ---- */

#define QUESTION_MEMBERS                                                                                               \
	(SEEN(MEMBER_EXCHANGE) | SEEN(MEMBER_TYPE) | SEEN(MEMBER_ID) | SEEN(MEMBER_PURPOSE) | SEEN(MEMBER_CALLER) |    \
		SEEN(MEMBER_TIMEOUT) | SEEN(MEMBER_STATION) | SEEN(MEMBER_STATION_TYPE) | SEEN(MEMBER_TAP) |           \
		SEEN(MEMBER_TRACEPARENT))
#define QUESTION_NEEDED (SEEN(MEMBER_EXCHANGE) | SEEN(MEMBER_TYPE) | SEEN(MEMBER_ID) | SEEN(MEMBER_PURPOSE))

static void read_tap(struct json_scan *scan, int64_t *tap_wall_us)
{
	char text[CLOCK_TEXT_SIZE];

	if (!json_scan_string(scan, text, sizeof(text)) || clock_parse(text, tap_wall_us) != STATUS_OK)
		json_scan_fail(scan, "tap is no RFC 3339 time");
}

static void read_question_member(
	struct json_scan *scan, enum member member, struct lookup_question *question, int64_t *timeout_ms)
{
	struct object_id *station = &question->evidence.station;

	switch (member) {
	case MEMBER_EXCHANGE:
		read_exchange(scan, &question->exchange);
		break;
	case MEMBER_TYPE:
		read_bounded(scan, question->object.type, sizeof(question->object.type), "type is too long or no text");
		break;
	case MEMBER_ID:
		read_printable(scan, question->object.id, sizeof(question->object.id), "id breaks the rules of ids");
		break;
	case MEMBER_PURPOSE:
		read_bounded(scan, question->purpose, sizeof(question->purpose), "purpose is too long or no text");
		break;
	case MEMBER_CALLER:
		read_printable(scan, question->caller, sizeof(question->caller), "caller is too long or no text");
		break;
	case MEMBER_TIMEOUT:
		json_scan_integer(scan, timeout_ms);
		break;
	case MEMBER_STATION:
		read_printable(scan, station->id, sizeof(station->id), "station breaks the rules of ids");
		break;
	case MEMBER_STATION_TYPE:
		read_bounded(scan, station->type, sizeof(station->type), "station_type is too long or no text");
		break;
	case MEMBER_TAP:
		read_tap(scan, &question->evidence.tap_wall_us);
		break;
	default:
		/* Tracing is a courtesy: one that does not fit is dropped. */
		if (!json_scan_string(scan, question->traceparent, sizeof(question->traceparent)) ||
			!utf8_is_printable(question->traceparent, strlen(question->traceparent)))
			question->traceparent[0] = '\0';
	}
}

static void read_question(
	struct json_scan *scan, int64_t now_ms, int64_t timeout_ms_max, struct lookup_question *question)
{
	int64_t timeout_ms = timeout_ms_max;
	unsigned int seen = 0;
	enum member member;

	memset(question, 0, sizeof(*question));
	if (!json_scan_object(scan))
		return;
	while ((member = next_member(scan, QUESTION_MEMBERS, &seen)) != MEMBER_COUNT)
		read_question_member(scan, member, question, &timeout_ms);
	if ((seen & QUESTION_NEEDED) != QUESTION_NEEDED)
		json_scan_fail(scan, "exchange, type, id and purpose are needed");
	else if (!object_type_is_valid(question->object.type))
		json_scan_fail(scan, "type is no name of a type");
	else if (question->object.id[0] == '\0')
		json_scan_fail(scan, "id is empty");
	else if (!purpose_is_valid(question->purpose))
		json_scan_fail(scan, "purpose is no name of a purpose");
	if (question->evidence.station.id[0] == '\0')
		memset(&question->evidence.station, 0, sizeof(question->evidence.station));
	else if ((seen & SEEN(MEMBER_STATION_TYPE)) == 0)
		memcpy(question->evidence.station.type, "station", sizeof("station"));
	else if (!object_type_is_valid(question->evidence.station.type))
		json_scan_fail(scan, "station_type is no name of a type");
	if (timeout_ms > timeout_ms_max)
		timeout_ms = timeout_ms_max;
	question->deadline_ms = now_ms + (timeout_ms < 1 ? 1 : timeout_ms);
}

static enum status read_question_list(struct json_scan *scan, int64_t now_ms, int64_t timeout_ms_max,
	struct lookup_question **questions, size_t *count)
{
	size_t capacity = 0;

	if (!json_scan_array(scan))
		return STATUS_INVALID;
	while (json_scan_element(scan)) {
		if (*count == PEER_BATCH_MAX) {
			json_scan_fail(scan, "more lookups than a batch may hold");
			return STATUS_TOO_LARGE;
		}
		if (*count == capacity) {
			struct lookup_question *grown;

			capacity = capacity == 0 ? 4 : capacity * 4;
			grown = realloc(*questions, capacity * sizeof(**questions));
			if (grown == NULL) {
				json_scan_fail(scan, "out of memory");
				return STATUS_NO_MEMORY;
			}
			*questions = grown;
		}
		read_question(scan, now_ms, timeout_ms_max, &(*questions)[*count]);
		if (json_scan_failed(scan))
			return STATUS_INVALID;
		(*count)++;
	}
	return STATUS_OK;
}

enum status peer_wire_read_questions(const char *body, size_t size, int64_t now_ms, int64_t timeout_ms_max,
	struct lookup_question **questions_out, size_t *count_out, struct strbuf *why)
{
	enum status status = STATUS_OK;
	unsigned int seen = 0;
	struct json_scan scan;

	*questions_out = NULL;
	*count_out = 0;
	json_scan_init(&scan, body, size);
	if (json_scan_object(&scan))
		while (next_member(&scan, SEEN(MEMBER_LOOKUPS), &seen) == MEMBER_LOOKUPS)
			status = read_question_list(&scan, now_ms, timeout_ms_max, questions_out, count_out);
	if (*count_out == 0)
		json_scan_fail(&scan, "lookups is missing or empty");
	if (json_scan_end(&scan))
		return STATUS_OK;
	if (why != NULL)
		strbuf_addf(why, "lookup %zu: %s", *count_out, scan.what);
	free(*questions_out);
	*questions_out = NULL;
	*count_out = 0;
	return status == STATUS_OK ? STATUS_INVALID : status;
}

/* ---- reading answers ---- */

#define ANSWER_MEMBERS                                                                                                 \
	(SEEN(MEMBER_EXCHANGE) | SEEN(MEMBER_STATUS) | SEEN(MEMBER_TYPE) | SEEN(MEMBER_ID) | SEEN(MEMBER_VERSION) |    \
		SEEN(MEMBER_TTL) | SEEN(MEMBER_NONCE) | SEEN(MEMBER_RECORD) | SEEN(MEMBER_CODE) | SEEN(MEMBER_FLAGS))
#define FOUND_NEEDED                                                                                                   \
	(SEEN(MEMBER_EXCHANGE) | SEEN(MEMBER_STATUS) | SEEN(MEMBER_TYPE) | SEEN(MEMBER_ID) | SEEN(MEMBER_VERSION) |    \
		SEEN(MEMBER_RECORD))

/* One answer as it stands in the body; the record is a span of it. */
struct raw_answer {
	struct exchange_id exchange;
	struct object_id object;
	char status[16], code[32], nonce[NONCE_TEXT_SIZE];
	int64_t version, ttl_s;
	const char *record;
	size_t record_size;
	bool record_is_compact;
	unsigned int flags;
	unsigned int seen;
};

struct answer_list {
	const struct lookup_question *const *questions;
	struct lookup_answer *answers;
	size_t count;
	size_t expected; /* answers mostly come in the order of the questions */
	bool *answered;
};

/* Flags this version does not know are passed over. */
static unsigned int read_flags(struct json_scan *scan)
{
	unsigned int flags = 0;
	char flag[32];

	if (!json_scan_array(scan))
		return 0;
	while (json_scan_element(scan)) {
		if (json_scan_string(scan, flag, sizeof(flag)) && strcmp(flag, "impossible_travel") == 0)
			flags |= LOOKUP_IMPOSSIBLE_TRAVEL;
	}
	return flags;
}

static void read_raw_answer(struct json_scan *scan, struct raw_answer *raw)
{
	enum member member;

	memset(raw, 0, sizeof(*raw));
	if (!json_scan_object(scan))
		return;
	/* Texts too long for their buffer read as "", which fits nothing. */
	while ((member = next_member(scan, ANSWER_MEMBERS, &raw->seen)) != MEMBER_COUNT) {
		switch (member) {
		case MEMBER_EXCHANGE:
			read_exchange(scan, &raw->exchange);
			break;
		case MEMBER_TYPE:
			json_scan_string(scan, raw->object.type, sizeof(raw->object.type));
			break;
		case MEMBER_ID:
			json_scan_string(scan, raw->object.id, sizeof(raw->object.id));
			break;
		case MEMBER_STATUS:
			json_scan_string(scan, raw->status, sizeof(raw->status));
			break;
		case MEMBER_CODE:
			json_scan_string(scan, raw->code, sizeof(raw->code));
			break;
		case MEMBER_NONCE:
			json_scan_string(scan, raw->nonce, sizeof(raw->nonce));
			break;
		case MEMBER_VERSION:
			json_scan_integer(scan, &raw->version);
			break;
		case MEMBER_TTL:
			json_scan_integer(scan, &raw->ttl_s);
			break;
		case MEMBER_FLAGS:
			raw->flags = read_flags(scan);
			break;
		default:
			json_scan_value(scan, &raw->record, &raw->record_size, &raw->record_is_compact);
		}
	}
	if ((raw->seen & SEEN(MEMBER_EXCHANGE)) == 0)
		json_scan_fail(scan, "an answer has no exchange");
}

static enum status take_record(const struct raw_answer *raw, struct lookup_answer *answer)
{
	if (raw->record_size > PEER_RECORD_BYTES_MAX || raw->record[0] != '{')
		return STATUS_BAD_PEER;
	answer->record = malloc(raw->record_size + 1);
	if (answer->record == NULL)
		return STATUS_NO_MEMORY;
	answer->record_length = raw->record_size;
	if (raw->record_is_compact)
		memcpy(answer->record, raw->record, raw->record_size);
	else
		answer->record_length = json_scan_compact(raw->record, raw->record_size, answer->record);
	answer->record[answer->record_length] = '\0';
	return STATUS_OK;
}

/* Without one, or with one that is none, our access log has no hash, which the comparison of both logs shows. */
static void take_nonce(const struct raw_answer *raw, struct lookup_answer *answer)
{
	size_t size = 0;

	answer->has_nonce = base64_decode(raw->nonce, strlen(raw->nonce), answer->nonce, sizeof(answer->nonce),
				    &size) == STATUS_OK &&
			    size == sizeof(answer->nonce);
}

static enum status carried_status(const char *code)
{
	for (size_t i = 0; i < sizeof(carried) / sizeof(carried[0]); i++)
		if (strcmp(code, status_name(carried[i])) == 0)
			return carried[i];
	return STATUS_BAD_PEER;
}

/* What one answer says to the question it names. */
static void accept_answer(
	const struct lookup_question *question, const struct raw_answer *raw, struct lookup_answer *answer)
{
	bool is_sane = raw->version >= 0 && raw->ttl_s >= 0;

	answer->status = STATUS_BAD_PEER;
	if (strcmp(raw->status, "found") == 0) {
		if (!is_sane || (raw->seen & FOUND_NEEDED) != FOUND_NEEDED ||
			!object_id_equal(&raw->object, &question->object))
			return;
		answer->status = take_record(raw, answer);
		if (answer->status != STATUS_OK)
			return;
		take_nonce(raw, answer);
		answer->version = (uint64_t)raw->version;
		answer->flags = raw->flags;
		answer->ttl_s = raw->ttl_s > TTL_MAX_S ? TTL_MAX_S : raw->ttl_s;
	} else if (strcmp(raw->status, "not_available") == 0 && is_sane) {
		answer->status = STATUS_NOT_AVAILABLE;
		answer->ttl_s = raw->ttl_s > TTL_MAX_S ? TTL_MAX_S : raw->ttl_s;
	} else if (strcmp(raw->status, "error") == 0) {
		answer->status = carried_status(raw->code);
	}
}

static void place_answer(struct answer_list *list, const struct raw_answer *raw)
{
	for (size_t step = 0; step < list->count; step++) {
		size_t i = list->expected + step < list->count ? list->expected + step
							       : list->expected + step - list->count;
		const struct lookup_question *question = list->questions[i];

		if (memcmp(&question->exchange, &raw->exchange, sizeof(raw->exchange)) != 0)
			continue;
		list->expected = i + 1 < list->count ? i + 1 : 0;
		if (list->answered[i]) {
			lookup_answer_release(&list->answers[i]);
			list->answers[i] = (struct lookup_answer){ .status = STATUS_BAD_PEER };
		} else {
			accept_answer(question, raw, &list->answers[i]);
		}
		list->answered[i] = true;
		return;
	}
}

static void read_answer_list(struct json_scan *scan, struct answer_list *list)
{
	struct raw_answer raw;
	size_t read = 0;

	json_scan_array(scan);
	while (json_scan_element(scan)) {
		/* The bound also keeps a hostile body from making the search for its questions long. */
		if (read++ == PEER_BATCH_MAX) {
			json_scan_fail(scan, "more answers than a batch may hold");
			return;
		}
		read_raw_answer(scan, &raw);
		if (!json_scan_failed(scan))
			place_answer(list, &raw);
	}
}

static void read_body(struct json_scan *scan, struct answer_list *list, char policy[POLICY_VERSION_SIZE])
{
	unsigned int seen = 0;
	enum member member;

	if (!json_scan_object(scan))
		return;
	while ((member = next_member(scan, SEEN(MEMBER_POLICY) | SEEN(MEMBER_ANSWERS), &seen)) != MEMBER_COUNT) {
		if (member == MEMBER_POLICY)
			read_printable(scan, policy, POLICY_VERSION_SIZE, "policy is too long or no text");
		else
			read_answer_list(scan, list);
	}
	if ((seen & SEEN(MEMBER_ANSWERS)) == 0)
		json_scan_fail(scan, "answers is missing");
}

enum status peer_wire_read_answers(const char *body, size_t size, const struct lookup_question *const *questions,
	size_t count, struct lookup_answer *answers_out, struct strbuf *why)
{
	struct answer_list list = { questions, answers_out, count, 0, NULL };
	char policy[POLICY_VERSION_SIZE] = "";
	bool answered[PEER_BATCH_MAX] = { false };
	struct json_scan scan;

	must(count <= PEER_BATCH_MAX);
	list.answered = answered;
	for (size_t i = 0; i < count; i++)
		answers_out[i] = (struct lookup_answer){ .status = STATUS_BAD_PEER };
	json_scan_init(&scan, body, size);
	read_body(&scan, &list, policy);
	if (!json_scan_end(&scan)) {
		if (why != NULL)
			strbuf_adds(why, scan.what);
		for (size_t i = 0; i < count; i++) {
			lookup_answer_release(&answers_out[i]);
			answers_out[i] = (struct lookup_answer){ .status = STATUS_BAD_PEER };
		}
		return STATUS_BAD_PEER;
	}
	for (size_t i = 0; i < count; i++)
		memcpy(answers_out[i].policy_version, policy, sizeof(policy));
	return STATUS_OK;
}

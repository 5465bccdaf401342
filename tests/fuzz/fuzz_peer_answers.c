/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer's answer to two fixed questions: every answer is filled in, and a found
 * one holds a record that is a JSON object within its bound.
 */
#include "base/must.h"
#include "base/peer_wire.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lookup_question question(const char *exchange, const char *id)
{
	struct lookup_question made;

	memset(&made, 0, sizeof(made));
	must(exchange_id_parse(exchange, &made.exchange) == STATUS_OK);
	must(object_id_make("token", id, strlen(id), ID_FORMAT_OPAQUE, &made.object, NULL) == STATUS_OK);
	return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lookup_question one = question("01890000-0000-7000-8000-00000000000a", "04A2B3C4");
	struct lookup_question two = question("01890000-0000-7000-8000-00000000000b", "x");
	const struct lookup_question *questions[] = { &one, &two };
	struct lookup_answer answers[2];
	struct strbuf why = STRBUF_INIT;
	enum status status = peer_wire_read_answers((const char *)data, size, questions, 2, answers, &why);

	for (int i = 0; i < 2; i++) {
		if (answers[i].status == STATUS_OK) {
			json_t *record = json_loadb(answers[i].record, answers[i].record_length, JSON_ALLOW_NUL, NULL);
			json_error_t error;
			must(status == STATUS_OK && answers[i].record_length <= PEER_RECORD_BYTES_MAX);
			if (record == NULL) {
				record = json_loadb(
					answers[i].record, answers[i].record_length, JSON_ALLOW_NUL, &error);
				must(json_error_code(&error) == json_error_numeric_overflow);
			} else {
				must(json_is_object(record));
			}
			json_decref(record);
		} else {
			must(answers[i].record == NULL);
		}
		lookup_answer_release(&answers[i]);
	}
	strbuf_release(&why);
	return 0;
}

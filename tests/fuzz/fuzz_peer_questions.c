/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer's request body: what is read can be written and read again, the same.
 */
#include "base/must.h"
#include "base/peer_wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW_MS 1000
#define TIMEOUT_MS_MAX 2500

static void check_again(const struct lookup_question *questions, size_t count)
{
	const struct lookup_question **list = calloc(count + 1, sizeof(*list));
	struct lookup_question *again;
	struct strbuf body = STRBUF_INIT;
	size_t again_count;

	must(list != NULL);
	for (size_t i = 0; i < count; i++)
		list[i] = &questions[i];
	peer_wire_write_questions(list, count, NOW_MS, &body);
	must(peer_wire_read_questions(body.data, body.length, NOW_MS, TIMEOUT_MS_MAX, &again, &again_count, NULL) ==
		STATUS_OK);
	must(again_count == count);
	for (size_t i = 0; i < count; i++) {
		must(object_id_equal(&again[i].object, &questions[i].object));
		must(memcmp(&again[i].exchange, &questions[i].exchange, sizeof(again[i].exchange)) == 0);
		must(strcmp(again[i].purpose, questions[i].purpose) == 0);
		must(strcmp(again[i].caller, questions[i].caller) == 0);
		must(again[i].deadline_ms == questions[i].deadline_ms);
	}
	free(again);
	free(list);
	strbuf_release(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lookup_question *questions;
	struct strbuf why = STRBUF_INIT;
	size_t count;

	if (peer_wire_read_questions((const char *)data, size, NOW_MS, TIMEOUT_MS_MAX, &questions, &count, &why) ==
		STATUS_OK) {
		must(count <= PEER_BATCH_MAX);
		check_again(questions, count);
		free(questions);
	} else {
		must(why.length > 0);
	}
	strbuf_release(&why);
	return 0;
}

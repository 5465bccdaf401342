/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids and dates from callers.  The canonical form of a canonical id is itself, in
 * every format: otherwise one object would have two keys.
 */
#include "base/clock.h"
#include "base/exchange_id.h"
#include "base/must.h"
#include "base/object_id.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_object_ids(const char *text, size_t size)
{
	for (int format = 0; format < ID_FORMAT_COUNT; format++) {
		struct object_id id, again;
		if (object_id_make("token", text, size, (enum id_format)format, &id, NULL) != STATUS_OK) {
			must(id.type[0] == '\0' && id.id[0] == '\0');
			continue;
		}
		must(object_id_make("token", id.id, strlen(id.id), (enum id_format)format, &again, NULL) == STATUS_OK);
		must(object_id_equal(&id, &again));
		must(object_id_hash(&id, 1) == object_id_hash(&again, 1));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char date[CLOCK_TEXT_SIZE], uuid[EXCHANGE_ID_TEXT_SIZE];
	struct exchange_id exchange, exchange_again;
	char *text = malloc(size + 1);
	int64_t wall_us, again_us;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	check_object_ids(text, size);
	object_type_is_valid(text);
	region_is_valid(text);
	purpose_is_valid(text);
	if (clock_parse(text, &wall_us) == STATUS_OK) {
		clock_format(wall_us, date);
		must(clock_parse(date, &again_us) == STATUS_OK);
		must(again_us == wall_us || strncmp(date, "1970", 4) == 0);
	}
	if (exchange_id_parse(text, &exchange) == STATUS_OK) {
		exchange_id_format(&exchange, uuid);
		must(exchange_id_parse(uuid, &exchange_again) == STATUS_OK);
		must(memcmp(&exchange, &exchange_again, sizeof(exchange)) == 0);
	}
	free(text);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the golden events as the structs that quicktype made and writes them
 * again.  TYPES(T), from the generator, names every type.
 */
#include <stdio.h>
#include <string.h>
#include <cJSON.h>
#include "events.h"
#include "types.h"

enum { LINE_BYTES_MAX = 65536 };

static cJSON *there_and_back(const char *title, const cJSON *data)
{
#define TRY(type)                                                                                                      \
	if (strcmp(title, #type) == 0) {                                                                               \
		struct type *typed = cJSON_Get##type##Value(data);                                                     \
		cJSON *back = cJSON_Create##type(typed);                                                               \
		cJSON_Delete##type(typed);                                                                             \
		return back;                                                                                           \
	}
	TYPES(TRY)
	return NULL;
}

int main(void)
{
	static char line[LINE_BYTES_MAX];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		cJSON *once = cJSON_Parse(line);
		const char *title = cJSON_GetStringValue(cJSON_GetObjectItem(once, "title"));
		cJSON *back = title != NULL ? there_and_back(title, cJSON_GetObjectItem(once, "data")) : NULL;
		if (back == NULL) {
			fprintf(stderr, "not a known event: %s", line);
			return 1;
		}
		cJSON *answer = cJSON_CreateObject();
		cJSON_AddStringToObject(answer, "title", title);
		cJSON_AddItemToObject(answer, "data", back);
		char *text = cJSON_PrintUnformatted(answer);
		puts(text);
		cJSON_free(text);
		cJSON_Delete(answer);
		cJSON_Delete(once);
	}
	return 0;
}

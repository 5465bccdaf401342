/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner beside the JSON library: what the scanner takes the library takes
 * too (but for numbers too large for it), and the compact form is the same value.
 */
#include "base/json_scan.h"
#include "base/must.h"

#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_scan scan;
	const char *text;
	size_t text_size;
	json_error_t error;
	json_t *value, *again;
	bool is_compact;
	char *compact;

	json_scan_init(&scan, (const char *)data, size);
	if (!json_scan_value(&scan, &text, &text_size, &is_compact) || !json_scan_end(&scan))
		return 0;
	value = json_loadb((const char *)data, size, FLAGS, &error);
	if (value == NULL) {
		must(json_error_code(&error) == json_error_numeric_overflow);
		return 0;
	}
	compact = malloc(text_size + 1);
	must(compact != NULL);
	text_size = json_scan_compact(text, text_size, compact);
	again = json_loadb(compact, text_size, FLAGS, NULL);
	must(again != NULL && json_equal(value, again));
	json_decref(value);
	json_decref(again);
	free(compact);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as CSV: reading ends, every record has a field, no bound is passed.
 */
#include "base/must.h"
#include "cli/csv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf why = STRBUF_INIT;
	struct csv_reader reader;
	enum status status = STATUS_OK;
	FILE *file;

	if (size == 0)
		return 0;
	file = fmemopen((void *)(uintptr_t)data, size, "r");
	must(file != NULL);
	csv_init(&reader, file);
	for (size_t records = 0; status == STATUS_OK || status == STATUS_INVALID; records++) {
		must(records <= size + 1);
		strbuf_reset(&why);
		status = csv_next(&reader, &why);
		if (status == STATUS_OK) {
			must(csv_count(&reader) > 0 && csv_count(&reader) <= CSV_FIELDS_MAX);
			for (size_t i = 0; i < csv_count(&reader); i++)
				must(strlen(csv_field(&reader, i)) <= CSV_RECORD_MAX);
		} else if (status == STATUS_INVALID) {
			must(why.length > 0);
		}
	}
	must(status == STATUS_NOT_FOUND);
	csv_release(&reader);
	fclose(file);
	strbuf_release(&why);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of an access log, which an auditor reads from others: what is read is
 * written again as the same bytes.
 */
#include "base/must.h"
#include "policy/entry.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf text = STRBUF_INIT;
	struct entry entry;

	if (entry_read((const char *)data, size, &entry, NULL) == STATUS_OK) {
		must(entry_write(&entry, &text) == STATUS_OK);
		must(text.length == size && memcmp(text.data, data, size) == 0);
	}
	strbuf_release(&text);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy file on disk.  Its bound keeps a wrong path (a log, a dump) from
 * being read whole before it is refused.
 */
#include "base/file.h"
#include "policy/policy.h"

#define POLICY_FILE_SIZE_MAX ((size_t)4 << 20)

enum status policy_read(const char *path, struct policy **policy_out, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	enum status status;

	*policy_out = NULL;
	status = file_read(path, POLICY_FILE_SIZE_MAX, &text, why);
	if (status == STATUS_OK)
		status = policy_parse(path, text.data, text.length, policy_out, why);
	strbuf_release(&text);
	return status;
}

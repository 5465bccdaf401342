/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy file on disk.  Its bound keeps a wrong path (a log, a dump) from
 * being read whole before it is refused.
 */
#include "base/file.h"
#include "policy/reading.h"

static enum status read_file(const char *path, bool is_lenient, struct policy **policy_out, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	enum status status;

	*policy_out = NULL;
	status = file_read(path, POLICY_FILE_SIZE_MAX, &text, why);
	if (status == STATUS_OK)
		status = reading_policy(path, text.data, text.length, is_lenient, policy_out, why);
	strbuf_release(&text);
	return status;
}

enum status policy_read(const char *path, struct policy **policy_out, struct strbuf *why)
{
	return read_file(path, false, policy_out, why);
}

enum status policy_read_untested(const char *path, struct policy **policy_out, struct strbuf *why)
{
	return read_file(path, true, policy_out, why);
}

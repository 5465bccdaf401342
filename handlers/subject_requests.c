/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked about a subject, by an operator and by the region that is its home: read and
 * judged before anything is touched.
 *
 * Pure; any thread.
 */
#include <string.h>

#include "base/json.h"
#include "handlers/handlers.h"

#define WORD_MAX 63
#define REASON_MAX 256 /* bytes of the entry's text */

/* ---- a flag ---- */

static bool is_word(const char *text)
{
	return text != NULL && text[0] != '\0' && strlen(text) <= WORD_MAX &&
	       text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0';
}

enum status flag_request_read(const json_t *asked, struct flag_request *request_out, struct strbuf *why)
{
	const char *reason = json_get_string(asked, "reason");

	request_out->name = json_get_string(asked, "flag");
	request_out->value = json_get_string(asked, "value");
	request_out->reason = reason != NULL ? reason : "";
	if (is_word(request_out->name) && is_word(request_out->value) && strlen(request_out->reason) <= REASON_MAX)
		return STATUS_OK;
	strbuf_addf(why, "flag and value are words of the policy, and the reason has at most %d bytes", REASON_MAX);
	return STATUS_INVALID;
}

/* ---- forgetting ---- */

enum status forget_request_read(const struct settings *settings, const struct forget_words *words,
	struct forget_request *request_out, struct strbuf *why)
{
	const struct settings_type *type = words->type != NULL ? settings_type(settings, words->type) : NULL;
	enum status status;

	memset(request_out, 0, sizeof(*request_out));
	if (type == NULL || words->id == NULL || words->erasure == NULL) {
		strbuf_adds(why, "erasure, type and id are needed");
		return STATUS_INVALID;
	}
	/* Another word may mean something narrower yet, so it must not be taken as everything. */
	if (words->only != NULL && strcmp(words->only, "copies") != 0) {
		strbuf_adds(why, "only may be \"copies\" or left out");
		return STATUS_INVALID;
	}
	request_out->is_copies_only = words->only != NULL;
	status = exchange_id_parse(words->erasure, &request_out->erasure);
	if (status == STATUS_OK)
		status = object_id_make(
			words->type, words->id, strlen(words->id), type->id_format, &request_out->object, why);
	return status;
}

enum status forget_request_judge(const char *home, const char *region, struct strbuf *why)
{
	if (home == NULL || strcmp(home, region) == 0)
		return STATUS_OK;
	strbuf_adds(why, "only the home may have an object forgotten");
	return STATUS_FORBIDDEN;
}

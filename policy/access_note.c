/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log's own words: when the service started and stopped, which policy it was
 * given, what an operator asked for, how much went by unrecorded.  Rare, so each
 * is encoded for itself and waited for.  Any thread but a loop's.
 */
#include <stdlib.h>

#include "base/random.h"
#include "policy/policy.h"

enum status access_log_note(
	struct log_writer *writer, const char *region, const struct access_note *note, int64_t deadline_ms)
{
	const struct entry_terms terms = { .kind = note->kind,
		.me = region,
		.peer = note->peer,
		.type = note->type,
		.policy = note->policy_version,
		.message = note->text,
		.ttl_s = -1,
		.count = note->count };
	uint8_t salt[ENTRY_SALT_SIZE];
	const struct entry_moment moment = { .at_us = clock_wall_us(clock_system()),
		.exchange = note->exchange,
		.subject = note->subject,
		.salt = salt };
	struct entry_form *form = NULL;
	char *entry = NULL;
	uint64_t index;
	enum status status;

	status = entry_form_create(&terms, &form);
	if (status != STATUS_OK)
		goto out;
	status = STATUS_NO_MEMORY;
	entry = malloc(form->size_max);
	if (entry == NULL)
		goto out;
	random_fill(random_system(), salt, sizeof(salt));
	status = log_writer_append_wait(writer, entry, entry_encode(form, &moment, entry), deadline_ms, &index);
out:
	free(entry);
	free(form);
	return status;
}

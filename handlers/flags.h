/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flags: what homeward itself keeps about a subject whose record another system has, restriction
 * and consent (homeward.subject_flags), put into the record before anybody decides by it.
 * One an engine, on its loop.
 */
#ifndef HANDLERS_FLAGS_H
#define HANDLERS_FLAGS_H

#include "handlers/handlers.h"

struct flags;

/* The gate is borrowed.  key_file: what rows are named under. */
MUST_CHECK enum status flags_create(struct loop *loop, struct database *database, struct gate *gate,
	const char *key_file, struct flags **flags_out);
void flags_destroy(struct flags *flags);

/*
 * Asks for this object's flags beside the fetch of its record, which is then to be told to flags_record_came() with
 * what is returned; `done` is called once both have come.  NULL: the policy reads no flag of that type, and nothing was
 * begun.
 */
struct flagged *flags_begin(
	struct flags *flags, const struct object_id *object, int64_t deadline_ms, handlers_fetch_done *done, void *arg);
void flags_record_came(void *flagged, enum status status, uint64_t version, json_t *content);

/*
 * Pure: the record with these flags in it, to be released; NULL without memory.  `kept` is {flag: value}, NULL for
 * none; flags that the policy does not have for the type are left out.  A member that says something else than is kept
 * becomes null, which the gate takes as unknown: each forbid fires on it, and no permit.
 */
json_t *flags_merge(const struct policy *policy, const char *type, json_t *record, json_t *kept);

#endif

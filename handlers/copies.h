/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies: which regions were served an object that they may keep, noted in
 * homeward.copies before the answer leaves, so that a change reaches just them.
 * One an engine, on its loop.
 */
#ifndef HANDLERS_COPIES_H
#define HANDLERS_COPIES_H

#include "handlers/handlers.h"

struct copies;

MUST_CHECK enum status copies_create(struct loop *loop, struct database *database, struct copies **copies_out);
void copies_destroy(struct copies *copies);

struct copy {
	const struct object_id *object;
	const char *region;
	int64_t ttl_s;
	bool is_stored; /* in homeward.objects, with this version */
	uint64_t version;
	int64_t deadline_ms;
};

/* It is noted for at least as long: nothing needs to be done. */
bool copies_has(const struct copies *copies, const struct copy *copy);
/*
 * Notes it.  may_keep false: it could not be noted, or the object changed meanwhile, and so the answer must not be kept by
 * whoever gets it.  Everything is copied.
 */
typedef void copies_done(void *arg, bool may_keep);
void copies_note(struct copies *copies, const struct copy *copy, copies_done *done, void *arg);

/* For the engine's copies: false when there is nothing to note, and done is not called. */
bool handlers_note_copy(struct handlers *handlers, struct copy *copy, copies_done *done, void *arg);

#endif

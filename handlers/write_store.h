/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes to homeward.objects, private to handlers.  Each is one statement, so
 * that the condition is checked and the row changed in the same instant.
 */
#ifndef HANDLERS_WRITE_STORE_H
#define HANDLERS_WRITE_STORE_H

#include "handlers/handlers.h"

struct store_write {
	const struct object_id *object;
	const json_t *content; /* NULL deletes */
	enum write_condition condition;
	uint64_t version;
	int64_t deadline_ms;
	handlers_write_done *done;
	void *arg;
};

/* Everything is copied. */
void store_write_start(struct loop *loop, struct database *database, const struct store_write *write);
void store_write_end_later(struct loop *loop, enum status status, handlers_write_done *done, void *arg);

#endif

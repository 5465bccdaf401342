/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The confirmations of one batch of messages: which were confirmed, refused or
 * returned.  Pure.  Tags of a channel count up by one for each message, so a
 * message's tag is the batch's first tag and its place.
 */
#ifndef FEDERATION_CONFIRMS_H
#define FEDERATION_CONFIRMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum confirm { CONFIRM_WAITING, CONFIRM_DONE, CONFIRM_REFUSED };

struct confirms {
	uint64_t first_tag;
	size_t count, settled, capacity;
	struct confirm_entry {
		enum confirm confirm;
		bool is_returned; /* no queue took it: its confirmation means nothing */
	} * entries;
};

MUST_CHECK enum status confirms_init(struct confirms *confirms, size_t capacity);
void confirms_release(struct confirms *confirms);
/* The next batch goes on with the tags after this one's, or with 1 on a new channel. */
void confirms_begin(struct confirms *confirms, bool is_new_channel);
/* One more message was published; returns its place.  count < capacity. */
size_t confirms_add(struct confirms *confirms);
/* Tags of no message of this batch are ignored, and so is what is settled already. */
void confirms_settle(struct confirms *confirms, uint64_t tag, bool is_multiple, enum confirm confirm);
void confirms_return(struct confirms *confirms, size_t place);
bool confirms_all_settled(const struct confirms *confirms);
/* Confirmed, and taken by a queue. */
bool confirms_is_done(const struct confirms *confirms, size_t place);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What an entry calls an object; entry.h has the size. */
#ifndef POLICY_PSEUDONYM_TEXT_H
#define POLICY_PSEUDONYM_TEXT_H

#include <stdint.h>

#include "base/object_id.h"
#include "policy/entry.h"

/* "p1." under the subject's own key, "u1.<epoch>." under an epoch's. */
void pseudonym_write(const uint8_t key[32], const struct object_id *object, char subject[ENTRY_SUBJECT_SIZE]);
void pseudonym_write_epoch(
	const uint8_t key[32], uint32_t epoch, const struct object_id *object, char subject[ENTRY_SUBJECT_SIZE]);

#endif

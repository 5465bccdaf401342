/* SPDX-License-Identifier: Apache-2.0 */
/* Names as small numbers, so that a set of them is one 64-bit word. */
#ifndef POLICY_NAMES_H
#define POLICY_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 62 names of one kind: the 64 bits of a set less "other" and "unknown". */
#define NAMES_MAX 62
#define NAME_OTHER 0    /* a name the policy does not mention */
#define NAME_UNKNOWN 63 /* no name was given */
#define NAME_BIT(id) ((uint64_t)1 << (id))

struct names {
	const char *text[NAMES_MAX + 1]; /* by id, 1 to count; borrowed */
	uint8_t slots[256];              /* open addressing; 0 is free */
	int count;
};

/* The name's id, added when new; NAME_OTHER when the table is full.  Borrows the text. */
int names_add(struct names *names, const char *text);
/* NAME_UNKNOWN for NULL and "". */
int names_find(const struct names *names, const char *text);
/* [a-z][a-z0-9._-]*, shorter than `size`. */
bool name_is_valid(const char *text, size_t size);

#endif

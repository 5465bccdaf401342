/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing past U+10FFFF.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The length (1 to 4) of the valid sequence at `at`, of which `left` bytes may be read; 0 when there is none. */
size_t utf8_sequence(const char *at, size_t left);
/* All of it is valid and none of it a control character (C0, DEL or C1). */
bool utf8_is_printable(const char *text, size_t length);

#endif

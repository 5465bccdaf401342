/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base 64 with the standard alphabet and padding (RFC 4648 §4).  Decoding is
 * strict: one text for each value, so that a signature or a hash cannot be
 * written in two ways.
 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>

#include "base/status.h"
#include "base/strbuf.h"

/* Characters that `size` bytes become, without a NUL. */
#define BASE64_SIZE(size) (((size) + 2) / 3 * 4)

void base64_encode(const void *bytes, size_t size, struct strbuf *text);
/* STATUS_INVALID: not base 64, or not the canonical text; STATUS_TOO_LARGE: more than size_max bytes.
 * bytes NULL: only checks and counts. */
MUST_CHECK enum status base64_decode(const char *text, size_t length, void *bytes, size_t size_max, size_t *size_out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Object ids: the key of everything is (type, canonical id).  A type's id_format
 * says how an id is canonicalised and checked; a type is never guessed from an
 * id's shape.  Formats and check digits: ISO 15118-2 / eMI3 eMAID, DIN SPEC 91286
 * EVCO, ISO/DIN EVSE id, RFID UIDs of 4, 7 or 10 bytes (docs/decisions has sources).
 */
#ifndef BASE_OBJECT_ID_H
#define BASE_OBJECT_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"

#define OBJECT_TYPE_SIZE 32 /* with the NUL; [a-z][a-z0-9_-]* */
#define OBJECT_ID_SIZE 128  /* with the NUL; UTF-8 without control characters */
#define APPLICATION_SIZE 49 /* with the NUL; letters, digits, '-' and '_' */
#define REGION_SIZE 32      /* with the NUL; [a-z][a-z0-9-]* */
#define PURPOSE_SIZE 64     /* with the NUL; [a-z][a-z0-9._-]* */

enum id_format {
	ID_FORMAT_OPAQUE,   /* bytes as they are */
	ID_FORMAT_RFID_UID, /* 8, 14 or 20 hex digits and nothing else, folded to upper case */
	/*
	 * eMAID or EVCO: letters and digits in upper case, without "-" and "*".  15 characters whose last is the
	 * right check digit lose it; DIN's 11, or 12 with the right digit, and the old ISO spelling of them are
	 * written as eMI3 ("C0", instance, DIN digit), so one contract is one key.  With a wrong check digit, or
	 * another length, nothing more is done: the id is its own key.  Other characters: bytes as they are.
	 */
	ID_FORMAT_EMAID,
	/*
	 * ISO EVSE id: upper case, without "*".  DIN: "+" in front, and its "*" stay, for without them it is
	 * ambiguous.  Anything else: bytes as they are.
	 */
	ID_FORMAT_EVSE_ID,
	ID_FORMAT_COUNT
};

struct object_id {
	char type[OBJECT_TYPE_SIZE];
	char id[OBJECT_ID_SIZE]; /* canonical */
};

/* "opaque", "rfid-uid", "emaid", "evse-id". */
const char *id_format_name(enum id_format format);
MUST_CHECK enum status id_format_parse(const char *name, enum id_format *format_out);

/* STATUS_INVALID with the rule broken in `why` (may be NULL); *id_out is zeroed first. */
MUST_CHECK enum status object_id_make(const char *type, const char *id, size_t id_length, enum id_format format,
	struct object_id *id_out, struct strbuf *why);
/* The start of canonical ids, in canonical spelling: separators dropped and case folded as the format does. */
MUST_CHECK enum status object_prefix_make(
	const char *prefix, size_t length, enum id_format format, char text_out[OBJECT_ID_SIZE], struct strbuf *why);
bool object_id_equal(const struct object_id *a, const struct object_id *b);
uint64_t object_id_hash(const struct object_id *id, uint64_t seed);

bool object_type_is_valid(const char *type);
bool region_is_valid(const char *region);
bool application_is_valid(const char *application);
bool purpose_is_valid(const char *purpose);

/* The check digit of a 14-character eMAID without separators (ISO 15118-2 annex H), or 0 when it has none.
 * Of an 11-character EVCO id (DIN SPEC 91286), the same. */
char emaid_check_digit(const char *id14);
char evco_check_digit(const char *id11);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON scanner: reads a document of known shape front to back without building a
 * tree, for bodies that cross between regions thousands of times a second.  As
 * strict as base/json.h in syntax, UTF-8 and U+0000; duplicate members are the
 * caller's business.  The first failure sticks: every later call does nothing
 * and says false, so a caller may check once.
 *
 *	if (json_scan_object(&scan))
 *		while (json_scan_member(&scan, key))
 *			…  exactly one value is read here
 */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_SCAN_KEY_SIZE 32   /* longer keys read as "", which is no member of ours */
#define JSON_SCAN_DEPTH_MAX 256 /* of a skipped value; it bounds the recursion */

struct json_scan {
	const char *at, *end;
	const char *what; /* NULL until it failed; then what was wrong, static */
	bool is_first;    /* inside an object or array, before its first member */
	bool saw_space;   /* white space was passed since json_scan_value began */
};

void json_scan_init(struct json_scan *scan, const char *text, size_t size);
bool json_scan_failed(const struct json_scan *scan);
bool json_scan_fail(struct json_scan *scan, const char *what); /* for the caller's own rules; returns false */

/* Enters; false when something else is next, which is a failure. */
bool json_scan_object(struct json_scan *scan);
bool json_scan_array(struct json_scan *scan);
/* Stands before the next value; false at the end (then it is left) or on failure. */
bool json_scan_member(struct json_scan *scan, char key[JSON_SCAN_KEY_SIZE]);
bool json_scan_element(struct json_scan *scan);

/* Unescaped, NUL terminated.  False: failed, or longer than size - 1 (then it reads as "" and is passed over). */
bool json_scan_string(struct json_scan *scan, char *text_out, size_t size);
/* An integer without fraction or exponent that fits. */
bool json_scan_integer(struct json_scan *scan, int64_t *value_out);
/* Passes over any value, checked in full; borrowed span.  is_compact_out: no white space between its tokens. */
bool json_scan_value(struct json_scan *scan, const char **text_out, size_t *size_out, bool *is_compact_out);
bool json_scan_skip(struct json_scan *scan);
/* Nothing but white space is left. */
bool json_scan_end(struct json_scan *scan);

/* Copies a value that json_scan_value checked, without white space between tokens; returns the new size. */
size_t json_scan_compact(const char *text, size_t size, char *text_out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pull scanner over memory: one pass, no allocation.  Every read is guarded by
 * `at < end`; the text needs no NUL at its end.
 *
 * Failing moves `at` to `end`, so that whatever is called next also finds
 * nothing.  Pure; any thread.
 */
#include "base/json_scan.h"

#include <string.h>

#include "base/strbuf.h"
#include "base/utf8.h"

void json_scan_init(struct json_scan *scan, const char *text, size_t size)
{
	*scan = (struct json_scan){ .at = text, .end = text + size };
}

bool json_scan_failed(const struct json_scan *scan)
{
	return scan->what != NULL;
}

bool json_scan_fail(struct json_scan *scan, const char *what)
{
	if (scan->what == NULL)
		scan->what = what;
	scan->at = scan->end;
	return false;
}

/* True for characters of a string that need no second look. */
static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* The same for eight at once.  A byte less than n, or equal to c, sets its high bit by borrowing; a borrow from the byte
 * below can only add doubt, which the slow loop then clears up.  (Warren, Hacker's Delight, section 6-1.) */
static bool are_plain(const char *at)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
	uint64_t word, quote, backslash;

	memcpy(&word, at, sizeof(word));
	quote = word ^ ones * '"';
	backslash = word ^ ones * '\\';
	return ((word | (word - ones * 0x20) | (quote - ones) | (backslash - ones)) & highs) == 0;
}

static const char *skip_plain(const char *at, const char *end)
{
	while (end - at >= 8 && are_plain(at))
		at += 8;
	while (at < end && is_plain((unsigned char)*at))
		at++;
	return at;
}

static void skip_space(struct json_scan *scan)
{
	while (scan->at < scan->end &&
		(*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r')) {
		scan->at++;
		scan->saw_space = true;
	}
}

/* The next character that is not white space, or 0 at the end. */
static char peek(struct json_scan *scan)
{
	skip_space(scan);
	return scan->at < scan->end ? *scan->at : '\0';
}

static bool enter(struct json_scan *scan, char open, const char *what)
{
	if (peek(scan) != open)
		return json_scan_fail(scan, what);
	scan->at++;
	scan->is_first = true;
	return true;
}

bool json_scan_object(struct json_scan *scan)
{
	return enter(scan, '{', "an object is expected");
}

bool json_scan_array(struct json_scan *scan)
{
	return enter(scan, '[', "an array is expected");
}

/* Past the comma to the next member, or past the closing bracket. */
static bool advance(struct json_scan *scan, char close)
{
	char c = peek(scan);
	bool is_first = scan->is_first;

	scan->is_first = false;
	if (json_scan_failed(scan))
		return false;
	if (c == close) {
		scan->at++;
		return false;
	}
	if (is_first)
		return true;
	if (c != ',')
		return json_scan_fail(scan, "a comma or a closing bracket is expected");
	scan->at++;
	return true;
}

bool json_scan_element(struct json_scan *scan)
{
	return advance(scan, ']');
}

bool json_scan_member(struct json_scan *scan, char key[JSON_SCAN_KEY_SIZE])
{
	key[0] = '\0';
	if (!advance(scan, '}'))
		return false;
	json_scan_string(scan, key, JSON_SCAN_KEY_SIZE);
	if (json_scan_failed(scan))
		return false;
	if (peek(scan) != ':')
		return json_scan_fail(scan, "a colon is expected");
	scan->at++;
	return true;
}

/* The four digits after "\u", or -1. */
static long hex_four(struct json_scan *scan)
{
	long value = 0;

	if (scan->end - scan->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(*scan->at++);

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

static size_t encode_utf8(long point, char out[4])
{
	if (point < 0x80) {
		out[0] = (char)point;
		return 1;
	}
	if (point < 0x800) {
		out[0] = (char)(0xC0 | point >> 6);
		out[1] = (char)(0x80 | (point & 0x3F));
		return 2;
	}
	if (point < 0x10000) {
		out[0] = (char)(0xE0 | point >> 12);
		out[1] = (char)(0x80 | (point >> 6 & 0x3F));
		out[2] = (char)(0x80 | (point & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | point >> 18);
	out[1] = (char)(0x80 | (point >> 12 & 0x3F));
	out[2] = (char)(0x80 | (point >> 6 & 0x3F));
	out[3] = (char)(0x80 | (point & 0x3F));
	return 4;
}

/* Stands after the backslash; writes what it means; 0 on failure. */
static size_t read_escape(struct json_scan *scan, char out[4])
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found;
	long point;
	char c = scan->at < scan->end ? *scan->at++ : '\0';

	if (c != 'u') {
		found = c == '\0' ? NULL : strchr(from, c);
		if (found == NULL)
			return 0;
		out[0] = to[found - from];
		return 1;
	}
	point = hex_four(scan);
	if (point <= 0 || (point >= 0xDC00 && point <= 0xDFFF))
		return 0;
	if (point >= 0xD800 && point <= 0xDBFF) {
		long low;

		if (scan->end - scan->at < 2 || scan->at[0] != '\\' || scan->at[1] != 'u')
			return 0;
		scan->at += 2;
		low = hex_four(scan);
		if (low < 0xDC00 || low > 0xDFFF)
			return 0;
		point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
	}
	return encode_utf8(point, out);
}

/* Stands after the opening quote.  Writes at most `size` bytes to out (may be NULL with 0); *length counts all. */
static bool read_string(struct json_scan *scan, char *out, size_t size, size_t *length)
{
	*length = 0;
	for (;;) {
		const char *start = scan->at, *from;
		char escaped[4];
		size_t count;

		scan->at = skip_plain(scan->at, scan->end);
		from = start;
		count = (size_t)(scan->at - start);
		if (count == 0) {
			if (scan->at >= scan->end)
				return json_scan_fail(scan, "a string does not end");
			if (*scan->at == '"') {
				scan->at++;
				return true;
			}
			if (*scan->at == '\\') {
				scan->at++;
				count = read_escape(scan, escaped);
				from = escaped;
			} else if ((unsigned char)*scan->at >= 0x80) {
				count = utf8_sequence(scan->at, (size_t)(scan->end - scan->at));
				scan->at += count;
			}
			if (count == 0)
				return json_scan_fail(scan, "a string holds what no string may");
		}
		if (*length + count <= size)
			memcpy(out + *length, from, count);
		*length += count;
	}
}

bool json_scan_string(struct json_scan *scan, char *text_out, size_t size)
{
	size_t length;

	text_out[0] = '\0';
	if (peek(scan) != '"')
		return json_scan_fail(scan, "a string is expected");
	scan->at++;
	if (!read_string(scan, text_out, size - 1, &length) || length >= size) {
		text_out[0] = '\0';
		return false;
	}
	text_out[length] = '\0';
	return true;
}

static bool is_digit_next(const struct json_scan *scan)
{
	return scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9';
}

static bool read_digits(struct json_scan *scan)
{
	const char *start = scan->at;

	while (is_digit_next(scan))
		scan->at++;
	return scan->at > start;
}

/* RFC 8259 number; *is_integer_out: no fraction, no exponent. */
static bool read_number(struct json_scan *scan, bool *is_integer_out)
{
	*is_integer_out = true;
	if (scan->at < scan->end && *scan->at == '-')
		scan->at++;
	if (scan->at < scan->end && *scan->at == '0')
		scan->at++;
	else if (!read_digits(scan))
		return json_scan_fail(scan, "a value is expected");
	if (scan->at < scan->end && *scan->at == '.') {
		*is_integer_out = false;
		scan->at++;
		if (!read_digits(scan))
			return json_scan_fail(scan, "a number is malformed");
	}
	if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
		*is_integer_out = false;
		scan->at++;
		if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
			scan->at++;
		if (!read_digits(scan))
			return json_scan_fail(scan, "a number is malformed");
	}
	if (is_digit_next(scan))
		return json_scan_fail(scan, "a number is malformed");
	return true;
}

bool json_scan_integer(struct json_scan *scan, int64_t *value_out)
{
	const char *at;
	uint64_t value = 0, limit;
	bool is_integer, is_negative;

	*value_out = 0;
	peek(scan);
	at = scan->at;
	if (!read_number(scan, &is_integer))
		return false;
	if (!is_integer)
		return json_scan_fail(scan, "an integer is expected");
	is_negative = *at == '-';
	limit = (uint64_t)INT64_MAX + (is_negative ? 1 : 0);
	for (at += is_negative ? 1 : 0; at < scan->at; at++) {
		uint64_t digit = (uint64_t)(*at - '0');

		if (value > (limit - digit) / 10)
			return json_scan_fail(scan, "an integer is out of range");
		value = value * 10 + digit;
	}
	*value_out = is_negative ? (int64_t)(0 - value) : (int64_t)value;
	return true;
}

static bool read_word(struct json_scan *scan, const char *word, size_t size)
{
	if ((size_t)(scan->end - scan->at) < size || memcmp(scan->at, word, size) != 0)
		return json_scan_fail(scan, "a value is expected");
	scan->at += size;
	return true;
}

static bool read_value(struct json_scan *scan, int depth)
{
	char key[JSON_SCAN_KEY_SIZE];
	size_t length;
	bool is_integer;

	if (depth > JSON_SCAN_DEPTH_MAX)
		return json_scan_fail(scan, "nested too deep");
	switch (peek(scan)) {
	case '{':
		json_scan_object(scan);
		while (json_scan_member(scan, key))
			read_value(scan, depth + 1);
		break;
	case '[':
		json_scan_array(scan);
		while (json_scan_element(scan))
			read_value(scan, depth + 1);
		break;
	case '"':
		scan->at++;
		return read_string(scan, NULL, 0, &length);
	case 't':
		return read_word(scan, "true", 4);
	case 'f':
		return read_word(scan, "false", 5);
	case 'n':
		return read_word(scan, "null", 4);
	default:
		return read_number(scan, &is_integer);
	}
	return !json_scan_failed(scan);
}

bool json_scan_value(struct json_scan *scan, const char **text_out, size_t *size_out, bool *is_compact_out)
{
	peek(scan);
	*text_out = scan->at;
	*size_out = 0;
	*is_compact_out = false;
	scan->saw_space = false;
	if (!read_value(scan, 0))
		return false;
	*size_out = (size_t)(scan->at - *text_out);
	*is_compact_out = !scan->saw_space;
	return true;
}

bool json_scan_skip(struct json_scan *scan)
{
	return read_value(scan, 0);
}

bool json_scan_end(struct json_scan *scan)
{
	if (json_scan_failed(scan))
		return false;
	skip_space(scan);
	return scan->at == scan->end || json_scan_fail(scan, "more follows the document");
}

size_t json_scan_compact(const char *text, size_t size, char *text_out)
{
	bool in_string = false;
	size_t length = 0;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (!in_string && (c == ' ' || c == '\n' || c == '\t' || c == '\r'))
			continue;
		text_out[length++] = c;
		if (in_string && c == '\\' && i + 1 < size)
			text_out[length++] = text[++i];
		else if (c == '"')
			in_string = !in_string;
	}
	return length;
}

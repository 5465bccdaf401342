/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Object ids: one canonical spelling for each object, so that cache, route table
 * and access record hold one key and not three.
 *
 * Only rfid-uid refuses an id for its form.  Contract and EVSE ids in the field
 * break their standards too often for that: what does not fit the standard is
 * kept as an opaque key, which then matches only itself.  A wrong check digit is
 * such a case: the digit stays part of the key, and the id names nobody else.
 *
 * Invariant: canonicalising a canonical id gives the same id.  Pure; any thread.
 */
#include "base/object_id.h"

#include <string.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/utf8.h"

#define ISO_LENGTH 14 /* country 2, provider 3, instance 9 */
#define DIN_LENGTH 11 /* country 2, provider 3, instance 6 */
#define PARTY_LENGTH 5

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static char fold(char c)
{
	return is_lower(c) ? (char)(c - 'a' + 'A') : c;
}

const char *id_format_name(enum id_format format)
{
	static const char *const names[ID_FORMAT_COUNT] = { "opaque", "rfid-uid", "emaid", "evse-id" };

	must(format >= 0 && format < ID_FORMAT_COUNT);
	return names[format];
}

enum status id_format_parse(const char *name, enum id_format *format_out)
{
	*format_out = ID_FORMAT_OPAQUE;
	for (int i = 0; i < ID_FORMAT_COUNT; i++) {
		if (strcmp(name, id_format_name((enum id_format)i)) == 0) {
			*format_out = (enum id_format)i;
			return STATUS_OK;
		}
	}
	return STATUS_INVALID;
}

static bool is_name(const char *name, size_t size, const char *punctuation)
{
	size_t i;

	if (name == NULL || !is_lower(name[0]))
		return false;
	for (i = 1; i < size && name[i] != '\0'; i++)
		if (!is_lower(name[i]) && !is_digit(name[i]) && strchr(punctuation, name[i]) == NULL)
			return false;
	return i < size;
}

bool object_type_is_valid(const char *type)
{
	return is_name(type, OBJECT_TYPE_SIZE, "_-");
}

bool region_is_valid(const char *region)
{
	return is_name(region, REGION_SIZE, "-");
}

bool application_is_valid(const char *application)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	size_t length = strlen(application);

	return length > 0 && length < APPLICATION_SIZE && strspn(application, allowed) == length &&
	       strchr("-_", application[0]) == NULL;
}

bool purpose_is_valid(const char *purpose)
{
	return is_name(purpose, PURPOSE_SIZE, "._-");
}

/*
 * ISO 15118-2 annex H: the check digit is the 36-character alphabet's member whose
 * two parts, one over GF(2) and one over GF(3), equal weighted sums of the id's.
 * The weights are powers of two fixed matrices and repeat after 3 and 8 places.
 */
char emaid_check_digit(const char *id14)
{
	static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	static const uint8_t codes[36] = { 0, 16, 32, 4, 20, 36, 8, 24, 40, 2, 18, 34, 6, 22, 38, 10, 26, 42, 1, 17, 33,
		5, 21, 37, 9, 25, 41, 3, 19, 35, 7, 23, 39, 11, 27, 43 };
	unsigned int a = 0, b = 1, c = 1, d = 1; /* weights mod 2, a row each: (a b)(c d) */
	unsigned int e = 0, f = 1, g = 1, h = 2; /* weights mod 3 */
	unsigned int q0 = 0, q1 = 0, r0 = 0, r1 = 0, code;

	for (int i = 0; i < ISO_LENGTH; i++) {
		const char *at = id14[i] == '\0' ? NULL : strchr(alphabet, id14[i]);
		unsigned int x, y, old;

		if (at == NULL)
			return '\0';
		code = codes[at - alphabet];
		x = code & 1, y = code >> 1 & 1;
		q0 = (q0 + x * a + y * c) % 2, q1 = (q1 + x * b + y * d) % 2;
		x = code >> 2 & 3, y = code >> 4;
		r0 = (r0 + x * e + y * g) % 3, r1 = (r1 + x * f + y * h) % 3;
		old = a, a = b, b = (old + b) % 2;
		old = c, c = d, d = (old + d) % 2;
		old = e, e = f, f = (old + 2 * f) % 3;
		old = g, g = h, h = (old + 2 * h) % 3;
	}
	code = q0 | q1 << 1 | (2 * r1 % 3) << 2 | ((2 * r0 + r1) % 3) << 4;
	for (int i = 0; i < 36; i++)
		if (codes[i] == code)
			return alphabet[i];
	return '\0';
}

/* DIN SPEC 91286: a letter counts as the two digits of its value, and each digit weighs twice the one before. */
char evco_check_digit(const char *id11)
{
	unsigned int sum = 0, shift = 0;

	for (int i = 0; i < DIN_LENGTH; i++) {
		char c = id11[i];

		if (is_digit(c)) {
			sum += (unsigned int)(c - '0') << shift++;
		} else if (is_upper(c)) {
			unsigned int value = (unsigned int)(c - 'A') + 10;

			sum += (value / 10) << shift++;
			sum += (value % 10) << shift++;
		} else {
			return '\0';
		}
	}
	return sum % 11 == 10 ? 'X' : (char)('0' + sum % 11);
}

/* Copies `id` upper-cased and without the separators; 0 when another character is in it or nothing is left. */
static size_t compact(const char *id, size_t length, const char *separators, char text[OBJECT_ID_SIZE])
{
	size_t size = 0;

	for (size_t i = 0; i < length; i++) {
		char c = fold(id[i]);

		if (is_upper(c) || is_digit(c))
			text[size++] = c;
		else if (strchr(separators, c) == NULL)
			return 0;
	}
	text[size] = '\0';
	return size;
}

/* Country, provider, instance of six and its DIN digit become country, provider, "C0", instance and digit. */
static void spell_as_emi3(const char *party, const char *instance, char digit, char text[OBJECT_ID_SIZE])
{
	char built[ISO_LENGTH + 1];

	memcpy(built, party, PARTY_LENGTH);
	built[5] = 'C';
	built[6] = '0';
	memcpy(built + 7, instance, 6);
	built[13] = digit;
	built[14] = '\0';
	memcpy(text, built, sizeof(built));
}

/* The DIN digit that an instance written "x0iiiiiid" claims to end with, checked. */
static bool carries_evco(const char *id14)
{
	char evco[DIN_LENGTH];

	memcpy(evco, id14, PARTY_LENGTH);
	memcpy(evco + PARTY_LENGTH, id14 + 7, 6);
	return evco_check_digit(evco) == id14[13];
}

/*
 * The compact length tells the standard: 11 and 12 are DIN without and with check
 * digit, 14 and 15 ISO or eMI3 without and with.
 */
static void make_emaid(const char *id, size_t length, char text[OBJECT_ID_SIZE])
{
	size_t size = compact(id, length, "-*", text);

	if (size == 0) {
		memcpy(text, id, length);
		text[length] = '\0';
		return;
	}
	if (!is_upper(text[0]) || !is_upper(text[1]))
		return;
	if (size == DIN_LENGTH || (size == DIN_LENGTH + 1 && evco_check_digit(text) == text[DIN_LENGTH])) {
		spell_as_emi3(text, text + PARTY_LENGTH, evco_check_digit(text), text);
		return;
	}
	if (size == ISO_LENGTH + 1 && emaid_check_digit(text) == text[ISO_LENGTH])
		text[--size] = '\0';
	if (size == ISO_LENGTH && text[5] == '0' && text[6] == '0' && carries_evco(text))
		text[5] = 'C';
}

/* <digits>*<three to six digits>*<digits and stars>; the stars are not optional in DIN, so they stay. */
static bool is_din_evse(const char *id, size_t length)
{
	size_t i = 0, start;

	while (i < length && is_digit(id[i]))
		i++;
	if (i < 1 || i > 3 || i == length || id[i] != '*')
		return false;
	start = ++i;
	while (i < length && is_digit(id[i]))
		i++;
	if (i - start < 3 || i - start > 6 || i == length || id[i] != '*')
		return false;
	start = ++i;
	while (i < length && (is_digit(id[i]) || id[i] == '*'))
		i++;
	return i == length && i > start;
}

static void make_evse_id(const char *id, size_t length, char text[OBJECT_ID_SIZE])
{
	size_t plus = id[0] == '+' ? 1 : 0;
	size_t size;

	if (is_din_evse(id + plus, length - plus) && length - plus + 2 <= OBJECT_ID_SIZE) {
		text[0] = '+';
		memcpy(text + 1, id + plus, length - plus);
		text[1 + length - plus] = '\0';
		return;
	}
	size = compact(id, length, "*", text);
	if (size > 6 && is_upper(text[0]) && is_upper(text[1]) && text[PARTY_LENGTH] == 'E')
		return;
	memcpy(text, id, length);
	text[length] = '\0';
}

static enum status broken(struct strbuf *why, const char *rule)
{
	if (why != NULL)
		strbuf_adds(why, rule);
	return STATUS_INVALID;
}

static enum status make_rfid_uid(
	const char *id, size_t length, bool is_prefix, char text[OBJECT_ID_SIZE], struct strbuf *why)
{
	if (is_prefix ? length > 20 : length != 8 && length != 14 && length != 20)
		return broken(why, "an RFID UID is 8, 14 or 20 hex digits");
	for (size_t i = 0; i < length; i++) {
		text[i] = fold(id[i]);
		if (!is_digit(text[i]) && !(text[i] >= 'A' && text[i] <= 'F'))
			return broken(why, "an RFID UID has only hex digits, no separators");
	}
	text[length] = '\0';
	return STATUS_OK;
}

static enum status check_bytes(const char *id, size_t length, struct strbuf *why)
{
	if (length == 0)
		return broken(why, "an id is not empty");
	if (length >= OBJECT_ID_SIZE)
		return broken(why, "an id has at most 127 bytes");
	if (!utf8_is_printable(id, length))
		return broken(why, "an id is valid UTF-8 without control characters");
	return STATUS_OK;
}

enum status object_id_make(const char *type, const char *id, size_t id_length, enum id_format format,
	struct object_id *id_out, struct strbuf *why)
{
	enum status status;

	memset(id_out, 0, sizeof(*id_out));
	if (!object_type_is_valid(type))
		return broken(why, "a type is [a-z][a-z0-9_-]*, at most 31 characters");
	status = check_bytes(id, id_length, why);
	if (status != STATUS_OK)
		return status;
	switch (format) {
	case ID_FORMAT_RFID_UID:
		status = make_rfid_uid(id, id_length, false, id_out->id, why);
		break;
	case ID_FORMAT_EMAID:
		make_emaid(id, id_length, id_out->id);
		break;
	case ID_FORMAT_EVSE_ID:
		make_evse_id(id, id_length, id_out->id);
		break;
	default:
		memcpy(id_out->id, id, id_length);
	}
	if (status == STATUS_OK)
		memcpy(id_out->type, type, strlen(type));
	else
		memset(id_out, 0, sizeof(*id_out));
	return status;
}

enum status object_prefix_make(
	const char *prefix, size_t length, enum id_format format, char text_out[OBJECT_ID_SIZE], struct strbuf *why)
{
	enum status status;

	memset(text_out, 0, OBJECT_ID_SIZE);
	status = check_bytes(prefix, length, why);
	if (status != STATUS_OK)
		return status;
	if (format == ID_FORMAT_RFID_UID) {
		status = make_rfid_uid(prefix, length, true, text_out, why);
	} else if (format == ID_FORMAT_EMAID) {
		if (compact(prefix, length, "-*", text_out) == 0)
			memcpy(text_out, prefix, length);
	} else if (format == ID_FORMAT_EVSE_ID && prefix[0] != '+' && !is_digit(prefix[0])) {
		if (compact(prefix, length, "*", text_out) == 0)
			memcpy(text_out, prefix, length);
	} else {
		memcpy(text_out, prefix, length);
	}
	return status;
}

bool object_id_equal(const struct object_id *a, const struct object_id *b)
{
	return strcmp(a->id, b->id) == 0 && strcmp(a->type, b->type) == 0;
}

uint64_t object_id_hash(const struct object_id *id, uint64_t seed)
{
	return hash_key64(id->id, strlen(id->id), hash_key64(id->type, strlen(id->type), seed));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for base/object_id.c and base/utf8.c.  Check digit vectors are published ones. */
#include "base/object_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static void assert_canonical(enum id_format format, const char *id, const char *wanted)
{
	struct object_id made, again;

	assert_int_equal(object_id_make("token", id, strlen(id), format, &made, NULL), STATUS_OK);
	assert_string_equal(made.id, wanted);
	assert_string_equal(made.type, "token");
	assert_int_equal(object_id_make("token", made.id, strlen(made.id), format, &again, NULL), STATUS_OK);
	assert_true(object_id_equal(&made, &again));
	assert_int_equal(object_id_hash(&made, 7), object_id_hash(&again, 7));
}

static void assert_refused(enum id_format format, const char *id, size_t length)
{
	struct object_id made;
	struct strbuf why = STRBUF_INIT;

	memset(&made, 0x55, sizeof(made));
	assert_int_equal(object_id_make("token", id, length, format, &made, &why), STATUS_INVALID);
	assert_true(why.length > 0);
	assert_string_equal(made.id, "");
	assert_string_equal(made.type, "");
	strbuf_release(&why);
}

static void emaid_check_digits_are_those_published(void **state)
{
	static const char *const vectors[] = { "NN123ABCDEFGHIT", "FRXYZ1234567892", "ITA1B2C3E4F5G64",
		"ESZU8WOX834H1DR", "PT73902837ABCZZ", "DE83DUIEN83QGZD", "DE83DUIEN83ZGQM", "DE8AA0012345670",
		"NLTNM000122045U", "NLTNMC00122045K", "NLTNM012345678W", "NLTNM000722345X" };

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_int_equal(emaid_check_digit(vectors[i]), vectors[i][14]);
	assert_int_equal(emaid_check_digit("NN123ABCDEFGH"), 0);
	assert_int_equal(emaid_check_digit("nn123ABCDEFGHI"), 0);
	assert_int_equal(emaid_check_digit("NN123ABCDEFGH\xC3"), 0);
}

static void evco_check_digits_are_those_published(void **state)
{
	static const char *const vectors[] = { "INTNM0000719", "INTNM000110X", "INTNM0001240", "INTNM0001146",
		"INTNM0001915", "NLTNM0122045" };

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_int_equal(evco_check_digit(vectors[i]), vectors[i][11]);
	assert_int_equal(evco_check_digit("INTNM00011"), 0);
	assert_int_equal(evco_check_digit("INTNM-00011"), 0);
}

static void every_spelling_of_a_contract_is_one_id(void **state)
{
	static const char *const spellings[] = { "NL-TNM-012204-5", "NL*TNM*012204*5", "NLTNM0122045", "NL-TNM-012204",
		"nl-tnm-012204", "NL-TNM-C00122045-K", "NLTNMC00122045K", "nltnmc00122045", "NL-TNM-000122045-U",
		"NLTNM000122045", "nl-Tnm-000122045-u" };

	(void)state;
	for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
		assert_canonical(ID_FORMAT_EMAID, spellings[i], "NLTNMC00122045");
	assert_canonical(ID_FORMAT_EMAID, "INTNM000110X", "INTNMC0000110X");
}

static void a_wrong_check_digit_stays_part_of_the_id(void **state)
{
	(void)state;
	assert_canonical(ID_FORMAT_EMAID, "NL-TNM-C00122045-L", "NLTNMC00122045L");
	assert_canonical(ID_FORMAT_EMAID, "NL-TNM-012204-6", "NLTNM0122046");
	/* The digit inside the old ISO spelling is wrong for DIN, so this is a contract of ISO's own. */
	assert_canonical(ID_FORMAT_EMAID, "NL-TNM-000122046", "NLTNM000122046");
	assert_canonical(ID_FORMAT_EMAID, "DE-83D-UIEN83QGZ-D", "DE83DUIEN83QGZ");
}

static void contracts_outside_the_standards_are_kept(void **state)
{
	(void)state;
	assert_canonical(ID_FORMAT_EMAID, "FA54320", "FA54320");
	assert_canonical(ID_FORMAT_EMAID, "DE8ACC12E46L89", "DE8ACC12E46L89");
	assert_canonical(ID_FORMAT_EMAID, "12345678901", "12345678901");
	assert_canonical(ID_FORMAT_EMAID, "Z\xC3\xBCrich-7", "Z\xC3\xBCrich-7");
	assert_canonical(ID_FORMAT_EMAID, "--", "--");
}

static void rfid_uids_are_strict(void **state)
{
	(void)state;
	assert_canonical(ID_FORMAT_RFID_UID, "04a2b3c4", "04A2B3C4");
	assert_canonical(ID_FORMAT_RFID_UID, "DEADBEEF012345", "DEADBEEF012345");
	assert_canonical(ID_FORMAT_RFID_UID, "0123456789abcdef0123", "0123456789ABCDEF0123");
	assert_refused(ID_FORMAT_RFID_UID, "AFFH1768", 8);
	assert_refused(ID_FORMAT_RFID_UID, "04:A2:B3:C4", 11);
	assert_refused(ID_FORMAT_RFID_UID, "04A2B3C", 7);
	assert_refused(ID_FORMAT_RFID_UID, "04A2B3C4D", 9);
}

static void evse_ids_fold_as_their_standard_allows(void **state)
{
	(void)state;
	assert_canonical(ID_FORMAT_EVSE_ID, "NL*TNM*E01225045", "NLTNME01225045");
	assert_canonical(ID_FORMAT_EVSE_ID, "nltnme01225045", "NLTNME01225045");
	assert_canonical(ID_FORMAT_EVSE_ID, "DE*ABC*E12*3", "DEABCE123");
	assert_canonical(ID_FORMAT_EVSE_ID, "+31*734*7734634", "+31*734*7734634");
	assert_canonical(ID_FORMAT_EVSE_ID, "49*810*000*438", "+49*810*000*438");
	assert_canonical(ID_FORMAT_EVSE_ID, "+31*73*7734634", "+31*73*7734634");
	assert_canonical(ID_FORMAT_EVSE_ID, "my-own-id", "my-own-id");
	assert_canonical(ID_FORMAT_EVSE_ID, "DE*ABC*E", "DE*ABC*E");
	assert_canonical(ID_FORMAT_EVSE_ID, "+", "+");
}

static void bytes_of_an_id_are_checked(void **state)
{
	char longest[OBJECT_ID_SIZE + 1];

	(void)state;
	memset(longest, '1', sizeof(longest));
	for (int format = 0; format < ID_FORMAT_COUNT; format++) {
		assert_refused((enum id_format)format, "", 0);
		assert_refused((enum id_format)format, longest, OBJECT_ID_SIZE);
		assert_refused((enum id_format)format, "a\0b", 3);
		assert_refused((enum id_format)format, "a\nb", 3);
		assert_refused((enum id_format)format, "a\x7F", 2);
		assert_refused((enum id_format)format, "\xC2\x85", 2);
		assert_refused((enum id_format)format, "\xED\xA0\x80", 3);
		assert_refused((enum id_format)format, "\xC0\x80", 2);
		assert_refused((enum id_format)format, "\xF4\x90\x80\x80", 4);
		assert_refused((enum id_format)format, "\xE2\x82", 2);
	}
	longest[OBJECT_ID_SIZE - 1] = '\0';
	assert_canonical(ID_FORMAT_OPAQUE, longest, longest);
	assert_canonical(ID_FORMAT_EMAID, longest, longest);
	longest[1] = longest[5] = '*';
	assert_canonical(ID_FORMAT_EVSE_ID, longest, longest);
	assert_canonical(ID_FORMAT_OPAQUE, "a\xE2\x82\xAC", "a\xE2\x82\xAC");
	assert_true(utf8_is_printable("\xF0\x9F\x94\x8C", 4));
	assert_int_equal(utf8_sequence("\xF0\x9F\x94\x8C", 3), 0);
	assert_int_equal(utf8_sequence("", 0), 0);
}

static void names_are_bounded(void **state)
{
	struct object_id made;

	(void)state;
	assert_true(object_type_is_valid("token_2-b"));
	assert_false(object_type_is_valid("Token"));
	assert_false(object_type_is_valid("2token"));
	assert_false(object_type_is_valid(""));
	assert_false(object_type_is_valid(NULL));
	assert_true(object_type_is_valid("a234567890123456789012345678901"));
	assert_false(object_type_is_valid("a2345678901234567890123456789012"));
	assert_true(region_is_valid("eu-west"));
	assert_false(region_is_valid("eu_west"));
	assert_true(purpose_is_valid("charge.authorize"));
	assert_false(purpose_is_valid("charge authorize"));
	assert_int_equal(object_id_make("Token", "x", 1, ID_FORMAT_OPAQUE, &made, NULL), STATUS_INVALID);
}

static void the_type_is_part_of_the_key(void **state)
{
	struct object_id a, b;

	(void)state;
	assert_int_equal(object_id_make("token", "x", 1, ID_FORMAT_OPAQUE, &a, NULL), STATUS_OK);
	assert_int_equal(object_id_make("station", "x", 1, ID_FORMAT_OPAQUE, &b, NULL), STATUS_OK);
	assert_false(object_id_equal(&a, &b));
	assert_int_not_equal(object_id_hash(&a, 0), object_id_hash(&b, 0));
	assert_int_not_equal(object_id_hash(&a, 0), object_id_hash(&a, 1));
}

static void prefixes_are_spelled_as_ids_are(void **state)
{
	char text[OBJECT_ID_SIZE];

	(void)state;
	assert_int_equal(object_prefix_make("nl-tnm-", 7, ID_FORMAT_EMAID, text, NULL), STATUS_OK);
	assert_string_equal(text, "NLTNM");
	assert_int_equal(object_prefix_make("de*abc*", 7, ID_FORMAT_EVSE_ID, text, NULL), STATUS_OK);
	assert_string_equal(text, "DEABC");
	assert_int_equal(object_prefix_make("+49*810*", 8, ID_FORMAT_EVSE_ID, text, NULL), STATUS_OK);
	assert_string_equal(text, "+49*810*");
	assert_int_equal(object_prefix_make("04a", 3, ID_FORMAT_RFID_UID, text, NULL), STATUS_OK);
	assert_string_equal(text, "04A");
	assert_int_equal(object_prefix_make("04x", 3, ID_FORMAT_RFID_UID, text, NULL), STATUS_INVALID);
	assert_int_equal(object_prefix_make("", 0, ID_FORMAT_OPAQUE, text, NULL), STATUS_INVALID);
}

static void formats_have_names(void **state)
{
	enum id_format format;

	(void)state;
	for (int i = 0; i < ID_FORMAT_COUNT; i++) {
		assert_int_equal(id_format_parse(id_format_name((enum id_format)i), &format), STATUS_OK);
		assert_int_equal(format, i);
	}
	assert_int_equal(id_format_parse("uuid", &format), STATUS_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(emaid_check_digits_are_those_published),
		cmocka_unit_test(evco_check_digits_are_those_published),
		cmocka_unit_test(every_spelling_of_a_contract_is_one_id),
		cmocka_unit_test(a_wrong_check_digit_stays_part_of_the_id),
		cmocka_unit_test(contracts_outside_the_standards_are_kept),
		cmocka_unit_test(rfid_uids_are_strict),
		cmocka_unit_test(evse_ids_fold_as_their_standard_allows),
		cmocka_unit_test(bytes_of_an_id_are_checked),
		cmocka_unit_test(names_are_bounded),
		cmocka_unit_test(the_type_is_part_of_the_key),
		cmocka_unit_test(prefixes_are_spelled_as_ids_are),
		cmocka_unit_test(formats_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

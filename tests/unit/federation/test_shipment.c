/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rows of a shipment were sent, which go later, and which the broker said nothing of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "federation/shipment.h"

static PGresult *make_rows(const char *const *sequences, int count)
{
	static PGresAttDesc columns[] = { { .name = (char *)(uintptr_t) "seq", .format = 0, .typlen = -1 } };
	PGresult *rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

	assert_non_null(rows);
	assert_int_equal(PQsetResultAttrs(rows, 1, columns), 1);
	for (int row = 0; row < count; row++)
		assert_int_equal(PQsetvalue(rows, row, 0, (char *)(uintptr_t)sequences[row], 2), 1);
	return rows;
}

static void assert_rows(const struct shipment *shipment, const char *expected)
{
	struct strbuf array = STRBUF_INIT;

	shipment_rows(shipment, &array);
	assert_string_equal(array.data, expected);
	strbuf_release(&array);
}

static void test_none(void **state)
{
	struct worker worker = { .name = "publisher" };
	struct shipment shipment;

	(void)state;
	shipment_init(&shipment, NULL);
	assert_true(shipment_prepare(&worker, &shipment));
	assert_int_equal(shipment_count(&shipment), 0);
	assert_rows(&shipment, "{}");
	shipment_release(&worker, &shipment);
	shipment_release(&worker, &shipment);
}

static void test_settled(void **state)
{
	static const char *const sequences[] = { "11", "12", "13", "14", "15", "16" };
	struct worker worker = { .name = "publisher" };
	struct shipment shipment;
	struct confirms confirms;

	(void)state;
	assert_int_equal(confirms_init(&confirms, 6), STATUS_OK);
	shipment_init(&shipment, make_rows(sequences, 6));
	assert_int_equal(shipment_count(&shipment), 6);
	assert_rows(&shipment, "{11,12,13,14,15,16}");
	shipment.places = calloc(6, sizeof(*shipment.places));
	assert_non_null(shipment.places);
	confirms_begin(&confirms, true);
	for (int row = 0; row < 6; row++) /* 12 was refused before it was published */
		shipment.places[row] = row != 1 ? (int)confirms_add(&confirms) : -1;
	confirms_settle(&confirms, 1, false, CONFIRM_DONE);    /* 11 */
	confirms_settle(&confirms, 2, false, CONFIRM_REFUSED); /* 13 */
	confirms_return(&confirms, 2);                         /* 14 */
	confirms_settle(&confirms, 4, true, CONFIRM_DONE);     /* 14, 15; nothing is said of 16 */
	shipment_settle(&shipment, &confirms);
	assert_string_equal(shipment.sent.text.data, "{11,15}");
	assert_int_equal(shipment.sent.count, 2);
	assert_string_equal(shipment.later.text.data, "{13,14}");
	assert_int_equal(shipment.later.count, 2);
	shipment_release(&worker, &shipment);
	assert_int_equal(shipment_count(&shipment), 0);
	confirms_release(&confirms);
}

/* What the broker says of a message, it says of each row in it. */
static void test_shared(void **state)
{
	static const char *const sequences[] = { "11", "12", "13", "14", "15", "16" };
	static const int places[] = { 0, 1, 0, 2, 1, 2 };
	struct worker worker = { .name = "publisher" };
	struct shipment shipment;
	struct confirms confirms;

	(void)state;
	assert_int_equal(confirms_init(&confirms, 3), STATUS_OK);
	shipment_init(&shipment, make_rows(sequences, 6));
	shipment.places = calloc(6, sizeof(*shipment.places));
	assert_non_null(shipment.places);
	memcpy(shipment.places, places, sizeof(places));
	confirms_begin(&confirms, true);
	for (size_t place = 0; place < 3; place++)
		assert_int_equal(confirms_add(&confirms), place);
	confirms_settle(&confirms, 1, false, CONFIRM_DONE);
	confirms_settle(&confirms, 2, false, CONFIRM_REFUSED);
	shipment_settle(&shipment, &confirms);
	assert_string_equal(shipment.sent.text.data, "{11,13}");
	assert_string_equal(shipment.later.text.data, "{12,15}");
	shipment_release(&worker, &shipment);
	confirms_release(&confirms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_settled),
		cmocka_unit_test(test_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

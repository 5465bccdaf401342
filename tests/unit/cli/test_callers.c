/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for cli/callers.c: names, purposes, tokens.  No database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/callers.h"

static enum status check(const char *name, const char *purposes)
{
	struct caller caller = { .name = name, .purposes = purposes };
	struct strbuf why = STRBUF_INIT;
	enum status status = caller_check(&caller, &why);

	assert_int_equal(status == STATUS_OK, why.length == 0);
	strbuf_release(&why);
	return status;
}

static void names_and_purposes_are_checked(void **state)
{
	(void)state;
	assert_int_equal(check("cs-auth", "charge.authorize"), STATUS_OK);
	assert_int_equal(check("cs-auth", "charge.authorize,support.roaming,*"), STATUS_OK);
	assert_int_equal(check("", "charge.authorize"), STATUS_INVALID);
	assert_int_equal(check("a b", "charge.authorize"), STATUS_INVALID);
	assert_int_equal(check("mqtt.cs_1", "charge.authorize"), STATUS_INVALID);
	assert_int_equal(check("amqp.billing", "charge.authorize"), STATUS_INVALID);
	assert_int_equal(check("amqpbilling", "charge.authorize"), STATUS_OK);
	assert_int_equal(check("a", ""), STATUS_INVALID);
	assert_int_equal(check("a", "charge.authorize,"), STATUS_INVALID);
	assert_int_equal(check("a", "Charge"), STATUS_INVALID);
	assert_int_equal(check("a", "**"), STATUS_INVALID);
}

static void tokens_are_long_and_never_alike(void **state)
{
	(void)state;
	char first[CALLER_TOKEN_SIZE], second[CALLER_TOKEN_SIZE];

	caller_token_make(first);
	caller_token_make(second);
	assert_int_equal(strlen(first), CALLER_TOKEN_SIZE - 1);
	assert_int_equal(strncmp(first, "hw_", 3), 0);
	assert_int_equal(
		strspn(first, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), strlen(first));
	assert_string_not_equal(first, second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_purposes_are_checked),
		cmocka_unit_test(tokens_are_long_and_never_alike),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

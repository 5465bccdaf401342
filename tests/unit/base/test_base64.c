/* SPDX-License-Identifier: Apache-2.0 */
/* Base 64: the vectors of RFC 4648, every length there and back, and one spelling only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/base64.h"

static void the_vectors_of_the_rfc_hold(void **state)
{
	static const char *const vectors[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" } };

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct strbuf text = STRBUF_INIT;

		base64_encode(vectors[i][0], strlen(vectors[i][0]), &text);
		assert_string_equal(text.data, vectors[i][1]);
		strbuf_release(&text);
	}
}

static void every_length_comes_back(void **state)
{
	uint8_t bytes[256], back[256];

	(void)state;
	for (size_t size = 0; size <= sizeof(bytes); size++) {
		struct strbuf text = STRBUF_INIT;
		size_t got;

		for (size_t i = 0; i < size; i++)
			bytes[i] = (uint8_t)(i * 37 + size);
		base64_encode(bytes, size, &text);
		assert_int_equal(text.length, BASE64_SIZE(size));
		assert_int_equal(base64_decode(text.data, text.length, back, sizeof(back), &got), STATUS_OK);
		assert_int_equal(got, size);
		assert_memory_equal(back, bytes, size);
		assert_int_equal(base64_decode(text.data, text.length, NULL, size, &got), STATUS_OK);
		assert_int_equal(got, size);
		if (size > 0)
			assert_int_equal(base64_decode(text.data, text.length, back, size - 1, &got), STATUS_TOO_LARGE);
		strbuf_release(&text);
	}
}

static void another_spelling_is_refused(void **state)
{
	static const char *const texts[] = { "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zm9v\n", "Zm 9",
		"Zg==Zg==", "====", "Z===", "Zm-_", "Zm9v====", "=Zg=" };
	uint8_t back[16];
	size_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(base64_decode(texts[i], strlen(texts[i]), back, sizeof(back), &got), STATUS_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_the_rfc_hold),
		cmocka_unit_test(every_length_comes_back),
		cmocka_unit_test(another_spelling_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Subjects are HMAC-SHA-256 as everyone else computes it, and keys are made once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "policy/policy.h"

static void a_subject_is_the_hmac_of_type_and_id(void **state)
{
	struct object_id object = { .type = "token", .id = "04A2B3C4D5E6F7" };
	uint8_t key[32], digest[SHA256_SIZE];
	char subject[SUBJECT_HASH_SIZE];

	(void)state;
	for (int length = 0; length < OBJECT_ID_SIZE - 1; length++) {
		struct strbuf text = STRBUF_INIT;
		struct strbuf expected = STRBUF_INIT;

		for (size_t i = 0; i < sizeof(key); i++)
			key[i] = (uint8_t)(i * 7 + (size_t)length);
		memset(object.id, 'x', sizeof(object.id) - 1);
		object.id[length] = '\0';
		strbuf_addf(&text, "%s\n%s", object.type, object.id);
		hash_hmac_sha256(key, sizeof(key), text.data, text.length, digest);
		strbuf_adds(&expected, "k1.");
		strbuf_add_hex(&expected, digest, 16);
		access_log_subject(key, &object, subject);
		assert_string_equal(subject, expected.data);
		strbuf_release(&text);
		strbuf_release(&expected);
	}
}

static void a_key_is_made_once_and_kept_to_its_owner(void **state)
{
	char folder[] = "/tmp/homeward-key-XXXXXX";
	char path[64];
	struct strbuf why = STRBUF_INIT;
	uint8_t first[32], second[32];
	struct stat facts;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/key", folder);
	assert_int_equal(access_key_load(path, first, &why), STATUS_OK);
	assert_int_equal(access_key_load(path, second, &why), STATUS_OK);
	assert_memory_equal(first, second, sizeof(first));
	assert_int_equal(stat(path, &facts), 0);
	assert_int_equal(facts.st_mode & 0777, 0600);
	assert_int_equal(file_replace(path, "short", 5, 0600, &why), STATUS_OK);
	assert_int_equal(access_key_load(path, second, &why), STATUS_INVALID);
	assert_non_null(strstr(why.data, "an access key is 32 bytes"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
	assert_int_not_equal(access_key_load(path, second, &why), STATUS_OK);
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_subject_is_the_hmac_of_type_and_id),
		cmocka_unit_test(a_key_is_made_once_and_kept_to_its_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

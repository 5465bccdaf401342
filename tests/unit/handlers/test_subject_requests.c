/* SPDX-License-Identifier: Apache-2.0 */
/* What may be asked about a subject: which flags, and who may have what forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "handlers/handlers.h"

#define ERASURE "01890a5d-ac96-774b-bcce-b302099a8057"
#define WORD_63 "a23456789012345678901234567890123456789012345678901234567890123"

static struct settings_type types[] = { { .name = "token", .id_format = ID_FORMAT_RFID_UID } };
static const struct settings settings = { .types = types, .type_count = 1 };

/* ---- flags ---- */

/* NULL members are left out. */
static enum status read_flag(const char *flag, const char *value, const char *reason, bool *is_explained)
{
	json_t *asked = json_pack("{s:s*,s:s*,s:s*}", "flag", flag, "value", value, "reason", reason);
	struct strbuf why = STRBUF_INIT;
	struct flag_request request;
	enum status status = flag_request_read(asked, &request, &why);

	if (status == STATUS_OK) {
		assert_string_equal(request.name, flag);
		assert_string_equal(request.value, value);
		assert_string_equal(request.reason, reason != NULL ? reason : "");
	}
	*is_explained = why.length > 0;
	strbuf_release(&why);
	json_decref(asked);
	return status;
}

static void taken(const char *flag, const char *value, const char *reason)
{
	bool is_explained;

	assert_int_equal(read_flag(flag, value, reason, &is_explained), STATUS_OK);
	assert_false(is_explained);
}

static void refused(const char *flag, const char *value, const char *reason)
{
	bool is_explained;

	assert_int_equal(read_flag(flag, value, reason, &is_explained), STATUS_INVALID);
	assert_true(is_explained);
}

static void a_flag_and_its_value_are_words(void **state)
{
	(void)state;
	taken("subject.restricted", "yes", NULL);
	taken("subject.consent_analytics", "granted", "form-12");
	taken(WORD_63, WORD_63, "");
	refused(NULL, "yes", NULL);
	refused("subject.restricted", NULL, NULL);
	refused("", "yes", NULL);
	refused("subject.restricted", "", NULL);
	refused("subject.restricted", "Yes", NULL);
	refused("subject restricted", "yes", NULL);
	refused("subject.restricted", "yes'; --", NULL);
	refused("subject.restricted", "j\xc3\xa1", NULL);
	refused(WORD_63 "4", "yes", NULL);
	refused("subject.restricted", WORD_63 "4", NULL);
}

static void a_reason_is_bounded(void **state)
{
	char reason[258];

	(void)state;
	memset(reason, 'r', sizeof(reason));
	reason[256] = '\0';
	taken("subject.restricted", "no", reason);
	reason[256] = 'r';
	reason[257] = '\0';
	refused("subject.restricted", "no", reason);
}

/* ---- forgetting ---- */

static enum status read_words(struct forget_words words, struct forget_request *request)
{
	struct strbuf why = STRBUF_INIT;
	enum status status = forget_request_read(&settings, &words, request, &why);

	strbuf_release(&why);
	return status;
}

static void an_object_to_be_forgotten_is_named_whole(void **state)
{
	struct forget_request request;
	char text[EXCHANGE_ID_TEXT_SIZE];

	(void)state;
	assert_int_equal(read_words((struct forget_words){ ERASURE, "token", "04a2b3c4", NULL }, &request), STATUS_OK);
	assert_string_equal(request.object.type, "token");
	assert_string_equal(request.object.id, "04A2B3C4");
	exchange_id_format(&request.erasure, text);
	assert_string_equal(text, ERASURE);
	assert_false(request.is_copies_only);

	assert_int_equal(
		read_words((struct forget_words){ NULL, "token", "04A2B3C4", NULL }, &request), STATUS_INVALID);
	assert_int_equal(
		read_words((struct forget_words){ ERASURE, NULL, "04A2B3C4", NULL }, &request), STATUS_INVALID);
	assert_int_equal(read_words((struct forget_words){ ERASURE, "token", NULL, NULL }, &request), STATUS_INVALID);
	assert_int_not_equal(read_words((struct forget_words){ "x", "token", "04A2B3C4", NULL }, &request), STATUS_OK);
	assert_int_not_equal(
		read_words((struct forget_words){ ERASURE, "token", "not hex", NULL }, &request), STATUS_OK);
	assert_int_equal(
		read_words((struct forget_words){ ERASURE, "cable", "04A2B3C4", NULL }, &request), STATUS_INVALID);
}

static void only_the_word_copies_spares_the_subject(void **state)
{
	struct forget_words words = { ERASURE, "token", "04A2B3C4", "copies" };
	struct forget_request request;

	(void)state;
	assert_int_equal(read_words(words, &request), STATUS_OK);
	assert_true(request.is_copies_only);
	words.only = "copy";
	assert_int_equal(read_words(words, &request), STATUS_INVALID);
	words.only = "";
	assert_int_equal(read_words(words, &request), STATUS_INVALID);
	words.only = NULL;
	assert_int_equal(read_words(words, &request), STATUS_OK);
	assert_false(request.is_copies_only);
}

static void only_the_home_may_have_it_forgotten(void **state)
{
	struct strbuf why = STRBUF_INIT;

	(void)state;
	assert_int_equal(forget_request_judge("na", "na", &why), STATUS_OK);
	assert_int_equal(forget_request_judge(NULL, "na", &why), STATUS_OK);
	assert_int_equal(why.length, 0);
	assert_int_equal(forget_request_judge("na", "eu", &why), STATUS_FORBIDDEN);
	assert_non_null(strstr(why.data, "only the home"));
	strbuf_release(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flag_and_its_value_are_words),
		cmocka_unit_test(a_reason_is_bounded),
		cmocka_unit_test(an_object_to_be_forgotten_is_named_whole),
		cmocka_unit_test(only_the_word_copies_spares_the_subject),
		cmocka_unit_test(only_the_home_may_have_it_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

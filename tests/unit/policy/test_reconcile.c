/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reconcile: every way in which two logs can tell differently of one crossing,
 * whichever side is given first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "policy/reconcile.h"

#define HASH "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static const char *const ask[] = { "x", "ask", "ask", "permit", "", "uid,valid", "0", "" };
static const char *const ask_denied[] = { "x", "ask", "deny", "deny", "", "", "0", "" };
static const char *const got[] = { "x", "ask", "got", "", "ok", "uid,valid", "600", HASH };
static const char *const got_old[] = { "x", "ask", "got", "ok", "", "uid,valid", "600", HASH };
static const char *const got_nothing[] = { "x", "ask", "got", "", "not_available", "", "0", "" };
static const char *const got_late[] = { "x", "ask", "got", "", "deadline", "", "0", "" };
static const char *const got_more[] = { "x", "ask", "got", "", "ok", "uid,email", "600", HASH };
static const char *const got_part[] = { "x", "ask", "got", "", "ok", "valid", "600", HASH };
static const char *const got_prefix[] = { "x", "ask", "got", "", "ok", "uid,val", "600", HASH };
static const char *const got_other[] = { "x", "ask", "got", "", "ok", "uid,valid", "600", "other" };
static const char *const got_for_long[] = { "x", "ask", "got", "", "ok", "uid,valid", "901", HASH };
static const char *const serve[] = { "x", "serve", "serve", "permit", "", "uid,valid", "900", HASH };
static const char *const serve_denied[] = { "x", "serve", "deny", "deny", "", "", "0", "" };

static const char *const sent[] = { "x", "send", "send", "permit", "", "energy_wh,session_id", "0", "" };
static const char *const send_denied[] = { "x", "send", "deny", "deny", "", "", "0", "" };
static const char *const received[] = { "x", "receive", "receive", "permit", "", "energy_wh,session_id", "0", "" };
static const char *const received_more[] = { "x", "receive", "receive", "permit", "", "energy_wh,token_uid", "0", "" };
static const char *const receive_denied[] = { "x", "receive", "deny", "deny", "", "", "0", "" };

#define ENTRIES_MAX 4

static const struct {
	const char *const *asking[ENTRIES_MAX], *const *serving[ENTRIES_MAX];
	enum reconcile_finding finding;
} cases[] = {
	{ { ask, got }, { serve }, RECONCILE_PAIRED },
	{ { got, ask }, { serve }, RECONCILE_PAIRED },
	{ { ask, got_old }, { serve }, RECONCILE_PAIRED },
	{ { ask, got_part }, { serve }, RECONCILE_PAIRED },
	{ { ask, got_nothing }, { serve_denied }, RECONCILE_PAIRED },
	{ { ask_denied }, { NULL }, RECONCILE_NOT_ASKED },
	{ { ask }, { NULL }, RECONCILE_UNANSWERED },
	{ { ask, got_late }, { NULL }, RECONCILE_UNANSWERED },
	{ { ask, got_late }, { serve }, RECONCILE_ANSWER_LOST },
	{ { ask, got }, { NULL }, RECONCILE_ASK_WITHOUT_SERVE },
	{ { ask, got_nothing }, { NULL }, RECONCILE_ASK_WITHOUT_SERVE },
	{ { got }, { NULL }, RECONCILE_ASK_WITHOUT_SERVE },
	{ { NULL }, { serve }, RECONCILE_SERVE_WITHOUT_ASK },
	{ { NULL }, { serve_denied }, RECONCILE_SERVE_WITHOUT_ASK },
	{ { got }, { serve }, RECONCILE_SERVE_WITHOUT_ASK },
	{ { ask_denied }, { serve }, RECONCILE_SERVE_WITHOUT_ASK },
	{ { ask }, { serve }, RECONCILE_SERVE_WITHOUT_GOT },
	{ { ask, got, got }, { serve }, RECONCILE_REPEATED },
	{ { ask, ask, got }, { serve }, RECONCILE_REPEATED },
	{ { ask, got }, { serve, serve }, RECONCILE_REPEATED },
	{ { ask, got }, { serve, serve_denied }, RECONCILE_REPEATED },
	{ { ask, got }, { ask }, RECONCILE_REPEATED },
	{ { ask, got }, { serve_denied }, RECONCILE_DECISION_DIFFERS },
	{ { ask, got_nothing }, { serve }, RECONCILE_DECISION_DIFFERS },
	{ { ask, got_other }, { serve }, RECONCILE_RECORD_DIFFERS },
	{ { ask, got_more }, { serve }, RECONCILE_FIELDS_DIFFER },
	{ { ask, got_prefix }, { serve }, RECONCILE_FIELDS_DIFFER },
	{ { ask, got_for_long }, { serve }, RECONCILE_TERMS_DIFFER },
	{ { sent }, { received }, RECONCILE_PAIRED },
	{ { sent }, { received, received }, RECONCILE_PAIRED },
	{ { sent }, { receive_denied }, RECONCILE_PAIRED },
	{ { send_denied }, { NULL }, RECONCILE_NOT_ASKED },
	{ { sent }, { NULL }, RECONCILE_UNRECEIVED },
	{ { NULL }, { received }, RECONCILE_RECEIVE_WITHOUT_SEND },
	{ { NULL }, { receive_denied }, RECONCILE_RECEIVE_WITHOUT_SEND },
	{ { send_denied }, { received }, RECONCILE_RECEIVE_WITHOUT_SEND },
	{ { sent }, { received_more }, RECONCILE_FIELDS_DIFFER },
	{ { sent, sent }, { received }, RECONCILE_REPEATED },
	{ { sent, received }, { NULL }, RECONCILE_REPEATED },
	{ { sent }, { sent }, RECONCILE_REPEATED },
	{ { sent, ask }, { received }, RECONCILE_REPEATED },
	{ { sent }, { received, serve }, RECONCILE_REPEATED },
};

static const struct reconcile_side *fill(struct reconcile_side *side, const char *const *const entries[ENTRIES_MAX])
{
	*side = (struct reconcile_side){ .ask = 0 };
	for (size_t i = 0; i < ENTRIES_MAX && entries[i] != NULL; i++)
		reconcile_side_add(side, entries[i]);
	return entries[0] != NULL ? side : NULL;
}

static void each_difference_is_named_from_either_side(void **state)
{
	struct reconcile_side asking, serving;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct reconcile_side *first = fill(&asking, cases[i].asking);
		const struct reconcile_side *second = fill(&serving, cases[i].serving);

		for (int turn = 0; turn < 2; turn++) {
			enum reconcile_finding finding = turn == 0 ? reconcile_judge(first, second)
								   : reconcile_judge(second, first);
			if (finding != cases[i].finding)
				fail_msg("case %zu: %s, not %s", i, reconcile_finding_name(finding),
					reconcile_finding_name(cases[i].finding));
		}
	}
}

static void only_what_a_log_can_be_blamed_for_is_a_fault(void **state)
{
	(void)state;
	assert_false(reconcile_is_fault(RECONCILE_PAIRED));
	assert_false(reconcile_is_fault(RECONCILE_NOT_ASKED));
	assert_false(reconcile_is_fault(RECONCILE_UNANSWERED));
	assert_false(reconcile_is_fault(RECONCILE_ANSWER_LOST));
	assert_false(reconcile_is_fault(RECONCILE_UNRECEIVED));
	for (int i = RECONCILE_ASK_WITHOUT_SERVE; i < RECONCILE_FINDINGS; i++)
		assert_true(reconcile_is_fault((enum reconcile_finding)i));
}

static void a_time_is_the_lowest_id_of_its_millisecond(void **state)
{
	char text[EXCHANGE_ID_TEXT_SIZE], made_text[EXCHANGE_ID_TEXT_SIZE];
	struct exchange_id made;
	struct fake_clock clock;

	(void)state;
	reconcile_exchange_at(-1, text);
	assert_string_equal(text, "00000000-0000-0000-0000-000000000000");
	fake_clock_init(&clock, 1795236426123);
	made = exchange_id_make(&clock.source, random_system());
	exchange_id_format(&made, made_text);
	reconcile_exchange_at(clock_wall_us(&clock.source), text);
	assert_true(strcmp(text, made_text) < 0);
	assert_memory_equal(text, made_text, 13);
	reconcile_exchange_at(clock_wall_us(&clock.source) + 1000, text);
	assert_true(strcmp(text, made_text) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_difference_is_named_from_either_side),
		cmocka_unit_test(only_what_a_log_can_be_blamed_for_is_a_fault),
		cmocka_unit_test(a_time_is_the_lowest_id_of_its_millisecond),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

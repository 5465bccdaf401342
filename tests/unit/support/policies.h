/* SPDX-License-Identifier: Apache-2.0 */
/* Policies that tests write out. */
#ifndef TESTS_SUPPORT_POLICIES_H
#define TESTS_SUPPORT_POLICIES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy.h"

/* Fails the test with the text and what is wrong with it. */
static inline struct policy *policy_of(const char *text)
{
	struct strbuf why = STRBUF_INIT;
	struct policy *policy = NULL;

	if (policy_parse("p.json", text, strlen(text), &policy, &why) != STATUS_OK)
		fail_msg("%s\nis refused:\n%s", text, why.data);
	strbuf_release(&why);
	return policy;
}

#endif

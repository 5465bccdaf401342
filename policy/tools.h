/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be learnt from a policy file alone, over every kind of request there
 * can be: part of the front door policy.h.  Each answer is a JSON object, so that
 * a command can show it to people or hand it to a program.
 */
#ifndef POLICY_TOOLS_H
#define POLICY_TOOLS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "base/strbuf.h"

struct policy;

/* More points than this are not walked by the functions below. */
#define POLICY_POINTS_MAX 20000000

/* As policy_read, but a file whose own tests or invariants fail is read all the same. */
MUST_CHECK enum status policy_read_untested(const char *path, struct policy **policy_out, struct strbuf *why);

/* On failure (STATUS_TOO_LARGE, STATUS_NO_MEMORY, STATUS_INVALID) *report_out is NULL and `why` says why. */

/* The policy's tests and invariants, one by one. */
MUST_CHECK enum status policy_test_report(const struct policy *policy, json_t **report_out, struct strbuf *why);
/* What the region may be served and asked, under which rules and conditions; and what it can never get. */
MUST_CHECK enum status policy_can_see(
	const struct policy *policy, const char *region, json_t **report_out, struct strbuf *why);
/* What `after` newly allows, newly denies or allows on other terms, with one example for each thing. */
MUST_CHECK enum status policy_diff(
	const struct policy *before, const struct policy *after, json_t **report_out, struct strbuf *why);
/* Which rules and conditions the policy's tests exercise, and which rules can never matter. */
MUST_CHECK enum status policy_coverage(const struct policy *policy, json_t **report_out, struct strbuf *why);
/* Each small change of the policy: caught by its tests or invariants, survived, or without any effect. */
MUST_CHECK enum status policy_mutate(const struct policy *policy, json_t **report_out, struct strbuf *why);

/* Each permit under which something leaves this region: purposes, data, recipients, ground, time limit.  NULL: no
 * memory. */
json_t *policy_activities(const struct policy *policy);

/* Every point and how policy_decide decides it: CSV lines with their newline, the first one the header. */
typedef void policy_line(void *arg, const char *line, size_t length);
MUST_CHECK enum status policy_enumerate(
	const struct policy *policy, bool has_expired, policy_line *line, void *arg, struct strbuf *why);

#endif

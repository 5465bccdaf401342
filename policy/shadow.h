/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second policy that decides on live traffic and is never enforced: part of the
 * front door policy.h.  It hangs on the policy in force, so that a reload swaps
 * both at once; its counts begin anew then.
 */
#ifndef POLICY_SHADOW_H
#define POLICY_SHADOW_H

#include <jansson.h>

#include "base/status.h"
#include "base/strbuf.h"

struct policy;
struct gate_request;
struct gate_decision;

/* Before the policy is in force; takes the shadow.  STATUS_INVALID: it speaks for another region. */
MUST_CHECK enum status policy_attach_shadow(struct policy *policy, struct policy *shadow, struct strbuf *why);
/* Has the shadow, if there is one, decide on what was just decided, and counts where they differ.  Any thread. */
void policy_shadow_observe(
	const struct policy *policy, const struct gate_request *request, const struct gate_decision *decision);
/* Versions, how many were decided, and each rule and kind they differed by, with one example.  NULL: no memory.
 * The policy may be NULL. */
json_t *policy_shadow_report(const struct policy *policy);

#endif

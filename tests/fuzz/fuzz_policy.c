/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a policy file.  One that is accepted denies a purpose no rule can
 * name, and its decisions name only fields it lists.
 */
#include "base/must.h"
#include "policy/policy.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gate_request request = { .operation = GATE_SERVE,
		.requester = "na",
		.to = "na",
		.type = "token",
		.purpose = "no rule names this",
		.caller = "csms",
		.now_wall_us = 1 };
	struct gate_decision decision;
	struct strbuf why = STRBUF_INIT, text = STRBUF_INIT;
	struct policy *policy;

	if (policy_parse("p", (const char *)data, size, &policy, &why) == STATUS_OK) {
		policy_decide(policy, &request, &decision);
		must(decision.permitted || decision.fields == 0);
		policy_explain(policy, &request, &text);
		must(text.length > 0 && strlen(policy_version(policy)) < POLICY_VERSION_SIZE);
		policy_release_reference(policy);
	} else {
		must(policy == NULL && why.length > 0);
	}
	strbuf_release(&why);
	strbuf_release(&text);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Small steps of writing the policy tools' reports. */
#ifndef POLICY_REPORT_H
#define POLICY_REPORT_H

#include "policy/enumerate.h"

/* Lists of texts; NULL when out of memory, which json_object_set_new() then refuses. */
json_t *report_fields(const struct policy *policy, int type, uint64_t fields);
json_t *report_rules(const struct gate_decision *decision);
json_t *report_describe(const struct enumeration *enumeration);
bool decision_equal(const struct gate_decision *a, const struct gate_decision *b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is particular to events.  A lookup's answer is cut down to the fields
 * permitted; an event is not, because its sender would not learn what was left
 * out.  So an event with one field too many is denied whole, and the refusal
 * names the fields.
 *
 * Pure, any thread.
 */
#include <string.h>

#include "policy/rules.h"

bool policy_classification_is_known(const char *classification)
{
	return strcmp(classification, "public") == 0 || strcmp(classification, "operational") == 0 ||
	       policy_classification_is_personal(classification);
}

bool policy_classification_is_personal(const char *classification)
{
	return strcmp(classification, "pseudonymous") == 0 || strcmp(classification, "personal") == 0;
}

const char *policy_type_classification(const struct policy *policy, const char *type)
{
	int id = policy != NULL ? names_find(&policy->types, type) : NAME_UNKNOWN;

	return id != NAME_OTHER && id != NAME_UNKNOWN ? policy->type[id].classification : NULL;
}

static uint64_t field_bit(const struct policy_type *type, const char *name)
{
	for (size_t i = 0; i < type->field_count; i++)
		if (strcmp(type->fields[i], name) == 0)
			return NAME_BIT(i);
	return 0;
}

/* What keeps an event that the rules permit from crossing; NULL: nothing.  The fields it has are told in *fields_out. */
static const char *find_obstacle(const struct policy_type *type, const struct gate_request *request, uint64_t permitted,
	uint64_t *fields_out, struct strbuf *names)
{
	json_t *data = (json_t *)(uintptr_t)request->record;
	bool is_opaque = type->classification != NULL;

	*fields_out = is_opaque ? permitted : 0;
	if (is_opaque != (request->classification == NULL))
		return is_opaque ? "its type is opaque in the policy but has a schema"
				 : "it has no schema, and the policy does not call its type opaque";
	if (!is_opaque && policy_classification_is_personal(request->classification) && !type->is_personal)
		return "its schema has data about persons, and the policy calls its type not personal";
	if (is_opaque || data == NULL)
		return NULL;
	if (!json_is_object(data))
		return "its data is not an object";
	for (void *at = json_object_iter(data); at != NULL; at = json_object_iter_next(data, at)) {
		uint64_t bit = field_bit(type, json_object_iter_key(at));

		if ((bit & permitted) != 0) {
			*fields_out |= bit;
			continue;
		}
		if (names->length > 0)
			strbuf_addc(names, ',');
		strbuf_adds(names, json_object_iter_key(at));
	}
	return names->length > 0 ? "no rule lets these fields cross: " : NULL;
}

void event_decide(const struct policy *policy, const struct gate_request *request, struct gate_decision *decision)
{
	const struct policy_type *type = &policy->type[names_find(&policy->types, request->type)];
	struct strbuf names = STRBUF_INIT;
	uint64_t fields = 0;

	if (find_obstacle(type, request, decision->fields, &fields, &names) != NULL) {
		*decision = (struct gate_decision){ .ttl_max_s = -1 };
	} else if (request->record != NULL) {
		/* On record is what crossed, not what might have. */
		decision->fields = fields;
	}
	strbuf_release(&names);
}

void policy_event_refusal(const struct policy *policy, const struct gate_request *request, struct strbuf *text)
{
	struct gate_decision decision;
	struct strbuf names = STRBUF_INIT;
	const char *obstacle = NULL;
	struct facts facts;
	uint64_t fields;

	strbuf_addf(text, "%s from %s to %s: ", request->type, request->requester, request->to);
	if (policy == NULL) {
		strbuf_adds(text, "there is no policy");
		return;
	}
	facts_of_request(policy, request, &facts);
	facts_decide(policy, &facts, &decision);
	if (facts.type == NAME_OTHER)
		obstacle = "the policy does not describe this type";
	else if (!decision.permitted)
		obstacle = decision.rule_count > 0 ? "a rule forbids it: " : "no rule permits it";
	else
		obstacle = find_obstacle(&policy->type[facts.type], request, decision.fields, &fields, &names);
	strbuf_adds(text, obstacle != NULL ? obstacle : "the policy has expired");
	strbuf_adds(text, names.length > 0 ? names.data : "");
	for (size_t i = 0; !decision.permitted && i < decision.rule_count; i++)
		strbuf_addf(text, "%s%s", i > 0 ? ", " : "", decision.rules[i]);
	strbuf_release(&names);
}

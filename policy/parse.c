/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a policy file's text to a policy: the head and the types here, the rules
 * in parse_rules.c, the file's own tests in embedded_tests.c and its invariants
 * in invariants.c.  The tests and invariants run only when everything before
 * them is right, since they would otherwise complain of the same thing again.
 *
 * The policy is refused as a whole for a single problem: half a policy is
 * another policy.
 */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "policy/reading.h"

#define POLICY_SCHEMA "homeward-policy/1"

static void read_head(struct reading *reading, const json_t *document)
{
	struct policy *policy = reading->policy;
	const char *schema = reading_string(reading, document, "schema", true);
	const char *fallback = reading_string(reading, document, "default", true);
	const char *not_after = reading_string(reading, document, "not_after", true);

	if (schema != NULL && strcmp(schema, POLICY_SCHEMA) != 0)
		reading_complain_at(reading, "schema", "must be \"%s\"", POLICY_SCHEMA);
	if (fallback != NULL && strcmp(fallback, "deny") != 0)
		reading_complain_at(reading, "default", "must be \"deny\": there is no other default");
	if (not_after != NULL && clock_parse(not_after, &policy->not_after_us) != STATUS_OK)
		reading_complain_at(reading, "not_after", "must be a date such as 2027-01-01T00:00:00Z");
	policy->home = reading_string(reading, document, "home", true);
	if (policy->home != NULL && !name_is_valid(policy->home, REGION_SIZE))
		reading_complain_at(reading, "home", "must be the name of a region");
	else if (policy->home != NULL)
		policy->home_id = names_add(&policy->regions, policy->home);
}

static void read_version(struct reading *reading, const json_t *document, const char *text, size_t size)
{
	struct strbuf hex = STRBUF_INIT;
	uint8_t digest[SHA256_SIZE];
	int64_t version;

	if (!json_get_integer(document, "version", &version) || version < 1 || version > POLICY_VERSION_MAX) {
		reading_complain_at(reading, "version", "must be a whole number, 1 to %lld", POLICY_VERSION_MAX);
		return;
	}
	reading->policy->number = version;
	hash_sha256(text, size, digest);
	strbuf_add_hex(&hex, digest, 8);
	snprintf(reading->policy->version, sizeof(reading->policy->version), "%lld:%s", (long long)version, hex.data);
	strbuf_release(&hex);
}

static void read_type_fields(struct reading *reading, const json_t *value, struct policy_type *type)
{
	json_t *list;
	size_t mark;

	if (!reading_array(reading, value, "fields", true, &list))
		return;
	mark = reading_enter(reading, "fields");
	if (json_array_size(list) > GATE_FIELDS_MAX)
		reading_complain(reading, "more than %d fields", GATE_FIELDS_MAX);
	for (size_t i = 0; i < json_array_size(list) && i < GATE_FIELDS_MAX; i++) {
		const char *text = json_string_value(json_array_get(list, i));
		size_t element = reading_enter_index(reading, i);

		/* The access log lists fields with commas between. */
		if (text == NULL || text[0] == '\0' || strpbrk(text, ",*") != NULL)
			reading_complain(reading, "must be the name of a member, without ',' or '*'");
		else
			type->fields[type->field_count++] = text;
		for (size_t j = 0; text != NULL && j + 1 < type->field_count; j++) {
			if (strcmp(type->fields[j], text) == 0)
				reading_complain(reading, "is there twice");
		}
		reading_leave(reading, element);
	}
	reading_leave(reading, mark);
}

static void read_flag(struct reading *reading, const char *name, json_t *value, struct policy_type *type)
{
	static const char *const keys[] = { "field", "absent", NULL };
	struct policy *policy = reading->policy;
	size_t mark = reading_enter(reading, name);
	const char *field, *absent;
	int flag;

	if (strncmp(name, "subject.", 8) != 0 || strcmp(name, "subject.roaming") == 0 ||
		!name_is_valid(name, PURPOSE_SIZE))
		reading_complain(reading, "a flag's name is \"subject.\" and a word, and not subject.roaming");
	flag = names_add(&policy->flags, name);
	if (flag == NAME_OTHER || flag > POLICY_FLAGS_MAX) {
		reading_complain(reading, "more than %d different flags", POLICY_FLAGS_MAX);
	} else if (reading_check_object(reading, value, keys)) {
		field = reading_string(reading, value, "field", true);
		absent = reading_string(reading, value, "absent", true);
		type->flag_fields[flag - 1] = field;
		if (absent != NULL && strcmp(absent, "unknown") == 0)
			type->flag_absent[flag - 1] = NAME_UNKNOWN;
		else if (absent != NULL)
			type->flag_absent[flag - 1] = (uint8_t)names_add(&policy->flag_values, absent);
	}
	reading_leave(reading, mark);
}

/* An event type without a schema: all or nothing of it crosses. */
static void read_opaque(struct reading *reading, const json_t *value, struct policy_type *type)
{
	const char *classification = reading_string(reading, value, "classification", true);

	if (!json_is_true(json_object_get(value, "opaque")))
		reading_complain_at(reading, "opaque", "must be true, or be left out");
	if (json_object_get(value, "fields") != NULL)
		reading_complain_at(reading, "fields", "an opaque type has the one field \"" OPAQUE_FIELD "\"");
	type->fields[type->field_count++] = OPAQUE_FIELD;
	type->classification = classification;
	if (classification != NULL && !policy_classification_is_known(classification))
		reading_complain_at(reading, "classification", "must be " CLASSIFICATION_NAMES);
	else if (classification != NULL && policy_classification_is_personal(classification) && !type->is_personal)
		reading_complain_at(reading, "personal", "must be true: the classification is %s", classification);
}

static void read_type(struct reading *reading, json_t *value, struct policy_type *type)
{
	static const char *const keys[] = { "fields", "flags", "personal", "opaque", "classification", NULL };
	json_t *flags = json_object_get(value, "flags");
	size_t mark;

	if (!reading_check_object(reading, value, keys))
		return;
	if (!json_get_boolean(value, "personal", &type->is_personal))
		reading_complain_at(reading, "personal", "must be true or false");
	if (json_object_get(value, "opaque") != NULL)
		read_opaque(reading, value, type);
	else
		read_type_fields(reading, value, type);
	if (json_object_get(value, "opaque") == NULL && json_object_get(value, "classification") != NULL)
		reading_complain_at(
			reading, "classification", "is only for an opaque type; others have it in their schema");
	if (flags == NULL)
		return;
	mark = reading_enter(reading, "flags");
	if (!json_is_object(flags))
		reading_complain(reading, "must be an object");
	for (void *at = json_object_iter(flags); at != NULL; at = json_object_iter_next(flags, at))
		read_flag(reading, json_object_iter_key(at), json_object_iter_value(at), type);
	reading_leave(reading, mark);
}

void reading_types(struct reading *reading, json_t *document)
{
	struct policy *policy = reading->policy;
	json_t *types = json_object_get(document, "types");
	size_t mark = reading_enter(reading, "types");

	if (!json_is_object(types) || json_object_size(types) == 0)
		reading_complain(reading, "must be an object with at least one type");
	for (void *at = json_object_iter(types); at != NULL; at = json_object_iter_next(types, at)) {
		const char *name = json_object_iter_key(at);
		size_t member = reading_enter(reading, name);
		int id = NAME_OTHER;

		if (!name_is_valid(name, OBJECT_TYPE_SIZE) || strcmp(name, "unknown") == 0)
			reading_complain(reading, "is no name for a type");
		else if ((id = names_add(&policy->types, name)) == NAME_OTHER)
			reading_complain(reading, "more than %d types", NAMES_MAX);
		if (id != NAME_OTHER)
			read_type(reading, json_object_iter_value(at), &policy->type[id]);
		reading_leave(reading, member);
	}
	reading_leave(reading, mark);
}

static void read_document(struct reading *reading, json_t *document, const char *text, size_t size)
{
	static const char *const keys[] = { "schema", "home", "version", "not_after", "default", "types", "rules",
		"tests", "invariants", NULL };

	if (!reading_check_object(reading, document, keys))
		return;
	read_head(reading, document);
	read_version(reading, document, text, size);
	reading_types(reading, document);
	reading_rules(reading, document);
	if (reading->problems == 0) {
		reading_tests(reading, document);
		reading_invariants(reading, document);
	}
}

enum status policy_parse(
	const char *name, const char *text, size_t size, struct policy **policy_out, struct strbuf *why)
{
	return reading_policy(name, text, size, false, policy_out, why);
}

enum status reading_policy(const char *name, const char *text, size_t size, bool is_lenient, struct policy **policy_out,
	struct strbuf *why)
{
	struct reading reading = { .name = name, .why = why, .is_lenient = is_lenient };
	struct strbuf detail = STRBUF_INIT;
	struct policy *policy;
	enum status status;

	*policy_out = NULL;
	policy = calloc(1, sizeof(*policy));
	if (policy == NULL)
		return STATUS_NO_MEMORY;
	atomic_init(&policy->references, 1);
	reading.policy = policy;
	status = json_parse(text, size, &policy->document, &detail);
	if (status != STATUS_OK) {
		strbuf_addf(why, "%s: %s\n", name, detail.data);
		goto out;
	}
	status = STATUS_NO_MEMORY;
	policy->type = calloc(NAMES_MAX + 1, sizeof(*policy->type));
	if (policy->type == NULL)
		goto out;
	names_add(&policy->roaming, "active");
	names_add(&policy->roaming, "none");
	read_document(&reading, policy->document, text, size);
	status = reading.problems == 0 ? STATUS_OK : STATUS_INVALID;
out:
	strbuf_release(&detail);
	if (status == STATUS_OK)
		*policy_out = policy;
	else
		policy_release_reference(policy);
	return status;
}

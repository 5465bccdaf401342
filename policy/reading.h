/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the policy reader share: where in the file they are, and the list of problems. */
#ifndef POLICY_READING_H
#define POLICY_READING_H

#include "policy/rules.h"

struct reading {
	struct policy *policy;
	struct strbuf *why;
	const char *name;
	char path[512]; /* JSON pointer */
	size_t path_length;
	int problems;
	bool is_lenient; /* tests and invariants are read and not tried: who asked for it will */
};

/* Steps into a member or element and returns the mark to step back to. */
size_t reading_enter(struct reading *reading, const char *key);
size_t reading_enter_index(struct reading *reading, size_t index);
void reading_leave(struct reading *reading, size_t mark);

void reading_complain(struct reading *reading, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reading_complain_at(struct reading *reading, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* An object with none but these keys (NULL ends the list). */
bool reading_check_object(struct reading *reading, json_t *value, const char *const *keys);
/* A string that is not empty; NULL, complained of when it is wrong, or when it is missing and required. */
const char *reading_string(struct reading *reading, const json_t *object, const char *key, bool is_required);
bool reading_array(
	struct reading *reading, const json_t *object, const char *key, bool is_required, json_t **array_out);

/*
 * A list of names as a set.  Missing: every value.  add: new names join the table; otherwise they must be in it.
 * size bounds a name.  Values may be "unknown" when may_be_unknown.
 */
uint64_t reading_names(struct reading *reading, const json_t *object, const char *key, struct names *names, bool add,
	size_t size, bool may_be_unknown);
/* One value for an attribute, as an id.  -1 after complaining. */
int reading_value(struct reading *reading, int attribute, const json_t *value, bool may_be_unknown);
uint8_t reading_operations(struct reading *reading, const json_t *object, uint8_t when_missing);
/* The bits of these field names for each type in `types`; a name that none has is a problem. */
void reading_fields(struct reading *reading, const json_t *list, uint64_t types, uint64_t *fields);

/* policy_parse(), or, when lenient, without trying the file's tests and invariants. */
MUST_CHECK enum status reading_policy(const char *name, const char *text, size_t size, bool is_lenient,
	struct policy **policy_out, struct strbuf *why);

/* Each complains of what is wrong in its part of the document. */
void reading_types(struct reading *reading, json_t *document);
void reading_rules(struct reading *reading, json_t *document);
void reading_tests(struct reading *reading, json_t *document);
void reading_invariants(struct reading *reading, json_t *document);

#endif

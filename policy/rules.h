/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a policy file becomes: names are small numbers, a list of names is one
 * word of bits, a condition is an attribute and such a word.  Every text is
 * borrowed from `document`, which lives as long as the policy.  Immutable once
 * policy_parse() has returned it.
 */
#ifndef POLICY_RULES_H
#define POLICY_RULES_H

#include <stdatomic.h>

#include "policy/names.h"
#include "policy/policy.h"

#define POLICY_RULES_MAX 512     /* more than a person can review */
#define POLICY_FLAGS_MAX 16      /* consent and restriction flags, over all types */
#define POLICY_CONDITIONS_MAX 16 /* in one rule */
#define POLICY_FILE_SIZE_MAX ((size_t)4 << 20)
#define POLICY_VERSION_MAX 999999999999LL /* so that policy_version() fits POLICY_VERSION_SIZE */

/* What a condition can be about.  Rule lists (from, to, purpose, caller) read the same values. */
enum attribute {
	ATTRIBUTE_REQUESTER,
	ATTRIBUTE_TO,
	ATTRIBUTE_STATION_REGION,
	ATTRIBUTE_PURPOSE,
	ATTRIBUTE_CALLER,
	ATTRIBUTE_ROAMING,
	ATTRIBUTE_FLAGS, /* the first of POLICY_FLAGS_MAX */
	ATTRIBUTE_COUNT = ATTRIBUTE_FLAGS + POLICY_FLAGS_MAX
};
#define ATTRIBUTE_REGIONS 3 /* the first three are regions */

#define OPERATION_BIT(operation) (1U << (operation))
#define OPERATIONS_LOOKUP (OPERATION_BIT(GATE_LOCAL) | OPERATION_BIT(GATE_ASK) | OPERATION_BIT(GATE_SERVE))
#define OPERATIONS_RECORD (OPERATION_BIT(GATE_LOCAL) | OPERATION_BIT(GATE_SERVE)) /* flags are known */
#define OPERATIONS_EVENT (OPERATION_BIT(GATE_SEND) | OPERATION_BIT(GATE_RECEIVE))
#define OPERATIONS_ALL (OPERATIONS_LOOKUP | OPERATIONS_EVENT)
#define OPERATION_NAMES "\"local\", \"ask\", \"serve\", \"send\" or \"receive\""

#define OPAQUE_FIELD "data" /* stands for all that an event without a schema carries */

#define VARIABLE_REQUESTER 1U
#define VARIABLE_HOME 2U
#define VARIABLE_TO 4U

struct condition {
	uint8_t attribute;
	uint8_t variables; /* VARIABLE_…: these regions are in the set too */
	bool is_negated;   /* ne */
	uint64_t values;
};

struct rule {
	const char *id;
	bool is_forbid;
	uint8_t operations;
	uint64_t types, from, to, purposes, callers;
	struct condition conditions[POLICY_CONDITIONS_MAX];
	size_t condition_count;
	uint64_t *fields;  /* by type id */
	int64_t ttl_max_s; /* -1: no cap */
	bool onward;
};

struct policy_type {
	bool is_personal;
	const char *classification; /* of an opaque type, whose one field is OPAQUE_FIELD; else NULL */
	size_t field_count;
	const char *fields[GATE_FIELDS_MAX];
	const char *flag_fields[POLICY_FLAGS_MAX]; /* the record's member that says it; NULL: no such flag */
	uint8_t flag_absent[POLICY_FLAGS_MAX];     /* value when the record has no such member */
};

/* A request in numbers. */
struct facts {
	enum gate_operation operation;
	int type;
	uint8_t id[ATTRIBUTE_COUNT];
	const char *region[ATTRIBUTE_REGIONS]; /* two regions that are both "other" differ only here */
};

/* A decision the file says must be made. */
struct policy_test {
	const char *name;
	const json_t *expect;
	struct facts facts;
};

/* Decisions the file says must never be made. */
struct invariant {
	const char *note; /* may be NULL */
	uint8_t operations;
	uint64_t types;
	uint64_t allowed[ATTRIBUTE_COUNT];
	uint64_t fields[NAMES_MAX + 1]; /* by type id */
	bool is_about_fields;
	bool permitted;
};

struct shadow;

struct policy {
	atomic_int references;
	json_t *document;
	char version[POLICY_VERSION_SIZE];
	int64_t number; /* the file's "version" */
	const char *home;
	int home_id;
	int64_t not_after_us;
	struct names types, regions, purposes, callers, roaming, flags, flag_values;
	struct policy_type *type; /* by type id; 0 is unused */
	struct rule *rules;
	size_t rule_count;
	struct policy_test *tests;
	size_t test_count;
	struct invariant *invariants;
	size_t invariant_count;
	uint64_t mentioned[ATTRIBUTE_COUNT]; /* values some rule or invariant names */
	bool is_read[ATTRIBUTE_COUNT];       /* some rule or invariant reads it */
	struct shadow *shadow;               /* NULL: none */
};

/* A policy's shadow (shadow.h); destroy accepts NULL. */
void shadow_destroy(struct shadow *shadow);
const struct policy *shadow_policy_of(const struct shadow *shadow);

void facts_of_request(const struct policy *policy, const struct gate_request *request, struct facts *facts);
/* Whether requester, to and operation fit together. */
bool facts_are_consistent(const struct policy *policy, const struct facts *facts);
/* Requester and to of an operation whose other region is this one. */
void facts_set_regions(const struct policy *policy, struct facts *facts, uint8_t other_id, const char *other);
bool rule_is_about(const struct rule *rule, const struct facts *facts);
bool condition_holds(const struct policy *policy, const struct rule *rule, const struct condition *condition,
	const struct facts *facts);
/* Whether it is about these facts and all its conditions hold. */
bool rule_matches(const struct policy *policy, const struct rule *rule, const struct facts *facts);
/* Steps 1, 2, 4 to 7 of docs/POLICY.md: all but the policy's expiry. */
void facts_decide(const struct policy *policy, const struct facts *facts, struct gate_decision *decision);

const char *attribute_name(const struct policy *policy, int attribute);
/* The attribute of that name, or -1. */
int attribute_find(const struct policy *policy, const char *name);
/* Which names its values are drawn from. */
struct names *attribute_values(struct policy *policy, int attribute);
const struct names *attribute_values_of(const struct policy *policy, int attribute);
const char *operation_name(enum gate_operation operation);
int operation_find(const char *name);

/* Whether the policy decides on the test's request as the test expects; else says why not, a line each. */
bool policy_test_passes(const struct policy *policy, const struct policy_test *test, struct strbuf *why);
bool invariant_is_broken(
	const struct invariant *invariant, const struct facts *facts, const struct gate_decision *decision);

/* "subject.restricted ne no", in the words of the file. */
void rule_condition_text(const struct policy *policy, size_t rule, size_t condition, struct strbuf *text);
/* How sensitive data is: the words that schemas use. */
#define CLASSIFICATION_NAMES "\"public\", \"operational\", \"pseudonymous\" or \"personal\""
bool policy_classification_is_known(const char *classification);
bool policy_classification_is_personal(const char *classification); /* pseudonymous data is about a person too */

/* False for events that no rule could permit: most types are of objects, and need not be tried as events. */
bool policy_may_permit(const struct policy *policy, enum gate_operation operation, int type);

/* Of an event that the rules permit: all its fields must be among those permitted, or it is denied. */
void event_decide(const struct policy *policy, const struct gate_request *request, struct gate_decision *decision);

/* The name of a value in facts, for people. */
const char *fact_text(const struct policy *policy, const struct facts *facts, int attribute);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schemas of events' data: the JSON Schema subset of schemas/README.md.  Those in
 * the program, and those of a folder of the operator's.  Immutable once loaded.
 */
#ifndef FEDERATION_EVENT_SCHEMA_H
#define FEDERATION_EVENT_SCHEMA_H

#include <jansson.h>

#include "base/status.h"
#include "base/strbuf.h"

#define EVENT_SCHEMA_BASE "https://homeward.dev/schemas/"

struct event_schemas;
struct event_schema;

/* folder "": none.  A schema that is not of the subset, or that is there twice, refuses them all. */
MUST_CHECK enum status event_schemas_load(const char *folder, struct event_schemas **schemas_out, struct strbuf *why);
void event_schemas_destroy(struct event_schemas *schemas);

/* By its $id; with "" the newest version for the type.  NULL: there is none, or it is for another type. */
const struct event_schema *event_schema_find(
	const struct event_schemas *schemas, const char *type, const char *identifier);
const char *event_schema_identifier(const struct event_schema *schema);
/* The highest class among its fields: "public", "operational", "pseudonymous", "personal". */
const char *event_schema_classification(const struct event_schema *schema);
/* STATUS_INVALID names the first field that does not fit and the rule, never the value.  data may be NULL. */
MUST_CHECK enum status event_schema_check(const struct event_schema *schema, const json_t *data, struct strbuf *why);

/* For tests and for one file: takes the text apart. */
MUST_CHECK enum status event_schemas_add(
	struct event_schemas *schemas, const char *name, const char *text, size_t size, struct strbuf *why);
struct event_schemas *event_schemas_create(void);

struct event;
/*
 * What whoever hands an event in must keep to: the schema it names, or the newest for its type; *schema_out is NULL for
 * a type nobody described.  STATUS_INVALID says what is wrong.
 */
MUST_CHECK enum status event_schema_submitted(const struct event_schemas *schemas, const struct event *event,
	const struct event_schema **schema_out, struct strbuf *why);

#endif

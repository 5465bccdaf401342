/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a row of a file to an object and its home: which column is the id, which
 * region a column's value means, which fields the record keeps, and whether the
 * id came before.  No I/O, so that every rejection can be tested.
 */
#ifndef CLI_IMPORT_ROWS_H
#define CLI_IMPORT_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"

struct import_rules {
	const char *type;
	enum id_format id_format;
	const char *own_region;
	const char *id_columns;   /* "locationId,id": the first that has a value */
	const char *region;       /* column; NULL when region_value is set */
	const char *region_value; /* all rows; NULL when `region` is set */
	const char *region_map;   /* "Europe=eu,North America=na"; NULL: values are regions' names */
	const char *fields;       /* "a,b,new=path.to"; NULL: the whole row */
	json_t *constants;        /* members set in every record; NULL for none; borrowed */
	bool is_distinct;         /* a later row of the same id and region is merged into the first */
};

enum import_verdict {
	IMPORT_TAKEN,
	IMPORT_MERGED,  /* the same again; nothing to do */
	IMPORT_REJECTED /* `why` says so */
};

struct imported {
	struct object_id object;
	char region[REGION_SIZE];
	json_t *record; /* owned; NULL when the home is another region */
};

struct importer;

/* The rules' strings are borrowed.  STATUS_INVALID with the rule that cannot be read in `why`. */
MUST_CHECK enum status importer_create(
	const struct import_rules *rules, struct importer **importer_out, struct strbuf *why);
void importer_destroy(struct importer *importer);
/* out->record is set only with IMPORT_TAKEN.  number is the row's, for telling where a duplicate came first. */
enum import_verdict importer_take(
	struct importer *importer, const json_t *row, int64_t number, struct imported *out, struct strbuf *why);

#endif

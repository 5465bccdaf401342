/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shipment is what the publisher has at the broker at one time: rows of the outbox,
 * a parcel of each, and in the end what the broker said of them.
 */
#ifndef FEDERATION_SHIPMENT_H
#define FEDERATION_SHIPMENT_H

#include <stddef.h>
#include <stdint.h>

#include "federation/confirms.h"
#include "federation/parcel.h"

/* A bigint[] in PostgreSQL's words, with braces once it is settled. */
struct shipment_array {
	struct strbuf text;
	size_t count;
};

struct shipment {
	PGresult *rows; /* the publisher's columns */
	struct parcels parcels;
	int *places; /* places[row] = its message's among the confirmations; -1: it was not published */
	struct shipment_array sent, later;
	int64_t prepared_ms; /* when the gate answered */
};

/* rows: NULL for none; the shipment's to clear from now on. */
void shipment_init(struct shipment *shipment, PGresult *rows);
/* Blocks until the gate has answered for all rows.  False when nothing may be sent now. */
bool shipment_prepare(struct worker *worker, struct shipment *shipment);
/* What is left has no rows, and may be released again. */
void shipment_release(struct worker *worker, struct shipment *shipment);
size_t shipment_count(const struct shipment *shipment);
/* All its rows, as a bigint[]. */
void shipment_rows(const struct shipment *shipment, struct strbuf *array);
/* Sorts its rows into those sent and those to be sent later; what the broker said nothing of is in neither. */
void shipment_settle(struct shipment *shipment, const struct confirms *confirms);

#endif

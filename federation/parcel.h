/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A parcel is one row of the outbox made ready to leave: checked, decided on, put
 * on record, and written out.
 */
#ifndef FEDERATION_PARCEL_H
#define FEDERATION_PARCEL_H

#include "federation/worker.h"

enum parcel_state {
	PARCEL_REFUSED, /* for ever; `why` says so */
	PARCEL_LOCAL,   /* for this region: crosses no border */
	PARCEL_CROSSING /* may cross when its release is there */
};

struct parcel {
	enum parcel_state state;
	struct event event;
	struct event_crossing *crossing; /* of the group; only when PARCEL_CROSSING */
	struct strbuf body, why;
};

struct parcels {
	struct parcel *parcels; /* one a row */
	size_t count;
	struct event_group *group;
	size_t crossing_count;
};

/* rows: the publisher's.  Blocks until the gate has answered.  False when nothing may be sent now. */
bool parcels_prepare(struct worker *worker, const PGresult *rows, struct parcels *parcels_out);
void parcels_release(struct worker *worker, struct parcels *parcels);

/* Columns of the rows. */
enum { COLUMN_SEQ, COLUMN_DESTINATION, COLUMN_TYPE, COLUMN_ID, COLUMN_ENVELOPE, COLUMN_CALLER, COLUMN_TARGET };

#endif

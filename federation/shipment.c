/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shipment owns its rows, because its parcels borrow from them.  On the
 * publisher's thread.
 */
#include "federation/shipment.h"

#include <stdlib.h>

#include "base/clock.h"

void shipment_init(struct shipment *shipment, PGresult *rows)
{
	*shipment = (struct shipment){ .rows = rows };
	strbuf_init(&shipment->sent.text);
	strbuf_init(&shipment->later.text);
}

bool shipment_prepare(struct worker *worker, struct shipment *shipment)
{
	size_t count = shipment_count(shipment);

	if (count == 0)
		return true;
	shipment->places = malloc(count * sizeof(*shipment->places));
	for (size_t row = 0; shipment->places != NULL && row < count; row++)
		shipment->places[row] = -1;
	if (shipment->places == NULL || !parcels_prepare(worker, shipment->rows, &shipment->parcels))
		return false;
	shipment->prepared_ms = clock_monotonic_ms(clock_system());
	return true;
}

void shipment_release(struct worker *worker, struct shipment *shipment)
{
	parcels_release(worker, &shipment->parcels);
	strbuf_release(&shipment->sent.text);
	strbuf_release(&shipment->later.text);
	PQclear(shipment->rows);
	free(shipment->places);
	shipment_init(shipment, NULL);
}

size_t shipment_count(const struct shipment *shipment)
{
	return shipment->rows != NULL ? (size_t)PQntuples(shipment->rows) : 0;
}

static void add_row(struct shipment_array *array, const struct shipment *shipment, int row)
{
	strbuf_addf(&array->text, "%s%s", array->count++ > 0 ? "," : "{", PQgetvalue(shipment->rows, row, COLUMN_SEQ));
}

void shipment_rows(const struct shipment *shipment, struct strbuf *array)
{
	struct shipment_array all = { STRBUF_INIT, 0 };

	for (size_t row = 0; row < shipment_count(shipment); row++)
		add_row(&all, shipment, (int)row);
	strbuf_adds(&all.text, all.count > 0 ? "}" : "{}");
	strbuf_release(array);
	*array = all.text;
}

void shipment_settle(struct shipment *shipment, const struct confirms *confirms)
{
	for (size_t row = 0; shipment->places != NULL && row < shipment_count(shipment); row++) {
		int place = shipment->places[row];

		/* What has no word yet keeps its row as it is; what a message has is of each row in it. */
		if (place >= 0 && confirms->entries[place].confirm != CONFIRM_WAITING)
			add_row(confirms_is_done(confirms, (size_t)place) ? &shipment->sent : &shipment->later,
				shipment, (int)row);
	}
	strbuf_addc(&shipment->sent.text, '}');
	strbuf_addc(&shipment->later.text, '}');
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The envelope of homeward's own events.  The exchange id is only an id here: there
 * is no entry in the access log, since nothing of a person crosses.
 */
#include "federation/own_event.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/random.h"
#include "federation/event.h"
#include "federation/federation.h"

static json_t *make_envelope(const struct worker *worker, const struct own_event *event, char id[EXCHANGE_ID_TEXT_SIZE])
{
	struct exchange_id exchange = exchange_id_make(clock_system(), random_system());
	char now[CLOCK_TEXT_SIZE], schema[sizeof(EVENT_SCHEMA_BASE) + EVENT_TYPE_MAX + 16];

	exchange_id_format(&exchange, id);
	clock_format(clock_wall_us(clock_system()), now);
	snprintf(schema, sizeof(schema), EVENT_SCHEMA_BASE "%s.v1.json", event->type);
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o}", "specversion", "1.0", "id", id, "source",
		event->source, "type", event->type, "time", now, "datacontenttype", "application/json", "dataschema",
		schema, "dataclassification", "operational", "destination", event->destination, "originregion",
		worker->settings->region, "exchangeid", id, "data", event->data);
}

enum status own_event_publish(struct worker *worker, const struct own_event *event, struct strbuf *why)
{
	char id[EXCHANGE_ID_TEXT_SIZE], key[2 * REGION_SIZE + EVENT_TYPE_MAX + 3];
	json_t *envelope = make_envelope(worker, event, id);
	struct strbuf body = STRBUF_INIT;
	enum status status = envelope != NULL ? json_write(envelope, &body) : STATUS_NO_MEMORY;
	struct broker_message message = {
		.exchange = MESH_EVENTS, .key = key, .id = id, .mark = "", .body = body.data, .body_size = body.length
	};

	snprintf(key, sizeof(key), "%s.%s.%s", event->destination, worker->settings->region, event->type);
	if (status == STATUS_OK) {
		confirms_add(&worker->confirms);
		status = broker_publish(worker->broker, &message, why);
	}
	json_decref(envelope);
	strbuf_release(&body);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every row goes through before it leaves, whoever wrote it: the envelope is
 * checked, its data against its schema, and the gate asked for all rows that cross
 * a border together, so that their entries share a commit.  What the envelope must
 * have and its author left out is filled in.  On the publisher's thread.
 */
#include "federation/parcel.h"

#include "federation/event_trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "federation/federation.h"

static bool set_text(json_t *envelope, const char *name, const char *value)
{
	return json_object_set_new(envelope, name, json_string(value)) == 0;
}

/* What homeward knows better than the event's author, and what the author may leave out. */
static bool complete(struct parcel *parcel, const struct event_schema *schema, const char *classification)
{
	json_t *envelope = parcel->event.envelope;
	char exchange[EXCHANGE_ID_TEXT_SIZE];
	bool is_fine = true;

	if (schema != NULL)
		is_fine = set_text(envelope, "dataschema", event_schema_identifier(schema));
	if (is_fine && classification != NULL)
		is_fine = set_text(envelope, "dataclassification", classification);
	if (is_fine && json_object_get(envelope, "datacontenttype") == NULL)
		is_fine = set_text(envelope, "datacontenttype", "application/json");
	if (is_fine && parcel->crossing != NULL) {
		exchange_id_format(&parcel->crossing->exchange, exchange);
		is_fine = set_text(envelope, "exchangeid", exchange);
	}
	return is_fine && json_write(envelope, &parcel->body) == STATUS_OK;
}

static void refuse(struct parcel *parcel, const char *why)
{
	parcel->state = PARCEL_REFUSED;
	if (why != NULL)
		strbuf_adds(&parcel->why, why);
}

static void check_row(struct worker *worker, const struct policy *policy, const PGresult *rows, int row,
	struct parcels *parcels, struct parcel *parcel)
{
	const char *classification;
	const struct event_schema *schema;
	const struct event *event = &parcel->event;
	bool is_probe; /* its schema has no room for anything of a person, so nobody need allow it */

	if (event_parse(PQgetvalue(rows, row, COLUMN_ENVELOPE), (size_t)PQgetlength(rows, row, COLUMN_ENVELOPE),
		    EVENT_CARRIED, &parcel->event, &parcel->why) != STATUS_OK) {
		refuse(parcel, NULL);
		return;
	}
	schema = event_schema_find(worker->schemas, event->type, event->schema);
	classification = schema != NULL ? event_schema_classification(schema)
					: policy_type_classification(policy, event->type);
	is_probe = schema != NULL && event_trace_is_probe(event->type, event->envelope);
	if (strncmp(event->type, EVENT_OWN_PREFIX, strlen(EVENT_OWN_PREFIX)) == 0 && !is_probe) {
		refuse(parcel, "type: only homeward itself sends " EVENT_OWN_PREFIX "*");
		return;
	}
	if (schema == NULL && event->schema[0] != '\0') {
		refuse(parcel, "dataschema: no schema of this name for this type");
		return;
	}
	if (schema != NULL &&
		event_schema_check(schema, json_object_get(event->envelope, "data"), &parcel->why) != STATUS_OK) {
		refuse(parcel, NULL);
		return;
	}
	parcel->state = PARCEL_LOCAL;
	if (strcmp(event->destination, worker->settings->region) != 0 && !is_probe) {
		parcel->state = PARCEL_CROSSING;
		parcel->crossing = event_group_crossing(parcels->group, parcels->crossing_count++);
		parcel->crossing->operation = GATE_SEND;
		parcel->crossing->event = event;
		parcel->crossing->classification = schema != NULL ? classification : NULL;
		parcel->crossing->caller = PQgetvalue(rows, row, COLUMN_CALLER);
		parcel->crossing->exchange = exchange_id_make(clock_system(), random_system());
	}
	if (!complete(parcel, schema, classification))
		refuse(parcel, "out of memory");
}

/* False when one of them could not be put on record. */
static bool take_answers(struct parcels *parcels)
{
	for (size_t i = 0; i < parcels->count; i++) {
		struct parcel *parcel = &parcels->parcels[i];

		if (parcel->state != PARCEL_CROSSING || parcel->crossing->status == STATUS_OK)
			continue;
		if (parcel->crossing->status != STATUS_NOT_AVAILABLE) {
			LOG_WARN("events_not_recorded", "status", status_name(parcel->crossing->status));
			return false;
		}
		refuse(parcel, parcel->crossing->why.data);
	}
	return true;
}

static bool is_before(const struct event *event, const struct event *next)
{
	return event->sequence > 0 && event->sequence + 1 == next->first &&
	       strcmp(event->subject, next->subject) == 0 && strcmp(event->source, next->source) == 0 &&
	       strcmp(event->destination, next->destination) == 0;
}

/* What this batch refuses is said by the next of its stream in it: read_rows did not know yet. */
static bool tell_skipped(struct parcels *parcels)
{
	bool is_fine = true;

	for (size_t i = 0; i < parcels->count; i++) {
		struct parcel *refused = &parcels->parcels[i];

		for (size_t j = 0; j < parcels->count && refused->state == PARCEL_REFUSED; j++) {
			struct parcel *next = &parcels->parcels[j];
			char first[24];

			if (refused->event.envelope == NULL || next->event.envelope == NULL ||
				!is_before(&refused->event, &next->event))
				continue;
			next->event.first = refused->event.first;
			snprintf(first, sizeof(first), "%018" PRId64, next->event.first);
			strbuf_reset(&next->body);
			is_fine = set_text(next->event.envelope, "skippedfrom", first) &&
				  json_write(next->event.envelope, &next->body) == STATUS_OK && is_fine;
		}
	}
	return is_fine;
}

bool parcels_prepare(struct worker *worker, const PGresult *rows, struct parcels *parcels_out)
{
	size_t count = (size_t)PQntuples(rows);
	struct policy *policy = gate_acquire(worker->gate->gate);
	bool is_fine;

	*parcels_out = (struct parcels){ .parcels = calloc(count, sizeof(struct parcel)) };
	parcels_out->group = event_group_create(count);
	is_fine = parcels_out->parcels != NULL && parcels_out->group != NULL;
	for (size_t i = 0; i < count && is_fine; i++) {
		struct parcel *parcel = &parcels_out->parcels[parcels_out->count++];

		strbuf_init(&parcel->body);
		strbuf_init(&parcel->why);
		check_row(worker, policy, rows, (int)i, parcels_out, parcel);
	}
	policy_release_reference(policy);
	if (!is_fine)
		return false;
	event_gate_ask(worker->gate, parcels_out->group, parcels_out->crossing_count, WORKER_RECORD_MS);
	return take_answers(parcels_out) && tell_skipped(parcels_out);
}

void parcels_release(struct worker *worker, struct parcels *parcels)
{
	event_group_destroy(worker->gate, parcels->group);
	for (size_t i = 0; i < parcels->count; i++) {
		event_release(&parcels->parcels[i].event);
		strbuf_release(&parcels->parcels[i].body);
		strbuf_release(&parcels->parcels[i].why);
	}
	free(parcels->parcels);
}

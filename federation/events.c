/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of events together: the workers, and the way in for callers.
 */
#include "federation/events.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "federation/arrival.h"
#include "federation/canary_sender.h"
#include "federation/consumer.h"
#include "federation/ledger_work.h"
#include "federation/mesh_current.h"
#include "federation/publisher.h"
#include "federation/submission.h"
#include "federation/submitter.h"
#include "federation/system_publisher.h"
#include "federation/webhooks.h"

struct events {
	const struct settings *settings;
	char *dsn;
	struct mesh_current *mesh; /* NULL: no mesh file */
	struct event_schemas *schemas;
	struct event_gate gate;
	struct submissions submissions;
	struct events_hooks hooks;
	struct system_events *system;
	struct canary_sender *canary_sender; /* NULL: no mesh file, or canaries are off */
	struct webhooks *webhooks;           /* NULL: there are none */
	struct worker publisher, consumer, submitter, system_publisher, canary, ledger, webhooks_worker;
};

void events_submit(void *arg, struct http_request *request, const char *caller)
{
	struct events *events = arg;

	submission_take(&events->submissions, request, caller);
}

static struct worker make_worker(const struct events *events, const char *name, void (*work)(struct worker *worker))
{
	const struct settings *settings = events->settings;

	return (struct worker){
		.name = name,
		.settings = settings,
		.dsn = events->dsn,
		.mesh = events->mesh,
		.schemas = events->schemas,
		.gate = (struct event_gate *)(uintptr_t)&events->gate,
		.hooks = events->hooks,
		.system = events->system,
		.canary = events->canary_sender,
		.webhooks = events->webhooks,
		.broker_settings = { settings->events.broker, settings->tls.certificate, settings->tls.key,
			settings->tls.ca, settings->events.timeout_ms, (int)settings->events.heartbeat_s },
		.work = work,
	};
}

enum status events_start(const struct events_settings *settings, struct events **events_out, struct strbuf *why)
{
	struct events *events = calloc(1, sizeof(*events));
	const char *wrong = broker_url_check(settings->settings->events.broker);
	enum status status = STATUS_NO_MEMORY;

	*events_out = NULL;
	if (wrong != NULL) {
		strbuf_addf(why, "events.broker: %s", wrong);
		free(events);
		return STATUS_INVALID;
	}
	if (events == NULL)
		return STATUS_NO_MEMORY;
	events->settings = settings->settings;
	events->dsn = strdup(settings->dsn);
	if (events->dsn != NULL)
		status = STATUS_OK;
	if (status == STATUS_OK && settings->settings->events.mesh[0] != '\0')
		status = mesh_current_open(settings->settings->events.mesh, &events->mesh, why);
	if (status == STATUS_OK)
		status = event_schemas_load(settings->settings->events.schemas, &events->schemas, why);
	if (status == STATUS_OK && events->mesh != NULL && settings->settings->events.canary_interval_ms > 0)
		status = canary_sender_create(settings->settings, mesh_current_mesh(events->mesh), settings->tls,
			settings->system, &events->canary_sender);
	if (status == STATUS_OK && settings->settings->webhook_count > 0)
		status = webhooks_create(settings->settings, settings->system, &events->webhooks);
	events->hooks = settings->hooks;
	events->system = settings->system;
	events->gate = (struct event_gate){ settings->settings->region, settings->gate, settings->log, settings->loop };
	events->submissions = (struct submissions){ settings->settings->region, settings->loop, settings->database,
		events->schemas, &events->gate };
	events->publisher = make_worker(events, "publisher", publisher_work);
	events->consumer = make_worker(events, "consumer", consumer_work);
	events->submitter = make_worker(events, "submitter", submitter_work);
	events->system_publisher = make_worker(events, "system", system_publisher_work);
	events->system_publisher.dsn = NULL;
	events->canary = make_worker(events, "canary", canary_sender_work);
	events->canary.dsn = NULL;
	events->webhooks_worker = make_worker(events, "webhooks", webhooks_work);
	events->webhooks_worker.broker_settings.url = NULL;
	events->ledger = make_worker(events, "ledger", ledger_work);
	if (status == STATUS_OK)
		status = confirms_init(&events->publisher.confirms, (size_t)settings->settings->events.in_flight_max);
	if (status == STATUS_OK)
		status = confirms_init(&events->consumer.confirms, 2 * BATCH_MAX); /* events, and receipts */
	if (status == STATUS_OK)
		status = confirms_init(&events->system_publisher.confirms, SYSTEM_BATCH_MAX);
	if (status == STATUS_OK)
		status = confirms_init(&events->ledger.confirms, 1);
	if (status == STATUS_OK && events->system != NULL)
		status = worker_start(&events->system_publisher, why);
	if (status == STATUS_OK)
		status = worker_start(&events->publisher, why);
	if (status == STATUS_OK)
		status = worker_start(&events->consumer, why);
	if (status == STATUS_OK)
		status = worker_start(&events->submitter, why);
	if (status == STATUS_OK && events->canary_sender != NULL)
		status = worker_start(&events->canary, why);
	if (status == STATUS_OK && events->webhooks != NULL)
		status = worker_start(&events->webhooks_worker, why);
	if (status == STATUS_OK && events->mesh != NULL)
		status = worker_start(&events->ledger, why);
	if (status != STATUS_OK) {
		events_stop(events);
		return status;
	}
	*events_out = events;
	return STATUS_OK;
}

void events_stop(struct events *events)
{
	if (events == NULL)
		return;
	worker_stop(&events->publisher);
	worker_stop(&events->consumer);
	worker_stop(&events->submitter);
	worker_stop(&events->system_publisher);
	worker_stop(&events->canary);
	worker_stop(&events->webhooks_worker);
	worker_stop(&events->ledger);
	confirms_release(&events->publisher.confirms);
	confirms_release(&events->consumer.confirms);
	confirms_release(&events->system_publisher.confirms);
	confirms_release(&events->ledger.confirms);
	canary_sender_destroy(events->canary_sender);
	webhooks_destroy(events->webhooks);
	event_schemas_destroy(events->schemas);
	mesh_current_close(events->mesh);
	free(events->dsn);
	free(events);
}

struct events_change {
	struct mesh *mesh;
	struct canaries canaries; /* of it; none when canaries are off */
};

enum status events_read_mesh(struct events *events, struct events_change **change_out, struct strbuf *why)
{
	struct events_change *change = NULL;
	enum status status = STATUS_OK;

	*change_out = NULL;
	if (events == NULL || events->mesh == NULL)
		return STATUS_OK;
	change = calloc(1, sizeof(*change));
	if (change == NULL)
		return STATUS_NO_MEMORY;
	status = mesh_current_read(events->mesh, &change->mesh, why);
	if (status == STATUS_OK && events->canary_sender != NULL)
		status = canaries_init(&change->canaries, change->mesh, events->settings->region,
			events->settings->events.canary_interval_ms, clock_monotonic_ms(clock_system()));
	if (status == STATUS_OK)
		*change_out = change;
	else
		events_change_drop(change);
	return status;
}

void events_follow(struct events *events, struct events_change *change)
{
	struct strbuf added = STRBUF_INIT, removed = STRBUF_INIT;

	if (change == NULL)
		return;
	mesh_difference(mesh_current_mesh(events->mesh), change->mesh, events->settings->region, &added, &removed);
	change->mesh = mesh_current_swap(events->mesh, change->mesh);
	if (events->canary_sender != NULL)
		canary_sender_follow(events->canary_sender, &change->canaries);
	if (strbuf_ok(&added) && strbuf_ok(&removed))
		LOG_INFO("mesh_file_followed", "added", added.data, "removed", removed.data);
	events_change_drop(change);
	strbuf_release(&added);
	strbuf_release(&removed);
}

void events_change_drop(struct events_change *change)
{
	if (change == NULL)
		return;
	canaries_release(&change->canaries);
	mesh_destroy(change->mesh);
	free(change);
}

bool events_mesh_has_changed(struct events *events, bool *was_refused_out)
{
	*was_refused_out = false;
	return events != NULL && events->mesh != NULL && mesh_current_has_changed(events->mesh, was_refused_out);
}

json_t *events_mesh(struct events *events)
{
	return events->canary_sender != NULL ? canary_matrix(events->canary_sender) : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer listener's endpoints.  A batch is read on the HTTP thread and then
 * belongs to one engine, because its lookups share that engine's array query and
 * its group commit; batches go round the engines in turn.
 *
 * Who asks is what the certificate says (http_request_peer) and nothing in the
 * body.  Each asking region has a bound on its lookups in flight here, so that
 * one region cannot take the others' share; lookups past it are refused one by
 * one and the rest of the batch is served.
 *
 * A batch is answered when its last lookup is, or at its latest deadline with
 * what is there.  Late lookups still end, so the batch is freed by the last of them.
 */
#include "handlers/handlers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/peer_wire.h"
#include "base/problem.h"
#include "handlers/log_service.h"
#include "handlers/serve.h"

/* Kept back from the requester's time for the answer's way home. */
#define WAY_BACK_PERCENT 5
#define WAY_BACK_MS_MAX 50
#define ANSWER_BYTES_TYPICAL 256 /* first guess, so that a batch's body is rarely moved */

struct resolve_batch;

struct resolve_item {
	struct resolve_batch *batch;
	bool is_done;
};

struct resolve_batch {
	struct loop_task task;
	struct loop_timer timer;
	struct peer_service *service;
	const struct serve_engine *engine;
	struct peer_place *place;
	struct http_request *request; /* NULL once answered */
	char requester[REGION_SIZE];
	int64_t started_ms;
	struct lookup_question *questions;
	struct lookup_answer *answers;
	struct resolve_item *items;
	size_t count, admitted, pending;
};

static enum serve_result result_of(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return SERVE_FOUND;
	case STATUS_NOT_AVAILABLE:
		return SERVE_NOT_AVAILABLE;
	case STATUS_OVERLOADED:
		return SERVE_OVERLOADED;
	case STATUS_DEADLINE:
		return SERVE_DEADLINE;
	default:
		return SERVE_ERROR;
	}
}

/* ---- asking regions ---- */

static void place_open(struct peer_service *service, struct peer_place *place, const char *region)
{
	static const char *const names[SERVE_RESULT_COUNT] = { "found", "not_available", "overloaded", "deadline",
		"error" };

	(void)snprintf(place->region, REGION_SIZE, "%s", region);
	for (int i = 0; i < SERVE_RESULT_COUNT; i++)
		place->results[i] = metric_series(service->lookups, region, names[i], NULL);
}

static struct peer_place *place_of(struct peer_service *service, const char *region)
{
	struct peer_place *place = NULL;

	pthread_mutex_lock(&service->places_lock);
	for (size_t i = 0; i < service->place_count && place == NULL; i++) {
		if (strcmp(service->places[i].region, region) == 0)
			place = &service->places[i];
	}
	if (place == NULL && service->place_count < PEER_PLACES_MAX) {
		place = &service->places[service->place_count++];
		place_open(service, place, region);
	}
	pthread_mutex_unlock(&service->places_lock);
	return place != NULL ? place : &service->places[PEER_PLACES_MAX - 1];
}

/* How many of `wanted` may come in now; they are counted until place_leave(). */
static size_t place_enter(struct peer_service *service, struct peer_place *place, size_t wanted)
{
	int64_t before = atomic_fetch_add(&place->in_flight, (int64_t)wanted);
	int64_t room = service->settings->lookup.in_flight_max - before;
	size_t admitted = room <= 0 ? 0 : room < (int64_t)wanted ? (size_t)room : wanted;

	atomic_fetch_sub(&place->in_flight, (int64_t)(wanted - admitted));
	return admitted;
}

/* ---- a batch ---- */

static void batch_destroy(struct resolve_batch *batch)
{
	if (batch == NULL)
		return;
	loop_timer_release(&batch->timer);
	for (size_t i = 0; batch->answers != NULL && i < batch->count; i++)
		lookup_answer_release(&batch->answers[i]);
	free(batch->questions);
	free(batch->answers);
	free(batch->items);
	free(batch);
}

static struct http_response *answer_of(struct resolve_batch *batch)
{
	struct policy *policy = gate_acquire(batch->service->gate);
	struct strbuf body = STRBUF_INIT;
	struct http_response *response;
	size_t size;
	char *bytes;

	(void)strbuf_reserve(&body, batch->count * ANSWER_BYTES_TYPICAL);
	peer_wire_write_answers(
		batch->questions, batch->answers, batch->count, policy != NULL ? policy_version(policy) : "", &body);
	if (policy != NULL)
		policy_release_reference(policy);
	bytes = strbuf_take(&body, &size);
	if (bytes == NULL)
		return NULL;
	response = http_response_create_taking(200, "application/json", bytes, size);
	if (response != NULL)
		http_response_header(response, "Cache-Control", "no-store");
	for (size_t i = 0; response != NULL && i < batch->count; i++) {
		if (batch->answers[i].status == STATUS_OVERLOADED) {
			http_response_header(response, "Retry-After", "1");
			break;
		}
	}
	return response;
}

/* Once a batch, at its last lookup or its deadline, whichever is first. */
static void batch_reply(struct resolve_batch *batch)
{
	struct http_request *request = batch->request;
	struct http_response *response;

	if (request == NULL)
		return;
	batch->request = NULL;
	for (size_t i = 0; i < batch->count; i++)
		metric_add(batch->place->results[result_of(batch->answers[i].status)], 1);
	metric_observe_us(
		batch->service->duration, (clock_monotonic_ms(batch->service->clock) - batch->started_ms) * 1000);

	response = answer_of(batch);
	if (response != NULL)
		http_request_reply(request, response);
	else
		problem_reply(request, STATUS_NO_MEMORY, NULL);
}

static void batch_deadline(void *arg)
{
	batch_reply(arg);
}

static void lookup_done(void *arg, struct lookup_answer *answer)
{
	struct resolve_item *item = arg;
	struct resolve_batch *batch = item->batch;

	must(!item->is_done);
	item->is_done = true;
	atomic_fetch_sub(&batch->place->in_flight, 1);
	if (batch->request != NULL) {
		batch->answers[item - batch->items] = *answer;
		answer->record = NULL; /* the batch owns it now */
	}
	if (--batch->pending == 0) {
		batch_reply(batch);
		batch_destroy(batch);
	}
}

static void batch_run(struct loop_task *task)
{
	struct resolve_batch *batch = (struct resolve_batch *)task;
	int64_t now_ms = loop_now_ms(batch->engine->loop);
	int64_t latest_ms = now_ms;
	size_t admitted = batch->admitted;

	for (size_t i = 0; i < admitted; i++) {
		if (batch->questions[i].deadline_ms > latest_ms)
			latest_ms = batch->questions[i].deadline_ms;
	}
	if (loop_timer_init(batch->engine->loop, &batch->timer, batch_deadline, batch) == STATUS_OK)
		loop_timer_start(&batch->timer, latest_ms - now_ms);

	/* No completion comes from inside serve_lookup, so the batch lives through this. */
	for (size_t i = 0; i < admitted; i++)
		serve_lookup(batch->service, batch->engine, batch->requester, &batch->questions[i], lookup_done,
			&batch->items[i]);
}

/* ---- POST /peer/v1/resolve, on the HTTP thread ---- */

/* The smaller of ours and the requester's; false when the header is not a number of milliseconds. */
static bool read_timeout(const struct http_request *request, int64_t *timeout_ms)
{
	const char *text = http_request_header(request, "Homeward-Timeout-Ms");
	long long asked_ms;
	char *end;

	if (text == NULL)
		return true;
	errno = 0;
	asked_ms = strtoll(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || asked_ms < 1)
		return false;
	if (asked_ms < *timeout_ms)
		*timeout_ms = asked_ms;
	return true;
}

static int64_t less_way_back(int64_t deadline_ms, int64_t now_ms)
{
	int64_t keep_ms = (deadline_ms - now_ms) * WAY_BACK_PERCENT / 100;

	return deadline_ms - (keep_ms < WAY_BACK_MS_MAX ? keep_ms : WAY_BACK_MS_MAX);
}

static enum status batch_read(
	struct resolve_batch *batch, const char *body, size_t size, int64_t timeout_ms, struct strbuf *why)
{
	enum status status = peer_wire_read_questions(
		body, size, batch->started_ms, timeout_ms, &batch->questions, &batch->count, why);

	if (status != STATUS_OK)
		return status;
	batch->answers = calloc(batch->count + 1, sizeof(*batch->answers));
	batch->items = calloc(batch->count + 1, sizeof(*batch->items));
	if (batch->answers == NULL || batch->items == NULL)
		return STATUS_NO_MEMORY;
	for (size_t i = 0; i < batch->count; i++) {
		batch->questions[i].deadline_ms = less_way_back(batch->questions[i].deadline_ms, batch->started_ms);
		batch->answers[i].status = STATUS_DEADLINE; /* until it is answered */
		batch->items[i].batch = batch;
	}
	return STATUS_OK;
}

static void batch_start(struct resolve_batch *batch, struct http_request *request)
{
	struct peer_service *service = batch->service;

	batch->request = request;
	batch->place = place_of(service, batch->requester);
	batch->admitted = batch->pending = place_enter(service, batch->place, batch->count);
	for (size_t i = batch->admitted; i < batch->count; i++)
		batch->answers[i].status = STATUS_OVERLOADED;
	if (batch->admitted == 0) {
		batch_reply(batch);
		batch_destroy(batch);
		return;
	}
	batch->engine = &service->engines[atomic_fetch_add(&service->next_engine, 1) % service->engine_count];
	batch->task.run = batch_run;
	http_request_suspend(request);
	loop_post(batch->engine->loop, &batch->task);
}

static void resolve(void *arg, struct http_request *request)
{
	struct peer_service *service = arg;
	const char *requester = http_request_peer(request);
	int64_t timeout_ms = service->settings->lookup.timeout_ms_max;
	struct strbuf why = STRBUF_INIT;
	struct resolve_batch *batch = NULL;
	enum status status;
	const char *body;
	size_t size = 0;

	if (requester == NULL) {
		problem_reply(request, STATUS_UNAUTHENTICATED, "Peers show their region's certificate.");
		return;
	}
	if (strcmp(requester, service->settings->region) == 0) {
		problem_reply(request, STATUS_FORBIDDEN, "A region asks itself on its own api listener.");
		return;
	}
	if (!read_timeout(request, &timeout_ms)) {
		problem_reply(request, STATUS_INVALID, "Homeward-Timeout-Ms is a number of milliseconds, at least 1.");
		return;
	}
	status = STATUS_NO_MEMORY;
	batch = calloc(1, sizeof(*batch));
	if (batch == NULL)
		goto out;
	batch->service = service;
	batch->started_ms = clock_monotonic_ms(service->clock);
	(void)snprintf(batch->requester, REGION_SIZE, "%s", requester);
	body = http_request_body(request, &size);
	status = batch_read(batch, body, size, timeout_ms, &why);
	if (status != STATUS_OK)
		goto out;
	batch_start(batch, request);
	batch = NULL;
out:
	if (status != STATUS_OK)
		problem_reply(request, status, why.length > 0 ? why.data : NULL);
	batch_destroy(batch);
	strbuf_release(&why);
}

/* ---- GET /peer/v1/health ---- */

static void health(void *arg, struct http_request *request)
{
	struct peer_service *service = arg;
	struct strbuf body = STRBUF_INIT;
	struct http_response *response = NULL;

	strbuf_addf(&body, "{\"region\":\"%s\",\"status\":\"ok\"}\n", service->settings->region);
	if (strbuf_ok(&body))
		response = http_response_create(200, "application/json", body.data, body.length);
	strbuf_release(&body);
	if (response == NULL) {
		problem_reply(request, STATUS_NO_MEMORY, NULL);
		return;
	}
	http_response_header(response, "Cache-Control", "no-store");
	http_request_reply(request, response);
}

/* ---- POST /peer/v1/forget ---- */

static void forget(void *arg, struct http_request *request)
{
	struct peer_service *service = arg;
	const char *region = http_request_peer(request);

	if (region == NULL)
		problem_reply(request, STATUS_UNAUTHENTICATED, "Peers show their region's certificate.");
	else if (service->forget_hook.forget == NULL)
		problem_reply(request, STATUS_NOT_FOUND, NULL);
	else
		service->forget_hook.forget(service->forget_hook.arg, request, region);
}

/* ---- /peer/v1/log ---- */

static void log_checkpoint(void *arg, struct http_request *request)
{
	log_service_checkpoint(((struct peer_service *)arg)->log, request);
}

static void log_tile(void *arg, struct http_request *request)
{
	log_service_tile(((struct peer_service *)arg)->log, request);
}

static void log_add_checkpoint(void *arg, struct http_request *request)
{
	log_service_add_checkpoint(((struct peer_service *)arg)->log, request);
}

const struct http_route *peer_service_routes(size_t *count_out)
{
	static const struct http_route routes[] = {
		{ "POST", "/peer/v1/resolve", resolve },
		{ "GET", "/peer/v1/health", health },
		{ "GET", "/peer/v1/exchanges", peer_records },
		{ "POST", "/peer/v1/forget", forget },
		{ "GET", "/peer/v1/log/checkpoint", log_checkpoint },
		{ "GET", "/peer/v1/log/tile/{path*}", log_tile },
		{ "POST", "/peer/v1/log/add-checkpoint", log_add_checkpoint },
	};

	*count_out = sizeof(routes) / sizeof(routes[0]);
	return routes;
}

/* ---- the service ---- */

/* ---- budgets ---- */

static void tell_of_budget(void *arg, const struct budget_alarm *alarm)
{
	struct peer_service *service = arg;
	const char *budget = budget_verdict_name(alarm->verdict);

	metric_add(metric_series(service->budget_alarms, alarm->region, budget, (const char *)NULL), 1);
	LOG_WARN("budget_exceeded", "peer", alarm->region, "caller", alarm->caller, "budget", budget, "lookups_minute",
		log_number(alarm->lookups), "misses_minute", log_number(alarm->misses), "subjects_hour",
		log_number(alarm->subjects));
	if (service->budget_hook.alarmed != NULL)
		service->budget_hook.alarmed(service->budget_hook.arg, alarm);
}

static enum status create_budgets(struct peer_service *service)
{
	const struct settings *settings = service->settings;
	struct budget_limits limits = { settings->budgets.lookups_per_s, settings->budgets.subjects_per_hour,
		settings->budgets.misses_percent, settings->budgets.misses_min, settings->budgets.slow_per_s,
		settings->budgets.slow_s };

	service->budget_refusals = metric_register(METRIC_COUNTER, "homeward_budget_refusals_total",
		"Lookups of other regions refused because their caller was past a budget.", "peer,budget");
	service->budget_alarms = metric_register(METRIC_COUNTER, "homeward_budget_alarms_total",
		"Times a caller of another region first passed a budget in a minute.", "peer,budget");
	service->budgets = budgets_create(&limits, service->clock, tell_of_budget, service);
	return service->budgets != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status peer_service_create(const struct peer_service_settings *settings, struct peer_service **service_out)
{
	struct peer_service *service;

	must(settings->engine_count > 0 && settings->place_station.place != NULL);
	*service_out = NULL;
	service = calloc(1, sizeof(*service));
	if (service == NULL)
		return STATUS_NO_MEMORY;
	service->engines = calloc(settings->engine_count, sizeof(*service->engines));
	if (service->engines == NULL) {
		free(service);
		return STATUS_NO_MEMORY;
	}
	memcpy(service->engines, settings->engines, settings->engine_count * sizeof(*service->engines));
	service->engine_count = settings->engine_count;
	service->gate = settings->gate;
	service->place_station = settings->place_station;
	service->clock = settings->clock;
	service->settings = settings->settings;
	service->forget_hook = settings->forget_hook;
	service->log = settings->log;
	must(pthread_mutex_init(&service->places_lock, NULL) == 0);
	service->lookups = metric_register(METRIC_COUNTER, "homeward_served_lookups_total",
		"Lookups answered to other regions, by asking region and result.", "peer,result");
	service->duration = metric_series(metric_register(METRIC_HISTOGRAM, "homeward_serve_seconds",
						  "Time to answer one batch of another region.", NULL),
		NULL);
	service->budget_hook = settings->budget_hook;
	service->travel = settings->travel;
	service->travel_hook = settings->travel_hook;
	if (create_budgets(service) != STATUS_OK) {
		peer_service_destroy(service);
		return STATUS_NO_MEMORY;
	}
	*service_out = service;
	return STATUS_OK;
}

void peer_service_destroy(struct peer_service *service)
{
	if (service == NULL)
		return;
	budgets_destroy(service->budgets);
	pthread_mutex_destroy(&service->places_lock);
	free(service->engines);
	free(service);
}

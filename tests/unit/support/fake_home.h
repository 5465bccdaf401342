/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake home region around handlers/peer_service.c and handlers/serve.c: the gate,
 * the access log, the object handlers and the HTTP server, which a program that
 * includes this file links instead of the real ones.  Everything happens on the
 * test's own thread; completions come in a later round of the loop, as real ones do.
 */
#ifndef SUPPORT_FAKE_HOME_H
#define SUPPORT_FAKE_HOME_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/must.h"
#include "base/peer_wire.h"
#include "base/problem.h"
#include "handlers/copies.h"
#include "handlers/handlers.h"
#include "tests/unit/support/fake_http.h"

#define EXCHANGE_1 "01890a5d-ac96-774b-bcce-b302099a8057"
#define EXCHANGE_2 "01890a5d-ac96-774b-bcce-b302099a8058"

/* ---- the fake world ---- */

struct policy {
	int references;
};

struct policy_release {
	struct object_id object;
	char peer[REGION_SIZE];
	struct gate_decision decision;
};

struct recorded {
	char subject[OBJECT_ID_SIZE], requester[REGION_SIZE], peer[REGION_SIZE], station_region[REGION_SIZE];
	enum roaming roaming;
	bool had_policy, had_record, was_absent;
};

struct held_fetch {
	struct loop_task task;
	struct object_id object;
	handlers_fetch_done *done;
	void *arg;
	struct held_fetch *next;
};

static struct {
	struct loop *loop;
	struct settings settings;
	struct settings_type types[2];
	struct policy policy;
	struct peer_service *service;
	struct http_request request;
	struct recorded entries[8];
	int entry_count, grant_checks, releases_alive;
	bool holds_fetches, reads_roaming, grant_is_open;
	enum status log_status, fetch_status;
	int64_t ttl_max_s, deadline_seen_ms;
	const char *router_places;
	struct held_fetch *held;
} world;

const struct settings_type *settings_type(const struct settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->type_count; i++) {
		if (strcmp(settings->types[i].name, name) == 0)
			return &settings->types[i];
	}
	return NULL;
}

static void fetch_end(struct loop_task *task)
{
	struct held_fetch *fetch = (struct held_fetch *)task;
	json_t *content = NULL;

	if (strcmp(fetch->object.id, "04A2B3C4") == 0 || strcmp(fetch->object.id, "DE1") == 0)
		content = json_pack("{s:b,s:s}", "valid", 1, "holder", "Ada");
	if (world.fetch_status != STATUS_OK)
		fetch->done(fetch->arg, world.fetch_status, 0, NULL);
	else
		fetch->done(fetch->arg, content != NULL ? STATUS_OK : STATUS_NOT_AVAILABLE, 7, content);
	json_decref(content);
	free(fetch);
}

/* Nobody is told of changes here. */
bool handlers_note_copy(struct handlers *handlers, struct copy *copy, copies_done *done, void *arg)
{
	(void)handlers;
	(void)copy;
	(void)done;
	(void)arg;
	return false;
}

void handlers_fetch(struct handlers *handlers, const struct object_id *object, int64_t deadline_ms,
	handlers_fetch_done *done, void *arg)
{
	struct held_fetch *fetch = calloc(1, sizeof(*fetch));

	(void)handlers;
	must(fetch != NULL);
	world.deadline_seen_ms = deadline_ms;
	fetch->task.run = fetch_end;
	fetch->object = *object;
	fetch->done = done;
	fetch->arg = arg;
	if (world.holds_fetches) {
		fetch->next = world.held;
		world.held = fetch;
	} else {
		loop_defer(world.loop, &fetch->task);
	}
}

struct policy *gate_acquire(struct gate *gate)
{
	(void)gate;
	world.policy.references++;
	return &world.policy;
}

void policy_release_reference(struct policy *policy)
{
	policy->references--;
}

const char *policy_version(const struct policy *policy)
{
	(void)policy;
	return "42:9f86d081884c7d65";
}

bool policy_reads_roaming(
	const struct policy *policy, enum gate_operation operation, const char *type, const char *purpose)
{
	(void)policy;
	(void)type;
	(void)purpose;
	assert_int_equal(operation, GATE_SERVE);
	return world.reads_roaming;
}

struct late_grant {
	struct loop_task task;
	grant_done *done;
	void *arg;
};

static void grant_end(struct loop_task *task)
{
	struct late_grant *grant = (struct late_grant *)task;

	grant->done(grant->arg, STATUS_OK, world.grant_is_open);
	free(grant);
}

void grant_check(struct access_log *log, const struct object_id *object, const char *region, int64_t deadline_ms,
	grant_done *done, void *arg)
{
	struct late_grant *grant = calloc(1, sizeof(*grant));

	(void)log;
	(void)object;
	(void)deadline_ms;
	must(grant != NULL);
	assert_string_equal(region, "eu");
	world.grant_checks++;
	*grant = (struct late_grant){ { grant_end, NULL }, done, arg };
	loop_defer(world.loop, &grant->task);
}

struct late_release {
	struct loop_task task;
	struct policy_release *release;
	enum status status;
	policy_release_done *done;
	void *arg;
};

static void release_end(struct loop_task *task)
{
	struct late_release *late = (struct late_release *)task;

	late->done(late->arg, late->status, late->release);
	free(late);
}

/* Permits charge.authorize of an object that is there. */
void policy_release_request(struct access_log *log, struct policy *policy, const struct gate_request *request,
	const struct lookup_question *question, const char *peer, policy_release_done *done, void *arg)
{
	struct late_release *late = calloc(1, sizeof(*late));
	struct recorded *entry = &world.entries[world.entry_count++];

	(void)log;
	must(late != NULL);
	assert_int_equal(request->operation, GATE_SERVE);
	snprintf(entry->subject, sizeof(entry->subject), "%s", question->object.id);
	snprintf(entry->requester, sizeof(entry->requester), "%s", request->requester);
	snprintf(entry->peer, sizeof(entry->peer), "%s", peer);
	snprintf(entry->station_region, sizeof(entry->station_region), "%s",
		request->station_region != NULL ? request->station_region : "");
	entry->roaming = request->roaming;
	entry->had_policy = policy != NULL;
	entry->was_absent = request->is_absent;
	entry->had_record = request->record != NULL;

	late->task.run = release_end;
	late->done = done;
	late->arg = arg;
	late->status = world.log_status;
	if (late->status == STATUS_OK &&
		(policy == NULL || request->is_absent || strcmp(request->purpose, "charge.authorize") != 0))
		late->status = STATUS_NOT_AVAILABLE;
	if (late->status == STATUS_OK) {
		late->release = calloc(1, sizeof(*late->release));
		must(late->release != NULL);
		late->release->object = question->object;
		snprintf(late->release->peer, REGION_SIZE, "%s", peer);
		late->release->decision.ttl_max_s = world.ttl_max_s;
		world.releases_alive++;
	}
	loop_defer(world.loop, &late->task);
}

void policy_release_destroy(struct policy_release *release)
{
	world.releases_alive--;
	free(release);
}

bool policy_release_covers(const struct policy_release *release, const struct object_id *object, const char *peer)
{
	return object_id_equal(&release->object, object) && strcmp(release->peer, peer) == 0;
}

const struct gate_decision *policy_release_decision(const struct policy_release *release)
{
	return &release->decision;
}

const char *policy_release_version(const struct policy_release *release)
{
	(void)release;
	return "42:9f86d081884c7d65";
}

char *policy_release_take_record(
	struct policy_release *release, size_t *length_out, uint8_t nonce_out[LOOKUP_NONCE_SIZE])
{
	char *record = strdup("{\"valid\":true}");

	(void)release;
	must(record != NULL);
	*length_out = strlen(record);
	memset(nonce_out, 7, LOOKUP_NONCE_SIZE);
	return record;
}

void access_log_prepare(struct access_log *log, const struct policy *policy, const struct object_id *object)
{
	(void)log;
	(void)policy;
	(void)object;
}

/* ---- helpers ---- */

static void place(void *arg, const struct object_id *station, char region_out[REGION_SIZE])
{
	(void)arg;
	assert_string_equal(station->type, "station");
	snprintf(region_out, REGION_SIZE, "%s", world.router_places);
}

static int setup(void **state)
{
	struct serve_engine engine = { 0 };
	struct peer_service_settings settings = { 0 };

	(void)state;
	memset(&world, 0, sizeof(world));
	world.router_places = "";
	world.ttl_max_s = -1;
	world.request.peer = "eu";
	snprintf(world.types[0].name, OBJECT_TYPE_SIZE, "token");
	world.types[0].id_format = ID_FORMAT_RFID_UID;
	snprintf(world.types[1].name, OBJECT_TYPE_SIZE, "station");
	static char region[] = "na";
	world.settings.region = region;
	world.settings.types = world.types;
	world.settings.type_count = 2;
	world.settings.cache.negative_ttl_s = 30;
	world.settings.cache.ttl_max_s = 900;
	world.settings.lookup.timeout_ms_max = 10000;
	world.settings.lookup.in_flight_max = 100;

	assert_int_equal(loop_create("test", &world.loop), STATUS_OK);
	world.request.loop = world.loop;
	engine.loop = world.loop;
	settings.engines = &engine;
	settings.engine_count = 1;
	settings.place_station = (struct place_station){ place, NULL };
	settings.clock = clock_system();
	settings.settings = &world.settings;
	assert_int_equal(peer_service_create(&settings, &world.service), STATUS_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_http_forget(&world.request);
	peer_service_destroy(world.service);
	loop_destroy(world.loop);
	assert_int_equal(world.policy.references, 0);
	assert_int_equal(world.releases_alive, 0);
	return 0;
}

static void post(const char *body)
{
	const struct http_route *routes;
	size_t count;

	fake_http_forget(&world.request);
	world.request.body = body;
	routes = peer_service_routes(&count);
	assert_int_equal(count, 7);
	assert_string_equal(routes[0].pattern, "/peer/v1/resolve");
	routes[0].handler(world.service, &world.request);
}

/* The one answer to a batch of one, as parsed; decref it. */
static json_t *ask(const char *body)
{
	json_t *answers = NULL;

	post(body);
	loop_run_here(world.loop);
	assert_int_equal(world.request.replies, 1);
	assert_non_null(world.request.response);
	assert_int_equal(world.request.response->status, 200);
	assert_string_equal(world.request.response->type, "application/json");
	assert_string_equal(world.request.response->cache_control, "no-store");
	assert_int_equal(json_parse(world.request.response->body, strlen(world.request.response->body), &answers, NULL),
		STATUS_OK);
	return answers;
}

static const char *answer_string(const json_t *answers, size_t index, const char *key)
{
	return json_get_string(json_array_get(json_object_get(answers, "answers"), index), key);
}

static int64_t answer_integer(const json_t *answers, size_t index, const char *key)
{
	int64_t value = -1;

	(void)json_get_integer(json_array_get(json_object_get(answers, "answers"), index), key, &value);
	return value;
}

#define LOOKUP(exchange, type, id, purpose, more)                                                                      \
	"{\"exchange\":\"" exchange "\",\"type\":\"" type "\",\"id\":\"" id "\",\"purpose\":\"" purpose                \
	"\",\"caller\":\"csms\",\"timeout_ms\":2000" more "}"
#define BATCH(lookups) "{\"lookups\":[" lookups "]}"

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handlers: front door.  What this region answers about its own objects: the
 * handlers that build a record (store, sql, http), and the peer listener's
 * endpoints, which serve other regions through the gate.
 */
#ifndef HANDLERS_HANDLERS_H
#define HANDLERS_HANDLERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/database.h"
#include "base/http_client.h"
#include "base/http_server.h"
#include "base/lookup.h"
#include "base/loop.h"
#include "base/settings.h"
#include "base/status.h"
#include "policy/policy.h"

/* ---- object handlers, one set per engine ---- */

struct handlers;

/* Settings and gate are borrowed and must outlive it.  The policy says which flags of subjects are looked for beside
 * records of sql and http; gate NULL: none. */
MUST_CHECK enum status handlers_create(struct loop *loop, struct database *database, struct http_client *client,
	const struct settings *settings, struct gate *gate, struct handlers **handlers_out);
void handlers_destroy(struct handlers *handlers);

/* STATUS_OK: content is borrowed (incref to keep), with the flags that homeward keeps in it.
 * STATUS_NOT_AVAILABLE: no such object here.
 * Versions of store and sql rise, and http's when its service counts in its ETags; else http's only changes with the
 * content. */
typedef void handlers_fetch_done(void *arg, enum status status, uint64_t version, json_t *content);
/* Fetches of the same round for the same handler go out as one array query.  The id is copied. */
void handlers_fetch(struct handlers *handlers, const struct object_id *object, int64_t deadline_ms,
	handlers_fetch_done *done, void *arg);

enum write_condition { WRITE_IF_ABSENT, WRITE_IF_VERSION, WRITE_ALWAYS };
typedef void handlers_write_done(void *arg, enum status status, uint64_t version, bool was_created);
/* Types of handler `store` only, else STATUS_FORBIDDEN.  STATUS_PRECONDITION_FAILED: another version is there.
 * content NULL deletes (STATUS_NOT_AVAILABLE: there was nothing to delete); else the version after the write is told.
 * Everything is copied. */
void handlers_write(struct handlers *handlers, const struct object_id *object, const json_t *content,
	enum write_condition condition, uint64_t version, int64_t deadline_ms, handlers_write_done *done, void *arg);

/* ---- serving peers ---- */

/* One per engine, fitted in main.c. */
struct serve_engine {
	struct loop *loop;
	struct handlers *handlers;
	struct access_log *log;
};

/* Upward seam: where this region's router places a station, which handlers may not ask router itself.
 * Any thread; region_out "" when unknown. */
struct place_station {
	void (*place)(void *arg, const struct object_id *station, char region_out[REGION_SIZE]);
	void *arg;
};

/* Upward seam: told when a caller of another region first passes a budget in a minute.  Any thread; may be NULL. */
struct budget_hook {
	budget_alarmed *alarmed;
	void *arg;
};

/* Likewise: told of a card that cannot have come there in that time. */
struct travel_hook {
	void (*found)(void *arg, const struct object_id *object, const struct travel_finding *finding);
	void *arg;
};

/* Upward seam: a region has an object of its own forgotten here.  On an HTTP thread; replies to the request. */
struct forget_hook {
	void (*forget)(void *arg, struct http_request *request, const char *region);
	void *arg;
};

/* ---- what is asked about a subject; pure, and the texts are borrowed from what was asked ---- */

struct flag_request {
	const char *name, *value, *reason; /* words of the policy; reason "" when none was given */
};
MUST_CHECK enum status flag_request_read(const json_t *asked, struct flag_request *request_out, struct strbuf *why);

/* What a home says when it has an object forgotten; any may be NULL, for missing. */
struct forget_words {
	const char *erasure, *type, *id, *only;
};
struct forget_request {
	struct exchange_id erasure;
	struct object_id object; /* canonical */
	bool is_copies_only;     /* it has changed: nothing is erased */
};
MUST_CHECK enum status forget_request_read(const struct settings *settings, const struct forget_words *words,
	struct forget_request *request_out, struct strbuf *why);
/* Whether `region` may have it forgotten.  home: by our own routes; NULL where they do not say, for the exact route
 * goes with the first forgetting, and to be told again must be as good. */
MUST_CHECK enum status forget_request_judge(const char *home, const char *region, struct strbuf *why);

/* ---- access logs, to other regions: this one's checkpoint and hash tiles, and its cosignature of theirs ---- */

struct log_service;

/* Upward seam: another region's log was seen to contradict itself.  On the control loop; may be NULL. */
struct log_alarm_hook {
	void (*alarmed)(void *arg, const char *region, enum witness_result result);
	void *arg;
};

struct log_service_settings {
	struct loop *loop;       /* the control loop: files are read there, and the witness lives there */
	const char *directory;   /* of this region's log; copied */
	struct witness *witness; /* borrowed */
	const struct clock_source *clock;
	struct log_alarm_hook hook;
};

MUST_CHECK enum status log_service_create(
	const struct log_service_settings *settings, struct log_service **service_out);
/* After the peer listener and the loop have stopped. */
void log_service_destroy(struct log_service *service);

struct peer_service;

struct peer_service_settings {
	const struct serve_engine *engines; /* copied */
	size_t engine_count;
	struct gate *gate;
	struct place_station place_station;
	const struct clock_source *clock;
	const struct settings *settings; /* types, region, timeouts, budgets; must outlive it */
	struct budget_hook budget_hook;
	struct travel *travel; /* NULL: nobody looks */
	struct travel_hook travel_hook;
	struct forget_hook forget_hook; /* forget may be NULL: then there is no such endpoint */
	struct log_service *log;        /* borrowed; NULL: no log is shown */
};

MUST_CHECK enum status peer_service_create(
	const struct peer_service_settings *settings, struct peer_service **service_out);
void peer_service_destroy(struct peer_service *service);
/* Before the listener starts: where what peers ask of the access log is read, on a connection of its own. */
void peer_service_read_records(struct peer_service *service, struct loop *loop, struct database *database);
/* The routes to give the peer listener, with the service as their argument. */
const struct http_route *peer_service_routes(size_t *count_out);

/* One lookup served to `requester` on the engine's loop; pure but for what the engine does, so tests call it directly.
 * requester and question are borrowed until done.  The answer is borrowed: take its record by nulling it. */
typedef void serve_done(void *arg, struct lookup_answer *answer);
void serve_lookup(struct peer_service *service, const struct serve_engine *engine, const char *requester,
	const struct lookup_question *question, serve_done *done, void *arg);

#endif

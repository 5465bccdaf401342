/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of one running region, and the order in which they are made and
 * taken down.  Only main.c, admin.c and the service's own files see this.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/health.h"
#include "base/settings.h"
#include "base/tls.h"
#include "federation/federation.h"
#include "handlers/handlers.h"
#include "locator/locator.h"
#include "policy/policy.h"
#include "router/router.h"

#define ENGINES_MAX 16        /* one a core; more would only split the batches thinner */
#define REKEYING_NAME_SIZE 80 /* of a row whose seal is renewed */

/* One event loop and everything that lives on it. */
struct engine {
	struct loop *loop;
	struct database *database;     /* reads and writes of objects */
	struct database *log_database; /* subjects' keys and grants, so that reads never wait behind their commits */
	struct http_client *client;
	struct handlers *handlers;
	struct access_log *log;
	struct delegate *delegate;
};

struct service {
	struct settings *settings;   /* as started; parts borrow from it until the end */
	struct settings *current;    /* as last reloaded; NULL until then.  Guarded by reload_lock */
	pthread_mutex_t reload_lock; /* reloads are one at a time, and following the mesh file */
	struct strbuf dsn;
	struct tls_store *tls;
	struct gate *gate;
	struct log_writer *log_writer;
	struct log_index *log_index;
	struct keyring *keyring;
	atomic_uint_fast64_t unrecorded; /* crossings without an entry, to be told in a `gap` */
	struct log_peers *log_peers;
	struct witness *witness;
	struct log_service *log_service;
	struct cosigning *cosigning;
	struct routes *routes;
	struct peers *peers;
	struct health *health;

	/* The control loop: what must not disturb the engines. */
	struct loop *control;
	struct database *control_database;
	struct database *records_database; /* what peers ask of the access log */
	struct http_client *control_client;
	struct loop_timer upkeep;
	int64_t warn_lapse_ms; /* when to say again that a certificate has lapsed */
	struct system_expiries expiries;
	struct { /* what was seen last, to tell of changes; control loop only */
		uint64_t generation, published;
		enum log_writer_state log_state;
		int64_t published_ms, next_look_ms;
		bool is_late;
		int space; /* percent */
	} seen;
	bool is_migrated; /* control loop only, after start */
	int telling;      /* other regions being told to forget; control loop only */
	struct {          /* another master key; control loop only, but `rewrapped` */
		bool is_busy;
		int64_t began_ms, pass_ms; /* began_ms: when this process saw that it is under way; 0: it is not */
		size_t store, found, unreadable; /* the last two: in this pass */
		char after[REKEYING_NAME_SIZE];
		atomic_uint_fast64_t rewrapped;
	} rekeying;

	int64_t changes_heard_ms; /* when what hears of changes was last connected; 0 never; control loop only */

	struct engine engines[ENGINES_MAX];
	size_t engine_count;
	struct locator *locator;
	struct peer_service *peer_service;
	struct travel *travel;
	struct events *events; /* NULL without a broker; set and cleared under reload_lock */
	struct system_events *system;
	struct denials *denials;
	uint8_t subject_key[32]; /* names objects in system events */

	struct http_server *api, *api_unix, *peer, *admin, *admin_unix;
	atomic_bool is_draining;
};

/* Builds and starts everything.  On failure `why` says what is wrong and *service_out is NULL;
 * STATUS_INVALID means the configuration (exit 78). */
MUST_CHECK enum status service_start(struct settings *settings, struct service **service_out, struct strbuf *why);
/* Refuses new connections and turns unready. */
void service_drain(struct service *service);
/* After that: what idle connections still bring is answered with 503 instead of a lookup. */
void service_refuse(struct service *service);
/* Requests and lookups not answered yet. */
int service_in_flight(const struct service *service);
void service_stop(struct service *service);

/* Reads settings, policy, certificates and mesh file again: all of it applies, or none.  why: lines for people; on
 * success applied and restart_needed are comma separated keys. */
MUST_CHECK enum status service_reload(
	struct service *service, struct strbuf *applied, struct strbuf *restart_needed, struct strbuf *why);

/* Once a second on the control loop: follows the mesh file when it has changed. */
void service_reload_tend(struct service *service);

/* The policy file of these settings, believed; a refusal is recorded. */
MUST_CHECK enum status service_read_policy(struct service *service, const struct settings *settings,
	struct policy **policy_out, struct policy_load *load_out, struct strbuf *why);
/* Hangs the shadow policy of these settings on it.  Only for a policy that is not in force yet. */
MUST_CHECK enum status service_attach_shadow(
	const struct settings *settings, struct policy *policy, struct strbuf *why);
/* The last step before it comes into force: remembers it, and records how that went. */
MUST_CHECK enum status service_accept_policy(
	struct service *service, const struct settings *settings, const struct policy_load *load, struct strbuf *why);
/* Each policy file that was read ends here: in a metric and the log. */
void service_record_policy(
	struct service *service, const struct policy_load *load, bool is_accepted, const char *reason);

/* ---- service_log.c: the access log's part of it ---- */

/* Opens writer and keyring, and writes `boot`. */
MUST_CHECK enum status service_log_open(struct service *service, struct strbuf *why);
/* Starts the search index's follower; after the schema. */
MUST_CHECK enum status service_log_follow(struct service *service, struct strbuf *why);
/* Once a second on the control loop: turns epochs, and tells what went by unrecorded. */
void service_log_tend(struct service *service);
/* Waits until it is durable; warns when it cannot be. */
enum status service_log_write(struct service *service, const struct access_note *note);
/* What an operator did, or the service did to itself; warned of when it cannot be written. */
void service_log_note(struct service *service, enum entry_kind kind, const char *policy_version_text, const char *text);
/* What must not happen without its entry: STATUS_OK only when that is durable. */
MUST_CHECK enum status service_log_admin(struct service *service, const char *text);
/* After everything that appends. */
void service_log_close(struct service *service);
bool service_log_check(void *service, struct strbuf *why);

/* What looks at taps, and the places of the regions; told of by service_found_travel(). */
MUST_CHECK enum status service_start_travel(struct service *service);
void service_found_travel(void *service, const struct object_id *object, const struct travel_finding *finding);
/* Of an object at home here: LOOKUP_… flags. */
unsigned int service_note_tap(void *service, const struct object_id *object, const char *station_region);

/* ---- service_erase.c, service_tell.c, service_forget.c, service_flag.c: what people may ask for ---- */

/* POST /admin/v1/subjects/erase, GET /admin/v1/subjects/erasures. */
void service_erase(void *service, struct http_request *request);
void service_erasures(void *service, struct http_request *request);
/* Restriction and consent. */
void service_flag(void *service, struct http_request *request);
/* POST /peer/v1/forget. */
void service_forget(void *service, struct http_request *request, const char *region);
/* Once a second on the control loop: tells regions that have not acknowledged yet. */
void service_forget_tend(struct service *service);

/* ---- service_keys.c: another master key for the subjects' keys ---- */

/* GET and POST /admin/v1/subjects/master-key. */
void service_master_key(void *service, struct http_request *request);
void service_change_master_key(void *service, struct http_request *request);
/* Once a second on the control loop: goes on with it. */
void service_keys_tend(struct service *service);

/* ---- service_changes.c: what changed elsewhere ---- */

/* On the control loop's database, before the loop runs. */
MUST_CHECK enum status service_changes_follow(struct service *service);
/* On the control loop, when the database's schema is there at last. */
void service_changes_migrated(struct service *service);
/* Once a second on the control loop. */
void service_changes_tend(struct service *service);

/* ---- service_events.c: events, and what homeward itself says ---- */

/* Before anything that may have something to say. */
MUST_CHECK enum status service_system_start(struct service *service);
/* With peers, routes and the control loop; before the loops run. */
void service_system_follow(struct service *service);
/* After everything that may. */
void service_system_stop(struct service *service);
/* Regions without a broker have no events, and nothing of them runs. */
MUST_CHECK enum status service_events_start(struct service *service, struct strbuf *why);
/* While the control loop still runs. */
void service_events_stop(struct service *service);
/* Once a second on the control loop. */
void service_events_tend(struct service *service);
/* Certificates were read again: they are looked at soon. */
void service_events_look(struct service *service);
/* Hooks; the service is their argument. */
void service_budget_alarmed(void *service, const struct budget_alarm *alarm);
void service_peer_log_alarmed(void *service, const char *region, enum witness_result result);

/* ---- service_witness.c: what regions sign for each other ---- */

/* After the log is open and the control loop made; before the peer service. */
MUST_CHECK enum status service_witness_open(struct service *service, struct strbuf *why);
/* On the control loop, with its client. */
MUST_CHECK enum status service_cosigning_start(struct service *service);
/* After the control loop has stopped, before its client is destroyed. */
void service_witness_close(struct service *service);
/* The log keys of these settings' peers; all or none. */
MUST_CHECK enum status service_define_log_peers(
	struct service *service, const struct settings *settings, struct strbuf *why);

/* Gives the peer table the peers of these settings. */
MUST_CHECK enum status service_define_peers(
	struct service *service, const struct settings *settings, struct strbuf *why);

/* The admin listener's endpoints; the service is their argument. */
const struct http_route *admin_routes(size_t *count_out);
/* Takes the text of a 200. */
void admin_reply(struct http_request *request, const char *content_type, struct strbuf *text);
/* GET /admin/v1/status, in admin_status.c. */
void admin_status(void *service, struct http_request *request);
/* Gauges that are read when scraped. */
void admin_collect_metrics(void *service);

#endif

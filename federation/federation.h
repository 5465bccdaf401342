/* SPDX-License-Identifier: Apache-2.0 */
/*
 * federation: front door.  Events cross regions through federated RabbitMQ
 * exchanges: kept in PostgreSQL until the broker has confirmed them, taken once
 * at their destination (events.h).  The mesh tool brings the brokers to what the
 * mesh file says and tells whether they still are; but for mesh_link_origin(),
 * nothing of it is called on a loop's thread.
 */
#ifndef FEDERATION_FEDERATION_H
#define FEDERATION_FEDERATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "federation/events.h"
#include "federation/system_events.h"

/* ======== the mesh: mesh_*.c ======== */

/* ---- names on every broker ---- */

#define MESH_EVENTS "homeward.events"         /* topic, federated; key <destination>.<source>.<type> */
#define MESH_UNROUTABLE "homeward.unroutable" /* fanout and queue: what no link and no inbox takes */
#define MESH_DEAD "homeward.dead"             /* fanout and queue: what the inbox gave up on */
#define MESH_INBOX "homeward.inbox"           /* queue: <own region>.# and all.# */
#define MESH_SUBMIT "homeward.submit"         /* topic and queue: local producers */
#define MESH_DELIVERED "homeward.delivered"   /* topic: local consumers; key <source>.<type> */
#define MESH_SYSTEM "homeward.system"         /* topic: what the service itself has to say */
#define MESH_MQTT "homeward.mqtt" /* topic: local devices, key events.<name>.…; only where there are any */
#define MESH_BROADCAST "all"      /* a destination that no region may be called */

/* ---- the mesh file ---- */

#define MESH_REGIONS_MAX 512       /* a hub's sites; the plan is quadratic only in links */
#define MESH_URLS_MAX 8            /* addresses of one region, tried in turn */
#define MESH_TYPES_MAX 64          /* as in settings */
#define MESH_APPLICATIONS_MAX 1024 /* of one region */

/* A local application or device: a user of its region's broker alone, known by its certificate's common name. */
struct mesh_application {
	char name[APPLICATION_SIZE];
	bool may_submit;  /* publish to homeward.submit */
	bool may_mqtt;    /* publish by MQTT below events/<name>/ */
	bool may_deliver; /* consume, from queues <name>.*, what arrives for the region */
	bool may_system;  /* consume likewise what homeward itself says */
};

struct mesh_region {
	char name[REGION_SIZE];
	char *peer_urls[MESH_URLS_MAX], *broker_urls[MESH_URLS_MAX]; /* https://host:port, amqps://host:port */
	size_t peer_url_count, broker_url_count;
	char *vhost, *cluster; /* cluster: what the broker calls itself, unique and stable */
	struct {
		char *url, *user, *password_file, *ca_file; /* ca_file "": the system's authorities */
	} management;
	struct {
		char *ca_file, *certificate_file, *key_file; /* on the broker's own disk */
	} link;
	struct mesh_application *applications; /* by name */
	size_t application_count;
};

enum mesh_topology { MESH_TOPOLOGY_MESH, MESH_TOPOLOGY_HUB, MESH_TOPOLOGY_LINKS };

struct mesh {
	char *trust_domain, *vhost;
	enum mesh_topology topology;
	char *hub;
	struct {
		int64_t events_per_s, round_trip_ms; /* of one link; they size the prefetch */
		int64_t buffer_bytes_max;            /* events waiting for one region */
		int64_t queue_bytes_max;             /* inbox, submit, unroutable, dead: each */
		int64_t delivery_limit, reconnect_delay_s;
	} limits;
	char *object_types[MESH_TYPES_MAX];
	size_t object_type_count;
	struct mesh_region *regions; /* by name */
	size_t region_count;
	bool *links; /* [a * region_count + b], symmetric */
};

/* Every error of the file at once in `errors`, "file:line:column pointer: what", one a line. */
MUST_CHECK enum status mesh_parse(
	const char *name, const char *text, size_t size, struct mesh **mesh_out, struct strbuf *errors);
MUST_CHECK enum status mesh_load(const char *path, struct mesh **mesh_out, struct strbuf *errors);
#define MESH_FILE_BYTES_MAX (4 << 20)
void mesh_destroy(struct mesh *mesh);
/* The region's index, or mesh->region_count. */
size_t mesh_region_find(const struct mesh *mesh, const char *name);
/* Whether some region's user or application is called so: then the mesh tool makes that user. */
bool mesh_is_user(const struct mesh *mesh, const char *name);
bool mesh_has_link(const struct mesh *mesh, size_t a, size_t b);
/* The region whose broker a link's address, as RabbitMQ tells it, belongs to; "" none. */
const char *mesh_link_origin(const struct mesh *mesh, const char *uri);

/* ---- a broker's management API ---- */

/*
 * One call to a region's broker.  body NULL: none.  STATUS_OK whenever the broker answered, whatever it said;
 * *answer_out is NULL when there was no JSON.  Otherwise STATUS_UNREACHABLE or STATUS_DEADLINE, and `why`.
 */
struct mesh_api {
	enum status (*call)(void *arg, size_t region, const char *method, const char *path, const json_t *body,
		int *http_status_out, json_t **answer_out, struct strbuf *why);
	void *arg;
};

struct mesh_client;
/* The real one, libcurl with a deadline a call.  The mesh is borrowed.  Passwords are read here. */
MUST_CHECK enum status mesh_client_create(const struct mesh *mesh, struct mesh_client **client_out, struct strbuf *why);
void mesh_client_destroy(struct mesh_client *client);
struct mesh_api mesh_client_api(struct mesh_client *client);

/* ---- plan and apply ---- */

/* In the order in which they are made. */
enum mesh_kind {
	MESH_KIND_VHOST,
	MESH_KIND_USER,
	MESH_KIND_TOPIC_PERMISSION, /* before what it limits */
	MESH_KIND_PERMISSION,
	MESH_KIND_OPERATOR_POLICY,
	MESH_KIND_EXCHANGE,
	MESH_KIND_QUEUE,
	MESH_KIND_BINDING,
	MESH_KIND_UPSTREAM,
	MESH_KIND_POLICY,
	MESH_KIND_COUNT
};
const char *mesh_kind_name(enum mesh_kind kind);

struct mesh_object {
	enum mesh_kind kind;
	char *name;            /* bindings: "source -> destination key" */
	json_t *value;         /* what the management API takes and, with other members left out, gives */
	char *properties_key;  /* of an observed binding: its last path segment */
	int64_t message_count; /* of an observed queue */
};

/* What one broker should have, or has, in its virtual host: only what this tool owns. */
struct mesh_state {
	struct mesh_object *objects; /* by kind and name once sorted */
	size_t count, capacity;
	char *cluster, *version; /* observed */
	json_t *paused;          /* observed: a member for each region whose link to here is paused */
	json_t *remarks;         /* observed: sentences about what is not ours and is in the way */
	bool has_failed;         /* out of memory */
};
void mesh_state_release(struct mesh_state *state);
MUST_CHECK enum status mesh_desire(const struct mesh *mesh, size_t region, struct mesh_state *state_out);
MUST_CHECK enum status mesh_observe(const struct mesh *mesh, size_t region, const struct mesh_api *api,
	struct mesh_state *state_out, struct strbuf *why);

enum mesh_action { MESH_CREATE, MESH_CHANGE, MESH_REPLACE, MESH_DELETE };
const char *mesh_action_name(enum mesh_action action);

struct mesh_step {
	enum mesh_action action;
	enum mesh_kind kind;
	size_t region;
	char *name, *properties_key;
	json_t *before, *after; /* NULL where there is none */
	size_t links_restarted;
	bool is_buffer_at_risk; /* events may be lost by it; apply refuses while there are any */
	int64_t message_count;  /* of the queue that a step removes */
};

struct mesh_plan {
	struct mesh_step *steps; /* in the order of apply */
	size_t count, capacity;
	json_t *remarks; /* sentences */
	char hash[2 * SHA256_SIZE + 1];
	size_t brokers_touched, links_restarted, buffers_at_risk, removals;
	bool has_failed; /* out of memory */
};
/* Pure.  observed: one state a region, sorted by mesh_observe. */
MUST_CHECK enum status mesh_plan_make(
	const struct mesh *mesh, const struct mesh_state *observed, struct mesh_plan *plan_out);
/* Reads every broker and plans. */
MUST_CHECK enum status mesh_plan_read(
	const struct mesh *mesh, const struct mesh_api *api, struct mesh_plan *plan_out, struct strbuf *why);
void mesh_plan_release(struct mesh_plan *plan);
void mesh_plan_print(const struct mesh *mesh, const struct mesh_plan *plan, struct strbuf *text);
json_t *mesh_plan_json(const struct mesh *mesh, const struct mesh_plan *plan);

/*
 * Takes the steps in order and stops at the first fault, naming it in `why`; *done_out counts those taken.
 * A queue that holds events is never removed.  Each step is logged.
 */
MUST_CHECK enum status mesh_apply(const struct mesh *mesh, const struct mesh_api *api, const struct mesh_plan *plan,
	size_t *done_out, struct strbuf *why);

/* ---- status and verify ---- */

/* Events of `from` on their way to `to`: the broker of `to` fetches them from a buffer at `from`. */
struct mesh_link_status {
	size_t from, to;
	char state[32]; /* the link's own word, "missing", MESH_PAUSED, or "unknown" when its broker does not answer */
	char *error;    /* or NULL */
	bool has_binding, has_consumer, has_buffer;
	int64_t message_count;
	bool is_green; /* running, bound, consumed */
};

struct mesh_finding {
	const char *code; /* "MESH_004" */
	char *where, *evidence;
	const char *fix;
};

struct mesh_health {
	struct mesh_link_status *links;
	size_t link_count;
	struct mesh_finding *findings;
	size_t finding_count, finding_capacity;
	bool has_failed; /* out of memory */
};
/* Brokers that do not answer are findings, not failures. */
MUST_CHECK enum status mesh_health_read(
	const struct mesh *mesh, const struct mesh_api *api, struct mesh_health *health_out);
void mesh_health_release(struct mesh_health *health);

/* ---- what daemons say of a link: mesh_green.c ---- */

#define MESH_CANARY_AGE_MAX_MS 10000

struct mesh_link_word {      /* -1: unknown */
	int64_t told_age_ms; /* of what the receiver said, which is part of the canary's age */
	int64_t canary_age_ms, round_trip_p50_ms, round_trip_p99_ms;
	int64_t duplicates, gaps, unreceipted;
	int64_t certificate_days; /* of the two ends, the fewer */
	int64_t alarms;           /* of both ends */
};
/* Out of the answer of GET /admin/v1/mesh; matrix NULL: all is unknown. */
struct mesh_link_word mesh_link_word(const json_t *matrix, const char *from, const char *to);
/* Its receiver itself says that no canary came, however old that word is. */
bool mesh_link_is_silent(const struct mesh_link_word *word);
/* Why the link is not green, added to `reason`; nothing when it is.  word NULL: by the brokers' word alone. */
void mesh_link_reason(const struct mesh *mesh, const struct mesh_link_status *link, const struct mesh_link_word *word,
	struct strbuf *reason);

/* ---- pausing: mesh_pause.c ---- */

#define MESH_PAUSED "paused"

/* The link FROM -> TO, which the mesh file has.  STATUS_CONFLICT when its buffer would go with it. */
MUST_CHECK enum status mesh_pause_link(
	const struct mesh *mesh, const struct mesh_api *api, size_t from, size_t to, struct strbuf *why);
MUST_CHECK enum status mesh_resume_link(
	const struct mesh *mesh, const struct mesh_api *api, size_t from, size_t to, struct strbuf *why);

/* ---- healing: mesh_heal.c ---- */

#define MESH_HEAL_ATTEMPTS_MAX 4 /* until the link was green again: then it is for somebody to look at */
#define MESH_HEAL_PAUSE_MS 15000 /* after a restart, and twice as long after each more */

struct mesh_heal_state { /* of one link; zeroed when it is green */
	size_t attempts;
	int64_t next_ms;
};
bool mesh_heal_may_try(const struct mesh_heal_state *state, int64_t now_ms);
void mesh_heal_tried(struct mesh_heal_state *state, int64_t now_ms);

enum mesh_heal_outcome { MESH_HEAL_LEFT, MESH_HEAL_WOULD_RESTART, MESH_HEAL_RESTARTED, MESH_HEAL_FAILED };
/* Restarts a broken link where that is safe; `why` tells why it was left, or what failed. */
enum mesh_heal_outcome mesh_heal_link(const struct mesh *mesh, const struct mesh_api *api,
	const struct mesh_link_status *link, bool is_dry_run, struct strbuf *why);
const char *mesh_heal_outcome_name(enum mesh_heal_outcome outcome);

/* ---- changing the mesh file: mesh_file_edit.c ---- */

/*
 * The text of a mesh file that can be read, less a region and its links, or with one more; all else stays as it is.
 * entry: as the file has it; peers: names to link it with, where the file lists links.  STATUS_CONFLICT when that
 * cannot be done.
 */
MUST_CHECK enum status mesh_file_without(
	const char *text, size_t size, const char *region, struct strbuf *changed, struct strbuf *why);
MUST_CHECK enum status mesh_file_with(const char *text, size_t size, const char *region, json_t *entry,
	const json_t *peers, struct strbuf *changed, struct strbuf *why);
/* The text as it is, without comments. */
MUST_CHECK enum status mesh_file_json(const char *text, size_t size, json_t **root_out, struct strbuf *why);
/* Keeps a copy of the file beside it, whose path is added to `backup`, and replaces it. */
MUST_CHECK enum status mesh_file_save(
	const char *path, const struct strbuf *changed, struct strbuf *backup, struct strbuf *why);

/* ---- retiring a region: mesh_retire.c ---- */

struct mesh_retirement {
	const struct mesh *whole, *left; /* left: without the region */
	size_t region;                   /* in whole */
	bool is_gone;                    /* its broker is not asked */
	struct mesh_api api;             /* of left */
	struct mesh_api own_api;         /* of whole, for the region's own broker; unused when it is gone */
};

struct mesh_waiting {
	size_t from, to;               /* in whole */
	int64_t buffered, unreceipted; /* -1: unknown */
};
/* How many may not arrive: what is in the buffer has no receipt either. */
int64_t mesh_waiting_count(const struct mesh_waiting *waiting);

enum mesh_retire_verdict {
	MESH_RETIRE_MAY,
	MESH_RETIRE_WOULD_LOSE,
	MESH_RETIRE_UNKNOWN, /* nothing is known to wait, but not everybody could be asked */
	MESH_RETIRE_TOO_MANY /* more than was confirmed */
};

/* Whether the region's own broker answers. */
MUST_CHECK enum status mesh_retire_reach(const struct mesh_retirement *retirement, struct strbuf *why);
/* matrix: of a daemon, or NULL.  Returns how many links it has told of, at most max. */
size_t mesh_retire_look(
	const struct mesh_retirement *retirement, const json_t *matrix, struct mesh_waiting *waiting, size_t max);
/* lose: how many events may be given up; -1 when that was not said. */
enum mesh_retire_verdict mesh_retire_judge(const struct mesh_retirement *retirement, const struct mesh_waiting *waiting,
	size_t count, int64_t lose, int64_t *total_out);
/* From now on the other brokers route nothing to it; its buffers are still fetched. */
MUST_CHECK enum status mesh_retire_stop(const struct mesh_retirement *retirement, struct strbuf *why);
MUST_CHECK enum status mesh_retire_plan(
	const struct mesh_retirement *retirement, struct mesh_plan *plan_out, struct strbuf *why);
/* discards: buffers go with what they hold, else one that holds events stops it. */
MUST_CHECK enum status mesh_retire_remove(const struct mesh_retirement *retirement, const struct mesh_plan *plan,
	bool discards, size_t *done_out, struct strbuf *why);

/* ---- tracing one event: mesh_trace.c ---- */

enum mesh_hop {
	MESH_HOP_OUTBOX,
	MESH_HOP_CONFIRMED,
	MESH_HOP_CROSSED,
	MESH_HOP_TAKEN,
	MESH_HOP_RECEIPTED,
	MESH_HOP_COUNT
};
const char *mesh_hop_name(size_t hop);

struct mesh_trace_facts {
	/* Of the outbox's row, in milliseconds since 1970; -1 not yet.  taken_ms is by the other region's clock. */
	int64_t created_ms, sent_ms, taken_ms, receipted_ms;
	int64_t attempts;
	bool is_refused;
	/* Of the brokers, once they were looked at; -1 unknown. */
	bool is_looked_at;
	struct mesh_link_status forth, back;
	int64_t inbox_depth, inbox_consumers, dead, unroutable;
};
/* MESH_HOP_COUNT: it arrived, and its receipt too. */
enum mesh_hop mesh_trace_stopped(const struct mesh_trace_facts *facts);
int64_t mesh_trace_at(const struct mesh_trace_facts *facts, size_t hop);
void mesh_trace_look(
	const struct mesh *mesh, const struct mesh_api *api, size_t from, size_t to, struct mesh_trace_facts *facts);
void mesh_trace_explain(
	const struct mesh *mesh, size_t from, size_t to, const struct mesh_trace_facts *facts, struct strbuf *evidence);
void mesh_trace_facts_release(struct mesh_trace_facts *facts);

/*
 * Tries, as region `as` with its certificate, a binding that each of its peers must refuse, and adds a finding
 * for each that does not.  *refused_count_out counts the peers that refused.
 */
struct mesh_credentials {
	const char *ca_file, *certificate_file, *key_file;
};
MUST_CHECK enum status mesh_probe_locks(const struct mesh *mesh, size_t as, const struct mesh_credentials *credentials,
	struct mesh_health *health, size_t *refused_count_out);

#endif

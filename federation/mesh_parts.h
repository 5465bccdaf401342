/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the mesh's files share, private to federation/mesh_*.c: how objects are
 * named, where the management API keeps each kind, and how states grow.
 */
#ifndef FEDERATION_MESH_PARTS_H
#define FEDERATION_MESH_PARTS_H

#include "federation/federation.h"

#define MESH_OWN_PREFIX "homeward-" /* of policies and upstreams */
#define MESH_OWN_TAG "homeward"     /* of users */
#define MESH_BUFFER_PREFIX "federation: " MESH_EVENTS " -> "
#define MESH_FEDERATE_POLICY "homeward-federate" /* the last thing made: it starts the links */
#define MESH_BUFFER_POLICY "homeward-buffers"

/* The queue at `upstream` in which the events for `downstream` wait; the plugin names it. */
void mesh_buffer_name(const struct mesh *mesh, size_t upstream, size_t downstream, struct strbuf *name);
/* Whether it is the exchange that the plugin puts before that buffer: its name and " A" or " B". */
bool mesh_is_buffer_exchange(const char *name, const char *buffer);
/* The user that `region` is on other brokers, by its certificate's common name. */
const char *mesh_user(const struct mesh *mesh, size_t region);
void mesh_upstream_name(const struct mesh *mesh, size_t region, struct strbuf *name);
void mesh_binding_name(const char *source, const char *destination, const char *key, struct strbuf *name);
/* Queues and exchanges this tool makes, ended by NULL. */
extern const char *const mesh_queue_names[];
extern const char *const mesh_exchange_names[];
bool mesh_is_one_of(const char *name, const char *const *names);

/* value: taken.  NULL when out of memory, remembered in the state. */
struct mesh_object *mesh_state_add(struct mesh_state *state, enum mesh_kind kind, const char *name, json_t *value);
void mesh_state_sort(struct mesh_state *state);
int mesh_object_compare(const struct mesh_object *a, const struct mesh_object *b);
const struct mesh_object *mesh_state_find(const struct mesh_state *state, enum mesh_kind kind, const char *name);
void mesh_remark(json_t *remarks, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As the management API takes them.  mesh_desire.c */
json_t *mesh_permission(const char *configure, const char *write, const char *read);
json_t *mesh_topic_permission(const char *exchange, const char *write, const char *read);
json_t *mesh_policy(const char *pattern, const char *apply_to, json_t *definition);
void mesh_desire_binding(struct mesh_state *state, const char *exchange, const char *queue, const char *key);

/* What a region's applications add to its state.  mesh_applications.c */
void mesh_desire_application_users(const struct mesh_region *region, struct mesh_state *state);
/* Whether it has any that speak MQTT. */
bool mesh_has_devices(const struct mesh_region *region);
void mesh_desire_applications(const struct mesh *mesh, size_t region, struct mesh_state *state);

/* Adds to `paused`.  mesh_pause.c */
MUST_CHECK enum status mesh_observe_pauses(
	const struct mesh *mesh, size_t region, const struct mesh_api *api, json_t *paused, struct strbuf *why);
/* Of the parameter that keeps the pause of FROM -> TO, at TO. */
void mesh_pause_path(const struct mesh *mesh, size_t from, size_t to, struct strbuf *path);
bool mesh_is_paused(const struct mesh_state *to, const char *from);

/* "/api/<list>/<vhost>": appended to `path`; `rest` is taken as it is. */
void mesh_path(const struct mesh *mesh, size_t region, const char *list, const char *rest, struct strbuf *path);
/* STATUS_OK, STATUS_NOT_FOUND for 404, else the fault in `why` ("<region>: GET /api/…: 401 …"). */
MUST_CHECK enum status mesh_get(const struct mesh *mesh, size_t region, const struct mesh_api *api, const char *path,
	json_t **answer_out, struct strbuf *why);
void mesh_fault(const struct mesh *mesh, size_t region, const char *method, const char *path, int http_status,
	const json_t *answer, struct strbuf *why);

void mesh_step_release(struct mesh_step *step);
/* Orders the steps, counts what they do, and makes the hash. */
void mesh_plan_finish(const struct mesh *mesh, struct mesh_plan *plan);

/* Ready for findings: link_count links of mesh, none known. */
void mesh_health_add(struct mesh_health *health, const char *code, const char *where, const char *fix,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif

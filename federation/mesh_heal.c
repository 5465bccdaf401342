/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Healing: a link that is broken is restarted, by RabbitMQ's own call, where that
 * loses nothing: only links of upstreams that are ours, and only while the broker
 * has the upstream with resource-cleanup-mode "never", for else the restart would
 * take the buffer with it.  A link that starts just now is left alone, and so is
 * one whose upstream or policy must first be applied: no restart brings it back.
 *
 * How often and when is decided by heal_may_try(), which is pure.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "federation/mesh_parts.h"

bool mesh_heal_may_try(const struct mesh_heal_state *state, int64_t now_ms)
{
	return state->attempts < MESH_HEAL_ATTEMPTS_MAX && now_ms >= state->next_ms;
}

void mesh_heal_tried(struct mesh_heal_state *state, int64_t now_ms)
{
	int64_t pause_ms = MESH_HEAL_PAUSE_MS;

	for (size_t i = 0; i < state->attempts; i++)
		pause_ms *= 2;
	state->attempts++;
	state->next_ms = now_ms + pause_ms;
}

/* NULL when a restart is safe and may help, else why not. */
static const char *find_obstacle(const struct mesh *mesh, const struct mesh_api *api,
	const struct mesh_link_status *link, json_t *found, struct strbuf *why)
{
	struct strbuf name = STRBUF_INIT, path = STRBUF_INIT;
	const char *obstacle = NULL, *mode;
	json_t *upstream = NULL;

	if (strcmp(link->state, "unknown") == 0)
		return "its broker does not answer";
	if (strcmp(link->state, MESH_PAUSED) == 0)
		return "it is paused: homeward mesh resume";
	if (strcmp(link->state, "starting") == 0)
		return "it starts just now";
	if (json_get_string(found, "id") == NULL)
		return "there is no such link: homeward mesh plan, then apply";
	mesh_upstream_name(mesh, link->from, &name);
	mesh_path(mesh, link->to, "parameters/federation-upstream", "/", &path);
	strbuf_add_percent(&path, name.data, name.length);
	if (mesh_get(mesh, link->to, api, path.data, &upstream, why) != STATUS_OK)
		obstacle = "its upstream cannot be read";
	mode = json_get_string(json_object_get(upstream, "value"), "resource-cleanup-mode");
	if (obstacle == NULL && (mode == NULL || strcmp(mode, "never") != 0))
		obstacle = "a restart would take its buffer with it (resource-cleanup-mode): homeward mesh plan, then "
			   "apply";
	json_decref(upstream);
	strbuf_release(&name);
	strbuf_release(&path);
	return obstacle;
}

/* The link as its broker lists it; NULL when it has none. */
static json_t *find_link(
	const struct mesh *mesh, const struct mesh_api *api, const struct mesh_link_status *link, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, name = STRBUF_INIT;
	json_t *list = NULL, *found = NULL;

	mesh_path(mesh, link->to, "federation-links", "", &path);
	mesh_upstream_name(mesh, link->from, &name);
	if (mesh_get(mesh, link->to, api, path.data, &list, why) != STATUS_OK)
		list = NULL;
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *item = json_array_get(list, i);
		const char *upstream = json_get_string(item, "upstream"), *exchange = json_get_string(item, "exchange");

		if (upstream != NULL && strcmp(upstream, name.data) == 0 && exchange != NULL &&
			strcmp(exchange, MESH_EVENTS) == 0)
			found = item;
	}
	json_incref(found);
	json_decref(list);
	strbuf_release(&path);
	strbuf_release(&name);
	return found;
}

static enum status restart(const struct mesh *mesh, const struct mesh_api *api, const struct mesh_link_status *link,
	const json_t *found, struct strbuf *why)
{
	const char *id = json_get_string(found, "id"), *node = json_get_string(found, "node");
	struct strbuf path = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;
	json_t *answer = NULL;
	int http_status = 0;

	mesh_path(mesh, link->to, "federation-links/vhost", "/", &path);
	strbuf_add_percent(&path, id, strlen(id));
	strbuf_addc(&path, '/');
	strbuf_add_percent(&path, node != NULL ? node : "", node != NULL ? strlen(node) : 0);
	strbuf_adds(&path, "/restart");
	if (strbuf_ok(&path))
		status = api->call(api->arg, link->to, "DELETE", path.data, NULL, &http_status, &answer, why);
	if (status == STATUS_OK && (http_status < 200 || http_status > 299)) {
		mesh_fault(mesh, link->to, "DELETE", path.data, http_status, answer, why);
		status = STATUS_BAD_PEER;
	}
	json_decref(answer);
	strbuf_release(&path);
	return status;
}

enum mesh_heal_outcome mesh_heal_link(const struct mesh *mesh, const struct mesh_api *api,
	const struct mesh_link_status *link, bool is_dry_run, struct strbuf *why)
{
	json_t *found = find_link(mesh, api, link, why);
	const char *obstacle = find_obstacle(mesh, api, link, found, why);
	enum mesh_heal_outcome outcome = MESH_HEAL_LEFT;

	if (obstacle != NULL) {
		if (why->length > 0)
			strbuf_adds(why, ": ");
		strbuf_adds(why, obstacle);
	} else if (is_dry_run) {
		outcome = MESH_HEAL_WOULD_RESTART;
	} else {
		outcome = restart(mesh, api, link, found, why) == STATUS_OK ? MESH_HEAL_RESTARTED : MESH_HEAL_FAILED;
		LOG_INFO("mesh_heal", "from", mesh->regions[link->from].name, "to", mesh->regions[link->to].name,
			"state", link->state, "outcome", mesh_heal_outcome_name(outcome));
	}
	json_decref(found);
	return outcome;
}

const char *mesh_heal_outcome_name(enum mesh_heal_outcome outcome)
{
	static const char *const names[] = { "left", "would restart", "restarted", "failed" };

	return names[outcome];
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pausing a link: its upstream is taken away from the receiving broker, and the
 * buffer at the sending one stays and goes on taking events, for the upstream was
 * made to leave it (resource-cleanup-mode "never").  That it is meant is kept in a
 * global parameter of the receiving broker, where every plan and status sees it.
 *
 * The order makes a half-done pause or resume a difference that apply finishes.
 */
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "federation/mesh_parts.h"

#define PAUSE_PREFIX MESH_OWN_PREFIX "paused."
#define PARAMETERS_PATH "/api/global-parameters"

/* A member for each region whose link to `region` is paused. */
enum status mesh_observe_pauses(
	const struct mesh *mesh, size_t region, const struct mesh_api *api, json_t *paused, struct strbuf *why)
{
	json_t *list = NULL;
	enum status status = mesh_get(mesh, region, api, PARAMETERS_PATH, &list, why);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i), *value = json_object_get(item, "value");
		const char *name = json_get_string(item, "name"), *from = json_get_string(value, "from"),
			   *vhost = json_get_string(value, "vhost");

		if (name != NULL && strncmp(name, PAUSE_PREFIX, strlen(PAUSE_PREFIX)) == 0 && from != NULL &&
			vhost != NULL && strcmp(vhost, mesh->regions[region].vhost) == 0)
			(void)json_object_set_new(paused, from, json_true());
	}
	json_decref(list);
	return status;
}

bool mesh_is_paused(const struct mesh_state *to, const char *from)
{
	return json_object_get(to->paused, from) != NULL;
}

static enum status change(const struct mesh *mesh, const struct mesh_api *api, size_t region, const char *method,
	const struct strbuf *path, const json_t *body, struct strbuf *why)
{
	json_t *answer = NULL;
	int http_status = 0;
	enum status status = strbuf_ok(path)
				     ? api->call(api->arg, region, method, path->data, body, &http_status, &answer, why)
				     : STATUS_NO_MEMORY;

	if (status == STATUS_OK && (http_status < 200 || http_status > 299) && http_status != 404) {
		mesh_fault(mesh, region, method, path->data, http_status, answer, why);
		status = http_status == 401 || http_status == 403 ? STATUS_FORBIDDEN : STATUS_BAD_PEER;
	}
	json_decref(answer);
	return status;
}

void mesh_pause_path(const struct mesh *mesh, size_t from, size_t to, struct strbuf *path)
{
	const char *vhost = mesh->regions[to].vhost;

	strbuf_adds(path, PARAMETERS_PATH "/" PAUSE_PREFIX);
	strbuf_add_percent(path, vhost, strlen(vhost));
	strbuf_addf(path, ".%s", mesh->regions[from].name);
}

static void upstream_path(const struct mesh *mesh, size_t from, size_t to, struct strbuf *path)
{
	mesh_path(mesh, to, "parameters/federation-upstream", "/", path);
	mesh_upstream_name(mesh, from, path);
}

/* That it may be taken away without its buffer. */
static enum status check_upstream(
	const struct mesh *mesh, const struct mesh_api *api, size_t to, const struct strbuf *path, struct strbuf *why)
{
	struct strbuf ignored = STRBUF_INIT;
	json_t *upstream = NULL;
	enum status status = mesh_get(mesh, to, api, path->data, &upstream, &ignored);
	const char *mode = json_get_string(json_object_get(upstream, "value"), "resource-cleanup-mode");

	if (status == STATUS_NOT_FOUND) {
		status = STATUS_OK;
	} else if (status != STATUS_OK) {
		strbuf_adds(why, ignored.data);
	} else if (mode == NULL || strcmp(mode, "never") != 0) {
		strbuf_addf(why,
			"%s: the buffer would go with the link (resource-cleanup-mode): homeward mesh plan, "
			"then apply",
			mesh->regions[to].name);
		status = STATUS_CONFLICT;
	}
	json_decref(upstream);
	strbuf_release(&ignored);
	return status;
}

enum status mesh_pause_link(
	const struct mesh *mesh, const struct mesh_api *api, size_t from, size_t to, struct strbuf *why)
{
	struct strbuf parameter = STRBUF_INIT, upstream = STRBUF_INIT;
	json_t *body = json_pack(
		"{s:{s:s,s:s}}", "value", "from", mesh->regions[from].name, "vhost", mesh->regions[to].vhost);
	enum status status = body != NULL ? STATUS_OK : STATUS_NO_MEMORY;

	mesh_pause_path(mesh, from, to, &parameter);
	upstream_path(mesh, from, to, &upstream);
	if (status == STATUS_OK)
		status = check_upstream(mesh, api, to, &upstream, why);
	if (status == STATUS_OK)
		status = change(mesh, api, to, "PUT", &parameter, body, why);
	if (status == STATUS_OK)
		status = change(mesh, api, to, "DELETE", &upstream, NULL, why);
	LOG_INFO("mesh_pause", "from", mesh->regions[from].name, "to", mesh->regions[to].name, "result",
		status_name(status));
	json_decref(body);
	strbuf_release(&parameter);
	strbuf_release(&upstream);
	return status;
}

enum status mesh_resume_link(
	const struct mesh *mesh, const struct mesh_api *api, size_t from, size_t to, struct strbuf *why)
{
	struct strbuf parameter = STRBUF_INIT, upstream = STRBUF_INIT, name = STRBUF_INIT;
	const struct mesh_object *wanted = NULL;
	struct mesh_state state;
	json_t *body = NULL;
	enum status status = mesh_desire(mesh, to, &state);

	mesh_pause_path(mesh, from, to, &parameter);
	upstream_path(mesh, from, to, &upstream);
	mesh_upstream_name(mesh, from, &name);
	if (status == STATUS_OK)
		wanted = mesh_state_find(&state, MESH_KIND_UPSTREAM, name.data);
	if (wanted != NULL)
		body = json_pack("{s:O}", "value", wanted->value);
	if (status == STATUS_OK && body == NULL)
		status = STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		status = change(mesh, api, to, "DELETE", &parameter, NULL, why);
	if (status == STATUS_OK)
		status = change(mesh, api, to, "PUT", &upstream, body, why);
	LOG_INFO("mesh_resume", "from", mesh->regions[from].name, "to", mesh->regions[to].name, "result",
		status_name(status));
	json_decref(body);
	mesh_state_release(&state);
	strbuf_release(&parameter);
	strbuf_release(&upstream);
	strbuf_release(&name);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes a plan's steps one after the other and stops at the first that fails:
 * every prefix of the order is safe to stay in, and the next plan is what is
 * left.  Each step is a PUT or DELETE that may be repeated.
 *
 * A queue that holds events is never removed here, whatever the plan says; it is
 * asked again immediately before.
 */
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "federation/mesh_parts.h"

static const char *const lists[] = {
	[MESH_KIND_VHOST] = "vhosts",
	[MESH_KIND_PERMISSION] = "permissions",
	[MESH_KIND_TOPIC_PERMISSION] = "topic-permissions",
	[MESH_KIND_OPERATOR_POLICY] = "operator-policies",
	[MESH_KIND_EXCHANGE] = "exchanges",
	[MESH_KIND_QUEUE] = "queues",
	[MESH_KIND_BINDING] = "bindings",
	[MESH_KIND_UPSTREAM] = "parameters/federation-upstream",
	[MESH_KIND_POLICY] = "policies",
	[MESH_KIND_COUNT] = NULL,
};

static void add_segment(struct strbuf *path, const char *text)
{
	strbuf_addc(path, '/');
	strbuf_add_percent(path, text, strlen(text));
}

static void step_path(const struct mesh *mesh, const struct mesh_step *step, bool is_removal, struct strbuf *path)
{
	const json_t *value = step->after != NULL ? step->after : step->before;
	const char *at = step->kind == MESH_KIND_TOPIC_PERMISSION ? strchr(step->name, ' ') : NULL;

	if (step->kind == MESH_KIND_USER) {
		strbuf_adds(path, "/api/users");
		add_segment(path, step->name);
		return;
	}
	mesh_path(mesh, step->region, lists[step->kind], "", path);
	if (step->kind == MESH_KIND_BINDING) {
		strbuf_adds(path, "/e");
		add_segment(path, json_get_string(value, "source"));
		strbuf_adds(path, "/q");
		add_segment(path, json_get_string(value, "destination"));
		/* The API gives this segment ready to be used. */
		if (is_removal && step->properties_key != NULL)
			strbuf_addf(path, "/%s", step->properties_key);
	} else if (at != NULL) {
		strbuf_addc(path, '/');
		strbuf_add_percent(path, step->name, (size_t)(at - step->name));
	} else if (step->kind != MESH_KIND_VHOST) {
		add_segment(path, step->name);
	}
	if (step->kind == MESH_KIND_TOPIC_PERMISSION && is_removal)
		add_segment(path, json_get_string(step->before, "exchange"));
}

static enum status call(const struct mesh *mesh, const struct mesh_api *api, const struct mesh_step *step,
	const char *method, const json_t *body, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT;
	json_t *answer = NULL;
	int http_status = 0;
	enum status status;

	step_path(mesh, step, body == NULL, &path);
	/* The count that was asked for may be seconds old; of quorum queues the broker cannot make sure. */
	if (body == NULL && step->kind == MESH_KIND_QUEUE &&
		strncmp(step->name, MESH_BUFFER_PREFIX, strlen(MESH_BUFFER_PREFIX)) == 0)
		strbuf_adds(&path, "?if-empty=true");
	status = strbuf_ok(&path)
			 ? api->call(api->arg, step->region, method, path.data, body, &http_status, &answer, why)
			 : STATUS_NO_MEMORY;
	/* What is to go and is not there is as it should be. */
	if (status == STATUS_OK && (http_status < 200 || http_status > 299) && !(body == NULL && http_status == 404)) {
		mesh_fault(mesh, step->region, method, path.data, http_status, answer, why);
		status = http_status == 401 || http_status == 403 ? STATUS_FORBIDDEN : STATUS_BAD_PEER;
	}
	json_decref(answer);
	strbuf_release(&path);
	return status;
}

static enum status refuse_full_queue(
	const struct mesh *mesh, const struct mesh_api *api, const struct mesh_step *step, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, ignored = STRBUF_INIT;
	json_t *queue = NULL;
	int64_t count = 0;
	enum status status;

	step_path(mesh, step, false, &path);
	status = mesh_get(mesh, step->region, api, path.data, &queue, &ignored);
	if (status == STATUS_NOT_FOUND)
		status = STATUS_OK;
	else if (status != STATUS_OK)
		strbuf_adds(why, ignored.data);
	else if (!json_get_integer(queue, "messages", &count)) {
		strbuf_addf(why,
			"%s: the broker does not tell yet how many events %s holds; try again in a few seconds",
			mesh->regions[step->region].name, step->name);
		status = STATUS_CONFLICT;
	} else if (count > 0) {
		strbuf_addf(why, "%s: the queue %s holds %lld events and stays; drain it first",
			mesh->regions[step->region].name, step->name, (long long)count);
		status = STATUS_CONFLICT;
	}
	json_decref(queue);
	strbuf_release(&path);
	strbuf_release(&ignored);
	return status;
}

static enum status take_step(
	const struct mesh *mesh, const struct mesh_api *api, const struct mesh_step *step, struct strbuf *why)
{
	bool is_removed = step->action == MESH_DELETE || step->action == MESH_REPLACE;
	enum status status = STATUS_OK;
	json_t *body;

	if (is_removed && step->kind == MESH_KIND_QUEUE)
		status = refuse_full_queue(mesh, api, step, why);
	if (status == STATUS_OK && is_removed)
		status = call(mesh, api, step, "DELETE", NULL, why);
	if (status != STATUS_OK || step->action == MESH_DELETE)
		return status;
	body = step->kind == MESH_KIND_UPSTREAM ? json_pack("{s:O}", "value", step->after)
						: json_deep_copy(step->after);
	if (body == NULL)
		return STATUS_NO_MEMORY;
	if (step->kind == MESH_KIND_BINDING) {
		(void)json_object_del(body, "source");
		(void)json_object_del(body, "destination");
	}
	status = call(mesh, api, step, step->kind == MESH_KIND_BINDING ? "POST" : "PUT", body, why);
	json_decref(body);
	return status;
}

enum status mesh_apply(const struct mesh *mesh, const struct mesh_api *api, const struct mesh_plan *plan,
	size_t *done_out, struct strbuf *why)
{
	*done_out = 0;
	for (size_t i = 0; i < plan->count; i++) {
		const struct mesh_step *step = &plan->steps[i];
		enum status status = take_step(mesh, api, step, why);
		LOG_INFO("mesh_step", "plan", plan->hash, "region", mesh->regions[step->region].name, "action",
			mesh_action_name(step->action), "kind", mesh_kind_name(step->kind), "name", step->name,
			"result", status_name(status));
		if (status != STATUS_OK)
			return status;
		(*done_out)++;
	}
	return STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes a region out of the mesh, on every broker but its own.  Each stage may be
 * repeated and asks the brokers what is left, so that a retirement which was
 * stopped half way is gone on with by the same command:
 *
 *	stop     the other brokers route nothing more into its buffers
 *	drain    what waits is fetched, as long as both sides live
 *	remove   links, users, permissions, upstreams and buffers
 *
 * The mesh file is changed by the caller, last.  While events are being drained
 * the file still has the region, so that it is nobody's orphan.
 */
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "federation/mesh_parts.h"

/* The region's place among all of them. */
static size_t place_in_whole(const struct mesh_retirement *retirement, size_t left)
{
	return mesh_region_find(retirement->whole, retirement->left->regions[left].name);
}

static enum status call(const struct mesh_retirement *retirement, size_t left, const char *method,
	const struct strbuf *path, struct strbuf *why)
{
	const struct mesh *mesh = retirement->left;
	json_t *answer = NULL;
	int http_status = 0;
	enum status status = STATUS_NO_MEMORY;

	if (strbuf_ok(path))
		status = retirement->api.call(
			retirement->api.arg, left, method, path->data, NULL, &http_status, &answer, why);
	if (status == STATUS_OK && (http_status < 200 || http_status > 299) && http_status != 404) {
		mesh_fault(mesh, left, method, path->data, http_status, answer, why);
		status = STATUS_BAD_PEER;
	}
	json_decref(answer);
	return status;
}

enum status mesh_retire_reach(const struct mesh_retirement *retirement, struct strbuf *why)
{
	json_t *overview = NULL;
	enum status status = mesh_get(
		retirement->whole, retirement->region, &retirement->own_api, "/api/overview", &overview, why);

	json_decref(overview);
	return status;
}

/* ---- what waits ---- */

/* -1: its broker does not tell. */
static int64_t read_depth(const struct mesh *mesh, const struct mesh_api *api, size_t at, const struct strbuf *queue)
{
	struct strbuf path = STRBUF_INIT, ignored = STRBUF_INIT;
	json_t *answer = NULL;
	int64_t count = -1;
	enum status status;

	mesh_path(mesh, at, "queues", "/", &path);
	strbuf_add_percent(&path, queue->data, queue->length);
	status = mesh_get(mesh, at, api, path.data, &answer, &ignored);
	if (status == STATUS_NOT_FOUND)
		count = 0;
	else if (status == STATUS_OK && !json_get_integer(answer, "messages", &count))
		count = -1; /* a queue that was just made */
	json_decref(answer);
	strbuf_release(&path);
	strbuf_release(&ignored);
	return count;
}

size_t mesh_retire_look(
	const struct mesh_retirement *retirement, const json_t *matrix, struct mesh_waiting *waiting, size_t max)
{
	const struct mesh *whole = retirement->whole;
	struct strbuf queue = STRBUF_INIT;
	size_t count = 0;

	for (size_t i = 0; i < retirement->left->region_count && count + 2 <= max; i++) {
		size_t peer = place_in_whole(retirement, i), own = retirement->region;
		struct mesh_link_word word;

		if (!mesh_has_link(whole, peer, own))
			continue;
		word = mesh_link_word(matrix, whole->regions[peer].name, whole->regions[own].name);
		strbuf_reset(&queue);
		mesh_buffer_name(whole, peer, own, &queue);
		waiting[count++] = (struct mesh_waiting){ peer, own,
			read_depth(retirement->left, &retirement->api, i, &queue), word.unreceipted };
		strbuf_reset(&queue);
		mesh_buffer_name(whole, own, peer, &queue);
		word = mesh_link_word(matrix, whole->regions[own].name, whole->regions[peer].name);
		waiting[count++] = (struct mesh_waiting){ own, peer,
			retirement->is_gone ? -1 : read_depth(whole, &retirement->own_api, own, &queue),
			retirement->is_gone ? -1 : word.unreceipted };
	}
	strbuf_release(&queue);
	return count;
}

int64_t mesh_waiting_count(const struct mesh_waiting *waiting)
{
	int64_t count = waiting->buffered > waiting->unreceipted ? waiting->buffered : waiting->unreceipted;

	return count > 0 ? count : 0;
}

enum mesh_retire_verdict mesh_retire_judge(const struct mesh_retirement *retirement, const struct mesh_waiting *waiting,
	size_t count, int64_t lose, int64_t *total_out)
{
	bool is_unknown = false;

	*total_out = 0;
	for (size_t i = 0; i < count; i++) {
		/* What a broker that is gone for ever still had is lost already; nobody can decide it any more. */
		if (retirement->is_gone && waiting[i].from == retirement->region)
			continue;
		*total_out += mesh_waiting_count(&waiting[i]);
		is_unknown |= waiting[i].buffered < 0 || waiting[i].unreceipted < 0;
	}
	if (lose >= 0)
		return *total_out <= lose ? MESH_RETIRE_MAY : MESH_RETIRE_TOO_MANY;
	if (*total_out > 0)
		return MESH_RETIRE_WOULD_LOSE;
	return is_unknown ? MESH_RETIRE_UNKNOWN : MESH_RETIRE_MAY;
}

/* ---- stop ---- */

/* Takes what feeds the region's buffer off the events, and leaves the buffer and its consumer. */
static enum status stop_at(const struct mesh_retirement *retirement, size_t left, struct strbuf *why)
{
	struct strbuf path = STRBUF_INIT, buffer = STRBUF_INIT;
	const struct mesh *mesh = retirement->left;
	json_t *bindings = NULL;
	enum status status;

	mesh_buffer_name(retirement->whole, place_in_whole(retirement, left), retirement->region, &buffer);
	mesh_path(mesh, left, "exchanges", "/" MESH_EVENTS "/bindings/source", &path);
	status = mesh_get(mesh, left, &retirement->api, path.data, &bindings, why);
	for (size_t i = 0; status == STATUS_OK && i < json_array_size(bindings); i++) {
		const json_t *binding = json_array_get(bindings, i);
		const char *to = json_get_string(binding, "destination"),
			   *key = json_get_string(binding, "properties_key");

		if (to == NULL || key == NULL || !mesh_is_buffer_exchange(to, buffer.data))
			continue;
		strbuf_reset(&path);
		mesh_path(mesh, left, "bindings", "/e/" MESH_EVENTS "/e/", &path);
		strbuf_add_percent(&path, to, strlen(to));
		strbuf_addf(&path, "/%s", key);
		status = call(retirement, left, "DELETE", &path, why);
	}
	json_decref(bindings);
	strbuf_release(&path);
	strbuf_release(&buffer);
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status mesh_retire_stop(const struct mesh_retirement *retirement, struct strbuf *why)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < retirement->left->region_count && status == STATUS_OK; i++)
		if (mesh_has_link(retirement->whole, place_in_whole(retirement, i), retirement->region))
			status = stop_at(retirement, i, why);
	LOG_INFO("mesh_retire", "region", retirement->whole->regions[retirement->region].name, "stage", "stop",
		"result", status_name(status));
	return status;
}

/* ---- remove ---- */

static bool concerns(const struct mesh_retirement *retirement, const struct mesh_step *step, const char *upstream)
{
	const char *region = retirement->whole->regions[retirement->region].name;
	size_t length = strlen(region);
	struct strbuf buffer = STRBUF_INIT;
	bool is_buffer;

	if (step->action != MESH_DELETE)
		return false;
	switch (step->kind) {
	case MESH_KIND_USER:
	case MESH_KIND_PERMISSION:
		return strcmp(step->name, region) == 0;
	case MESH_KIND_TOPIC_PERMISSION: /* "user on exchange" where it is not of the events */
		return strncmp(step->name, region, length) == 0 &&
		       (step->name[length] == '\0' || step->name[length] == ' ');
	case MESH_KIND_UPSTREAM:
		return strcmp(step->name, upstream) == 0;
	case MESH_KIND_QUEUE:
		mesh_buffer_name(
			retirement->whole, place_in_whole(retirement, step->region), retirement->region, &buffer);
		is_buffer = strcmp(step->name, buffer.data) == 0;
		strbuf_release(&buffer);
		return is_buffer;
	default:
		return false;
	}
}

enum status mesh_retire_plan(const struct mesh_retirement *retirement, struct mesh_plan *plan_out, struct strbuf *why)
{
	enum status status = mesh_plan_read(retirement->left, &retirement->api, plan_out, why);
	struct strbuf upstream = STRBUF_INIT;
	size_t kept = 0;

	mesh_upstream_name(retirement->whole, retirement->region, &upstream);
	for (size_t i = 0; i < plan_out->count; i++) {
		if (concerns(retirement, &plan_out->steps[i], upstream.data))
			plan_out->steps[kept++] = plan_out->steps[i];
		else
			mesh_step_release(&plan_out->steps[i]);
	}
	plan_out->count = kept;
	if (status == STATUS_OK)
		mesh_plan_finish(retirement->left, plan_out);
	strbuf_release(&upstream);
	return status;
}

/* A pause of a link that is no more would hold up a region of the same name. */
static enum status forget_pauses(const struct mesh_retirement *retirement, struct strbuf *why)
{
	enum status status = STATUS_OK;
	struct strbuf path = STRBUF_INIT;

	for (size_t i = 0; i < retirement->left->region_count && status == STATUS_OK; i++) {
		strbuf_reset(&path);
		mesh_pause_path(retirement->whole, retirement->region, place_in_whole(retirement, i), &path);
		status = call(retirement, i, "DELETE", &path, why);
	}
	strbuf_release(&path);
	return status;
}

/*
 * Events that were given up, as the operator confirmed.  Nothing flows into the buffers since mesh_retire_stop().
 * Emptying them first would not do: the count that is asked for before a queue is removed follows seconds later.
 */
static enum status discard_buffers(
	const struct mesh_retirement *retirement, const struct mesh_plan *plan, struct strbuf *why)
{
	enum status status = STATUS_OK;
	struct strbuf path = STRBUF_INIT;

	for (size_t i = 0; i < plan->count && status == STATUS_OK; i++) {
		const struct mesh_step *step = &plan->steps[i];

		if (step->kind != MESH_KIND_QUEUE)
			continue;
		strbuf_reset(&path);
		mesh_path(retirement->left, step->region, "queues", "/", &path);
		strbuf_add_percent(&path, step->name, strlen(step->name));
		status = call(retirement, step->region, "DELETE", &path, why);
		LOG_WARN("mesh_retire_discard", "at", retirement->left->regions[step->region].name, "events",
			log_number(step->message_count), "result", status_name(status));
	}
	strbuf_release(&path);
	return status;
}

/* The region's own broker lets go of its links, so that it does not knock at doors which are closed to it. */
static enum status let_go(const struct mesh_retirement *retirement, struct strbuf *why)
{
	const struct mesh *mesh = retirement->whole;
	struct strbuf path = STRBUF_INIT;
	json_t *answer = NULL;
	int http_status = 0;
	enum status status;

	mesh_path(mesh, retirement->region, "policies", "/" MESH_FEDERATE_POLICY, &path);
	status = retirement->own_api.call(
		retirement->own_api.arg, retirement->region, "DELETE", path.data, NULL, &http_status, &answer, why);
	json_decref(answer);
	strbuf_release(&path);
	return status;
}

enum status mesh_retire_remove(const struct mesh_retirement *retirement, const struct mesh_plan *plan, bool discards,
	size_t *done_out, struct strbuf *why)
{
	enum status status = STATUS_OK;

	*done_out = 0;
	if (!retirement->is_gone)
		status = let_go(retirement, why);
	if (status == STATUS_OK && discards)
		status = discard_buffers(retirement, plan, why);
	if (status == STATUS_OK)
		status = mesh_apply(retirement->left, &retirement->api, plan, done_out, why);
	if (status == STATUS_OK)
		status = forget_pauses(retirement, why);
	LOG_INFO("mesh_retire", "region", retirement->whole->regions[retirement->region].name, "stage", "remove",
		"result", status_name(status));
	return status;
}

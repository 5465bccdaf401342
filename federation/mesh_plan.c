/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The difference between what brokers should have and what they have, as steps in
 * an order that loses nothing: first the locks and bounds, then what carries
 * events, then the links' addresses, and the policy that starts them last; what
 * goes away goes after all of that, and in the opposite order.
 *
 * Pure.  A step knows what it does to links: an upstream that changes restarts
 * one, the policy restarts all of its region's, and a link that restarts under a
 * cleanup mode other than "never" takes its buffer with it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/must.h"
#include "federation/mesh_parts.h"

static struct mesh_step *add_step(
	struct mesh_plan *plan, enum mesh_action action, size_t region, const struct mesh_object *object)
{
	struct mesh_step *step;
	char *name = strdup(object->name);

	if (plan->count == plan->capacity) {
		size_t capacity = plan->capacity > 0 ? plan->capacity * 2 : 64;
		struct mesh_step *grown = realloc(plan->steps, capacity * sizeof(*grown));
		if (grown != NULL) {
			plan->steps = grown;
			plan->capacity = capacity;
		}
	}
	if (name == NULL || plan->count == plan->capacity) {
		free(name);
		plan->has_failed = true;
		return NULL;
	}
	step = &plan->steps[plan->count++];
	*step = (struct mesh_step){ .action = action, .kind = object->kind, .region = region, .name = name };
	return step;
}

static size_t links_of(const struct mesh *mesh, size_t region)
{
	size_t count = 0;

	for (size_t peer = 0; peer < mesh->region_count; peer++)
		count += mesh_has_link(mesh, region, peer);
	return count;
}

static bool keeps_buffer(const json_t *upstream)
{
	const char *mode = json_get_string(upstream, "resource-cleanup-mode");

	return mode != NULL && strcmp(mode, "never") == 0;
}

static bool keeps_buffers(const struct mesh_state *observed)
{
	for (size_t i = 0; i < observed->count; i++)
		if (observed->objects[i].kind == MESH_KIND_UPSTREAM && !keeps_buffer(observed->objects[i].value))
			return false;
	return true;
}

static void judge_step(const struct mesh *mesh, const struct mesh_state *observed, struct mesh_step *step)
{
	bool is_gone = step->action == MESH_REPLACE || step->action == MESH_DELETE;

	if (step->action == MESH_CREATE)
		return;
	switch (step->kind) {
	case MESH_KIND_UPSTREAM:
		step->links_restarted = 1;
		step->is_buffer_at_risk = !keeps_buffer(step->before);
		break;
	case MESH_KIND_POLICY:
		if (strcmp(step->name, MESH_FEDERATE_POLICY) != 0)
			break;
		step->links_restarted = links_of(mesh, step->region);
		step->is_buffer_at_risk = !keeps_buffers(observed);
		break;
	case MESH_KIND_EXCHANGE:
		if (is_gone && strcmp(step->name, MESH_EVENTS) == 0) {
			step->links_restarted = 2 * links_of(mesh, step->region);
			step->is_buffer_at_risk = true;
		}
		break;
	case MESH_KIND_QUEUE:
		step->is_buffer_at_risk = is_gone;
		break;
	case MESH_KIND_USER:
		step->links_restarted = step->action == MESH_DELETE ? 1 : 0;
		break;
	default:
		break;
	}
}

static void plan_object(const struct mesh *mesh, size_t region, const struct mesh_state *observed,
	const struct mesh_object *wanted, const struct mesh_object *found, struct mesh_plan *plan)
{
	struct mesh_step *step;

	if (wanted == NULL) {
		must(found != NULL);
		step = add_step(plan, MESH_DELETE, region, found);
	} else if (found == NULL) {
		step = add_step(plan, MESH_CREATE, region, wanted);
	} else {
		bool is_fixed = wanted->kind == MESH_KIND_EXCHANGE || wanted->kind == MESH_KIND_QUEUE;
		if (json_equal(wanted->value, found->value))
			return;
		step = add_step(plan, is_fixed ? MESH_REPLACE : MESH_CHANGE, region, wanted);
	}
	if (step == NULL)
		return;
	step->after = wanted != NULL ? json_incref(wanted->value) : NULL;
	if (found != NULL) {
		step->before = json_incref(found->value);
		step->message_count = found->message_count;
		step->properties_key = found->properties_key != NULL ? strdup(found->properties_key) : NULL;
	}
	judge_step(mesh, observed, step);
}

/* A queue or exchange that is made anew comes without its bindings. */
static void plan_lost_bindings(
	size_t region, const struct mesh_state *wanted, const struct mesh_state *observed, struct mesh_plan *plan)
{
	size_t count = plan->count;

	for (size_t i = 0; i < count; i++) {
		if (plan->steps[i].region != region || plan->steps[i].action != MESH_REPLACE)
			continue;
		for (size_t b = 0; b < wanted->count; b++) {
			const struct mesh_object *binding = &wanted->objects[b];
			const char *end = plan->steps[i].kind == MESH_KIND_QUEUE ? "destination" : "source";
			const char *name = json_get_string(binding->value, end);
			struct mesh_step *step;
			if (binding->kind != MESH_KIND_BINDING || name == NULL ||
				strcmp(name, plan->steps[i].name) != 0 ||
				mesh_state_find(observed, MESH_KIND_BINDING, binding->name) == NULL)
				continue;
			step = add_step(plan, MESH_CREATE, region, binding);
			if (step != NULL)
				step->after = json_incref(binding->value);
		}
	}
}

/* An upstream of a paused link is not wanted now. */
static void leave_out_paused(const struct mesh *mesh, const struct mesh_state *observed, struct mesh_state *wanted)
{
	struct strbuf name = STRBUF_INIT;
	size_t kept = 0;

	for (size_t i = 0; i < wanted->count; i++) {
		struct mesh_object *object = &wanted->objects[i];
		bool is_paused = false;

		for (size_t from = 0; object->kind == MESH_KIND_UPSTREAM && from < mesh->region_count; from++) {
			strbuf_reset(&name);
			mesh_upstream_name(mesh, from, &name);
			is_paused |= strcmp(name.data, object->name) == 0 &&
				     mesh_is_paused(observed, mesh->regions[from].name);
		}
		if (is_paused) {
			free(object->name);
			json_decref(object->value);
		} else {
			wanted->objects[kept++] = *object;
		}
	}
	wanted->count = kept;
	strbuf_release(&name);
}

/* Both are sorted, so one walk finds what is in one, the other or both. */
static void plan_region(const struct mesh *mesh, size_t region, const struct mesh_state *wanted,
	const struct mesh_state *observed, struct mesh_plan *plan)
{
	size_t w = 0, o = 0;

	while (w < wanted->count || o < observed->count) {
		const struct mesh_object *left = w < wanted->count ? &wanted->objects[w] : NULL,
					 *right = o < observed->count ? &observed->objects[o] : NULL;
		int order = left == NULL ? 1 : right == NULL ? -1 : mesh_object_compare(left, right);
		plan_object(mesh, region, observed, order <= 0 ? left : NULL, order >= 0 ? right : NULL, plan);
		w += order <= 0;
		o += order >= 0;
	}
	plan_lost_bindings(region, wanted, observed, plan);
}

static int compare_steps(const void *a, const void *b)
{
	const struct mesh_step *left = a, *right = b;
	bool left_goes = left->action == MESH_DELETE, right_goes = right->action == MESH_DELETE;
	int order;

	if (left_goes != right_goes)
		return left_goes ? 1 : -1;
	if (left->kind != right->kind)
		return (left->kind < right->kind) != left_goes ? -1 : 1;
	/* Every region's buffers are bounded before any link starts. */
	if (left->kind == MESH_KIND_POLICY && (order = strcmp(left->name, right->name)) != 0)
		return order;
	if (left->region != right->region)
		return left->region < right->region ? -1 : 1;
	return strcmp(left->name, right->name);
}

static void add_hashed(struct strbuf *text, const json_t *value)
{
	char *dumped = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	strbuf_adds(text, dumped != NULL ? dumped : "-");
	strbuf_addc(text, '\n');
	free(dumped);
}

void mesh_plan_finish(const struct mesh *mesh, struct mesh_plan *plan)
{
	uint8_t digest[SHA256_SIZE];
	struct strbuf text = STRBUF_INIT, hex = STRBUF_INIT;
	bool *is_touched = calloc(mesh->region_count + 1, sizeof(*is_touched));

	if (plan->count > 0)
		qsort(plan->steps, plan->count, sizeof(*plan->steps), compare_steps);
	plan->brokers_touched = plan->links_restarted = plan->buffers_at_risk = plan->removals = 0;
	strbuf_addf(&text, "homeward mesh plan 1\n");
	for (size_t i = 0; i < plan->count && is_touched != NULL; i++) {
		const struct mesh_step *step = &plan->steps[i];
		strbuf_addf(&text, "%s %s %s %s %lld\n", mesh_action_name(step->action), mesh_kind_name(step->kind),
			mesh->regions[step->region].name, step->name, (long long)step->message_count);
		add_hashed(&text, step->before);
		add_hashed(&text, step->after);
		plan->brokers_touched += !is_touched[step->region];
		is_touched[step->region] = true;
		plan->links_restarted += step->links_restarted;
		plan->buffers_at_risk += step->is_buffer_at_risk;
		plan->removals += step->action == MESH_DELETE || step->action == MESH_REPLACE;
	}
	hash_sha256(text.data, text.length, digest);
	strbuf_add_hex(&hex, digest, sizeof(digest));
	plan->has_failed |= is_touched == NULL || !strbuf_ok(&text) || !strbuf_ok(&hex);
	if (!plan->has_failed)
		memcpy(plan->hash, hex.data, sizeof(plan->hash));
	strbuf_release(&text);
	strbuf_release(&hex);
	free(is_touched);
}

enum status mesh_plan_make(const struct mesh *mesh, const struct mesh_state *observed, struct mesh_plan *plan_out)
{
	enum status status = STATUS_OK;

	*plan_out = (struct mesh_plan){ .remarks = json_array() };
	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++) {
		struct mesh_state wanted;
		status = mesh_desire(mesh, i, &wanted);
		if (status != STATUS_OK)
			break;
		leave_out_paused(mesh, &observed[i], &wanted);
		plan_region(mesh, i, &wanted, &observed[i], plan_out);
		if (observed[i].remarks != NULL && json_array_extend(plan_out->remarks, observed[i].remarks) != 0)
			plan_out->has_failed = true;
		mesh_state_release(&wanted);
	}
	if (status == STATUS_OK)
		mesh_plan_finish(mesh, plan_out);
	if (status == STATUS_OK && !plan_out->has_failed)
		return STATUS_OK;
	mesh_plan_release(plan_out);
	return STATUS_NO_MEMORY;
}

enum status mesh_plan_read(
	const struct mesh *mesh, const struct mesh_api *api, struct mesh_plan *plan_out, struct strbuf *why)
{
	struct mesh_state *observed = calloc(mesh->region_count, sizeof(*observed));
	enum status status = observed != NULL ? STATUS_OK : STATUS_NO_MEMORY;

	*plan_out = (struct mesh_plan){ .count = 0 };
	for (size_t i = 0; i < mesh->region_count && status == STATUS_OK; i++)
		status = mesh_observe(mesh, i, api, &observed[i], why);
	if (status == STATUS_OK)
		status = mesh_plan_make(mesh, observed, plan_out);
	for (size_t i = 0; observed != NULL && i < mesh->region_count; i++)
		mesh_state_release(&observed[i]);
	free(observed);
	return status;
}

void mesh_step_release(struct mesh_step *step)
{
	free(step->name);
	free(step->properties_key);
	json_decref(step->before);
	json_decref(step->after);
}

void mesh_plan_release(struct mesh_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		mesh_step_release(&plan->steps[i]);
	free(plan->steps);
	json_decref(plan->remarks);
	*plan = (struct mesh_plan){ .count = 0 };
}

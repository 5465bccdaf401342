/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan for people and for programs.  People read changes and removals one by
 * one, because each may hurt; creations hurt nothing, so where there are many
 * they are counted by kind: a mesh of 500 regions still fits a screen.
 */
#include <stdlib.h>
#include <string.h>

#include "federation/mesh_parts.h"

enum { CREATIONS_LISTED_MAX = 40, VALUE_SHOWN_MAX = 200 };

static void add_value(struct strbuf *text, const json_t *value)
{
	char *dumped = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;

	if (dumped == NULL)
		strbuf_adds(text, "nothing");
	else if (strlen(dumped) > VALUE_SHOWN_MAX)
		strbuf_addf(text, "%.*s…", VALUE_SHOWN_MAX, dumped);
	else
		strbuf_adds(text, dumped);
	free(dumped);
}

static void add_differences(struct strbuf *text, json_t *before, json_t *after)
{
	const char *key;
	json_t *value;

	json_object_foreach(after, key, value)
	{
		const json_t *old = json_object_get(before, key);
		if (json_equal(value, old))
			continue;
		strbuf_addf(text, "      %s: ", key);
		add_value(text, old);
		strbuf_adds(text, " -> ");
		add_value(text, value);
		strbuf_addc(text, '\n');
	}
	json_object_foreach(before, key, value)
	{
		if (json_object_get(after, key) != NULL)
			continue;
		strbuf_addf(text, "      %s: ", key);
		add_value(text, value);
		strbuf_adds(text, " -> nothing\n");
	}
}

static void add_step(struct strbuf *text, const struct mesh *mesh, const struct mesh_step *step)
{
	static const char marks[] = { '+', '~', '!', '-' };

	strbuf_addf(text, "  %c %-12s %-17s %s", marks[step->action], mesh->regions[step->region].name,
		mesh_kind_name(step->kind), step->name);
	if (step->links_restarted > 0)
		strbuf_addf(
			text, "  [restarts %zu link%s]", step->links_restarted, step->links_restarted == 1 ? "" : "s");
	if (step->is_buffer_at_risk)
		strbuf_addf(text, "  [may lose a buffer]");
	if (step->message_count > 0)
		strbuf_addf(text, "  [holds %lld events: apply will refuse]", (long long)step->message_count);
	strbuf_addc(text, '\n');
	if (step->action == MESH_CHANGE || step->action == MESH_REPLACE)
		add_differences(text, step->before, step->after);
}

static void add_counted(struct strbuf *text, const struct mesh_plan *plan)
{
	for (enum mesh_kind kind = 0; kind < MESH_KIND_COUNT; kind++) {
		size_t count = 0, brokers = 0, last = SIZE_MAX;
		for (size_t i = 0; i < plan->count; i++) {
			const struct mesh_step *step = &plan->steps[i];
			if (step->action != MESH_CREATE || step->kind != kind)
				continue;
			count++;
			brokers += step->region != last;
			last = step->region;
		}
		if (count > 0 && kind == MESH_KIND_POLICY) /* sorted by name first */
			strbuf_addf(text, "  + %-17s %6zu\n", mesh_kind_name(kind), count);
		else if (count > 0)
			strbuf_addf(text, "  + %-17s %6zu in %zu regions\n", mesh_kind_name(kind), count, brokers);
	}
}

void mesh_plan_print(const struct mesh *mesh, const struct mesh_plan *plan, struct strbuf *text)
{
	size_t creations = 0, changes = 0;

	for (size_t i = 0; i < plan->count; i++) {
		creations += plan->steps[i].action == MESH_CREATE;
		changes += plan->steps[i].action == MESH_CHANGE;
	}
	for (size_t i = 0; i < json_array_size(plan->remarks); i++)
		strbuf_addf(text, "note: %s\n", json_string_value(json_array_get(plan->remarks, i)));
	if (plan->count == 0) {
		strbuf_addf(text, "No difference: %zu regions are as %s.\n", mesh->region_count, "the mesh file says");
		return;
	}
	if (creations > CREATIONS_LISTED_MAX)
		add_counted(text, plan);
	for (size_t i = 0; i < plan->count; i++)
		if (plan->steps[i].action != MESH_CREATE || creations <= CREATIONS_LISTED_MAX)
			add_step(text, mesh, &plan->steps[i]);
	strbuf_addf(text, "%zu to create, %zu to change, %zu to remove or replace, in %zu of %zu regions;", creations,
		changes, plan->removals, plan->brokers_touched, mesh->region_count);
	strbuf_addf(text, " %zu link%s, %zu step%s may lose a buffer.\n", plan->links_restarted,
		plan->links_restarted == 1 ? " restarts" : "s restart", plan->buffers_at_risk,
		plan->buffers_at_risk == 1 ? "" : "s");
	strbuf_addf(text, "plan %.16s\n", plan->hash);
}

json_t *mesh_plan_json(const struct mesh *mesh, const struct mesh_plan *plan)
{
	json_t *steps = json_array();

	for (size_t i = 0; i < plan->count; i++) {
		const struct mesh_step *step = &plan->steps[i];
		(void)json_array_append_new(steps,
			json_pack("{s:s,s:s,s:s,s:s,s:O?,s:O?,s:I,s:b,s:I}", "action", mesh_action_name(step->action),
				"region", mesh->regions[step->region].name, "kind", mesh_kind_name(step->kind), "name",
				step->name, "before", step->before, "after", step->after, "links_restarted",
				(json_int_t)step->links_restarted, "is_buffer_at_risk", step->is_buffer_at_risk,
				"message_count", (json_int_t)step->message_count));
	}
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:O,s:o}", "plan", plan->hash, "brokers_touched",
		(json_int_t)plan->brokers_touched, "links_restarted", (json_int_t)plan->links_restarted,
		"buffers_at_risk", (json_int_t)plan->buffers_at_risk, "removals", (json_int_t)plan->removals, "remarks",
		plan->remarks, "steps", steps);
}

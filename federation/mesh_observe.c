/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one region's broker has, of what this tool owns, in the same form as what
 * it should have: of each object only the members we set are kept, so equal means
 * nothing to do.  What is not ours stays out of the state and so is never touched;
 * where it is in the way, a remark says so.
 *
 * Ours are: users with our tag; permissions of such users; policies and upstreams
 * whose name begins "homeward-"; the exchanges, queues and bindings we make; and
 * buffers of regions that have no link any more.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "federation/mesh_parts.h"

struct observing {
	const struct mesh *mesh;
	size_t region;
	const struct mesh_api *api;
	struct mesh_state *state;
	struct strbuf *why;
};

/* A list below the virtual host.  A plugin that is not enabled has no such list. */
static enum status get_list(const struct observing *observing, const char *list, const char *rest, json_t **list_out)
{
	struct strbuf path = STRBUF_INIT;
	enum status status;

	*list_out = NULL;
	mesh_path(observing->mesh, observing->region, list, rest, &path);
	status = mesh_get(observing->mesh, observing->region, observing->api, path.data, list_out, observing->why);
	if (status == STATUS_NOT_FOUND) {
		strbuf_adds(observing->why, " (are the plugins rabbitmq_federation and rabbitmq_federation_management"
					    " enabled?)");
		status = STATUS_BAD_PEER;
	}
	strbuf_release(&path);
	return status;
}

/* The named members of an item, and nothing else. */
static json_t *members_of(const json_t *item, const char *const *names)
{
	json_t *value = json_object();

	for (; *names != NULL; names++) {
		json_t *member = json_object_get(item, *names);
		(void)json_object_set_new(value, *names, member != NULL ? json_deep_copy(member) : json_null());
	}
	return value;
}

static const char *name_of(const json_t *item, const char *member)
{
	const char *name = json_get_string(item, member);

	return name != NULL ? name : "";
}

static bool has_own_prefix(const char *name)
{
	return strncmp(name, MESH_OWN_PREFIX, strlen(MESH_OWN_PREFIX)) == 0;
}

/* ---- users ---- */

/* A list since 3.8, before it one text with commas. */
static char *tags_of(const json_t *user)
{
	const json_t *tags = json_object_get(user, "tags");
	struct strbuf text = STRBUF_INIT;

	if (json_is_string(tags))
		strbuf_adds(&text, json_string_value(tags));
	for (size_t i = 0; i < json_array_size(tags); i++)
		strbuf_addf(&text, "%s%s", i > 0 ? "," : "",
			json_is_string(json_array_get(tags, i)) ? json_string_value(json_array_get(tags, i)) : "?");
	return strbuf_take(&text, NULL);
}

static bool has_own_tag(const char *tags)
{
	size_t length = strlen(MESH_OWN_TAG);

	for (const char *at = strstr(tags, MESH_OWN_TAG); at != NULL; at = strstr(at + 1, MESH_OWN_TAG))
		if ((at == tags || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
			return true;
	return false;
}

/* own: an object with the names of all users that are ours. */
static enum status observe_users(const struct observing *observing, json_t *own)
{
	json_t *users = NULL;
	const struct mesh *mesh = observing->mesh;
	bool is_first = true;
	enum status status = mesh_get(mesh, observing->region, observing->api, "/api/users", &users, observing->why);

	for (size_t i = 0; i < observing->region; i++)
		if (strcmp(mesh->regions[i].management.url, mesh->regions[observing->region].management.url) == 0)
			is_first = false;
	for (size_t i = 0; i < json_array_size(users); i++) {
		const json_t *user = json_array_get(users, i);
		const char *name = name_of(user, "name"), *hash = json_get_string(user, "password_hash");
		char *tags = tags_of(user);
		if (tags != NULL && has_own_tag(tags)) {
			(void)json_object_set_new(own, name, json_true());
			if (is_first)
				mesh_state_add(observing->state, MESH_KIND_USER, name,
					json_pack(
						"{s:s,s:s}", "password_hash", hash != NULL ? hash : "?", "tags", tags));
		} else if (mesh_is_user(mesh, name)) {
			strbuf_addf(observing->why,
				"%s: there is a user %s who is not ours: delete it, or give it the tag \"homeward\" and"
				" the plan will take its password away",
				mesh->regions[observing->region].name, name);
			status = STATUS_CONFLICT;
		}
		free(tags);
	}
	json_decref(users);
	return status;
}

static enum status observe_permissions(const struct observing *observing, const json_t *own)
{
	static const char *const plain[] = { "configure", "write", "read", NULL }, *const topic[] = { "exchange",
		"write", "read", NULL };
	json_t *list = NULL;
	enum status status = get_list(observing, "vhosts", "/permissions", &list);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		if (json_object_get(own, name_of(item, "user")) != NULL)
			mesh_state_add(
				observing->state, MESH_KIND_PERMISSION, name_of(item, "user"), members_of(item, plain));
	}
	json_decref(list);
	if (status != STATUS_OK)
		return status;
	status = get_list(observing, "vhosts", "/topic-permissions", &list);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct strbuf name = STRBUF_INIT;
		strbuf_adds(&name, name_of(item, "user"));
		if (strcmp(name_of(item, "exchange"), MESH_EVENTS) != 0)
			strbuf_addf(&name, " on %s", name_of(item, "exchange"));
		if (json_object_get(own, name_of(item, "user")) != NULL)
			mesh_state_add(
				observing->state, MESH_KIND_TOPIC_PERMISSION, name.data, members_of(item, topic));
		strbuf_release(&name);
	}
	json_decref(list);
	return status;
}

/* ---- policies and upstreams ---- */

static enum status observe_policies(const struct observing *observing, const char *list_name, enum mesh_kind kind)
{
	static const char *const members[] = { "pattern", "apply-to", "priority", "definition", NULL };
	json_t *list = NULL;
	enum status status = get_list(observing, list_name, "", &list);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		if (has_own_prefix(name_of(item, "name")))
			mesh_state_add(observing->state, kind, name_of(item, "name"), members_of(item, members));
	}
	json_decref(list);
	return status;
}

static enum status observe_upstreams(const struct observing *observing)
{
	json_t *list = NULL;
	enum status status = get_list(observing, "parameters/federation-upstream", "", &list);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		json_t *value = json_object_get(item, "value");
		if (has_own_prefix(name_of(item, "name")))
			mesh_state_add(observing->state, MESH_KIND_UPSTREAM, name_of(item, "name"),
				value != NULL ? json_deep_copy(value) : json_object());
		else
			mesh_remark(observing->state->remarks,
				"%s: the upstream %s is not ours, and the set \"all\" takes it in",
				observing->mesh->regions[observing->region].name, name_of(item, "name"));
	}
	json_decref(list);
	return status;
}

/* ---- exchanges, queues, bindings ---- */

static enum status observe_exchanges(const struct observing *observing)
{
	static const char *const members[] = { "type", "durable", "auto_delete", "internal", "arguments", NULL };
	json_t *list = NULL;
	enum status status = get_list(observing, "exchanges", "", &list);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		const char *name = name_of(item, "name"), *in_force = json_get_string(item, "policy");
		if (mesh_is_one_of(name, mesh_exchange_names))
			mesh_state_add(observing->state, MESH_KIND_EXCHANGE, name, members_of(item, members));
		if (strcmp(name, MESH_EVENTS) == 0 && in_force != NULL && strcmp(in_force, MESH_FEDERATE_POLICY) != 0)
			mesh_remark(observing->state->remarks,
				"%s: the policy %s is in force for %s instead of %s: nothing is federated",
				observing->mesh->regions[observing->region].name, in_force, name, MESH_FEDERATE_POLICY);
	}
	json_decref(list);
	return status;
}

static bool is_expected_buffer(const struct observing *observing, const char *name)
{
	struct strbuf expected = STRBUF_INIT;
	bool is_expected = false;

	for (size_t peer = 0; peer < observing->mesh->region_count && !is_expected; peer++) {
		if (!mesh_has_link(observing->mesh, observing->region, peer))
			continue;
		strbuf_reset(&expected);
		mesh_buffer_name(observing->mesh, observing->region, peer, &expected);
		is_expected = strcmp(expected.data, name) == 0;
	}
	strbuf_release(&expected);
	return is_expected;
}

static enum status observe_queues(const struct observing *observing)
{
	static const char *const members[] = { "durable", "auto_delete", "arguments", NULL };
	json_t *list = NULL;
	enum status status = get_list(observing, "queues", "", &list);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		const char *name = name_of(item, "name");
		bool is_buffer = strncmp(name, MESH_BUFFER_PREFIX, strlen(MESH_BUFFER_PREFIX)) == 0;
		struct mesh_object *object;
		if (!mesh_is_one_of(name, mesh_queue_names) && (!is_buffer || is_expected_buffer(observing, name)))
			continue;
		object = mesh_state_add(observing->state, MESH_KIND_QUEUE, name, members_of(item, members));
		if (object != NULL)
			(void)json_get_integer(item, "messages", &object->message_count);
	}
	json_decref(list);
	return status;
}

static void observe_binding(const struct observing *observing, const json_t *item)
{
	static const char *const members[] = { "source", "destination", "routing_key", "arguments", NULL };
	const char *source = name_of(item, "source"), *destination = name_of(item, "destination"),
		   *key = name_of(item, "routing_key");
	bool is_to_queue = strcmp(name_of(item, "destination_type"), "queue") == 0,
	     is_to_buffer = strncmp(destination, MESH_BUFFER_PREFIX, strlen(MESH_BUFFER_PREFIX)) == 0;
	struct strbuf name = STRBUF_INIT;
	struct mesh_object *object;

	if (mesh_is_one_of(source, mesh_exchange_names) && is_to_queue &&
		mesh_is_one_of(destination, mesh_queue_names)) {
		mesh_binding_name(source, destination, key, &name);
		object = mesh_state_add(observing->state, MESH_KIND_BINDING, name.data, members_of(item, members));
		if (object != NULL)
			object->properties_key = strdup(name_of(item, "properties_key"));
	} else if (strcmp(source, MESH_EVENTS) == 0 && !is_to_buffer) {
		mesh_remark(observing->state->remarks,
			"%s: %s is bound to %s with \"%s\", which is not ours: peers refuse such keys and then stop the"
			" whole link",
			observing->mesh->regions[observing->region].name, destination, source, key);
	}
	strbuf_release(&name);
}

static enum status observe_bindings(const struct observing *observing)
{
	json_t *list = NULL;
	enum status status = get_list(observing, "bindings", "", &list);

	for (size_t i = 0; i < json_array_size(list); i++)
		observe_binding(observing, json_array_get(list, i));
	json_decref(list);
	return status;
}

/* ---- the whole ---- */

static enum status observe_broker(const struct observing *observing)
{
	const struct mesh_region *region = &observing->mesh->regions[observing->region];
	json_t *overview = NULL;
	enum status status = mesh_get(
		observing->mesh, observing->region, observing->api, "/api/overview", &overview, observing->why);

	if (status == STATUS_OK) {
		observing->state->cluster = strdup(name_of(overview, "cluster_name"));
		observing->state->version = strdup(name_of(overview, "rabbitmq_version"));
		if (strcmp(name_of(overview, "cluster_name"), region->cluster) != 0) {
			strbuf_addf(observing->why,
				"%s: the broker calls itself \"%s\", the mesh file \"%s\": set cluster_name in its "
				"rabbitmq.conf"
				" (it is part of its buffers' names and stops circles)",
				region->name, name_of(overview, "cluster_name"), region->cluster);
			status = STATUS_CONFLICT;
		}
	}
	json_decref(overview);
	return status;
}

static enum status observe_vhost(const struct observing *observing, const json_t *own)
{
	enum status status;
	json_t *vhost = NULL;
	struct strbuf path = STRBUF_INIT, ignored = STRBUF_INIT;
	const struct observing quiet = { observing->mesh, observing->region, observing->api, observing->state,
		&ignored };

	mesh_path(observing->mesh, observing->region, "vhosts", "", &path);
	status = mesh_get(quiet.mesh, quiet.region, quiet.api, path.data, &vhost, quiet.why);
	json_decref(vhost);
	strbuf_release(&path);
	if (status == STATUS_NOT_FOUND) {
		strbuf_release(&ignored);
		return STATUS_OK;
	}
	if (status != STATUS_OK)
		strbuf_adds(observing->why, ignored.data);
	else
		mesh_state_add(observing->state, MESH_KIND_VHOST, observing->mesh->regions[observing->region].vhost,
			json_object());
	strbuf_release(&ignored);
	if (status == STATUS_OK)
		status = observe_permissions(observing, own);
	if (status == STATUS_OK)
		status = observe_policies(observing, "operator-policies", MESH_KIND_OPERATOR_POLICY);
	if (status == STATUS_OK)
		status = observe_exchanges(observing);
	if (status == STATUS_OK)
		status = observe_queues(observing);
	if (status == STATUS_OK)
		status = observe_bindings(observing);
	if (status == STATUS_OK)
		status = observe_upstreams(observing);
	if (status == STATUS_OK)
		status = observe_policies(observing, "policies", MESH_KIND_POLICY);
	return status;
}

enum status mesh_observe(const struct mesh *mesh, size_t region, const struct mesh_api *api,
	struct mesh_state *state_out, struct strbuf *why)
{
	const struct observing observing = { mesh, region, api, state_out, why };
	json_t *own = json_object();
	enum status status;

	*state_out = (struct mesh_state){ .remarks = json_array(), .paused = json_object() };
	status = observe_broker(&observing);
	if (status == STATUS_OK)
		status = observe_users(&observing, own);
	if (status == STATUS_OK)
		status = observe_vhost(&observing, own);
	if (status == STATUS_OK)
		status = mesh_observe_pauses(mesh, region, api, state_out->paused, why);
	json_decref(own);
	mesh_state_sort(state_out);
	if (status == STATUS_OK && (state_out->has_failed || state_out->remarks == NULL))
		status = STATUS_NO_MEMORY;
	if (status != STATUS_OK)
		mesh_state_release(state_out);
	return status;
}

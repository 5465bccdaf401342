/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and growing lists the mesh's files share.  A state remembers that memory
 * ran out and is refused as a whole, so building one needs no check a line.
 */
#include "federation/mesh_parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const mesh_queue_names[] = { MESH_DEAD, MESH_INBOX, MESH_SUBMIT, MESH_UNROUTABLE, NULL };
const char *const mesh_exchange_names[] = { MESH_DEAD, MESH_DELIVERED, MESH_EVENTS, MESH_MQTT, MESH_SUBMIT, MESH_SYSTEM,
	MESH_UNROUTABLE, NULL };

bool mesh_is_one_of(const char *name, const char *const *names)
{
	for (; *names != NULL; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

const char *mesh_kind_name(enum mesh_kind kind)
{
	static const char *const names[] = { "vhost", "user", "topic-permission", "permission", "operator-policy",
		"exchange", "queue", "binding", "upstream", "policy" };

	return names[kind];
}

const char *mesh_action_name(enum mesh_action action)
{
	static const char *const names[] = { "create", "change", "replace", "delete" };

	return names[action];
}

/* The plugin leaves out the virtual host where both sides' are called the same. */
void mesh_buffer_name(const struct mesh *mesh, size_t upstream, size_t downstream, struct strbuf *name)
{
	const struct mesh_region *to = &mesh->regions[downstream];

	strbuf_addf(name, "%s%s", MESH_BUFFER_PREFIX, to->cluster);
	if (strcmp(mesh->regions[upstream].vhost, to->vhost) != 0)
		strbuf_addf(name, ":%s:%s", to->vhost, MESH_EVENTS);
}

bool mesh_is_buffer_exchange(const char *name, const char *buffer)
{
	size_t length = strlen(buffer);

	return strncmp(name, buffer, length) == 0 && name[length] == ' ' && strlen(name) == length + 2;
}

const char *mesh_user(const struct mesh *mesh, size_t region)
{
	return mesh->regions[region].name;
}

void mesh_upstream_name(const struct mesh *mesh, size_t region, struct strbuf *name)
{
	strbuf_addf(name, "%s%s", MESH_OWN_PREFIX, mesh->regions[region].name);
}

void mesh_binding_name(const char *source, const char *destination, const char *key, struct strbuf *name)
{
	strbuf_addf(name, "%s -> %s %s", source, destination, key);
}

/* amqps://host:port/vhost, as RabbitMQ makes it from an upstream's uri by leaving out credentials and query. */
static bool is_address_of(const struct mesh_region *region, const char *uri)
{
	struct strbuf vhost = STRBUF_INIT;
	bool is_same = false;

	strbuf_add_percent(&vhost, region->vhost, strlen(region->vhost));
	for (size_t i = 0; i < region->broker_url_count && strbuf_ok(&vhost) && !is_same; i++) {
		size_t length = strlen(region->broker_urls[i]);
		is_same = strncmp(uri, region->broker_urls[i], length) == 0 && uri[length] == '/' &&
			  strcmp(uri + length + 1, vhost.data) == 0;
	}
	strbuf_release(&vhost);
	return is_same;
}

const char *mesh_link_origin(const struct mesh *mesh, const char *uri)
{
	for (size_t i = 0; i < mesh->region_count; i++)
		if (is_address_of(&mesh->regions[i], uri))
			return mesh->regions[i].name;
	return "";
}

struct mesh_object *mesh_state_add(struct mesh_state *state, enum mesh_kind kind, const char *name, json_t *value)
{
	struct mesh_object *object;
	char *copy = strdup(name);

	if (state->count == state->capacity) {
		size_t capacity = state->capacity > 0 ? state->capacity * 2 : 64;
		struct mesh_object *grown = realloc(state->objects, capacity * sizeof(*grown));
		if (grown != NULL) {
			state->objects = grown;
			state->capacity = capacity;
		}
	}
	if (copy == NULL || value == NULL || state->count == state->capacity) {
		free(copy);
		json_decref(value);
		state->has_failed = true;
		return NULL;
	}
	object = &state->objects[state->count++];
	*object = (struct mesh_object){ .kind = kind, .name = copy, .value = value };
	return object;
}

int mesh_object_compare(const struct mesh_object *a, const struct mesh_object *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int compare(const void *a, const void *b)
{
	return mesh_object_compare(a, b);
}

void mesh_state_sort(struct mesh_state *state)
{
	if (state->count > 0)
		qsort(state->objects, state->count, sizeof(*state->objects), compare);
}

const struct mesh_object *mesh_state_find(const struct mesh_state *state, enum mesh_kind kind, const char *name)
{
	for (size_t i = 0; i < state->count; i++)
		if (state->objects[i].kind == kind && strcmp(state->objects[i].name, name) == 0)
			return &state->objects[i];
	return NULL;
}

void mesh_state_release(struct mesh_state *state)
{
	for (size_t i = 0; i < state->count; i++) {
		free(state->objects[i].name);
		free(state->objects[i].properties_key);
		json_decref(state->objects[i].value);
	}
	free(state->objects);
	free(state->cluster);
	free(state->version);
	json_decref(state->remarks);
	json_decref(state->paused);
	*state = (struct mesh_state){ .count = 0 };
}

void mesh_remark(json_t *remarks, const char *format, ...)
{
	struct strbuf text = STRBUF_INIT;
	va_list args;

	va_start(args, format);
	strbuf_vaddf(&text, format, args);
	va_end(args);
	if (strbuf_ok(&text))
		(void)json_array_append_new(remarks, json_string(text.data));
	strbuf_release(&text);
}

void mesh_path(const struct mesh *mesh, size_t region, const char *list, const char *rest, struct strbuf *path)
{
	const char *vhost = mesh->regions[region].vhost;

	strbuf_addf(path, "/api/%s/", list);
	strbuf_add_percent(path, vhost, strlen(vhost));
	strbuf_adds(path, rest);
}

void mesh_fault(const struct mesh *mesh, size_t region, const char *method, const char *path, int http_status,
	const json_t *answer, struct strbuf *why)
{
	const char *reason = json_string_value(json_object_get(answer, "reason"));

	strbuf_addf(why, "%s: %s %s: %d%s%s", mesh->regions[region].name, method, path, http_status,
		reason != NULL ? " " : "", reason != NULL ? reason : "");
	if (http_status == 401)
		strbuf_addf(why, " (user %s, or what it may do)", mesh->regions[region].management.user);
}

enum status mesh_get(const struct mesh *mesh, size_t region, const struct mesh_api *api, const char *path,
	json_t **answer_out, struct strbuf *why)
{
	int http_status = 0;
	enum status status = api->call(api->arg, region, "GET", path, NULL, &http_status, answer_out, why);

	if (status != STATUS_OK || (http_status == 200 && *answer_out != NULL))
		return status;
	if (http_status == 404)
		status = STATUS_NOT_FOUND;
	else
		status = http_status == 401 || http_status == 403 ? STATUS_FORBIDDEN : STATUS_BAD_PEER;
	mesh_fault(mesh, region, "GET", path, http_status, *answer_out, why);
	json_decref(*answer_out);
	*answer_out = NULL;
	return status;
}

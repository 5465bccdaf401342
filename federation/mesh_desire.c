/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one region's broker should have.  Pure: the mesh in, objects out.
 *
 * The lock: a peer's user is known by its certificate alone, may touch nothing
 * but its own buffer, and the topic permission lets it bind homeward.events only
 * with keys that begin with its own name (or "all").  So the sending broker, not
 * the receiving one, decides what a region may have.
 *
 * What must not be shadowed by another policy (overflow, delivery limit, dead
 * letters) is a queue's argument; sizes, which people change, are operator
 * policies.  Only the buffers, which the plugin makes, take all from a policy.
 */
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/json.h"
#include "base/must.h"
#include "federation/mesh_parts.h"

enum {
	PREFETCH_MIN = 1000,  /* less starves a link at any distance */
	PREFETCH_MAX = 65535, /* 16 bits on the wire */
	POLICY_PRIORITY = 1000,
	HEARTBEAT_S = 10, /* a dead connection is noticed after two */
	CONNECT_TIMEOUT_MS = 10000
};

static void add_escaped(struct strbuf *pattern, const char *text)
{
	for (; *text != '\0'; text++) {
		if (strchr(".[]()*+?{}|^$\\", *text) != NULL)
			strbuf_addc(pattern, '\\');
		strbuf_addc(pattern, *text);
	}
}

json_t *mesh_permission(const char *configure, const char *write, const char *read)
{
	return json_pack("{s:s,s:s,s:s}", "configure", configure, "write", write, "read", read);
}

json_t *mesh_topic_permission(const char *exchange, const char *write, const char *read)
{
	return json_pack("{s:s,s:s,s:s}", "exchange", exchange, "write", write, "read", read);
}

/* One broker may carry several regions; its users are listed once, with the first of them. */
static bool is_first_of_broker(const struct mesh *mesh, size_t region)
{
	for (size_t i = 0; i < region; i++)
		if (strcmp(mesh->regions[i].management.url, mesh->regions[region].management.url) == 0)
			return false;
	return true;
}

static bool is_known_at(const struct mesh *mesh, size_t user, size_t region)
{
	return user == region || mesh_has_link(mesh, user, region);
}

static void desire_users(const struct mesh *mesh, size_t region, struct mesh_state *state)
{
	for (size_t user = 0; user < mesh->region_count; user++) {
		bool is_known = false;
		for (size_t at = region; at < mesh->region_count && !is_known; at++)
			is_known = is_known_at(mesh, user, at) &&
				   strcmp(mesh->regions[at].management.url, mesh->regions[region].management.url) == 0;
		if (is_known)
			mesh_state_add(state, MESH_KIND_USER, mesh_user(mesh, user),
				json_pack("{s:s,s:s}", "password_hash", "", "tags", MESH_OWN_TAG));
	}
	for (size_t at = region; at < mesh->region_count; at++)
		if (strcmp(mesh->regions[at].management.url, mesh->regions[region].management.url) == 0)
			mesh_desire_application_users(&mesh->regions[at], state);
}

/* What a peer may do here. */
static void desire_lock(const struct mesh *mesh, size_t region, size_t peer, struct mesh_state *state)
{
	struct strbuf buffer = STRBUF_INIT, own = STRBUF_INIT, read = STRBUF_INIT, keys = STRBUF_INIT;

	mesh_buffer_name(mesh, region, peer, &buffer);
	strbuf_addc(&own, '^');
	add_escaped(&own, buffer.data);
	strbuf_adds(&own, "( [AB])?$");
	strbuf_addf(&read, "%s|^", own.data);
	add_escaped(&read, MESH_EVENTS);
	strbuf_addc(&read, '$');
	strbuf_addf(&keys, "^(%s|%s)\\.", mesh->regions[peer].name, MESH_BROADCAST);
	mesh_state_add(
		state, MESH_KIND_PERMISSION, mesh_user(mesh, peer), mesh_permission(own.data, own.data, read.data));
	mesh_state_add(state, MESH_KIND_TOPIC_PERMISSION, mesh_user(mesh, peer),
		mesh_topic_permission(MESH_EVENTS, "^$", keys.data));
	state->has_failed |= !strbuf_ok(&buffer) || !strbuf_ok(&own) || !strbuf_ok(&read) || !strbuf_ok(&keys);
	strbuf_release(&buffer);
	strbuf_release(&own);
	strbuf_release(&read);
	strbuf_release(&keys);
}

/* What the region's own service may do here: it cannot even publish under another region's name. */
static void desire_own_user(const struct mesh *mesh, size_t region, struct mesh_state *state)
{
	struct strbuf keys = STRBUF_INIT;

	strbuf_addf(&keys, "^[a-z0-9-]+\\.%s\\.", mesh->regions[region].name);
	mesh_state_add(state, MESH_KIND_PERMISSION, mesh_user(mesh, region),
		mesh_permission("^$", "^homeward\\.(events|submit|delivered|system|dead|unroutable)$",
			"^homeward\\.(inbox|submit|dead|unroutable)$"));
	mesh_state_add(state, MESH_KIND_TOPIC_PERMISSION, mesh_user(mesh, region),
		mesh_topic_permission(MESH_EVENTS, keys.data, "^$"));
	state->has_failed |= !strbuf_ok(&keys);
	strbuf_release(&keys);
}

static void desire_exchanges(bool has_devices, struct mesh_state *state)
{
	for (size_t i = 0; mesh_exchange_names[i] != NULL; i++) {
		const char *name = mesh_exchange_names[i];
		if (strcmp(name, MESH_MQTT) == 0 && !has_devices)
			continue;
		bool is_fanout = strcmp(name, MESH_DEAD) == 0 || strcmp(name, MESH_UNROUTABLE) == 0;
		mesh_state_add(state, MESH_KIND_EXCHANGE, name,
			json_pack("{s:s,s:b,s:b,s:b,s:{}}", "type", is_fanout ? "fanout" : "topic", "durable", 1,
				"auto_delete", 0, "internal", 0, "arguments"));
	}
}

static void desire_queues(const struct mesh *mesh, struct mesh_state *state)
{
	for (size_t i = 0; mesh_queue_names[i] != NULL; i++) {
		const char *name = mesh_queue_names[i];
		bool is_worked_on = strcmp(name, MESH_INBOX) == 0 || strcmp(name, MESH_SUBMIT) == 0;
		json_t *arguments = json_pack("{s:s,s:s}", "x-queue-type", "quorum", "x-overflow", "reject-publish");
		if (is_worked_on && arguments != NULL) {
			json_t *more = json_pack("{s:I,s:s,s:s}", "x-delivery-limit",
				(json_int_t)mesh->limits.delivery_limit, "x-dead-letter-exchange", MESH_DEAD,
				"x-dead-letter-strategy", "at-least-once");
			state->has_failed |= json_object_update(arguments, more) != 0;
			json_decref(more);
		}
		/* One consumer at a time keeps the order; another takes over when it goes. */
		if (strcmp(name, MESH_INBOX) == 0)
			(void)json_object_set_new(arguments, "x-single-active-consumer", json_true());
		mesh_state_add(state, MESH_KIND_QUEUE, name,
			json_pack("{s:b,s:b,s:o}", "durable", 1, "auto_delete", 0, "arguments", arguments));
	}
}

void mesh_desire_binding(struct mesh_state *state, const char *exchange, const char *queue, const char *key)
{
	struct strbuf name = STRBUF_INIT;

	mesh_binding_name(exchange, queue, key, &name);
	mesh_state_add(state, MESH_KIND_BINDING, name.data,
		json_pack("{s:s,s:s,s:s,s:{}}", "source", exchange, "destination", queue, "routing_key", key,
			"arguments"));
	state->has_failed |= !strbuf_ok(&name);
	strbuf_release(&name);
}

static void desire_bindings(const struct mesh *mesh, size_t region, struct mesh_state *state)
{
	struct strbuf key = STRBUF_INIT;

	strbuf_addf(&key, "%s.#", mesh->regions[region].name);
	mesh_desire_binding(state, MESH_EVENTS, MESH_INBOX, key.data);
	mesh_desire_binding(state, MESH_EVENTS, MESH_INBOX, MESH_BROADCAST ".#");
	mesh_desire_binding(state, MESH_SUBMIT, MESH_SUBMIT, "#");
	mesh_desire_binding(state, MESH_UNROUTABLE, MESH_UNROUTABLE, "");
	mesh_desire_binding(state, MESH_DEAD, MESH_DEAD, "");
	state->has_failed |= !strbuf_ok(&key);
	strbuf_release(&key);
}

static int64_t prefetch(const struct mesh *mesh)
{
	int64_t in_flight = (2 * mesh->limits.events_per_s * mesh->limits.round_trip_ms + 999) / 1000;

	if (in_flight < PREFETCH_MIN)
		return PREFETCH_MIN;
	return in_flight > PREFETCH_MAX ? PREFETCH_MAX : in_flight;
}

/* No secret is in it: the certificate is the credential. */
static json_t *uri(const struct mesh *mesh, size_t region, size_t peer, const char *url)
{
	const struct mesh_region *own = &mesh->regions[region], *other = &mesh->regions[peer];
	struct address_url address;
	struct strbuf text = STRBUF_INIT;
	json_t *value;

	must(address_of_url(url, &address)); /* the mesh file was checked */
	strbuf_addf(&text, "%s/", url);
	strbuf_add_percent(&text, other->vhost, strlen(other->vhost));
	strbuf_addf(&text,
		"?cacertfile=%s&certfile=%s&keyfile=%s&verify=verify_peer&server_name_indication=%s%s%s"
		"&auth_mechanism=external&heartbeat=%d&connection_timeout=%d",
		own->link.ca_file, own->link.certificate_file, own->link.key_file, address.is_bracketed ? "[" : "",
		address.host, address.is_bracketed ? "]" : "", HEARTBEAT_S, CONNECT_TIMEOUT_MS);
	value = strbuf_ok(&text) ? json_string(text.data) : NULL;
	strbuf_release(&text);
	return value;
}

static void desire_upstream(const struct mesh *mesh, size_t region, size_t peer, struct mesh_state *state)
{
	const struct mesh_region *other = &mesh->regions[peer];
	json_t *uris = json_array(), *value;
	struct strbuf name = STRBUF_INIT;

	for (size_t i = 0; i < other->broker_url_count; i++)
		(void)json_array_append_new(uris, uri(mesh, region, peer, other->broker_urls[i]));
	state->has_failed |= json_array_size(uris) != other->broker_url_count;
	value = json_pack("{s:O,s:s,s:i,s:I,s:I,s:s,s:b,s:s}", "uri",
		other->broker_url_count == 1 ? json_array_get(uris, 0) : uris, "exchange", MESH_EVENTS, "max-hops", 1,
		"prefetch-count", (json_int_t)prefetch(mesh), "reconnect-delay",
		(json_int_t)mesh->limits.reconnect_delay_s, "ack-mode", "on-confirm", "trust-user-id", 0,
		"resource-cleanup-mode", "never");
	json_decref(uris);
	mesh_upstream_name(mesh, peer, &name);
	mesh_state_add(state, MESH_KIND_UPSTREAM, name.data, value);
	state->has_failed |= !strbuf_ok(&name);
	strbuf_release(&name);
}

json_t *mesh_policy(const char *pattern, const char *apply_to, json_t *definition)
{
	return json_pack("{s:s,s:s,s:i,s:o}", "pattern", pattern, "apply-to", apply_to, "priority", POLICY_PRIORITY,
		"definition", definition);
}

static void desire_policies(const struct mesh *mesh, struct mesh_state *state)
{
	static const char buffers[] = "^federation: homeward\\.events -> ";
	json_int_t buffer_max = mesh->limits.buffer_bytes_max, queue_max = mesh->limits.queue_bytes_max;

	mesh_state_add(state, MESH_KIND_OPERATOR_POLICY, MESH_BUFFER_POLICY,
		mesh_policy(buffers, "queues", json_pack("{s:I}", "max-length-bytes", buffer_max)));
	mesh_state_add(state, MESH_KIND_OPERATOR_POLICY, "homeward-queues",
		mesh_policy("^homeward\\.(inbox|submit|unroutable|dead)$", "queues",
			json_pack("{s:I}", "max-length-bytes", queue_max)));
	mesh_state_add(state, MESH_KIND_POLICY, MESH_BUFFER_POLICY,
		mesh_policy(buffers, "queues",
			json_pack("{s:I,s:s,s:s}", "max-length-bytes", buffer_max, "overflow", "reject-publish",
				"queue-mode", "lazy")));
	/* Only one policy is in force for an exchange, so both live in this one. */
	mesh_state_add(state, MESH_KIND_POLICY, MESH_FEDERATE_POLICY,
		mesh_policy("^homeward\\.events$", "exchanges",
			json_pack(
				"{s:s,s:s}", "federation-upstream-set", "all", "alternate-exchange", MESH_UNROUTABLE)));
}

enum status mesh_desire(const struct mesh *mesh, size_t region, struct mesh_state *state_out)
{
	*state_out = (struct mesh_state){ .count = 0 };
	mesh_state_add(state_out, MESH_KIND_VHOST, mesh->regions[region].vhost, json_object());
	if (is_first_of_broker(mesh, region))
		desire_users(mesh, region, state_out);
	desire_own_user(mesh, region, state_out);
	for (size_t peer = 0; peer < mesh->region_count; peer++) {
		if (!mesh_has_link(mesh, region, peer))
			continue;
		desire_lock(mesh, region, peer, state_out);
		desire_upstream(mesh, region, peer, state_out);
	}
	desire_policies(mesh, state_out);
	desire_exchanges(mesh_has_devices(&mesh->regions[region]), state_out);
	desire_queues(mesh, state_out);
	desire_bindings(mesh, region, state_out);
	mesh_desire_applications(mesh, region, state_out);
	mesh_state_sort(state_out);
	if (!state_out->has_failed)
		return STATUS_OK;
	mesh_state_release(state_out);
	return STATUS_NO_MEMORY;
}

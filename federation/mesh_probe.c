/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the lock by trying it: connects to each peer's broker with a region's
 * own certificate and asks for a binding on another region's events.  The broker
 * must answer 403.  The key names one event that nobody ever sends, so that even
 * an open lock leaks nothing while it is being tried; what an open lock took is
 * taken back at once.
 *
 * librabbitmq, one connection at a time on the caller's thread; every wait has a
 * deadline, because a peer that vanishes would otherwise hold a call for ever.
 */
#include <amqp.h>
#include <amqp_ssl_socket.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/must.h"
#include "federation/mesh_parts.h"

enum { CHANNEL = 1, BROKER_PORT = 5671, DEADLINE_S = 10, FRAME_BYTES_MAX = 131072, HEARTBEAT_S = 10 };
static const char unsent_event[] = "homeward-mesh-probe.never";

static bool is_refused(amqp_rpc_reply_t reply)
{
	const amqp_channel_close_t *closed = reply.reply.decoded;

	return reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD &&
	       closed->reply_code == AMQP_ACCESS_REFUSED;
}

static void add_reply(amqp_rpc_reply_t reply, struct strbuf *why)
{
	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
		strbuf_adds(why, amqp_error_string2(reply.library_error));
	} else if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
		const amqp_channel_close_t *closed = reply.reply.decoded;
		strbuf_addf(why, "%u ", closed->reply_code);
		strbuf_add(why, closed->reply_text.bytes, closed->reply_text.len);
	} else if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
		const amqp_connection_close_t *closed = reply.reply.decoded;
		strbuf_addf(why, "%u ", closed->reply_code);
		strbuf_add(why, closed->reply_text.bytes, closed->reply_text.len);
	} else {
		strbuf_adds(why, "an answer out of turn");
	}
}

static enum status connect_as(amqp_connection_state_t connection, const struct mesh_region *peer, const char *user,
	const struct mesh_credentials *credentials, struct strbuf *why)
{
	struct timeval deadline = { .tv_sec = DEADLINE_S };
	amqp_socket_t *socket = amqp_ssl_socket_new(connection);
	enum status status = STATUS_UNREACHABLE;
	struct address_url address;
	amqp_rpc_reply_t reply;
	int code;

	must(address_of_url(peer->broker_urls[0], &address)); /* the mesh file was checked */
	if (socket == NULL || amqp_set_handshake_timeout(connection, &deadline) != AMQP_STATUS_OK ||
		amqp_set_rpc_timeout(connection, &deadline) != AMQP_STATUS_OK) {
		status = STATUS_NO_MEMORY;
		goto out;
	}
	amqp_ssl_socket_set_verify_peer(socket, 1);
	amqp_ssl_socket_set_verify_hostname(socket, 1);
	if (amqp_ssl_socket_set_cacert(socket, credentials->ca_file) != AMQP_STATUS_OK ||
		amqp_ssl_socket_set_key(socket, credentials->certificate_file, credentials->key_file) !=
			AMQP_STATUS_OK ||
		amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST) != AMQP_STATUS_OK) {
		strbuf_addf(why, "the certificate %s, its key or the authority %s cannot be used",
			credentials->certificate_file, credentials->ca_file);
		status = STATUS_INVALID;
		goto out;
	}
	code = amqp_socket_open_noblock(socket, address.host, address.port > 0 ? address.port : BROKER_PORT, &deadline);
	if (code != AMQP_STATUS_OK) {
		strbuf_addf(why, "%s: %s", peer->broker_urls[0], amqp_error_string2(code));
		goto out;
	}
	reply = amqp_login(connection, peer->vhost, 0, FRAME_BYTES_MAX, HEARTBEAT_S, AMQP_SASL_METHOD_EXTERNAL, user);
	if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
		strbuf_addf(why, "%s: login as %s: ", peer->broker_urls[0], user);
		add_reply(reply, why);
		goto out;
	}
	(void)amqp_channel_open(connection, CHANNEL);
	reply = amqp_get_rpc_reply(connection);
	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		status = STATUS_OK;
	else
		add_reply(reply, why);
out:
	return status;
}

/* STATUS_OK: refused, as it must be.  STATUS_FORBIDDEN: it was allowed. */
static enum status try_binding(
	amqp_connection_state_t connection, const char *queue, const char *key, struct strbuf *why)
{
	amqp_bytes_t name = amqp_cstring_bytes(queue), exchange = amqp_cstring_bytes(MESH_EVENTS),
		     routing_key = amqp_cstring_bytes(key);
	amqp_rpc_reply_t reply;

	(void)amqp_queue_bind(connection, CHANNEL, name, exchange, routing_key, amqp_empty_table);
	reply = amqp_get_rpc_reply(connection);
	if (is_refused(reply)) {
		add_reply(reply, why);
		return STATUS_OK;
	}
	if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
		add_reply(reply, why);
		return STATUS_BAD_PEER;
	}
	(void)amqp_queue_unbind(connection, CHANNEL, name, exchange, routing_key, amqp_empty_table);
	reply = amqp_get_rpc_reply(connection);
	strbuf_addf(why, "the binding %s was allowed%s", key,
		reply.reply_type == AMQP_RESPONSE_NORMAL ? " and taken back" : " and could not be taken back");
	return STATUS_FORBIDDEN;
}

/* A region that is neither of the two; where there is none, the peer itself. */
static size_t third_region(const struct mesh *mesh, size_t as, size_t peer)
{
	for (size_t i = 0; i < mesh->region_count; i++)
		if (i != as && i != peer)
			return i;
	return peer;
}

static enum status probe_peer(
	const struct mesh *mesh, size_t as, size_t peer, const struct mesh_credentials *credentials, struct strbuf *why)
{
	amqp_connection_state_t connection = amqp_new_connection();
	struct strbuf queue = STRBUF_INIT, key = STRBUF_INIT;
	enum status status = STATUS_NO_MEMORY;

	mesh_buffer_name(mesh, peer, as, &queue);
	strbuf_addf(&key, "%s.%s", mesh->regions[third_region(mesh, as, peer)].name, unsent_event);
	if (connection != NULL && strbuf_ok(&queue) && strbuf_ok(&key))
		status = connect_as(connection, &mesh->regions[peer], mesh_user(mesh, as), credentials, why);
	if (status == STATUS_OK)
		status = try_binding(connection, queue.data, key.data, why);
	if (connection != NULL)
		(void)amqp_destroy_connection(connection);
	strbuf_release(&queue);
	strbuf_release(&key);
	return status;
}

enum status mesh_probe_locks(const struct mesh *mesh, size_t as, const struct mesh_credentials *credentials,
	struct mesh_health *health, size_t *refused_count_out)
{
	*refused_count_out = 0;
	for (size_t peer = 0; peer < mesh->region_count; peer++) {
		struct strbuf why = STRBUF_INIT, where = STRBUF_INIT;
		enum status status;
		if (!mesh_has_link(mesh, as, peer))
			continue;
		status = probe_peer(mesh, as, peer, credentials, &why);
		strbuf_addf(&where, "%s -> %s", mesh->regions[peer].name, mesh->regions[as].name);
		if (status == STATUS_OK)
			(*refused_count_out)++;
		else if (status == STATUS_FORBIDDEN)
			mesh_health_add(health, "MESH_010", where.data,
				"the topic permission there is open: homeward mesh plan, then apply", "%s", why.data);
		else
			mesh_health_add(health, "MESH_011", where.data, "the lock could not be tried; see the evidence",
				"%s", why.data);
		strbuf_release(&why);
		strbuf_release(&where);
		if (health->has_failed)
			return STATUS_NO_MEMORY;
	}
	return STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's life: counted and given a deadline when accepted, its client
 * certificate demanded and verified inside the handshake (libmicrohttpd alone
 * would serve a client without one), checked again on the first request after the
 * certificates, CAs or CRLs changed, forgotten when closed.  Runs on the
 * connection's HTTP thread; what is shared with other threads is atomic, or the
 * small table of peers under its own mutex.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/http_server_internal.h"
#include "base/log.h"

#define REFUSALS_LOGGED_MAX 10 /* a second and server: a scanner must not fill the disk */

static bool may_log_refusal(struct http_server *server)
{
	int64_t now_ms = http_now_ms();
	int64_t window_ms = atomic_load_explicit(&server->refusal_window_ms, memory_order_relaxed);
	if (now_ms - window_ms >= 1000 &&
		atomic_compare_exchange_strong(&server->refusal_window_ms, &window_ms, now_ms))
		atomic_store_explicit(&server->refusals_in_window, 0, memory_order_relaxed);
	return atomic_fetch_add_explicit(&server->refusals_in_window, 1, memory_order_relaxed) < REFUSALS_LOGGED_MAX;
}

static void log_refusal(struct http_server *server, const char *why)
{
	metric_add(metric_series(server->refused, server->name, "handshake", (const char *)NULL), 1);
	if (may_log_refusal(server))
		LOG_WARN("tls_peer_refused", "server", server->name, "reason", why);
}

/* ---- how many connections a region has ---- */

static bool peer_enter(struct http_connection *connection)
{
	struct http_server *server = connection->server;
	struct peer_count *found = NULL;
	bool entered = false;
	pthread_mutex_lock(&server->peers_mutex);
	for (size_t i = 0; i < PEERS_MAX && found == NULL; i++) {
		if (server->peers[i].connections > 0 && strcmp(server->peers[i].region, connection->peer) == 0)
			found = &server->peers[i];
	}
	for (size_t i = 0; i < PEERS_MAX && found == NULL; i++) {
		if (server->peers[i].connections == 0)
			found = &server->peers[i];
	}
	int max = server->settings.connections_per_peer_max;
	if (found != NULL && (max == 0 || found->connections < max)) {
		if (found->connections == 0)
			memcpy(found->region, connection->peer, sizeof found->region);
		found->connections++;
		connection->peer_count = found;
		entered = true;
	}
	pthread_mutex_unlock(&server->peers_mutex);
	return entered;
}

static void peer_leave(struct http_connection *connection)
{
	if (connection->peer_count == NULL)
		return;
	pthread_mutex_lock(&connection->server->peers_mutex);
	connection->peer_count->connections--;
	pthread_mutex_unlock(&connection->server->peers_mutex);
	connection->peer_count = NULL;
}

/* ---- the handshake ---- */

static bool verify_now(
	struct http_connection *connection, struct tls_set *set, gnutls_session_t session, struct tls_peer *peer_out)
{
	struct strbuf why = STRBUF_INIT;
	unsigned length = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &length);
	enum status status = STATUS_INVALID;
	if (chain == NULL || length == 0)
		strbuf_adds(&why, "no client certificate");
	else
		status = tls_set_verify_client(set, chain, length, peer_out, &why);
	if (status != STATUS_OK)
		log_refusal(connection->server, why.data);
	strbuf_release(&why);
	return status == STATUS_OK;
}

static int on_verify(gnutls_session_t session)
{
	struct http_connection *connection = gnutls_session_get_ptr(session);
	struct tls_peer peer;
	connection->was_judged = true;
	if (!verify_now(connection, connection->handshake_set, session, &peer))
		return GNUTLS_E_CERTIFICATE_ERROR;
	memcpy(connection->peer, peer.region, sizeof connection->peer);
	if (!peer_enter(connection)) {
		log_refusal(connection->server, "this region has its number of connections already");
		return GNUTLS_E_CERTIFICATE_ERROR;
	}
	connection->peer_expires_s = peer.expires_s;
	connection->verified_generation = tls_set_generation(connection->handshake_set);
	tls_peer_seen(peer.region, peer.expires_s);
	return 0;
}

int http_on_certificate(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
	const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **chain, unsigned *chain_length,
	gnutls_privkey_t *key)
{
	struct http_connection *connection = gnutls_session_get_ptr(session);
	(void)authorities;
	(void)authority_count;
	(void)algorithms;
	(void)algorithm_count;
	tls_set_credential(connection->handshake_set, chain, chain_length, key);
	return 0;
}

bool http_peer_is_good(struct http_connection *connection)
{
	if (connection->verified_generation == 0)
		return false;
	struct tls_store *store = connection->server->settings.tls;
	if (tls_store_generation(store) == connection->verified_generation)
		return time(NULL) < connection->peer_expires_s;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	struct tls_set *set = tls_store_acquire(store);
	struct tls_peer peer = { .expires_s = 0 };
	bool is_good = info != NULL && verify_now(connection, set, info->tls_session, &peer) &&
		       strcmp(peer.region, connection->peer) == 0;
	connection->verified_generation = is_good ? tls_set_generation(set) : 0;
	connection->peer_expires_s = peer.expires_s;
	tls_set_release(set);
	return is_good;
}

/* ---- open and close ---- */

enum MHD_Result http_on_accept(void *arg, const struct sockaddr *address, socklen_t length)
{
	const struct http_server *server = arg;
	(void)address;
	(void)length;
	return atomic_load_explicit(&server->connections, memory_order_relaxed) < server->settings.connections_max
		       ? MHD_YES
		       : MHD_NO;
}

static void demand_certificate(struct http_connection *connection)
{
	gnutls_session_t session =
		MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
	connection->handshake_set = tls_store_acquire(connection->server->settings.tls);
	gnutls_session_set_ptr(session, connection);
	gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_function(session, on_verify);
}

static void open_connection(struct http_loop *loop, struct MHD_Connection *mhd, void **context)
{
	struct http_server *server = loop->server;
	int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	struct http_connection *connection = calloc(1, sizeof *connection);
	*context = connection;
	if (connection == NULL) {
		shutdown(fd, SHUT_RDWR);
		return;
	}
	connection->fd = fd;
	connection->server = server;
	connection->loop = loop;
	connection->mhd = mhd;
	connection->opened_ms = http_now_ms();
	connection->request.connection = connection;
	atomic_init(&connection->deadline_ms, connection->opened_ms + server->settings.request_deadline_ms);
	if (server->settings.tls != NULL)
		demand_certificate(connection);
	atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
	metric_move(server->connections_gauge, 1);
	http_reaper_add(connection);
}

static void close_connection(struct http_connection *connection)
{
	if (connection == NULL)
		return;
	struct http_server *server = connection->server;
	/* GnuTLS itself refuses a client without a certificate, or without TLS 1.3: no rule of ours has named it. */
	if (server->settings.tls != NULL && !connection->was_judged)
		log_refusal(server, "the handshake ended before a certificate was shown");
	http_reaper_remove(connection);
	http_request_forget(&connection->request);
	peer_leave(connection);
	tls_set_release(connection->handshake_set);
	free(connection->request.body);
	free(connection);
	atomic_fetch_sub_explicit(&server->connections, 1, memory_order_relaxed);
	metric_move(server->connections_gauge, -1);
}

void http_on_connection(void *arg, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		open_connection(arg, mhd, context);
	} else {
		close_connection(*context);
		*context = NULL;
	}
}

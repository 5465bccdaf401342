/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools: one curl multi handle for each region, and one for plain http.
 *
 * curl matches idle connections by host and TLS settings and knows nothing of our
 * regions, so a connection verified as one region must be out of reach of a call
 * for another: that is why pools are apart.  The same holds for certificates: after
 * a rotation a region gets a new pool, and the old one goes with its last call.
 *
 * Runs on the loop's thread.  curl is never entered from its own callbacks: these
 * only start timers and set watches.
 */
#include "base/http_client_pool.h"

#include <stdlib.h>
#include <string.h>

#define HOSTS_MAX 8 /* addresses one region or service has; only bounds idle connections */

static void collect(struct http_client_pool *pool)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(pool->multi, &left)) != NULL) {
		struct http_client_call *call = NULL;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
		http_client_finish(call, code);
	}
}

static void on_timer(void *arg)
{
	struct http_client_pool *pool = arg;
	int running;

	curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(pool);
}

static void on_ready(void *arg, int events)
{
	struct http_client_socket *entry = arg;
	struct http_client_pool *pool = entry->pool;
	int running, mask = (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0);

	/* The entry may be gone after this. */
	curl_multi_socket_action(pool->multi, entry->fd, mask, &running);
	collect(pool);
}

static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_client_pool *pool = arg;

	(void)multi;
	if (timeout_ms < 0)
		loop_timer_stop(&pool->timer);
	else
		loop_timer_start(&pool->timer, timeout_ms);
	return 0;
}

static void socket_free(struct http_client_socket *entry)
{
	*entry->at = entry->next;
	if (entry->next != NULL)
		entry->next->at = entry->at;
	loop_watch_release(&entry->watch);
	free(entry);
}

static struct http_client_socket *socket_new(struct http_client_pool *pool, curl_socket_t fd)
{
	struct http_client_socket *entry = calloc(1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	entry->pool = pool;
	entry->fd = fd;
	if (loop_watch_init(pool->client->loop, &entry->watch, fd, on_ready, entry) != STATUS_OK) {
		free(entry);
		return NULL;
	}
	entry->next = pool->sockets;
	entry->at = &pool->sockets;
	if (entry->next != NULL)
		entry->next->at = &entry->next;
	pool->sockets = entry;
	return entry;
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
	struct http_client_pool *pool = arg;
	struct http_client_socket *entry = assigned;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (entry != NULL)
			socket_free(entry);
		return 0;
	}
	if (entry == NULL) {
		entry = socket_new(pool, fd);
		if (entry == NULL)
			return -1; /* curl fails the transfer */
		curl_multi_assign(pool->multi, fd, entry);
	}
	loop_watch_set(&entry->watch, (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0));
	return 0;
}

static enum status open_multi(struct http_client_pool *pool)
{
	long per_host = pool->client->connections_per_host_max;

	pool->multi = curl_multi_init();
	if (pool->multi == NULL)
		return STATUS_NO_MEMORY;
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	curl_multi_setopt(pool->multi, CURLMOPT_MAX_HOST_CONNECTIONS, per_host);
	curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, per_host * HOSTS_MAX);
	return loop_timer_init(pool->client->loop, &pool->timer, on_timer, pool);
}

static enum status pool_create(struct http_client *client, const char *region,
	struct http_client_credentials *credentials, struct http_client_pool **pool_out)
{
	struct http_client_pool *pool = calloc(1, sizeof(*pool));
	struct strbuf uri = STRBUF_INIT;
	enum status status;

	*pool_out = NULL;
	if (pool == NULL)
		return STATUS_NO_MEMORY;
	pool->client = client;
	if (credentials != NULL) {
		strncpy(pool->region, region, sizeof(pool->region) - 1);
		strbuf_addf(&uri, "spiffe://%s/region/%s", tls_store_trust_domain(client->tls), region);
		pool->uri = strbuf_take(&uri, NULL);
		pool->credentials = credentials;
		credentials->references++;
	}
	status = credentials != NULL && pool->uri == NULL ? STATUS_NO_MEMORY : open_multi(pool);
	if (status != STATUS_OK) {
		http_client_pool_destroy(pool);
		return status;
	}
	pool->next = client->pools;
	client->pools = pool;
	*pool_out = pool;
	return STATUS_OK;
}

void http_client_pool_destroy(struct http_client_pool *pool)
{
	while (pool->free != NULL) {
		struct http_client_call *call = pool->free;

		pool->free = call->next;
		http_client_call_free(call);
	}
	if (pool->multi != NULL) {
		/* Closing the idle connections must not come back to us. */
		curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, NULL);
		curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, NULL);
	}
	while (pool->sockets != NULL)
		socket_free(pool->sockets);
	curl_multi_cleanup(pool->multi);
	loop_timer_release(&pool->timer);
	http_client_credentials_put(pool->credentials);
	free(pool->uri);
	free(pool);
}

void http_client_pool_sweep(struct http_client *client)
{
	struct http_client_pool **at = &client->pools;

	while (*at != NULL) {
		struct http_client_pool *pool = *at;

		if (!pool->is_retired || pool->count > 0) {
			at = &pool->next;
			continue;
		}
		*at = pool->next;
		http_client_pool_destroy(pool);
	}
}

enum status http_client_pool_get(struct http_client *client, const char *region, struct http_client_pool **pool_out)
{
	struct http_client_credentials *credentials = NULL;
	enum status status;

	*pool_out = NULL;
	if (region != NULL) {
		if (client->tls == NULL || !region_is_valid(region))
			return STATUS_INVALID;
		status = http_client_credentials_get(client, &credentials);
		if (status != STATUS_OK)
			return status;
	}
	for (struct http_client_pool *pool = client->pools; pool != NULL; pool = pool->next) {
		if (pool->is_retired || strcmp(pool->region, region != NULL ? region : "") != 0)
			continue;
		if (pool->credentials == credentials) {
			*pool_out = pool;
			return STATUS_OK;
		}
		pool->is_retired = true;
	}
	return pool_create(client, region, credentials, pool_out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP server: one libmicrohttpd daemon for each HTTP thread (http_server_loop.c),
 * with no timeout of its own (http_server_reaper.c keeps time), no post processor
 * and no unescaping (http_server_route.c decodes).  A daemon's connection limit is
 * above ours, so that a connection too many is closed at once instead of waiting
 * unseen in the backlog.  Started and stopped by the main thread.
 */
#include "base/http_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>

#include "base/http_server_internal.h"
#include "base/log.h"
#include "base/must.h"
#include "base/problem.h"

#define CONNECTION_MEMORY_BYTES 8192 /* request line and headers; and 10,000 waiting connections stay under 80 MB */
#define PEER_MEMORY_BYTES 16384      /* few connections with large batches: fewer reads for each body */
#define CONNECTION_SLACK 16          /* above connections_max, so that our own count decides */
#define STOP_FLUSH_MS_MAX 1000       /* answers given just before the stop still go out */

static const struct http_route unmatched = { "any", "none", NULL };

static size_t keep_escapes(void *arg, struct MHD_Connection *mhd, char *text)
{
	(void)arg;
	(void)mhd;
	return strlen(text);
}

static void on_library_log(void *arg, const char *format, va_list values)
{
	struct http_server *server = arg;
	char text[256];
	int length = vsnprintf(text, sizeof text, format, values);
	while (length > 0 && length < (int)sizeof text && text[length - 1] == '\n')
		text[--length] = '\0';
	LOG_DEBUG("http_library", "server", server->name, "text", text);
}

/* An array for the TLS options, so that both kinds of listener share one call. */
struct MHD_Daemon *http_daemon_start(struct http_loop *loop)
{
	struct http_server *server = loop->server;
	const struct http_server_settings *settings = &server->settings;
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem tls_options[] = {
		{ MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)http_on_certificate },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES },
		{ MHD_OPTION_END, 0, NULL },
	};
	if (settings->tls == NULL)
		tls_options[0].option = MHD_OPTION_END;
	else
		flags |= MHD_USE_TLS;
	size_t memory_bytes = settings->tls == NULL ? CONNECTION_MEMORY_BYTES : PEER_MEMORY_BYTES;
	return MHD_start_daemon(flags, 0, http_on_accept, server, http_on_access, server, MHD_OPTION_EXTERNAL_LOGGER,
		on_library_log, server, MHD_OPTION_LISTEN_SOCKET, server->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)(settings->connections_max + CONNECTION_SLACK), MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		(unsigned)settings->connections_per_ip_max, MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory_bytes,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, http_on_uri, server,
		MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, server, MHD_OPTION_NOTIFY_CONNECTION, http_on_connection,
		loop, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, server, MHD_OPTION_ARRAY, tls_options,
		MHD_OPTION_END);
}

static void stop_accepting(struct http_server *server)
{
	for (int i = 0; i < server->loop_count; i++)
		MHD_quiesce_daemon(server->loops[i].daemon);
}

static void stop_loops(struct http_server *server)
{
	if (!atomic_load(&server->is_draining))
		stop_accepting(server);
	for (int i = 0; i < server->loop_count; i++)
		http_loop_stop(&server->loops[i]);
}

static void server_free(struct http_server *server)
{
	if (server->listen_fd >= 0) {
		close(server->listen_fd);
		if (server->unix_path != NULL)
			unlink(server->unix_path);
	}
	route_table_release(&server->routes);
	http_response_release(server->no_memory);
	pthread_mutex_destroy(&server->peers_mutex);
	free(server->loops);
	free(server->unix_path);
	free(server->name);
	free(server);
}

static enum status server_create(const struct http_server_settings *settings, struct http_server **server_out)
{
	struct http_server *server = calloc(1, sizeof *server);
	*server_out = server;
	if (server == NULL)
		return STATUS_NO_MEMORY;
	server->settings = *settings;
	server->listen_fd = -1;
	server->no_route.route = &unmatched;
	pthread_mutex_init(&server->peers_mutex, NULL);
	server->name = strdup(settings->name);
	server->loops = calloc((size_t)settings->threads, sizeof *server->loops);
	server->unix_path = settings->unix_path == NULL ? NULL : strdup(settings->unix_path);
	server->no_memory = problem_response(&(struct problem){ .status = STATUS_NO_MEMORY });
	if (server->name == NULL || server->loops == NULL || server->no_memory == NULL ||
		(settings->unix_path != NULL && server->unix_path == NULL))
		return STATUS_NO_MEMORY;
	server->duration = metric_register(METRIC_HISTOGRAM, "homeward_http_request_duration_seconds",
		"From the request line to the answer handed to the connection.", "server,route,method,code");
	server->refused = metric_register(METRIC_COUNTER, "homeward_http_refused_total",
		"Requests and handshakes refused before an endpoint saw them.", "server,reason");
	server->connections_gauge = metric_series(
		metric_register(METRIC_GAUGE, "homeward_http_connections", "Connections open.", "server"), server->name,
		(const char *)NULL);
	return STATUS_OK;
}

enum status http_server_start(
	const struct http_server_settings *settings, struct http_server **server_out, struct strbuf *why)
{
	struct http_server *server = NULL;
	bool has_reaper = false;
	*server_out = NULL;
	must(settings->threads > 0 && settings->connections_max > 0 && settings->request_deadline_ms > 0);
	enum status status = server_create(settings, &server);
	if (status != STATUS_OK)
		goto out;
	status = route_table_build(settings->routes, settings->route_count, &server->routes, why);
	if (status != STATUS_OK)
		goto out;
	status = http_listen(settings, &server->listen_fd, &server->port, why);
	if (status != STATUS_OK)
		goto out;
	status = http_reaper_acquire();
	if (status != STATUS_OK)
		goto out;
	has_reaper = true;
	for (; server->loop_count < settings->threads; server->loop_count++) {
		status = http_loop_start(&server->loops[server->loop_count], server);
		if (status != STATUS_OK) {
			strbuf_addf(why, "the %s listener does not start", settings->name);
			goto out;
		}
	}
	*server_out = server;
	return STATUS_OK;
out:
	if (server != NULL)
		stop_loops(server);
	if (has_reaper)
		http_reaper_release();
	if (server != NULL)
		server_free(server);
	return status;
}

int http_server_port(const struct http_server *server)
{
	return server->port;
}

void http_server_drain(struct http_server *server)
{
	if (atomic_exchange(&server->is_draining, true))
		return;
	stop_accepting(server);
	/* Refuses what would wait in the backlog; closed at the stop, when no thread can still accept on it. */
	shutdown(server->listen_fd, SHUT_RDWR);
}

void http_server_refuse(struct http_server *server)
{
	http_server_drain(server);
	atomic_store(&server->is_refusing, true);
}

int http_server_in_flight(const struct http_server *server)
{
	return atomic_load(&server->in_flight);
}

static void wait_for_none(const _Atomic int *count, int64_t until_ms)
{
	while (atomic_load(count) > 0 && http_now_ms() < until_ms)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

void http_server_stop(struct http_server *server)
{
	if (server == NULL)
		return;
	http_server_refuse(server);
	wait_for_none(&server->in_flight, http_now_ms() + server->settings.request_deadline_ms);
	must(http_server_in_flight(server) == 0);
	wait_for_none(&server->unfinished, http_now_ms() + STOP_FLUSH_MS_MAX);
	stop_loops(server);
	http_reaper_release();
	server_free(server);
}

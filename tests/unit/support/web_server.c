/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking and simple on purpose.  Stopping shuts the sockets down, which ends
 * every thread's read, and joins them all.
 */
#include "tests/unit/support/web_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define REQUEST_BYTES_MAX 65536
#define LARGE_BYTES 100000

struct connection {
	struct web_server *server;
	int fd, number;
	SSL *ssl;
	pthread_t thread;
};

struct web_server {
	int fd, port;
	SSL_CTX *context;
	pthread_t thread;
	atomic_int count;
	atomic_bool is_stopping;
	struct connection connections[CONNECTIONS_MAX];
};

static void need(bool is_good, const char *what)
{
	if (is_good)
		return;
	fprintf(stderr, "web server: %s failed\n", what);
	exit(1);
}

static int receive(struct connection *connection, char *bytes, int size)
{
	return connection->ssl != NULL ? SSL_read(connection->ssl, bytes, size)
				       : (int)recv(connection->fd, bytes, (size_t)size, 0);
}

static void answer(struct connection *connection, const char *bytes, size_t size)
{
	while (size > 0) {
		int sent = connection->ssl != NULL ? SSL_write(connection->ssl, bytes, (int)size)
						   : (int)send(connection->fd, bytes, size, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		bytes += sent;
		size -= (size_t)sent;
	}
}

static void answer_with(struct connection *connection, const char *body, size_t size)
{
	char head[128];
	int length = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);

	answer(connection, head, (size_t)length);
	answer(connection, body, size);
}

static void answer_large(struct connection *connection)
{
	char *body = malloc(LARGE_BYTES);

	need(body != NULL, "malloc");
	memset(body, 'x', LARGE_BYTES);
	answer_with(connection, body, LARGE_BYTES);
	free(body);
}

/* Reads one request whole; false at the end of the connection. */
static bool read_request(struct connection *connection, char *request)
{
	size_t length = 0, wanted = 0;

	while (wanted == 0 || length < wanted) {
		int size = receive(connection, request + length, (int)(REQUEST_BYTES_MAX - 1 - length));
		const char *end, *body_size;

		if (size <= 0)
			return false;
		length += (size_t)size;
		request[length] = '\0';
		end = strstr(request, "\r\n\r\n");
		if (end == NULL || wanted > 0)
			continue;
		body_size = strstr(request, "Content-Length: ");
		wanted = (size_t)(end - request) + 4;
		if (body_size != NULL && body_size < end)
			wanted += strtoul(body_size + 16, NULL, 10);
	}
	return true;
}

/* False to close. */
static bool respond(struct connection *connection, const char *request)
{
	const char *path = strchr(request, ' ');
	char number[16];

	path = path != NULL ? path + 1 : "";
	if (strncmp(path, "/slow", 5) == 0)
		return true;
	if (strncmp(path, "/close", 6) == 0)
		return false;
	if (strncmp(path, "/part", 5) == 0) {
		const char *part = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";

		answer(connection, part, strlen(part));
		return false;
	}
	snprintf(number, sizeof(number), "%d", connection->number);
	if (strncmp(path, "/large", 6) == 0)
		answer_large(connection);
	else if (strncmp(path, "/echo", 5) == 0)
		answer_with(connection, request, strlen(request));
	else if (strncmp(path, "/connection", 11) == 0)
		answer_with(connection, number, strlen(number));
	else
		answer_with(connection, "hello", 5);
	return true;
}

static void *serve(void *arg)
{
	struct connection *connection = arg;
	char *request = malloc(REQUEST_BYTES_MAX);

	need(request != NULL, "malloc");
	if (connection->server->context != NULL) {
		connection->ssl = SSL_new(connection->server->context);
		need(connection->ssl != NULL && SSL_set_fd(connection->ssl, connection->fd) == 1, "SSL_new");
	}
	if (connection->ssl == NULL || SSL_accept(connection->ssl) == 1)
		while (read_request(connection, request) && respond(connection, request))
			continue;
	SSL_free(connection->ssl);
	shutdown(connection->fd, SHUT_RDWR);
	free(request);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct web_server *server = arg;
	int on = 1;

	for (;;) {
		int fd = accept(server->fd, NULL, NULL), number = atomic_load(&server->count);
		struct connection *connection = &server->connections[number];

		if (fd < 0 || atomic_load(&server->is_stopping)) {
			if (fd >= 0)
				close(fd);
			return NULL;
		}
		need(number < CONNECTIONS_MAX, "one more connection");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* head and body are two writes */
		*connection = (struct connection){ .server = server, .fd = fd, .number = number + 1 };
		need(pthread_create(&connection->thread, NULL, serve, connection) == 0, "thread");
		atomic_store(&server->count, number + 1);
	}
}

static SSL_CTX *make_context(const char *certificate, const char *key, const char *ca)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	need(context != NULL, "SSL_CTX_new");
	need(SSL_CTX_use_certificate_chain_file(context, certificate) == 1, "certificate");
	need(SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1, "key");
	need(SSL_CTX_load_verify_locations(context, ca, NULL) == 1, "ca");
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return context;
}

struct web_server *web_server_start(const char *certificate, const char *key, const char *ca)
{
	struct web_server *server = calloc(1, sizeof(*server));
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	need(server != NULL, "calloc");
	signal(SIGPIPE, SIG_IGN);
	if (certificate != NULL)
		server->context = make_context(certificate, key, ca);
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	need(bind(server->fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	need(listen(server->fd, 64) == 0, "listen");
	need(getsockname(server->fd, (struct sockaddr *)&address, &size) == 0, "getsockname");
	server->port = ntohs(address.sin_port);
	need(pthread_create(&server->thread, NULL, accept_all, server) == 0, "thread");
	return server;
}

void web_server_stop(struct web_server *server)
{
	atomic_store(&server->is_stopping, true);
	shutdown(server->fd, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->fd);
	for (int i = 0; i < atomic_load(&server->count); i++) {
		shutdown(server->connections[i].fd, SHUT_RDWR);
		pthread_join(server->connections[i].thread, NULL);
		close(server->connections[i].fd);
	}
	SSL_CTX_free(server->context);
	free(server);
}

int web_server_port(const struct web_server *server)
{
	return server->port;
}

int web_server_connections(const struct web_server *server)
{
	return atomic_load(&server->count);
}
